/** Accuracy against tokens, as SVG. */

import { svg } from "./dom.js";

const [WIDTH, HEIGHT] = [960, 480];
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 150, 34, 44];

/** The runs that no cheaper run reaches, of runs in the order of their tokens. */
export function front(runs) {
  let best = -1;
  return runs.filter(({ accuracy }) => accuracy.value > best && ((best = accuracy.value), true));
}

/**
 * The picture of runs in the order of their tokens.
 *
 * @param best The runs on the front.
 * @param onlight Called with a run that is pointed at, and whether it is.
 */
export function chart(runs, best, onlight) {
  const tokens = runs.map((run) => Math.max(1, run.tokens.value));
  const [from, to] = [Math.log10(Math.min(...tokens)) - 0.05, Math.log10(Math.max(...tokens)) + 0.05];
  const low = Math.max(0, Math.floor(Math.min(...runs.map((run) => run.accuracy.low)) * 10) / 10);
  const high = Math.min(1, Math.ceil(Math.max(...runs.map((run) => run.accuracy.high)) * 10) / 10);
  const x = (value) => LEFT + ((Math.log10(Math.max(1, value)) - from) / (to - from)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const place = (run) => `${x(run.tokens.value).toFixed(1)},${y(run.accuracy.value).toFixed(1)}`;

  const families = new Map();
  for (const run of runs) {
    const family = run.text?.split(":")[0] ?? run.run;
    families.set(family, [...(families.get(family) ?? []), run]);
  }
  const marks = new Map(runs.map((run) => [run, mark(run, x, y, best.has(run))]));
  const labels = named([...best], x, y);
  for (const [run, each] of marks) {
    each.addEventListener("mouseenter", () => light(run, true));
    each.addEventListener("mouseleave", () => light(run, false));
  }
  const light = (run, on) => {
    marks.get(run).classList.toggle("lit", on);
    onlight(run, on);
  };
  const joins = [...families.values()]
    .filter((family) => family.length > 1)
    .map((family) => svg("polyline", { class: "join run", points: family.map(place).join(" ") }));
  const element = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": `Accuracy against generated tokens for ${runs.length} runs; the table below has the same figures.`,
    },
    ...grid(from, to, low, high, x, y),
    ...joins,
    svg("polyline", { class: "front-line", points: [...best].map(place).join(" ") }),
    ...marks.values(),
    ...labels,
  );
  return { element, light };
}

function mark(run, x, y, onFront) {
  const [cx, cy] = [x(run.tokens.value), y(run.accuracy.value)];
  return svg(
    "g",
    { class: onFront ? "run front" : "run" },
    svg("title", {}, `${run.run}: ${(100 * run.accuracy.value).toFixed(1)} %, ${Math.round(run.tokens.value)} tokens`),
    svg("line", {
      x1: cx,
      x2: cx,
      y1: y(run.accuracy.low),
      y2: y(run.accuracy.high),
      "stroke-width": 1.2,
      opacity: 0.55,
    }),
    svg("circle", { cx, cy, r: onFront ? 5.5 : 4, "stroke-width": 1.5 }),
  );
}

/** Names below the points of the front, moved down where they would cover the one to their right. */
function named(runs, x, y) {
  let right = null;
  return runs
    .sort((a, b) => b.tokens.value - a.tokens.value)
    .map((run) => {
      const at = x(run.tokens.value) + 9;
      const free = y(run.accuracy.value) + 18;
      const level = right !== null && right.at - at < 190 ? Math.max(free, right.level + 15) : free;
      right = { at, level };
      return svg(
        "text",
        { class: "name", x: at, y: level },
        run.run.length > 30 ? `${run.run.slice(0, 29)}…` : run.run,
      );
    });
}

function grid(from, to, low, high, x, y) {
  const parts = [];
  for (let share = low; share <= high + 1e-9; share += 0.1) {
    parts.push(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(share), y2: y(share) }),
      svg("text", { class: "axis", x: LEFT - 8, y: y(share) + 4, "text-anchor": "end" }, `${Math.round(100 * share)}`),
    );
  }
  for (let power = Math.floor(from); power <= Math.ceil(to); power += 1) {
    for (const digit of [1, 2, 5]) {
      const value = digit * 10 ** power;
      if (Math.log10(value) < from || Math.log10(value) > to) continue;
      parts.push(
        svg("line", { class: "grid", x1: x(value), x2: x(value), y1: TOP, y2: HEIGHT - BOTTOM }),
        svg(
          "text",
          { class: "axis", x: x(value), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" },
          value.toLocaleString("en"),
        ),
      );
    }
  }
  return [
    ...parts,
    svg(
      "text",
      { class: "axis", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" },
      "tokens generated per problem",
    ),
    svg("text", { class: "axis", x: LEFT - 28, y: 16 }, "accuracy, %"),
  ];
}
