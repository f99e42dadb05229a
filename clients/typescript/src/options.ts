import type { ChatCompletionCreateParamsNonStreaming, ChatCompletionMessageParam } from "openai/resources";

import type { Strategies } from "./strategies.js";

/** What a search may spend at most. */
export interface Budget {
  /** Generated tokens, hidden and cancelled ones included. */
  tokens?: number;
  seconds?: number;
  /** Generations started. */
  samples?: number;
}

/** A strategy of mull's by its name, with its parameters beside it. */
export type Known = { [Name in keyof Strategies]: { name: Name } & Strategies[Name] }[keyof Strategies];

/** A strategy that a plugin brought to the server. */
export interface Plugin {
  plugin: string;
  parameters?: Record<string, unknown>;
}

export type Strategy = Known | Plugin;

/** A strategy as a parameter of another one; `share` is its share of what is left of each limit. */
export type Inner = Strategy & { budget?: Budget & { share?: number } };

/** vLLM's sampling fields. */
export interface EngineOptions {
  top_k?: number;
  min_p?: number;
  repetition_penalty?: number;
  min_tokens?: number;
  ignore_eos?: boolean;
  stop_token_ids?: number[];
  allowed_token_ids?: number[];
  bad_words?: string[];
  chat_template_kwargs?: Record<string, unknown>;
}

/** How test-time compute is spent. */
export interface SearchOptions {
  strategy?: Strategy | keyof Strategies;
  budget?: Budget;
  verifier?: string;
  include?: readonly ("candidates" | "trace")[];
  /** How a final answer is found in a text. */
  answer?: "auto" | "boxed" | "number" | "choice" | "json" | "tool_call" | "text";
  /** A known right answer, for the verifier that compares with it. */
  reference?: string;
}

type Chat = Omit<ChatCompletionCreateParamsNonStreaming, "messages" | "model" | "stream" | "stream_options">;

/** Everything besides the question; `model` is the server's first one when not given. */
export interface Options extends Chat, EngineOptions, SearchOptions {
  model?: string;
}

export type Question = string | ChatCompletionMessageParam[];

/** The body of a chat completion. */
export function body(question: Question, model: string, options: Options, progress?: "nodes") {
  const { strategy, budget, verifier, include, answer, reference, ...chat } = options;
  const chosen = typeof strategy === "string" ? { strategy } : (plain(strategy ?? {}) as object);
  const search = { budget, verifier, include, answer, reference, progress };
  const messages: ChatCompletionMessageParam[] =
    typeof question === "string" ? [{ role: "user", content: question }] : question;
  return { ...chat, model, messages, ttc: { ...chosen, ...search } };
}

/** Strategies as the server takes them: their name in `strategy`. A plugin's parameters are its own business. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  if ("plugin" in value) {
    const { plugin, parameters, ...budget } = value as Plugin;
    return { strategy: plugin, ...parameters, ...budget };
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key === "name" ? "strategy" : key, plain(inner)]),
  );
}
