/** Several tasks side by side: in what their configs differ, and each metric on common axes. */

import { Chart } from "./chart.js";
import { flat, shown } from "./columns.js";
import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import { empty, failed, label } from "./parts.js";
import { Track } from "./track.js";

const POINTS = 500;

/** @typedef {import("./types").Task} Task */

/**
 * @param {import("./farm.js").Farm} farm @param {Task[]} tasks @param {AbortSignal} signal ends it
 * @param {() => void} onclose
 */
export function compareView(farm, tasks, signal, onclose) {
  const look = { log: false, smooth: 0 };
  const tracks = tasks.map((task) => new Track(farm, task.id, `${label(task)} ${format.short(task.id)}`, POINTS));
  /** @type {Map<string, Chart>} by metric */
  const charts = new Map();
  const grid = h("div", { class: "af-charts" }, h("p", { class: "af-quiet" }, "Loading…"));

  const draw = coalesced(() => {
    const names = [...new Set(tracks.flatMap((track) => [...track.whole.keys()]))];
    if (!names.length) return fill(grid, empty("None of them has metrics yet."));
    if (!charts.size) fill(grid);
    for (const name of names) {
      let chart = charts.get(name);
      if (!chart) {
        chart = new Chart({ ...look, signal, title: name });
        charts.set(name, chart);
        grid.append(chart.element);
      }
      chart.show(
        tracks.flatMap((track, colour) => {
          const curve = track.curve(name);
          return curve ? [{ label: track.name, colour, curve }] : [];
        }),
      );
    }
  });

  async function load() {
    try {
      await Promise.all(tracks.map((track) => track.load()));
      if (!signal.aborted) draw();
    } catch (error) {
      for (const chart of charts.values()) chart.remove();
      charts.clear();
      fill(grid, failed(/** @type {Error} */ (error), load));
    }
  }

  farm.feed.addEventListener(
    "points",
    (event) => {
      const told = /** @type {CustomEvent} */ (event).detail;
      const track = tracks.find((one) => one.id === told.task_id);
      if (!track) return;
      if (told.gap) return void load();
      track.add(told.points);
      draw();
    },
    { signal },
  );
  farm.feed.addEventListener(
    "joined",
    // Before it was followed, or without the farm, there may be points that nobody told of.
    (event) => tracks.some((track) => /** @type {CustomEvent} */ (event).detail.has(`task:${track.id}`)) && load(),
    { signal },
  );
  for (const task of tasks) if (!format.FINAL.has(task.status)) farm.feed.follow(`task:${task.id}`, signal);
  load();

  /** @param {Partial<typeof look>} change */
  const set = (change) => {
    Object.assign(look, change);
    for (const chart of charts.values()) chart.set(change);
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
