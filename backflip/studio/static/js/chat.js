/** Chat: a prompt goes to one model or several; their answers stream side by side, and a vote says which is better. */

import { call, Failure } from "./api.js";
import { announce, byId, data, el, prose } from "./dom.js";
import { t, tn } from "./i18n.js";
import { toast } from "./toast.js";

const page = data("page");
const log = byId("log");
const input = /** @type {HTMLTextAreaElement} */ (byId("text"));
const who = /** @type {HTMLSelectElement} */ (byId("who"));
const consent = /** @type {HTMLInputElement} */ (byId("consent"));
const remembered = `backflip.chat.consent.${page.user}`;

/** @type {{role: string, content: string}[]} the talk that the next message goes on with */
let talk = [];
/** @type {AbortController | null} */
let under = null;

/** @param {boolean} busy */
function working(busy) {
  byId("send").hidden = busy;
  byId("stop").hidden = !busy;
}

/** One answer's card. @param {number} place @param {boolean} alone */
function card(place, alone) {
  const name = el("p", { class: "chat-name", text: alone ? t("Answer") : t("Answer {n}", { n: place + 1 }) });
  const text = el("div", { class: "chat-text is-plain" });
  const line = el("p", { class: "chat-line", hidden: true });
  const acts = el("div", { class: "chat-acts" });
  const node = el("article", { class: "chat-answer" }, name, text, line, acts);
  return { node, name, text, line, acts, said: "", usable: false, rating: 0 };
}

/** @param {ReturnType<typeof card>} one @param {string} words */
function note(one, words) {
  one.line.textContent = one.line.textContent ? `${one.line.textContent} ${words}` : words;
  one.line.hidden = false;
}

/** @param {ReturnType<typeof card>} one @param {any} event */
function ended(one, event) {
  one.usable = (event.end === "stop" || event.end === "length") && Boolean(event.text);
  one.said = event.text || one.said;
  one.text.classList.remove("is-plain");
  if (event.html) one.text.replaceChildren(prose(event.html));
  if (event.end === "content_filter") {
    one.node.classList.add("is-blocked");
    note(one, event.whose === "user" ? t("Your message was blocked by the safety filter.") : t("The answer was blocked by the safety filter."));
  } else if (event.end === "length") note(one, t("Cut off at its limit."));
  else if (event.end === "refused") note(one, event.message);
  else if (event.end !== "stop") note(one, t("The answer was not finished."));
}

/** Events of a response as they come. @param {Response} response */
async function* events(response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (reader) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop() || "";
    for (const part of parts) yield JSON.parse(part.replace(/^data: /, ""));
  }
}

/** Asks, shows what comes, then the vote. @param {any} wanted @param {string} mine @param {any} [before] */
async function round(wanted, mine, before) {
  const answers = el("div", { class: "chat-answers" });
  const foot = el("div", { class: "chat-acts" });
  log.append(answers, foot);
  /** @type {ReturnType<typeof card>[]} */
  let cards = [];
  let key = "";
  under = new AbortController();
  working(true);
  try {
    const csrf = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="csrf-token"]')).content;
    const response = await fetch("/api/chat/rounds", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify({ ...wanted, consent: consent.checked }),
      signal: under.signal,
    });
    if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message || response.statusText);
    for await (const event of events(response)) {
      if (event.round) {
        key = event.round;
        cards = Array.from({ length: event.places }, (_, place) => card(place, event.places === 1));
        answers.append(...cards.map((one) => one.node));
        cards.forEach((one, place) => {
          if (before && !event.waiting.includes(place)) ended(one, { end: "stop", text: before.said, html: before.html });
          if (before && !event.waiting.includes(place)) one.rating = before.rating;
        });
        answers.scrollIntoView({ block: "nearest" });
        continue;
      }
      const one = cards[event.answer];
      if (event.left_out) note(one, tn("The oldest turn did not fit and was left out.", "The oldest {n} turns did not fit and were left out.", event.left_out));
      if (event.end) ended(one, event);
      else if (event.text) one.text.append(event.text);
    }
  } catch (error) {
    for (const one of cards) if (one.text.classList.contains("is-plain")) ended(one, { end: "cancelled", text: "" });
    if (!under.signal.aborted) toast(error instanceof Error ? error.message : String(error), { kind: "bad" });
  }
  working(false);
  under = null;
  finish(key, cards, mine, foot);
}

/** @param {string} key @param {ReturnType<typeof card>[]} cards @param {string} mine @param {HTMLElement} foot */
function finish(key, cards, mine, foot) {
  const usable = cards.filter((one) => one.usable);
  if (!usable.length) return; // a blocked turn is not part of the talk
  announce(tn("{n} answer has come", "{n} answers have come", usable.length));
  /** @param {ReturnType<typeof card>} one */
  const goesOn = (one) => { talk.push({ role: "user", content: mine }, { role: "assistant", content: one.said }); };
  for (const one of usable) thumbs(one);
  if (cards.length === 1) {
    goesOn(cards[0]);
    const again = el("button", { class: "button small", type: "button", text: t("Another answer, to compare") });
    again.addEventListener("click", () => {
      if (under) return;
      foot.remove();
      cards[0].node.parentElement?.remove();
      talk = talk.slice(0, -2);
      round({ again: key }, mine, { said: cards[0].said, html: cards[0].text.innerHTML, rating: cards[0].rating });
    });
    foot.append(again);
    return;
  }
  /** @param {number | null} best */
  const vote = async (best) => {
    try {
      const ratings = Object.fromEntries(cards.flatMap((one, place) => (one.rating ? [[place, one.rating]] : [])));
      const told = await call("POST", "/api/chat/votes", { round: key, best, ratings });
      told.models.forEach((/** @type {string} */ name, /** @type {number} */ place) => { cards[place].name.textContent = name; });
      const chosen = best === null ? usable[0] : cards[best];
      if (best !== null) chosen.node.classList.add("is-best");
      for (const one of cards) one.acts.remove();
      foot.replaceChildren(el("p", { class: "chat-line", text: told.kept ? t("Thank you: your vote is kept.") : t("Your vote is not kept.") }));
      goesOn(chosen);
      input.focus();
    } catch (error) {
      toast(error instanceof Failure ? error.message : String(error), { kind: "bad" });
    }
  };
  cards.forEach((one, place) => {
    if (!one.usable) return;
    const better = el("button", { class: "button small better", type: "button", text: t("This one is better"), on: { click: () => vote(place) } });
    one.acts.prepend(better);
  });
  foot.append(el("button", { class: "button quiet small", type: "button", text: t("They are equal"), on: { click: () => vote(null) } }));
}

/** @param {ReturnType<typeof card>} one */
function thumbs(one) {
  /** @type {[string, number][]} */
  const kinds = [[t("Good answer"), 7], [t("Bad answer"), 1]];
  const buttons = kinds.map(([label, value]) => {
    const button = el("button", { class: "button quiet small", type: "button", text: label, "aria-pressed": String(one.rating === value) });
    button.addEventListener("click", () => {
      one.rating = one.rating === value ? 0 : value;
      buttons.forEach((other, i) => other.setAttribute("aria-pressed", String(one.rating === kinds[i][1])));
    });
    return button;
  });
  one.acts.append(...buttons);
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const mine = input.value.trim();
  if (!mine || under) return;
  input.value = "";
  document.getElementById("empty")?.remove();
  log.append(el("p", { class: "chat-mine", text: mine }));
  const chosen = who.value.startsWith("name:") ? { model: who.value.slice(5) } : { count: Number(who.value) };
  round({ messages: [...talk, { role: "user", content: mine }], ...chosen }, mine);
});
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  /** @type {HTMLFormElement} */ (byId("composer")).requestSubmit();
});
byId("stop").addEventListener("click", () => under?.abort());
byId("fresh").addEventListener("click", () => { under?.abort(); talk = []; log.replaceChildren(); input.focus(); });
byId("forget").addEventListener("click", async () => {
  try {
    const { removed } = await call("DELETE", "/api/chat/prompts");
    toast(tn("{n} message was removed", "{n} messages were removed", removed));
  } catch (error) {
    toast(error instanceof Failure ? error.message : String(error), { kind: "bad" });
  }
});
consent.checked = localStorage.getItem(remembered) === "yes";
consent.addEventListener("change", () => localStorage.setItem(remembered, consent.checked ? "yes" : "no"));
