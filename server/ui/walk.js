/**
 * Walking a tree by keyboard. Screen readers get real tree items, but only those around the selected one: the selected
 * node, the way to it, its siblings near by and its first children, however large the tree is.
 */

import { el, score, uid } from "./dom.js";
import { at } from "./search.js";

const NEAR = 10;

export class Walk {
  constructor(tree) {
    this.tree = tree;
    this.id = uid("item");
    this.items = el("div", { class: "hidden", role: "presentation" });
    tree.view.append(this.items);
    tree.view.addEventListener("keydown", (event) => this.#key(event));
    tree.view.addEventListener("focus", () => {
      const { search, selected } = tree;
      if (selected === null && search !== null) tree.select(search.answerNode ?? search.root);
    });
  }

  /** Make the items anew around what is selected. */
  update() {
    const { selected, search, view } = this.tree;
    if (selected === null || search === null) {
      const root = search === null ? [] : [this.#item(search.root)];
      this.items.replaceChildren(...root);
      view.removeAttribute("aria-activedescendant");
      return;
    }
    const way = search.above(selected);
    const beside = (selected.above?.below ?? []).slice(Math.max(0, selected.place - NEAR), selected.place + NEAR + 1);
    const shown = [...way.slice(0, -1), ...(selected.above === null ? [selected] : beside)];
    const at = shown.indexOf(selected);
    shown.splice(at + 1, 0, ...selected.below.slice(0, NEAR));
    this.items.replaceChildren(...shown.map((node) => this.#item(node)));
    view.setAttribute("aria-activedescendant", `${this.id}-${selected.id}`);
  }

  #item(node) {
    return el(
      "div",
      {
        role: "treeitem",
        id: `${this.id}-${node.id}`,
        "aria-level": String(node.depth + 1),
        "aria-posinset": String(node.place + 1),
        "aria-setsize": String(node.above?.below.length ?? 1),
        "aria-selected": String(node === this.tree.selected),
        "aria-expanded": node.below.length > 0 ? "true" : null,
      },
      spoken(node, at(node, this.tree.time)),
    );
  }

  #key(event) {
    const { tree } = this;
    const { search, selected } = tree;
    if (search === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const here = selected ?? search.root;
    const there = {
      ArrowRight: () => here.below[0] ?? here,
      ArrowLeft: () => here.above ?? here,
      ArrowUp: () => this.#beside(here, -1),
      ArrowDown: () => this.#beside(here, 1),
      Home: () => search.root,
      End: () => search.answerNode ?? search.nodes.at(-1),
    }[event.key];
    if (there !== undefined) tree.select(there());
    else if (event.key === "+" || event.key === "=") this.#zoom(1.5);
    else if (event.key === "-") this.#zoom(1 / 1.5);
    else if (event.key === "0") tree.reset();
    else return;
    event.preventDefault();
  }

  #zoom(factor) {
    const { tree } = this;
    const node = tree.selected;
    if (node === null) tree.zoom(factor);
    else tree.zoom(factor, tree.camera.x(node), tree.camera.y(node.row));
  }

  /** The next node up or down: a sibling, else the nearest node of the same depth. */
  #beside(node, by) {
    const sibling = node.above?.below[node.place + by];
    if (sibling !== undefined) return sibling;
    let found = node;
    for (const other of this.tree.search.nodes) {
      const ahead = other.depth === node.depth && (other.row - node.row) * by > 0;
      if (ahead && (found === node || (other.row - found.row) * by < 0)) found = other;
    }
    return found;
  }
}

/** A node in words. */
export function spoken(node, data) {
  if (node.id === 0) return `Question, ${node.below.length} branches`;
  if (data === null) return "Not generated yet";
  const parts = [`${data.kind} ${node.id}`];
  if (typeof data.score === "number") parts.push(`score ${score(data.score)}`);
  if (data.data?.pruned) parts.push("pruned");
  if (data.data?.merged) parts.push("same as another");
  if (node.below.length > 0) parts.push(`${node.below.length} branches`);
  return `${parts.join(", ")}: ${(data.text ?? "").trim().slice(0, 300)}`;
}
