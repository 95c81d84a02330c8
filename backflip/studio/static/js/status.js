/** How a run stands, as a badge; the same as the macro `status` of operator.html. */

import { el } from "./dom.js";
import { t } from "./i18n.js";

/** @type {Record<string, string>} */
const LOOKS = { running: "info", done: "ok", failed: "bad", interrupted: "warn", killed: "bad" };

/** @param {string} status @returns {string} */
function named(status) {
  switch (status) {
    case "running": return t("running");
    case "done": return t("done");
    case "failed": return t("failed");
    case "interrupted": return t("interrupted");
    case "killed": return t("killed");
    default: return status;
  }
}

/** @param {string} status @returns {HTMLElement} */
export function badge(status) {
  const dot = status === "running" && el("span", { class: "dot live", "aria-hidden": "true" });
  return el("span", { class: `badge ${LOOKS[status] || ""}` }, dot, named(status));
}
