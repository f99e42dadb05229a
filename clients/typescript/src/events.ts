import type { ChatCompletionChunk } from "openai/resources";

import type { Plan, Result, SearchNode, TTC } from "./results.js";

/** A search as it goes: `started` first, `finished` last. */
export type Event =
  | { type: "started"; plan: Plan }
  /** A node is new, or has another score or other data. */
  | { type: "node"; node: SearchNode }
  /** More text of a choice (0 is the answer); nothing of it is taken back. */
  | { type: "text"; text: string; choice: number }
  | { type: "finished"; result: Result };

type Chunk = ChatCompletionChunk & { ttc?: Plan | TTC | { node: SearchNode } };

/** What a chunk tells. */
export function* events(chunk: Chunk): Generator<Exclude<Event, { type: "finished" }>> {
  const { ttc, choices } = chunk;
  if (ttc !== undefined && "node" in ttc) yield { type: "node", node: ttc.node };
  else if (ttc !== undefined && !("stopped" in ttc)) yield { type: "started", plan: ttc };
  for (const { delta, index } of choices) {
    if (delta.content) yield { type: "text", text: delta.content, choice: index };
  }
}
