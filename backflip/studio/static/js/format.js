/** Figures, times and durations in the page's language; the server's filters (wording.py) say the same in words. */

import { t } from "./i18n.js";

const language = document.documentElement.lang || "en";

/** @param {number | null | undefined} value @param {number} [digits] figures that count @returns {string} */
export function figure(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const small = value !== 0 && Math.abs(value) < 1e-3;
  if (small) return value.toExponential(Math.max(1, digits - 2));
  const whole = Number.isInteger(value) || Math.abs(value) >= 1000;
  return value.toLocaleString(language, whole ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: digits });
}

/** @param {number | null | undefined} seconds @returns {string} */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 120) return t("{n} s", { n: seconds.toLocaleString(language, { maximumFractionDigits: seconds < 10 ? 1 : 0 }) });
  if (seconds < 7200) return t("{n} min", { n: Math.round(seconds / 60) });
  return t("{n} h", { n: (seconds / 3600).toLocaleString(language, { maximumFractionDigits: 1 }) });
}

const clock = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

/** @param {string} iso @returns {string} the time by the reader's own clock */
export function moment(iso) {
  const when = new Date(iso);
  return Number.isNaN(when.valueOf()) ? iso : clock.format(when);
}

/** Puts every <time> of a part of the page into the reader's zone and language. @param {ParentNode} part */
export function localTimes(part) {
  for (const node of part.querySelectorAll("time[datetime]")) {
    const exact = /** @type {HTMLTimeElement} */ (node).dateTime;
    node.textContent = moment(exact);
    node.setAttribute("title", exact);
  }
}

localTimes(document);
