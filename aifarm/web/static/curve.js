/**
 * A metric's history as it grows: what the farm stored, then each new point behind it. Its columns
 * are typed arrays, as charts draw them; what is no number is NaN.
 */

/** Points kept beyond what was asked for, before each two become one. */
const MOST = 20_000;

const COLUMNS = /** @type {const} */ (["step", "time", "value", "min", "max"]);

export class Curve {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.length = 0;
    /** The moment from which `elapsed` counts; its own beginning where it is null. @type {number | null} */
    this.origin = null;
    /** @type {Float64Array[]} the columns, with room behind them */
    this._held = COLUMNS.map(() => new Float64Array(256));
  }

  /**
   * @param {{name: string, step: ArrayLike<number>, time: ArrayLike<number>, value: (number | null)[],
   *   min?: (number | null)[], max?: (number | null)[]}} series as the farm answers it
   */
  static of(series) {
    const curve = new Curve(series.name);
    const { step, time, value, min = value, max = value } = series;
    curve.length = step.length;
    curve._held = [step, time, value, min, max].map((column) =>
      Float64Array.from(/** @type {ArrayLike<number | null>} */ (column), (one) => one ?? NaN),
    );
    return curve;
  }

  get step() {
    return this._held[0].subarray(0, this.length);
  }

  /** Seconds since the epoch. */
  get time() {
    return this._held[1].subarray(0, this.length);
  }

  get value() {
    return this._held[2].subarray(0, this.length);
  }

  get min() {
    return this._held[3].subarray(0, this.length);
  }

  get max() {
    return this._held[4].subarray(0, this.length);
  }

  /** Seconds since its origin. */
  get elapsed() {
    const origin = this.origin ?? this._held[1][0];
    return this.time.map((at) => at - origin);
  }

  /** @param {number} step @param {number} time @param {number | null} value */
  add(step, time, value) {
    const last = this.length ? this._held[0][this.length - 1] : -Infinity;
    if (step === last) return;
    if (step < last) this._rewind(step); // a new attempt has begun at an earlier step
    if (this.length === MOST) this._thin();
    if (this.length === this._held[0].length) this._grow();
    const number = value ?? NaN;
    for (const [at, one] of [step, time, number, number, number].entries()) this._held[at][this.length] = one;
    this.length += 1;
  }

  /**
   * The steps from the last one at or before `low` to the first at or after `high`.
   * @param {"step" | "time" | "elapsed"} x what `low` and `high` are of
   * @param {number} low @param {number} high
   * @returns {[number, number]}
   */
  steps(x, low, high) {
    const along = this[x];
    const { step } = this;
    let first = 0;
    while (first + 1 < this.length && along[first + 1] <= low) first += 1;
    let last = this.length - 1;
    while (last > first && along[last - 1] >= high) last -= 1;
    return [step[first], step[last]];
  }

  /** @param {number} step */
  _rewind(step) {
    while (this.length && this._held[0][this.length - 1] >= step) this.length -= 1;
  }

  _grow() {
    this._held = this._held.map((column) => {
      const larger = new Float64Array(2 * Math.max(128, column.length));
      larger.set(column);
      return larger;
    });
  }

  /** Each two points become one that knows the lowest and highest of both. */
  _thin() {
    const [step, time, value, min, max] = this._held;
    this.length = Math.floor(this.length / 2);
    for (let i = 0; i < this.length; i += 1) {
      const [a, b] = [2 * i, 2 * i + 1];
      step[i] = step[b];
      time[i] = time[b];
      value[i] = value[b];
      min[i] = chosen(Math.min, min[a], min[b]);
      max[i] = chosen(Math.max, max[a], max[b]);
    }
  }
}

/** Of two numbers one, or the only one. @param {(a: number, b: number) => number} pick @param {number} a @param {number} b */
function chosen(pick, a, b) {
  return Number.isNaN(a) ? b : Number.isNaN(b) ? a : pick(a, b);
}

/**
 * The exponential moving average of a column, corrected at its beginning; `weight` 0 to below 1 is
 * that of the past.
 * @param {Float64Array} values @param {number} weight
 */
export function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0;
  let share = 0;
  return values.map((value) => {
    if (Number.isNaN(value)) return NaN;
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}
