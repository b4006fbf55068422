/** One task: its state, curves, log, checkpoints and story, and what can be done with it. */

import { checkpointsView, outputsView } from "./checkpoints.js";
import { curvesView } from "./curves.js";
import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import { logView } from "./logs.js";
import { action, advance, badge, bar, facts, failed, label, timing } from "./parts.js";
import { whyView } from "./why.js";

/**
 * @param {import("./farm.js").Farm} farm @param {string} id @param {AbortSignal} signal
 * @param {{onretry?: (id: string) => void, compare?: string[]}} [options] `compare`: ids of other tasks
 */
export function taskView(farm, id, signal, { onretry = () => {}, compare = [] } = {}) {
  const element = h("article", { class: "aifarm af-task" }, h("p", { class: "af-quiet" }, "Loading…"));
  /** @type {import("./types").Task | null} */
  let task = null;
  const title = h("div", { class: "af-heading" });
  const progress = bar(0, "pending");
  const status = h("div", {});
  const buttons = h("div", { class: "af-actions" });
  /** What the buttons stand for: they stay the same, under the pointer, until that changes. */
  let offered = "";

  async function open() {
    /** @type {import("./types").Task} */
    let found;
    try {
      found = await farm.get(`/tasks/${encodeURIComponent(id)}`);
    } catch (error) {
      if (task || signal.aborted) return;
      fill(element, failed(/** @type {Error} */ (error), open));
      // What was out of reach is not by then: a farm, or the kernel on the way to it.
      if (/** @type {any} */ (error).status !== 404) farm.feed.addEventListener("snapshot", open, { signal, once: true });
      return;
    }
    if (signal.aborted || task) return;
    task = found;
    draw();
    fill(element, h("header", {}, title, progress, status, buttons), whyView(farm, task, signal), tabs(farm, () => task ?? found, signal, compare));
  }

  function draw() {
    if (!task) return;
    fill(title, heading(task));
    advance(progress, task.progress, task.status);
    fill(status, statusLine(task));
    const now = `${task.status} ${task.desired} ${farm.readonly}`;
    if (now === offered) return;
    offered = now;
    const focused = buttons.contains(document.activeElement);
    fill(buttons, actions(farm, task, onretry));
    if (focused) /** @type {HTMLElement | null} */ (buttons.querySelector("button"))?.focus();
  }

  const redraw = coalesced(draw);
  farm.feed.addEventListener(
    "task",
    (event) => {
      const told = /** @type {CustomEvent} */ (event).detail;
      if (told.id !== id || !task) return;
      task = told;
      redraw();
    },
    { signal },
  );
  farm.feed.addEventListener(
    "snapshot",
    () => {
      if (!task) return;
      task = farm.feed.tasks.get(id) ?? task;
      redraw();
      // A server that has begun anew knows of few tasks that are over: this one may be by now.
      if (!farm.feed.tasks.has(id) && !format.FINAL.has(task.status)) farm.get(`/tasks/${id}`).then((found) => farm.feed.learn(found), () => {});
    },
    { signal },
  );
  // Buttons and times that count must not wait for the farm to speak.
  const clock = window.setInterval(redraw, 10_000);
  signal.addEventListener("abort", () => clearInterval(clock));
  farm.feed.follow(`task:${id}`, signal);
  open();
  return element;
}

/** @param {import("./types").Task} task */
function heading(task) {
  return [
    h("h2", {}, label(task)),
    badge(task.status),
    h("span", { class: "af-quiet" }, `${task.name} ${task.version ?? ""} · ${task.submitter} · `, h("code", { title: task.id }, format.short(task.id))),
  ];
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
  const wish = task.desired !== task.status && { paused: "It pauses at its next step.", stopped: "It writes a checkpoint and ends." }[task.desired];
  const lost = task.status === "unreachable" && "Nothing is heard from its machine; training may go on there.";
  return [
    h("p", { class: "af-status" }, parts.join(" · ")),
    task.message && h("p", { class: task.status === "failed" ? "af-complaint" : "af-note" }, task.message),
    !format.FINAL.has(task.status) && (lost || wish) && h("p", { class: "af-note" }, lost || wish),
  ];
}

/**
 * @param {import("./farm.js").Farm} farm @param {import("./types").Task} task
 * @param {(id: string) => void} onretry
 */
function actions(farm, task, onretry) {
  if (farm.readonly) return null;
  const mine = farm.controls(task.submitter);
  const desire = (/** @type {string} */ status) => farm.send("PUT", `/tasks/${task.id}/status`, { status });
  const over = format.FINAL.has(task.status);
  return [
    mine && !over && task.desired === "running" && action("Pause", () => desire("paused"), { title: "Holds at the next step, and goes on from there" }),
    mine && !over && task.desired === "paused" && action("Resume", () => desire("running"), { class: "af-button af-primary", title: "Goes on where it was" }),
    mine && !over && task.desired !== "stopped" && action("Stop", () => desire("stopped"), { title: "Writes a checkpoint and ends" }),
    over &&
      action("Retry", async () => onretry((await farm.send("POST", `/tasks/${task.id}/retry`, {})).id), {
        title: "A new task that goes on from the latest checkpoint",
      }),
  ];
}

/**
 * @param {import("./farm.js").Farm} farm @param {() => import("./types").Task} now the task as it is
 * @param {AbortSignal} signal @param {string[]} compare
 */
function tabs(farm, now, signal, compare) {
  const { id } = now();
  /** @type {Record<string, (life: AbortSignal) => any>} */
  const panes = {
    Curves: (life) => curvesView(farm, now(), life, compare),
    Log: (life) => logView(farm, now(), life),
    Checkpoints: () => listed(async (again) => [await checkpointsView(farm, now(), again), await outputsView(farm, now())]),
    Story: (life) => storyView(farm, id, life),
    Details: () => details(now()),
  };
  const pane = h("div", { class: "af-pane", role: "tabpanel", id: `af-pane-${id}` });
  const list = h("div", { class: "af-tabs", role: "tablist" });
  const names = Object.keys(panes);
  /** @type {AbortController | null} */
  let shown = null;
  signal.addEventListener("abort", () => shown?.abort());

  /** @param {string} name @param {boolean} [focus] */
  function choose(name, focus = false) {
    for (const tab of /** @type {HTMLElement[]} */ ([...list.children])) {
      const chosen = tab.textContent === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen && focus) tab.focus();
    }
    shown?.abort();
    shown = new AbortController();
    fill(pane, panes[name](shown.signal));
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

/** @param {(again: () => void) => Promise<any>} make */
function listed(make) {
  const place = h("div", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const read = () =>
    make(read).then(
      (made) => fill(place, made),
      (error) => fill(place, failed(error, read)),
    );
  read();
  return place;
}

/** @param {import("./farm.js").Farm} farm @param {string} id of the task @param {AbortSignal} signal */
function storyView(farm, id, signal) {
  const list = h("ol", { class: "af-story" });
  /** @type {Map<number, any>} events by their ids */
  const known = new Map();
  /** The last one that was read: of those that were heard some may be missing before it. */
  let last = 0;

  /** @param {any[]} events */
  function tell(events) {
    for (const event of events) known.set(event.id, event);
    const inOrder = [...known.values()].sort((one, other) => one.id - other.id);
    fill(list, inOrder.map(({ at, message }) => h("li", {}, h("time", { datetime: at, title: format.time(at) }, format.ago(at)), h("span", {}, message))));
  }

  async function read() {
    const { events, next } = await farm.get(`/tasks/${id}/events`, { after: last });
    last = next;
    tell(events);
    return list;
  }

  farm.feed.addEventListener("event", (event) => /** @type {CustomEvent} */ (event).detail.task_id === id && tell([/** @type {CustomEvent} */ (event).detail]), { signal });
  farm.feed.addEventListener("joined", (event) => /** @type {CustomEvent} */ (event).detail.has(`task:${id}`) && read().catch(() => {}), { signal });
  return listed(read);
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
      ["began", task.started_at && format.time(task.started_at)],
      ["ended", task.ended_at && format.time(task.ended_at)],
      ["needs", `${requirements.min_cpu_cores} cores, ${format.memory(requirements.min_ram)} of RAM, ${requirements.min_gpu_memory ? `a GPU with ${format.memory(requirements.min_gpu_memory)}` : "no GPU"}`],
      ["clients", task.n_clients > 1 ? `${task.n_clients} at once` : ""],
      ["priority", task.priority || ""],
      ["parent", task.parent && h("code", {}, task.parent)],
    ]),
    h("h3", {}, "config"),
    h("pre", { class: "af-code" }, JSON.stringify(task.config, null, 2)),
  ];
}
