/** One machine: what it does now, what it used, what happened to it. */

import { Chart } from "./chart.js";
import { Curve } from "./curve.js";
import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { action, badge, empty, facts, failed } from "./parts.js";

/**
 * @param {import("./farm.js").Farm} farm @param {string} id @param {AbortSignal} signal
 * @param {{onopen: (id: string) => void, admin: boolean}} options
 */
export function clientView(farm, id, signal, { onopen, admin }) {
  const element = h("article", {}, h("p", { class: "af-quiet" }, "Loading…"));

  async function read() {
    try {
      const path = `/clients/${encodeURIComponent(id)}`;
      const [client, history, story] = await Promise.all([
        farm.get(path),
        farm.get(`${path}/history`, { points: 400 }),
        farm.get(`${path}/events`),
      ]);
      if (!signal.aborted) draw(client, history, story.events.reverse());
    } catch (error) {
      fill(element, failed(/** @type {Error} */ (error), read));
    }
  }

  /** @param {any} client @param {any} history @param {any[]} events */
  function draw(client, history, events) {
    const { performance, resources } = client;
    const drain = (/** @type {boolean} */ drained) =>
      farm.send("PUT", `/clients/${encodeURIComponent(id)}/drain`, { drained }).then(read);
    const times = history.time.map((/** @type {string} */ at) => Date.parse(at) / 1000);
    /** @param {string} title @param {[string, (number | null)[]][]} columns */
    const chart = (title, columns) => {
      const made = new Chart({ signal, x: "time", title, height: 180 });
      made.show(
        columns.map(([name, values], colour) => {
          return { label: name, colour, curve: Curve.of({ name, step: times, time: times, value: values }) };
        }),
      );
      return made.element;
    };
    fill(
      element,
      h("div", { class: "af-heading" }, h("h2", {}, client.id), badge(client.drained ? "drained" : client.status), h("span", { class: "af-quiet" }, `${client.hostname} · agent ${client.agent_version || format.UNKNOWN}`)),
      client.drained && h("p", { class: "af-note" }, client.drained),
      admin &&
        !farm.readonly &&
        h("div", { class: "af-actions" }, client.drained ? action("Undrain", () => drain(false)) : action("Drain", () => drain(true), { title: "It gets no new tasks; what runs goes on" })),
      facts([
        ["seen", format.ago(client.last_seen)],
        ["cores", resources ? format.number(resources.cpu.cores) : format.UNKNOWN],
        ["RAM", format.memory(resources?.ram.total)],
        ["GPUs", resources?.gpu.length ? resources.gpu.map((/** @type {any} */ gpu) => `${gpu.name}, ${format.memory(gpu.memory.total)}`).join("; ") : "none"],
        ["labels", Object.entries(client.labels).map(([name, value]) => `${name}=${value}`).join(", ")],
        ["completed", `${format.number(performance.completed_tasks)} of ${format.number(performance.ended_attempts)} attempts`],
        ["mean time", format.duration(performance.average_time)],
      ]),
      h("h3", {}, "Tasks now"),
      client.tasks.length
        ? client.tasks.map((/** @type {any} */ task) => h("p", {}, h("a", { class: "af-link", href: `#/tasks/${task.id}`, onclick: () => onopen(task.id) }, format.short(task.id)), " ", badge(task.status), ` ${format.percent(task.progress)}`))
        : h("p", { class: "af-quiet" }, "None."),
      h("h3", {}, "The last day"),
      times.length
        ? h(
            "div",
            { class: "af-charts" },
            chart("CPU and RAM, %", [["CPU", history.cpu], ["RAM", history.ram]]),
            history.gpus.map((/** @type {any} */ gpu) => [
              chart(`GPU ${gpu.id}, %`, [["use", gpu.utilization]]),
              chart(`GPU ${gpu.id}, memory in MiB`, [["memory", gpu.memory_used]]),
            ]),
          )
        : empty("Nothing measured yet."),
      h("h3", {}, "Story"),
      h("ol", { class: "af-story" }, events.map((event) => h("li", {}, h("time", { datetime: event.at, title: format.time(event.at) }, format.ago(event.at)), h("span", {}, event.message)))),
    );
  }

  farm.feed.follow(`client:${id}`, signal);
  read();
  return element;
}
