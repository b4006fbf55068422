/** Data that tasks are given: what lies on the farm. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { action, confirmed, empty, failed, moment, table } from "./parts.js";

/** @param {import("./farm.js").Farm} farm */
export function dataView(farm) {
  const element = h("section", {}, h("p", { class: "af-quiet" }, "Loading…"));
  let page = 1;

  async function read() {
    try {
      const { data, total } = await farm.get("/data", { limit: 100, page });
      fill(element, data.length ? [table(["name", "kind", "size", "put by", "when", ""], data.map(row)), turn(total)] : nothing());
    } catch (error) {
      fill(element, failed(/** @type {Error} */ (error), read));
    }
  }

  /** @param {import("./types").Data} one */
  function row(one) {
    const remove = async () => {
      if (!(await confirmed(`Delete ${one.name}?`, "Delete", h("p", { class: "af-quiet" }, "Tasks that name it can no longer begin.")))) return;
      await farm.send("DELETE", `/data/${one.sha256}`);
      await read();
    };
    return [
      [h("strong", {}, one.name), " ", h("code", { class: "af-quiet", title: one.url }, format.short(one.sha256))],
      one.kind,
      h("span", { class: "af-number" }, format.bytes(one.size)),
      one.putter,
      moment(one.created_at),
      h("div", { class: "af-actions" }, h("a", { class: "af-link", href: farm.link(`/api/v2/data/${one.sha256}`), download: true }, "Download"), farm.controls(one.putter) && action("Delete", remove)),
    ];
  }

  /** @param {number} total */
  function turn(total) {
    const to = (/** @type {number} */ next) => {
      page = next;
      read();
    };
    if (total <= 100) return null;
    return h(
      "div",
      { class: "af-row af-foot" },
      h("button", { type: "button", class: "af-button", disabled: page <= 1, onclick: () => to(page - 1) }, "Newer"),
      h("span", { class: "af-quiet" }, `page ${page} of ${Math.ceil(total / 100)}`),
      h("button", { type: "button", class: "af-button", disabled: page * 100 >= total, onclick: () => to(page + 1) }, "Older"),
    );
  }

  read();
  return element;
}

function nothing() {
  return empty("No data yet.", h("p", { class: "af-quiet" }, h("code", {}, "farm.put(array)"), " or ", h("code", {}, "aifarm data put PATH"), " brings some; tasks name it by its address."));
}
