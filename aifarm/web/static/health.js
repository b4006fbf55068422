/** Whether the farm is well, and where nothing runs, why. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { facts, label } from "./parts.js";

const AGAIN = 10_000; // milliseconds between two looks
const ASKED = 20; // waiting tasks that are asked why

/** @param {import("./farm.js").Farm} farm @param {AbortSignal} signal */
export function healthView(farm, signal) {
  const element = h("section", { "aria-live": "polite" }, h("p", { class: "af-quiet" }, "Looking…"));

  async function look() {
    const [ready, metrics, clients, waiting, system] = await Promise.allSettled([
      readiness(farm),
      farm.get("/metrics"),
      farm.get("/clients", { limit: 1000 }),
      farm.get("/tasks", { status: "pending", limit: ASKED }),
      farm.me?.role === "admin" ? farm.get("/system") : Promise.resolve(null),
    ]);
    const whys = waiting.status === "fulfilled" ? await reasons(farm, waiting.value.tasks) : new Map();
    if (signal.aborted) return;
    fill(
      element,
      h("ul", { class: "af-verdicts" }, server(ready), machines(clients), queue(waiting, whys)),
      metrics.status === "fulfilled" && [h("h3", {}, "Now"), busy(metrics.value)],
      system.status === "fulfilled" && system.value && [h("h3", {}, "The server"), inside(system.value)],
    );
  }

  const timer = setInterval(look, AGAIN);
  signal.addEventListener("abort", () => clearInterval(timer));
  look();
  return element;
}

/** @param {import("./farm.js").Farm} farm @returns {Promise<{version: string}>} */
async function readiness(farm) {
  const answer = await fetch(`${farm.base}/api/ready`, { cache: "no-store" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error.message);
  return told;
}

/** @param {import("./farm.js").Farm} farm @param {import("./types").Task[]} tasks */
async function reasons(farm, tasks) {
  const told = await Promise.allSettled(tasks.map((task) => farm.get(`/tasks/${task.id}/why`)));
  /** @type {Map<string, import("./types").Task[]>} */
  const by = new Map();
  told.forEach((one, index) => {
    if (one.status === "fulfilled" && one.value.status === "pending") by.set(one.value.summary, [...(by.get(one.value.summary) ?? []), tasks[index]]);
  });
  return by;
}

/** @param {"good" | "wait" | "bad"} how @param {...any} rest */
function verdict(how, ...rest) {
  const words = { good: "well", wait: "look", bad: "wrong" }[how];
  return h("li", { class: `af-verdict af-is-${how}` }, h("span", { class: "af-unseen" }, `${words}: `), h("div", {}, rest));
}

/** @param {PromiseSettledResult<{version: string}>} ready */
function server(ready) {
  if (ready.status === "rejected") return verdict("bad", h("strong", {}, "The server cannot work. "), ready.reason.message);
  return verdict("good", h("strong", {}, "The server is ready. "), `Version ${ready.value.version}.`);
}

/** @param {PromiseSettledResult<{clients: import("./types").Client[]}>} asked */
function machines(asked) {
  if (asked.status === "rejected") return null;
  const { clients } = asked.value;
  const active = clients.filter((client) => client.status === "active");
  const away = clients.filter((client) => client.status !== "active");
  const drained = active.filter((client) => client.drained);
  const links = (/** @type {import("./types").Client[]} */ some) => some.map((one, index) => [index ? ", " : "", h("a", { class: "af-link", href: `#/clients/${encodeURIComponent(one.id)}` }, one.id)]);
  if (!active.length)
    return verdict("bad", h("strong", {}, clients.length ? "No machine is connected. " : "No machine has ever connected. "), "Nothing can run until an agent does: ", h("code", {}, "aifarm-agent --server URL --token-file FILE"));
  return [
    away.length
      ? verdict("wait", h("strong", {}, `${active.length} of ${clients.length} machines ${active.length === 1 ? "is" : "are"} connected. `), "Away: ", links(away), ".")
      : verdict("good", h("strong", {}, active.length === 1 ? "The machine is connected." : `All ${active.length} machines are connected.`)),
    drained.length > 0 && verdict("wait", h("strong", {}, `${drained.length} get${drained.length === 1 ? "s" : ""} no new tasks: `), links(drained), "."),
  ];
}

/** @param {PromiseSettledResult<{total: number}>} waiting @param {Map<string, import("./types").Task[]>} whys */
function queue(waiting, whys) {
  if (waiting.status === "rejected") return null;
  const { total } = waiting.value;
  if (!total) return verdict("good", h("strong", {}, "Nothing waits."));
  const lines = [...whys].map(([summary, tasks]) => h("p", {}, `${tasks.length === 1 ? label(tasks[0]) : `${tasks.length} tasks`}: ${summary} `, h("a", { class: "af-link", href: `#/tasks/${tasks[0].id}` }, tasks.length === 1 ? "Show it" : "Show one")));
  return verdict("wait", h("strong", {}, total === 1 ? "1 task waits." : `${format.number(total)} tasks wait.`), lines);
}

/** @param {any} metrics */
function busy({ tasks, usage, ended_last_hour, points_per_second }) {
  return facts([
    ["tasks", ["running", "paused", "pending"].map((state) => `${format.number(tasks[state] ?? 0)} ${state}`).join(", ")],
    ["ended", `${format.number(ended_last_hour)} in the last hour`],
    ["in use", `CPU ${format.percent(usage.cpu)}, RAM ${format.percent(usage.ram)}, GPUs ${format.percent(usage.gpu)}`],
    ["coming in", `${format.number(points_per_second)} metric points a second`],
  ]);
}

/** @param {any} system */
function inside(system) {
  return facts([
    ["database", system.database],
    ["running for", format.duration(system.uptime)],
    ["writes waiting", format.number(system.queued)],
    ["sockets", format.number(system.sockets)],
    ["disk", `${format.memory(system.disk_free)} of ${format.memory(system.disk_total)} are free`],
  ]);
}
