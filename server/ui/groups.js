/** Fields that hold others: objects, lists, and strategies inside strategies. They have what fields have. */

import { el, uid } from "./dom.js";
import { json, scalar } from "./fields.js";
import { resolve } from "./schema.js";

/**
 * A field for any part of a schema.
 *
 * @param known The strategies by name, for those that are parameters of others.
 */
export function field(name, part, definitions, known) {
  const { schema, nullable } = resolve(part, definitions);
  const made = make(name, schema, nullable, definitions, known);
  made.write(schema.default);
  return made;
}

function make(name, schema, nullable, definitions, known) {
  if (schema.properties?.strategy?.enum !== undefined) return inner(name, schema, known);
  if (schema.enum !== undefined || ["string", "integer", "number", "boolean"].includes(schema.type))
    return scalar(name, schema, nullable);
  const items = schema.type === "array" ? resolve(schema.items, definitions).schema : null;
  if (items?.properties !== undefined || items?.type === "string") return list(name, schema, definitions, known);
  if (items?.discriminator !== undefined) return list(name, schema, definitions, known);
  if (schema.discriminator !== undefined) return variant(name, schema, definitions, known);
  if (schema.properties !== undefined) return nested(name, schema.description, object(schema, definitions, known));
  return json(name, schema);
}

/** All properties of an object; `read` gives those that are required or differ from their default. */
export function object(schema, definitions, known, { leave = [] } = {}) {
  const fields = new Map();
  const standard = new Map();
  for (const [name, part] of Object.entries(schema.properties ?? {})) {
    if (leave.includes(name) || part.const !== undefined) continue;
    fields.set(name, field(name, part, definitions, known));
    standard.set(name, JSON.stringify(fields.get(name).read()));
  }
  const given = ([name, each]) => {
    const value = each.read();
    const emptied = value === undefined && !each.nullable;
    return !emptied && (schema.required?.includes(name) || JSON.stringify(value) !== standard.get(name));
  };
  return {
    element: el(
      "div",
      { class: "fields" },
      [...fields.values()].map((each) => each.element),
    ),
    read: () => Object.fromEntries([...fields].filter(given).map(([name, each]) => [name, each.read() ?? null])),
    write: (values) => {
      for (const [name, each] of fields) {
        const { default: standardValue } = resolve(schema.properties[name], definitions).schema;
        each.write(values?.[name] ?? standardValue);
      }
    },
    check: () => [...fields.values()].map((each) => each.check()).every(Boolean),
    find: ([name, ...rest]) => fields.get(name)?.find(rest) ?? null,
    blame: ([name, ...rest], message) => fields.get(name)?.blame(rest, message),
  };
}

/** A strategy as a parameter: which one, its own parameters, and what it may spend. */
function inner(name, schema, known) {
  const input = el(
    "select",
    { id: uid("inner") },
    schema.properties.strategy.enum.map((each) => el("option", { value: each }, each)),
  );
  const room = el("div");
  const budget = nested(
    "budget",
    schema.properties.budget?.description,
    object(resolve(schema.properties.budget ?? {}, {}).schema, {}, known),
    { closed: true },
  );
  let own = null;
  const choose = (strategy, values) => {
    input.value = strategy;
    const { parameters } = known.get(strategy) ?? { parameters: {} };
    own = object(parameters, parameters.$defs ?? {}, known);
    own.write(values);
    const more = Object.keys(parameters.properties ?? {}).length > 0;
    room.replaceChildren(...(more ? [el("details", {}, el("summary", {}, "Its parameters"), own.element)] : []));
  };
  input.addEventListener("change", () => choose(input.value));
  choose("single");
  const head = el(
    "div",
    { class: "field" },
    el("label", { for: input.id }, name),
    input,
    schema.description ? el("p", { class: "hint" }, schema.description) : null,
  );
  return {
    element: el("div", { class: "nested" }, head, room, budget.element),
    read: () => {
      const share = budget.read();
      return { strategy: input.value, ...own.read(), ...(Object.keys(share).length > 0 ? { budget: share } : {}) };
    },
    write: (value) => {
      const { strategy = "single", budget: share, ...values } = value ?? {};
      choose(strategy, values);
      budget.write(share);
    },
    check: () => [own.check(), budget.check()].every(Boolean),
    find: (path) => (path[0] === "budget" ? budget.find(path.slice(1)) : own.find(path)) ?? input,
    blame: (path, message) => (path[0] === "budget" ? budget.blame(path.slice(1), message) : own.blame(path, message)),
  };
}

/** One of several kinds of objects, told apart by one of their properties. */
function variant(name, schema, definitions, known) {
  const { propertyName, mapping } = schema.discriminator;
  const input = el(
    "select",
    { id: uid("variant") },
    Object.keys(mapping).map((each) => el("option", { value: each }, each)),
  );
  const room = el("div");
  let own = null;
  const choose = (kind, values) => {
    input.value = kind;
    own = object(resolve({ $ref: mapping[kind] }, definitions).schema, definitions, known);
    own.write(values);
    room.replaceChildren(own.element);
  };
  input.addEventListener("change", () => choose(input.value));
  choose(Object.keys(mapping)[0]);
  return {
    element: el(
      "div",
      { class: "nested" },
      el("div", { class: "field" }, el("label", { for: input.id }, propertyName), input),
      room,
    ),
    read: () => ({ [propertyName]: input.value, ...own.read() }),
    write: (value) => choose(value?.[propertyName] ?? Object.keys(mapping)[0], value),
    check: () => own.check(),
    find: (path) => own.find(path) ?? input,
    blame: (path, message) => own.blame(path, message),
  };
}

/** Any number of equal things. */
function list(name, schema, definitions, known) {
  const room = el("div");
  let items = [];
  const draw = () =>
    room.replaceChildren(
      ...items.map((item, i) =>
        el(
          "div",
          { class: "item" },
          el(
            "div",
            { class: "row" },
            el("span", { class: "label" }, `${name} ${i + 1}`),
            el(
              "button",
              { type: "button", class: "quiet", "aria-label": `Remove ${name} ${i + 1}`, onclick: () => take(i) },
              "Remove",
            ),
          ),
          item.element,
        ),
      ),
    );
  const add = (value) => {
    const { schema: kind } = resolve(schema.items, definitions);
    const bare = kind.properties !== undefined && kind.properties.strategy?.enum === undefined;
    const item = bare ? object(kind, definitions, known) : field("value", schema.items, definitions, known);
    if (value !== undefined || bare) item.write(value);
    items.push(item);
  };
  const take = (i) => {
    items.splice(i, 1);
    draw();
    more.focus();
  };
  const more = el(
    "button",
    {
      type: "button",
      onclick: () => {
        add();
        draw();
        items.at(-1).element.querySelector("input, select, textarea")?.focus();
      },
    },
    `Add to ${name}`,
  );
  const frame = nested(name, schema.description, null);
  frame.element.append(room, more);
  return {
    element: frame.element,
    read: () => items.map((item) => item.read()),
    write: (values) => {
      items = [];
      for (const value of values ?? []) add(value);
      draw();
    },
    check: () => items.map((item) => item.check()).every(Boolean),
    find: ([index, ...rest]) => items[index]?.find(rest) ?? more,
    blame: ([index, ...rest], message) => items[index]?.blame(rest, message),
  };
}

function nested(name, description, content, { closed = false } = {}) {
  const hint = description ? el("p", { class: "hint" }, description) : null;
  const element = closed
    ? el("details", {}, el("summary", {}, name), hint, content.element)
    : el(
        "div",
        { class: "nested", role: "group", "aria-label": name },
        el("p", { class: "label" }, name),
        hint,
        content?.element,
      );
  return { ...content, element };
}
