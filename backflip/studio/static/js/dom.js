/** Making elements without HTML strings: text is always text. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `class`, `text`, `on` ({event: listener}), `data`, else attributes; false and null are left out
 * @param {...(Node | string | null | false | undefined)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "data") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/**
 * An element with what the server rendered and cleaned. The only place where HTML becomes elements.
 * @param {string} html @param {string} [className] @returns {HTMLElement}
 */
export function prose(html, className = "prose") {
  const node = el("div", { class: className });
  node.innerHTML = html;
  for (const link of node.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const block of node.querySelectorAll("pre, table")) block.tabIndex = 0; // what scrolls is reached by keys
  return node;
}

/** @param {string} id @returns {any} the element's JSON */
export function data(id) {
  return JSON.parse(document.getElementById(id)?.textContent || "null");
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}

/** Says something to a screen reader. @param {string} text */
export function announce(text) {
  const region = document.getElementById("announcer");
  if (!region) return;
  // An equal text again would not be said: a no-break space makes it another.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}
