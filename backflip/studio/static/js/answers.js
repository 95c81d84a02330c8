/** The answers to be ranked: cards that stay where they are, with rating and flags where the project asks for them. */

import { el, prose } from "./dom.js";
import { t } from "./i18n.js";
import { placeText } from "./place.js";

/**
 * @typedef {{name: string, label: string}} Flag
 * @typedef {{rating: boolean, flags: Flag[]}} Asked
 * @typedef {{pick: (id: string) => void, select: (id: string) => void, changed: () => void}} Hooks
 */

const LETTERS = "abcdefghijklmnopqrstuvwxyz";

export class AnswerCard {
  /**
   * @param {import("./session.js").Candidate} candidate @param {number} number from 1 @param {Asked} asked @param {Hooks} hooks
   * @param {HTMLElement | null} media a clip's element, where the answer is none of text
   */
  constructor(candidate, number, asked, hooks, media = null) {
    this.id = candidate.id;
    this.number = number;
    this.hooks = hooks;
    /** @type {Set<string>} */
    this.flags = new Set();
    this.tag = el("button", { class: "tag", type: "button", text: String(number), on: { click: () => hooks.pick(this.id) } });
    this.place = el("span", { class: "place" });
    this.text = el("div", { class: "answer-text" }, media || prose(candidate.html || ""));
    this.foldButton = el("button", { class: "fold button quiet small", type: "button", hidden: true, on: { click: () => this.fold(!this.isFolded) } });
    this.flagList = el("div", { class: "flag-list", role: "group", "aria-label": t("Flags of answer {n}", { n: number }), hidden: true });
    this.flagButton = el("button", { class: "button quiet small", type: "button", "aria-expanded": "false", on: { click: () => this.toggleFlags() } });
    const foot = (asked.rating || asked.flags.length > 0) && el("footer", { class: "answer-foot" },
      asked.rating && this.#rating(), asked.flags.length > 0 && this.flagButton, asked.flags.length > 0 && this.#flagList(asked.flags));
    this.root = el("article", { class: "answer", tabindex: "-1", "aria-label": t("Answer {n}", { n: number }), data: { id: candidate.id } },
      el("header", { class: "answer-head" }, this.tag, this.place), this.text, this.foldButton, foot);
    this.root.addEventListener("focusin", () => hooks.select(this.id));
    this.text.addEventListener("pointerup", () => hooks.select(this.id));
    this.#flagsChanged();
  }

  /** Folds a text that is much longer than the page; called when it is in the document. */
  measure() {
    this.root.classList.add("is-folded");
    const long = this.text.scrollHeight > this.text.clientHeight + 48;
    this.foldButton.hidden = !long;
    this.fold(long);
  }

  get isFolded() {
    return this.root.classList.contains("is-folded");
  }

  /** @param {boolean} folded */
  fold(folded) {
    this.root.classList.toggle("is-folded", folded);
    this.foldButton.textContent = folded ? t("Show all of it") : t("Fold");
    this.foldButton.setAttribute("aria-expanded", String(!folded));
  }

  /** @param {import("./ranking.js").Ranking} ranking @param {string} selected */
  update(ranking, selected) {
    const place = placeText(ranking, this.id);
    this.place.textContent = place;
    this.root.classList.toggle("is-placed", Boolean(place));
    this.root.classList.toggle("is-selected", selected === this.id);
    this.tag.setAttribute("aria-label", place ? t("Answer {n}, {place}: take it out", { n: this.number, place }) : t("Answer {n}: rank it next", { n: this.number }));
  }

  get rating() {
    return Number(/** @type {HTMLInputElement | null} */ (this.root.querySelector(".rating input:checked"))?.value || 0);
  }

  set rating(value) {
    for (const input of this.root.querySelectorAll(".rating input")) {
      const radio = /** @type {HTMLInputElement} */ (input);
      radio.checked = Number(radio.value) === value;
    }
  }

  focusRating() {
    const radio = this.root.querySelector(".rating input:checked") || this.root.querySelector(".rating input");
    /** @type {HTMLElement | null} */ (radio)?.focus();
  }

  /** @param {string[]} names */
  setFlags(names) {
    this.flags = new Set(names);
    for (const input of this.flagList.querySelectorAll("input")) input.checked = this.flags.has(input.value);
    this.#flagsChanged();
  }

  /** @param {boolean} [open] */
  toggleFlags(open = this.flagList.hidden) {
    this.flagList.hidden = !open;
    this.flagButton.setAttribute("aria-expanded", String(open));
    if (open) this.flagList.querySelector("input")?.focus();
    else this.flagButton.focus();
  }

  #rating() {
    const name = `rating-${this.number}`;
    const radios = [1, 2, 3, 4, 5, 6, 7].map((value) => el("label", {}, el("input", { type: "radio", name, value, on: { change: () => this.hooks.changed() } }), el("span", { text: String(value) })));
    return el("fieldset", { class: "rating" }, el("legend", { class: "visually-hidden", text: t("Rating of answer {n}, 1 is worst and 7 is best", { n: this.number }) }),
      el("span", { class: "rating-name", "aria-hidden": "true", text: t("Rating") }), ...radios);
  }

  /** @param {Flag[]} flags */
  #flagList(flags) {
    this.flagList.append(...flags.map(({ name, label }, i) => el("label", { class: "check" },
      el("input", { type: "checkbox", value: name, on: { change: (/** @type {Event} */ event) => this.#flag(name, /** @type {HTMLInputElement} */ (event.target).checked) } }),
      el("kbd", { text: LETTERS[i] || "", "aria-hidden": "true" }), el("span", { text: t(label) }))));
    this.flagList.addEventListener("keydown", (event) => this.#flagKey(event));
    return this.flagList;
  }

  /** @param {KeyboardEvent} event */
  #flagKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const index = event.key.length === 1 ? LETTERS.indexOf(event.key.toLowerCase()) : -1;
    const input = index < 0 ? null : this.flagList.querySelectorAll("input")[index];
    if (input) input.click();
    else if (event.key === "Escape") this.toggleFlags(false);
    else return;
    if (input) input.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} name @param {boolean} on */
  #flag(name, on) {
    if (on) this.flags.add(name);
    else this.flags.delete(name);
    this.#flagsChanged();
    this.hooks.changed();
  }

  #flagsChanged() {
    const n = this.flags.size;
    this.flagButton.textContent = n ? t("Flags: {n}", { n }) : t("Flags");
    this.flagButton.classList.toggle("has-flags", n > 0);
  }
}

/** @param {any} prompt @returns {HTMLElement[]} a dialogue's turns, or a text */
export function promptParts(prompt) {
  if (!prompt) return [];
  const roles = { system: t("System"), user: t("User"), assistant: t("Assistant") };
  const turns = (prompt.messages || []).map((/** @type {{role: "system" | "user" | "assistant", html: string}} */ { role, html }) =>
    el("div", { class: `turn turn-${role}` }, el("h3", { class: "turn-role", text: roles[role] }), prose(html)));
  return turns.length ? turns : [prose(prompt.html || "")];
}
