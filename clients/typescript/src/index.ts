export { Mull, type Feedback, type StoredTrace, type StrategyInfo, type VerifierInfo } from "./client.js";
export type { Event } from "./events.js";
export type { Budget, EngineOptions, Inner, Known, Options, Plugin, Question, SearchOptions, Strategy } from "./options.js";
export { Tree, type Candidate, type Plan, type Result, type SearchNode, type TTC } from "./results.js";
export type { Strategies } from "./strategies.js";
