/** Compare: two clips in step; an arrow key says which is better, and the next pair stands at once. */

import { promptParts } from "./answers.js";
import { Clock, loadClip } from "./clips.js";
import { announce, byId, data, el } from "./dom.js";
import { store, stored } from "./holdings.js";
import { t } from "./i18n.js";
import { Outbox } from "./outbox.js";
import { Session } from "./session.js";
import { fillHelp, listen } from "./shortcuts.js";
import { showInstructions, showOutbox, showProgress, showState, undo } from "./workbench.js";

const AHEAD = 8;
const AT_ONCE = 3; // pairs that load at the same time, so that the first is not held up by the last
const BACK = 3; // pairs that are kept loaded for undo: browsers bear a few dozen videos
const TOO_SOON = 150; // ms: nobody has judged a pair that has just come; a bouncing key has
const SPEEDS = [1, 0.5, 0.25];
const SPEED_KEY = "backflip.compare.speed";

/** @type {{user: string, project: string, medium: string}} */
const page = data("page");
const outbox = new Outbox(page.user);
const session = new Session({ ...page, ahead: AHEAD }, outbox);
const clock = new Clock();
clock.rate = SPEEDS.includes(stored(SPEED_KEY)) ? stored(SPEED_KEY) : 1;
const stage = byId("stage");
const sides = [byId("left"), byId("right")];

/** @type {Map<string, {clips: import("./clips.js").Clip[] | null, error: string, done: Promise<void>}>} by question */
const media = new Map();
let shown = "";
let standing = 0;
let key = 0;

/** Starts to load a question's clips, once. @param {import("./session.js").Lease} lease @param {boolean} [again] if it failed */
function preload(lease, again = false) {
  const { id, candidates } = lease.question;
  const known = media.get(id);
  if (known && !(again && known.error)) return known;
  /** @type {{clips: import("./clips.js").Clip[] | null, error: string, done: Promise<void>}} */
  const entry = { clips: null, error: "", done: Promise.resolve() };
  media.set(id, entry);
  entry.done = Promise.all(candidates.slice(0, 2).map(({ url }) => loadClip(url || ""))).then(
    (clips) => {
      entry.clips = clips;
      performance.mark("compare:loaded");
    },
    (error) => { entry.error = error.message; },
  );
  entry.done.then(() => (session.current?.question.id === id ? show() : preloadAll()));
  return entry;
}

/** Loads ahead, in order, and forgets what is long past. */
function preloadAll() {
  const wanted = [session.current, ...session.ready].filter((lease) => lease !== null);
  for (const lease of wanted) {
    if ([...media.values()].filter((entry) => !entry.clips && !entry.error).length >= AT_ONCE) break;
    preload(lease);
  }
  const past = session.done.slice(-BACK).map(({ lease }) => lease);
  const kept = new Set([...wanted, ...past].map((lease) => lease.question.id));
  for (const [id, entry] of media) {
    if (kept.has(id)) continue;
    entry.clips?.forEach((clip) => clip.close());
    media.delete(id);
  }
}

function show() {
  const lease = session.current;
  preloadAll();
  showState(session, byId("state"));
  byId("question").hidden = !lease;
  byId("undo").toggleAttribute("disabled", !session.canUndo);
  if (!lease) {
    shown = "";
    clock.show([]);
    return;
  }
  if (lease.question.candidates.length !== 2) {
    location.replace(`/rank/${encodeURIComponent(page.project)}?medium=clip`);
    return;
  }
  const entry = preload(lease, lease.question.id !== shown);
  const { id, prompt } = lease.question;
  if (id === shown && standing) return;
  shown = id;
  standing = 0;
  byId("prompt").hidden = !prompt;
  byId("prompt").replaceChildren(...promptParts(prompt));
  stage.classList.toggle("is-waiting", !entry.clips);
  byId("trouble").textContent = entry.error && t("This pair cannot be shown ({why}). Skip it, and somebody else gets it.", { why: entry.error });
  sides.forEach((side, i) => side.querySelector(".clip-box")?.replaceChildren(...(entry.clips ? [entry.clips[i].element] : [])));
  clock.show(entry.clips || []);
  if (entry.clips) stand(entry.clips);
}

/** The pair stands: from here the person judges. @param {import("./clips.js").Clip[]} clips */
function stand(clips) {
  standing = performance.now();
  ["left", "right"].forEach((side, i) => clips[i].element.setAttribute("aria-label", side === "left" ? t("Left clip") : t("Right clip")));
  showSpeed();
  const began = key;
  key = 0;
  // Two frames on: the first has painted the pair.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    performance.mark("compare:stands");
    if (began) performance.measure("compare:next", { start: began, end: performance.now() });
  }));
}

function showSpeed() {
  const clip = clock.clips[0];
  const speed = clip?.speed ? clip.speed * clock.rate : null;
  const length = t("{s} s", { s: (clock.seconds / clock.rate).toFixed(1) });
  byId("speed-note").textContent = [length, speed ? speedText(speed) : clock.rate < 1 ? t("slowed to {n} %", { n: clock.rate * 100 }) : ""].filter(Boolean).join(" · ");
  byId("speed-name").textContent = { 1: "1×", 0.5: "½×", 0.25: "¼×" }[/** @type {1 | 0.5 | 0.25} */ (clock.rate)];
}

/** @param {number} speed @returns {string} */
function speedText(speed) {
  if (speed > 0.95 && speed < 1.05) return t("as fast as it was");
  const n = (speed < 1 ? 1 / speed : speed).toFixed(1).replace(/\.0$/, "");
  return speed < 1 ? t("{n} times slower than it was", { n }) : t("{n} times faster than it was", { n });
}

/** @param {"left" | "right" | "equal" | "cannot"} what */
function choose(what) {
  const lease = session.current;
  const now = performance.now();
  if (!lease || (standing && now - standing < TOO_SOON)) return;
  const entry = media.get(lease.question.id);
  if (what !== "cannot" && !entry?.clips) return;
  const [left, right] = lease.question.shown;
  const tiers = { left: [[left], [right]], right: [[right], [left]], equal: [[left, right]], cannot: [] }[what];
  key = now;
  performance.mark("compare:key");
  standing = 0;
  flash(what);
  session.answer({ tiers });
}

/** A short sign of what was chosen, over the next pair already. @param {string} what */
function flash(what) {
  const sign = byId("flash");
  sign.className = "flash";
  sign.textContent = { left: t("Left"), right: t("Right"), equal: t("Equal"), cannot: t("Cannot tell") }[what] || "";
  announce(sign.textContent);
  requestAnimationFrame(() => sign.classList.add("is-on", `at-${what}`));
}

/** @param {"skip" | "outside_knowledge"} reason */
function pass(reason) {
  if (!session.current) return;
  key = performance.now();
  standing = 0;
  session.pass(reason);
}

function takeBack() {
  undo(session, show);
}

function pause() {
  clock.paused = !clock.paused;
  byId("pause").textContent = clock.paused ? t("Play") : t("Pause");
  byId("pause").setAttribute("aria-pressed", String(clock.paused));
}

function slower() {
  clock.rate = SPEEDS[(SPEEDS.indexOf(clock.rate) + 1) % SPEEDS.length];
  store(SPEED_KEY, clock.rate);
  showSpeed();
  announce(byId("speed-note").textContent || "");
}

function again() {
  clock.show(clock.clips);
}

/** @type {import("./shortcuts.js").Shortcut[]} */
const shortcuts = [
  { keys: ["ArrowLeft"], show: ["←"], what: t("the left clip is better"), act: (event) => event.repeat || choose("left") },
  { keys: ["ArrowRight"], show: ["→"], what: t("the right clip is better"), act: (event) => event.repeat || choose("right") },
  { keys: ["ArrowUp", "="], show: ["↑", "="], what: t("both are equally good"), act: (event) => event.repeat || choose("equal") },
  { keys: ["ArrowDown", " "], show: ["↓", t("Space")], what: t("cannot tell which is better"), act: (event) => event.repeat || choose("cannot") },
  { keys: ["s"], show: ["s"], what: t("skip"), act: () => pass("skip") },
  { keys: ["u", "Backspace"], show: ["u"], what: t("undo: the last pair comes back"), act: takeBack },
  { keys: ["p"], show: ["p"], what: t("pause, or play on"), act: pause },
  { keys: ["v"], show: ["v"], what: t("slower: half, then a quarter"), act: slower },
  { keys: ["a"], show: ["a"], what: t("from the beginning again"), act: again },
  { keys: ["?"], show: ["?"], what: t("these keys"), act: help },
];

function help() {
  /** @type {HTMLDialogElement} */ (byId("help")).showModal();
}

/** A finger that wipes to one side says that this side is better. */
function listenToSwipes() {
  const FAR = 48;
  /** @type {{x: number, y: number} | null} */
  let from = null;
  let wiped = false;
  stage.addEventListener("pointerdown", (event) => {
    wiped = false;
    from = event.pointerType === "mouse" ? null : { x: event.clientX, y: event.clientY };
  });
  stage.addEventListener("pointerup", (event) => {
    if (!from) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    from = null;
    if (Math.abs(dx) < FAR || Math.abs(dx) < 1.5 * Math.abs(dy)) return;
    wiped = true;
    choose(dx < 0 ? "left" : "right");
  });
  stage.addEventListener("click", (event) => {
    if (wiped) event.stopPropagation();
    wiped = false;
  }, true);
}

/** @type {Record<string, () => void>} */
const buttons = {
  left: () => choose("left"),
  right: () => choose("right"),
  "choose-left": () => choose("left"),
  "choose-equal": () => choose("equal"),
  "choose-cannot": () => choose("cannot"),
  "choose-right": () => choose("right"),
  skip: () => pass("skip"),
  undo: takeBack,
  pause,
  speed: slower,
  "open-help": help,
};
for (const [id, act] of Object.entries(buttons)) {
  byId(id).addEventListener("click", act);
  // Space and the arrows are answers here, also on the button that was clicked last.
  byId(id).addEventListener("keydown", (event) => event.key === " " && !byId(id).matches(":focus-visible") && event.preventDefault());
}
// A mouse that rests on a clip must not look like a choice.
addEventListener("keydown", () => stage.classList.add("is-by-keys"));
addEventListener("mousemove", () => stage.classList.remove("is-by-keys"));
session.isLoaded = (lease) => Boolean(media.get(lease.question.id)?.clips);
listenToSwipes();
listen(shortcuts, () => Boolean(session.current));
fillHelp(shortcuts);
showOutbox(outbox, byId("waiting"));
showProgress(session, byId("progress"));
showInstructions(page.user, page.project);
session.addEventListener("question", show);
session.addEventListener("ready", preloadAll);
session.start();
outbox.flush();
