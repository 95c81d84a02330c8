/** Clips, whatever they are made of: videos, and states of a planar robot that are drawn. One clock drives all of a pair. */

import { el } from "./dom.js";
import { t } from "./i18n.js";

/**
 * @typedef {{element: HTMLElement, seconds: number, fps: number, speed: number | null, at: (time: number, running: number) => void, halt: () => void, close: () => void}} Clip
 * `seconds`: its length on the screen; `speed`: how much of real time it plays at, null if the clip does not say;
 * `at`: shows the moment, while the clock runs at `running` times (0: it stands).
 */

const DRIFT = 0.06; // s that a video may be off the clock before it is set right
const PATIENCE = 20_000; // ms

/** @param {string} url @returns {Promise<Clip>} when its first picture is decoded */
export function loadClip(url) {
  return new URL(url, location.href).pathname.endsWith(".json") ? loadStates(url) : loadVideo(url);
}

/** @param {string} url */
async function loadStates(url) {
  const [{ drawPlanar }, response] = await Promise.all([import("./planar.js"), fetch(url, { credentials: "same-origin" })]);
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const clip = await response.json();
  const canvas = /** @type {HTMLCanvasElement} */ (el("canvas", { class: "clip-picture", width: 640, height: 640, role: "img" }));
  const frames = clip.qpos.length;
  const fps = clip.fps || 30;
  let last = -1;
  const at = (/** @type {number} */ time) => {
    const frame = Math.min(frames - 1, Math.max(0, Math.floor(time * fps + 1e-6)));
    if (frame !== last) drawPlanar(canvas, clip, (last = frame));
  };
  at(0);
  return { element: canvas, seconds: frames / fps, fps, speed: clip.dt ? clip.dt * fps : null, at, halt: () => {}, close: () => {} };
}

/** @param {string} url @returns {Promise<Clip>} */
async function loadVideo(url) {
  const video = /** @type {HTMLVideoElement} */ (el("video", { class: "clip-picture", preload: "auto", playsinline: true, muted: true, src: url }));
  video.muted = true;
  video.disableRemotePlayback = true;
  await new Promise((resolve, reject) => {
    video.addEventListener("canplaythrough", resolve, { once: true });
    video.addEventListener("error", () => reject(new Error(video.error?.message || t("the clip cannot be played"))), { once: true });
    setTimeout(() => (video.readyState > 1 ? resolve(null) : reject(new Error(t("the clip does not arrive")))), PATIENCE);
    video.load();
  });
  const seconds = video.duration;
  const at = (/** @type {number} */ time, /** @type {number} */ running) => {
    const wanted = Math.min(time, seconds);
    const over = time >= seconds;
    if (!running || over) {
      if (!video.paused) video.pause();
      if (Math.abs(video.currentTime - wanted) > 0.001 && !over) video.currentTime = wanted;
      return;
    }
    if (video.playbackRate !== running) video.playbackRate = running;
    if (Math.abs(video.currentTime - wanted) > DRIFT && !video.seeking) video.currentTime = wanted;
    if (video.paused) video.play().catch(() => {});
  };
  return { element: video, seconds, fps: 30, speed: null, at, halt: () => video.pause(), close: () => video.removeAttribute("src") };
}

/** Plays clips in step, from the same instant, over and over; the shorter one holds its last picture. */
export class Clock {
  constructor() {
    /** @type {Clip[]} */
    this.clips = [];
    this.rate = 1;
    this.paused = false;
    this.time = 0;
    this.before = 0;
    this.rest = 0.35; // s between two rounds
    const tick = (/** @type {number} */ now) => {
      this.#tick(now);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** @param {Clip[]} clips shown from their beginning, at once */
  show(clips) {
    for (const old of this.clips) if (!clips.includes(old)) old.halt();
    this.clips = clips;
    this.time = 0;
    this.before = performance.now();
    for (const clip of clips) clip.at(0, 0);
  }

  get seconds() {
    return Math.max(0, ...this.clips.map((clip) => clip.seconds));
  }

  /** @param {number} now */
  #tick(now) {
    const step = Math.max(0, Math.min(0.1, (now - this.before) / 1000));
    this.before = now;
    if (!this.clips.length) return;
    if (!this.paused) this.time += step * this.rate;
    if (this.time >= this.seconds + this.rest * this.rate) this.time = 0;
    for (const clip of this.clips) clip.at(this.time, this.paused ? 0 : this.rate);
  }
}

/** A box in which a clip plays by a clock, with the others of that clock. @param {string} url @param {Clock} clock */
export function player(url, clock) {
  const box = el("div", { class: "clip-box" }, el("span", { class: "muted", text: t("Loading the clip") }));
  loadClip(url).then(
    (clip) => {
      box.replaceChildren(clip.element);
      clock.show([...clock.clips, clip].filter(({ element }) => element.isConnected));
    },
    (error) => box.replaceChildren(el("span", { class: "muted", text: error.message })),
  );
  return box;
}
