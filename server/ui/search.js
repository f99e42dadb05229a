/**
 * A search as it is known: its nodes, each with all its states in time, the text of the answer, what it cost.
 *
 * Nothing is ever overwritten, so any moment of it can be looked at again: that is what a replay does.
 */

/** The state of a node at a time, in seconds from the start; null before there is one. */
export function at(node, time) {
  const { versions } = node;
  for (let i = versions.length - 1; i >= 0; i -= 1) if (versions[i].at <= time) return versions[i].data;
  return null;
}

export class Search {
  constructor({ question = "", label = "" } = {}) {
    this.question = question;
    this.label = label;
    /** What the server said it would do, then what it did: the response's `ttc`. */
    this.ttc = {};
    this.usage = null;
    this.state = "running";
    this.error = null;
    this.texts = [];
    this.logprobs = [];
    this.byId = new Map();
    this.nodes = [];
    this.seconds = 0;
    /** Seconds that had passed before we began to watch. */
    this.before = 0;
    this.#add({ id: 0, parent: null, kind: "root", text: "", started: 0, ended: 0 }, 0);
  }

  get running() {
    return this.state === "running";
  }

  get root() {
    return this.nodes[0];
  }

  /** Take in a node that is new or has changed; `time` is when that was. */
  learn(data, time = data.ended ?? 0) {
    this.seconds = Math.max(this.seconds, time);
    const known = this.byId.get(data.id);
    if (known === undefined) this.#add(data, time);
    else known.versions.push({ at: Math.max(time, known.versions.at(-1).at), data });
  }

  /** More text of the answer. */
  write(text, time) {
    this.texts.push({ at: time, text });
  }

  /** How it ended: `done`, `failed` or `stopped`. */
  end(state, seconds) {
    this.state = state;
    this.seconds = Math.max(this.seconds, seconds ?? 0);
  }

  #add(data, time) {
    // What hangs below something unknown (a stream joined late) hangs below the root.
    const above = data.id === 0 ? null : (this.byId.get(data.parent) ?? this.root);
    const node = {
      id: data.id,
      above,
      below: [],
      place: above === null ? 0 : above.below.length,
      depth: above === null ? 0 : above.depth + 1,
      started: data.started ?? 0,
      versions: [{ at: time, data }],
      row: 0,
      shown: null,
    };
    if (above !== null) above.below.push(node);
    this.byId.set(node.id, node);
    this.nodes.push(node);
  }

  /** The answer as far as it was written at a time. */
  textAt(time) {
    let text = "";
    for (const piece of this.texts) if (piece.at <= time) text += piece.text;
    return text;
  }

  /** The node of the answer; null as long as it is not known. */
  get answerNode() {
    const id = this.ttc.candidates?.[0]?.node ?? this.ttc.node;
    return id === undefined || id === null ? null : (this.byId.get(id) ?? null);
  }

  /** The ids from the answer up to the root. */
  get way() {
    return new Set(this.above(this.answerNode).map((node) => node.id));
  }

  /** A node and all above it, the root first; none of nothing. */
  above(node) {
    const found = [];
    for (let here = node; here !== null && here !== undefined; here = here.above) found.push(here);
    return found.reverse();
  }

  /** What had been spent at a time, as far as the nodes tell. */
  spentAt(time) {
    let [tokens, samples, best] = [0, 0, null];
    for (const node of this.nodes) {
      const data = at(node, time);
      if (data === null || node.id === 0) continue;
      tokens += data.tokens ?? 0;
      samples += data.tokens > 0 ? 1 : 0;
      if (typeof data.score === "number") best = best === null ? data.score : Math.max(best, data.score);
    }
    return { tokens, samples, best };
  }

  /** All of it as plain data. */
  toJSON() {
    const { question, label, ttc, usage, state, error, texts, logprobs, seconds } = this;
    // The nodes are kept with their times; the same nodes in `ttc.trace` would be them again.
    const events = this.nodes.flatMap((node) => node.versions.map((version) => [version.at, version.data]));
    return {
      question,
      label,
      ttc: { ...ttc, trace: undefined },
      usage,
      state,
      error,
      texts,
      logprobs,
      seconds,
      events,
    };
  }

  /** What `toJSON` gave, as a search. */
  static from(data) {
    const search = new Search(data);
    const { ttc, usage, state, error, texts, logprobs } = data;
    Object.assign(search, { ttc, usage, error, texts, logprobs });
    const ordered = data.events.filter(([, node]) => node.id !== 0).sort((a, b) => a[1].id - b[1].id);
    for (const [time, node] of ordered) search.learn(node, time);
    search.end(state === "running" ? "stopped" : state, data.seconds);
    return search;
  }
}
