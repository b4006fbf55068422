/** Why a task waits: in a sentence, what would let it start, and what each machine lacks. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";

const AGAIN = 15_000; // milliseconds: what is free changes without a word about this task

/**
 * Shown while the task waits, empty else.
 * @param {import("./farm.js").Farm} farm @param {import("./types").Task} task @param {AbortSignal} signal
 */
export function whyView(farm, task, signal) {
  const place = h("section", { class: "af-why", "aria-label": "Why it waits" });
  let waits = false;
  let timer = 0;

  async function read() {
    clearTimeout(timer);
    if (!waits || signal.aborted) return;
    try {
      const why = await farm.get(`/tasks/${task.id}/why`);
      if (waits) fill(place, reasons(why));
    } catch {
      // it has begun, or the farm is away, which is said elsewhere
    }
    clearTimeout(timer);
    if (waits && !signal.aborted) timer = window.setTimeout(read, AGAIN);
  }

  /** @param {import("./types").Task | undefined} now */
  function show(now) {
    if (!now) return;
    const did = waits;
    waits = now.status === "pending" && now.desired === "running";
    place.hidden = !waits;
    if (!waits) fill(place);
    else if (!did) read();
  }

  farm.feed.addEventListener("task", (event) => /** @type {CustomEvent} */ (event).detail.id === task.id && show(/** @type {CustomEvent} */ (event).detail), { signal });
  farm.feed.addEventListener("snapshot", () => show(farm.feed.tasks.get(task.id)), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  show(task);
  return place;
}

/** @param {any} why */
function reasons(why) {
  return [
    h("p", {}, h("strong", {}, "Why it waits. "), why.summary, why.position ? ` It is number ${format.number(why.position)} in the queue.` : ""),
    why.hints.length > 0 && h("ul", {}, why.hints.map((/** @type {string} */ hint) => h("li", {}, hint))),
    why.clients.length > 0 &&
      h(
        "details",
        {},
        h("summary", {}, `What each machine lacks (${why.clients.length})`),
        h("table", { class: "af-table" }, h("tbody", {}, why.clients.map((/** @type {any} */ one) => h("tr", {}, h("th", { scope: "row" }, one.client), h("td", {}, one.reason))))),
      ),
  ];
}
