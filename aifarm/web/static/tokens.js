/** Tokens, for administrators: who may speak to the farm. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { action, confirmed, copied, failed, moment, table } from "./parts.js";

const ROLES = {
  researcher: "submits, and changes what is their own",
  viewer: "only looks",
  agent: "a workstation's: trains",
  admin: "everything",
};

const DAY = 86400;
/** @type {[string, number | null][]} */
const ENDS = [["never", null], ["after a day", DAY], ["after a week", 7 * DAY], ["after 30 days", 30 * DAY], ["after 90 days", 90 * DAY], ["after a year", 365 * DAY]];

/** @param {import("./farm.js").Farm} farm */
export function tokensView(farm) {
  const list = h("div", {}, h("p", { class: "af-quiet" }, "Loading…"));
  const secret = h("div", { role: "status" });

  async function read() {
    try {
      const { tokens } = await farm.get("/tokens", { limit: 1000 });
      const ended = (/** @type {any} */ one) => one.revoked_at ?? (one.expires_at && Date.parse(one.expires_at) <= Date.now());
      const [valid, over] = [tokens.filter((/** @type {any} */ one) => !ended(one)), tokens.filter(ended)];
      const names = ["name", "role", "bound to", "made", "valid", ""];
      fill(
        list,
        table(names, valid.reverse().map(row)),
        over.length > 0 && h("details", {}, h("summary", {}, `${over.length} revoked or expired`), table(names, over.reverse().map(row))),
      );
    } catch (error) {
      fill(list, failed(/** @type {Error} */ (error), read));
    }
  }

  /** @param {import("./types").Token} one */
  function row(one) {
    const own = one.id === farm.me?.id;
    const revoke = async () => {
      const what = own ? "You are logged in with it: this logs you out." : one.role === "agent" ? "Its agents can no longer connect; what they train cannot report." : "Whoever uses it is logged out at once.";
      if (!(await confirmed(`Revoke the token ${one.name}?`, "Revoke", h("p", { class: "af-quiet" }, what)))) return;
      await farm.send("DELETE", `/tokens/${one.id}`);
      await read();
    };
    return [
      [h("strong", {}, one.name), own && [" ", h("span", { class: "af-tag" }, "yours")]],
      one.role,
      one.client_id ?? one.label ?? "",
      moment(one.created_at),
      one.revoked_at ? ["revoked ", moment(one.revoked_at)] : one.expires_at ? `until ${format.time(one.expires_at)}` : "until revoked",
      one.revoked_at ? "" : h("div", { class: "af-actions" }, action("Revoke", revoke)),
    ];
  }

  read();
  return h("section", {}, maker(farm, secret, read), secret, list);
}

/** @param {import("./farm.js").Farm} farm @param {HTMLElement} secret @param {() => void} made */
function maker(farm, secret, made) {
  const name = /** @type {HTMLInputElement} */ (h("input", { id: "token-name", class: "af-input", maxlength: 128 }));
  const role = /** @type {HTMLSelectElement} */ (h("select", { id: "token-role", class: "af-input", onchange: () => bound.classList.toggle("af-hidden", role.value !== "agent") }, Object.entries(ROLES).map(([one, words]) => h("option", { value: one }, `${one}: ${words}`))));
  const client = /** @type {HTMLInputElement} */ (h("input", { id: "token-client", class: "af-input", placeholder: "any" }));
  const ends = /** @type {HTMLSelectElement} */ (h("select", { id: "token-ends", class: "af-input" }, ENDS.map(([words], index) => h("option", { value: index }, words))));
  const bound = labelled("Client-ID it is bound to", client);
  bound.classList.add("af-hidden");
  const make = action("Make a token", async () => {
    const body = { name: name.value.trim(), role: role.value, expires: ENDS[Number(ends.value)][1], client_id: (role.value === "agent" && client.value.trim()) || null };
    if (!body.name) throw new Error("Give it a name: the person's, or the workstation's.");
    const token = await farm.send("POST", "/tokens", body);
    fill(secret, h("div", { class: "af-secret" }, h("p", {}, h("strong", {}, `The token of ${token.name}. `), "It is shown this once; the farm keeps only its hash."), copied(token.token, "Token")));
    name.value = "";
    made();
  }, { class: "af-button af-primary" });
  return h("div", { class: "af-actions af-maker" }, labelled("Name", name), labelled("Role", role), bound, labelled("Expires", ends), make);
}

/** @param {string} words @param {HTMLElement} field */
function labelled(words, field) {
  return h("div", { class: "af-field" }, h("label", { for: field.id }, words), field);
}
