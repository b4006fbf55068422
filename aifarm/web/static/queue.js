/** What runs and what waits, in the order of the queue, each with the reason why it waits. */

import { coalesced, h, update } from "./dom.js";
import * as format from "./format.js";
import { badge, bar, empty, label, timing } from "./parts.js";

const WHY_SECONDS = 15;
const ASKED = 10; // tasks at the head of the queue whose reason is asked for

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {object} [options]
 * @param {(id: string) => void} [options.onopen]
 * @param {(button: HTMLElement) => void} [options.onmenu] shows what can be done with a task
 * @param {() => any} [options.nothing] what to do where nothing runs and nothing waits
 */
export function queueView(farm, signal, { onopen = () => {}, onmenu, nothing } = {}) {
  const element = h("section", { class: "aifarm af-queue" });
  /** @type {Map<string, {at: number, summary: string, position: number | null}>} */
  const whys = new Map();

  function draw() {
    const tasks = [...farm.feed.tasks.values()].filter((task) => !format.FINAL.has(task.status));
    if (farm.feed.state !== "live" && !tasks.length) {
      update(element, h("p", { class: "af-quiet" }, "Loading…"));
      return;
    }
    if (!tasks.length) {
      update(element, h("div", { dataset: { key: "nothing" } }, empty("Nothing runs and nothing waits.", nothing?.())));
      return;
    }
    const waits = tasks.filter((task) => task.status === "pending" && task.desired === "running");
    const runs = tasks.filter((task) => !waits.includes(task)).sort((a, b) => b.created_at.localeCompare(a.created_at));
    waits.sort((a, b) => (whys.get(a.id)?.position ?? Infinity) - (whys.get(b.id)?.position ?? Infinity) || a.created_at.localeCompare(b.created_at));
    for (const task of waits.slice(0, ASKED)) ask(task.id);
    update(element, list("Running", runs), list("Waiting", waits));
  }

  /** @param {string} name @param {import("./types").Task[]} tasks */
  function list(name, tasks) {
    if (!tasks.length) return null;
    const title = `${name} (${tasks.length})`;
    return h("div", { dataset: { key: name } }, h("h4", {}, title), h("ul", { class: "af-items", "aria-label": title }, tasks.map(line)));
  }

  /** @param {import("./types").Task} task */
  function line(task) {
    const why = whys.get(task.id);
    const waits = task.status === "pending";
    const going = task.desired !== "running" && task.desired !== task.status ? `to be ${task.desired}` : "";
    const open = (/** @type {Event} */ event) => {
      event.preventDefault();
      onopen(task.id);
    };
    return h(
      "li",
      { class: "af-item", dataset: { key: task.id, task: task.id } },
      h(
        "div",
        { class: "af-row" },
        waits && why?.position && h("span", { class: "af-place", title: "place in the queue", dataset: { key: "place" } }, `${why.position}.`),
        h("a", { href: `#/tasks/${task.id}`, class: "af-link af-name", title: label(task), onclick: open, dataset: { key: "open" } }, label(task)),
        h("span", { dataset: { key: "badge" } }, badge(task.status)),
        onmenu && h("button", { type: "button", class: "af-more", "aria-label": `Actions for ${label(task)}`, "aria-haspopup": "menu", dataset: { key: "more" }, onclick: (/** @type {Event} */ event) => onmenu(/** @type {HTMLElement} */ (event.currentTarget)) }, "⋯"),
      ),
      !waits && h("div", { class: "af-row af-done", dataset: { key: "done" } }, bar(task.progress, task.status), h("span", { class: "af-number" }, format.percent(task.progress))),
      h("p", { class: "af-quiet", dataset: { key: "facts" } }, [task.submitter, going, timing(task), [...new Set(task.clients)].join(", ")].filter(Boolean).join(" · ")),
      waits && why?.summary && h("p", { class: "af-note", dataset: { key: "why" } }, why.summary),
    );
  }

  /** @param {string} id */
  async function ask(id) {
    const known = whys.get(id);
    if (known && Date.now() - known.at < WHY_SECONDS * 1000) return;
    whys.set(id, { summary: known?.summary ?? "", position: known?.position ?? null, at: Date.now() });
    try {
      const { summary, position } = await farm.get(`/tasks/${id}/why`);
      whys.set(id, { summary, position, at: Date.now() });
      redraw();
    } catch {
      // it has begun, or gone
    }
  }

  const redraw = coalesced(draw);
  for (const kind of ["task", "snapshot", "gone", "state", "client"]) farm.feed.addEventListener(kind, redraw, { signal });
  // Times go on, and what is missing changes, also where nothing is told.
  const timer = setInterval(redraw, WHY_SECONDS * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
  farm.feed.follow("farm", signal);
  draw();
  return element;
}
