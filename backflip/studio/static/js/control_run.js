/**
 * How an agent that learns from people does now: its last episode, what the predictor says of each step, and the answers.
 * The data is `look.json` of the run's folder (docs/clips.md), with the clip's address as `url`. For people's eyes only.
 *
 * @typedef {{steps: number, true_return: number, correlation: number | null, answers: number, accuracy: number | null,
 *   clean_flips: number | null}} Point
 * @typedef {{clean_flips: number, net_turns: number, airborne_turns: number, body_floor_share: number}} Flips
 * @typedef {Point & {version: number, time: string, env: string, clip: string | null, url: string | null, waiting: number,
 *   budget: number, predicted: number[] | null, flips: Flips | null, history: Point[]}} Look
 */

import { Picture } from "./charts.js";
import { Clock, loadClip } from "./clips.js";
import { el } from "./dom.js";
import { figure, moment } from "./format.js";
import { t } from "./i18n.js";

const EVERY = 3000; // ms between two looks at the data
const COMING = 0.4; // how strong the part of the strip is that has not been shown yet

/** @param {HTMLElement} host @param {string} address where the data is @param {boolean} live whether more of it comes @param {() => void} there called when there is something to be seen */
export function mountControlRun(host, address, live, there) {
  const panel = new Panel(host);
  const look = async () => {
    try {
      const reply = await fetch(address, { credentials: "same-origin", cache: "no-store" });
      if (reply.ok) {
        const found = await reply.json();
        there();
        await panel.show(found);
      }
    } catch {
      // The server is away for a moment, or the page is left: what is shown stays, and the next look may find more.
    }
    if (live) setTimeout(look, EVERY);
  };
  look();
}

class Panel {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.box = el("div", { class: "clip-box" });
    this.strip = /** @type {HTMLCanvasElement} */ (el("canvas", { class: "look-strip", role: "img", "aria-label": t("Predicted reward of each step") }));
    this.play = el("button", { type: "button", class: "button small look-play", on: { click: () => this.#pause(!this.clock.paused) } });
    this.place = /** @type {HTMLInputElement} */ (el("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": t("Moment of the episode"), on: { input: () => this.#seek() } }));
    this.track = el("div", { class: "look-track" }, this.strip, this.place);
    this.legend = el("p", { class: "look-legend small muted" },
      el("span", { class: "up", text: t("above: what people would prefer") }), el("span", { class: "down", text: t("below: what they would not") }));
    this.controls = el("div", { class: "look-controls" }, this.play, this.legend);
    this.caption = el("figcaption", { class: "muted small" });
    this.film = el("figure", { class: "look-film" }, this.box, this.track, this.controls, this.caption);
    this.figures = el("dl", { class: "look-figures" });
    this.curves = el("div", { class: "curves look-curves" });
    host.replaceChildren(this.film, el("div", { class: "look-side" }, this.figures, this.curves));
    this.pictures = new Map();
    this.clock = new Clock();
    this.time = "";
    this.url = "";
    /** @type {import("./clips.js").Clip | null} */
    this.clip = null;
    /** @type {number[]} */
    this.predicted = [];
    this.#pause(matchMedia("(prefers-reduced-motion: reduce)").matches);
    const tick = () => {
      this.#draw();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** @param {Look} look */
  async show(look) {
    if (look.time === this.time) return;
    const clip = look.url && look.url !== this.url ? await loadClip(look.url) : this.clip;
    this.time = look.time;
    this.predicted = look.predicted || [];
    this.legend.hidden = !this.predicted.length;
    this.controls.hidden = this.track.hidden = !look.url;
    this.figures.replaceChildren(...figures(look));
    this.#curves(look.history);
    if (!look.url) this.box.replaceChildren(el("p", { class: "muted", text: t("Nothing of this environment can be drawn here.") }));
    else if (clip && clip !== this.clip) {
      this.clip?.close();
      this.clip = clip;
      this.url = look.url;
      clip.element.setAttribute("aria-label", t("Last episode"));
      this.box.replaceChildren(clip.element);
      this.clock.show([clip]);
    }
    const speed = this.clip?.speed && this.clip.speed < 0.99 && t("{times} times slower than real time", { times: figure(1 / this.clip.speed, 2) });
    const said = [t("Last episode, after {steps} steps", { steps: figure(look.steps) }), speed, moment(look.time)];
    this.caption.textContent = said.filter(Boolean).join(" · ");
  }

  /** @param {Point[]} history */
  #curves(history) {
    /** @type {[string, keyof Point][]} */
    const wanted = [
      [t("Answers foretold (held out)"), "accuracy"], [t("Answers given"), "answers"],
      [t("True return"), "true_return"], [t("Correlation with the true reward"), "correlation"],
      [t("Clean flips per 1000 steps"), "clean_flips"],
    ];
    for (const [title, name] of wanted) {
      const points = history.filter((point) => point[name] !== null && point[name] !== undefined).map((point) => /** @type {[number, number]} */ ([point.steps, point[name]]));
      if (points.length < 2 || points.every(([, value]) => value === points[0][1])) continue; // no line to be seen
      if (!this.pictures.has(name)) this.pictures.set(name, new Picture(this.curves, title));
      this.pictures.get(name).set("", points);
    }
  }

  /** @param {boolean} paused */
  #pause(paused) {
    this.clock.paused = paused;
    this.play.textContent = paused ? t("Play") : t("Pause");
  }

  #seek() {
    this.clock.time = (Number(this.place.value) / 1000) * this.clock.seconds;
    this.#pause(true);
  }

  #draw() {
    if (!this.clip) return;
    const share = Math.min(1, this.clock.time / this.clip.seconds);
    if (!this.clock.paused) this.place.value = String(Math.round(1000 * share));
    drawStrip(this.strip, this.predicted, share);
  }
}

/** @param {Look} look @returns {HTMLElement[]} */
function figures(look) {
  const share = (/** @type {number | null} */ value) => (value === null ? "–" : t("{n} %", { n: Math.round(100 * value) }));
  const given = el("dd", {}, figure(look.answers), el("small", { text: ` / ${figure(look.budget)}` }),
    el("progress", { class: "meter", max: Math.max(1, look.budget), value: Math.min(look.answers, look.budget), "aria-label": t("Answers given") }));
  /** @type {[string, string | HTMLElement, string][]} */
  const found = [
    [t("Answers given"), given, t("{n} waiting for an answer", { n: look.waiting })],
    [t("Answers foretold (held out)"), share(look.accuracy), t("a coin: 50 %")],
    [t("Correlation with the true reward"), figure(look.correlation, 2), t("over this episode's steps; from -1 to 1")],
    [t("True return"), figure(look.true_return, 4), t("the environment's own; the agent never sees it")],
  ];
  if (look.flips) {
    found.push([t("Clean flips per 1000 steps"), figure(look.flips.clean_flips, 2), t("turned in the air, no more than the foot on the floor")]);
    found.push([t("Turns backwards per 1000 steps"), figure(look.flips.net_turns, 2), t("{n} of them in the air", { n: figure(look.flips.airborne_turns, 2) })]);
  }
  return found.map(([name, value, note]) => el("div", { class: "stat" }, el("dt", { text: name }), typeof value === "string" ? el("dd", { text: value }) : value, el("dd", { class: "muted small", text: note })));
}

/** Bars up and down from a middle line, and where the clip is. @param {HTMLCanvasElement} canvas @param {number[]} values @param {number} share */
export function drawStrip(canvas, values, share) {
  const context = canvas.getContext("2d");
  if (!context || !values.length || !canvas.clientWidth) return;
  const sharp = Math.min(3, devicePixelRatio || 1);
  const [width, height] = [Math.round(canvas.clientWidth * sharp), Math.round(canvas.clientHeight * sharp)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const style = getComputedStyle(canvas);
  const [up, down, ink] = ["--series-1", "--series-2", "--ink"].map((name) => style.getPropertyValue(name).trim());
  const most = Math.max(1e-6, ...values.map(Math.abs));
  const [middle, step] = [height / 2, width / values.length];
  context.clearRect(0, 0, width, height);
  values.forEach((value, i) => {
    const tall = (Math.abs(value) / most) * (middle - 2 * sharp);
    context.fillStyle = value > 0 ? up : down;
    context.globalAlpha = (i + 0.5) / values.length <= share ? 1 : COMING;
    context.fillRect(Math.floor(i * step), value > 0 ? middle - tall : middle, Math.ceil((i + 1) * step) - Math.floor(i * step), tall);
  });
  context.fillStyle = ink;
  context.globalAlpha = 0.3;
  context.fillRect(0, middle - sharp / 2, width, sharp);
  context.globalAlpha = 1;
  context.fillRect(Math.min(width - 2 * sharp, share * width), 0, 2 * sharp, height);
}
