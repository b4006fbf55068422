/** The table of runs itself: a row for each task, and columns that people choose. */

import { shown } from "./columns.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { badge, bar, label } from "./parts.js";

/**
 * @typedef {import("./types").Task} Task
 * @typedef {object} Look what a table shows, and whom it tells
 * @property {ReturnType<typeof import("./columns.js").column>[]} columns
 * @property {string | undefined} sort
 * @property {boolean} editable
 * @property {(id: string) => boolean} chosen
 * @property {(id: string) => Element | null} under what stands below a task's row
 * @property {(ids: string[], on: boolean) => void} onchoose
 * @property {(id: string) => void} onopen
 * @property {(task: Task) => void} onedit
 * @property {(sort: string) => void} onsort
 */

/** @param {Task[]} tasks @param {Look} look */
export function table(tasks, look) {
  const wide = look.columns.length + 8;
  return h(
    "table",
    { class: "af-table af-runs" },
    h("thead", {}, head(tasks, look)),
    h(
      "tbody",
      {},
      tasks.map((task) => {
        const under = look.under(task.id);
        return [row(task, look), under && h("tr", {}, h("td", { colspan: wide }, under))];
      }),
    ),
  );
}

/** @param {Task[]} tasks @param {Look} look */
function head(tasks, look) {
  /** @param {string} key @param {string} words */
  const heading = (key, words) => {
    const turned = look.sort === `-${key}` || (!look.sort && key === "created_at");
    const straight = look.sort === key;
    return h(
      "th",
      { scope: "col", "aria-sort": turned ? "descending" : straight ? "ascending" : null },
      h("button", { type: "button", class: "af-sort", onclick: () => look.onsort(turned ? key : `-${key}`) }, words, turned ? " ↓" : straight ? " ↑" : ""),
    );
  };
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "col" },
      h("input", {
        type: "checkbox",
        checked: tasks.every((task) => look.chosen(task.id)),
        "aria-label": "Choose all of this page",
        onchange: (/** @type {any} */ event) => look.onchoose(tasks.map((task) => task.id), event.target.checked),
      }),
    ),
    heading("title", "task"),
    heading("status", "state"),
    h("th", { scope: "col" }, "progress"),
    look.columns.map((one) => heading(one.key, one.title)),
    h("th", { scope: "col" }, "submitter"),
    h("th", { scope: "col" }, "clients"),
    heading("created_at", "submitted"),
    look.editable && h("th", { scope: "col" }, h("span", { class: "af-unseen" }, "edit")),
  );
}

/** @param {Task} task @param {Look} look */
function row(task, look) {
  const open = (/** @type {Event} */ event) => {
    event.preventDefault();
    look.onopen(task.id);
  };
  return h(
    "tr",
    { dataset: { task: task.id } },
    h(
      "td",
      {},
      h("input", {
        type: "checkbox",
        checked: look.chosen(task.id),
        "aria-label": `Choose ${label(task)}`,
        onchange: (/** @type {any} */ event) => look.onchoose([task.id], event.target.checked),
      }),
    ),
    h(
      "td",
      {},
      h("a", { href: `#/tasks/${task.id}`, class: "af-link", onclick: open }, label(task)),
      " ",
      h("code", { class: "af-quiet" }, format.short(task.id)),
      task.tags.map((tag) => [" ", h("span", { class: "af-tag" }, tag)]),
      task.notes && h("div", { class: "af-note af-clip", title: task.notes }, task.notes),
    ),
    h("td", {}, badge(task.status)),
    h("td", { class: "af-progress" }, bar(task.progress, task.status), h("span", { class: "af-number" }, format.percent(task.progress))),
    look.columns.map((one) => h("td", { class: "af-number" }, shown(one.value(task)))),
    h("td", {}, task.submitter),
    h("td", {}, [...new Set(task.clients)].join(", ")),
    h("td", { title: format.time(task.created_at) }, format.ago(task.created_at)),
    look.editable && h("td", {}, h("button", { type: "button", class: "af-link", "aria-label": `Edit ${label(task)}`, onclick: () => look.onedit(task) }, "Edit")),
  );
}

/** The row of a task as it is now, but for the cell that somebody is in. @param {Element} place @param {Task} task @param {Look} look */
export function redraw(place, task, look) {
  const old = place.querySelector(`tr[data-task="${CSS.escape(task.id)}"]`);
  if (!old) return;
  const fresh = [...row(task, look).children];
  for (const [index, cell] of [...old.children].entries())
    if (!cell.contains(cell.ownerDocument.activeElement)) cell.replaceWith(fresh[index]);
}

/** The ticks as they are now. @param {Element} place @param {Look} look */
export function tick(place, look) {
  const rows = /** @type {HTMLElement[]} */ ([...place.querySelectorAll("tr[data-task]")]);
  const ticked = rows.map((one) => look.chosen(one.dataset.task ?? ""));
  for (const [index, one] of rows.entries()) /** @type {HTMLInputElement} */ (one.querySelector("input")).checked = ticked[index];
  const all = /** @type {HTMLInputElement | null} */ (place.querySelector("thead input"));
  if (all) all.checked = ticked.every(Boolean);
}

/**
 * How to find, in a table drawn anew, the control that stood where one stands now; null where it
 * stands in none.
 * @param {Element} place @param {Element | null} control
 */
export function spot(place, control) {
  const line = control?.closest("tr");
  if (!control || !line || !place.contains(line)) return null;
  const task = line.dataset.task;
  const selector = task ? `tr[data-task="${CSS.escape(task)}"]` : "thead tr";
  const index = controls(line).indexOf(control);
  return (/** @type {Element} */ anew) => {
    const there = anew.querySelector(selector);
    return there && /** @type {HTMLElement | undefined} */ (controls(there)[index]);
  };
}

/** @param {Element} line @returns {Element[]} */
function controls(line) {
  return [...line.querySelectorAll("a, button, input")];
}
