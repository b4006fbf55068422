/** One machine: what it does now, what it used, what happened to it. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { historyView } from "./history.js";
import { note, standing } from "./machines.js";
import { action, badge, facts, failed, label } from "./parts.js";

/**
 * @param {import("./farm.js").Farm} farm @param {string} id @param {AbortSignal} signal
 * @param {{onopen: (id: string) => void, admin: boolean}} options
 */
export function clientView(farm, id, signal, { onopen, admin }) {
  const element = h("article", {}, h("p", { class: "af-quiet" }, "Loading…"));

  async function read() {
    try {
      const path = `/clients/${encodeURIComponent(id)}`;
      const [client, story] = await Promise.all([farm.get(path), farm.get(`${path}/events`)]);
      if (!signal.aborted) draw(client, story.events.reverse());
    } catch (error) {
      fill(element, failed(/** @type {Error} */ (error), read));
    }
  }

  /** @param {string} taskId */
  function link(taskId) {
    const task = farm.feed.tasks.get(taskId);
    const open = (/** @type {Event} */ event) => {
      event.preventDefault();
      onopen(taskId);
    };
    return h("a", { class: "af-link", href: `#/tasks/${taskId}`, onclick: open }, task ? label(task) : format.short(taskId));
  }

  /** @param {any} client @param {any[]} events */
  function draw(client, events) {
    const { performance, resources } = client;
    const drain = (/** @type {boolean} */ drained) =>
      farm.send("PUT", `/clients/${encodeURIComponent(id)}/drain`, { drained }).then(read);
    fill(
      element,
      h("div", { class: "af-heading" }, h("h2", {}, client.id), badge(standing(client)), h("span", { class: "af-quiet" }, [client.hostname, `agent ${client.agent_version || format.UNKNOWN}`].filter(Boolean).join(" · "))),
      note(client),
      admin &&
        !farm.readonly &&
        h("div", { class: "af-actions" }, client.drained ? action("Undrain", () => drain(false)) : action("Drain", () => drain(true), { title: "It gets no new tasks; what runs goes on" })),
      facts([
        ["seen", format.ago(client.last_seen)],
        ["cores", resources ? format.number(resources.cpu.cores) : format.UNKNOWN],
        ["RAM", format.memory(resources?.ram.total)],
        ["GPUs", resources?.gpu.length ? resources.gpu.map((/** @type {any} */ gpu) => `${gpu.name}, ${format.memory(gpu.memory.total || null)}`).join("; ") : "none"],
        ["labels", Object.entries(client.labels).map(([name, value]) => `${name}=${value}`).join(", ")],
        ["completed", `${format.number(performance.completed_tasks)} of ${format.number(performance.ended_attempts)} attempts`],
        ["mean time", format.duration(performance.average_time)],
      ]),
      h("h3", {}, "Tasks now"),
      client.tasks.length
        ? client.tasks.map((/** @type {any} */ task) => h("p", {}, link(task.id), " ", badge(task.status), ` ${format.percent(task.progress)}`))
        : h("p", { class: "af-quiet" }, "None."),
      h("h3", {}, "What it used"),
      historyView(farm, id, signal),
      h("h3", {}, "Story"),
      h("ol", { class: "af-story" }, events.map((event) => h("li", {}, h("time", { datetime: event.at, title: format.time(event.at) }, format.ago(event.at)), h("span", {}, event.task_id && [link(event.task_id), ": "], event.message)))),
    );
  }

  farm.feed.follow(`client:${id}`, signal);
  read();
  return element;
}
