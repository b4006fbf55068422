/** Curves on one pair of axes: zoomed by dragging, whole again by a double click. */

import { smoothed } from "./curve.js";
import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import uPlot from "./vendor/uplot.js";

const HEIGHT = 220;

/** Told apart also by people who see few colours; the first is the theme's own. */
export const COLOURS = ["--af-c1", "--af-c2", "--af-c3", "--af-c4", "--af-c5", "--af-c6", "--af-c7"];

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {number} colour which of COLOURS
 * @property {import("./curve.js").Curve} curve
 * @property {boolean} [gaps] no line where a value is unknown
 */

export class Chart {
  /**
   * @param {object} options
   * @param {AbortSignal} options.signal ends it
   * @param {"step" | "time"} [options.x]
   * @param {boolean} [options.log]
   * @param {number} [options.smooth] weight of the past, 0 to below 1
   * @param {number} [options.height] pixels
   * @param {string} [options.title]
   * @param {[number, number]} [options.y] what the axis covers; by default what the values do
   */
  constructor({ signal, x = "step", log = false, smooth = 0, height = HEIGHT, title = "", y }) {
    this.x = x;
    this.log = log;
    this.smooth = smooth;
    this.height = height;
    this.title = title;
    this.y = y;
    /** @type {Line[]} */
    this.lines = [];
    this.element = h("div", { class: "af-chart", role: "img", "aria-label": title || "curves" });
    this._plot = null;
    this._shape = "";
    this.redraw = coalesced(() => this._draw());
    const resized = new ResizeObserver(() => this._resize());
    resized.observe(this.element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this._afresh(), { signal });
    // Lab changes its theme by an attribute of the body.
    const themed = new MutationObserver(() => this._afresh());
    themed.observe(document.body, { attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
    signal.addEventListener("abort", () => {
      resized.disconnect();
      themed.disconnect();
      this._plot?.destroy();
      this._plot = null;
    });
  }

  /** @param {Line[]} lines */
  show(lines) {
    this.lines = lines;
    this.redraw();
  }

  /** @param {{x?: "step" | "time", log?: boolean, smooth?: number}} options */
  set(options) {
    Object.assign(this, options);
    this._afresh();
  }

  _afresh() {
    this._shape = "";
    this.redraw();
  }

  _draw() {
    if (!this.element.isConnected || !this.element.clientWidth) return;
    const lines = this.lines.filter((line) => line.curve.step.length);
    this.element.classList.toggle("af-empty", !lines.length);
    if (!lines.length) {
      this._plot?.destroy();
      this._plot = null;
      this._shape = "";
      fill(this.element, h("p", { class: "af-quiet" }, "No points yet."));
      return;
    }
    const shape = JSON.stringify(lines.map((line) => [line.label, line.colour]));
    const data = this._data(lines);
    if (shape === this._shape && this._plot) {
      // What somebody has zoomed into stays where it is.
      this._plot.setData(data, !this._zoomed());
      if (this._zoomed()) this._plot.redraw();
      return;
    }
    this._shape = shape;
    this._plot?.destroy();
    fill(this.element);
    this._plot = new uPlot(this._options(lines), data, this.element);
  }

  /** @param {Line[]} lines */
  _data(lines) {
    const tables = lines.map(({ curve }) => {
      const columns = [smoothed(curve.value, this.smooth)];
      if (lines.length === 1 && !this.smooth) columns.push(curve.min, curve.max);
      // A logarithm has no place for what is not above zero.
      const drawn = this.log ? columns.map((ys) => ys.map((y) => (y && y > 0 ? y : null))) : columns;
      return [curve[this.x], ...drawn];
    });
    return tables.length === 1 ? tables[0] : uPlot.join(tables);
  }

  _zoomed() {
    const scale = this._plot?.scales.x;
    const xs = this._plot?.data[0];
    return Boolean(scale && xs?.length && this._wide && (scale.min > this._wide[0] || scale.max < this._wide[1]));
  }

  /** @param {Line[]} lines */
  _options(lines) {
    const style = getComputedStyle(this.element);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--af-soft"),
      grid: { stroke: colour("--af-line"), width: 1 },
      ticks: { stroke: colour("--af-line"), width: 1, size: 4 },
      font: `11px ${style.fontFamily}`,
    };
    const band = lines.length === 1 && !this.smooth;
    // Where nobody points, the legend has the latest.
    const value = (/** @type {any} */ plot, /** @type {number | null} */ shown, /** @type {number} */ series) =>
      format.number(shown ?? last(plot.data[series]));
    const series = lines.map((line) => ({
      label: line.label,
      stroke: colour(COLOURS[line.colour % COLOURS.length]),
      width: 1.5,
      points: { show: line.curve.step.length === 1 },
      spanGaps: !line.gaps,
      value,
    }));
    const edge = { stroke: "transparent", points: { show: false }, spanGaps: true, value };
    return {
      width: this.element.clientWidth,
      height: this.height,
      title: this.title,
      cursor: { drag: { x: true, y: false, setScale: true }, points: { size: 6 } },
      legend: { live: true },
      scales: {
        x: { time: this.x === "time", range: this._range.bind(this) },
        y: { distr: this.log ? 3 : 1, ...(this.y && { range: this.y }) },
      },
      axes: [this.x === "time" ? { ...axis, values: clock } : axis, { ...axis, size: 58, values: (/** @type {any} */ _, /** @type {any[]} */ ticks) => ticks.map((tick) => (tick === null ? "" : format.tick(tick))) }],
      series: [
        this.x === "time"
          ? { label: "time", value: (/** @type {any} */ plot, /** @type {number | null} */ at) => moment(at ?? last(plot.data[0])) }
          : { label: "step", value },
        ...series,
        ...(band ? [{ ...edge, label: "lowest" }, { ...edge, label: "highest" }] : []),
      ],
      bands: band ? [{ series: [3, 2], fill: `${colour(COLOURS[lines[0].colour])}22` }] : [],
    };
  }

  /** @param {any} plot @param {number} low @param {number} high @returns {[number, number]} */
  _range(plot, low, high) {
    const xs = plot.data[0];
    if (xs?.length) this._wide = [xs[0], xs[xs.length - 1]];
    return low === high ? [low - 1, high + 1] : [low, high];
  }

  _resize() {
    if (!this._plot) return this.redraw();
    if (this.element.clientWidth && this.element.clientWidth !== this._plot.width)
      this._plot.setSize({ width: this.element.clientWidth, height: this.height });
  }
}

/** The last number of a column. @param {(number | null)[]} values @returns {number | null} */
function last(values) {
  for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] !== null && values[i] !== undefined) return values[i];
  return null;
}

/** @param {number | null} seconds since the epoch */
function moment(seconds) {
  return seconds === null ? format.UNKNOWN : new Date(seconds * 1000).toLocaleString();
}

/** Times along an axis: with seconds where they are close, with the day where it changes. */
const clock = (/** @type {any} */ _, /** @type {number[]} */ ticks) => {
  const fine = ticks.length > 1 && ticks[1] - ticks[0] < 60;
  let day = "";
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: fine ? "2-digit" : undefined, hour12: false });
    const before = day;
    day = at.toLocaleDateString([], { day: "numeric", month: "short" });
    return day === before ? time : `${time}\n${day}`;
  });
};
