/**
 * A ranking in the making: tiers from best to worst, and what is not placed yet. No DOM here.
 * Every change returns whether anything changed.
 */

export class Ranking {
  /** @param {string[]} ids in the shown order @param {string[][]} [tiers] */
  constructor(ids, tiers = []) {
    this.ids = ids;
    this.tiers = tiers.map((tier) => tier.filter((id) => ids.includes(id))).filter((tier) => tier.length);
    /** Whether the next one that is placed ties with the last tier. */
    this.joining = false;
  }

  /** @returns {string[]} not placed yet, in the shown order */
  get missing() {
    return this.ids.filter((id) => this.tierOf(id) < 0);
  }

  get complete() {
    return !this.missing.length;
  }

  /** @param {string} id @returns {number} its tier from 0, or -1 */
  tierOf(id) {
    return this.tiers.findIndex((tier) => tier.includes(id));
  }

  /** @param {string} id @returns {number} its place from 1 (those above it, and one), or 0 */
  placeOf(id) {
    const index = this.tierOf(id);
    return index < 0 ? 0 : 1 + this.tiers.slice(0, index).flat().length;
  }

  /** @param {string} id */
  isTied(id) {
    return (this.tiers[this.tierOf(id)]?.length || 0) > 1;
  }

  /** Puts an answer after the last, or level with it. @param {string} id @param {boolean} [tie] */
  place(id, tie = this.joining) {
    this.joining = false;
    if (this.tierOf(id) >= 0) return false;
    if (tie && this.tiers.length) this.tiers[this.tiers.length - 1].push(id);
    else this.tiers.push([id]);
    return true;
  }

  /** @param {string} id */
  remove(id) {
    this.joining = false;
    const before = this.tiers.length;
    const index = this.tierOf(id);
    if (index < 0) return false;
    this.tiers[index] = this.tiers[index].filter((other) => other !== id);
    this.#clean();
    return before > 0;
  }

  /** Takes back the last that was placed. @returns {string} its id, or "" */
  removeLast() {
    const id = this.tiers.at(-1)?.at(-1) || "";
    if (id) this.remove(id);
    return id;
  }

  /**
   * One step up (-1) or down (+1): out of a tie first, else past the neighbour.
   * @param {string} id @param {-1 | 1} step
   */
  move(id, step) {
    const index = this.tierOf(id);
    if (index < 0) return step < 0 && this.place(id, false);
    if (this.isTied(id)) {
      this.tiers[index] = this.tiers[index].filter((other) => other !== id);
      this.tiers.splice(step < 0 ? index : index + 1, 0, [id]);
      return true;
    }
    const other = index + step;
    if (other < 0 || other >= this.tiers.length) return false;
    [this.tiers[index], this.tiers[other]] = [this.tiers[other], this.tiers[index]];
    return true;
  }

  /** Ties an answer with the tier above it; if it is tied already, parts it again. @param {string} id */
  tie(id) {
    const index = this.tierOf(id);
    if (index < 0) return this.place(id, true);
    if (this.isTied(id)) return this.move(id, 1);
    if (index === 0) return false;
    this.tiers[index - 1].push(...this.tiers.splice(index, 1)[0]);
    return true;
  }

  /** Puts an answer into a tier. @param {string} id @param {number} index */
  dropOnTier(id, index) {
    const tier = this.tiers[index];
    if (!tier || tier.includes(id)) return false;
    this.remove(id);
    tier.push(id);
    this.#clean();
    return true;
  }

  /** Puts an answer into a tier of its own before tier `index`. @param {string} id @param {number} index */
  dropBefore(id, index) {
    const next = this.tiers[index];
    const old = this.tierOf(id);
    if (old >= 0 && this.tiers[old].length === 1 && (index === old || index === old + 1)) return false;
    if (old >= 0) this.tiers[old] = this.tiers[old].filter((other) => other !== id);
    const place = next ? this.tiers.indexOf(next) : this.tiers.length;
    this.tiers.splice(place, 0, [id]);
    this.#clean();
    return true;
  }

  clear() {
    const had = this.tiers.length > 0;
    this.tiers = [];
    this.joining = false;
    return had;
  }

  #clean() {
    this.tiers = this.tiers.filter((tier) => tier.length);
  }
}
