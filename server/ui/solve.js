/** Asking a question, or looking on while somebody else's is solved: how a search comes to be known, bit by bit. */

import { ServerError, get, request } from "./api.js";
import { Recorder } from "./recorder.js";
import { events } from "./sse.js";
import { detailsOf, fromTrace } from "./stored.js";

/**
 * Ask, and fill `search` until it has ended, well or not; never throws.
 *
 * @param body The chat completion to ask for.
 * @param onnews Called whenever something was learned.
 */
export async function solve(search, body, { signal, onnews }) {
  const recorder = new Recorder(search);
  await ending(search, recorder, onnews, async () => {
    const response = await request("v1/chat/completions", { body, signal });
    for await (const { data } of events(response)) {
      if (data === "[DONE]") break;
      take(recorder, JSON.parse(data));
      onnews();
    }
    if (search.ttc.seconds === undefined)
      throw new ServerError({ message: "The stream ended before the search did." }, 0);
    search.end("done", search.ttc.seconds);
  });
}

/** A stored or running trace as a search; one that runs has to be followed. */
export async function open(id) {
  return fromTrace(await get(`v1/ttc/traces/${encodeURIComponent(id)}`));
}

/** Follow a search that runs; never throws. */
export async function follow(search, { signal, onnews }) {
  const recorder = new Recorder(search);
  await ending(search, recorder, onnews, async () => {
    const response = await request(`v1/ttc/traces/${encodeURIComponent(search.ttc.trace_id)}/events`, { signal });
    for await (const { event, data } of events(response)) {
      const told = JSON.parse(data);
      if (event === "error") throw new ServerError(told.error, 0);
      if (event === "node" && told.id !== 0) recorder.node(told);
      if (event === "end") finish(recorder, told);
      onnews();
    }
    if (search.running) throw new ServerError({ message: "The stream ended before the search did." }, 0);
  });
}

async function ending(search, recorder, onnews, work) {
  try {
    await work();
  } catch (error) {
    const stopped = error.name === "AbortError";
    if (!stopped)
      search.error = {
        message: error.message,
        param: error.param ?? null,
        code: error.code ?? null,
        status: error.status ?? 0,
      };
    search.end(stopped ? "stopped" : "failed", recorder.now);
  }
  onnews();
}

/** One chunk of a streamed completion. */
function take(recorder, chunk) {
  if (chunk.error !== undefined) throw new ServerError(chunk.error, 0);
  const { search } = recorder;
  const { node, trace, ...ttc } = chunk.ttc ?? {};
  if (node !== undefined) recorder.node(node);
  if (chunk.usage) search.usage = chunk.usage;
  const choice = chunk.choices?.[0];
  if (choice?.index === 0) {
    if (choice.delta?.content) search.write(choice.delta.content, recorder.now);
    if (choice.logprobs?.content) search.logprobs.push(...choice.logprobs.content);
  }
  recorder.nodes(trace ?? []);
  Object.assign(search.ttc, ttc);
}

function finish(recorder, trace) {
  const { search } = recorder;
  recorder.nodes(trace.nodes ?? []);
  Object.assign(search, detailsOf(trace));
  if (trace.text) search.write(trace.text, trace.seconds);
  search.end(detailsOf(trace).state, trace.seconds);
}
