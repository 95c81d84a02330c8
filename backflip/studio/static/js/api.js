/** Requests to the studio, and what can go wrong with them as kinds that a page can tell apart. */

/** @param {Document} page @param {string} name @returns {string} */
function meta(page, name) {
  return /** @type {HTMLMetaElement | null} */ (page.querySelector(`meta[name="${name}"]`))?.content || "";
}

let csrf = meta(document, "csrf-token");

/** How far the server's clock is ahead of this one's, in seconds. */
let ahead = 0;

/** @returns {number} seconds of the server's clock */
export function serverTime() {
  return Date.now() / 1000 + ahead;
}

/**
 * Reads this page's token anew, if the same person is signed in.
 * @returns {Promise<boolean>} whether it is another than before
 */
export async function refreshCsrf() {
  try {
    const response = await fetch(location.href, { credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = meta(page, "csrf-token");
    if (!response.ok || meta(page, "user") !== meta(document, "user") || !found || found === csrf) return false;
    csrf = found;
    return true;
  } catch {
    return false;
  }
}

/** A request that was refused or did not arrive. `kind`: offline, busy, signed-out, forbidden, gone, refused. */
export class Failure extends Error {
  /** @param {string} kind @param {string} message @param {number} [status] @param {any} [body] */
  constructor(kind, message, status = 0, body = null) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.body = body;
  }

  /** Whether the same request may do later. */
  get passes() {
    return this.kind === "offline" || this.kind === "busy";
  }
}

/** @type {Record<number, string>} */
const KINDS = { 401: "signed-out", 403: "forbidden", 404: "gone", 408: "busy", 409: "refused", 425: "busy", 429: "busy" };

/** @param {any} body @returns {string} */
function messageOf(body) {
  const error = body?.error;
  if (!error) return "";
  return error.message || [error.seen, error.wanted, error.next].filter(Boolean).join("; ");
}

/**
 * One JSON request. Throws Failure.
 * @param {string} method @param {string} path @param {any} [body] @param {{seconds?: number}} [options]
 * @returns {Promise<any>}
 */
export async function call(method, path, body, { seconds = 20 } = {}) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": csrf },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      keepalive: body !== undefined && JSON.stringify(body).length < 20_000, // goes out even as the page closes
      signal: AbortSignal.timeout(seconds * 1000),
    });
  } catch (error) {
    throw new Failure("offline", String(error));
  }
  const date = Date.parse(response.headers.get("Date") || "");
  if (date) ahead = (date - Date.now()) / 1000;
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const kind = response.status >= 500 ? "busy" : KINDS[response.status] || "refused";
  throw new Failure(kind, messageOf(answer) || `${response.status} ${response.statusText}`, response.status, answer);
}
