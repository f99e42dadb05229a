/** A trace that the server has stored, as a search that can be replayed. */

import { Search } from "./search.js";

const DECIDED = ["pruned", "merged", "visits", "value", "copies", "accepted"];

/**
 * The search of a stored trace.
 *
 * A trace tells when a node was generated, not when it was judged. It is taken to be scored as soon as it was
 * there, and pruned when the next generation after it began.
 */
export function fromTrace(trace) {
  const search = new Search({ question: questionOf(trace.messages), label: trace.strategy });
  Object.assign(search, detailsOf(trace));
  const nodes = trace.nodes ?? [];
  const starts = nodes.map((node) => node.started ?? 0).sort((a, b) => a - b);
  const end = nodes.reduce((last, node) => Math.max(last, node.ended ?? 0), trace.seconds ?? 0);
  for (const node of nodes) {
    if (node.id === 0) continue;
    const kept = Object.entries(node.data ?? {}).filter(([name]) => !DECIDED.includes(name));
    const undecided = kept.length < Object.keys(node.data ?? {}).length;
    if (undecided) search.learn({ ...node, data: Object.fromEntries(kept) }, node.ended);
    search.learn(node, undecided ? (after(starts, node.ended) ?? end) : node.ended);
  }
  if (trace.text) search.write(trace.text, end);
  search.end(search.state, search.running ? 0 : end);
  search.before = search.running ? (trace.seconds ?? 0) : 0;
  return search;
}

const STATES = { running: "running", finished: "done", cancelled: "stopped", failed: "failed" };

/** What a trace says besides its nodes and text, as a search has it. */
export function detailsOf(trace) {
  return {
    ttc: {
      trace_id: trace.id,
      strategy: trace.strategy,
      parameters: trace.parameters ?? {},
      verifier: trace.verifier?.name ?? null,
      budget: trace.budget ?? {},
      answer: trace.answer,
      score: trace.score,
      confidence: trace.confidence,
      stopped: trace.stopped,
      seconds: trace.seconds,
      verifier_tokens: trace.usage?.verifier_tokens,
      node: trace.node,
    },
    usage: trace.usage ?? null,
    error: trace.error ?? null,
    state: STATES[trace.status] ?? "failed",
  };
}

/** The first of ascending times that is not before `time`; undefined where all are. */
function after(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return times[low];
}

/** The last thing that the user said. */
function questionOf(messages) {
  const said = (messages ?? []).filter((message) => message.role === "user").at(-1)?.content ?? "";
  return typeof said === "string" ? said : said.map((part) => part.text ?? "").join("");
}
