/** The panel beside a notebook: what runs, what waits, and the machines. */

import { IDS } from "./commands.js";
import { fill, h } from "./dom.js";
import { machinesView } from "./machines.js";
import { connection, label } from "./parts.js";
import { queueView } from "./queue.js";

const LOOK = 2000; // milliseconds between two looks at a farm that starts

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {object} host what the host can do
 * @param {(id: string) => void} host.onopen
 * @param {(id: string) => void} host.onclient
 * @param {(command: string, args?: any) => void} host.run
 * @param {() => {name: string}} host.me
 * @param {() => Promise<any>} host.info
 */
export function panelView(farm, signal, { onopen, onclient, run, me, info }) {
  const body = h("div", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const spoken = h("p", { class: "af-unseen", role: "status" });

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
    const nothing = () => h("button", { type: "button", class: "af-button", onclick: () => run(IDS.first) }, "Open a first notebook");
    fill(
      body,
      connection(farm, signal),
      h("h3", {}, "Queue"),
      queueView(farm, signal, { onopen, onmenu, nothing }),
      h("h3", {}, "Machines"),
      machinesView(farm, signal, { onopen, onclient }),
    );
  }

  // Whoever cannot see the panel hears how one's own tasks fare.
  /** @type {Map<string, string>} */
  const states = new Map();
  farm.feed.addEventListener(
    "task",
    (event) => {
      const task = /** @type {CustomEvent} */ (event).detail;
      if (task.submitter !== me().name || states.get(task.id) === task.status) return;
      states.set(task.id, task.status);
      spoken.textContent = `${label(task)}: ${task.status}`;
    },
    { signal },
  );

  begin();
  const link = (/** @type {string} */ words, /** @type {string} */ view) => h("button", { type: "button", class: "af-link", onclick: () => run(IDS.open, { view }) }, words);
  return h(
    "div",
    { class: "af-panel" },
    h("div", { class: "af-row" }, h("h2", {}, "AI Farm"), h("span", { class: "af-spring" }), link("Runs", "runs"), link("Diagnostics", "diagnostics")),
    spoken,
    body,
  );
}

/** What Lab shows on a right click there. @param {HTMLElement} button */
function onmenu(button) {
  const { left, bottom } = button.getBoundingClientRect();
  button.dispatchEvent(new MouseEvent("contextmenu", { bubbles: true, cancelable: true, clientX: left, clientY: bottom }));
}
