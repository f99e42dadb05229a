import assert from "node:assert/strict";
import { test } from "node:test";

import { type Event, Mull, type TTC } from "mull-client";

import { bestOfFive, mull, question, url } from "./asking.js";

test("a stream tells the search and then what the whole answer says", async () => {
  const told: Event[] = [];
  for await (const event of mull.stream(question, bestOfFive)) told.push(event);
  const kinds = told.map((event) => event.type);
  assert.equal(kinds[0], "started");
  assert.equal(kinds.indexOf("finished"), kinds.length - 1);
  assert.ok(kinds.filter((kind) => kind === "text").length > 1);

  const [first, last] = [told[0], told.at(-1)];
  assert.ok(first?.type === "started" && last?.type === "finished");
  const { result } = last;
  assert.equal(first.plan.trace_id, result.ttc.trace_id);
  assert.equal(first.plan.parameters["n"], 5);
  assert.equal(told.map((event) => (event.type === "text" ? event.text : "")).join(""), result.text);
  assert.ok(result.completion.usage!.completion_tokens > 0);
  assert.equal(result.completion.choices[0]?.finish_reason, "stop");

  const whole = await mull.ask(question, bestOfFive);
  // Nodes are numbered as they arrive.
  const numberless = ({ candidates }: TTC) => candidates?.map((candidate) => ({ ...candidate, node: null }));
  assert.equal(result.text, whole.text);
  assert.deepEqual(numberless(result.ttc), numberless(whole.ttc));
});

test("the nodes told are those of the trace", async () => {
  const nodes = new Map();
  for await (const event of mull.stream(question, bestOfFive)) {
    if (event.type === "node") nodes.set(event.node.id, event.node);
    if (event.type === "finished") {
      const trace = event.result.ttc.trace!.filter((node) => node.kind !== "root");
      assert.deepEqual([...nodes.values()].sort((a, b) => a.id - b.id).filter((node) => node.id > 0), trace);
    }
  }
  assert.ok(nodes.size >= 5);
});

test("without a trace the tree is that of the nodes told", async () => {
  for await (const event of mull.stream(question, { strategy: "majority_vote" })) {
    if (event.type === "finished") {
      assert.equal(event.result.ttc.trace, undefined);
      assert.ok(event.result.tree.size > 1);
    }
  }
});

test("leaving the loop ends the request", async () => {
  let signal: AbortSignal | undefined;
  const watched = (input: string | URL | Request, init?: RequestInit) => {
    signal = init?.signal ?? undefined;
    return fetch(input, init);
  };
  const client = new Mull({ baseURL: url, fetch: watched });
  for await (const event of client.stream(question, { model: "mull-tiny", strategy: { name: "majority_vote", n: 64 } })) {
    if (event.type === "node") break;
  }
  assert.equal(signal?.aborted, true);
});
