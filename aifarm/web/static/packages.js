/** Packages: what there is, and what one of them declares. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { action, confirmed, copied, empty, facts, failed, moment, table } from "./parts.js";

/**
 * @typedef {import("./farm.js").Farm} Farm
 * @typedef {import("./types").Package} Package
 */

/** @param {Package} one */
const address = (one) => `/packages/${encodeURIComponent(one.name)}/${encodeURIComponent(one.version)}`;

/** @param {Package} one */
const link = (one) => h("a", { class: "af-link", href: `#${address(one)}` }, one.version);

/** @param {Farm} farm */
export function packagesView(farm) {
  const element = h("section", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const read = async () => {
    try {
      const packages = await all(farm);
      const rows = [...Map.groupBy(packages, (one) => one.name)].map(([name, versions]) => {
        const [newest, ...older] = versions.reverse();
        return [
          h("strong", {}, name),
          [link(newest), older.slice(0, 3).map((one) => [", ", link(one)]), older.length > 3 && ` and ${older.length - 3} more`],
          newest.kind,
          h("span", { class: "af-number" }, format.bytes(newest.size)),
          newest.publisher,
          moment(newest.created_at),
        ];
      });
      fill(element, rows.length ? table(["name", "versions", "kind", "size", "publisher", "published"], rows) : empty("No package yet.", h("p", { class: "af-quiet" }, h("code", {}, "aifarm publish DIR"), " puts model code here; so does ", h("code", {}, "farm.publish(…)"), " in a notebook.")));
    } catch (error) {
      fill(element, failed(/** @type {Error} */ (error), read));
    }
  };
  read();
  return element;
}

/** @param {Farm} farm @param {string} [name] @returns {Promise<Package[]>} the oldest of each name first */
async function all(farm, name) {
  /** @type {Package[]} */
  const packages = [];
  for (let page = 1; ; page += 1) {
    const part = await farm.get("/packages", { name, page, limit: 1000 });
    packages.push(...part.packages);
    if (!part.packages.length || packages.length >= part.total) return packages;
  }
}

/** @param {Farm} farm @param {string} name @param {string} version */
export function packageView(farm, name, version) {
  const element = h("article", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const read = async () => {
    try {
      const [one, versions] = await Promise.all([farm.get(address(/** @type {Package} */ ({ name, version }))), all(farm, name)]);
      fill(element, whole(farm, one, versions.reverse()));
    } catch (error) {
      fill(element, failed(/** @type {Error} */ (error), read));
    }
  };
  read();
  return element;
}

/** @param {Farm} farm @param {Package} one @param {Package[]} versions */
function whole(farm, one, versions) {
  const { manifest } = one;
  const defaults = Object.entries(manifest?.defaults ?? {});
  const data = Object.entries(manifest?.data ?? {});
  const files = Object.keys(manifest?.files ?? {});
  const others = versions.filter((other) => other.version !== one.version);
  const remove = async () => {
    const sure = await confirmed(`Delete ${one.name} ${one.version}?`, "Delete", h("p", { class: "af-quiet" }, "Tasks that are over keep their results, but cannot be retried."));
    if (!sure) return;
    await farm.send("DELETE", address(one));
    location.hash = "#/packages";
  };
  return [
    h("div", { class: "af-heading" }, h("h2", {}, `${one.name} ${one.version}`), h("span", { class: "af-quiet" }, one.kind, ", published by ", one.publisher, " ", moment(one.created_at))),
    h(
      "div",
      { class: "af-actions" },
      h("a", { class: "af-button", href: farm.link(one.path), download: true }, `Download (${format.bytes(one.size)})`),
      h("a", { class: "af-button", href: `#/tasks?search=${encodeURIComponent(one.name)}` }, "Its tasks"),
      farm.controls(one.publisher) && action("Delete", remove),
    ),
    h("h3", {}, "Submit it"),
    copied(`farm.submit(${JSON.stringify(one.name)}, version=${JSON.stringify(one.version)})`, "Python call"),
    facts([
      ["begins with", manifest?.entry && h("code", {}, manifest.entry)],
      ["needs", manifest?.requires?.join(", ")],
      ["commit", manifest?.origin && h("code", {}, manifest.origin.commit.slice(0, 12), manifest.origin.dirty ? ", with changes" : "")],
      ["sha256", h("code", {}, one.sha256)],
      ["versions", others.length ? others.map((other, index) => [index ? ", " : "", link(other)]) : ""],
    ]),
    h("h3", {}, "What its config knows, and its defaults"),
    defaults.length ? table(["key", "default"], defaults.map(([key, value]) => [h("code", {}, key), h("code", {}, JSON.stringify(value))])) : h("p", { class: "af-quiet" }, "It declares no defaults of its own."),
    data.length > 0 && [h("h3", {}, "Data"), table(["name", "where"], data.map(([key, ref]) => [key, h("code", {}, ref.url)]))],
    h("h3", {}, `Files (${files.length})`),
    h("ul", { class: "af-files" }, files.map((path) => h("li", {}, h("code", {}, path)))),
  ];
}
