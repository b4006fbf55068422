/** What a machine used over hours and days. */

import { Chart } from "./chart.js";
import { Curve } from "./curve.js";
import { fill, h } from "./dom.js";
import { empty, failed } from "./parts.js";

const HOUR = 3600;
const AGAIN = 30_000; // milliseconds between two looks: an agent is measured as often
/** @type {[number, number]} */
const WHOLE = [0, 100];
/** @type {[string, number][]} */
const SPANS = [["hour", HOUR], ["6 hours", 6 * HOUR], ["day", 24 * HOUR], ["week", 168 * HOUR], ["30 days", 720 * HOUR]];

/** @param {import("./farm.js").Farm} farm @param {string} id of the client @param {AbortSignal} signal */
export function historyView(farm, id, signal) {
  const place = h("div", {}, h("p", { class: "af-quiet" }, "Loading…"));
  /** @type {Map<string, Chart>} by their titles */
  const charts = new Map();
  const grid = h("div", { class: "af-charts" });
  let span = 24 * HOUR;

  async function read() {
    const asked = span;
    try {
      const since = new Date(Date.now() - asked * 1000).toISOString();
      const history = await farm.get(`/clients/${encodeURIComponent(id)}/history`, { since, points: 500 });
      if (!signal.aborted && asked === span) draw(history);
    } catch (error) {
      fill(place, failed(/** @type {Error} */ (error), read));
    }
  }

  /** @param {any} history */
  function draw(history) {
    if (!history.time.length) {
      fill(place, empty("Nothing was measured in this time.", h("p", { class: "af-quiet" }, "An agent measures while it is connected.")));
      return;
    }
    fill(place, grid);
    const times = history.time.map((/** @type {string} */ at) => Date.parse(at) / 1000);
    /** @param {string} title @param {[string, (number | null)[]][]} columns @param {[number, number]} [y] */
    const show = (title, columns, y) => {
      const chart = charts.get(title) ?? new Chart({ signal, x: "time", title, height: 170, y });
      if (!charts.has(title)) {
        charts.set(title, chart);
        grid.append(chart.element);
      }
      chart.show(columns.map(([name, values], colour) => ({ label: name, colour, curve: curveOf(name, times, values, history.seconds) })));
    };
    show("CPU and RAM, %", [["CPU", history.cpu], ["RAM", history.ram]], WHOLE);
    for (const gpu of history.gpus) {
      show(`GPU ${gpu.id} use, %`, [["use", gpu.utilization]], WHOLE);
      show(`GPU ${gpu.id} memory, GiB`, [["memory", gpu.memory_used.map((/** @type {number | null} */ used) => (used === null ? null : used / 1024))]]);
      show(`GPU ${gpu.id} temperature, °C`, [["temperature", gpu.temperature]]);
    }
  }

  const choice = h(
    "select",
    {
      class: "af-input",
      onchange: (/** @type {any} */ event) => {
        span = Number(event.target.value);
        read();
      },
    },
    SPANS.map(([words, seconds]) => h("option", { value: seconds, selected: seconds === span }, words)),
  );
  const timer = setInterval(read, AGAIN);
  signal.addEventListener("abort", () => clearInterval(timer));
  read();
  return [h("div", { class: "af-row af-controls" }, h("label", {}, "the last ", choice)), place];
}

/**
 * A column as a curve; where entries are missing the machine was away, and the curve has a gap.
 * @param {string} name @param {number[]} times @param {(number | null)[]} values
 * @param {number} seconds between two entries
 */
function curveOf(name, times, values, seconds) {
  const period = Math.max(seconds, 30);
  /** @type {[number, number | null][]} */
  const points = times.flatMap((time, index) => {
    const before = times[index - 1];
    const gap = before !== undefined && time - before > 2.5 * period;
    return /** @type {[number, number | null][]} */ ([...(gap ? [[before + seconds, null]] : []), [time, values[index]]]);
  });
  // One entry alone would have an axis of no length.
  if (times.length === 1) points.push([times[0] + period, null]);
  const at = points.map(([time]) => time);
  return Curve.of({ name, step: at, time: at, value: points.map(([, value]) => value) });
}
