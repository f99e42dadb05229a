/** Elements without markup: whatever text comes in becomes a text node, never HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Attributes that are functions are listeners (`onclick`), true is a bare attribute, and what is
 * null, undefined or false is left out. Children are elements or texts.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

let made = 0;

/** An id that no other element has. */
export function uid(prefix) {
  made += 1;
  return `${prefix}-${made}`;
}

/** Set a text only where it differs, so that screen readers and the layout are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether the user asked for less motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** `12,345`; a dash for nothing. */
export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));

/** Seconds with a sensible number of digits. */
export const seconds = (value) =>
  value === null || value === undefined ? "–" : value < 100 ? value.toFixed(1) : whole.format(value);

/** A score with three digits; a dash for none. */
export const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
