/** Final answers in texts, as far as can be told here, and how many votes each has. */

import { at } from "./search.js";

/** The final answer that a text seems to give: its last box, else what follows "answer is"; null for none. */
export function answerIn(text) {
  const start = text.lastIndexOf("\\boxed{");
  if (start >= 0) {
    let depth = 0;
    for (let i = start + 6; i < text.length; i += 1) {
      if (text[i] === "{") depth += 1;
      if (text[i] === "}") depth -= 1;
      if (depth === 0) return text.slice(start + 7, i).trim();
    }
  }
  const said = [...text.matchAll(/answer(?: is)?:?\s+([^\n]{1,60}?)[.\s]*(?:\n|$)/gi)].at(-1);
  return said === undefined ? null : said[1].trim();
}

const ASIDES = new Set(["verdict", "critique", "choice", "rating", "query", "note", "propose"]);
const read = new WeakMap();

/** The final answer that a node ends, alone or with the steps before it; null where it ends none. */
export function answerOf(node, data) {
  if (data.finish !== "stop" || ASIDES.has(data.kind)) return null;
  if (!read.has(data)) {
    let [text, above] = [data.text ?? "", node.above];
    let answer = answerIn(text);
    // What ended in a step is continued by what hangs below it.
    while (answer === null && above?.versions.at(-1).data.finish === "step") {
      text = above.versions.at(-1).data.text + text;
      answer = answerIn(text);
      above = above.above;
    }
    read.set(data, answer);
  }
  return read.get(data);
}

/**
 * The votes at a time: `[{answer, votes, score, won}]`, most votes first.
 *
 * While it runs they are counted over whole answers among the nodes; when it has ended, the server's own are shown.
 */
export function votesAt(search, time) {
  const candidates = search.ttc.candidates ?? [];
  const over = !search.running && time >= search.seconds;
  return over && candidates.length > 0 ? final(candidates, search.ttc.answer) : sofar(search, time);
}

function final(candidates, winner) {
  const groups = new Map();
  for (const { answer, votes, score } of candidates) {
    if (answer === null || answer === undefined) continue;
    const group = groups.get(answer) ?? { answer, votes: 0, count: 0, score: null };
    group.count += 1;
    // Equal answers carry the votes of all of them together.
    group.votes = Math.max(group.votes, votes ?? 0);
    group.score = Math.max(group.score ?? -Infinity, score ?? -Infinity);
    groups.set(answer, group);
  }
  const cast = [...groups.values()].some((group) => group.votes > 0);
  return ranked(
    [...groups.values()].map((group) => ({ ...group, votes: cast ? group.votes : group.count })),
    winner,
  );
}

function sofar(search, time) {
  const groups = new Map();
  for (const node of search.nodes) {
    const data = at(node, time);
    const answer = data === null || data.data?.merged ? null : answerOf(node, data);
    if (answer === null) continue;
    const group = groups.get(answer) ?? { answer, votes: 0, score: null };
    group.votes += 1;
    if (typeof data.score === "number") group.score = Math.max(group.score ?? -Infinity, data.score);
    groups.set(answer, group);
  }
  return ranked([...groups.values()], null);
}

function ranked(groups, winner) {
  return groups
    .map(({ answer, votes, score }) => ({
      answer,
      votes,
      score: Number.isFinite(score) ? score : null,
      won: winner !== null && answer === winner,
    }))
    .sort((a, b) => b.votes - a.votes || (b.score ?? 0) - (a.score ?? 0));
}
