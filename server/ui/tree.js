/** The tree of a search: a canvas to look at, and beside it the same tree for keyboards and screen readers. */

import { answerOf } from "./answers.js";
import { Camera } from "./camera.js";
import { palette, range } from "./colours.js";
import { calm, el, uid } from "./dom.js";
import { layout } from "./layout.js";
import { gestures } from "./gestures.js";
import { paint } from "./paint.js";
import { at } from "./search.js";
import { Walk } from "./walk.js";

const SETTLE = 0.22;

export class Tree {
  /** `onselect(node)` is called when another node is selected. */
  constructor(onselect) {
    this.onselect = onselect;
    this.search = null;
    this.time = Infinity;
    this.selected = null;
    this.camera = new Camera();
    this.size = { rows: 0, depth: 0 };
    this.grown = 0;
    this.frame = 0;
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.view = el(
      "div",
      {
        class: "tree-view",
        role: "tree",
        tabindex: "0",
        "aria-label": "Search tree",
      },
      this.canvas,
    );
    const hint = el(
      "p",
      { class: "hidden", id: uid("tree-hint") },
      "Arrow keys walk the tree: right to the first child, left to the parent, up and down among siblings. Home goes to the root, End to the answer. Plus and minus zoom, 0 shows all.",
    );
    this.view.setAttribute("aria-describedby", hint.id);
    this.walk = new Walk(this);
    this.element = el("div", { class: "tree" }, this.view, hint);
    this.tools = this.#tools();
    this.painter = this.canvas.getContext("2d");
    this.colours = null;
    gestures(this);
    new ResizeObserver(() => this.refresh()).observe(this.view);
    document.documentElement.addEventListener("themechange", () => {
      this.colours = null;
      this.refresh();
    });
  }

  /** Show a search, as it was at a time. */
  show(search, time = Infinity) {
    if (search !== this.search) {
      [this.search, this.selected, this.grown] = [search, null, 0];
      this.camera.reset();
      this.walk.update();
    }
    this.time = time;
    this.refresh();
  }

  /** Draw in the next frame; however often this is called, it is drawn once. */
  refresh() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.#draw());
  }

  select(node, { scroll = true } = {}) {
    if (node === this.selected) return;
    this.selected = node;
    if (scroll && node !== null) this.camera.show(node, this.view.clientWidth, this.view.clientHeight);
    this.walk.update();
    this.onselect(node);
    this.refresh();
  }

  /** The node nearest to a point, if it is near enough to be meant. */
  nodeAt(x, y, reach = 14) {
    let [found, least] = [null, reach * reach];
    for (const point of this.points ?? []) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [found, least] = [point.node, distance];
    }
    return found;
  }

  zoom(factor, x = this.view.clientWidth / 2, y = this.view.clientHeight / 2) {
    this.camera.zoomAt(factor, x, y);
    this.refresh();
  }

  reset() {
    this.camera.reset();
    this.refresh();
  }

  #draw() {
    this.frame = 0;
    const { search } = this;
    const [width, height] = [this.view.clientWidth, this.view.clientHeight];
    if (search === null || width === 0) return;
    this.view.classList.toggle("moved", this.camera.moved);
    if (search.nodes.length !== this.grown) {
      this.size = layout(search.nodes);
      this.grown = search.nodes.length;
      this.view.setAttribute("aria-label", `Search tree, ${this.grown} nodes`);
      this.walk.update();
    }
    this.camera.fit(this.size, width, height);
    const moving = this.#place(search);
    this.#fitCanvas(width, height);
    this.colours ??= palette();
    const { radius, stepX, stepY } = this.camera;
    const selected = this.points.find((point) => point.node === this.selected) ?? null;
    paint(
      this.painter,
      { points: this.points, radius, step: stepX, scale: this.scale, selected, labels: stepY >= 14, width, height },
      this.colours,
    );
    if (moving) this.refresh();
  }

  /** Where everything is in this frame; returns whether anything still moves. */
  #place(search) {
    const [still, way, placed] = [calm(), search.running ? new Set() : search.way, new Map()];
    let [moving, low, high] = [false, 0, 1];
    this.points = [];
    for (const node of search.nodes) {
      const data = at(node, this.time);
      const pending = data === null && node.started <= this.time;
      if (data === null && !pending) continue;
      const goal = node.row;
      if (node.shown === null || still || Math.abs(goal - node.shown) < 0.02) node.shown = goal;
      else {
        node.shown += (goal - node.shown) * SETTLE;
        moving = true;
      }
      const above = node.above === null ? null : (placed.get(node.above) ?? null);
      const point = {
        node,
        data,
        pending,
        above,
        x: this.camera.x(node),
        y: this.camera.y(node.shown),
        // What hangs below something that was cut is cut as well.
        faded:
          above?.faded === true ||
          data?.data?.pruned === true ||
          data?.data?.merged === true ||
          data?.kind === "cancelled",
        onWay: way.has(node.id) && !pending,
        deepest: node.depth === this.size.depth,
        label: node.below.length === 0 && !pending ? labelOf(node, data) : "",
      };
      if (typeof data?.score === "number") [low, high] = [Math.min(low, data.score), Math.max(high, data.score)];
      placed.set(node, point);
      this.points.push(point);
    }
    this.scale = range(low, high);
    return moving;
  }

  #fitCanvas(width, height) {
    const ratio = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    this.painter.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  #tools() {
    const button = (text, label, onclick) =>
      el("button", { type: "button", "aria-label": label, title: label, onclick }, text);
    return el(
      "div",
      { class: "tree-tools" },
      button("−", "Zoom out", () => this.zoom(1 / 1.6)),
      button("+", "Zoom in", () => this.zoom(1.6)),
      button("Fit", "Show the whole tree", () => this.reset()),
    );
  }
}

/** A whole answer is told from the others by what it answers, anything else by how it begins. */
function labelOf(node, data) {
  const answer = answerOf(node, data);
  if (answer !== null) return `= ${answer.slice(0, 60)}`;
  return (data.text ?? "").trim().split("\n")[0].slice(0, 80) || data.kind.replaceAll("_", " ");
}
