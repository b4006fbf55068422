/** The panel beside a notebook: what runs, what waits, and the machines. */

import { fill, h } from "./dom.js";
import { machinesView } from "./machines.js";
import { connection } from "./parts.js";
import { queueView } from "./queue.js";

const LOOK = 2000; // milliseconds between two looks at a farm that starts

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {object} host what the host can do
 * @param {(id: string) => void} host.onopen
 * @param {(command: string) => void} host.run
 * @param {Record<string, string>} host.ids
 * @param {() => Promise<any>} host.info
 */
export function panelView(farm, signal, { onopen, run, ids, info }) {
  const body = h("div", {}, h("p", { class: "af-quiet" }, "Loading…"));

  async function begin() {
    if (signal.aborted) return;
    let told;
    try {
      told = await info();
    } catch (error) {
      told = { state: "away", problem: /** @type {Error} */ (error).message };
    }
    if (told.state === "away" || told.state === "starting") {
      fill(
        body,
        told.state === "starting"
          ? h("p", { class: "af-quiet", role: "status" }, "The farm of this machine is starting…")
          : h("div", { class: "af-error", role: "alert" }, h("p", {}, told.problem ?? "There is no farm.")),
      );
      setTimeout(begin, LOOK);
      return;
    }
    fill(
      body,
      connection(farm, signal),
      h("h3", {}, "Queue"),
      queueView(farm, signal, { onopen }),
      h("h3", {}, "Machines"),
      machinesView(farm, signal, { onopen }),
    );
  }

  begin();
  return h(
    "div",
    { class: "af-panel" },
    h(
      "div",
      { class: "af-row" },
      h("strong", {}, "AI Farm"),
      h("span", { class: "af-spring" }),
      h("button", { type: "button", class: "af-link", onclick: () => run(ids.runs) }, "Runs"),
      h("button", { type: "button", class: "af-link", onclick: () => run(ids.diagnostics) }, "Diagnostics"),
    ),
    body,
  );
}
