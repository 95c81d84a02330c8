/** Passing messages at the foot of the page. */

import { el } from "./dom.js";

/**
 * Shows a message; returns what takes it away.
 * @param {string} text
 * @param {{kind?: "" | "bad", action?: string, act?: () => void, seconds?: number}} [options]
 * @returns {() => void}
 */
export function toast(text, { kind = "", action = "", act = () => {}, seconds = 5 } = {}) {
  const close = () => node.remove();
  const button = action && el("button", { class: "button", type: "button", text: action, on: { click: () => { close(); act(); } } });
  const node = el("div", { class: `toast ${kind}` }, el("span", { text }), button || null);
  const toasts = document.getElementById("toasts");
  while (toasts && toasts.children.length > 2) toasts.firstElementChild?.remove();
  toasts?.append(node);
  if (seconds > 0) setTimeout(close, seconds * 1000);
  return close;
}
