/** Quality: the clips of disputed questions, fetched when a question is opened. */

import { loadClip } from "./clips.js";
import { el } from "./dom.js";
import { t } from "./i18n.js";
import "./format.js";

/** @param {HTMLElement} node */
function show(node) {
  const url = node.dataset.clip;
  if (!url) return;
  delete node.dataset.clip;
  loadClip(url).then((clip) => {
    node.append(clip.element);
    const began = performance.now();
    const turn = () => {
      if (!node.isConnected) return;
      clip.at(((performance.now() - began) / 1000) % clip.seconds, 1);
      requestAnimationFrame(turn);
    };
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) turn();
  }, () => node.append(el("p", { class: "muted", text: t("This clip cannot be shown.") })));
}

for (const details of document.querySelectorAll("details.dispute")) {
  const open = () => {
    if (/** @type {HTMLDetailsElement} */ (details).open) details.querySelectorAll("[data-clip]").forEach((node) => show(/** @type {HTMLElement} */ (node)));
  };
  details.addEventListener("toggle", open);
  open();
}
