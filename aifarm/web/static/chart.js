/** Curves on one pair of axes: a range chosen by dragging, the whole again by a double click. */

import { smoothed } from "./curve.js";
import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import uPlot from "./vendor/uplot.js";

const HEIGHT = 220;

/** Told apart also by people who see few colours; the first is the theme's own. */
export const COLOURS = ["--af-c1", "--af-c2", "--af-c3", "--af-c4", "--af-c5", "--af-c6", "--af-c7"];

/**
 * What lies along the axis: steps, moments, or seconds since the beginning.
 * @typedef {"step" | "time" | "elapsed"} X
 *
 * @typedef {[number, number] | null} Range null is the whole
 *
 * @typedef {object} Line
 * @property {string} label
 * @property {number} colour which of COLOURS
 * @property {import("./curve.js").Curve} curve
 */

export class Chart {
  /**
   * @param {object} options
   * @param {AbortSignal} options.signal ends it
   * @param {X} [options.x]
   * @param {boolean} [options.log]
   * @param {number} [options.smooth] weight of the past, 0 to below 1
   * @param {number} [options.height] pixels
   * @param {string} [options.title]
   * @param {[number, number]} [options.y] what the axis of values covers; by default what they do
   * @param {string} [options.sync] charts of the same word show the same place under the pointer
   * @param {(range: Range) => void} [options.onzoom] in place of zooming this chart alone
   */
  constructor({ signal, x = "step", log = false, smooth = 0, height = HEIGHT, title = "", y, sync, onzoom = (range) => this.zoom(range) }) {
    this.x = x;
    this.log = log;
    this.smooth = smooth;
    this.height = height;
    this.title = title;
    this.y = y;
    this.sync = sync;
    this.onzoom = onzoom;
    /** @type {Range} */
    this.range = null;
    /** What is the whole where its own curves do not say. @type {Range} */
    this.frame = null;
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
      this.remove();
    });
  }

  /** Takes it off the page. */
  remove() {
    this._plot?.destroy();
    this._plot = null;
    this.element.remove();
  }

  /** @param {Line[]} lines */
  show(lines) {
    this.lines = lines;
    this.redraw();
  }

  /** @param {Range} range of what lies along the axis */
  zoom(range) {
    this.range = range;
    this._plot?.setData(this._plot.data); // the scales follow
  }

  /** @param {{x?: X, log?: boolean, smooth?: number}} options */
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
    const lines = this.lines.filter(({ curve }) => curve.length && (!this.log || curve.value.some((y) => y > 0)));
    this.element.classList.toggle("af-empty", !lines.length);
    if (!lines.length) {
      this._plot?.destroy();
      this._plot = null;
      this._shape = "";
      const words = this.lines.some(({ curve }) => curve.length) ? "No value is above zero: none has a logarithm." : "No points yet.";
      fill(this.element, this.title && h("p", { class: "u-title" }, this.title), h("p", { class: "af-quiet" }, words));
      return;
    }
    const shape = JSON.stringify(lines.map((line) => [line.label, line.colour]));
    const data = this._data(lines);
    if (shape === this._shape && this._plot) {
      this._plot.setData(data);
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
      if (this.smooth) columns.push(curve.value);
      else if (lines.length === 1) columns.push(curve.min, curve.max);
      return [curve[this.x], ...columns.map((column) => drawable(column, this.log))];
    });
    return tables.length === 1 ? tables[0] : uPlot.join(tables);
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
    const series = lines.flatMap((line) => {
      const stroke = colour(COLOURS[line.colour % COLOURS.length]);
      const points = { show: (/** @type {any} */ plot, /** @type {number} */ index) => single(plot.data[index]) };
      const main = { label: line.label, stroke, width: 1.5, points, value };
      // What was smoothed stays visible behind.
      const faint = { ...main, stroke: `${stroke}44`, width: 1, class: "af-faint" };
      return this.smooth ? [main, faint] : [main];
    });
    const edge = { stroke: "transparent", points: { show: false }, class: "af-faint" };
    const ticks = (/** @type {any} */ _, /** @type {any[]} */ found) => found.map((tick) => (tick === null ? "" : format.tick(tick)));
    const along = {
      step: { axis, legend: { label: "step", value } },
      time: { axis: { ...axis, values: clock }, legend: { label: "time", value: (/** @type {any} */ plot, /** @type {number | null} */ at) => moment(at ?? last(plot.data[0])) } },
      elapsed: { axis: { ...axis, values: spans, incrs: SPANS }, legend: { label: "after", value: (/** @type {any} */ plot, /** @type {number | null} */ at) => format.duration(at ?? last(plot.data[0])) } },
    }[this.x];
    return {
      width: this.element.clientWidth,
      height: this.height,
      title: this.title,
      cursor: {
        drag: { x: true, y: false, setScale: false },
        points: { size: 6 },
        bind: { dblclick: () => () => this.onzoom(null) },
        ...(this.sync && { sync: { key: this.sync, filters: { pub: shares } } }),
      },
      hooks: { setSelect: [(/** @type {any} */ plot) => this._chosen(plot)] },
      legend: { live: true },
      scales: {
        x: { time: this.x === "time", range: this._range.bind(this) },
        y: { distr: this.log ? 3 : 1, ...(this.y && { range: this.y }) },
      },
      axes: [{ ...along.axis, size: 34 }, { ...axis, size: 58, values: ticks }],
      series: [
        along.legend,
        ...series,
        ...(band ? [{ ...edge, label: "lowest" }, { ...edge, label: "highest" }] : []),
      ],
      bands: band ? [{ series: [3, 2], fill: `${colour(COLOURS[lines[0].colour])}22` }] : [],
    };
  }

  /** @param {any} _ @param {number} low @param {number} high @returns {[number, number]} */
  _range(_, low, high) {
    const [first, last] = this.range ?? this.frame ?? [low, high];
    return first === last ? [first - 1, last + 1] : [first, last];
  }

  /** A range was dragged over. @param {any} plot */
  _chosen(plot) {
    const { left, width } = plot.select;
    if (width < 3) return; // a click
    const [low, high] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.onzoom([low, high]);
  }

  _resize() {
    const width = this.element.clientWidth;
    if (!width) return; // hidden, as a tab of Lab that is not looked at: what comes meanwhile is drawn later
    if (this._plot && this._plot.width !== width) this._plot.setSize({ width, height: this.height });
    this.redraw();
  }
}

/**
 * A column as uPlot draws it: null where it has no number, or none that a logarithm is of.
 * @param {Float64Array} column @param {boolean} log
 * @returns {ArrayLike<number | null>}
 */
function drawable(column, log) {
  const shown = log ? (/** @type {number} */ y) => y > 0 : (/** @type {number} */ y) => !Number.isNaN(y);
  return column.every(shown) ? column : Array.from(column, (y) => (shown(y) ? y : null));
}

/** Whether it has one number, of which there is no line. @param {ArrayLike<number | null>} values */
function single(values) {
  let found = 0;
  for (let i = 0; i < values.length && found < 2; i += 1) if (Number.isFinite(values[i])) found += 1;
  return found === 1;
}

/** What other charts hear of: where the pointer is, not what is dragged. @param {string} kind */
const shares = (kind) => kind === "mousemove" || kind === "mouseleave";

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

const SPANS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000, 864000];

/** Seconds since a beginning, along an axis. */
const spans = (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map(span);

/** @param {number} seconds */
function span(seconds) {
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
