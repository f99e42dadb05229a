/** What is on the stage: one search, or two side by side. */

import { Pane } from "./pane.js";

export class Stage {
  constructor() {
    this.room = document.getElementById("panes");
    this.empty = document.getElementById("empty");
    this.panes = [];
    this.stopping = null;
  }

  get searches() {
    return this.panes.map((pane) => pane.search);
  }

  /** The ids under which the server may have stored what is shown. */
  get traces() {
    return this.searches.map((search) => search.ttc.trace_id).filter(Boolean);
  }

  /** Show searches in the place of what was shown. */
  show(searches) {
    this.stop();
    for (const pane of this.panes) pane.close();
    this.panes = searches.map((search) => new Pane(search));
    this.room.replaceChildren(...this.panes.map((pane) => pane.element));
    this.room.classList.toggle("two", searches.length > 1);
    this.empty.hidden = searches.length > 0;
  }

  /** Show searches that run, and see each to its end; `work(search, i, {signal, onnews})` fills one. */
  async run(searches, work) {
    this.show(searches);
    const stopping = new AbortController();
    this.stopping = stopping;
    const { panes } = this;
    await Promise.all(
      searches.map((search, i) => work(search, i, { signal: stopping.signal, onnews: () => panes[i].news() })),
    );
    if (this.stopping === stopping) this.stopping = null;
    return this.panes === panes;
  }

  /** Stop what runs; the server stops it too. */
  stop() {
    this.stopping?.abort();
    this.stopping = null;
  }
}
