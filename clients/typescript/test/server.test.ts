import assert from "node:assert/strict";
import { test } from "node:test";

import { BadRequestError, NotFoundError } from "openai";

import { mull, question } from "./asking.js";

const kept = process.env["MULL_KEEPS_TRACES"] ? {} : { skip: "this server keeps no traces" };

test("the server says which strategies it has", async () => {
  const strategies = await mull.strategies();
  const best = strategies.find((strategy) => strategy.name === "best_of_n");
  assert.equal(best?.needs.verifier, "outcome");
  assert.ok(best.models.includes("mull-tiny"));
  assert.ok("properties" in best.parameters);
});

test("the server says which verifiers it has, and whether they answer", async () => {
  const verifiers = await mull.verifiers();
  assert.ok(verifiers.length > 0);
  assert.ok(verifiers.every((verifier) => verifier.healthy));
});

test("a trace is read and judged", kept, async () => {
  const { ttc } = await mull.ask(question, { strategy: { name: "majority_vote", n: 3 } });
  assert.equal(await mull.feedback(ttc.trace_id, { right: true }), true);
  assert.equal(await mull.feedback(ttc.trace_id, { right: true }), false);
  const trace = await mull.trace(ttc.trace_id);
  assert.equal(trace.id, ttc.trace_id);
  assert.ok(trace.nodes.length > 3);
});

test("what cannot be found or says nothing is refused", kept, async () => {
  const { ttc } = await mull.ask(question);
  await assert.rejects(mull.trace("nothing"), NotFoundError);
  await assert.rejects(mull.feedback(ttc.trace_id, {}), BadRequestError);
});
