/** The page: what the server offers, the form, the stage, recent searches and the address. */

import { get } from "./api.js";
import { Bench } from "./bench.js";
import { Form } from "./form.js";
import { find } from "./history.js";
import { keyDialog } from "./keys.js";
import { Recent } from "./recent.js";
import { Search } from "./search.js";
import { fromFragment, toFragment } from "./share.js";
import { follow, open, solve } from "./solve.js";
import { Stage } from "./stage.js";

const EXAMPLE = {
  question: "Lea has 3 more than Uma. Wes found 6 coins. Uma has half as many as Wes. How many does Lea have?",
  sides: [{ how: "strategy:beam_search", parameters: { prune: 0.3 } }],
};

const part = (name) => document.getElementById(name);
const stage = new Stage();
const bench = new Bench(part("bench"));
const askKey = keyDialog(() => start());
const recent = new Recent(part("recent"), (entry) => {
  form?.write(entry.state);
  stage.show(entry.searches.map((each) => Search.from(each)));
  address();
  show("search");
  part("stage").focus();
});
let form = null;

async function start() {
  say("connecting");
  try {
    const [models, strategies, verifiers] = await Promise.all(
      ["v1/models", "v1/ttc/strategies", "v1/ttc/verifiers"].map(get),
    );
    offer(models.data, strategies.data, verifiers.data);
    say("");
    await arrive();
  } catch (error) {
    if (error.status === 401) askKey("This server wants an API key.");
    say(error.message);
    // A server that still starts is asked again until it is ready.
    if (error.status === 503) setTimeout(start, 2000);
  }
}

function offer(models, strategies, verifiers) {
  const known = new Map(strategies.map((strategy) => [strategy.name, strategy]));
  const state = form?.read() ?? null;
  part("form").replaceChildren();
  form = new Form(
    part("form").cloneNode(false),
    {
      models: models.filter((model) => model.parent === null).map((model) => model.id),
      strategies: known,
      presets: (model) =>
        models
          .filter((each) => each.parent === model)
          .map((each) => each.id.slice(model.length + 1))
          .filter((name) => !known.has(name)),
      verifiers,
    },
    { ask, stop: () => stage.stop(), share },
  );
  part("form").replaceWith(form.element);
  if (state !== null) form.write(state);
}

async function ask() {
  const [state, bodies] = [form.read(), form.requests()];
  const labels = form.chosen.map((side) => side.label);
  const searches = bodies.map((_, i) => new Search({ question: state.question, label: labels[i] }));
  form.busy(true);
  history.replaceState(null, "", toFragment(state));
  const running = stage.run(searches, (search, i, options) => solve(search, bodies[i], options));
  if (matchMedia("(max-width: 900px)").matches) part("stage").scrollIntoView();
  const shown = await running;
  form.busy(stage.stopping !== null);
  if (!shown) return;
  const failed = searches.findIndex((search) => search.error !== null);
  if (failed >= 0) {
    form.blame(searches[failed].error, failed);
    if (searches[failed].error.status === 401) askKey(searches[failed].error.message);
  }
  if (searches.some((search) => search.state === "done")) {
    address();
    await recent.add({ at: Date.now(), state, searches: searches.map((search) => search.toJSON()) });
  }
}

/** What the address asks for: a state of the form, stored traces, a view. */
async function arrive() {
  const { state, traces, view } = fromFragment(location.hash);
  if (state !== null) form.write(state);
  show(view === "measurements" ? "bench" : "search");
  if (traces.length === 0) return;
  try {
    const searches = await Promise.all(traces.map(found));
    if (state === null) form.write({ ...form.read(), question: searches[0].question });
    form.busy(searches.some((search) => search.running));
    await stage.run(searches, (search, _, options) => (search.running ? follow(search, options) : undefined));
    form.busy(false);
  } catch (error) {
    if (error.status === 401) askKey(error.message);
    form.blame({ ...error, message: `The stored search cannot be shown: ${error.message}` });
  }
}

/** The search of a trace: from this browser, which knows when everything happened, else from the server. */
async function found(trace) {
  const kept = await find(trace);
  return kept === null ? open(trace) : Search.from(kept);
}

/** Put what is shown into the address, so that a reload and a copied address lead back to it. */
function address() {
  if (form !== null) history.replaceState(null, "", toFragment(form.read(), stage.traces));
}

async function share() {
  // Others find the searches only if the server has kept them.
  const stored = await Promise.all(
    stage.traces.map((trace) =>
      open(trace).then(
        () => trace,
        () => null,
      ),
    ),
  );
  const traces = stored.filter((trace) => trace !== null);
  const url = new URL(toFragment(form.read(), traces), location.href);
  history.replaceState(null, "", url);
  const without = traces.length < stored.length ? ", without the search: the server has not kept it" : "";
  try {
    await navigator.clipboard.writeText(url.href);
    say(`Link copied${without}`);
  } catch {
    say(`The link is in the address bar${without}`);
  }
}

function show(view) {
  const measured = view === "bench";
  part("search-view").hidden = measured;
  part("bench-view").hidden = !measured;
  for (const [name, on] of [
    ["to-search", !measured],
    ["to-bench", measured],
  ]) {
    if (on) part(name).setAttribute("aria-current", "page");
    else part(name).removeAttribute("aria-current");
  }
  if (measured) bench.show();
}

function say(text) {
  part("server").textContent = text;
}

part("to-search").addEventListener("click", () => {
  show("search");
  address();
});
part("to-bench").addEventListener("click", () => {
  show("bench");
  history.replaceState(null, "", "#view=measurements");
  part("bench-title").focus();
});
part("example").addEventListener("click", () => {
  form?.write({ ...form.read(), ...EXAMPLE });
  form?.run.focus();
});
part("forget").addEventListener("click", () => recent.clear());
addEventListener("hashchange", () => {
  if (form !== null && location.hash !== "#stage") arrive();
});
recent.show();
start();
