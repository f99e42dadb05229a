/**
 * The colours of scores: from orange over grey to blue, which people with any kind of colour blindness can tell apart,
 * and which stand out from the paper in both themes.
 */

const BUCKETS = 24;

/** The colours of the present theme, as canvases need them. */
export function palette() {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const [low, middle, high] = ["score-low", "score-mid", "score-high"].map((name) => channels(read(name)));
  const ramp = Array.from({ length: BUCKETS + 1 }, (_, i) => {
    const share = i / BUCKETS;
    return share < 0.5 ? mixed(low, middle, share * 2) : mixed(middle, high, share * 2 - 1);
  });
  const colours = {
    ramp,
    ...Object.fromEntries(["ink", "muted", "panel", "edge"].map((n) => [n, read(n)])),
    none: read("score-mid"),
  };
  probe.remove();
  return colours;
}

/** Which colour of the ramp a score has. */
export function bucket(score, [low, high] = [0, 1]) {
  const share = high > low ? (score - low) / (high - low) : 0.5;
  return Math.round(BUCKETS * Math.min(1, Math.max(0, share)));
}

/** The scale of a search's scores: probabilities, unless a verifier gives something else. */
export function range(low, high) {
  return low >= 0 && high <= 1 ? [0, 1] : [Math.min(low, high), Math.max(low, high)];
}

const channels = (colour) =>
  colour
    .match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);

const mixed = (from, to, share) =>
  `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * share)).join(" ")})`;
