/** One search on the stage: what it is, what it costs, its answer, tree, votes, the selected node, and its replay. */

import { Ballot } from "./ballot.js";
import { count, el, score, seconds, setText } from "./dom.js";
import { Inspector } from "./inspector.js";
import { Meters } from "./meters.js";
import { Replay } from "./replay.js";
import { Tree } from "./tree.js";

const STATES = { running: "searching", done: "finished", failed: "failed", stopped: "stopped" };
const TICK = 100;
const SPEAK = 5000;

export class Pane {
  constructor(search) {
    this.search = search;
    this.began = performance.now();
    this.time = Infinity;
    this.spoke = performance.now();
    this.meters = new Meters();
    this.ballot = new Ballot();
    this.tree = new Tree((node) => this.inspector.show(search, node, this.time));
    this.inspector = new Inspector((node) => this.tree.select(node));
    this.replay = new Replay((time) => this.#at(time));
    this.set = el("span", { class: "set" });
    this.state = el("span", { class: "state" });
    this.final = el("p", { class: "final" });
    this.text = el("div", { class: "text", tabindex: "0", role: "group", "aria-label": "Text of the answer" });
    this.problem = el("div", { class: "problem", role: "alert", hidden: true });
    this.voice = el("p", { class: "hidden", role: "status" });
    this.element = el(
      "article",
      { class: "pane", "aria-label": search.label },
      el("div", { class: "pane-head" }, el("h2", {}, search.label), this.set, this.state),
      search.question ? el("p", { class: "asked text" }, search.question) : null,
      this.meters.element,
      this.problem,
      el(
        "div",
        { class: "work" },
        el(
          "section",
          { class: "answer", "aria-label": "Answer" },
          el("h3", { class: "label" }, "Answer"),
          this.final,
          this.text,
        ),
        el("div", { class: "drawing" }, this.tree.element, legend(this.tree.tools), this.replay.element),
        this.ballot.element,
        this.inspector.element,
      ),
      this.voice,
    );
    this.tree.show(search);
    if (search.running) {
      this.replay.live();
      this.timer = setInterval(() => this.#tick(), TICK);
    }
    this.#tick();
    if (!search.running) this.#over();
  }

  /** Something was learned. */
  news() {
    this.tree.refresh();
    if (!this.search.running && this.timer !== undefined) {
      this.close();
      this.#tick();
      this.#over();
    }
  }

  /** It is not shown any more. */
  close() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.replay.pause();
  }

  #over() {
    const { search } = this;
    this.replay.over(search.seconds);
    const { ttc, usage } = search;
    const figures = `${count(usage?.completion_tokens ?? search.spentAt(Infinity).tokens)} tokens, ${seconds(search.seconds)} seconds`;
    setText(this.voice, `Search ${STATES[search.state]}. ${ttc.answer ? `Answer ${ttc.answer}. ` : ""}${figures}.`);
    if (this.tree.selected === null && search.answerNode !== null)
      this.tree.select(search.answerNode, { scroll: false });
  }

  #at(time) {
    this.time = time;
    this.tree.show(this.search, time);
    this.#figures();
  }

  #tick() {
    this.#head();
    this.#figures();
    const now = performance.now();
    if (this.search.running && now - this.spoke > SPEAK) {
      this.spoke = now;
      const { tokens, best } = this.search.spentAt(Infinity);
      setText(
        this.voice,
        `Searching: ${this.search.nodes.length - 1} nodes, ${tokens} tokens${best === null ? "" : `, best score ${score(best)}`}.`,
      );
    }
  }

  #head() {
    const { ttc, state, error } = this.search;
    const parameters = Object.entries(ttc.parameters ?? {})
      .filter(([, value]) => typeof value === "number" && value !== 0)
      .map(([name, value]) => `${name} ${value}`)
      .slice(0, 5);
    setText(
      this.set,
      [
        ttc.strategy === this.search.label ? null : ttc.strategy,
        ...parameters,
        ttc.verifier ? `verifier ${ttc.verifier}` : null,
      ]
        .filter(Boolean)
        .join(" · "),
    );
    const spent = ["tokens", "seconds", "samples"].includes(ttc.stopped);
    const why = spent
      ? `, budget of ${ttc.stopped} spent`
      : ttc.stopped && ttc.stopped !== "complete"
        ? `: ${ttc.stopped}`
        : "";
    setText(this.state, `${STATES[state]}${why}`);
    this.state.dataset.state = state;
    this.problem.hidden = error === null;
    this.element.classList.toggle("barren", state === "failed" && this.search.nodes.length === 1);
    if (error !== null) {
      const where = error.param ? ` Field: ${error.param}.` : "";
      this.problem.replaceChildren(
        el("strong", {}, error.message),
        `${where}${error.code ? ` Code: ${error.code}.` : ""}`.trim(),
      );
    }
  }

  #figures() {
    const { search, time } = this;
    const passed = search.running
      ? search.before + (performance.now() - this.began) / 1000
      : Math.min(time, search.seconds);
    this.meters.show(search, time, passed);
    this.ballot.show(search, time);
    this.inspector.show(search, this.tree.selected, time);
    const over = !search.running && time >= search.seconds;
    const text = over ? search.textAt(Infinity) : search.textAt(time);
    setText(this.text, text);
    this.final.hidden = !(over && search.ttc.answer);
    setText(this.final, search.ttc.answer ?? "");
    const silent = text === "" && search.running;
    this.text.classList.toggle("muted", silent);
    if (silent) setText(this.text, "Nothing of it is certain yet.");
  }
}

function legend(tools) {
  const sign = (kind, text) => el("span", {}, el("span", { class: `dot ${kind}` }), text);
  return el(
    "div",
    { class: "legend" },
    el(
      "div",
      { class: "signs", "aria-hidden": "true" },
      el("span", { class: "scale" }, "score 0", el("span", { class: "ramp" }), "1"),
      sign("", "not scored"),
      sign("cut", "pruned or repeated"),
      sign("way", "led to the answer"),
    ),
    tools,
  );
}
