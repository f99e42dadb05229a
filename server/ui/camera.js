/**
 * From depths and rows to pixels. Untouched, the whole tree fits; zoomed in, the distances grow and the dots only a
 * little, so that a large tree opens up instead of becoming coarse.
 */

const MARGIN = 18;
const LARGEST = 64;

export class Camera {
  constructor() {
    this.reset();
  }

  /** Show all of it again. */
  reset() {
    [this.zoom, this.panX, this.panY] = [1, 0, 0];
  }

  /** Whether it shows something else than everything. */
  get moved() {
    return this.zoom !== 1 || this.panX !== 0 || this.panY !== 0;
  }

  /** Fit a tree of so many rows and layers into so many pixels. */
  fit({ rows, depth }, width, height) {
    const labels = Math.min(150, width * 0.24);
    this.stepX = Math.max(1, Math.min(110, (width - 2 * MARGIN - labels) / Math.max(1, depth))) * this.zoom;
    const free = height - 2 * MARGIN;
    const stepY = Math.min(30, free / Math.max(1, rows - 1));
    this.stepY = stepY * this.zoom;
    this.left = MARGIN + this.panX;
    this.top = MARGIN + (free - stepY * Math.max(0, rows - 1)) / 2 + this.panY;
    this.radius = Math.max(1.5, Math.min(7, 0.4 * Math.min(this.stepX, this.stepY)));
    return this;
  }

  x(node) {
    return this.left + node.depth * this.stepX;
  }

  y(row) {
    return this.top + row * this.stepY;
  }

  pan(x, y) {
    this.panX += x;
    this.panY += y;
  }

  /** Zoom by a factor; what is at (x, y) stays there. */
  zoomAt(factor, x, y) {
    const zoom = Math.min(LARGEST, Math.max(1, this.zoom * factor));
    if (zoom === 1) {
      this.reset();
      return;
    }
    const by = zoom / this.zoom;
    this.pan((x - this.left) * (1 - by), (y - this.top) * (1 - by));
    this.zoom = zoom;
  }

  /** Move as far as needed to have a node in view. */
  show(node, width, height) {
    const [x, y] = [this.x(node), this.y(node.row)];
    const off = (value, size) => (value < 30 ? 60 - value : value > size - 30 ? size - 60 - value : 0);
    if (this.moved) this.pan(off(x, width), off(y, height));
  }
}
