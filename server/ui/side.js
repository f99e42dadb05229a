/** How one question is to be answered: a preset, an effort, or a strategy with its parameters. */

import { count, el, uid } from "./dom.js";
import { framed } from "./fields.js";
import { object } from "./groups.js";

const EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh"];

export class Side {
  /** `offer` has `strategies` (by name), `presets(model)` and `verifiers`. */
  constructor(name, offer) {
    this.offer = offer;
    this.own = null;
    this.how = el("select", { onchange: () => this.#choose() });
    this.verifier = el("select");
    this.about = el("div", { class: "about hint" });
    this.room = el("div");
    this.howField = framed("How to search", this.how);
    this.verifierField = framed("Verifier", this.verifier);
    this.legend = el("legend", {}, name);
    this.element = el(
      "fieldset",
      { class: "side" },
      this.legend,
      this.howField.element,
      this.about,
      this.room,
      this.verifierField.element,
    );
  }

  /** Offer what works with a model, and keep the choice where it does. */
  offerFor(model) {
    const kept = this.how.value || "default";
    const strategies = [...this.offer.strategies.values()].filter((each) => each.models.includes(model));
    const options = (label, values) =>
      values.length === 0
        ? []
        : [
            el(
              "optgroup",
              { label },
              values.map(([value, text]) => el("option", { value }, text)),
            ),
          ];
    this.how.replaceChildren(
      el("option", { value: "default" }, "As the server does by default"),
      ...options(
        "Presets",
        this.offer.presets(model).map((name) => [`preset:${name}`, name]),
      ),
      ...options(
        "Strategies",
        strategies.map(({ name }) => [`strategy:${name}`, name]),
      ),
      ...options(
        "Reasoning efforts",
        EFFORTS.map((name) => [`effort:${name}`, `effort: ${name}`]),
      ),
    );
    this.#pick(kept);
  }

  /** The choice as it is kept in links. */
  read() {
    const parameters = this.own?.read() ?? {};
    return {
      how: this.how.value,
      ...(Object.keys(parameters).length > 0 ? { parameters } : {}),
      ...(this.verifier.value && !this.verifierField.element.hidden ? { verifier: this.verifier.value } : {}),
    };
  }

  write({ how = "default", parameters = {}, verifier = "" } = {}) {
    this.#pick(how);
    this.own?.write(parameters);
    this.verifier.value = verifier;
    if (this.verifier.selectedIndex < 0) this.verifier.value = "";
  }

  /** What to call it. */
  get label() {
    const [kind, name] = this.how.value.split(":");
    return name === undefined ? "Default" : kind === "effort" ? `Effort ${name}` : name;
  }

  check() {
    return this.own?.check() ?? true;
  }

  /** The fields of the request that say it. */
  request(model) {
    const [kind, name] = this.how.value.split(":");
    const { parameters = {}, verifier } = this.read();
    const ttc = {
      ...(kind === "strategy" ? { strategy: name, ...parameters } : {}),
      ...(verifier ? { verifier } : {}),
    };
    return {
      model: kind === "preset" ? `${model}+${name}` : model,
      ...(kind === "effort" ? { reasoning_effort: name } : {}),
      ttc,
    };
  }

  /** The element of a field of the request; null where it is not one of ours. */
  find([first, second, ...rest]) {
    if (first === "reasoning_effort") return this.how;
    if (first !== "ttc") return null;
    if (second === "strategy") return this.how;
    if (second === "verifier") return this.verifier;
    return this.own?.find([second, ...rest]) ?? null;
  }

  blame(path, message) {
    if (path[1] === "verifier") this.verifierField.blame(message);
    else if (this.find(path) === this.how) this.howField.blame(message);
    else this.own?.blame(path.slice(1), message);
  }

  #pick(how) {
    this.how.value = how;
    if (this.how.selectedIndex < 0) this.how.value = "default";
    this.#choose();
  }

  #choose() {
    const [kind, name] = this.how.value.split(":");
    const strategy = kind === "strategy" ? this.offer.strategies.get(name) : undefined;
    this.own = null;
    this.room.replaceChildren();
    this.about.replaceChildren();
    this.howField.blame("");
    // A preset or an effort may use a verifier; which, the server knows.
    const needs = strategy === undefined ? null : strategy.needs.verifier;
    this.verifierField.element.hidden = kind !== "strategy" || (needs === null && !takesInner(strategy));
    if (strategy === undefined) return;
    this.about.append(...described(strategy));
    this.#verifiers(needs);
    const { parameters } = strategy;
    const names = Object.keys(parameters.properties ?? {});
    if (names.length === 0) return;
    this.own = object(parameters, parameters.$defs ?? {}, this.offer.strategies);
    this.room.replaceChildren(
      el(
        "details",
        { open: names.length < 4 },
        el("summary", {}, "Parameters ", el("span", { class: "hint" }, `(${names.length})`)),
        this.own.element,
      ),
    );
  }

  #verifiers(needs) {
    const fitting = this.offer.verifiers.filter(({ kind }) => needs !== "process" || kind === "process");
    const kept = this.verifier.value;
    this.verifier.replaceChildren(
      el("option", { value: "" }, "as configured"),
      ...fitting.map(({ name, kind, healthy }) =>
        el("option", { value: name }, `${name} (${kind}${healthy === false ? ", does not answer" : ""})`),
      ),
    );
    this.verifier.value = fitting.some(({ name }) => name === kept) ? kept : "";
  }
}

const takesInner = (strategy) => "Inner" in (strategy.parameters.$defs ?? {});

function described({ description, source, cost, needs }) {
  const [first, ...rest] = (description ?? "").split("\n\n");
  const needed = [
    needs.verifier ? `a verifier (${needs.verifier})` : null,
    needs.retriever ? "a retriever" : null,
  ].filter(Boolean);
  const most = cost.at_most ? `At most ${count(cost.at_most.generations)} generations by default.` : null;
  const more = [...rest, source ? `Source: ${source}` : null].filter(Boolean);
  return [
    el("p", {}, first.replaceAll("`", "")),
    needed.length > 0 || most
      ? el("p", {}, [needed.length > 0 ? `Needs ${needed.join(" and ")}.` : null, most].filter(Boolean).join(" "))
      : null,
    more.length > 0
      ? el(
          "details",
          { id: uid("about") },
          el("summary", {}, "More"),
          more.map((each) => el("p", {}, each.replaceAll("`", "").replaceAll("\n", " "))),
        )
      : null,
  ].filter(Boolean);
}
