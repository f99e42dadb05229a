/** What is known of the selected node. */

import { bucket, palette } from "./colours.js";
import { count, el, score, seconds } from "./dom.js";
import { tokensOf } from "./logprobs.js";
import { at } from "./search.js";

export class Inspector {
  /** `onselect(node)` is called for the links to other nodes. */
  constructor(onselect) {
    this.onselect = onselect;
    this.element = el("section", { class: "node", "aria-label": "Selected node" });
    this.show(null, null);
  }

  show(search, node, time = Infinity) {
    const data = node === null ? null : at(node, time);
    const state =
      node === null
        ? ""
        : `${node.id} ${node.versions.indexOf(node.versions.findLast((v) => v.data === data))} ${node.below.length} ${search.state}`;
    if (state === this.last) return;
    this.last = state;
    const title = el("h3", { class: "label" }, "Selected node");
    if (data === null) {
      const why = node === null ? "Select a node to read it." : "This generation had not ended yet.";
      this.element.replaceChildren(title, el("p", { class: "hint" }, why));
      return;
    }
    this.element.replaceChildren(title, ...this.#told(search, node, data));
  }

  #told(search, node, data) {
    if (node.id === 0)
      return [
        el("h4", {}, "Question"),
        el("div", { class: "text" }, search.question || "(not kept)"),
        this.#links(node),
      ];
    const parts = [el("h4", {}, `${data.kind.replaceAll("_", " ")} ${node.id}`), this.#links(node), facts(data)];
    const before = search
      .above(node)
      .slice(1, -1)
      .map((each) => at(each, Infinity)?.text ?? "")
      .join("");
    parts.push(
      el(
        "div",
        { class: "text", tabindex: "0", role: "group", "aria-label": "Text of the node" },
        before === "" ? null : el("span", { class: "before" }, before),
        el("span", {}, data.text || (before === "" ? "(no text)" : "")),
      ),
    );
    if (data.step_scores?.length > 0) parts.push(steps(data.step_scores));
    const tokens = tokensOf(search, node);
    if (tokens.length > 0) parts.push(probabilities(tokens));
    return parts;
  }

  #links(node) {
    const link = (other, text) =>
      el("button", { type: "button", class: "quiet", onclick: () => this.onselect(other) }, text);
    return el(
      "p",
      { class: "links" },
      node.above === null
        ? null
        : link(node.above, node.above.id === 0 ? "Parent: the question" : `Parent ${node.above.id}`),
      ...node.below.slice(0, 6).map((child) => link(child, `Child ${child.id}`)),
      node.below.length > 6 ? el("span", { class: "hint" }, `and ${node.below.length - 6} more`) : null,
    );
  }
}

function facts(data) {
  const ends = { stop: "ended by the model", step: "end of a step", length: "cut off by a limit" };
  const rows = {
    Score: score(data.score),
    Tokens: count(data.tokens),
    Finish: data.finish ? (ends[data.finish] ?? data.finish) : "–",
    Time: `${seconds(data.started)} to ${seconds(data.ended)} s`,
    Prompt: data.usage?.prompt ? `${count(data.usage.prompt)} tokens, ${count(data.usage.cached)} cached` : null,
    ...Object.fromEntries(
      Object.entries(data.data ?? {}).map(([name, value]) => [
        name,
        typeof value === "string" ? value : JSON.stringify(value),
      ]),
    ),
  };
  const shown = Object.entries(rows).filter(([, value]) => value !== null);
  return el(
    "dl",
    {},
    shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}

function steps(scores) {
  const { ramp } = palette();
  return el(
    "div",
    {},
    el("h4", { class: "label" }, "Score of each step"),
    el(
      "ol",
      { class: "steps", tabindex: "0", "aria-label": "Score of each step" },
      scores.map((value, i) => {
        const bar = el("i");
        bar.style.width = `${100 * Math.min(1, Math.max(0, value))}%`;
        bar.style.background = ramp[bucket(value)];
        return el(
          "li",
          {},
          el("span", { class: "muted" }, String(i + 1)),
          el("span", { class: "track", "aria-hidden": "true" }, bar),
          el("span", {}, score(value)),
        );
      }),
    ),
  );
}

function probabilities(tokens) {
  const { ramp } = palette();
  const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)} %`;
  return el(
    "div",
    {},
    el("h4", { class: "label" }, "Probability of each token"),
    el(
      "div",
      { class: "tokens", tabindex: "0", role: "group", "aria-label": "Tokens with their probabilities" },
      tokens.map((token) => {
        const others = (token.top_logprobs ?? []).map(
          (other) => `${JSON.stringify(other.token)} ${percent(other.logprob)}`,
        );
        const mark = el("span", { title: [percent(token.logprob), ...others].join("\n") }, token.token);
        mark.style.borderColor = ramp[bucket(Math.exp(token.logprob))];
        return mark;
      }),
    ),
  );
}
