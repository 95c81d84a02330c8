/** Forms of the operator's pages: what cannot be undone asks first; secrets are copied; Markdown has a preview. */

import { call } from "./api.js";
import { byId, el, prose } from "./dom.js";
import "./format.js";
import { t } from "./i18n.js";
import { toast } from "./toast.js";

/** @param {string} question @param {string} act @returns {Promise<boolean>} */
function sure(question, act) {
  return new Promise((resolve) => {
    const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { "aria-labelledby": "sure-text" },
      el("p", { id: "sure-text", text: question }),
      el("form", { method: "dialog", class: "row" },
        el("span", { class: "spacer" }),
        el("button", { class: "button", value: "no", autofocus: true, text: t("Leave it") }),
        el("button", { class: "button danger", value: "yes", text: act }))));
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

document.addEventListener("submit", async (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const question = form.dataset.confirm;
  if (!question || form.dataset.sure) return;
  event.preventDefault();
  const button = /** @type {SubmitEvent} */ (event).submitter;
  if (await sure(question, form.dataset.act || t("Do it"))) {
    form.dataset.sure = "yes";
    form.requestSubmit(button);
  }
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = byId(/** @type {HTMLElement} */ (button).dataset.copy || "").textContent || "";
    try {
      await navigator.clipboard.writeText(text);
      toast(t("Copied."));
    } catch {
      getSelection()?.selectAllChildren(byId(/** @type {HTMLElement} */ (button).dataset.copy || ""));
      toast(t("Selected: copy it with the keyboard."));
    }
  });
}

// A select or checkbox that saves at once.
for (const field of document.querySelectorAll("[data-save]")) {
  field.addEventListener("change", () => /** @type {HTMLInputElement} */ (field).form?.requestSubmit());
}

const text = /** @type {HTMLTextAreaElement | null} */ (document.querySelector("[data-preview]"));
if (text) {
  const preview = byId(text.dataset.preview || "");
  let timer = 0;
  const show = async () => {
    try {
      const { html } = await call("POST", "/api/markdown", { text: text.value });
      preview.replaceChildren(...prose(html).childNodes);
    } catch {
      preview.textContent = text.value;
    }
  };
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(show, 250);
  });
}
