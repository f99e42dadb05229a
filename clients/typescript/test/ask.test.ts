import assert from "node:assert/strict";
import { test } from "node:test";

import { Mull, type Options } from "mull-client";
import { BadRequestError, OpenAIError } from "openai";

import { bestOfFive, mull, question, url } from "./asking.js";

test("the best candidate is the answer, and all of them are told", async () => {
  const { text, ttc, completion } = await mull.ask(question, bestOfFive);
  assert.equal(completion.choices[0]?.message.content, text);
  assert.equal(ttc.strategy, "best_of_n");
  assert.equal(ttc.parameters["n"], 5);
  assert.equal(ttc.samples, 5);
  assert.equal(ttc.stopped, "complete");
  assert.equal(ttc.candidates?.length, 5);
  assert.equal(ttc.candidates[0]?.text, text);
  assert.equal(ttc.score, Math.max(...ttc.candidates.map((candidate) => candidate.score ?? 0)));
  assert.ok(completion.usage!.completion_tokens >= ttc.candidates[0]!.tokens);
});

test("a tree leads from the root to the answer", async () => {
  const { ttc, tree } = await mull.ask(question, bestOfFive);
  assert.equal(tree.size, ttc.trace?.length);
  assert.equal(tree.children().length, 5);
  const path = tree.path(ttc.candidates![0]!.node);
  assert.equal(path[0]?.kind, "root");
  assert.equal(path.at(-1)?.score, ttc.score);
  assert.deepEqual(tree.path(9999), []);
});

test("a conversation, a model's name and the SDK's own options", async () => {
  const conversation = [{ role: "system" as const, content: "Be brief." }, { role: "user" as const, content: question }];
  const { ttc, completion } = await mull.ask(conversation, { model: "mull-tiny+majority_vote", max_tokens: 40, top_k: 5 });
  assert.equal(ttc.strategy, "majority_vote");
  assert.equal(completion.model, "mull-tiny+majority_vote");
});

test("a spent budget gives the best so far", async () => {
  const { ttc } = await mull.ask(question, { strategy: { name: "majority_vote", n: 8 }, budget: { samples: 3 } });
  assert.equal(ttc.budget.samples, 3);
  assert.equal(ttc.samples, 3);
  assert.equal(ttc.stopped, "samples");
});

test("strategies nest", async () => {
  const { ttc } = await mull.ask(question, {
    strategy: {
      name: "cascade",
      stages: [
        { inner: { name: "single" }, at_least: 0.9 },
        { inner: { name: "best_of_n", n: 2, budget: { share: 0.5 } } },
      ],
    },
  });
  assert.equal(ttc.strategy, "cascade");
  assert.match(JSON.stringify(ttc.parameters), /"best_of_n"/);
});

test("what the types forbid the server refuses by name", async () => {
  // @ts-expect-error: n is a number
  const wrong: Options = { strategy: { name: "best_of_n", n: "many" } };
  // @ts-expect-error: no such parameter
  const unknown: Options = { strategy: { name: "best_of_n", width: 4 } };
  for (const [options, param] of [[wrong, "ttc.n"], [unknown, "ttc.width"]] as const) {
    await assert.rejects(mull.ask(question, options), (error) => {
      assert.ok(error instanceof BadRequestError);
      assert.equal(error.param, param);
      return true;
    });
  }
});

test("a plugin's strategy is asked for by its name", async () => {
  await assert.rejects(mull.ask(question, { strategy: { plugin: "until_agreed", parameters: { agree: 3 } } }), /until_agreed/);
});

test("an answer of another server is no result", async () => {
  const other = async () => Response.json({ id: "1", choices: [{ index: 0, message: { content: "2" } }] });
  const client = new Mull({ baseURL: url, fetch: other });
  await assert.rejects(client.ask(question, { model: "m" }), OpenAIError);
});

test("the environment says where the server is", () => {
  const before = { ...process.env };
  Object.assign(process.env, { MULL_URL: "http://127.0.0.1:1/v1", MULL_API_KEY: "key" });
  const client = new Mull();
  process.env = before;
  assert.deepEqual([client.baseURL, client.apiKey], ["http://127.0.0.1:1/v1", "key"]);
});
