import { OpenAIError } from "openai";
import type { ChatCompletion } from "openai/resources";

/** An answer that was considered. */
export interface Candidate {
  text: string;
  answer: string | null;
  score: number | null;
  votes: number | null;
  finish_reason: string;
  tokens: number;
  /** Where it ends in the tree. */
  node: number;
}

/** One thing that happened in a search; node 0 is its root. */
export interface SearchNode {
  id: number;
  parent: number | null;
  kind: string;
  text: string;
  tokens: number;
  finish: string | null;
  score: number | null;
  step_scores: number[];
  usage: { prompt: number; completion: number; cached: number };
  /** Seconds since the start of the search. */
  started: number;
  ended: number;
  data: Record<string, unknown>;
}

/** What is known of a search before it begins. */
export interface Plan {
  trace_id: string;
  strategy: string;
  parameters: Record<string, unknown>;
  verifier: string | null;
  budget: { tokens: number | null; seconds: number | null; samples: number | null };
}

/** How an answer was found. */
export interface TTC extends Plan {
  answer: string | null;
  score: number | null;
  confidence: number | null;
  /** `complete`, or which limit ended the search. */
  stopped: string;
  samples: number;
  engine_calls: number;
  verifier_calls: number;
  verifier_tokens: number;
  seconds: number;
  /** Only where a verifier was down and majority vote answered. */
  fallback?: { strategy: string; unavailable: string };
  /** Best first, with `include: ["candidates"]`. */
  candidates?: Candidate[];
  /** With `include: ["trace"]`. */
  trace?: SearchNode[];
}

/** The nodes of a search by their ids. */
export class Tree extends Map<number, SearchNode> {
  static of(nodes: Iterable<SearchNode>): Tree {
    const tree = new Tree();
    for (const node of nodes) tree.set(node.id, node);
    return tree;
  }

  /** What was continued from a node. */
  children(id = 0): SearchNode[] {
    return [...this.values()].filter((node) => node.parent === id);
  }

  /** The way from the root to a node. */
  path(id: number): SearchNode[] {
    const node = this.get(id);
    if (node === undefined) return [];
    return node.parent === null ? [node] : [...this.path(node.parent), node];
  }
}

/** An answer, the SDK's completion with `usage`, and how it was found. */
export interface Result {
  text: string;
  completion: ChatCompletion;
  ttc: TTC;
  /** The search, with `include: ["trace"]` or from a stream; else empty. */
  tree: Tree;
}

/** Read a completion; `nodes` are those that a stream told. */
export function read(completion: ChatCompletion & { ttc?: TTC }, nodes: Iterable<SearchNode> = []): Result {
  const { ttc } = completion;
  if (ttc === undefined) throw new OpenAIError("the answer has no `ttc`: is this a mull server?");
  const text = completion.choices[0]?.message.content ?? "";
  return { text, completion, ttc, tree: Tree.of(ttc.trace ?? nodes) };
}
