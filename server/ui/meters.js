/** What a search has spent, against its budget. */

import { count, el, score, seconds, setText } from "./dom.js";

export class Meters {
  constructor() {
    this.figures = {
      tokens: figure("Tokens"),
      seconds: figure("Seconds"),
      samples: figure("Samples"),
      best: figure("Best score"),
      verifier: figure("Verifier tokens"),
    };
    this.element = el(
      "dl",
      { class: "meters" },
      Object.values(this.figures).map((each) => each.element),
    );
  }

  /** Show a search at a time; `passed` is the time to tell. */
  show(search, time, passed) {
    const { ttc, usage } = search;
    const over = !search.running && time >= search.seconds;
    const spent = search.spentAt(time);
    const budget = ttc.budget ?? {};
    const tokens = over ? (usage?.completion_tokens ?? spent.tokens) : spent.tokens;
    const told = over ? (ttc.seconds ?? search.seconds) : Math.min(passed, search.running ? Infinity : search.seconds);
    this.figures.tokens.show(count(tokens), tokens, budget.tokens, count);
    this.figures.seconds.show(seconds(told), told, budget.seconds, (value) => `${value}`);
    const samples = over ? (ttc.samples ?? spent.samples) : spent.samples;
    this.figures.samples.show(count(samples), samples, budget.samples, count);
    this.figures.best.show(score(over ? (ttc.score ?? spent.best) : spent.best));
    this.figures.verifier.show(over ? count(ttc.verifier_tokens) : "–");
  }
}

function figure(name) {
  const [value, limit, bar] = [el("span"), el("small"), el("i")];
  const track = el("div", { class: "track", "aria-hidden": "true" }, bar);
  const element = el("div", { class: "meter" }, el("dt", {}, name), el("dd", {}, value, limit), track);
  const show = (text, spent = 0, most = null, written = String) => {
    setText(value, text);
    const limited = most !== null && most !== undefined;
    setText(limit, limited ? ` of ${written(most)}` : "");
    track.style.visibility = limited ? "visible" : "hidden";
    if (!limited) return;
    bar.style.width = `${Math.min(100, (100 * spent) / most)}%`;
    bar.classList.toggle("spent", spent >= most);
  };
  return { element, show };
}
