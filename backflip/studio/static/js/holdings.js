/**
 * The leases of one tab, kept through reloads. A tab that opens takes over what a closed tab of the same person left,
 * so that no question waits for its lease to end. Two tabs never hold the same question.
 */

const BEAT = 5_000; // ms; browsers let a tab in the background beat once a minute only
const DEAD = 90_000;

/** @param {number} [bytes] @returns {string} a random name; crypto.randomUUID is not there on plain http */
export function randomName(bytes = 12) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** @param {string} key @returns {any} what is stored as JSON, or null */
export function stored(key) {
  try {
    return JSON.parse(localStorage.getItem(key) || "null");
  } catch {
    return null;
  }
}

/** @param {string} key @param {any} value @returns {boolean} whether it is stored */
export function store(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false; // full, or switched off
  }
}

/** @param {string} prefix @returns {string[]} stored keys that begin so */
export function storedKeys(prefix) {
  const keys = Array.from({ length: localStorage.length }, (_, i) => localStorage.key(i) || "");
  return keys.filter((key) => key.startsWith(prefix));
}

export class Holdings {
  /** @param {string} scope user, project and medium */
  constructor(scope) {
    this.prefix = `backflip.leases.${scope}.`;
    this.tab = sessionStorage.getItem("backflip.tab") || randomName();
    // A duplicated tab brings the name of the first, which lives.
    if (this.#lives(this.prefix + this.tab)) this.tab = randomName();
    sessionStorage.setItem("backflip.tab", this.tab);
    /** @type {any} */
    this.value = null;
    addEventListener("pagehide", () => this.#write(0));
    addEventListener("pageshow", (event) => event.persisted && location.reload());
    setInterval(() => this.#write(Date.now()), BEAT);
  }

  /** @returns {any[]} what this tab held before a reload, then what closed tabs left */
  load() {
    const mine = this.prefix + this.tab;
    const left = storedKeys(this.prefix).filter((key) => key !== mine && !this.#lives(key));
    const found = [mine, ...left].map((key) => stored(key)?.value).filter(Boolean);
    for (const key of left) localStorage.removeItem(key);
    return found;
  }

  /** @returns {any[]} what other tabs hold */
  others() {
    return storedKeys(this.prefix).filter((key) => key !== this.prefix + this.tab && this.#lives(key)).map((key) => stored(key).value);
  }

  /** @param {any} value */
  save(value) {
    this.value = value;
    this.#write(Date.now());
  }

  /** @param {string} key */
  #lives(key) {
    return Date.now() - (stored(key)?.beat || 0) < DEAD;
  }

  /** @param {number} beat */
  #write(beat) {
    if (this.value) store(this.prefix + this.tab, { beat, value: this.value });
  }
}
