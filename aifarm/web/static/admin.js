/** Packages for everybody, and tokens for administrators. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { action, empty, failed } from "./parts.js";

/** @param {string[]} names @param {any[][]} rows */
function table(names, rows) {
  return h(
    "div",
    { class: "af-wide" },
    h(
      "table",
      { class: "af-table" },
      h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell))))),
    ),
  );
}

/** @param {import("./farm.js").Farm} farm */
export function packagesView(farm) {
  const element = h("section", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const read = async () => {
    try {
      const { packages } = await farm.get("/packages", { limit: 1000 });
      const rows = packages.map((/** @type {any} */ one) => [
        h("strong", {}, one.name),
        one.version,
        one.kind,
        format.bytes(one.size),
        one.publisher,
        h("span", { title: format.time(one.created_at) }, format.ago(one.created_at)),
        h("a", { class: "af-link", href: farm.link(one.path), download: true }, "Download"),
      ]);
      fill(element, rows.length ? table(["name", "version", "kind", "size", "publisher", "published", ""], rows) : empty("No package yet.", h("p", { class: "af-quiet" }, h("code", {}, "aifarm publish DIR"), " puts model code here.")));
    } catch (error) {
      fill(element, failed(/** @type {Error} */ (error), read));
    }
  };
  read();
  return element;
}

/** @param {import("./farm.js").Farm} farm */
export function tokensView(farm) {
  const list = h("div", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const secret = h("div", { role: "status" });
  const name = /** @type {HTMLInputElement} */ (h("input", { class: "af-input", placeholder: "Name", "aria-label": "Name" }));
  const role = /** @type {HTMLSelectElement} */ (h("select", { class: "af-input", "aria-label": "Role" }, ["researcher", "viewer", "agent", "admin"].map((one) => h("option", {}, one))));
  const read = async () => {
    try {
      const { tokens } = await farm.get("/tokens");
      const rows = tokens.map((/** @type {any} */ one) => [
        h("strong", {}, one.name),
        one.role,
        one.client_id ?? one.label ?? "",
        format.ago(one.created_at),
        one.revoked_at ? "revoked" : one.expires_at ? `until ${format.time(one.expires_at)}` : "valid",
        one.revoked_at ? "" : h("div", { class: "af-actions" }, action("Revoke", () => farm.send("DELETE", `/tokens/${one.id}`).then(read))),
      ]);
      fill(list, table(["name", "role", "bound to", "made", "state", ""], rows));
    } catch (error) {
      fill(list, failed(/** @type {Error} */ (error), read));
    }
  };
  const make = action("Make a token", async () => {
    const made = await farm.send("POST", "/tokens", { name: name.value.trim(), role: role.value });
    fill(secret, h("p", {}, "Shown this once: ", h("code", {}, made.token)));
    name.value = "";
    read();
  });
  read();
  return h("section", {}, h("div", { class: "af-actions" }, name, role, make), secret, list);
}
