/**
 * A metric's history as it grows: what the farm stored, then each new point behind it.
 */

/** Points kept beyond what was asked for, before the older half is thinned. */
const MOST = 20_000;

export class Curve {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    /** @type {number[]} */
    this.step = [];
    /** @type {number[]} seconds since the epoch */
    this.time = [];
    /** @type {(number | null)[]} */
    this.value = [];
    /** @type {(number | null)[]} */
    this.min = [];
    /** @type {(number | null)[]} */
    this.max = [];
  }

  /** @param {any} series as the farm answers it */
  static of(series) {
    const curve = new Curve(series.name);
    for (const column of /** @type {const} */ (["step", "time", "value", "min", "max"]))
      curve[column] = series[column];
    return curve;
  }

  /** @param {number} step @param {number} time @param {number | null} value */
  add(step, time, value) {
    const last = this.step[this.step.length - 1];
    if (last !== undefined && step <= last) {
      if (step === last) return;
      this._rewind(step); // a new attempt has begun at an earlier step
    }
    this.step.push(step);
    this.time.push(time);
    this.value.push(value);
    this.min.push(value);
    this.max.push(value);
    if (this.step.length > MOST) this._thin();
  }

  /** @param {number} step */
  _rewind(step) {
    let keep = this.step.length;
    while (keep && this.step[keep - 1] >= step) keep -= 1;
    for (const column of [this.step, this.time, this.value, this.min, this.max]) column.length = keep;
  }

  /** Each two points become one that knows the lowest and highest of both. */
  _thin() {
    const pairs = Math.floor(this.step.length / 2);
    for (let i = 0; i < pairs; i += 1) {
      const [a, b] = [2 * i, 2 * i + 1];
      this.step[i] = this.step[b];
      this.time[i] = this.time[b];
      this.value[i] = this.value[b];
      this.min[i] = lowest(this.min[a], this.min[b]);
      this.max[i] = highest(this.max[a], this.max[b]);
    }
    for (const column of [this.step, this.time, this.value, this.min, this.max]) column.length = pairs;
  }
}

/** @param {number | null} a @param {number | null} b */
function lowest(a, b) {
  return a === null ? b : b === null ? a : Math.min(a, b);
}

/** @param {number | null} a @param {number | null} b */
function highest(a, b) {
  return a === null ? b : b === null ? a : Math.max(a, b);
}

/**
 * The exponential moving average of a column, corrected at its beginning; `weight` 0 to below 1 is
 * that of the past.
 * @param {(number | null)[]} values @param {number} weight
 * @returns {(number | null)[]}
 */
export function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0;
  let share = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}
