import OpenAI, { type ClientOptions } from "openai";

import { type Event, events } from "./events.js";
import { body, type Options, type Question } from "./options.js";
import { read, type Result, type SearchNode } from "./results.js";

/** A strategy as the server describes it. */
export interface StrategyInfo {
  name: string;
  description: string;
  source: string | null;
  /** JSON Schema. */
  parameters: Record<string, unknown>;
  needs: { verifier: string | null; continues: boolean; ends: boolean; retriever: boolean };
  cost: { model: string | null; at_most: { generations: number; scores: number } | null };
  /** The models that it works with. */
  models: string[];
}

export interface VerifierInfo {
  name: string;
  kind: string;
  healthy: boolean;
  version: string;
  [more: string]: unknown;
}

/** A finished request with its search and the feedback on it. */
export interface StoredTrace {
  id: string;
  nodes: SearchNode[];
  [more: string]: unknown;
}

/** What a user says of an answer, or of one `node` of its search; at least one of the others. */
export interface Feedback {
  right?: boolean;
  reference?: string;
  rating?: 1 | -1;
  comment?: string;
  node?: number;
}

type RequestOptions = OpenAI.RequestOptions;

/** `OpenAI` for a mull server. Where nothing is said, the server is MULL_URL or this machine's, the key MULL_API_KEY. */
export class Mull extends OpenAI {
  constructor(options: ClientOptions = {}) {
    const env = globalThis.process?.env ?? {};
    super({
      ...options,
      baseURL: options.baseURL ?? env["MULL_URL"] ?? "http://127.0.0.1:8000/v1",
      apiKey: options.apiKey ?? env["MULL_API_KEY"] ?? "none",
    });
  }

  /** The answer to a question or conversation. */
  async ask(question: Question, options: Options = {}, request?: RequestOptions): Promise<Result> {
    const asked = body(question, await this.modelOf(options), options);
    return read(await this.chat.completions.create(asked, request));
  }

  /** The search as it goes, and the answer; leaving the loop cancels the search. */
  async *stream(question: Question, options: Options = {}, request?: RequestOptions): AsyncGenerator<Event> {
    const asked = body(question, await this.modelOf(options), options, "nodes");
    const usage = { stream: true, stream_options: { include_usage: true } } as const;
    const stream = this.chat.completions.stream({ ...asked, ...usage }, request);
    const nodes = new Map<number, SearchNode>();
    for await (const chunk of stream) {
      for (const event of events(chunk)) {
        if (event.type === "node") nodes.set(event.node.id, event.node);
        yield event;
      }
    }
    yield { type: "finished", result: read(await stream.finalChatCompletion(), nodes.values()) };
  }

  /** The server's strategies. */
  async strategies(): Promise<StrategyInfo[]> {
    return (await this.get<{ data: StrategyInfo[] }>("/ttc/strategies")).data;
  }

  /** The server's verifiers and whether they answer. */
  async verifiers(): Promise<VerifierInfo[]> {
    return (await this.get<{ data: VerifierInfo[] }>("/ttc/verifiers")).data;
  }

  /** A finished request with its search; it may want another key: `withOptions({apiKey})`. */
  async trace(id: string): Promise<StoredTrace> {
    return this.get<StoredTrace>(`/ttc/traces/${encodeURIComponent(id)}`);
  }

  /** Say what you think of an answer; false if that was said before. */
  async feedback(traceId: string, said: Feedback): Promise<boolean> {
    return (await this.post<{ new: boolean }>("/ttc/feedback", { body: { trace_id: traceId, ...said } })).new;
  }

  private async modelOf(options: Options): Promise<string> {
    if (options.model !== undefined) return options.model;
    for await (const model of this.models.list()) return model.id;
    throw new OpenAI.OpenAIError("the server has no models");
  }
}
