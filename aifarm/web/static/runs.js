/** The table of runs: found, sorted, edited, compared. */

import { chosenBar } from "./chosen.js";
import * as columns from "./columns.js";
import { compareView } from "./compare.js";
import { csv, save } from "./csv.js";
import { coalesced, fill, h } from "./dom.js";
import { editor } from "./editor.js";
import { ASKED, ME, filterBar, narrowed, query } from "./filter.js";
import * as format from "./format.js";
import { action, empty, failed } from "./parts.js";
import { redraw, spot, table, tick } from "./rows.js";

export { ASKED };

/** @typedef {import("./types").Task} Task */

const PAGE = 50;
const MOST = 1000; // tasks in one answer
const LATER = 1000; // milliseconds in which several news become one look

/**
 * @typedef {object} Selection what is ticked, where somebody else wants to know and to say
 * @property {string[]} ids
 * @property {(ids: string[]) => void} onchange
 * @property {(heard: (ids: string[]) => void) => void} listen
 */

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {object} options
 * @param {(id: string) => void} options.onopen
 * @param {Record<string, string>} [options.asked]
 * @param {(asked: Record<string, string>) => void} [options.onasked]
 * @param {Selection} [options.selection]
 */
export function runsView(farm, signal, { onopen, asked = {}, onasked = () => {}, selection }) {
  /** @type {Task[]} */
  let tasks = [];
  let total = 0;
  /** @type {Map<string, Task>} what is ticked, also on other pages */
  const chosen = new Map();
  /** @type {{id: string, element: HTMLElement} | null} */
  let editing = null;
  /** @type {AbortController | null} */
  let comparing = null;
  /** @type {Set<string>} tasks that were in the list or told of */
  const seen = new Set();
  /** @type {Set<string>} tasks whose rows are old */
  const changed = new Set();
  let reading = 0;
  let timer = 0;
  let me = "";

  const place = h("div", { class: "af-wide af-runs-place" }, h("p", { class: "af-quiet" }, "Loading…"));
  const foot = h("div", { class: "af-row af-foot" });
  const compared = h("div", {});
  const choice = h("div", { class: "af-picker af-hidden", role: "group", "aria-label": "Columns" });
  const chooser = h("button", { type: "button", class: "af-button", "aria-expanded": "false", onclick: () => chooser.setAttribute("aria-expanded", String(!choice.classList.toggle("af-hidden"))) }, "Columns");
  const filter = filterBar(ask, chooser);
  const bar = chosenBar(farm, { oncompare: compare, onclear: () => choose([]), onchanged: read });

  // ---------------------------------------------------------------- what is asked

  const keys = () => (asked.columns ? asked.columns.split(",") : columns.usual(tasks));

  /** @param {Record<string, any>} more */
  async function list(more) {
    if (asked.submitter === ME && !me) me = (await farm.get("/token")).name;
    const summaries = keys().map((key) => columns.column(key).metric).filter(Boolean);
    return farm.get("/tasks", { ...query(asked, me), summaries: [...new Set(summaries)], ...more });
  }

  async function read() {
    const mine = ++reading;
    clearTimeout(timer);
    timer = 0;
    try {
      const answer = await list({ page: asked.page, limit: PAGE });
      if (mine !== reading || signal.aborted) return;
      ({ tasks, total } = answer);
      for (const task of tasks) {
        seen.add(task.id);
        if (chosen.has(task.id)) chosen.set(task.id, task);
      }
      filter.blame(null);
      draw();
    } catch (error) {
      if (mine !== reading || signal.aborted) return;
      if (!filter.blame(error)) fill(place, failed(/** @type {Error} */ (error), read));
    }
  }

  /** A look at the list a little later, once for all that happens until then. */
  function readLater() {
    timer ||= window.setTimeout(read, LATER);
  }

  /** @param {Record<string, string>} change */
  function ask(change) {
    asked = Object.fromEntries(Object.entries({ ...asked, page: "", ...change }).filter(([, value]) => value));
    onasked(asked);
    filter.show(asked);
    read();
  }

  // ---------------------------------------------------------------- what is shown

  /** @returns {import("./rows.js").Look} */
  const look = () => ({
    columns: keys().map(columns.column),
    sort: asked.sort,
    editable: !farm.readonly && !asked.deleted,
    chosen: (id) => chosen.has(id),
    under: (id) => (editing?.id === id ? editing.element : null),
    onchoose: (ids, on) => choose(on ? [...chosen.keys(), ...ids] : [...chosen.keys()].filter((id) => !ids.includes(id))),
    onopen,
    onedit: edit,
    onsort: (sort) => ask({ sort }),
  });

  function draw() {
    const focused = /** @type {HTMLElement | null} */ (place.ownerDocument.activeElement);
    if (!tasks.some((task) => task.id === editing?.id)) editing = null;
    const focusedIn = spot(place, focused);
    bar.show([...chosen.values()], Boolean(asked.deleted));
    filter.suggest(columns.offered(tasks));
    drawChoice();
    fill(place, tasks.length ? table(tasks, look()) : nothing());
    fill(foot, tasks.length > 0 && pages());
    if (editing?.element.contains(focused)) focused?.focus(); // it was taken out for a moment
    else focusedIn?.(place)?.focus();
  }

  function drawChoice() {
    const focused = place.ownerDocument.activeElement;
    const index = [...choice.querySelectorAll("input")].indexOf(/** @type {any} */ (focused));
    const show = (/** @type {string[]} */ now) => ask({ columns: now.join(","), page: asked.page ?? "" });
    // From what is chosen by then: what is drawn here is older, while the farm answers.
    const onchoose = (/** @type {string} */ key, /** @type {boolean} */ on) => show([...keys().filter((one) => one !== key), ...(on ? [key] : [])]);
    fill(choice, columns.picker(tasks, keys(), { onchoose, onforget: () => show([]) }));
    if (index >= 0) choice.querySelectorAll("input")[index]?.focus();
  }

  function pages() {
    const page = Number(asked.page ?? 1);
    const last = Math.max(1, Math.ceil(total / PAGE));
    const turn = (/** @type {string} */ words, /** @type {number} */ to) =>
      h("button", { type: "button", class: "af-button", disabled: to < 1 || to > last, onclick: () => ask({ page: String(to) }) }, words);
    return [
      h("span", { class: "af-quiet" }, `${format.number(total)} task${total === 1 ? "" : "s"}`),
      last > 1 && [turn("Newer", page - 1), h("span", { class: "af-quiet" }, `page ${page} of ${last}`), turn("Older", page + 1)],
      h("span", { class: "af-spring" }),
      action("CSV", download, { title: "All of these tasks, with these columns" }),
    ];
  }

  function nothing() {
    if (!narrowed(asked)) return empty("No task yet.", h("p", { class: "af-quiet" }, "Submit one from a notebook, a script or the shell: ", h("code", {}, "farm.submit(…)")));
    const all = Object.fromEntries(ASKED.filter((name) => name !== "columns").map((name) => [name, ""]));
    return empty(asked.deleted ? "The trash has no such task." : "No task is like that.", h("button", { type: "button", class: "af-button", onclick: () => ask(all) }, "Show all"));
  }

  /** @param {Task} task */
  function edit(task) {
    const made = editor(farm, task, (saved) => {
      editing = null;
      if (saved) told(saved);
      draw();
    });
    editing = { id: task.id, element: made.element };
    draw();
    made.focus();
  }

  // ---------------------------------------------------------------- what is ticked

  /** @param {string[]} ids @param {boolean} [tell] */
  async function choose(ids, tell = true) {
    const before = new Map(chosen);
    chosen.clear();
    for (const id of new Set(ids)) {
      const known = tasks.find((task) => task.id === id) ?? before.get(id) ?? farm.feed.tasks.get(id);
      const task = known ?? (await farm.get(`/tasks/${id}`).catch(() => null));
      if (task) chosen.set(id, task);
    }
    if (tell) selection?.onchange([...chosen.keys()]);
    tick(place, look());
    bar.show([...chosen.values()], Boolean(asked.deleted));
  }

  function compare() {
    comparing?.abort();
    const life = new AbortController();
    comparing = life;
    const close = () => {
      life.abort();
      fill(compared);
    };
    const view = compareView(farm, [...chosen.values()], life.signal, close);
    fill(compared, view);
    view.querySelector("h2")?.focus();
  }

  async function download() {
    const here = look().columns;
    /** @type {unknown[][]} */
    const rows = [["id", "title", "package", "version", "state", "progress", "submitter", "project", "tags", "notes", "submitted", ...here.map((one) => one.key)]];
    /** @type {string | undefined} */
    let cursor;
    do {
      const answer = await list({ limit: MOST, cursor });
      for (const task of /** @type {Task[]} */ (answer.tasks))
        rows.push([task.id, task.title, task.name, task.version, task.status, task.progress, task.submitter, task.project, task.tags.join(" "), task.notes, task.created_at, ...here.map((one) => one.value(task))]);
      cursor = answer.next_cursor;
    } while (cursor);
    save("runs.csv", csv(rows));
  }

  // ---------------------------------------------------------------- news

  const redrawLater = coalesced(() => {
    for (const task of tasks) if (changed.has(task.id)) redraw(place, task, look());
    changed.clear();
  });

  /** @param {Task} task as it is now, without its summaries */
  function told(task) {
    if (chosen.has(task.id)) chosen.set(task.id, task);
    const index = tasks.findIndex((one) => one.id === task.id);
    if (index >= 0) {
      const before = tasks[index];
      tasks[index] = { ...task, summaries: grown(before.summaries, task.metrics) };
      changed.add(task.id);
      redrawLater();
      if (before.status !== task.status && asked.status) readLater();
    } else if (!seen.has(task.id)) {
      seen.add(task.id);
      readLater(); // whether it belongs here is for the farm to say
    }
  }

  farm.feed.addEventListener("task", (event) => told(/** @type {CustomEvent} */ (event).detail), { signal });
  farm.feed.addEventListener("gone", readLater, { signal });
  farm.feed.addEventListener(
    "snapshot",
    () => {
      for (const id of farm.feed.tasks.keys()) seen.add(id);
      read();
    },
    { signal },
  );
  signal.addEventListener("abort", () => {
    comparing?.abort();
    clearTimeout(timer);
  });

  filter.show(asked);
  farm.feed.follow("farm", signal);
  selection?.listen((ids) => choose(ids, false));
  if (selection?.ids.length) choose(selection.ids, false);
  read();
  return h("section", { class: "aifarm" }, filter.element, choice, place, foot, bar.element, compared);
}

/**
 * Summaries with the latest values in them, until the farm is asked again.
 * @param {import("./types").Summary[] | undefined} summaries @param {Record<string, number | null>} metrics
 */
function grown(summaries, metrics) {
  return summaries?.map((one) => {
    const value = metrics[one.name];
    if (value === null || value === undefined) return one;
    const min = one.min === null ? value : Math.min(one.min, value);
    const max = one.max === null ? value : Math.max(one.max, value);
    return { ...one, last: value, min, max, best: one.best === one.min ? min : max };
  });
}
