/**
 * What was answered and is not yet with the server. An item is stored before anything else happens, so a closed tab, a
 * reload or a lost network loses nothing; its key makes sending it twice harmless. One tab at a time sends (Web Locks).
 */

import { call, Failure, refreshCsrf } from "./api.js";
import { randomName, store, stored, storedKeys } from "./holdings.js";

/**
 * @typedef {{key: string, path: string, method: string, body: any, at: number, notBefore: number, what: string}} Item
 * `what`: answer, pass, undo or demonstration.
 */

const FIRST_WAIT = 1_000;
const SETTLED = 100; // ms until all tabs see the same storage
const LONGEST_WAIT = 30_000;

export class Outbox extends EventTarget {
  /** @param {string} user */
  constructor(user) {
    super();
    this.prefix = `backflip.outbox.${user}.`;
    this.refusedPrefix = `backflip.refused.${user}.`;
    this.lockName = `backflip.outbox.${user}`;
    /** "" while all is well, else the last failure's kind */
    this.trouble = "";
    /** @type {Map<string, Item>} what the browser could not store */
    this.unstored = new Map();
    this.wait = FIRST_WAIT;
    this.busy = false;
    /** @type {number | undefined} */
    this.timer = undefined;
    /** @type {Promise<any>} */
    this.chain = Promise.resolve();
    /** @type {(item: Item) => Record<string, any>} what is added to a body at the moment of sending */
    this.complete = () => ({});
    for (const event of ["online", "focus"]) addEventListener(event, () => this.retry());
    addEventListener("storage", (event) => event.key?.startsWith(this.prefix) && this.#changed());
  }

  /** @returns {Item[]} oldest first */
  items() {
    const kept = storedKeys(this.prefix).map(stored).filter(Boolean);
    return [...kept, ...this.unstored.values()].sort((a, b) => a.at - b.at);
  }

  /** @returns {(Item & {message: string})[]} what the server did not take; kept until it is sent again or dropped */
  refused() {
    return storedKeys(this.refusedPrefix).map(stored).filter(Boolean).sort((a, b) => a.at - b.at);
  }

  /**
   * Keeps a request and sends it as soon as may be. Returns its key.
   * @param {string} what @param {string} path @param {any} body @param {{hold?: number, method?: string}} [options] hold: ms in which it can still be taken back
   */
  put(what, path, body, { hold = 0, method = "POST" } = {}) {
    for (const item of this.items().filter((item) => item.notBefore > Date.now())) this.#keep({ ...item, notBefore: 0 });
    const key = body.key || randomName();
    const at = Math.max(Date.now(), ...this.items().map((item) => item.at + 1));
    const keyed = method === "POST" ? { ...body, key } : body; // to change a thing twice is to change it once
    this.#keep({ key, path, method, body: keyed, at, notBefore: hold ? Date.now() + hold : 0, what });
    this.#changed();
    this.flush();
    return key;
  }

  /** Takes an item back; waits while it is being sent. False if it was sent already. @param {string} key */
  takeBack(key) {
    return this.#alone(async () => {
      const there = this.items().some((item) => item.key === key);
      this.#drop(key);
      this.#changed();
      return there;
    });
  }

  /** Sends what waits, oldest first. */
  async flush() {
    if (this.busy) return;
    this.busy = true;
    clearTimeout(this.timer);
    try {
      while (await this.#alone(() => this.#sendFirst()));
    } finally {
      this.busy = false;
      this.#plan();
    }
  }

  /** Tries at once. */
  retry() {
    this.wait = FIRST_WAIT;
    this.flush();
  }

  /** Sends a refused item again. @param {string} key */
  again(key) {
    const item = stored(this.refusedPrefix + key);
    localStorage.removeItem(this.refusedPrefix + key);
    if (item) this.#keep({ ...item, notBefore: 0 });
    this.#changed();
    this.retry();
  }

  /** @param {string} key */
  dropRefused(key) {
    localStorage.removeItem(this.refusedPrefix + key);
    this.#changed();
  }

  /** @returns {Promise<boolean>} whether there may be more to send */
  async #sendFirst() {
    const item = this.items().find((item) => item.notBefore <= Date.now());
    if (!item) return false;
    try {
      const response = await this.#send(item);
      this.#drop(item.key);
      this.trouble = "";
      this.wait = FIRST_WAIT;
      this.dispatchEvent(new CustomEvent("sent", { detail: { item, response } }));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.passes || error.kind === "signed-out") {
        this.trouble = error.kind;
        this.#changed();
        return false;
      }
      store(this.refusedPrefix + item.key, { ...item, message: error.message });
      this.#drop(item.key);
      this.dispatchEvent(new CustomEvent("refused", { detail: { item, error } }));
    }
    this.#changed();
    return true;
  }

  /** @param {Item} item */
  async #send(item) {
    const send = () => call(item.method, item.path, { ...item.body, ...this.complete(item) });
    try {
      return await send();
    } catch (error) {
      // Signed in anew in another tab: the session's token is another, the person the same.
      if (error instanceof Failure && error.kind === "forbidden" && (await refreshCsrf())) return send();
      throw error;
    }
  }

  #plan() {
    const waiting = this.items();
    if (!waiting.length) return;
    const held = waiting.filter((item) => item.notBefore > Date.now());
    const pause = this.trouble || held.length < waiting.length ? this.wait : Math.min(...held.map((item) => item.notBefore - Date.now() + 1));
    if (this.trouble) this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
    this.timer = setTimeout(() => this.flush(), pause);
  }

  /**
   * One after the other in this tab and, where the browser has locks (https, localhost), over all tabs.
   * @template T @param {() => Promise<T>} work @returns {Promise<T>}
   */
  #alone(work) {
    const run = async () => {
      if (!navigator.locks) return work();
      let free = true;
      const done = await navigator.locks.request(this.lockName, { ifAvailable: true }, async (lock) => {
        free = lock !== null;
        return free ? work() : undefined;
      });
      if (free) return /** @type {T} */ (done);
      return navigator.locks.request(this.lockName, async () => {
        // Another tab had the lock: what it took out of the storage is seen here only a moment later.
        await new Promise((seen) => setTimeout(seen, SETTLED));
        return work();
      });
    };
    const done = this.chain.then(run);
    this.chain = done.catch(() => {});
    return done;
  }

  /** @param {Item} item */
  #keep(item) {
    if (store(this.prefix + item.key, item)) this.unstored.delete(item.key);
    else this.unstored.set(item.key, item);
  }

  /** @param {string} key */
  #drop(key) {
    localStorage.removeItem(this.prefix + key);
    this.unstored.delete(key);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
