/**
 * Fields of a form, made from JSON Schemas.
 *
 * Each has `element`, `read()` (its value; undefined where it is left empty), `write(value)`, `check()` (whether it is
 * sound; says so beside the field), `find(path)` (the element of a part of it, to put the focus on) and
 * `blame(path, message)` (say what is wrong with that part).
 */

import { el, uid } from "./dom.js";
import { allowed, wrong } from "./schema.js";

/** A label, an input, what it means, and room for what is wrong with it. */
export function framed(name, input, { hint = "", check = false } = {}) {
  const id = input.id || uid("field");
  input.id = id;
  const help = hint ? el("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  const error = el("p", { class: "error", id: `${id}-error` });
  input.setAttribute("aria-describedby", `${help ? `${help.id} ` : ""}${error.id}`);
  const label = el("label", { for: id }, name);
  const element = check
    ? el("div", { class: "field check" }, input, label, help, error)
    : el("div", { class: "field" }, label, input, help, error);
  const blame = (message) => {
    error.textContent = message;
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => blame(""));
  return { element, blame };
}

/** A number, a text or a choice; `empty` is what an empty field means. */
export function scalar(name, schema, nullable, { empty = "none", hints = true } = {}) {
  const kind = schema.enum ? choice : schema.type === "boolean" ? toggle : schema.type === "string" ? text : number;
  const { input, read, write } = kind(schema, nullable ? empty : "");
  const hint = !hints
    ? ""
    : [schema.description, kind === number || schema.type === "integer" ? capital(allowed(schema)) : null]
        .filter(Boolean)
        .join(" ");
  const { element, blame } = framed(name, input, { hint, check: kind === toggle });
  const standard = JSON.stringify(schema.default ?? null);
  const mark = () =>
    element.classList.toggle("changed", schema.default !== undefined && JSON.stringify(read() ?? null) !== standard);
  input.addEventListener("input", mark);
  return {
    element,
    read,
    write: (value) => {
      write(value);
      blame("");
      mark();
    },
    check: () => {
      const value = read();
      const problem = value === undefined || value === null ? "" : wrong(value, schema);
      blame(problem);
      return problem === "";
    },
    find: () => input,
    blame: (_, message) => blame(message),
    nullable,
  };
}

function number(schema, empty) {
  const input = el("input", {
    type: "number",
    step: schema.type === "integer" ? "1" : "any",
    min: schema.minimum,
    max: schema.maximum,
    inputmode: schema.type === "integer" ? "numeric" : "decimal",
    placeholder: empty,
  });
  return {
    input,
    // What is no number reads as one that no bounds allow, so that it is refused and not forgotten.
    read: () => (input.value === "" ? (input.validity.badInput ? NaN : undefined) : Number(input.value)),
    write: (value) => (input.value = value ?? ""),
  };
}

function text(schema, empty) {
  const long = (schema.default ?? "").length > 40 || (schema.maxLength ?? 0) >= 1000;
  const input = long
    ? el("textarea", { rows: "4", spellcheck: "false" })
    : el("input", { type: "text", spellcheck: "false", autocomplete: "off", placeholder: empty });
  // One line cannot hold a line break: it is written as \n there.
  const [out, back] = long ? [String, String] : [escaped, unescaped];
  return {
    input,
    read: () => (input.value === "" && empty !== "" ? undefined : back(input.value)),
    write: (value) => (input.value = value === null || value === undefined ? "" : out(value)),
  };
}

function choice(schema, empty) {
  const input = el(
    "select",
    {},
    empty ? el("option", { value: "" }, empty) : null,
    schema.enum.map((value) => el("option", { value: String(value) }, String(value))),
  );
  return {
    input,
    read: () => schema.enum.find((value) => String(value) === input.value),
    write: (value) => (input.value = String(value ?? "")),
  };
}

function toggle() {
  const input = el("input", { type: "checkbox" });
  return { input, read: () => input.checked, write: (value) => (input.checked = value === true) };
}

/** JSON, for what has no form of its own. */
export function json(name, schema) {
  const input = el("textarea", { rows: "4", spellcheck: "false" });
  const { element, blame } = framed(name, input, { hint: [schema.description, "As JSON."].filter(Boolean).join(" ") });
  const parse = () => (input.value.trim() === "" ? undefined : JSON.parse(input.value));
  return {
    element,
    read: () => {
      try {
        return parse();
      } catch {
        return undefined;
      }
    },
    write: (value) => {
      input.value = value === undefined || value === null ? "" : JSON.stringify(value, null, 1);
      blame("");
    },
    check: () => {
      try {
        parse();
        blame("");
        return true;
      } catch (error) {
        blame(`This is not JSON: ${error.message}`);
        return false;
      }
    },
    find: () => input,
    blame: (_, message) => blame(message),
  };
}

const escaped = (value) => value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t");
const unescaped = (value) => value.replace(/\\(.)/g, (_, c) => ({ n: "\n", t: "\t" })[c] ?? c);
const capital = (value) => (value ? `${value[0].toUpperCase()}${value.slice(1)}.` : "");
