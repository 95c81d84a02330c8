/**
 * One person at work on one project: questions are fetched ahead, answers go out through the outbox, and the last ones
 * can be undone. The page only ever waits if there is nothing ready.
 */

import { call, Failure, serverTime } from "./api.js";
import { Holdings, randomName, store, stored, storedKeys } from "./holdings.js";
import { addPace } from "./pace.js";

const REMEMBERED = 12; // answers that can be undone, one after the other
const HOLD = 6_000; // ms in which a pass can still be undone: the server knows no undo of it
const LOOK_AGAIN = [1_000, 2_000, 4_000, 8_000, 15_000]; // ms, where there was nothing to do, once and again
const KEPT_DAYS = 7; // drafts, and the numbers of answers that another tab sent

/**
 * @typedef {{id: string, text?: string, html?: string, media?: string, url?: string}} Candidate
 * @typedef {{id: string, medium: string, prompt: any, candidates: Candidate[], shown: string[]}} Question
 * @typedef {{token: string, expires: number, question: Question}} Lease
 * @typedef {{key: string, what: string, lease: Lease, draft: any, sequence: number, seconds: number}} Done
 */

export class Session extends EventTarget {
  /**
   * @param {{user: string, project: string, medium: string, ahead: number}} options
   * @param {import("./outbox.js").Outbox} outbox
   */
  constructor({ user, project, medium, ahead }, outbox) {
    super();
    this.user = user;
    this.project = project;
    this.medium = medium;
    this.ahead = ahead;
    this.outbox = outbox;
    this.base = `/api/projects/${encodeURIComponent(project)}`;
    this.holdings = new Holdings(`${user}.${project}.${medium}`);
    /** loading, open, empty, paused, unqualified, offline, signed-out, or failed (`why`) */
    this.state = "loading";
    this.why = "";
    /** @type {Record<string, number>} */
    this.counts = {};
    /** The project's state as the server told it last. */
    this.projectState = "open";
    /** @type {Lease | null} */
    this.current = null;
    /** @type {Lease[]} */
    this.ready = [];
    /** @type {Done[]} */
    this.done = [];
    this.filling = false;
    /** @type {number | undefined} */
    this.timer = undefined;
    this.looks = 0; // in a row that found nothing
    this.#clock = { since: 0, before: 0 };
    outbox.complete = (item) => this.#complete(item);
    outbox.addEventListener("sent", (event) => this.#sent(/** @type {CustomEvent} */ (event).detail));
    document.addEventListener("visibilitychange", () => this.#clockSwitch());
    addEventListener("online", () => this.fill());
  }

  #clock;

  /** Whether a question could be shown at once; the page of clips knows better. @type {(lease: Lease) => boolean} */
  isLoaded = () => true;

  /** Takes up what was there before a reload, and fetches. */
  async start() {
    const [mine, ...left] = this.holdings.load();
    this.done = mine?.done || [];
    const waiting = new Set(this.outbox.items().map((item) => item.body.question));
    for (const held of [mine, ...left].filter(Boolean)) {
      for (const lease of [held.current, ...held.ready]) if (lease && !waiting.has(lease.question.id)) this.#add(lease);
    }
    forgetOld();
    this.#advance();
    await this.fill();
  }

  /** Fetches until enough is ready. */
  async fill() {
    const count = this.ahead + (this.current ? 0 : 1) - this.ready.length;
    if (this.filling || count <= 0) return;
    this.filling = true;
    try {
      const body = { count, medium: this.medium, have: this.#known() };
      this.#take(await call("POST", `${this.base}/lease`, body), true);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.filling = false;
    }
    clearTimeout(this.timer);
    if (this.current) this.looks = 0;
    else this.timer = setTimeout(() => this.fill(), this.state === "offline" ? 3_000 : LOOK_AGAIN[Math.min(this.looks++, LOOK_AGAIN.length - 1)]);
  }

  /** @param {any} draft what the page wants back after a reload or an undo */
  keepDraft(draft) {
    if (this.current) store(this.#draftKey(this.current), { at: Date.now(), draft, seconds: this.seconds });
  }

  /** @returns {any} */
  get draft() {
    return this.current && stored(this.#draftKey(this.current))?.draft;
  }

  /** @returns {number} how long the question was in view, in s */
  get seconds() {
    const running = this.#clock.since ? performance.now() - this.#clock.since : 0;
    return Math.round(this.#clock.before + running) / 1000;
  }

  /**
   * Keeps the answer and brings the next question at once.
   * @param {{tiers: string[][], ratings?: Record<string, number>, flags?: Record<string, string[]>, note?: string}} given
   * @param {any} [draft]
   */
  answer(given, draft) {
    if (!this.current) return;
    const { seconds } = this;
    const { ratings = {}, flags = {}, note = "", tiers } = given;
    addPace(this.user, seconds);
    this.#finish("answer", `${this.base}/answers`, { tiers, shown: this.current.question.shown, ratings, flags, note, seconds }, draft, 0);
  }

  /** @param {"skip" | "outside_knowledge"} reason @param {any} [draft] */
  pass(reason, draft) {
    this.#finish("pass", `${this.base}/pass`, { reason }, draft, HOLD);
  }

  /**
   * Brings the last question back; what is on the page now comes after it. Throws Failure.
   * @returns {Promise<{draft: any, what: string} | null>} null if there is nothing to undo
   */
  async undo() {
    const last = this.done.at(-1);
    if (!last) return null;
    let lease = last.lease;
    if (!(await this.outbox.takeBack(last.key))) {
      const sequence = last.sequence || stored(this.#sentKey(last.key))?.sequence; // or another tab sent it
      if (!sequence) return this.#forget(last);
      lease = (await call("POST", `${this.base}/undo`, { sequence })).lease;
    }
    if (last.what === "answer") addPace(this.user, -last.seconds);
    this.done = this.done.filter((other) => other !== last);
    if (this.current) this.ready.unshift(this.current);
    this.#show(lease, last.seconds);
    if (last.draft) this.keepDraft(last.draft);
    this.dispatchEvent(new Event("question"));
    return { draft: last.draft, what: last.what };
  }

  /** @returns {boolean} */
  get canUndo() {
    return this.done.length > 0;
  }

  /** @param {Done} last */
  #forget(last) {
    this.done = this.done.filter((other) => other !== last);
    this.#save();
    return null;
  }

  /** @param {string} what @param {string} path @param {any} extra @param {any} draft @param {number} hold */
  #finish(what, path, extra, draft, hold) {
    const lease = this.current;
    if (!lease) return;
    const key = randomName();
    this.done = [...this.done, { key, what, lease, draft, sequence: 0, seconds: this.seconds }].slice(-REMEMBERED);
    this.outbox.put(what, path, { token: lease.token, question: lease.question.id, ...extra, key }, { hold });
    localStorage.removeItem(this.#draftKey(lease));
    this.current = null;
    this.#advance();
    if (!this.current || this.ready.length < this.ahead / 2) this.fill();
  }

  /** Shows the next question, if none is shown. */
  #advance() {
    if (!this.current) {
      this.ready = this.ready.filter((lease) => lease.expires > serverTime() + 2);
      const index = Math.max(0, this.ready.findIndex(this.isLoaded));
      const [next] = this.ready.splice(index, 1);
      if (next) this.#show(next, stored(this.#draftKey(next))?.seconds || 0);
      else if (this.state === "open") this.state = "loading";
    }
    this.#save();
    this.dispatchEvent(new Event("question"));
  }

  /** @param {Lease} lease @param {number} seconds */
  #show(lease, seconds) {
    this.current = lease;
    this.state = "open";
    this.#clock = { since: document.hidden ? 0 : performance.now(), before: seconds * 1000 };
    this.#save();
  }

  #clockSwitch() {
    const now = performance.now();
    if (document.hidden && this.#clock.since) this.#clock = { since: 0, before: this.#clock.before + now - this.#clock.since };
    else if (!document.hidden && !this.#clock.since) this.#clock.since = now;
  }

  /** @param {any} response @param {boolean} asked whether questions were asked for */
  #take(response, asked) {
    this.counts = response.counts || this.counts;
    this.projectState = response.state || this.projectState;
    for (const lease of response.leases || []) this.#add(lease);
    if (asked && !response.leases?.length && !this.ready.length && !this.current) this.state = response.state || "empty";
    else if (this.ready.length || this.current) this.state = "open";
    if (this.current) this.#save();
    if (this.current) this.dispatchEvent(new Event("ready"));
    else this.#advance();
  }

  /** @param {Lease} lease */
  #add(lease) {
    const known = [this.current, ...this.ready].some((other) => other?.question.id === lease.question.id);
    if (!known && lease.expires > serverTime()) this.ready.push(lease);
  }

  /** @returns {string[]} questions that the server need not hand out again: ours, other tabs', answered but not sent */
  #known() {
    const ours = [this.current, ...this.ready].map((lease) => lease?.question.id);
    const others = this.holdings.others().flatMap((held) => [held.current, ...held.ready]).map((lease) => lease?.question.id);
    const sending = [...this.outbox.items(), ...this.outbox.refused()].map((item) => item.body.question);
    return [...new Set([...ours, ...others, ...sending])].filter(Boolean).slice(-100);
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof Failure)) throw error;
    this.why = error.message;
    if (!this.current) {
      this.state = error.passes ? "offline" : error.kind === "signed-out" ? "signed-out" : "failed";
      this.dispatchEvent(new Event("question"));
    }
  }

  /** @param {import("./outbox.js").Item} item */
  #complete(item) {
    if (!this.#isOurs(item)) return {};
    const next = this.filling ? 0 : Math.max(0, Math.min(20, this.ahead - this.ready.length));
    return { next, medium: this.medium };
  }

  /** @param {import("./outbox.js").Item} item @returns {boolean} of this project; it may be another page's that sends it */
  #isOurs(item) {
    return item.path.startsWith(`${this.base}/`) && (item.what === "answer" || item.what === "pass");
  }

  /** @param {{item: import("./outbox.js").Item, response: any}} detail */
  #sent({ item, response }) {
    const done = this.done.find((other) => other.key === item.key);
    if (done) done.sequence = response.sequence || 0;
    else if (response.sequence) store(this.#sentKey(item.key), { at: Date.now(), sequence: response.sequence });
    if (done?.what === "pass") this.done = this.done.filter((other) => other !== done);
    if (this.#isOurs(item)) this.#take(response, false);
    this.#save();
  }

  #save() {
    this.holdings.save({ current: this.current, ready: this.ready, done: this.done });
  }

  /** @param {string} key */
  #sentKey(key) {
    return `backflip.sent.${this.user}.${key}`;
  }

  /** @param {Lease} lease */
  #draftKey(lease) {
    return `backflip.draft.${this.user}.${lease.question.id}`;
  }
}

function forgetOld() {
  for (const key of [...storedKeys("backflip.draft."), ...storedKeys("backflip.sent.")]) {
    if (Date.now() - (stored(key)?.at || 0) > KEPT_DAYS * 86_400_000) localStorage.removeItem(key);
  }
}
