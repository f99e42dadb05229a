/**
 * A layered tidy tree: depth goes right, every node has a row, parents stand in the middle of their children, and
 * subtrees move as close as their outlines allow (Reingold and Tilford 1981, with the outlines of van der Ploeg's kind
 * kept as arrays). Linear in the nodes but for what outlines share, so it is simply done anew when the tree has grown.
 */

/**
 * Give every node its `row`.
 *
 * @param nodes All nodes, parents before their children; each has `below` (children) and `depth`.
 * @returns The rows and the depth that the tree takes.
 */
export function layout(nodes) {
  const outlines = new Map();
  for (let i = nodes.length - 1; i >= 0; i -= 1) outlines.set(nodes[i], outline(nodes[i], outlines));
  const root = outlines.get(nodes[0]);
  if (root === undefined) return { rows: 0, depth: 0 };
  let [top, bottom] = [Infinity, -Infinity];
  for (const row of root.first) top = Math.min(top, row);
  for (const row of root.last) bottom = Math.max(bottom, row);
  let depth = 0;
  nodes[0].row = -(top + root.shift);
  for (const node of nodes) {
    depth = Math.max(depth, node.depth);
    for (const child of node.below) child.row = node.row + child.offset;
  }
  return { rows: bottom - top + 1, depth };
}

/**
 * The outline of a node's subtree: first and last row at each depth, deepest first, relative to the node's own row
 * once `shift` is added. Also gives each child its `offset` from the node.
 */
function outline(node, outlines) {
  const { below } = node;
  if (below.length === 0) return { first: [0], last: [0], shift: 0 };
  let whole = null;
  for (const child of below) {
    const own = outlines.get(child);
    outlines.delete(child);
    if (whole === null) {
      child.offset = 0;
      whole = own;
    } else {
      child.offset = apart(whole, own);
      whole = merged(whole, own, child.offset);
    }
  }
  const middle = below.at(-1).offset / 2;
  for (const child of below) child.offset -= middle;
  // Rows are seen from the first child so far; from now on from the node, which lies `middle` below it.
  whole.shift -= middle;
  whole.first.push(-whole.shift);
  whole.last.push(-whole.shift);
  return whole;
}

/** How far below the first child of `upper` the root of `lower` has to be. */
function apart(upper, lower) {
  const shared = Math.min(upper.first.length, lower.first.length);
  let distance = 0;
  for (let i = 1; i <= shared; i += 1) {
    const free = upper.last.at(-i) + upper.shift + 1 - (lower.first.at(-i) + lower.shift);
    if (free > distance) distance = free;
  }
  return distance;
}

/** Both outlines as one; the longer array is kept and written into. */
function merged(upper, lower, offset) {
  const [kept, other] = upper.first.length >= lower.first.length ? [upper, lower] : [lower, upper];
  const by = lower.shift + offset;
  if (kept === lower) lower.shift = by;
  const move = (kept === lower ? upper.shift : by) - kept.shift;
  const side = kept === lower ? "first" : "last";
  for (let i = 1; i <= other.first.length; i += 1) {
    kept[side][kept[side].length - i] = other[side].at(-i) + move;
  }
  return kept;
}
