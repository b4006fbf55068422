/** Several tasks side by side: in what their configs differ, and each metric on common axes. */

import { Chart } from "./chart.js";
import { flat, shown } from "./columns.js";
import { Curve } from "./curve.js";
import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { empty, failed, label } from "./parts.js";

const POINTS = 500;

/** @typedef {import("./types").Task} Task */

/**
 * @param {import("./farm.js").Farm} farm @param {Task[]} tasks @param {AbortSignal} signal ends it
 * @param {() => void} onclose
 */
export function compareView(farm, tasks, signal, onclose) {
  const look = { log: false, smooth: 0 };
  /** @type {Map<string, {chart: Chart, curves: Map<string, Curve>}>} by metric, then task */
  const metrics = new Map();
  const grid = h("div", { class: "af-charts" }, h("p", { class: "af-quiet" }, "Loading…"));

  /** @param {string} name */
  function metric(name) {
    let found = metrics.get(name);
    if (!found) {
      found = { chart: new Chart({ ...look, signal, title: name }), curves: new Map() };
      if (!metrics.size) fill(grid);
      metrics.set(name, found);
      grid.append(found.chart.element);
    }
    return found;
  }

  function draw() {
    for (const { chart, curves } of metrics.values())
      chart.show(
        tasks.flatMap((task, colour) => {
          const curve = curves.get(task.id);
          return curve ? [{ label: `${label(task)} ${format.short(task.id)}`, colour, curve }] : [];
        }),
      );
  }

  async function load() {
    try {
      const histories = await Promise.all(tasks.map((task) => farm.get(`/tasks/${task.id}/metrics`, { points: POINTS })));
      if (signal.aborted) return;
      for (const [index, history] of histories.entries())
        for (const series of history.series) metric(series.name).curves.set(tasks[index].id, Curve.of(series));
      if (metrics.size) draw();
      else fill(grid, empty("None of them has metrics yet."));
    } catch (error) {
      fill(grid, failed(/** @type {Error} */ (error), load));
    }
  }

  farm.feed.addEventListener(
    "points",
    (event) => {
      const told = /** @type {CustomEvent} */ (event).detail;
      if (!tasks.some((task) => task.id === told.task_id)) return;
      if (told.gap) return load();
      for (const [step, time, values] of told.points)
        for (const [name, value] of Object.entries(values)) {
          const { curves } = metric(name);
          if (!curves.has(told.task_id)) curves.set(told.task_id, new Curve(name));
          curves.get(told.task_id)?.add(step, time, value);
        }
      draw();
    },
    { signal },
  );
  for (const task of tasks) if (!format.FINAL.has(task.status)) farm.feed.follow(`task:${task.id}`, signal);
  load();

  /** @param {Partial<typeof look>} change */
  const set = (change) => {
    Object.assign(look, change);
    for (const { chart } of metrics.values()) chart.set(change);
  };
  return h(
    "section",
    { class: "af-compared", "aria-label": "Compared" },
    h(
      "div",
      { class: "af-row af-controls" },
      h("h2", { tabindex: -1 }, `${tasks.length} compared`),
      h("span", { class: "af-spring" }),
      h("label", {}, h("input", { type: "checkbox", onchange: (/** @type {any} */ event) => set({ log: event.target.checked }) }), " log axis"),
      h("label", {}, "smooth ", h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0, oninput: (/** @type {any} */ event) => set({ smooth: Number(event.target.value) }) })),
      h("button", { type: "button", class: "af-button", onclick: onclose }, "Close"),
    ),
    differences(tasks),
    grid,
  );
}

/** The keys of config in which tasks differ. @param {Task[]} tasks */
function differences(tasks) {
  const configs = tasks.map((task) => flat(task.config));
  const keys = [...new Set(configs.flatMap((config) => Object.keys(config)))];
  const differing = keys.filter((key) => new Set(configs.map((config) => JSON.stringify(config[key]))).size > 1);
  if (!differing.length) return h("p", { class: "af-quiet" }, "Their configs are the same.");
  return h(
    "div",
    { class: "af-wide" },
    h(
      "table",
      { class: "af-table" },
      h("caption", { class: "af-unseen" }, "Where their configs differ"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "task"), differing.map((key) => h("th", { scope: "col" }, key)))),
      h(
        "tbody",
        {},
        tasks.map((task, index) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, h("span", { class: `af-key af-key-${(index % 7) + 1}`, "aria-hidden": "true" }), `${label(task)} `, h("code", { class: "af-quiet" }, format.short(task.id))),
            differing.map((key) => h("td", { class: "af-number" }, shown(configs[index][key]))),
          ),
        ),
      ),
    ),
  );
}
