/** The shelf beside the desk: one's drafts and demonstrations with what a reviewer said, and (an admin) what is to review. */

import { call, Failure } from "./api.js";
import { promptParts } from "./answers.js";
import { el, prose } from "./dom.js";
import { t } from "./i18n.js";
import { toast } from "./toast.js";

/**
 * @typedef {{number: number, prompt: any, answer: string, html: string, author: string, state: string, note: string, recorded: number}} Writing
 * @typedef {{edit: (writing: Writing) => void, withdraw: (writing: Writing) => void, drafts: () => any[], resume: (draft: any) => void}} Hooks
 */

export class Shelf {
  /** @param {HTMLElement} root @param {string} base @param {Hooks} hooks */
  constructor(root, base, hooks) {
    this.root = root;
    this.base = base;
    this.hooks = hooks;
    /** @type {Writing[]} */
    this.mine = [];
    /** @type {Writing[]} */
    this.toReview = [];
    /** @type {{key: string, prompt: any, answer: string}[]} sent, and not yet in a list from the server */
    this.expected = [];
    this.tabs = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[role="tab"]')]);
    this.shows = "mine";
    this.tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => this.#choose(tab));
      tab.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        const other = this.tabs[(i + 1) % this.tabs.length];
        other.focus();
        this.#choose(other);
      });
    });
  }

  /** Fetches the lists. */
  async load() {
    try {
      this.mine = (await call("GET", `${this.base}/demonstrations`)).filter((/** @type {Writing} */ w) => w.state !== "withdrawn");
      this.expected = [];
      if (this.tabs.length > 1) this.toReview = await call("GET", `${this.base}/demonstrations?everybody=true&state=submitted`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
    this.draw();
  }

  /** @param {{key: string, prompt: any, answer: string}} writing */
  expect(writing) {
    this.expected.unshift(writing);
    this.draw();
  }

  /** @param {number} number */
  forgetUntilLoaded(number) {
    this.mine = this.mine.filter((writing) => writing.number !== number);
    this.draw();
  }

  draw() {
    const review = this.tabs[1];
    if (review) review.textContent = this.toReview.length ? t("To review: {n}", { n: this.toReview.length }) : t("To review");
    this.root.setAttribute("aria-labelledby", this.shows === "mine" ? "tab-mine" : "tab-review");
    const cards = this.shows === "mine" ? this.#mine() : this.toReview.map((writing) => this.#reviewCard(writing));
    const empty = this.shows === "mine" ? t("What you write appears here, and what a reviewer says of it.") : t("Nothing waits for a review.");
    this.root.replaceChildren(...(cards.length ? cards : [el("p", { class: "empty", text: empty })]));
    for (const card of cards) {
      const cut = [...card.querySelectorAll(".asked, .answered")].some((part) => part.scrollHeight > part.clientHeight + 2);
      card.querySelector(".unfold")?.toggleAttribute("hidden", !cut);
    }
  }

  /** @param {HTMLElement} tab */
  #choose(tab) {
    for (const other of this.tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
    }
    this.shows = tab.id === "tab-mine" ? "mine" : "review";
    this.draw();
  }

  #mine() {
    const drafts = this.hooks.drafts().map((draft) => this.#card({ prompt: draft.prompt, answer: draft.text }, el("span", { class: "badge", text: t("Draft") }), [
      el("button", { class: "button quiet small", type: "button", text: t("Go on"), on: { click: () => this.hooks.resume(draft) } })]));
    const sent = this.expected.map((writing) => this.#card(writing, el("span", { class: "badge", text: t("On its way") }), []));
    // What came back from a reviewer is first: it waits for its author.
    const order = [...this.mine].sort((a, b) => Number(b.state === "returned") - Number(a.state === "returned"));
    return [...drafts, ...sent, ...order.map((writing) => this.#ownCard(writing))];
  }

  /** @param {Writing} writing */
  #ownCard(writing) {
    /** @type {Record<string, [string, string]>} */
    const states = { submitted: [t("Waits for review"), "info"], accepted: [t("Accepted"), "ok"], returned: [t("Returned"), "warn"] };
    const [name, kind] = states[writing.state] || [writing.state, ""];
    const when = el("time", { class: "muted small spacer", datetime: new Date(writing.recorded * 1000).toISOString(), text: new Date(writing.recorded * 1000).toLocaleDateString(document.documentElement.lang, { dateStyle: "medium" }) });
    return this.#card(writing, el("span", { class: `badge ${kind}`, text: name }), [
      el("button", { class: "button quiet small", type: "button", text: t("Change"), on: { click: () => this.hooks.edit(writing) } }),
      el("button", { class: "button quiet small", type: "button", text: t("Withdraw"), on: { click: () => this.hooks.withdraw(writing) } })], when);
  }

  /** @param {Writing} writing */
  #reviewCard(writing) {
    const note = /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: 2, maxlength: 5000, "aria-label": t("Note to the author"), placeholder: t("Note to the author") }));
    const say = (/** @type {string} */ verdict) => this.#review(writing, verdict, note.value.trim());
    const card = this.#card(writing, el("span", { class: "badge", text: writing.author }), [
      el("button", { class: "button small primary", type: "button", text: t("Accept"), on: { click: () => say("accepted") } }),
      el("button", { class: "button small", type: "button", text: t("Return it"), on: { click: () => (note.value.trim() ? say("returned") : (toast(t("Say in the note what is to be changed")), note.focus())) } })]);
    card.insertBefore(note, card.lastElementChild);
    card.classList.add("is-open");
    return card;
  }

  /** @param {Writing} writing @param {string} verdict @param {string} note */
  async #review(writing, verdict, note) {
    try {
      await call("POST", `${this.base}/demonstrations/${writing.number}/review`, { verdict, note });
      toast(verdict === "accepted" ? t("Accepted") : t("Returned to its author"));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      toast(error.message, { kind: "bad" });
    }
    await this.load();
  }

  /** @param {any} writing @param {HTMLElement} badge @param {HTMLElement[]} actions @param {HTMLElement} [when] */
  #card(writing, badge, actions, when) {
    const answered = writing.html ? prose(writing.html, "prose answered") : el("div", { class: "answered plain", text: writing.answer });
    const asked = el("div", { class: "asked" }, ...(writing.prompt.html || writing.prompt.messages ? promptParts(writing.prompt) : [el("p", { text: writing.prompt.text })]));
    const open = el("button", { class: "button quiet small unfold", type: "button", "aria-expanded": "false", text: t("Show all of it"), on: { click: () => {
      const is = card.classList.toggle("is-open");
      open.setAttribute("aria-expanded", String(is));
      open.textContent = is ? t("Fold") : t("Show all of it");
    } } });
    const card = el("article", { class: "card writing" },
      el("div", { class: "card-head" }, badge, when || null),
      writing.note && el("p", { class: "said", text: writing.note }),
      asked, answered,
      el("div", { class: "card-foot" }, ...actions, open));
    return card;
  }
}
