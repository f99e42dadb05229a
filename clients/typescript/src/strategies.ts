// Made by clients/typescript/generate from the JSON Schemas of the server's strategies.

import type { Inner } from "./options.js";

/** Parameters by the strategy's name. */
export interface Strategies {
  adaptive: Adaptive;
  adaptive_consistency: AdaptiveConsistency;
  beam_search: BeamSearch;
  best_first: BestFirst;
  best_of_n: BestOfN;
  bfs: BreadthFirst;
  budget_forcing: BudgetForcing;
  cascade: Cascade;
  confidence: Confidence;
  cot: CoT;
  debate: Debate;
  dfs: DepthFirst;
  dvts: DVTS;
  early_exit: EarlyExit;
  early_stopping: EarlyStopping;
  entropy_branching: EntropyBranching;
  few_shot: FewShot;
  graph_of_thoughts: GraphOfThoughts;
  long_context: LongContext;
  majority_vote: MajorityVote;
  mcts: MCTS;
  mixture_of_agents: MixtureOfAgents;
  particle_filtering: ParticleFiltering;
  rag: Rag;
  rerank: Rerank;
  select: Select;
  self_critique: SelfCritique;
  self_verify: SelfVerify;
  single: Single;
  speculative_rejection: SpeculativeRejection;
  token_beam_search: TokenBeamSearch;
  tree_of_thoughts: TreeOfThoughts;
  weighted_best_of_n: WeightedBestOfN;
}

/** Draws `samples` answers as a probe, turns them into a signal of ease, and goes on as its level says. */
export interface Adaptive {
  /** How many answers the probe draws; none with signal difficulty. */
  samples?: number;
  /** What says how easy the question is: the share of the probe's most frequent answer, its mean token probability, its mean verifier score, or what a verifier of kind difficulty says of it. */
  signal?: "agreement" | "confidence" | "score" | "difficulty";
  /** Strategies by the least signal they are meant for, easiest first, the last with 0. */
  levels?: readonly Level[];
}

/** Samples in batches until the leading answer is the most likely one with a probability of `confidence`. */
export interface AdaptiveConsistency {
  /** How many answers to sample at most. */
  n?: number;
  /** How many to sample before each decision. */
  batch?: number;
  /** How probable it must be that the leading answer stays the leader. */
  confidence?: number;
  /** What is asked of an endless vote: that the leader beats the runner-up (beta), or all others (dirichlet). Predictive: that it is ahead of the runner-up once all n are drawn. */
  rule?: "beta" | "dirichlet" | "predictive";
}

/** Keeps the `width` best partial answers and samples `expand` next steps from each, until all have ended. */
export interface BeamSearch {
  /** Longest answer, in steps; longer ones are cut off. */
  depth?: number;
  /** What ends a step. */
  delimiter?: string;
  /** Longest step, in tokens; a longer one counts as several. */
  step_tokens?: number | null;
  /** How step scores become one score. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** How many partial answers survive a level. */
  width?: number;
  /** How many next steps to sample from each of them. */
  expand?: number;
  /** Drop beams that score below this share of the level's best one. */
  prune?: number;
  /** Score a step by what it leads to so many steps further. */
  lookahead?: number;
  /** Continue probable survivors before their level has ended, not certain ones alone; what turns out to be in vain is cancelled, and billed. */
  speculate?: boolean;
}

/** Always goes on with the `batch` best partial answers, wherever in the tree they are. */
export interface BestFirst {
  /** Longest answer, in steps; longer ones are cut off. */
  depth?: number;
  /** What ends a step. */
  delimiter?: string;
  /** Longest step, in tokens; a longer one counts as several. */
  step_tokens?: number | null;
  /** How step scores become one score. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** How many partial answers are expanded at most. */
  expansions?: number;
  /** How many next steps to sample from each. */
  branch?: number;
  /** How many partial answers are expanded at once. */
  batch?: number;
  /** How to choose among finished answers: score or weighted vote. */
  final?: "score" | "vote";
}

/** Samples `n` answers and returns the one that the verifier scores highest. */
export interface BestOfN {
  /** How many answers to sample. */
  n?: number;
  /** How a process verifier's step scores become one. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** Taken off the score of the longest complete answer, and off others by their length. */
  length_penalty?: number;
}

/** Goes through the tree level by level, keeping the best `width` partial answers that reach `threshold`. */
export interface BreadthFirst {
  /** Longest answer, in steps; longer ones are cut off. */
  depth?: number;
  /** What ends a step. */
  delimiter?: string;
  /** Longest step, in tokens; a longer one counts as several. */
  step_tokens?: number | null;
  /** How step scores become one score. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** How many next steps to sample from each partial answer. */
  branch?: number;
  /** Partial answers that score below it are pruned. */
  threshold?: number;
  /** How to choose among finished answers: score or weighted vote. */
  final?: "score" | "vote";
  /** How many partial answers of a level are kept at most. */
  width?: number;
}

/** Puts `word` where the model ends its thinking, `extensions` times; cuts it after `thinking` tokens. */
export interface BudgetForcing {
  /** What follows thinking that was ended; may be empty. */
  closing?: string;
  /** Text that ends the thinking; None makes the whole answer thinking. */
  end_of_thinking?: string | null;
  /** How often the end of thinking is suppressed. */
  extensions?: number;
  /** What is put in its place. */
  word?: string;
  /** Tokens of thinking at most; None is no limit of its own. */
  thinking?: number | null;
}

/** Asks its `stages` one after the other until an answer's confidence is at least what its stage demands. */
export interface Cascade {
  /** Strategies, cheapest first, each with the confidence that makes its answer final. */
  stages?: readonly Stage[];
}

/** Lets each answer vote with the model's certainty of its tokens, the least certain answers not at all. */
export interface Confidence {
  /** Filter afterwards, or stop meanwhile. */
  mode?: "offline" | "online";
  /** How many answers to sample at most. */
  n?: number;
  /** Share of the most certain answers that may vote. */
  keep?: number;
  /** What an answer's certainty is: that of its least certain window, of the least certain tenth of its windows, of its last window, or of all its tokens. */
  measure?: "lowest" | "bottom" | "tail" | "mean";
  /** Tokens of a window. */
  window?: number;
  /** Most likely tokens whose log-probabilities count. */
  top?: number;
  /** Online: answers that set the threshold. */
  warmup?: number;
  /** Online: answers written side by side. */
  batch?: number;
  /** Online: tokens between two checks of an answer. */
  span?: number;
  /** Online: how often an answer is checked at most. */
  checks?: number;
  /** Online: share of the votes at which the leading answer is final. */
  consensus?: number;
}

/** Appends `instruction` to the last user message and lets `inner` answer. */
export interface CoT {
  /** What the last user message ends in. */
  instruction?: string;
  /** The strategy that answers. */
  inner?: Inner;
}

/** Has `agents` answers written, then in each of `rounds` shows each agent the others' last answers. */
export interface Debate {
  /** How many take part. */
  agents?: number;
  /** How often they answer after having read the others. */
  rounds?: number;
  /** The agents' models, by turns; the request's own where there are none. */
  models?: readonly string[];
  /** What an agent is asked in each round; {answers} are the others'. */
  prompt?: string;
}

/** Follows the best step; where nothing that comes of it reaches `threshold`, goes back to the next best. */
export interface DepthFirst {
  /** Longest answer, in steps; longer ones are cut off. */
  depth?: number;
  /** What ends a step. */
  delimiter?: string;
  /** Longest step, in tokens; a longer one counts as several. */
  step_tokens?: number | null;
  /** How step scores become one score. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** How many next steps to sample from each partial answer. */
  branch?: number;
  /** Partial answers that score below it are pruned. */
  threshold?: number;
  /** How to choose among finished answers: score or weighted vote. */
  final?: "score" | "vote";
  /** How many steps from one partial answer are tried at most. */
  width?: number;
  /** How many partial answers are expanded at most. */
  expansions?: number;
}

/** Grows `n / width` independent trees, each of which keeps the best of `width` next steps. */
export interface DVTS {
  /** Longest answer, in steps; longer ones are cut off. */
  depth?: number;
  /** What ends a step. */
  delimiter?: string;
  /** Longest step, in tokens; a longer one counts as several. */
  step_tokens?: number | null;
  /** How step scores become one score. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** How many steps all trees together sample a level. */
  n?: number;
  /** How many of them one tree does; it divides n. */
  width?: number;
  /** How to choose among finished answers: score or weighted vote. */
  final?: "score" | "vote";
}

/** Asks for the answer every `span` tokens of thinking, and stops thinking when `agree` replies are equal. */
export interface EarlyExit {
  /** What follows thinking that was ended; may be empty. */
  closing?: string;
  /** Text that ends the thinking; None makes the whole answer thinking. */
  end_of_thinking?: string | null;
  /** Tokens of thinking between two probes. */
  span?: number;
  /** Text that ends a part of the thinking sooner. */
  delimiter?: string | null;
  /** What asks for the answer now; with the reply it reads like a final answer. */
  probe?: string;
  /** Tokens of a probe at most. */
  probe_tokens?: number;
  /** How often to ask at most. */
  probes?: number;
  /** How many replies in a row must be equal. */
  agree?: number;
}

/** Samples windows of `window` answers and stops when all answers of a window are equal; then all vote. */
export interface EarlyStopping {
  /** How many answers to sample at most. */
  n?: number;
  /** How many answers have to agree. */
  window?: number;
}

/** Follows one answer, and branches where the entropy of the next token exceeds `threshold`. */
export interface EntropyBranching {
  /** How many answers at most. */
  n?: number;
  /** How many tokens to go on with at an uncertain place. */
  branch?: number;
  /** Entropy, in nats, above which a place is uncertain. */
  threshold?: number;
  /** How many tokens are generated before looking for one. */
  span?: number;
  /** Branch within so many tokens from the start. */
  reach?: number;
  /** How to choose an answer: by vote, by score, or by vote weighted with scores. */
  final?: "vote" | "score" | "weighted";
  /** How a process verifier's step scores become one. */
  aggregate?: "min" | "last" | "product" | "mean";
}

/** Puts examples before the conversation, each a user's and an assistant's turn, and lets `inner` answer. */
export interface FewShot {
  /** Examples, in the order of their turns. */
  examples?: readonly Example[];
  /** How many to retrieve where none are given. */
  k?: number;
  /** Which of the server's retrievers is the pool; the only one by default. */
  retriever?: string | null;
  /** How plain texts of the pool are shown. */
  preface?: string;
  /** The strategy that answers. */
  inner?: Inner;
}

/** Carries out the operations of `graph` in their order, each on the thoughts of earlier ones. */
export interface GraphOfThoughts {
  /** Operations; each can take thoughts from those before it, in `from`. */
  graph?: readonly (Generate | Aggregate | Refine | Judge | KeepBest)[];
  /** Who scores. */
  scorer?: "model" | "verifier";
}

/** Answers a question about a text that is longer than the context; other requests go to `inner` as such. */
export interface LongContext {
  /** The strategy that answers. */
  inner?: Inner;
  /** What stands between text and question; the last blank line by default. */
  split?: string | null;
  /** Tokens of prompt and reply at most; the model's context by default. */
  window?: number | null;
  /** Parts of the text at most; longer ones are refused. */
  parts?: number;
  /** Share of a part that the next one repeats. */
  overlap?: number;
  /** Longest note of a part; a quarter of the window at most. */
  note_tokens?: number;
  /** How often notes are made, the first time of the text. */
  levels?: number;
  /** The reply to a part that does not help. */
  nothing?: string;
  /** Asks for a note: {part}, {question} and {nothing}. */
  map_prompt?: string;
  /** Asks for the answer: {notes} and {question}. */
  reduce_prompt?: string;
}

/** Samples `n` answers and returns the most frequent one, equality being mathematical. */
export interface MajorityVote {
  /** How many answers to sample. */
  n?: number;
}

/** Simulations that each walk down the tree to a leaf, expand it, and report what came of it upwards. */
export interface MCTS {
  /** Longest answer, in steps; longer ones are cut off. */
  depth?: number;
  /** What ends a step. */
  delimiter?: string;
  /** Longest step, in tokens; a longer one counts as several. */
  step_tokens?: number | null;
  /** How step scores become one score. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** How many leaves are expanded at most. */
  simulations?: number;
  /** How many next steps to sample from each. */
  branch?: number;
  /** How many simulations run at once. */
  parallel?: number;
  /** How a child is selected: PUCT, with priors, or UCT. */
  rule?: "puct" | "uct";
  /** How much to try what has been tried little; 0 only exploits. */
  exploration?: number;
  /** Priors of PUCT: equal, the model's probabilities, or the verifier's scores. */
  prior?: "uniform" | "logprob" | "process";
  /** Where values come from: scores of steps, of finished rollouts, or both. */
  value?: "process" | "rollout" | "both";
  /** Weight of the rollout where the value is from both. */
  mixing?: number;
  /** How to choose among finished answers: score, weighted vote, most visits, highest value. */
  final?: "score" | "vote" | "visits" | "value";
}

/** Has `proposers` answers written a layer, each layer shown the one before, and one final answer. */
export interface MixtureOfAgents {
  /** Layers of proposers, before the aggregator. */
  layers?: number;
  /** Answers that each layer writes. */
  proposers?: number;
  /** Models that propose, by turns; the request's own where there are none. */
  models?: readonly string[];
  /** Model of the final answer; the request's own by default. */
  aggregator?: string | null;
  /** Question of all but the first layer: {question} and {answers}. */
  prompt?: string;
}

/** Lets `n` partial answers grow a step at a time and redistributes them by what the verifier says. */
export interface ParticleFiltering {
  /** Longest answer, in steps; longer ones are cut off. */
  depth?: number;
  /** What ends a step. */
  delimiter?: string;
  /** Longest step, in tokens; a longer one counts as several. */
  step_tokens?: number | null;
  /** How step scores become one score. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** How many particles. */
  n?: number;
  /** How often, each time with a particle of the last one. */
  iterations?: number;
  /** How particles are drawn anew. */
  resampling?: "multinomial" | "systematic";
  /** Draw anew when fewer than this share of the particles are effective. */
  resample_below?: number;
  /** Divides the logits of scores: lower ones favour the best more. */
  weight_temperature?: number;
  /** How to choose among finished answers: score or weighted vote. */
  final?: "score" | "vote";
}

/** Retrieves `k` passages for the question, shows them to the model and lets `inner` answer. */
export interface Rag {
  /** Passages retrieved a round. */
  k?: number;
  /** Which of the server's; the only one by default. */
  retriever?: string | null;
  /** Whether the question itself is the query, or the model writes one. */
  query?: "question" | "written";
  /** The strategy that answers. */
  inner?: Inner;
  /** Confidence below which more is retrieved and the question asked again. */
  at_least?: number;
  /** Retrievals at most. */
  rounds?: number;
  /** The question with what was found: {passages} and {question}. */
  prompt?: string;
  /** How a passage is shown: {text}, its {number} from 1 and its {id}. */
  passage?: string;
  /** Asks for a query: {question}. */
  query_prompt?: string;
}

/** Samples `n` answers and has the model put them into order. */
export interface Rerank {
  /** How many answers to sample. */
  n?: number;
  /** Whether answers are checked, rated or compared. */
  method?: "p_true" | "rating" | "pairwise";
  /** Which pairs are compared: winners with winners, or all. */
  tournament?: "knockout" | "round_robin";
  /** The turn that asks whether an answer is right. */
  check?: string;
  /** The turn that asks for a rating. */
  rate?: string;
  /** The best rating. */
  scale?: number;
  /** What takes the place of the last user message to compare two answers. */
  compare?: string;
  /** The reply that prefers the first one. */
  first?: string;
  /** The reply that prefers the second one. */
  second?: string;
}

/** Samples `n` answers, shows them to the model under numbers, and returns the one that it names. */
export interface Select {
  /** How many answers to sample. */
  n?: number;
  /** How often to select, each time from another order. */
  votes?: number;
  /** How many answers to show at once at most. */
  group?: number;
  /** How an answer is shown. */
  item?: string;
  /** What takes the place of the last user message; the reply's last number counts. */
  prompt?: string;
}

/** Lets `inner` answer, then asks for a critique and a revised answer, for `rounds` rounds at most. */
export interface SelfCritique {
  /** The strategy that gives the first answer. */
  inner?: Inner;
  /** How often to criticise and revise at most. */
  rounds?: number;
  /** The turn that asks for a critique. */
  critique?: string;
  /** The turn that asks for the revised answer. */
  revise?: string;
  /** What a critique contains that has nothing to object. */
  accept?: string;
}

/** Samples `n` answers, asks the model after each whether it is right, and returns the likeliest one. */
export interface SelfVerify {
  /** How many answers to sample. */
  n?: number;
  /** Whether the whole answer is checked, the final answer alone, or both. */
  checks?: "proof" | "answer" | "both";
  /** Whether equal answers add up their probabilities. */
  vote?: boolean;
  /** The turn that asks for the verdict. */
  check?: string;
  /** What the model is made to have said when the final answer alone is checked. */
  statement?: string;
  /** The word that approves. */
  good?: string;
  /** The word that rejects. */
  bad?: string;
}

/** The model's own answer, streamed as it is generated; `n` independent ones when the request asks. */
export interface Single {
  /** Take the most likely token each time, whatever temperature the request has. */
  greedy?: boolean;
}

/** Begins `n` answers; every `span` tokens the verifier scores them and the lowest share is dropped. */
export interface SpeculativeRejection {
  /** How many answers to begin. */
  n?: number;
  /** Tokens between two rounds of rejection. */
  span?: number;
  /** Share of the unfinished answers that a round drops; one at least. */
  reject?: number;
  /** How a process verifier's step scores become one. */
  aggregate?: "min" | "last" | "product" | "mean";
}

/** Keeps the `width` most probable partial answers and lets each grow by its most probable tokens. */
export interface TokenBeamSearch {
  /** How many partial answers are kept. */
  width?: number;
  /** Longest answer, in tokens; longer ones are cut off. */
  length?: number;
  /** Log-probabilities are divided by the length to this power. */
  length_penalty?: number;
}

/** Searches over partial solutions, `expand` thoughts from each, breadth first or depth first. */
export interface TreeOfThoughts {
  /** Where thoughts come from. */
  generate?: "sample" | "propose";
  /** What values states. */
  evaluate?: "value" | "vote" | "verifier";
  /** Breadth first or depth first. */
  search?: "bfs" | "dfs";
  /** Thoughts before the answer is finished, at most. */
  depth?: number;
  /** Thoughts from each state. */
  expand?: number;
  /** States kept on a level (bfs). */
  width?: number;
  /** Value up to which a thought is given up (dfs); maybe is 0.05. */
  threshold?: number;
  /** States grown at most (dfs). */
  visits?: number;
  /** How often the model is asked (value, vote). */
  votes?: number;
  /** What ends a sampled thought. */
  delimiter?: string;
  /** How a verifier's step scores become one. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** Asks for thoughts: {question}, {steps} so far and how many, {n}. */
  propose_prompt?: string;
  /** Proposed line: nothing is missing. */
  done?: string;
  /** Asks for the answer (propose): {question} and {steps}. */
  answer_prompt?: string;
  /** Asks what a state is worth, in the words sure, maybe (or likely) and impossible. */
  value_prompt?: string;
  /** Asks for the number of the best state: {question}, {states} and their {count}. */
  vote_prompt?: string;
}

/** Samples `n` answers, sums the verifier's scores of equal answers and returns the heaviest answer. */
export interface WeightedBestOfN {
  /** How many answers to sample. */
  n?: number;
  /** How a process verifier's step scores become one. */
  aggregate?: "min" | "last" | "product" | "mean";
  /** Taken off the score of the longest complete answer, and off others by their length. */
  length_penalty?: number;
}

/** `n` new thoughts, each made of all the thoughts taken together. */
export interface Aggregate {
  /** Earlier operations, by number from 0, whose thoughts it takes; else the one before. */
  from?: readonly number[] | null;
  op: "aggregate";
  /** How many. */
  n?: number;
  /** What is asked: {question} and {thoughts}. */
  prompt?: string | null;
  /** Whether these answer only a part of the question. */
  part?: boolean;
}

/** A question and its answer. */
export interface Example {
  question: string;
  answer: string;
}

/** `n` new thoughts from each thought taken, or from the question where `from` is empty. */
export interface Generate {
  /** Earlier operations, by number from 0, whose thoughts it takes; else the one before. */
  from?: readonly number[] | null;
  op: "generate";
  /** How many from each. */
  n?: number;
  /** What is asked: {question} and any {thought} taken; by default the question. */
  prompt?: string | null;
  /** Whether these answer only a part of the question. */
  part?: boolean;
}

/** The same thoughts with scores. */
export interface Judge {
  /** Earlier operations, by number from 0, whose thoughts it takes; else the one before. */
  from?: readonly number[] | null;
  op: "score";
  /** What the model is asked of a thought, to be answered by Yes or No. */
  prompt?: string | null;
}

/** The `n` thoughts with the highest scores; what has none comes last. */
export interface KeepBest {
  /** Earlier operations, by number from 0, whose thoughts it takes; else the one before. */
  from?: readonly number[] | null;
  op: "keep_best";
  /** How many. */
  n?: number;
}

/** What to do with questions whose signal is at least so high. */
export interface Level {
  /** Lowest signal of this level; 0 for the last one. */
  at_least: number;
  /** The strategy that solves such questions. */
  inner: Inner;
}

/** Each thought written anew, in a further turn of its conversation; kept as it was if that fails. */
export interface Refine {
  /** Earlier operations, by number from 0, whose thoughts it takes; else the one before. */
  from?: readonly number[] | null;
  op: "refine";
  /** The request for it. */
  prompt?: string | null;
}

/** One attempt, and how sure its answer must be to be the last one. */
export interface Stage {
  /** The strategy of this stage. */
  inner: Inner;
  /** Confidence below which the next stage is asked; the last has no next. */
  at_least?: number;
}
