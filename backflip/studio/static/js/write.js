/** Write: an answer of one's own to a prompt; drafts stay in this browser, what is sent can still be changed. */

import { call, Failure } from "./api.js";
import { promptParts } from "./answers.js";
import { announce, byId, data, el } from "./dom.js";
import { randomName, store, stored, storedKeys } from "./holdings.js";
import { t, tn } from "./i18n.js";
import { Outbox } from "./outbox.js";
import { fillHelp, listen } from "./shortcuts.js";
import { toast } from "./toast.js";
import { showInstructions, showOutbox } from "./workbench.js";
import { Shelf } from "./writings.js";

/** @type {{user: string, project: string, review: boolean}} */
const page = data("page");
const base = `/api/projects/${encodeURIComponent(page.project)}`;
const outbox = new Outbox(page.user);
const answer = /** @type {HTMLTextAreaElement} */ (byId("answer"));
const ownPrompt = /** @type {HTMLTextAreaElement} */ (byId("own-prompt"));
const drafts = `backflip.writing.${page.user}.${page.project}.`;
const skippedKey = `backflip.skipped.${page.project}`;

/**
 * @typedef {{kind: "prompt", id: string, prompt: any} | {kind: "own", id: "own"} | {kind: "edit", id: string, number: number, prompt: any, before: string}} Task
 * @type {Task | null}
 */
let task = null;
/** @type {any} the prompt after this one, fetched ahead */
let upcoming = null;

const shelf = new Shelf(byId("shelf"), base, {
  edit: (writing) => begin({ kind: "edit", id: `edit-${writing.number}`, number: writing.number, prompt: writing.prompt, before: writing.answer }),
  withdraw: (writing) => change(writing.number, { withdrawn: true }, t("It is withdrawn")),
  drafts: () => unfinished(),
  resume: (draft) => begin({ kind: "prompt", id: draft.prompt.id, prompt: draft.prompt }),
});

/** @returns {string[]} prompts that are not to come again here */
function skipped() {
  try {
    return JSON.parse(sessionStorage.getItem(skippedKey) || "[]");
  } catch {
    return [];
  }
}

/** @param {string} id */
function skip(id) {
  sessionStorage.setItem(skippedKey, JSON.stringify([...new Set([...skipped(), id])].slice(-200)));
}

/** @returns {{at: number, text: string, prompt: any}[]} drafts to other prompts than the one on the desk */
function unfinished() {
  const kept = storedKeys(drafts).map(stored).filter((draft) => draft?.prompt && draft.text?.trim());
  return kept.filter((draft) => draft.prompt.id !== task?.id).sort((a, b) => b.at - a.at);
}

/** @param {string} [current] @returns {Promise<{prompt: any, state: string}>} */
async function fetchPrompt(current) {
  const not = [...skipped(), current].filter(Boolean);
  const query = new URLSearchParams(not.map((id) => ["skip", String(id)]));
  return call("GET", `${base}/write/next?${query}`);
}

/** Puts the next prompt on the desk. */
async function next() {
  const ready = upcoming;
  upcoming = null;
  if (ready && !skipped().includes(ready.id)) return begin({ kind: "prompt", id: ready.id, prompt: ready });
  try {
    let found = await fetchPrompt();
    if (!found.prompt && skipped().length) {
      sessionStorage.removeItem(skippedKey); // all that is left was passed over once
      found = await fetchPrompt();
    }
    if (found.prompt) begin({ kind: "prompt", id: found.prompt.id, prompt: found.prompt });
    else nothing(found.state);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    nothing(error.kind === "signed-out" ? "signed-out" : error.passes ? "offline" : "failed", error.message);
  }
}

/** @param {Task} what */
function begin(what) {
  task = what;
  const { kind } = what;
  byId("form").hidden = false;
  byId("state").hidden = true;
  byId("prompt").hidden = kind === "own";
  byId("own-prompt-field").hidden = kind !== "own";
  byId("own").hidden = byId("another").hidden = kind === "edit";
  byId("another").textContent = kind === "own" ? t("A prompt from the list") : t("Another prompt");
  byId("own").hidden = kind !== "prompt";
  byId("cancel").hidden = kind !== "edit";
  byId("editing").hidden = kind !== "edit";
  byId("editing").textContent = kind === "edit" ? t("You are changing an answer that you sent before.") : "";
  byId("prompt-text").replaceChildren(...(kind === "own" ? [] : promptParts(what.prompt)));
  const draft = stored(drafts + what.id);
  answer.value = draft?.text ?? (kind === "edit" ? what.before : "");
  ownPrompt.value = draft?.ownPrompt || "";
  sessionStorage.setItem(`backflip.desk.${page.project}`, JSON.stringify(what));
  size();
  shelf.draw();
  announce(kind === "edit" ? t("Your earlier answer is on the desk") : t("A prompt is on the desk"));
  if (kind === "prompt" && !upcoming) fetchPrompt(what.id).then((found) => { upcoming = found.prompt; }, () => {});
}

/** @param {string} state @param {string} [why] */
function nothing(state, why = "") {
  task = null;
  sessionStorage.removeItem(`backflip.desk.${page.project}`);
  byId("form").hidden = true;
  byId("state").hidden = false;
  /** @type {Record<string, [string, string]>} */
  const words = {
    empty: [t("Nothing to write for now"), t("All prompts have an answer. You can write to a prompt of your own.")],
    paused: [t("This project is paused"), t("What you wrote is kept.")],
    offline: [t("No network"), t("The next prompt comes when the network is back; what you sent is kept until then.")],
    "signed-out": [t("You are signed out"), t("Sign in and you go on where you stopped; nothing is lost.")],
    failed: [t("This did not work"), why],
  };
  const [title, text] = words[state] || words.failed;
  const action = state === "signed-out"
    ? el("a", { class: "button primary", href: `/login?next=${encodeURIComponent(location.pathname)}`, text: t("Sign in") })
    : state === "empty" ? el("button", { class: "button", type: "button", text: t("A prompt of my own"), on: { click: writeOwn } })
    : el("button", { class: "button", type: "button", text: t("Try again"), on: { click: next } });
  byId("state").replaceChildren(el("h2", { text: title }), el("p", { text }), el("p", {}, action));
  shelf.draw();
}

function keepDraft() {
  if (!task) return;
  const key = drafts + task.id;
  const kept = { at: Date.now(), text: answer.value, ownPrompt: ownPrompt.value, prompt: task.kind === "prompt" ? task.prompt : null };
  if (answer.value.trim() || ownPrompt.value.trim()) store(key, kept);
  else localStorage.removeItem(key);
  size();
}

function size() {
  const words = answer.value.trim() ? answer.value.trim().split(/\s+/).length : 0;
  byId("size").textContent = words ? tn("{n} word", "{n} words", words) + (stored(drafts + (task?.id || "")) ? ` · ${t("draft kept in this browser")}` : "") : "";
}

/** @param {any} prompt as the API gives it @returns {any} as it takes it */
function promptIn(prompt) {
  if (!prompt.messages?.length) return { text: prompt.text };
  return { messages: prompt.messages.map(({ role, content }) => ({ role, content })) };
}

/** @param {Event} [event] */
function send(event) {
  event?.preventDefault();
  if (!task) return;
  const text = answer.value.trim();
  const own = ownPrompt.value.trim();
  if (!text || (task.kind === "own" && !own)) {
    toast(text ? t("Your prompt is empty") : t("Your answer is empty"));
    return (text ? ownPrompt : answer).focus();
  }
  localStorage.removeItem(drafts + task.id);
  if (task.kind === "edit") {
    change(task.number, { answer: text }, t("Changed"));
    return next();
  }
  const prompt = task.kind === "own" ? { messages: [{ role: "user", content: own }] } : promptIn(task.prompt);
  if (task.kind === "prompt") skip(task.id);
  const key = randomName();
  outbox.put("demonstration", `${base}/demonstrations`, { prompt, answer: text, key });
  shelf.expect({ key, prompt: task.kind === "own" ? { text: own } : task.prompt, answer: text });
  announce(t("Sent"));
  next();
}

/** @param {number} number @param {any} body @param {string} said */
function change(number, body, said) {
  outbox.put("edit", `${base}/demonstrations/${number}`, body, { method: "PATCH" });
  shelf.forgetUntilLoaded(number);
  toast(said);
}

function another() {
  if (task?.kind === "prompt") skip(task.id);
  next();
}

function writeOwn() {
  begin({ kind: "own", id: "own" });
  ownPrompt.focus();
}

/** @type {import("./shortcuts.js").Shortcut[]} */
const shortcuts = [
  { keys: [], show: ["Ctrl", "Enter"], what: t("send the answer"), act: () => {} },
  { keys: ["w"], show: ["w"], what: t("go to the answer's text"), act: () => answer.focus() },
  { keys: ["?"], show: ["?"], what: t("these keys"), act: () => /** @type {HTMLDialogElement} */ (byId("help")).showModal() },
];
byId("form").addEventListener("submit", send);
byId("another").addEventListener("click", another);
byId("own").addEventListener("click", writeOwn);
byId("cancel").addEventListener("click", () => { if (task) localStorage.removeItem(drafts + task.id); next(); });
byId("open-help").addEventListener("click", () => /** @type {HTMLDialogElement} */ (byId("help")).showModal());
for (const field of [answer, ownPrompt]) {
  field.addEventListener("input", keepDraft);
  field.addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && send(event));
}
addEventListener("online", () => !task && next());
outbox.addEventListener("sent", (event) => {
  const { item } = /** @type {CustomEvent} */ (event).detail;
  if (item.path.startsWith(`${base}/demonstrations`)) shelf.load();
});
fillHelp(shortcuts);
listen(shortcuts);
showOutbox(outbox, byId("waiting"));
showInstructions(page.user, page.project);
const before = sessionStorage.getItem(`backflip.desk.${page.project}`);
if (before) begin(JSON.parse(before));
else next();
shelf.load();
outbox.flush();
