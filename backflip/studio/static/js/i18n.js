/** The page's language: base.html embeds its catalogue as JSON; English is the text itself. */

/** @type {Record<string, string | string[]>} */
const catalogue = JSON.parse(document.getElementById("catalogue")?.textContent || "{}");

/** @param {string} text @param {Record<string, string | number>} values @returns {string} */
function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/**
 * The text in the page's language; {name} is filled from `values`.
 * @param {string} text @param {Record<string, string | number>} [values] @returns {string}
 */
export function t(text, values = {}) {
  const found = catalogue[text];
  return fill((Array.isArray(found) ? found[0] : found) || text, values);
}

/**
 * The text for `n` of something: `one` or `many`, each with {n}.
 * @param {string} one @param {string} many @param {number} n @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function tn(one, many, n, values = {}) {
  const found = catalogue[one];
  const forms = Array.isArray(found) ? found : found ? [found] : [one, many];
  return fill(forms[Math.min(n === 1 ? 0 : 1, forms.length - 1)] || (n === 1 ? one : many), { n, ...values });
}
