/** The curves of a task, as they are asked for and as the farm tells of them. */

import { Curve } from "./curve.js";

/** Points of each curve that are asked for: about as many as a chart has pixels. */
const POINTS = 1000;

/** @typedef {[number, number, Record<string, number | null>][]} Points step, seconds since the epoch, metrics */

/** The curves of one task: whole, and finer in the range that is looked at. */
export class Track {
  /**
   * @param {import("./farm.js").Farm} farm @param {string} id of the task @param {string} name
   * @param {number} [points] of each curve that are asked for
   */
  constructor(farm, id, name, points = POINTS) {
    this.farm = farm;
    this.id = id;
    this.name = name;
    this.points = points;
    /** @type {Map<string, Curve>} */
    this.whole = new Map();
    /** @type {Map<string, Curve>} */
    this.detail = new Map();
    /** The moment of its first point. @type {number | null} */
    this.origin = null;
    /** @type {[number, number] | null} the steps of `detail` */
    this.steps = null;
    this._asked = 0;
    /** What was heard since each load that is under way began. @type {Set<Points>} */
    this._heard = new Set();
  }

  async load() {
    /** @type {Points} */
    const heard = [];
    this._heard.add(heard);
    let history;
    try {
      history = await this.farm.get(`/tasks/${this.id}/metrics`, { points: this.points });
    } finally {
      this._heard.delete(heard);
    }
    this.whole = new Map(history.series.map((/** @type {any} */ series) => [series.name, Curve.of(series)]));
    this._begin();
    this.add(heard); // the answer may be older
  }

  /** The curve with the most points: the one to count by. @returns {Curve | undefined} */
  get longest() {
    return [...this.whole.values()].reduce((best, one) => (one.length > (best?.length ?? -1) ? one : best), /** @type {Curve | undefined} */ (undefined));
  }

  /** Reads a range as finely as the whole; null is the whole again. @param {import("./chart.js").Range} range @param {import("./chart.js").X} x */
  async zoom(range, x) {
    const asked = ++this._asked;
    const along = this.longest;
    if (!range || !along) {
      this.steps = null;
      return;
    }
    const [first, last] = along.steps(x, ...range);
    const part = { points: this.points, first_step: Math.max(0, Math.floor(first)), last_step: Math.ceil(last) };
    const history = await this.farm.get(`/tasks/${this.id}/metrics`, part);
    if (asked !== this._asked) return;
    this.steps = [first, last];
    this.detail = new Map(history.series.map((/** @type {any} */ series) => [series.name, Curve.of(series)]));
    this._begin();
  }

  /** @param {Points} points */
  add(points) {
    for (const heard of this._heard) heard.push(...points);
    for (const [step, time, values] of points)
      for (const [name, value] of Object.entries(values)) {
        const curve = this.whole.get(name) ?? new Curve(name);
        this.whole.set(name, curve);
        curve.origin = this.origin ??= time;
        curve.add(step, time, value);
        if (this.steps && step <= this.steps[1]) this.detail.get(name)?.add(step, time, value);
      }
  }

  /** What is drawn of a metric. @param {string} name */
  curve(name) {
    return (this.steps && this.detail.get(name)) ?? this.whole.get(name);
  }

  _begin() {
    this.origin = this.longest?.time[0] ?? null;
    for (const curve of [...this.whole.values(), ...this.detail.values()]) curve.origin = this.origin;
  }
}
