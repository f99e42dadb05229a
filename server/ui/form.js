/** The form: the question, how to search for the answer (once or twice), sampling and budget. */

import { el } from "./dom.js";
import { framed, scalar } from "./fields.js";
import { Side } from "./side.js";

const SAMPLING = {
  temperature: { type: "number", minimum: 0, maximum: 2 },
  max_tokens: { type: "integer", minimum: 1 },
  seed: { type: "integer" },
};
const BUDGET = {
  tokens: { type: "integer", minimum: 1 },
  seconds: { type: "number", exclusiveMinimum: 0 },
  samples: { type: "integer", minimum: 1 },
};
/** Where else a field of the request is found in the form. */
const PLACES = { max_completion_tokens: "max_tokens", top_logprobs: "logprobs" };

export class Form {
  /**
   * @param element The form.
   * @param offer What the server has: `models`, `strategies`, `presets(model)`, `verifiers`.
   * @param actions `ask()`, `stop()`, `share()`.
   */
  constructor(element, offer, actions) {
    this.element = element;
    this.offer = offer;
    this.question = el("textarea", {
      id: "question",
      required: true,
      rows: "4",
      placeholder: "What should be answered?",
    });
    this.model = el(
      "select",
      { id: "model", onchange: () => this.#offer() },
      offer.models.map((name) => el("option", { value: name }, name)),
    );
    this.questionField = framed("Question", this.question);
    this.modelField = framed("Model", this.model);
    this.sides = [new Side("Strategy", offer), new Side("Second strategy", offer)];
    this.two = false;
    this.compare = el(
      "button",
      { type: "button", "aria-pressed": "false", onclick: () => this.#compare(!this.two) },
      "Compare with a second one",
    );
    const made = (schemas, empty) =>
      Object.fromEntries(
        Object.entries(schemas).map(([name, schema]) => [name, scalar(name, schema, true, { empty, hints: false })]),
      );
    this.sampling = made(SAMPLING, "default");
    this.sampling.logprobs = scalar("log-probabilities of the answer", { type: "boolean", default: false }, false);
    this.budget = made(BUDGET, "no limit");
    this.problem = el("div", { class: "problem", role: "alert", hidden: true });
    this.run = el("button", { type: "submit", class: "primary" }, "Search");
    this.stop = el("button", { type: "button", disabled: true, onclick: actions.stop }, "Stop");
    this.share = el("button", { type: "button", onclick: actions.share }, "Copy link");
    const { temperature, max_tokens: most, seed, logprobs } = this.sampling;
    element.append(
      this.questionField.element,
      this.modelField.element,
      this.sides[0].element,
      this.sides[1].element,
      this.compare,
      el(
        "details",
        { class: "more" },
        el("summary", {}, "Budget and sampling"),
        el(
          "div",
          { class: "fields" },
          el(
            "div",
            { class: "three", role: "group", "aria-label": "Budget" },
            Object.values(this.budget).map((each) => each.element),
          ),
          el(
            "p",
            { class: "hint" },
            "The most that all of the search may spend. When it is spent, the best answer so far comes back.",
          ),
          el(
            "div",
            { class: "three", role: "group", "aria-label": "Sampling" },
            temperature.element,
            most.element,
            seed.element,
          ),
          logprobs.element,
        ),
      ),
      this.problem,
      el("div", { class: "actions" }, this.run, this.stop, this.share),
    );
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#sound()) actions.ask();
    });
    this.question.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element.requestSubmit();
    });
    this.#offer();
    this.#compare(false);
  }

  /** The sides that count. */
  get chosen() {
    return this.sides.slice(0, this.two ? 2 : 1);
  }

  /** All of it, as it is kept in links and in the list of recent searches. */
  read() {
    const values = (fields) =>
      Object.fromEntries(
        Object.entries(fields)
          .map(([name, each]) => [name, each.read()])
          .filter(([, value]) => value !== undefined && value !== false),
      );
    return {
      question: this.question.value,
      model: this.model.value,
      sides: this.chosen.map((side) => side.read()),
      sampling: values(this.sampling),
      budget: values(this.budget),
    };
  }

  write({ question = "", model, sides = [], sampling = {}, budget = {} }) {
    this.question.value = question;
    if (this.offer.models.includes(model)) this.model.value = model;
    this.#offer();
    this.#compare(sides.length > 1);
    this.sides.forEach((side, i) => side.write(sides[i]));
    for (const [name, each] of Object.entries(this.sampling)) each.write(sampling[name]);
    for (const [name, each] of Object.entries(this.budget)) each.write(budget[name]);
    if (Object.keys(sampling).length + Object.keys(budget).length > 0)
      this.element.querySelector("details.more").open = true;
    this.blame(null);
  }

  /** What to ask the server, once for each side. */
  requests() {
    const { question, sampling, budget } = this.read();
    const { logprobs, ...plain } = sampling;
    return this.chosen.map((side) => {
      const { ttc, ...rest } = side.request(this.model.value);
      return {
        ...rest,
        messages: [{ role: "user", content: question }],
        ...plain,
        ...(logprobs ? { logprobs: true, top_logprobs: 5 } : {}),
        stream: true,
        stream_options: { include_usage: true },
        ttc: {
          ...ttc,
          ...(Object.keys(budget).length > 0 ? { budget } : {}),
          progress: "nodes",
          include: ["candidates", "trace"],
        },
      };
    });
  }

  busy(is) {
    this.run.disabled = is;
    this.stop.disabled = !is;
  }

  /** Say in full what the server refused, and go to the field that it named; null takes it back. */
  blame(error, index = 0) {
    this.problem.hidden = error === null;
    if (error === null) return;
    const which = this.two ? ` (${this.sides[index].label})` : "";
    this.problem.replaceChildren(
      el("strong", {}, error.message),
      [error.param ? `Field: ${error.param}.` : "", error.code ? `Code: ${error.code}.` : "", which]
        .filter(Boolean)
        .join(" "),
    );
    const path = (error.param ?? "").split(/[.[\]]+/).filter(Boolean);
    const side = this.sides[index];
    const own = side.find(path);
    const field = own ?? this.#shared(path, error.message);
    if (own !== null) side.blame(path, error.message);
    for (let above = field; above !== null && above !== undefined; above = above.parentElement)
      if (above.tagName === "DETAILS") above.open = true;
    (field ?? this.run).focus();
  }

  #shared([first, second, third], message) {
    if (first === "model") {
      this.modelField.blame(message);
      return this.model;
    }
    if (first === "messages") {
      this.questionField.blame(message);
      return this.question;
    }
    const field =
      first === "ttc" && second === "budget" ? this.budget[third ?? "tokens"] : this.sampling[PLACES[first] ?? first];
    field?.blame([], message);
    return field?.find([]) ?? null;
  }

  #sound() {
    this.blame(null);
    const empty = this.question.value.trim() === "";
    this.questionField.blame(empty ? "Write a question first." : "");
    const fields = [...Object.values(this.sampling), ...Object.values(this.budget)];
    const sound = [!empty, ...this.chosen.map((side) => side.check()), ...fields.map((each) => each.check())].every(
      Boolean,
    );
    const first = this.element.querySelector('[aria-invalid="true"]');
    for (let above = first; above !== null; above = above.parentElement)
      if (above.tagName === "DETAILS") above.open = true;
    first?.focus();
    return sound;
  }

  #offer() {
    for (const side of this.sides) side.offerFor(this.model.value);
  }

  #compare(two) {
    this.two = two;
    this.sides[1].element.hidden = !two;
    this.sides[0].legend.textContent = two ? "First strategy" : "Strategy";
    this.compare.textContent = two ? "Only one strategy" : "Compare with a second one";
    this.compare.setAttribute("aria-pressed", String(two));
  }
}
