/** The page's state in its address: behind the #, which browsers do not send to servers. The API key is never in it. */

/** `#question=...&model=...&settings={...}&trace=id&trace=id` */
export function toFragment({ question, model, ...settings }, traces = []) {
  const parts = new URLSearchParams();
  if (question) parts.set("question", question);
  if (model) parts.set("model", model);
  if (question || model) parts.set("settings", JSON.stringify(settings));
  for (const trace of traces) parts.append("trace", trace);
  return `#${parts}`;
}

/** What an address says; what cannot be read in it counts as not said. */
export function fromFragment(fragment) {
  const parts = new URLSearchParams(fragment.slice(1));
  const settings = object(parts.get("settings"));
  const sides = Array.isArray(settings.sides)
    ? settings.sides.slice(0, 2).map((side) => (side && typeof side === "object" ? side : {}))
    : [];
  const state = {
    question: parts.get("question") ?? "",
    model: parts.get("model") ?? undefined,
    sides,
    sampling: plain(settings.sampling),
    budget: plain(settings.budget),
  };
  const given = ["question", "model", "settings"].some((name) => parts.has(name));
  return { state: given ? state : null, traces: parts.getAll("trace").slice(0, 2), view: parts.get("view") };
}

const plain = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});

function object(text) {
  try {
    return plain(JSON.parse(text ?? "{}"));
  } catch {
    return {};
  }
}
