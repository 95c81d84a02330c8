/**
 * How an agent that learns from people does now: its last episode, what the predictor says of each step, and the answers.
 * The data is `look.json` of the run's folder (docs/clips.md), with the clip's address as `url`. For people's eyes only.
 *
 * @typedef {{steps: number, true_return: number, correlation: number | null, answers: number, accuracy: number | null,
 *   clean_flips: number | null}} Point
 * @typedef {Point & {version: number, time: string, env: string, clip: string | null, url?: string, waiting: number,
 *   budget: number, predicted: number[] | null, flips: {clean_flips: number} | null, history: Point[]}} Look
 */

import { loadClip } from "./clips.js";
import { el } from "./dom.js";
import { t } from "./i18n.js";

const EVERY = 5000; // ms between two looks at the data

/** @param {HTMLElement} host @param {string} address where the data is @returns {() => void} ends it */
export function mountControlRun(host, address) {
  const panel = new Panel(host);
  const ended = new AbortController();
  const look = async () => {
    try {
      const reply = await fetch(address, { credentials: "same-origin", signal: ended.signal, cache: "no-store" });
      if (reply.ok) await panel.show(await reply.json());
    } catch {
      // The server is away for a moment, or the page is left: what is shown stays, and the next look may find more.
    }
    if (!ended.signal.aborted) setTimeout(look, EVERY);
  };
  look();
  return () => {
    ended.abort();
    panel.close();
  };
}

class Panel {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.picture = el("div", { class: "control-picture" });
    this.strip = /** @type {HTMLCanvasElement} */ (el("canvas", { class: "control-strip", width: 480, height: 48, role: "img" }));
    this.strip.setAttribute("aria-label", t("Predicted reward of each step"));
    this.figures = el("dl", { class: "control-figures" });
    this.caption = el("p", { class: "muted small" });
    host.replaceChildren(this.picture, this.strip, this.caption, this.figures);
    this.time = "";
    this.url = "";
    /** @type {import("./clips.js").Clip | null} */
    this.clip = null;
    /** @type {number[]} */
    this.predicted = [];
    this.began = performance.now();
    this.frame = requestAnimationFrame((now) => this.#tick(now));
  }

  /** @param {Look} look */
  async show(look) {
    if (look.time === this.time) return;
    this.time = look.time;
    this.predicted = look.predicted || [];
    this.strip.hidden = !this.predicted.length;
    this.figures.replaceChildren(...rows(look).flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
    this.caption.textContent = t("Last episode, after {steps} steps").replace("{steps}", look.steps.toLocaleString());
    if (look.url && look.url !== this.url) {
      const clip = await loadClip(look.url);
      this.clip?.close();
      this.url = look.url;
      this.clip = clip;
      this.picture.replaceChildren(clip.element);
      this.began = performance.now();
      if (clip.speed && clip.speed < 0.99)
        this.caption.textContent += ` · ${t("{times} times slower than real time").replace("{times}", (1 / clip.speed).toFixed(1))}`;
    }
  }

  /** @param {number} now */
  #tick(now) {
    this.frame = requestAnimationFrame((next) => this.#tick(next));
    if (!this.clip) return;
    const time = ((now - this.began) / 1000) % this.clip.seconds;
    this.clip.at(time, 1);
    drawStrip(this.strip, this.predicted, time / this.clip.seconds);
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.clip?.close();
  }
}

/** @param {Look} look @returns {[string, string][]} */
function rows(look) {
  const share = (/** @type {number | null} */ value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
  /** @type {[string, string][]} */
  const found = [
    [t("Answers given"), `${look.answers} / ${look.budget}`],
    [t("Waiting for an answer"), String(look.waiting)],
    [t("Answers foretold (held out)"), share(look.accuracy)],
    [t("Correlation with the true reward"), look.correlation === null ? "–" : look.correlation.toFixed(2)],
    [t("True return"), look.true_return.toFixed(1)],
  ];
  if (look.flips) found.push([t("Clean flips per 1000 steps"), look.flips.clean_flips.toFixed(1)]);
  return found;
}

/** Bars up and down from a middle line, and where the clip is. @param {HTMLCanvasElement} canvas @param {number[]} values @param {number} share */
export function drawStrip(canvas, values, share) {
  const context = canvas.getContext("2d");
  if (!context || !values.length) return;
  const { width, height } = canvas;
  const most = Math.max(1e-6, ...values.map(Math.abs));
  const style = getComputedStyle(canvas);
  context.clearRect(0, 0, width, height);
  const step = width / values.length;
  values.forEach((value, i) => {
    const tall = (Math.abs(value) / most) * (height / 2);
    context.fillStyle = value > 0 ? "#2f9e6e" : "#d9664a";
    context.globalAlpha = i / values.length <= share ? 1 : 0.45;
    context.fillRect(i * step, value > 0 ? height / 2 - tall : height / 2, Math.max(1, step), tall);
  });
  context.globalAlpha = 1;
  context.fillStyle = style.color;
  context.fillRect(0, height / 2, width, 1);
  context.fillRect(share * width, 0, 2, height);
}
