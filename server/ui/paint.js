/** Drawing a tree: few long strokes and fills instead of many short ones, so that thousands of nodes stay cheap. */

import { bucket } from "./colours.js";

const FADED = 0.28;
const TURN = 2 * Math.PI;

/**
 * Draw what there is.
 *
 * @param context The canvas' drawing context.
 * @param scene `points` (nodes with `x`, `y`, `data`, `above`, `pending`, `faded`, `onWay`, `deepest`), `radius`, `step`
 *   from layer to layer, `scale` of the scores, `selected` (a node or null), `labels` (whether there is room for texts), `width`, `height`.
 * @param colours See `palette`.
 */
export function paint(context, scene, colours) {
  context.clearRect(0, 0, scene.width, scene.height);
  const way = edges(context, scene, colours);
  if (scene.labels) texts(context, scene, colours);
  context.strokeStyle = colours.ink;
  context.lineWidth = Math.max(1.6, Math.min(2.6, scene.radius / 2));
  context.stroke(way);
  dots(context, scene, colours);
  if (scene.selected !== null) ring(context, scene.selected, scene.radius + 4, colours.ink, 2);
}

/** Draws all edges but those to the answer, which it returns. */
function edges(context, { points, radius, height }, colours) {
  const lines = { faded: new Path2D(), plain: new Path2D(), way: new Path2D() };
  for (const point of points) {
    const from = point.above;
    if (from === null || Math.max(point.y, from.y) < 0 || Math.min(point.y, from.y) > height) continue;
    const line = point.onWay ? lines.way : point.faded || point.pending ? lines.faded : lines.plain;
    const middle = (from.x + point.x) / 2;
    line.moveTo(from.x, from.y);
    line.bezierCurveTo(middle, from.y, middle, point.y, point.x, point.y);
  }
  context.lineWidth = Math.max(0.6, Math.min(1.4, radius / 3));
  context.strokeStyle = colours.edge;
  context.globalAlpha = 0.5;
  context.stroke(lines.faded);
  context.globalAlpha = 1;
  context.stroke(lines.plain);
  return lines.way;
}

function dots(context, { points, radius, scale, height }, colours) {
  const fills = new Map();
  const hollow = { solid: new Path2D(), faded: new Path2D() };
  const crosses = new Path2D();
  const way = new Path2D();
  for (const { x, y, data, pending, faded, onWay } of points) {
    if (y < -20 || y > height + 20) continue;
    if (data?.kind === "cancelled") {
      const arm = radius * 0.7;
      crosses.moveTo(x - arm, y - arm);
      crosses.lineTo(x + arm, y + arm);
      crosses.moveTo(x - arm, y + arm);
      crosses.lineTo(x + arm, y - arm);
      continue;
    }
    let path = faded || pending ? hollow.faded : hollow.solid;
    if (typeof data?.score === "number" && !pending) {
      const key = bucket(data.score, scale) + (faded ? 1000 : 0);
      if (!fills.has(key)) fills.set(key, new Path2D());
      path = fills.get(key);
    }
    path.moveTo(x + radius, y);
    path.arc(x, y, radius, 0, TURN);
    if (onWay) {
      way.moveTo(x + radius + 1, y);
      way.arc(x, y, radius + 1, 0, TURN);
    }
  }
  context.lineWidth = Math.max(1, Math.min(1.8, radius / 2.5));
  context.strokeStyle = colours.none;
  for (const [path, alpha] of [
    [hollow.solid, 1],
    [hollow.faded, 0.5],
  ]) {
    context.globalAlpha = 1;
    context.fillStyle = colours.panel;
    context.fill(path);
    context.globalAlpha = alpha;
    context.stroke(path);
  }
  context.globalAlpha = 0.55;
  context.stroke(crosses);
  for (const [key, path] of fills) {
    context.globalAlpha = 1;
    if (key >= 1000) {
      // What lies beneath must not shine through what has faded.
      context.fillStyle = colours.panel;
      context.fill(path);
      context.globalAlpha = FADED;
    }
    context.fillStyle = colours.ramp[key % 1000];
    context.fill(path);
  }
  context.globalAlpha = 1;
  context.lineWidth = 2;
  context.strokeStyle = colours.ink;
  context.stroke(way);
}

function texts(context, { points, radius, step, width, height }, colours) {
  context.font = `12px ${getComputedStyle(document.documentElement).fontFamily}`;
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = colours.panel;
  for (const { x, y, label, faded, onWay, deepest } of points) {
    // To the right of the deepest layer nothing is in the way.
    const room = (deepest ? width - x : step) - 2 * radius - 14;
    if (!label || room < 24 || y < 0 || y > height) continue;
    const text = cut(context, label, room);
    context.globalAlpha = 1;
    context.strokeText(text, x + radius + 7, y);
    context.globalAlpha = faded ? 0.6 : 1;
    context.fillStyle = onWay ? colours.ink : colours.muted;
    context.fillText(text, x + radius + 7, y);
  }
  context.globalAlpha = 1;
}

function cut(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  if (room < 60) return "";
  // About as many characters as fit: exact enough for a label.
  const fits = Math.floor((text.length * room) / context.measureText(text).width) - 1;
  return fits < 3 ? "" : `${text.slice(0, fits)}…`;
}

function ring(context, { x, y }, radius, colour, width) {
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, TURN);
  context.stroke();
}
