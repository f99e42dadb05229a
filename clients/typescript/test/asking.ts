import { Mull, type Options } from "mull-client";

/** The server under test, and a question that its model understands. */
export const url = process.env["MULL_URL"] ?? "http://127.0.0.1:8000/v1";
export const question = process.env["MULL_QUESTION"] ?? "What is one plus one?";
export const mull = new Mull({ baseURL: url, maxRetries: 0 });

/** The best of five, told in full. */
export const bestOfFive = {
  strategy: { name: "best_of_n", n: 5 },
  include: ["candidates", "trace"],
  seed: 1,
} as const satisfies Options;
