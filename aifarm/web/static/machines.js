/** The machines: what each has, what it does, and who holds its GPUs. */

import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import { badge, empty } from "./parts.js";

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {{onopen?: (id: string) => void, onclient?: (id: string) => void}} [options]
 */
export function machinesView(farm, signal, { onopen = () => {}, onclient } = {}) {
  const element = h("section", { class: "aifarm af-machines" });

  function draw() {
    const clients = [...farm.feed.clients.values()].sort((a, b) => a.id.localeCompare(b.id));
    if (farm.feed.state !== "live" && !clients.length) {
      fill(element, h("p", { class: "af-quiet" }, "Loading…"));
      return;
    }
    if (!clients.length) {
      fill(element, empty("No machine yet.", h("p", { class: "af-quiet" }, "Start an agent on a workstation: ", h("code", {}, "aifarm-agent --server URL --token-file FILE"))));
      return;
    }
    fill(element, clients.map((client) => machine(client)));
  }

  /** @param {import("./types").Client} client */
  function machine(client) {
    const away = client.status !== "active";
    const resources = client.resources;
    const name = onclient ? h("a", { href: `#/clients/${client.id}`, class: "af-link", onclick: (/** @type {Event} */ event) => { event.preventDefault(); onclient(client.id); } }, client.id) : client.id;
    return h(
      "div",
      { class: `af-machine${away ? " af-away" : ""}` },
      h("div", { class: "af-row" }, h("strong", {}, name), badge(client.drained ? "drained" : client.status), h("span", { class: "af-spring" }), h("span", { class: "af-quiet" }, away ? `seen ${format.ago(client.last_seen)}` : client.hostname !== client.id ? client.hostname : "")),
      client.drained && h("p", { class: "af-note" }, client.drained),
      h(
        "div",
        { class: "af-meters" },
        meter("CPU", away ? null : resources?.cpu.usage, resources ? `${resources.cpu.cores} cores` : format.UNKNOWN),
        meter("RAM", away || !resources?.ram.total ? null : (100 * resources.ram.used) / resources.ram.total, resources?.ram.total ? `${format.memory(resources.ram.used)} of ${format.memory(resources.ram.total)}` : format.UNKNOWN),
      ),
      (resources?.gpu ?? []).map((gpu) => gpuLine(gpu, away)),
      client.tasks.map((task) => {
        const known = farm.feed.tasks.get(task.id);
        return h("div", { class: "af-row af-holds" }, badge(task.status), h("a", { href: `#/tasks/${task.id}`, class: "af-link", onclick: (/** @type {Event} */ event) => { event.preventDefault(); onopen(task.id); } }, known?.title ?? known?.name ?? format.short(task.id)), h("span", { class: "af-spring" }), h("span", { class: "af-quiet" }, `${known?.submitter ?? ""} ${format.percent(task.progress)}`));
      }),
    );
  }

  const redraw = coalesced(draw);
  for (const kind of ["client", "task", "snapshot", "gone", "state"]) farm.feed.addEventListener(kind, redraw, { signal });
  farm.feed.follow("farm", signal);
  draw();
  return element;
}

/** @param {import("./types").Gpu} gpu @param {boolean} away */
function gpuLine(gpu, away) {
  const { total, used } = gpu.memory;
  const heat = gpu.temperature === null || gpu.temperature === undefined ? format.UNKNOWN : `${Math.round(gpu.temperature)} °C`;
  const holders = (gpu.processes ?? []).map((one) => `${one.user ?? "?"}: ${one.name ?? one.pid} ${format.memory(one.memory)}`);
  return h(
    "div",
    { class: "af-gpu" },
    h("span", { class: "af-quiet" }, `${gpu.id} · ${gpu.name}`),
    h("div", { class: "af-meters" }, meter("GPU", away ? null : gpu.utilization, heat), meter("memory", away || !total ? null : (100 * used) / total, `${format.memory(used)} of ${format.memory(total)}`)),
    holders.length > 0 && h("p", { class: "af-quiet" }, holders.join(", ")),
  );
}

/** @param {string} name @param {number | null | undefined} value percent @param {string} words */
function meter(name, value, words) {
  const known = value !== null && value !== undefined;
  return h(
    "div",
    { class: "af-meter" },
    h("span", { class: "af-meter-name" }, name),
    h("div", { class: "af-bar", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": known ? Math.round(value) : null, "aria-valuetext": known ? null : format.UNKNOWN }, known && h("div", { style: `width:${Math.min(100, value)}%` })),
    h("span", { class: "af-number" }, known ? format.percent(value) : format.UNKNOWN),
    h("span", { class: "af-quiet" }, words),
  );
}
