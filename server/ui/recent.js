/** The list of recent searches. */

import { count, el, seconds } from "./dom.js";
import { all, forget, forgetAll, keep } from "./history.js";

export class Recent {
  /** `onopen(entry)` is called to show one again. */
  constructor(list, onopen) {
    this.list = list;
    this.onopen = onopen;
  }

  async add(entry) {
    await keep(entry);
    await this.show();
  }

  async clear() {
    await forgetAll();
    await this.show();
  }

  async show() {
    const entries = await all();
    this.list.replaceChildren(...entries.map((entry) => this.#row(entry)));
    this.list.closest("section").hidden = entries.length === 0;
  }

  #row(entry) {
    const figures = entry.searches.map(({ label, ttc, usage, seconds: took }) =>
      [
        label,
        ttc.answer ? `= ${ttc.answer.slice(0, 30)}` : null,
        usage ? `${count(usage.completion_tokens)} tokens` : null,
        `${seconds(took)} s`,
      ]
        .filter(Boolean)
        .join(" · "),
    );
    const when = new Date(entry.at).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", title: when, onclick: () => this.onopen(entry) },
        el("span", { class: "question" }, entry.state.question),
        ...figures.map((text) => el("span", { class: "figures" }, text)),
      ),
      el(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": `Forget ${entry.state.question.slice(0, 60)}`,
          onclick: async () => {
            await forget(entry.at);
            await this.show();
          },
        },
        "Forget",
      ),
    );
  }
}
