/** What runs and what waits, in the order of the queue, each with the reason why it waits. */

import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import { badge, bar, empty, label, timing } from "./parts.js";

const WHY_SECONDS = 15;

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {{onopen?: (id: string) => void}} [options]
 */
export function queueView(farm, signal, { onopen = () => {} } = {}) {
  const element = h("section", { class: "aifarm af-queue" });
  /** @type {Map<string, {at: number, summary: string, position: number | null}>} */
  const whys = new Map();

  function draw() {
    const tasks = [...farm.feed.tasks.values()].filter((task) => !format.FINAL.has(task.status));
    if (farm.feed.state !== "live" && !tasks.length) {
      fill(element, h("p", { class: "af-quiet" }, "Loading…"));
      return;
    }
    if (!tasks.length) {
      fill(element, empty("Nothing runs and nothing waits."));
      return;
    }
    const waits = tasks.filter((task) => task.status === "pending" && task.desired === "running");
    const runs = tasks.filter((task) => !waits.includes(task)).sort((a, b) => b.created_at.localeCompare(a.created_at));
    waits.sort((a, b) => (whys.get(a.id)?.position ?? Infinity) - (whys.get(b.id)?.position ?? Infinity) || a.created_at.localeCompare(b.created_at));
    for (const task of waits.slice(0, 10)) ask(task.id);
    fill(element, runs.map((task) => line(task)), waits.length > 0 && h("h3", {}, `Waiting (${waits.length})`), waits.map((task) => line(task)));
  }

  /** @param {import("./types").Task} task */
  function line(task) {
    const why = whys.get(task.id);
    return h(
      "div",
      { class: "af-item" },
      h("div", { class: "af-row" }, why?.position && h("span", { class: "af-place" }, `${why.position}.`), h("a", { href: `#/tasks/${task.id}`, class: "af-link", onclick: (/** @type {Event} */ event) => { event.preventDefault(); onopen(task.id); } }, label(task)), h("span", { class: "af-spring" }), badge(task.status)),
      task.status !== "pending" && bar(task.progress, task.status),
      h("p", { class: "af-quiet" }, [task.submitter, timing(task), [...new Set(task.clients)].join(", ")].filter(Boolean).join(" · ")),
      why && task.status === "pending" && h("p", { class: "af-note" }, why.summary),
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
  farm.feed.follow("farm", signal);
  draw();
  return element;
}
