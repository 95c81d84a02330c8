/** How many answers this person gave today in this browser, and how long one takes. */

import { store, stored, storedKeys } from "./holdings.js";

const KEPT = 200;

/** @param {string} user */
function keyOf(user) {
  const now = new Date();
  return `backflip.pace.${user}.${now.getFullYear()}-${now.getMonth() + 1}-${now.getDate()}`;
}

/** @param {string} user @param {number} seconds of one answer; below 0 takes one back */
export function addPace(user, seconds) {
  const key = keyOf(user);
  for (const old of storedKeys(`backflip.pace.${user}.`)) if (old !== key) localStorage.removeItem(old);
  const pace = stored(key) || { answers: 0, seconds: [] };
  if (seconds < 0) {
    pace.answers = Math.max(0, pace.answers - 1);
    pace.seconds.pop();
  } else {
    pace.answers += 1;
    pace.seconds = [...pace.seconds, seconds].slice(-KEPT);
  }
  store(key, pace);
}

/** @param {string} user @returns {{answers: number, seconds: number}} today's answers, and the median time of one */
export function pace(user) {
  const { answers, seconds } = stored(keyOf(user)) || { answers: 0, seconds: [] };
  const sorted = [...seconds].sort((a, b) => a - b);
  return { answers, seconds: sorted[Math.floor(sorted.length / 2)] || 0 };
}
