/** Words for places and answers that several parts of the page use. */

import { t } from "./i18n.js";

const ordinal = new Intl.PluralRules(document.documentElement.lang || "en", { type: "ordinal" });

/** @param {number} n @returns {string} 1st, 2nd, 3rd.. */
export function ordinalOf(n) {
  const forms = { one: t("{n}st", { n }), two: t("{n}nd", { n }), few: t("{n}rd", { n }) };
  return forms[/** @type {"one" | "two" | "few"} */ (ordinal.select(n))] || t("{n}th", { n });
}

/** @param {import("./ranking.js").Ranking} ranking @param {string} id @returns {string} "2nd", "2nd, tied", or "" */
export function placeText(ranking, id) {
  const place = ranking.placeOf(id);
  if (!place) return "";
  return ranking.isTied(id) ? t("{place}, tied", { place: ordinalOf(place) }) : ordinalOf(place);
}
