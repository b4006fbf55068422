/**
 * A view in a notebook's output that Lab draws itself: it needs no kernel, so that it is there again
 * after a reload, whatever has become of the kernel.
 */

import { widgetView } from "./widget.js";

/** As `aifarm_jupyter.widgets` writes it. */
const MIME = "application/vnd.aifarm.view+json";

/** Before the widget's own, which is -10. */
const RANK = -20;

/** @param {any} registry of Lab's renderers @param {any} Widget Lumino's @param {import("./farm.js").Farm} farm */
export function renderViews(registry, Widget, farm) {
  class View extends Widget {
    /** @param {any} model an output's */
    async renderModel(model) {
      this._life?.abort();
      this._life = new AbortController();
      const data = model.data[MIME];
      const nothing = () => {}; // no kernel has a part in it
      const still = { get: (/** @type {string} */ name) => data[name], set: nothing, save_changes: nothing, on: nothing, off: nothing };
      widgetView(farm, this.node, still, this._life.signal);
    }

    dispose() {
      this._life?.abort();
      super.dispose();
    }
  }
  registry.addFactory({ safe: true, mimeTypes: [MIME], createRenderer: () => new View() }, RANK);
}
