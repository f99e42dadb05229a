/** The votes as bars. */

import { votesAt } from "./answers.js";
import { el, score } from "./dom.js";

const MOST = 8;

export class Ballot {
  constructor() {
    this.list = el("ul");
    this.note = el("p", { class: "hint" });
    this.element = el(
      "section",
      { class: "votes", "aria-label": "Votes" },
      el("h3", { class: "label" }, "Votes"),
      this.note,
      this.list,
    );
    this.last = "";
  }

  show(search, time) {
    const votes = votesAt(search, time);
    const state = JSON.stringify(votes);
    if (state === this.last) return;
    this.last = state;
    const most = Math.max(...votes.map((vote) => vote.votes), Number.MIN_VALUE);
    this.list.replaceChildren(...votes.slice(0, MOST).map((vote) => row(vote, most)));
    const left = votes.length - MOST;
    this.note.textContent =
      votes.length === 0
        ? "None yet."
        : left > 0
          ? `${votes.length} different ones; ${left} with the fewest votes are not shown.`
          : "";
    this.note.hidden = this.note.textContent === "";
  }
}

function row({ answer, votes, score: value, won }, most) {
  const bar = el("i");
  bar.style.width = `${(100 * votes) / most}%`;
  const cast = Number.isInteger(votes) ? `${votes} ${votes === 1 ? "vote" : "votes"}` : `weight ${votes.toFixed(2)}`;
  return el(
    "li",
    { class: won ? "vote won" : "vote" },
    el(
      "span",
      { class: "given", title: answer },
      answer,
      won ? el("span", { class: "hidden" }, " (the answer)") : null,
    ),
    el("span", { class: "cast" }, value === null ? cast : `${cast}, score ${score(value)}`),
    el("span", { class: "track", "aria-hidden": "true" }, bar),
  );
}
