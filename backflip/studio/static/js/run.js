/** One run: its curves and texts, as they are and as they come. */

import { call } from "./api.js";
import { Curves } from "./charts.js";
import { loadClip } from "./clips.js";
import { mountControlRun } from "./control_run.js";
import { byId, data, el } from "./dom.js";
import { duration, figure, moment } from "./format.js";
import { t } from "./i18n.js";
import { listen } from "./live.js";
import { badge } from "./status.js";

/** @typedef {{step: number | null, prompt: [string, string][], text: string, ended: boolean, score: number | null, split: string, by?: string}} Written */

const page = data("page");
const address = page.name.split("/").map(encodeURIComponent).join("/");
const curves = new Curves(byId("curves"), byId("others"));
/** @type {Written[]} */
let texts = [];
let after = "";
let seconds = { known: 0, at: 0 };
let followed = true; // the newest texts, until one chooses others

/** @param {number | null | undefined} step @param {number | null | undefined} [steps] of the environment, in a control run */
function showStep(step, steps) {
  const shown = steps ?? step;
  if (shown !== null && shown !== undefined) byId("step").textContent = t("step {n}", { n: figure(shown) });
}

function showCurves() {
  byId("no-curves").hidden = !curves.empty;
  byId("more-curves").hidden = !byId("others").childElementCount;
}

/** @param {Written} written */
function card(written) {
  const question = written.prompt.map(([role, content]) => (role && role !== "user" ? `${role}: ${content}` : content)).join("\n");
  const about = [written.by, written.split === "validation" && t("validation prompt"), written.score !== null && written.score !== undefined && t("score {n}", { n: figure(written.score) }), !written.ended && t("cut off")];
  return el("article", { class: "card text-card" },
    el("p", { class: "prompt", text: question }),
    el("p", { class: "written", text: written.text, data: { end: written.ended ? "" : " …" } }),
    el("footer", {}, ...about.filter(Boolean).map((text) => el("span", { text: String(text) }))));
}

function showTexts() {
  const steps = [...new Set(texts.map((written) => written.step))].filter((step) => step !== null);
  const choice = /** @type {HTMLSelectElement} */ (byId("steps"));
  const chosen = followed || !choice.value ? String(steps[steps.length - 1] ?? "") : choice.value;
  choice.replaceChildren(...steps.map((step) => el("option", { value: String(step), text: figure(step), selected: String(step) === chosen })));
  choice.hidden = byId("steps-label").hidden = steps.length < 2;
  const shown = steps.length ? texts.filter((written) => String(written.step) === chosen) : texts;
  byId("texts").replaceChildren(...shown.map(card));
  byId("texts-section").hidden = !texts.length;
}

function showSeconds() {
  const since = page.status === "running" ? (performance.now() - seconds.at) / 1000 : 0;
  byId("seconds").textContent = duration(seconds.known + since);
}

/** @param {any} facts */
function showState(facts) {
  byId("status").replaceChildren(badge(facts.status));
  seconds = { known: facts.seconds, at: performance.now() };
  showSeconds();
  if (facts.finished) byId("finished").textContent = moment(facts.finished);
  byId("error").textContent = facts.error || "";
  byId("error").hidden = !facts.error;
  byId("report").hidden = !facts.report;
  // What the server renders (the result, the word on a killed run) is not there yet: once over, the page is read anew.
  if (page.status === "running" && facts.status !== "running") location.reload();
}

async function start() {
  const found = await call("GET", `/api/run/${address}`);
  after = found.after;
  seconds = { known: found.seconds, at: performance.now() };
  if (page.status === "running") setInterval(showSeconds, 1000);
  texts = found.texts;
  curves.load(found.series);
  showStep(found.last, found.series["control/steps"]?.at(-1)?.[1]);
  showCurves();
  showTexts();
  listen(
    () => `/api/events?run=${encodeURIComponent(page.name)}&after=${encodeURIComponent(after)}`,
    {
      anew: () => { curves.clear(); texts = []; },
      metrics: (lines, id) => { after = id || after; curves.add(lines); showStep(lines[lines.length - 1].step, lines[lines.length - 1]["control/steps"]); showCurves(); },
      texts: (more, id) => { after = id || after; texts = [...texts, ...more]; showTexts(); },
      state: (facts, id) => { after = id || after; showState(facts); },
    },
    (connected) => { byId("no-connection").hidden = connected; }
  );
}

byId("steps").addEventListener("change", () => {
  const choice = /** @type {HTMLSelectElement} */ (byId("steps"));
  followed = choice.selectedIndex === choice.options.length - 1;
  showTexts();
});

for (const figureOfClip of document.querySelectorAll("[data-clip]")) {
  const node = /** @type {HTMLElement} */ (figureOfClip);
  loadClip(node.dataset.clip || "").then((clip) => {
    node.prepend(clip.element);
    const began = performance.now();
    const turn = () => {
      clip.at(((performance.now() - began) / 1000) % clip.seconds, 1);
      requestAnimationFrame(turn);
    };
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) turn();
  }, () => node.prepend(el("p", { class: "muted", text: t("This clip cannot be shown.") })));
}

const look = document.getElementById("look");
if (look) mountControlRun(look, `/api/runs/${address}/look`, page.status === "running", () => { byId("look-section").hidden = false; });
start();
