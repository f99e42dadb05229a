/** Mouse and fingers on a tree: select, move, zoom. */

const CLICK = 5;

export function gestures(tree) {
  const { view } = tree;
  const fingers = new Map();
  let travelled = 0;
  const place = (event) => {
    const box = view.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = fingers.values();
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, width: Math.hypot(a.x - b.x, a.y - b.y) };
  };

  view.addEventListener("pointerdown", (event) => {
    if (fingers.size === 0) travelled = 0;
    fingers.set(event.pointerId, place(event));
    view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) return;
    const old = fingers.size === 2 ? spread() : null;
    const now = place(event);
    fingers.set(event.pointerId, now);
    travelled += Math.hypot(now.x - before.x, now.y - before.y);
    if (old !== null) {
      const { x, y, width } = spread();
      if (old.width > 0) tree.camera.zoomAt(width / old.width, x, y);
      tree.refresh();
    } else if (tree.camera.moved && travelled > CLICK) {
      tree.camera.pan(now.x - before.x, now.y - before.y);
      tree.refresh();
    }
  });
  view.addEventListener("pointerup", (event) => {
    const was = fingers.get(event.pointerId);
    fingers.delete(event.pointerId);
    if (was === undefined || travelled > CLICK || fingers.size > 0) return;
    const node = tree.nodeAt(was.x, was.y, event.pointerType === "touch" ? 26 : 14);
    if (node !== null) tree.select(node, { scroll: false });
  });
  view.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  // Scrolling past the tree must stay possible: only with Ctrl (which a pinch on a touchpad sends too) it zooms.
  view.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !tree.camera.moved) return;
      event.preventDefault();
      const { x, y } = place(event);
      if (event.ctrlKey) tree.zoom(Math.exp(-event.deltaY / 160), x, y);
      else {
        tree.camera.pan(-event.deltaX, -event.deltaY);
        tree.refresh();
      }
    },
    { passive: false },
  );
  view.addEventListener("dblclick", (event) => {
    const { x, y } = place(event);
    tree.zoom(2, x, y);
  });
}
