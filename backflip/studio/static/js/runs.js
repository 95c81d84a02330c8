/** The list of runs, which follows what happens. */

import { byId, el } from "./dom.js";
import { duration, figure, localTimes } from "./format.js";
import { listen } from "./live.js";
import { badge } from "./status.js";

/** @param {any} run @returns {HTMLElement} */
function row(run) {
  const address = `/runs/${run.name.split("/").map(encodeURIComponent).join("/")}`;
  const found = run.headline;
  return el("tr", { data: { run: run.name } },
    el("th", { scope: "row" }, el("a", { href: address, text: run.name })),
    el("td", { text: run.recipe }),
    el("td", {}, badge(run.status)),
    el("td", { class: "nowrap" }, el("time", { datetime: run.started, text: run.started })),
    el("td", { class: "num", text: duration(run.seconds) }),
    el("td", {}, ...(found ? [el("span", { class: "muted small", text: found.name }), " ", el("span", { class: "num", text: figure(found.value) })] : [el("span", { class: "muted", text: "–" })])));
}

/** @param {any[]} runs */
function show(runs) {
  const focused = document.activeElement?.closest("tr")?.getAttribute("data-run");
  byId("rows").replaceChildren(...runs.map(row));
  localTimes(byId("rows"));
  byId("runs").hidden = !runs.length;
  byId("none").hidden = Boolean(runs.length);
  if (focused) /** @type {HTMLElement | null} */ (document.querySelector(`tr[data-run="${CSS.escape(focused)}"] a`))?.focus();
}

listen(() => "/api/events", { runs: show }, (connected) => { byId("no-connection").hidden = connected; });
