/** Keys of a page: one list is what they do, what the help shows, and what a person can switch off. */

import { byId, el } from "./dom.js";
import { store, stored } from "./holdings.js";
import { t } from "./i18n.js";

/**
 * @typedef {{keys: string[], show?: string[], what: string, act: (event: KeyboardEvent) => void}} Shortcut
 * `keys`: as KeyboardEvent.key, or code:Digit1; Shift+ before it. `show`: how the help names them; empty hides the line.
 */

const OFF = "backflip.shortcuts.off";
const TYPING = 'input:not([type="radio"], [type="checkbox"], [type="range"]), textarea, select, [contenteditable="true"]';

/** @param {EventTarget | null} target @returns {boolean} */
function isTyping(target) {
  return target instanceof Element && target.matches(TYPING);
}

/** @param {KeyboardEvent} event @returns {string[]} the names a key goes by */
function namesOf(event) {
  const shift = event.shiftKey ? "Shift+" : "";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // The sign itself too, however it is typed: "?" and "=" need Shift on some keyboards.
  return [`${shift}${key}`, `${shift}code:${event.code}`, ...(event.key.length === 1 && !/[a-z0-9]/i.test(event.key) ? [event.key] : [])];
}

/** @param {Shortcut[]} shortcuts @param {() => boolean} isOpen whether there is a question to act on */
export function listen(shortcuts, isOpen = () => true) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const names = namesOf(event);
    const found = shortcuts.find(({ keys }) => keys.some((key) => names.includes(key)));
    if (!found || (stored(OFF) && event.key.length === 1)) return;
    const always = found.keys.includes("?") || found.keys.includes("u");
    if (!always && !isOpen()) return;
    event.preventDefault();
    if (!event.repeat || found.keys.some((key) => key.includes("Arrow"))) found.act(event);
  });
}

/** Fills the page's help dialog. @param {Shortcut[]} shortcuts @param {string} [introduction] */
export function fillHelp(shortcuts, introduction = "") {
  const dialog = /** @type {HTMLDialogElement} */ (byId("help"));
  const lines = shortcuts.filter(({ show }) => show?.length).flatMap(({ show, what }) => [
    el("dt", {}, ...(show || []).flatMap((key, i) => [i ? " " : "", el("kbd", { text: key })])),
    el("dd", { text: what }),
  ]);
  const off = el("input", { type: "checkbox", id: "shortcuts-on", on: { change: () => store(OFF, !(/** @type {HTMLInputElement} */ (off).checked)) } });
  /** @type {HTMLInputElement} */ (off).checked = !stored(OFF);
  dialog.replaceChildren(
    el("div", { class: "row" }, el("h2", { text: t("Keys"), id: "help-title" }), closeButton(dialog)),
    introduction && el("p", { class: "muted", text: introduction }) || "",
    el("dl", { class: "keys" }, ...lines),
    el("label", { class: "check" }, off, el("span", { text: t("Single letters and digits act as keys (switch off if they get in the way of speech input)") })),
  );
}

/** @param {HTMLDialogElement} dialog @returns {HTMLElement} */
export function closeButton(dialog) {
  return el("button", { class: "button quiet small spacer", type: "button", text: t("Close"), on: { click: () => dialog.close() } });
}
