/** Puts what arrives into a search at the time at which it happened there, which is not quite when it arrived. */

export class Recorder {
  constructor(search) {
    this.search = search;
    this.began = performance.now();
    /** How far our clock is ahead of the search's. */
    this.lag = null;
  }

  /** Seconds since we began to listen. */
  get passed() {
    return (performance.now() - this.began) / 1000;
  }

  /** Now, by the search's clock. */
  get now() {
    return Math.max(0, this.passed - (this.lag ?? 0));
  }

  /** A node that is new, which tells its time itself, or has changed just now. */
  node(data) {
    const known = this.search.byId.has(data.id);
    if (!known) this.lag = Math.min(this.lag ?? Infinity, this.passed - data.ended);
    this.search.learn(data, known ? this.now : data.ended);
  }

  /** All nodes as they are in the end: there may be a change that was not told. */
  nodes(all) {
    for (const data of all) {
      const last = this.search.byId.get(data.id)?.versions.at(-1).data;
      if (data.id !== 0 && JSON.stringify(last) !== JSON.stringify(data)) this.node(data);
    }
  }
}
