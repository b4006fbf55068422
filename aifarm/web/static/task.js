/** One task: its state, curves, log, checkpoints and story, and what can be done with it. */

import { Chart, COLOURS } from "./chart.js";
import { Curve } from "./curve.js";
import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { logView } from "./logs.js";
import { action, badge, bar, empty, facts, failed, label, timing } from "./parts.js";

const POINTS = 1000;

/**
 * @param {import("./farm.js").Farm} farm @param {string} id @param {AbortSignal} signal
 * @param {{onretry?: (id: string) => void}} [options]
 */
export function taskView(farm, id, signal, { onretry = () => {} } = {}) {
  const element = h("article", { class: "aifarm af-task" }, h("p", { class: "af-quiet" }, "Loading…"));
  /** @type {import("./types").Task | null} */
  let task = null;
  const head = h("header", {});
  const body = h("div", {});

  async function open() {
    try {
      task = await farm.get(`/tasks/${id}`);
    } catch (error) {
      fill(element, failed(/** @type {Error} */ (error), open));
      return;
    }
    if (signal.aborted || !task) return;
    drawHead();
    fill(body, tabs(farm, task, signal));
    fill(element, head, body);
  }

  function drawHead() {
    if (!task) return;
    fill(head, heading(task), bar(task.progress, task.status), statusLine(task), buttons(farm, task, onretry));
  }

  farm.feed.addEventListener(
    "task",
    (event) => {
      const told = /** @type {CustomEvent} */ (event).detail;
      if (told.id !== id || !task) return;
      task = { ...told, summaries: task.summaries };
      drawHead();
    },
    { signal },
  );
  farm.feed.addEventListener(
    "snapshot",
    () => {
      const known = farm.feed.tasks.get(id);
      if (!known || !task) return;
      task = known;
      drawHead();
    },
    { signal },
  );
  farm.feed.follow(`task:${id}`, signal);
  open();
  return element;
}

/** @param {import("./types").Task} task */
function heading(task) {
  return h(
    "div",
    { class: "af-heading" },
    h("h2", {}, label(task)),
    badge(task.status),
    h("span", { class: "af-quiet" }, `${task.name} ${task.version ?? ""} · ${task.submitter} · `, h("code", { title: task.id }, format.short(task.id))),
  );
}

/** @param {import("./types").Task} task */
function statusLine(task) {
  const where = task.clients.length ? `on ${[...new Set(task.clients)].join(", ")}` : "";
  const parts = [
    format.percent(task.progress, task.progress < 10 ? 1 : 0),
    timing(task),
    task.attempt > 1 ? `attempt ${task.attempt}` : "",
    where,
  ].filter(Boolean);
  return [
    h("p", { class: "af-status" }, parts.join(" · ")),
    task.message && h("p", { class: task.status === "failed" ? "af-complaint" : "af-note" }, task.message),
  ];
}

/**
 * @param {import("./farm.js").Farm} farm @param {import("./types").Task} task
 * @param {(id: string) => void} onretry
 */
function buttons(farm, task, onretry) {
  if (farm.readonly) return null;
  const mine = farm.controls(task.submitter);
  const desire = (/** @type {string} */ status) => farm.send("PUT", `/tasks/${task.id}/status`, { status });
  const over = format.FINAL.has(task.status);
  return h(
    "div",
    { class: "af-actions" },
    mine && !over && task.desired === "running" && action("Pause", () => desire("paused")),
    mine && !over && task.desired === "paused" && action("Resume", () => desire("running"), { class: "af-button af-primary" }),
    mine && !over && task.desired !== "stopped" && action("Stop", () => desire("stopped"), { title: "Writes a checkpoint and ends" }),
    over &&
      action("Retry", async () => onretry((await farm.send("POST", `/tasks/${task.id}/retry`, {})).id), {
        title: "A new task that goes on from the latest checkpoint",
      }),
  );
}

/** @param {import("./farm.js").Farm} farm @param {import("./types").Task} task @param {AbortSignal} signal */
function tabs(farm, task, signal) {
  const panes = {
    Curves: () => curves(farm, task, signal),
    Log: () => logView(farm, task.id, signal, Math.max(1, task.clients.length)),
    Checkpoints: () => listed(async () => [await checkpoints(farm, task), await outputs(farm, task)]),
    Story: () => listed(() => story(farm, task)),
    Details: () => details(task),
  };
  const pane = h("div", { class: "af-pane", role: "tabpanel", id: `af-pane-${task.id}` });
  const list = h("div", { class: "af-tabs", role: "tablist" });
  const names = Object.keys(panes);
  /** @param {string} name @param {boolean} [focus] */
  function choose(name, focus = false) {
    for (const tab of /** @type {HTMLElement[]} */ ([...list.children])) {
      const chosen = tab.textContent === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen && focus) tab.focus();
    }
    fill(pane, panes[/** @type {keyof typeof panes} */ (name)]());
  }
  for (const [index, name] of names.entries())
    list.append(
      h(
        "button",
        {
          type: "button",
          role: "tab",
          "aria-controls": pane.id,
          onclick: () => choose(name),
          onkeydown: (/** @type {KeyboardEvent} */ event) => {
            const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
            if (by) choose(names[(index + by + names.length) % names.length], true);
          },
        },
        name,
      ),
    );
  choose("Curves");
  return [list, pane];
}

/** @param {() => Promise<any>} make */
function listed(make) {
  const place = h("div", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const read = () =>
    make().then(
      (made) => fill(place, made),
      (error) => fill(place, failed(error, read)),
    );
  read();
  return place;
}

// ---------------------------------------------------------------- curves

/** @param {import("./farm.js").Farm} farm @param {import("./types").Task} task @param {AbortSignal} signal */
function curves(farm, task, signal) {
  /** @type {Map<string, Curve>} */
  const known = new Map();
  /** @type {Map<string, Chart>} */
  const charts = new Map();
  const grid = h("div", { class: "af-charts" }, h("p", { class: "af-quiet" }, "Loading…"));
  const look = { x: /** @type {"step" | "time"} */ ("step"), log: false, smooth: 0 };

  function draw() {
    if (!known.size) {
      fill(grid, empty("No metrics yet.", h("p", { class: "af-quiet" }, "What the training reports appears here as it comes.")));
      return;
    }
    if (!charts.size) fill(grid);
    for (const [name, curve] of known) {
      let chart = charts.get(name);
      if (!chart) {
        chart = new Chart({ ...look, signal, title: name, height: 190 });
        charts.set(name, chart);
        grid.append(chart.element);
      }
      chart.show([{ label: name, colour: charts.size > COLOURS.length ? 0 : [...known.keys()].indexOf(name), curve }]);
    }
  }

  async function load() {
    try {
      const history = await farm.get(`/tasks/${task.id}/metrics`, { points: POINTS });
      for (const series of history.series) known.set(series.name, Curve.of(series));
      draw();
    } catch (error) {
      fill(grid, failed(/** @type {Error} */ (error), load));
    }
  }

  farm.feed.addEventListener(
    "points",
    (event) => {
      const told = /** @type {CustomEvent} */ (event).detail;
      if (told.task_id !== task.id) return;
      if (told.gap) return load();
      for (const [step, time, values] of told.points)
        for (const [name, value] of Object.entries(values)) {
          if (!known.has(name)) known.set(name, new Curve(name));
          known.get(name)?.add(step, time, value);
        }
      draw();
    },
    { signal },
  );
  // After a time without the farm there may be points that nobody told of.
  farm.feed.addEventListener("snapshot", () => load(), { signal });
  load();

  /** @param {Partial<typeof look>} change */
  const set = (change) => {
    Object.assign(look, change);
    for (const chart of charts.values()) chart.set(change);
  };
  return [
    h(
      "div",
      { class: "af-row af-controls" },
      h("label", {}, "over ", h("select", { class: "af-input", onchange: (/** @type {any} */ e) => set({ x: e.target.value }) }, h("option", { value: "step" }, "steps"), h("option", { value: "time" }, "time"))),
      h("label", {}, h("input", { type: "checkbox", onchange: (/** @type {any} */ e) => set({ log: e.target.checked }) }), " log axis"),
      h("label", {}, "smooth ", h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0, oninput: (/** @type {any} */ e) => set({ smooth: Number(e.target.value) }) })),
      h("a", { class: "af-link", href: farm.link(`/api/v2/tasks/${task.id}/metrics.csv`), download: true }, "CSV"),
    ),
    grid,
  ];
}

// ---------------------------------------------------------------- lists

/** @param {import("./farm.js").Farm} farm @param {import("./types").Task} task */
async function checkpoints(farm, task) {
  const { checkpoints: found } = await farm.get(`/tasks/${task.id}/checkpoints`);
  if (!found.length) return empty("No checkpoint yet.", h("p", { class: "af-quiet" }, "There is one at least every five minutes, and at the end."));
  return h(
    "table",
    { class: "af-table" },
    h("thead", {}, h("tr", {}, ["step", "epoch", "", "size", "written", ""].map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      found.map((/** @type {any} */ one) =>
        h(
          "tr",
          {},
          h("td", { class: "af-number" }, format.number(one.step)),
          h("td", { class: "af-number" }, one.epoch === null ? "" : format.number(one.epoch)),
          h("td", {}, one.final && h("span", { class: "af-tag" }, "final"), one.best && h("span", { class: "af-tag" }, "best"), one.pinned && h("span", { class: "af-tag" }, "pinned")),
          h("td", { class: "af-number" }, format.bytes(one.size)),
          h("td", { title: format.time(one.created_at) }, format.ago(one.created_at)),
          h("td", {}, h("a", { class: "af-link", href: farm.link(one.path), download: true }, "Download")),
        ),
      ),
    ),
  );
}

/** The files that a task keeps, in one download. @param {import("./farm.js").Farm} farm @param {import("./types").Task} task */
async function outputs(farm, task) {
  const { outputs: found } = await farm.get(`/tasks/${task.id}/outputs`);
  if (!found.length) return null;
  const size = found.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.size, 0);
  const files = `${format.number(found.length)} ${found.length === 1 ? "file" : "files"}, ${format.bytes(size)}. `;
  const href = farm.link(`/api/v2/tasks/${task.id}/outputs.zip`);
  return h("p", { class: "af-note" }, `The task keeps ${files}`, h("a", { class: "af-link", href, download: true }, "Download all"));
}

/** @param {import("./farm.js").Farm} farm @param {import("./types").Task} task */
async function story(farm, task) {
  const { events } = await farm.get(`/tasks/${task.id}/events`);
  return h(
    "ol",
    { class: "af-story" },
    events.map((/** @type {any} */ event) =>
      h("li", {}, h("time", { datetime: event.at, title: format.time(event.at) }, format.ago(event.at)), h("span", {}, event.message)),
    ),
  );
}

/** @param {import("./types").Task} task */
function details(task) {
  const { requirements } = task;
  return [
    facts([
      ["id", h("code", {}, task.id)],
      ["project", task.project],
      ["tags", task.tags.join(", ")],
      ["notes", task.notes],
      ["submitted", format.time(task.created_at)],
      ["needs", `${requirements.min_cpu_cores} cores, ${format.memory(requirements.min_ram)} of RAM, ${requirements.min_gpu_memory ? `a GPU with ${format.memory(requirements.min_gpu_memory)}` : "no GPU"}`],
      ["clients", task.n_clients > 1 ? `${task.n_clients} at once` : ""],
      ["priority", task.priority || ""],
      ["parent", task.parent && h("code", {}, task.parent)],
    ]),
    h("h3", {}, "config"),
    h("pre", { class: "af-code" }, JSON.stringify(task.config, null, 2)),
  ];
}
