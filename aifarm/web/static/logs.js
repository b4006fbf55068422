/** The tail of a rank's log, followed as it grows, searched in what is shown. */

import { fill, h } from "./dom.js";

const TAIL = 500;

/**
 * @param {import("./farm.js").Farm} farm @param {string} taskId @param {AbortSignal} signal
 * @param {number} [ranks]
 */
export function logView(farm, taskId, signal, ranks = 1) {
  let rank = 0;
  let next = 0;
  let attempt = 0;
  let reading = false;
  let again = false;
  /** @type {string[]} */
  let lines = [];

  const box = h("pre", { class: "af-log", tabindex: 0, "aria-label": "log", role: "log" });
  const search = /** @type {HTMLInputElement} */ (
    h("input", { type: "search", class: "af-input", placeholder: "Search in the log", "aria-label": "Search in the log", oninput: () => draw() })
  );
  const which = h(
    "select",
    { class: "af-input", "aria-label": "Rank", onchange: (/** @type {any} */ event) => start(Number(event.target.value)) },
    Array.from({ length: ranks }, (_, number) => h("option", { value: number }, `rank ${number}`)),
  );

  function draw() {
    const wanted = search.value.toLowerCase();
    const shown = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)) : lines;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    if (!shown.length) fill(box, h("span", { class: "af-quiet" }, wanted ? "No line has that." : "No output yet."));
    else fill(box, shown.join("\n"));
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  async function read() {
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    do {
      again = false;
      try {
        const asked = next ? { first: next, attempt } : { tail: TAIL };
        const page = await farm.get(`/tasks/${taskId}/logs`, { rank, ...asked });
        if (signal.aborted) return;
        if (page.attempt !== attempt && next) {
          lines = [];
          next = 0;
          again = true;
        }
        attempt = page.attempt;
        lines = [...lines, ...page.lines].slice(-4 * TAIL);
        next = page.next;
        again = again || page.next < page.total;
      } catch {
        break; // the next line that comes tries again
      }
    } while (again);
    reading = false;
    draw();
  }

  /** @param {number} number */
  function start(number) {
    rank = number;
    next = 0;
    lines = [];
    read();
  }

  farm.feed.addEventListener(
    "log",
    (event) => {
      const told = /** @type {CustomEvent} */ (event).detail;
      if (told.task_id !== taskId || told.rank !== rank) return;
      if (told.attempt > attempt) {
        next = 0;
        lines = [];
      }
      read();
    },
    { signal },
  );
  farm.feed.addEventListener("snapshot", () => read(), { signal });
  start(0);
  return h("section", { class: "af-logs" }, h("div", { class: "af-row" }, search, ranks > 1 && which), box);
}
