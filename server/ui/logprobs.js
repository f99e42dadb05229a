/** Log-probabilities come with an answer as a whole; a node is the part of it that its text covers. */

/** The tokens of a node; none where the request did not ask for them, or they are of another branch. */
export function tokensOf(search, node) {
  const answer = search.answerNode;
  if (answer === null || search.logprobs.length === 0) return [];
  const way = search.above(answer);
  const place = way.indexOf(node);
  if (place < 0) return [];
  const texts = way.map((each) => (each.id === 0 ? "" : (each.versions.at(-1).data.text ?? "")));
  const from = texts.slice(0, place).join("").length;
  const to = from + texts[place].length;
  const found = [];
  let position = 0;
  for (const token of search.logprobs) {
    if (position >= from && position < to) found.push(token);
    position += token.token.length;
  }
  return found;
}
