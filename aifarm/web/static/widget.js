/** The views as widgets of a notebook: `view` says which, `options` what of. */

import { fill, h } from "./dom.js";
import { machinesView } from "./machines.js";
import { connection } from "./parts.js";
import { queueView } from "./queue.js";
import { runsView } from "./runs.js";
import { taskView } from "./task.js";

/**
 * @typedef {object} Model the widget's, as the kernel has it too
 * @property {(name: string) => any} get
 * @property {(name: string, value: any) => void} set
 * @property {() => void} save_changes
 * @property {(event: string, heard: () => void) => void} on
 * @property {(event: string, heard: () => void) => void} off
 */

/**
 * @param {import("./farm.js").Farm} farm @param {HTMLElement} el
 * @param {Model} model
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

  /** What is asked of the runs, which is kept while one of them is looked at. */
  let asked = model.get("options");

  /** @param {AbortSignal} life @returns {import("./runs.js").Selection} */
  function selection(life) {
    return {
      ids: model.get("selected"),
      onchange(ids) {
        model.set("selected", ids);
        model.save_changes();
      },
      listen(heard) {
        const changed = () => heard(model.get("selected"));
        model.on("change:selected", changed);
        life.addEventListener("abort", () => model.off("change:selected", changed));
      },
    };
  }

  function whole() {
    const options = model.get("options");
    switch (model.get("view")) {
      case "task":
        return task(options.id, null, options.compare);
      case "runs":
        return show((life) =>
          runsView(farm, life, {
            onopen: (id) => task(id, whole),
            asked,
            onasked: (next) => (asked = next),
            selection: selection(life),
          }),
        );
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
  model.on("change:options", () => {
    asked = model.get("options");
    whole();
  });
  whole();
}
