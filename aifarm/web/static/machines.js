/** The machines: what each has, what it does, and who holds its GPUs. */

import { coalesced, h, update } from "./dom.js";
import * as format from "./format.js";
import { badge, empty, label } from "./parts.js";

/** @typedef {import("./types").Client} Client */
/** @typedef {import("./types").Gpu} Gpu */

const AGAIN = 15000; // milliseconds after which "seen … ago" is written anew

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {{onopen?: (id: string) => void, onclient?: (id: string) => void}} [options]
 */
export function machinesView(farm, signal, { onopen = () => {}, onclient } = {}) {
  const element = h("section", { class: "aifarm af-machines" });

  function draw() {
    const clients = [...farm.feed.clients.values()].sort((a, b) => a.id.localeCompare(b.id));
    if (farm.feed.state !== "live" && !clients.length) update(element, h("p", { class: "af-quiet" }, "Loading…"));
    else if (!clients.length) update(element, empty("No machine yet.", h("p", { class: "af-quiet" }, "Start an agent on a workstation: ", h("code", {}, "aifarm-agent --server URL --token-file FILE"))));
    else update(element, clients.map(machine));
  }

  /** @param {Client} client */
  function machine(client) {
    const away = client.status !== "active";
    const { resources } = client;
    const gpus = resources?.gpu ?? [];
    const onGpu = new Set(client.tasks.filter((task) => gpus.some((gpu) => task.gpus.includes(gpu.id))));
    const open = (/** @type {Event} */ event) => {
      event.preventDefault();
      onclient?.(client.id);
    };
    const name = onclient ? h("a", { href: `#/clients/${encodeURIComponent(client.id)}`, class: "af-link", onclick: open }, client.id) : client.id;
    const aside = away ? `seen ${format.ago(client.last_seen)}` : client.hostname !== client.id ? client.hostname : "";
    // Before its first heartbeat both are nought.
    const measured = !away && resources && (resources.cpu.usage || resources.ram.used);
    const ram = resources?.ram.total ? resources.ram : null;
    return h(
      "div",
      { class: `af-machine${away ? " af-away" : ""}`, dataset: { key: client.id } },
      h("div", { class: "af-row" }, h("strong", {}, name), h("span", {}, badge(standing(client))), h("span", { class: "af-spring" }), h("span", { class: "af-quiet" }, aside)),
      note(client),
      h(
        "div",
        { class: "af-meters", dataset: { key: "meters" } },
        meter("CPU", measured ? resources.cpu.usage : null, resources?.cpu.cores ? `${resources.cpu.cores} cores` : ""),
        meter("RAM", measured && ram ? (100 * ram.used) / ram.total : null, sizes(ram, !measured)),
      ),
      gpus.map((gpu) => gpuBlock(gpu, client, away)),
      resources && !gpus.length && h("p", { class: "af-quiet", dataset: { key: "no-gpu" } }, "No GPU."),
      client.tasks.filter((task) => !onGpu.has(task)).map(held),
    );
  }

  /** @param {Gpu} gpu @param {Client} client @param {boolean} away */
  function gpuBlock(gpu, client, away) {
    const memory = gpu.memory.total ? gpu.memory : null;
    const heat = away || gpu.temperature === null || gpu.temperature === undefined ? format.UNKNOWN : `${Math.round(gpu.temperature)} °C`;
    const tasks = client.tasks.filter((task) => task.gpus.includes(gpu.id));
    return h(
      "div",
      { class: "af-gpu", role: "group", "aria-label": `GPU ${gpu.id} of ${client.id}`, dataset: { key: `gpu-${gpu.id}` } },
      h("div", { class: "af-row" }, h("span", {}, `GPU ${gpu.id} · ${gpu.name}`), h("span", { class: "af-spring" }), h("span", { class: "af-number", title: "temperature" }, heat)),
      h(
        "div",
        { class: "af-meters" },
        meter("use", away ? null : gpu.utilization, ""),
        meter("memory", away || !memory ? null : (100 * memory.used) / memory.total, sizes(memory, away)),
      ),
      tasks.map(held),
      !away && others(gpu, tasks.length > 0),
    );
  }

  /** A task that holds something. @param {Client["tasks"][number]} task */
  function held(task) {
    const known = farm.feed.tasks.get(task.id);
    const open = (/** @type {Event} */ event) => {
      event.preventDefault();
      onopen(task.id);
    };
    return h(
      "div",
      { class: "af-row af-holds", dataset: { key: task.id, task: task.id } },
      h("a", { href: `#/tasks/${task.id}`, class: "af-link af-name", onclick: open }, known ? label(known) : format.short(task.id)),
      h("span", { class: "af-quiet" }, [known?.submitter, task.status === "running" ? format.percent(task.progress) : task.status].filter(Boolean).join(" · ")),
    );
  }

  const redraw = coalesced(draw);
  for (const kind of ["client", "task", "snapshot", "gone", "state"]) farm.feed.addEventListener(kind, redraw, { signal });
  const timer = setInterval(redraw, AGAIN);
  signal.addEventListener("abort", () => clearInterval(timer));
  farm.feed.follow("farm", signal);
  draw();
  return element;
}

/** One word for how a machine stands to the farm. @param {Client} client */
export function standing(client) {
  if (client.status !== "active") return client.status;
  if (client.drained) return "drained";
  return client.lends ? client.status : "reclaimed";
}

/** Why it gets no new tasks, where that is so. @param {Client} client */
export function note(client) {
  if (client.drained) return h("p", { class: "af-note", dataset: { key: "note" } }, `Gets no new tasks: ${client.drained}`);
  if (!client.lends) return h("p", { class: "af-note", dataset: { key: "note" } }, "Its owner has taken it back: it gets no new tasks.");
  return null;
}

/** Who else is on a GPU, as far as the driver says. @param {Gpu} gpu @param {boolean} ours whether a task of the farm holds it */
function others(gpu, ours) {
  const there = gpu.processes;
  const words = (there ?? []).map((one) => `${one.user ?? "somebody"}: ${one.name ?? `process ${one.pid}`}, ${format.memory(one.memory)}`);
  if (gpu.held && !ours) words.unshift("Another agent of this machine has it.");
  if (!words.length && !ours) words.push(there ? "Nobody holds it." : `Who holds it: ${format.UNKNOWN}`);
  return words.map((one) => h("p", { class: "af-quiet" }, one));
}

/** @param {{total: number, used: number} | null} memory MiB @param {boolean} unknown what of it is used */
function sizes(memory, unknown) {
  if (!memory) return "";
  return unknown ? format.memory(memory.total) : `${format.memory(memory.used)} of ${format.memory(memory.total)}`;
}

/** @param {string} name @param {number | null | undefined} value percent @param {string} words */
function meter(name, value, words) {
  const known = value !== null && value !== undefined;
  return h(
    "div",
    { class: "af-meter" },
    h("span", { class: "af-meter-name" }, name),
    h("div", { class: "af-bar", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": known ? Math.round(value) : 0, "aria-valuetext": known ? format.percent(value) : format.UNKNOWN }, known && h("div", { style: `width:${Math.min(100, value)}%` })),
    h("span", { class: "af-number" }, known ? format.percent(value) : format.UNKNOWN),
    words && h("span", { class: "af-quiet" }, words),
  );
}
