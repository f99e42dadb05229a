/** The last measurements: curves, and the same figures as a table. */

import { get } from "./api.js";
import { chart, front } from "./chart.js";
import { count, el } from "./dom.js";

const RECIPE = `mull data problems --seed 900001 --count 100 > problems.jsonl
mull bench problems.jsonl --all --out results
MULL_BENCH_DIR=results mull serve`;

export class Bench {
  constructor(room) {
    this.room = room;
  }

  async show() {
    try {
      const report = await get("v1/ttc/bench");
      this.room.replaceChildren(...drawn(report));
    } catch (error) {
      this.room.replaceChildren(
        el("p", {}, error.message),
        el("p", { class: "hint" }, "How to make them, with a server running for the second line:"),
        el("pre", { class: "recipe" }, RECIPE),
      );
    }
  }
}

function drawn(report) {
  const runs = [...report.runs].sort((a, b) => a.tokens.value - b.tokens.value);
  const best = new Set(front(runs));
  const rows = new Map();
  const picture = chart(runs, best, (run, on) => rows.get(run)?.classList.toggle("lit", on));
  for (const run of runs) {
    rows.set(
      run,
      el(
        "tr",
        { onmouseenter: () => picture.light(run, true), onmouseleave: () => picture.light(run, false) },
        el("th", { scope: "row" }, run.run),
        ...[
          percent(run.accuracy),
          interval(run.accuracy),
          count(run.tokens.value),
          count(run.verifier_tokens.value),
          run.seconds.value.toFixed(2),
          best.has(run) ? "yes" : "",
        ].map((text) => el("td", {}, text)),
      ),
    );
  }
  const head = ["Run", "Accuracy, %", "95 % interval", "Tokens", "Verifier tokens", "Seconds", "On the front"];
  return [
    el(
      "p",
      { class: "hint" },
      `${report.model} on ${count(report.problems)} problems, measured by mull bench on ${new Date(report.created).toLocaleDateString()}. Bars are 95 % intervals; lines join runs of one strategy. On the front is what nothing cheaper matches.`,
    ),
    el("figure", { class: "chart" }, picture.element),
    el(
      "div",
      { class: "table", tabindex: "0", role: "group", "aria-label": "Measurements as a table" },
      el(
        "table",
        {},
        el("caption", {}, "Means per problem, fewest tokens first"),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            head.map((text) => el("th", { scope: "col" }, text)),
          ),
        ),
        el("tbody", {}, [...rows.values()]),
      ),
    ),
  ];
}

const percent = ({ value }) => (100 * value).toFixed(1);
const interval = ({ low, high }) => `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
