/** Play, pause, scrub: which moment of a search is shown. */

import { el } from "./dom.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];

export class Replay {
  /** `onmove(time)` is called with the moment to show; Infinity is the present of a search that runs. */
  constructor(onmove) {
    this.onmove = onmove;
    this.time = Infinity;
    this.end = 0;
    this.playing = false;
    this.button = el(
      "button",
      { type: "button", disabled: true, onclick: () => (this.playing ? this.pause() : this.play()) },
      "Replay",
    );
    this.slider = el("input", {
      type: "range",
      min: "0",
      max: "1",
      step: "0.001",
      value: "1",
      disabled: true,
      "aria-label": "Moment of the search",
      oninput: () => this.#scrub(),
    });
    this.speed = el(
      "select",
      { "aria-label": "Speed", onchange: () => this.#faster() },
      SPEEDS.map((speed) => el("option", { value: String(speed), selected: speed === 1 }, `${speed}×`)),
      el("option", { value: "Infinity" }, "instantly"),
    );
    this.clock = el("output");
    this.element = el(
      "div",
      { class: "replay", role: "group", "aria-label": "Replay" },
      this.button,
      this.slider,
      this.speed,
      this.clock,
    );
  }

  /** A search that runs: there is nothing to replay yet. */
  live() {
    this.pause();
    [this.time, this.button.disabled, this.slider.disabled] = [Infinity, true, true];
    this.slider.value = "1";
    this.clock.textContent = "live";
  }

  /** A search that has ended after so many seconds, shown at its end. */
  over(seconds) {
    this.end = Math.max(seconds, 0.001);
    [this.button.disabled, this.slider.disabled] = [false, false];
    this.slider.max = String(this.end);
    this.slider.step = String(this.end / 1000);
    this.#move(this.end);
  }

  play() {
    if (this.time >= this.end) this.#move(0);
    this.playing = true;
    this.button.textContent = "Pause";
    let last = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      const next = this.time + ((now - last) / 1000) * Number(this.speed.value);
      last = now;
      this.#move(Math.min(this.end, Number.isNaN(next) ? this.end : next));
      if (this.time >= this.end) this.pause();
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.playing = false;
    this.button.textContent = "Replay";
  }

  #faster() {
    if (this.speed.value === "Infinity" && !this.button.disabled) this.#move(this.end);
  }

  #scrub() {
    this.pause();
    this.#move(Number(this.slider.value) >= this.end * 0.9995 ? this.end : Number(this.slider.value));
  }

  #move(time) {
    this.time = time;
    this.slider.value = String(time);
    const text = `${time.toFixed(2)} of ${this.end.toFixed(2)} s`;
    this.clock.textContent = text;
    this.slider.setAttribute("aria-valuetext", text);
    this.onmove(time);
  }
}
