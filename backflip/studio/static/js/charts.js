/** Curves of a run: which metrics share a picture, and the pictures, drawn by uPlot from points that keep coming. */

import { el } from "./dom.js";
import { figure } from "./format.js";
import { t } from "./i18n.js";

/** @typedef {[number, number]} Point step and value */
/** @typedef {{title: string, names: string[]}} Panel */

/** @returns {Panel[]} in the order of the page */
function panels() {
  return [
    { title: t("Reward"), names: ["objective/score", "objective/raw_score", "objective/rlhf_reward", "judge/score"] },
    { title: t("KL"), names: ["objective/kl", "policy/approx_kl", "agent/approx_kl"] },
    { title: t("Entropy"), names: ["objective/entropy", "agent/entropy"] },
    { title: t("Length"), names: ["tokens/mean_length", "sample/mean_length"] },
    { title: t("Answers that end by themselves"), names: ["tokens/eos_share", "sample/ended_share"] },
    { title: t("Reward model: accuracy"), names: ["reward/accuracy", "reward/held_out_accuracy", "predictor/accuracy", "predictor/held_out_accuracy"] },
    { title: t("Reward model: loss"), names: ["reward/loss", "reward/held_out_loss", "predictor/loss", "predictor/held_out_loss"] },
    { title: t("Answers"), names: ["control/answers", "predictor/answers"] },
    { title: t("Loss"), names: ["sft/loss", "sft/validation_loss", "sft/demonstration_loss", "sft/pretraining_loss", "ptx/loss"] },
    { title: t("Policy: loss"), names: ["policy/loss", "agent/policy_loss"] },
    { title: t("Value: loss"), names: ["value/loss", "agent/value_loss"] },
    { title: t("Margin"), names: ["reward/margin"] },
  ];
}

const SERIES = 6; // colours there are
const FEW = 25; // points that are shown one by one
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8]; // a step is a whole number

/** One picture of a few metrics. */
export class Picture {
  /** @param {HTMLElement} parent @param {string} title */
  constructor(parent, title) {
    this.values = el("ul", { class: "curve-values" });
    this.plot = el("div", { class: "curve-plot" });
    this.root = el("figure", { class: "curve" }, el("figcaption", { text: title }), this.values, this.plot);
    /** @type {Map<string, Point[]>} */
    this.series = new Map();
    this.chart = null;
    this.dots = "";
    this.drawn = 0;
    parent.append(this.root);
    new ResizeObserver(() => this.draw(true)).observe(this.plot);
  }

  /** @param {string} name @param {Point[]} points the whole curve */
  set(name, points) {
    this.series.set(name, points);
    this.soon();
  }

  soon() {
    if (this.drawn) return;
    this.drawn = requestAnimationFrame(() => {
      this.drawn = 0;
      this.draw(false);
    });
  }

  /** @param {boolean} anew */
  draw(anew) {
    const named = [...this.series].filter(([, points]) => points.length);
    this.root.hidden = !named.length;
    const width = this.plot.clientWidth; // 0 while hidden
    if (!width || !named.length) return;
    this.say(named);
    const data = merged(named.map(([, points]) => points));
    const dots = named.map(([, points]) => points.length < FEW).join();
    if (this.chart && !anew && this.chart.series.length === named.length + 1 && dots === this.dots) {
      this.chart.setData(data);
      return;
    }
    this.dots = dots;
    this.chart?.destroy();
    // @ts-ignore uPlot is a classic script
    this.chart = new globalThis.uPlot(options(width, this.plot.clientHeight, named.map(([, points]) => points.length < FEW)), data, this.plot);
  }

  /** @param {[string, Point[]][]} named */
  say(named) {
    this.values.replaceChildren(
      ...named.map(([name, points], i) =>
        el("li", { class: `s${(i % SERIES) + 1}`, data: { metric: name } }, el("i", { "aria-hidden": "true" }), name, " ", el("b", { text: figure(points[points.length - 1][1]) }))
      )
    );
  }
}

/** @param {Point[][]} curves @returns {any[]} uPlot's columns: all steps, then each curve's values, null where it has none */
function merged(curves) {
  const steps = [...new Set(curves.flatMap((points) => points.map(([step]) => step)))].sort((a, b) => a - b);
  return [steps, ...curves.map((points) => {
    const known = new Map(points);
    return steps.map((step) => known.get(step) ?? null);
  })];
}

/** @param {number} width @param {number} height @param {boolean[]} dotted whether a curve shows its points */
function options(width, height, dotted) {
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `11px ${style.getPropertyValue("--font")}` };
  const label = (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map((tick) => figure(tick));
  return {
    width, height,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: { x: { time: false } },
    axes: [{ ...axis, size: 24, values: label, incrs: WHOLE }, { ...axis, size: 56, values: label }],
    series: [{}, ...dotted.map((dots, i) => ({ stroke: colour(`--series-${(i % SERIES) + 1}`), width: 1.75, spanGaps: true, points: { show: dots, size: 5 } }))],
  };
}

/** All pictures of a run. */
export class Curves {
  /** @param {HTMLElement} main @param {HTMLElement} others */
  constructor(main, others) {
    this.main = main;
    this.others = others;
    /** @type {Map<string, Point[]>} */
    this.points = new Map();
    /** @type {Map<string, Picture>} */
    this.pictures = new Map();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  /** @param {string} name @returns {Picture} */
  picture(name) {
    const panel = panels().find(({ names }) => names.includes(name));
    const key = panel ? panel.title : name;
    let found = this.pictures.get(key);
    if (!found) {
      found = new Picture(panel ? this.main : this.others, key);
      this.pictures.set(key, found);
      if (panel) this.arrange();
    }
    return found;
  }

  /** A metric that comes late has its place all the same. */
  arrange() {
    for (const { title } of panels()) {
      const picture = this.pictures.get(title);
      if (picture) this.main.append(picture.root);
    }
  }

  /** @param {Record<string, Point[]>} series */
  load(series) {
    for (const [name, points] of Object.entries(series)) {
      this.points.set(name, points);
      this.picture(name).set(name, points);
    }
  }

  /** @param {Record<string, number | null>[]} lines of metrics.jsonl */
  add(lines) {
    const changed = new Set();
    for (const { step, ...values } of lines) {
      for (const [name, value] of Object.entries(values)) {
        if (value === null || step === null) continue;
        const points = this.points.get(name) || [];
        points.push([step, value]);
        this.points.set(name, points);
        changed.add(name);
      }
    }
    for (const name of changed) this.picture(name).set(name, this.points.get(name) || []);
  }

  clear() {
    this.points.clear();
    for (const picture of this.pictures.values()) {
      picture.series.clear();
      picture.draw(false);
    }
  }

  redraw() {
    for (const picture of this.pictures.values()) picture.draw(true);
  }

  /** @returns {boolean} */
  get empty() {
    return !this.points.size;
  }
}
