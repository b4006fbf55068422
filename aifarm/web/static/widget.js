/** The views as widgets of a notebook: `view` says which, `options` what of. */

import { fill, h } from "./dom.js";
import { machinesView } from "./machines.js";
import { connection } from "./parts.js";
import { queueView } from "./queue.js";
import { runsView } from "./runs.js";
import { taskView } from "./task.js";

/**
 * @param {import("./farm.js").Farm} farm @param {HTMLElement} el
 * @param {{get: (name: string) => any, on: (event: string, heard: () => void) => void}} model
 * @param {AbortSignal} signal
 */
export function widgetView(farm, el, model, signal) {
  /** @type {AbortController | null} */
  let inner = null;
  const place = h("div", { class: "aifarm af-widget" });
  fill(el, place);

  /** @param {(signal: AbortSignal) => any} make */
  function show(make) {
    inner?.abort();
    const life = new AbortController();
    inner = life;
    fill(place, connection(farm, life.signal), make(life.signal));
  }

  /** @param {string} id @param {(() => void) | null} back @param {string[]} [compare] */
  function task(id, back, compare = []) {
    show((life) => [
      back && h("p", {}, h("button", { type: "button", class: "af-link", onclick: back }, "← all")),
      taskView(farm, id, life, { onretry: (next) => task(next, back), compare }),
    ]);
  }

  function whole() {
    const options = model.get("options");
    switch (model.get("view")) {
      case "task":
        return task(options.id, null, options.compare);
      case "runs":
        return show((life) => runsView(farm, life, { onopen: (id) => task(id, whole), asked: options }));
      default:
        return show((life) => [
          h("h3", {}, "Queue"),
          queueView(farm, life, { onopen: (id) => task(id, whole) }),
          h("h3", {}, "Machines"),
          machinesView(farm, life, { onopen: (id) => task(id, whole) }),
        ]);
    }
  }

  signal.addEventListener("abort", () => inner?.abort());
  model.on("change:options", whole);
  whole();
}
