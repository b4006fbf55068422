/** Where a browser says who it is. */

import { h } from "./dom.js";
import { FarmError } from "./farm.js";

/** What the farm's own sentences leave open here, by the status of its answer. @type {Record<number, string>} */
const SENTENCES = {
  401: "The farm does not know this token: it may be mistyped, expired or revoked.",
  403: "An agent's token opens no pages; take a viewer's, a researcher's or an administrator's.",
};

/**
 * @param {import("./farm.js").Farm} farm @param {() => void} onin called once the browser is logged in
 * @param {string} [why] it was logged out
 */
export function loginView(farm, onin, why = "") {
  const complaint = h("p", { class: "af-complaint", id: "complaint", role: "alert" });
  const field = /** @type {HTMLInputElement} */ (h("input", { id: "token", type: "password", class: "af-input", autocomplete: "off", autofocus: true, "aria-describedby": "complaint" }));
  const button = h("button", { type: "submit", class: "af-button af-primary" }, "Log in");

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    const token = field.value.trim();
    try {
      if (!/^[\x21-\x7e]+$/.test(token)) throw new FarmError(token ? SENTENCES[401] : "Paste your token here.", "", 0);
      await farm.send("POST", "/session", undefined, { Authorization: `Bearer ${token}` });
    } catch (error) {
      const { status, message } = /** @type {FarmError} */ (error);
      complaint.textContent = SENTENCES[status] ?? message;
      field.setAttribute("aria-invalid", "true");
      field.select();
      return;
    }
    onin();
  }

  return h(
    "main",
    { class: "aifarm af-login" },
    h("h1", {}, h("img", { src: "static/icon.svg", alt: "", width: 28, height: 28 }), "AI Farm"),
    why && h("p", { role: "status" }, why),
    h("form", { onsubmit: submit }, h("label", { for: "token" }, "Token"), field, complaint, button),
    h("p", { class: "af-note" }, "An administrator makes one here, or with ", h("code", {}, "aifarm token create"), ". The first one lies in the server's data folder, as ", h("code", {}, "admin-token"), "."),
  );
}
