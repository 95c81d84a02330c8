/** What Rank and Compare share around the question: what waits for the network, how far, undo, instructions, nothing to do. */

import { Failure } from "./api.js";
import { announce, byId, el } from "./dom.js";
import { t, tn } from "./i18n.js";
import { pace } from "./pace.js";
import { closeButton } from "./shortcuts.js";
import { toast } from "./toast.js";
import { store, stored } from "./holdings.js";

/** @param {import("./outbox.js").Outbox} outbox @param {HTMLElement} place a quiet line; a button where there is something to do */
export function showOutbox(outbox, place) {
  let since = 0;
  const draw = () => {
    // A pass that can still be undone waits for its person, and not for the network.
    const waiting = outbox.items().filter((item) => item.what !== "pass").length;
    const refused = outbox.refused().length;
    if (!waiting) since = 0;
    else if (!since) since = Date.now();
    // An answer that is on its way for a moment is no news.
    const late = waiting > 0 && (outbox.trouble || !navigator.onLine);
    place.hidden = !late && !refused;
    place.className = `badge ${refused || outbox.trouble === "signed-out" ? "bad" : "warn"}`;
    if (refused) place.replaceChildren(el("button", { class: "link", type: "button", text: tn("{n} answer was not taken", "{n} answers were not taken", refused), on: { click: () => showRefused(outbox) } }));
    else if (outbox.trouble === "signed-out") place.replaceChildren(signInLink(tn("{n} answer waits for you to sign in", "{n} answers wait for you to sign in", waiting)));
    else if (late) place.replaceChildren(el("span", { class: "dot live" }), tn("{n} answer waits for the network", "{n} answers wait for the network", waiting));
  };
  for (const event of ["change", "sent", "refused"]) outbox.addEventListener(event, draw);
  for (const event of ["online", "offline"]) addEventListener(event, draw);
  outbox.addEventListener("refused", (event) => {
    const { error } = /** @type {CustomEvent} */ (event).detail;
    toast(t("An answer was not taken: {why}", { why: error.message }), { kind: "bad", seconds: 0, action: t("Look"), act: () => showRefused(outbox) });
  });
  addEventListener("beforeunload", (event) => outbox.unstored.size && event.preventDefault());
  draw();
}

/** @param {string} text */
function signInLink(text) {
  return el("a", { href: `/login?next=${encodeURIComponent(location.pathname)}`, text });
}

/** @param {import("./outbox.js").Outbox} outbox */
function showRefused(outbox) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("refused"));
  const items = outbox.refused().map(({ key, message, at }) => el("li", { class: "card" },
    el("p", { text: message }),
    el("p", { class: "muted small", text: new Date(at).toLocaleString(document.documentElement.lang) }),
    el("div", { class: "row" },
      el("button", { class: "button small", type: "button", text: t("Send again"), on: { click: () => { dialog.close(); outbox.again(key); } } }),
      el("button", { class: "button small danger", type: "button", text: t("Drop it"), on: { click: () => { outbox.dropRefused(key); dialog.close(); } } }))));
  dialog.replaceChildren(
    el("div", { class: "row" }, el("h2", { text: t("Not taken by the server"), id: "refused-title" }), closeButton(dialog)),
    el("p", { class: "muted", text: t("They are kept in this browser until you send them again or drop them.") }),
    el("ul", { class: "plain-list stack" }, ...items));
  dialog.showModal();
}

/** @param {import("./session.js").Session} session @param {HTMLElement} place */
export function showProgress(session, place) {
  const draw = () => {
    const { answers, seconds } = pace(session.user);
    const parts = session.projectState === "qualification" ? [t("Qualification")] : [];
    parts.push(tn("{n} today", "{n} today", answers));
    if (answers > 2) parts.push(t("{s} s each", { s: seconds < 10 ? seconds.toFixed(1) : Math.round(seconds) }));
    const left = session.counts.wanted;
    if (left && session.projectState !== "qualification") parts.push(session.medium === "clip" ? tn("{n} waiting", "{n} waiting", left) : tn("{n} left", "{n} left", left)); // of clips more come
    place.textContent = parts.join(" · ");
  };
  for (const event of ["question", "ready"]) session.addEventListener(event, draw);
  draw();
}

/** Opens the instructions by themselves the first time, and when they changed. @param {string} user @param {string} project */
export function showInstructions(user, project) {
  const dialog = /** @type {HTMLDialogElement | null} */ (document.getElementById("instructions"));
  const open = document.getElementById("open-instructions");
  if (!dialog || !open) return;
  const key = `backflip.read.${user}.${project}`;
  const text = dialog.textContent?.trim() || "";
  open.addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("close", () => store(key, text));
  if (stored(key) !== text) dialog.showModal();
}

/** @param {import("./session.js").Session} session @param {() => void} after */
export async function undo(session, after) {
  if (!session.canUndo) return announceAndShow(t("There is nothing to undo"));
  try {
    const undone = await session.undo();
    if (!undone) return announceAndShow(t("This can no longer be undone"));
    announce(undone.what === "pass" ? t("The question that you passed on is back") : t("Your last answer is taken back"));
    after();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    announceAndShow(error.passes ? t("Undoing needs the network; try again when it is back") : error.message);
  }
}

/** @param {string} text */
function announceAndShow(text) {
  toast(text);
}

/** What stands where the question would be. @param {import("./session.js").Session} session @param {HTMLElement} place */
export function showState(session, place) {
  const state = session.state;
  place.hidden = Boolean(session.current);
  if (session.current) return;
  /** @type {Record<string, [string, string, HTMLElement | null]>} */
  const words = {
    loading: [t("Fetching the next question"), "", null],
    empty: [t("Nothing to do for now"), t("You have seen everything that is open. This page looks again by itself."), homeLink()],
    paused: [t("This project is paused"), t("Your answers are kept. This page goes on by itself when the project does."), homeLink()],
    unqualified: [t("Thank you"), t("Your answers to the qualification were too far from what is meant in this project. Ask the people who run it if you want to know more."), homeLink()],
    offline: [t("No network"), t("The questions at hand are answered and kept in this browser. They are sent, and new ones come, as soon as the network is back."), null],
    "signed-out": [t("You are signed out"), t("Sign in and you go on where you stopped; nothing is lost."), el("a", { class: "button primary", href: `/login?next=${encodeURIComponent(location.pathname)}`, text: t("Sign in") })],
    failed: [t("This did not work"), session.why, homeLink()],
  };
  const [title, text, action] = words[state] || words.loading;
  place.replaceChildren(el("h2", { text: title }), text && el("p", { text }) || "", action && el("p", {}, action) || "");
  place.classList.toggle("is-loading", state === "loading");
  announce(title);
}

function homeLink() {
  return el("a", { class: "button", href: "/", text: t("To your projects") });
}
