// The openai package for Node: whole, streamed, refused.
import OpenAI, { BadRequestError } from "openai";

const [baseURL, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none" });
const ask = (n) => ({
  model: "mull-tiny+best_of_n",
  messages: [{ role: "user", content: question }],
  seed: 1,
  ttc: { n },
});

const done = await client.chat.completions.create(ask(4));
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...ask(4), stream: true })) {
  streamed += chunk.choices[0].delta.content ?? "";
}
const stream = client.chat.completions.stream(ask(4));
const refused = await client.chat.completions.create(ask(0)).catch((error) => error);
const models = [];
for await (const model of client.models.list()) models.push(model.id);

console.log(
  JSON.stringify({
    whole: done.choices[0].message.content,
    tokens: done.usage.completion_tokens,
    samples: done.ttc.samples,
    streamed,
    async: await stream.finalContent(),
    refused: refused instanceof BadRequestError ? refused.param : String(refused),
    models,
  }),
);
