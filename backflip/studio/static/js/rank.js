/** Rank: order the answers by pressing their numbers from best to worst, by dragging, or both. */

import { AnswerCard, promptParts } from "./answers.js";
import { Clock, player } from "./clips.js";
import { announce, byId, data, el } from "./dom.js";
import { t, tn } from "./i18n.js";
import { Ladder } from "./ladder.js";
import { Outbox } from "./outbox.js";
import { placeText } from "./place.js";
import { Ranking } from "./ranking.js";
import { Session } from "./session.js";
import { fillHelp, listen } from "./shortcuts.js";
import { showInstructions, showOutbox, showProgress, showState, undo } from "./workbench.js";

/** @type {{user: string, project: string, medium: string, rating: boolean, flags: import("./answers.js").Flag[]}} */
const page = data("page");
const outbox = new Outbox(page.user);
const session = new Session({ ...page, ahead: 4 }, outbox);
const note = /** @type {HTMLTextAreaElement} */ (byId("note"));
const main = byId("main");

const clock = new Clock(); // of clips, where more than two are ranked

let ranking = new Ranking([]);
/** @type {AnswerCard[]} */
let cards = [];
/** @type {Ladder | null} */
let ladder = null;
let selected = "";
let shown = "";
let warned = false;

const cardOf = (/** @type {string} */ id) => cards.find((card) => card.id === id);

function show() {
  const lease = session.current;
  showState(session, byId("state"));
  byId("question").hidden = byId("dock").hidden = !lease;
  main.classList.toggle("is-working", Boolean(lease));
  if (!lease) {
    shown = "";
    cards = [];
    byId("answers").replaceChildren();
    clock.show([]);
    return;
  }
  if (lease.question.id === shown) return;
  shown = lease.question.id;
  const { candidates, prompt } = lease.question;
  ranking = new Ranking(candidates.map(({ id }) => id));
  const hooks = { pick, select, changed: keep };
  cards = candidates.map((c, i) => new AnswerCard(c, i + 1, page, hooks, c.url ? player(c.url, clock) : null));
  byId("prompt").hidden = !prompt;
  byId("prompt-text").replaceChildren(...promptParts(prompt));
  byId("answers").replaceChildren(...cards.map((card) => card.root));
  byId("answers").dataset.count = String(cards.length);
  const chips = candidates.map(({ id, text }, i) => ({ id, number: i + 1, excerpt: (text || "").trim().slice(0, 90) }));
  ladder = new Ladder(byId("ladder"), {
    get ranking() { return ranking; },
    get selected() { return selected; },
    chips,
    pick: (id) => (ranking.tierOf(id) < 0 ? pick(id) : reveal(id)),
    changed: (id) => { selected = id; changed(t("Answer {n}: {place}", { n: cardOf(id)?.number || 0, place: placeText(ranking, id) || t("not ranked yet") })); },
  });
  selected = "";
  warned = false;
  openMore(false);
  restore(session.draft);
  for (const card of cards) card.measure();
  scrollTo(0, 0);
  byId("prompt").scrollTop = 0;
  measurePrompt();
  refresh();
  byId("question").focus({ preventScroll: true });
  announce(tn("Next question, {n} answer", "Next question, {n} answers", cards.length));
}

/** @param {any} draft */
function restore(draft) {
  note.value = draft?.note || "";
  byId("note-box").hidden = !note.value;
  if (!draft) return;
  ranking.tiers = new Ranking(ranking.ids, draft.tiers).tiers;
  for (const card of cards) {
    card.rating = draft.ratings?.[card.id] || 0;
    card.setFlags(draft.flags?.[card.id] || []);
  }
}

/** What would be sent now. */
function given() {
  const ratings = Object.fromEntries(cards.filter((card) => card.rating).map((card) => [card.id, card.rating]));
  const flags = Object.fromEntries(cards.filter((card) => card.flags.size).map((card) => [card.id, [...card.flags]]));
  return { tiers: ranking.tiers, ratings, flags, note: note.value.trim() };
}

function keep() {
  warned = false;
  byId("dock").classList.remove("is-nudged");
  session.keepDraft(given());
}

/** @param {string} [said] */
function changed(said) {
  keep();
  refresh();
  if (said) announce(said);
}

function refresh() {
  for (const card of cards) card.update(ranking, selected);
  ladder?.draw();
  const missing = ranking.missing.length;
  const chosen = cardOf(selected);
  const placed = chosen ? ranking.placeOf(chosen.id) > 0 : false;
  byId("tools").hidden = !placed;
  byId("tools-name").textContent = placed ? t("Answer {n}", { n: chosen?.number || 0 }) : "";
  const ready = !missing || (missing === 1 && ranking.tiers.length > 0);
  byId("submit").classList.toggle("is-ready", ready);
  byId("hint").textContent = hint(missing);
  byId("undo").toggleAttribute("disabled", !session.canUndo);
}

/** @param {number} missing @returns {string} */
function hint(missing) {
  if (!ranking.tiers.length) return "";
  if (ranking.joining) return t("The next one ties with {n}", { n: ranking.tiers.at(-1)?.map((id) => cardOf(id)?.number).join(" = ") || "" });
  if (missing === 1) return t("Send now puts answer {n} last", { n: cardOf(ranking.missing[0])?.number || 0 });
  return missing ? tn("{n} to go", "{n} to go", missing) : t("All ranked");
}

/** @param {string} id */
function select(id) {
  if (selected === id) return;
  selected = id;
  refresh();
}

/** Ranks an answer next, or takes it out. @param {string} id */
function pick(id) {
  if (ranking.tierOf(id) >= 0) return takeOut(id);
  placeNext(id, ranking.joining);
}

/** @param {string} id @param {boolean} tie */
function placeNext(id, tie) {
  ranking.place(id, tie);
  selected = id;
  changed(t("Answer {n}: {place}", { n: cardOf(id)?.number || 0, place: placeText(ranking, id) }));
}

/** @param {string} id */
function takeOut(id) {
  ranking.remove(id);
  changed(t("Answer {n} is taken out", { n: cardOf(id)?.number || 0 }));
}

/** @param {string} id */
function reveal(id) {
  selected = id;
  refresh();
  cardOf(id)?.root.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

/** A digit: ranks that answer next; one that is ranked is chosen, so that arrows move it. @param {KeyboardEvent} event */
function digit(event) {
  const number = Number(event.code.slice(-1));
  if (event.target instanceof HTMLInputElement && event.target.type === "radio") return rate(number);
  const card = cards[number - 1];
  if (!card) return;
  if (ranking.tierOf(card.id) >= 0) return reveal(card.id);
  placeNext(card.id, event.shiftKey || ranking.joining);
}

/** Digits within a rating rate, and go on to the next answer that has none. @param {number} value */
function rate(value) {
  const card = cards.find(({ root }) => root.contains(document.activeElement));
  if (!card || value > 7) return;
  card.rating = value;
  changed(t("Answer {n} is rated {value}", { n: card.number, value }));
  const next = [...cards.slice(card.number), ...cards].find((other) => !other.rating);
  (next || card).focusRating();
}

function equals() {
  if (!ranking.tiers.length || ranking.complete) return tieSelected();
  ranking.joining = !ranking.joining;
  refresh();
  announce(hint(ranking.missing.length));
}

function tieSelected() {
  const id = selected || ranking.tiers.at(-1)?.[0] || "";
  if (ranking.tie(id)) changed(t("Answer {n}: {place}", { n: cardOf(id)?.number || 0, place: placeText(ranking, id) }));
}

/** @param {-1 | 1} step */
function moveSelected(step) {
  if (ranking.move(selected, step)) changed(t("Answer {n}: {place}", { n: cardOf(selected)?.number || 0, place: placeText(ranking, selected) }));
}

/** @param {-1 | 1} step */
function step(step) {
  const index = cards.findIndex(({ id }) => id === selected);
  const next = cards[index < 0 ? (step > 0 ? 0 : cards.length - 1) : Math.min(cards.length - 1, Math.max(0, index + step))];
  next.root.focus({ preventScroll: true });
  next.root.scrollIntoView({ block: "nearest" });
}

/** Left and right, where there are two: that one is better. @param {number} index */
function better(index) {
  if (cards.length !== 2) return;
  ranking.tiers = [[cards[index].id], [cards[1 - index].id]];
  selected = cards[index].id;
  changed(t("Answer {n}: {place}", { n: index + 1, place: placeText(ranking, selected) }));
}

function submit() {
  if (!session.current) return;
  if (ranking.missing.length === 1 && ranking.tiers.length) ranking.place(ranking.missing[0], ranking.joining);
  if (!ranking.complete) {
    const numbers = ranking.missing.map((id) => cardOf(id)?.number).join(", ");
    return complain(t("Not ranked yet: {numbers}", { numbers }));
  }
  const unrated = page.rating ? cards.filter((card) => !card.rating).map(({ number }) => number) : [];
  if (unrated.length && !warned) {
    warned = true;
    return complain(t("Not rated: {numbers}. Send again to leave it so", { numbers: unrated.join(", ") }));
  }
  session.answer(given(), given());
}

/** @param {string} text */
function complain(text) {
  refresh();
  byId("hint").textContent = text;
  announce(text);
  byId("dock").classList.remove("is-nudged");
  requestAnimationFrame(() => byId("dock").classList.add("is-nudged"));
}

function cannotTell() {
  if (session.current) session.answer({ ...given(), tiers: [] }, given());
}

/** @param {"skip" | "outside_knowledge"} reason */
function pass(reason) {
  if (session.current) session.pass(reason, given());
}

function takeBack() {
  undo(session, () => refresh());
}

function writeNote() {
  byId("note-box").hidden = false;
  note.focus();
}

function measurePrompt() {
  const text = byId("prompt-text");
  const box = byId("prompt");
  box.classList.add("is-folded");
  // Not scrollHeight: what runs over at the top is no part of it.
  const whole = [...text.children].reduce((sum, part) => sum + part.getBoundingClientRect().height, 0);
  const long = whole > text.clientHeight + 40;
  byId("prompt-fold").hidden = !long;
  foldPrompt(long);
}

/** @param {boolean} folded */
function foldPrompt(folded) {
  byId("prompt").classList.toggle("is-folded", folded);
  byId("prompt-fold").textContent = folded ? t("Show all of it") : t("Fold");
  byId("prompt-fold").setAttribute("aria-expanded", String(!folded));
}

function unfold() {
  const card = cardOf(selected);
  if (card) return card.fold(!card.isFolded);
  const folded = cards.some((other) => other.isFolded) || byId("prompt").classList.contains("is-folded");
  for (const other of cards) if (!other.foldButton.hidden) other.fold(!folded);
  if (!byId("prompt-fold").hidden) foldPrompt(!folded);
}

/** Enter sends, unless a person came by Tab to a button that Enter should press. @param {KeyboardEvent} event */
function enter(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.matches("button:focus-visible, a:focus-visible, summary")) return target.click();
  submit();
}

/** @type {import("./shortcuts.js").Shortcut[]} */
const shortcuts = [
  { keys: "123456789".split("").flatMap((n) => [`code:Digit${n}`, `code:Numpad${n}`]), show: ["1", "–", "9"], what: t("rank that answer next; press them from best to worst. One that is ranked is chosen"), act: digit },
  { keys: "123456789".split("").map((n) => `Shift+code:Digit${n}`), show: ["Shift", "1", "–", "9"], what: t("rank it level with the last one"), act: digit },
  { keys: ["="], show: ["="], what: t("between two numbers: they tie. With an answer chosen and all ranked: tie it with the one above"), act: equals },
  { keys: ["t"], show: ["t"], what: t("tie the chosen answer with the one above, or part them"), act: tieSelected },
  { keys: ["ArrowUp"], show: ["↑"], what: t("choose the answer before"), act: () => step(-1) },
  { keys: ["ArrowDown"], show: ["↓"], what: t("choose the answer after"), act: () => step(1) },
  { keys: ["Shift+ArrowUp"], show: ["Shift", "↑"], what: t("move the chosen answer up in the ranking"), act: () => moveSelected(-1) },
  { keys: ["Shift+ArrowDown"], show: ["Shift", "↓"], what: t("move it down"), act: () => moveSelected(1) },
  { keys: ["ArrowLeft"], show: ["←", "→"], what: t("where there are two answers: the left or the right one is better"), act: () => better(0) },
  { keys: ["ArrowRight"], show: [], what: "", act: () => better(1) },
  { keys: ["Backspace"], show: ["Backspace"], what: t("take the last one out of the ranking"), act: () => { const id = ranking.removeLast(); if (id) changed(t("Answer {n} is taken out", { n: cardOf(id)?.number || 0 })); } },
  { keys: ["0"], show: ["0"], what: t("begin the ranking again"), act: () => { if (ranking.clear()) changed(t("The ranking is empty")); } },
  { keys: ["Enter"], show: ["Enter"], what: t("send; a single answer that is not ranked goes last"), act: enter },
  { keys: ["c"], show: ["c"], what: t("cannot tell which is better"), act: cannotTell },
  { keys: ["o"], show: ["o"], what: t("outside my knowledge: somebody else gets the question"), act: () => pass("outside_knowledge") },
  { keys: ["s"], show: ["s"], what: t("skip"), act: () => pass("skip") },
  { keys: ["u"], show: ["u"], what: t("undo: the last question comes back"), act: takeBack },
  { keys: ["r"], show: page.rating ? ["r"] : [], what: t("rate: then 1–7 for each answer in turn, Esc to go back"), act: () => { if (page.rating) (cardOf(selected) || cards.find((card) => !card.rating) || cards[0]).focusRating(); } },
  { keys: ["f"], show: page.flags.length ? ["f"] : [], what: t("flags of the chosen answer; letters set them, Esc closes"), act: () => { if (page.flags.length) (cardOf(selected) || cards[0]).toggleFlags(); } },
  { keys: ["x"], show: ["x"], what: t("show all of a long answer, or fold it"), act: unfold },
  { keys: ["n"], show: ["n"], what: t("write a note"), act: writeNote },
  { keys: ["Escape"], show: ["Esc"], what: t("choose nothing"), act: escape },
  { keys: ["?"], show: ["?"], what: t("these keys"), act: () => /** @type {HTMLDialogElement} */ (byId("help")).showModal() },
];

/** @param {boolean} open the lesser buttons, where a phone has no room for them */
function openMore(open) {
  byId("dock").classList.toggle("is-open", open);
  byId("more").setAttribute("aria-expanded", String(open));
}

function escape() {
  /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
  ranking.joining = false;
  selected = "";
  refresh();
}

/** @type {Record<string, () => void>} */
const buttons = {
  submit,
  undo: takeBack,
  "cannot-tell": cannotTell,
  outside: () => pass("outside_knowledge"),
  skip: () => pass("skip"),
  "open-note": writeNote,
  "open-help": () => /** @type {HTMLDialogElement} */ (byId("help")).showModal(),
  "prompt-fold": () => foldPrompt(!byId("prompt").classList.contains("is-folded")),
  more: () => openMore(!byId("dock").classList.contains("is-open")),
  "tool-up": () => moveSelected(-1),
  "tool-down": () => moveSelected(1),
  "tool-tie": tieSelected,
  "tool-out": () => takeOut(selected),
};
for (const [id, act] of Object.entries(buttons)) byId(id).addEventListener("click", act);
note.addEventListener("input", keep);
note.addEventListener("keydown", (event) => {
  if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) {
    note.blur();
    if (event.key === "Enter") submit();
  }
});
listen(shortcuts, () => Boolean(session.current));
fillHelp(shortcuts, t("Press the numbers of the answers from best to worst, then Enter. That is all you need."));
showOutbox(outbox, byId("waiting"));
showProgress(session, byId("progress"));
showInstructions(page.user, page.project);
session.addEventListener("question", show);
outbox.addEventListener("sent", refresh);
session.start();
outbox.flush();
