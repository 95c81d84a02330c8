/**
 * The ranking as the person sees it: tiers from best to worst, gaps between them to drop into, and what is not ranked
 * yet. Dragging is SortableJS's; what a drop means is read from where it ended, and the model is drawn anew.
 */

import { el } from "./dom.js";
import { t } from "./i18n.js";
import { placeText } from "./place.js";

/** @typedef {{id: string, number: number, excerpt: string}} Chip */

export class Ladder {
  /**
   * @param {HTMLElement} root
   * @param {{ranking: import("./ranking.js").Ranking, chips: Chip[], selected: string, pick: (id: string) => void, changed: (id: string) => void}} hooks
   */
  constructor(root, hooks) {
    this.root = root;
    this.hooks = hooks;
    /** @type {any[]} */
    this.sortables = [];
    this.dropped = 0; // when the last drag ended: the click that follows it means nothing
    this.draw();
  }

  draw() {
    for (const sortable of this.sortables) sortable.destroy();
    const { ranking, selected } = this.hooks;
    const tiers = ranking.tiers.flatMap((tier, index) => [this.#gap(index), this.#tier(tier, index)]);
    const missing = ranking.missing;
    this.root.replaceChildren(
      el("p", { class: "ladder-end", text: t("Best") }),
      el("div", { class: "tiers", role: "list", "aria-label": t("Your ranking, from best to worst") }, ...tiers, this.#gap(ranking.tiers.length)),
      el("p", { class: "ladder-end", text: t("Worst") }),
      el("div", { class: "tray", hidden: !missing.length },
        el("p", { class: "tray-title", text: t("Not ranked yet") }),
        el("div", { class: "tray-chips", data: { drop: "tray" } }, ...missing.map((id) => this.#chip(id)))),
    );
    this.root.classList.toggle("is-empty", !ranking.tiers.length);
    this.root.classList.toggle("is-joining", ranking.joining && ranking.tiers.length > 0);
    for (const chip of this.root.querySelectorAll(".chip")) chip.classList.toggle("is-selected", /** @type {HTMLElement} */ (chip).dataset.id === selected);
    this.#sortable();
  }

  /** @param {number} index */
  #gap(index) {
    const { ranking, chips } = this.hooks;
    const first = !ranking.tiers.length;
    const hint = first ? matchMedia("(pointer: coarse)").matches ? t("Tap the numbers from best to worst") : t("Press {keys} from best to worst, or drag", { keys: `1–${chips.length}` }) : "";
    return el("div", { class: "gap", "aria-hidden": "true" }, el("div", { class: "drop", data: { drop: "gap", index: String(index) } }), hint && el("span", { class: "gap-hint", text: hint }));
  }

  /** @param {string[]} tier @param {number} index */
  #tier(tier, index) {
    const tied = tier.length > 1;
    return el("div", { class: tied ? "tier is-tied" : "tier", role: "listitem" },
      el("div", { class: "drop", data: { drop: "tier", index: String(index) } }, ...tier.map((id) => this.#chip(id))));
  }

  /** @param {string} id */
  #chip(id) {
    const chip = this.hooks.chips.find((other) => other.id === id);
    const place = placeText(this.hooks.ranking, id);
    const label = place ? t("Answer {n}, {place}", { n: chip?.number || 0, place }) : t("Answer {n}, not ranked yet", { n: chip?.number || 0 });
    return el("div", { class: "chip", data: { id } },
      el("button", { class: "chip-button", type: "button", on: { click: () => performance.now() - this.dropped > 80 && this.hooks.pick(id) } },
        el("span", { class: "visually-hidden", text: label }), el("span", { class: "tag", "aria-hidden": "true", text: String(chip?.number) }), el("span", { class: "excerpt", text: chip?.excerpt || "" })));
  }

  #sortable() {
    const Sortable = /** @type {any} */ (window).Sortable;
    const lists = /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll(".drop, .tray-chips")]);
    this.sortables = lists.map((list) => new Sortable(list, {
      group: "ladder",
      draggable: ".chip",
      animation: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 120,
      delay: 120,
      delayOnTouchOnly: true,
      touchStartThreshold: 6,
      forceFallback: true, // one way of dragging for mouse, pen and finger; some browsers drag no buttons of themselves
      fallbackTolerance: 4,
      emptyInsertThreshold: 14,
      ghostClass: "is-ghost",
      onStart: () => this.root.classList.add("is-dragging"),
      onEnd: (/** @type {any} */ event) => this.#dropped(event),
    }));
  }

  /** @param {any} event */
  #dropped(event) {
    this.root.classList.remove("is-dragging");
    this.dropped = performance.now();
    const { drop, index } = event.to.dataset;
    const { ranking, changed } = this.hooks;
    const id = event.item.dataset.id;
    if (drop === "tier") ranking.dropOnTier(id, Number(index));
    else if (drop === "gap") ranking.dropBefore(id, Number(index));
    else if (event.from !== event.to) ranking.remove(id);
    // Sortable is still in its own handler here: it is taken down after it.
    setTimeout(() => changed(id));
  }
}
