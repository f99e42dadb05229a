/** Reading JSON Schemas as pydantic writes them. */

/** What a part of a schema says: references followed, "or null" taken apart. */
export function resolve(part, definitions) {
  let [schema, nullable] = [part, false];
  for (;;) {
    const { anyOf } = schema;
    const given = anyOf?.filter((each) => each.type !== "null") ?? [];
    if (schema.$ref !== undefined)
      schema = { ...definitions[schema.$ref.split("/").at(-1)], ...without(schema, "$ref") };
    else if (given.length === 1) {
      nullable ||= given.length < anyOf.length;
      schema = { ...given[0], ...without(schema, "anyOf") };
    } else return { schema, nullable: nullable || given.length < (anyOf?.length ?? 0) };
  }
}

/** What a number or text may be, in words; empty where anything may. */
export function allowed(schema) {
  const { minimum: low, maximum: high, exclusiveMinimum: above, exclusiveMaximum: below } = schema;
  const bounds = [
    low !== undefined && high !== undefined
      ? `${low} to ${high}`
      : low !== undefined
        ? `at least ${low}`
        : high !== undefined
          ? `at most ${high}`
          : null,
    above !== undefined ? `above ${above}` : null,
    below !== undefined ? `below ${below}` : null,
  ].filter(Boolean);
  if (schema.type === "integer" || schema.type === "number")
    return [schema.type === "integer" ? "whole number" : "number", ...bounds].join(", ");
  return schema.maxLength === undefined ? "" : `at most ${schema.maxLength} characters`;
}

/** What is wrong with a value under a scalar schema; empty where nothing is. The server knows better, but later. */
export function wrong(value, schema) {
  if (schema.type === "integer" || schema.type === "number") {
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
    const sound =
      Number.isFinite(value) &&
      (schema.type === "number" || Number.isInteger(value)) &&
      !(value < minimum) &&
      !(value > maximum) &&
      !(value <= exclusiveMinimum) &&
      !(value >= exclusiveMaximum);
    return sound ? "" : `Must be a ${allowed(schema)}.`;
  }
  if (schema.type !== "string") return "";
  if (value.length < (schema.minLength ?? 0)) return "Must not be empty.";
  if (value.length > (schema.maxLength ?? Infinity)) return `Must have ${allowed(schema)}.`;
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, "u").test(value))
    return `Must contain what matches ${schema.pattern}`;
  return "";
}

function without(object, name) {
  const { [name]: _, ...rest } = object;
  return rest;
}
