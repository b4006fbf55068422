/** What to look at when something does not work: versions, connection, agents. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { badge, facts } from "./parts.js";

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {{info: () => Promise<any>, lab: string, protocol: number}} host
 */
export function diagnosticsView(farm, signal, { info, lab, protocol }) {
  const element = h("section", {}, h("p", { class: "af-quiet" }, "Looking…"));

  async function look() {
    const [server, token] = await Promise.allSettled([info(), farm.get("/token")]);
    if (signal.aborted) return;
    const told = server.status === "fulfilled" ? server.value : null;
    const clients = [...farm.feed.clients.values()];
    fill(
      element,
      h("h2", {}, "Diagnostics"),
      h("h3", {}, "This page"),
      facts([
        ["JupyterLab", lab],
        ["protocol", String(protocol)],
        ["live socket", farm.feed.state],
        ["XSRF cookie", /(^|; )_xsrf=/.test(document.cookie) ? "there" : "none (a token is used instead)"],
      ]),
      h("h3", {}, "The Jupyter server's extension"),
      told
        ? facts([
            ["farm", told.state],
            ["at", told.url],
            ["problem", told.problem],
            ["protocol", told.protocol === protocol ? String(told.protocol) : h("span", { class: "af-complaint" }, `${told.protocol}: reload the page, or install the same version of aifarm on both sides`)],
            ...Object.entries(told.versions),
          ])
        : h("p", { class: "af-complaint" }, /** @type {PromiseRejectedResult} */ (server).reason.message),
      h("h3", {}, "You"),
      token.status === "fulfilled"
        ? facts([["name", token.value.name], ["role", token.value.role]])
        : h("p", { class: "af-complaint" }, token.reason.message),
      h("h3", {}, "Agents"),
      clients.length
        ? h(
            "table",
            { class: "af-table" },
            h("thead", {}, h("tr", {}, ["machine", "state", "agent", "last heard"].map((name) => h("th", { scope: "col" }, name)))),
            h("tbody", {}, clients.map((client) => h("tr", {}, h("td", {}, client.id), h("td", {}, badge(client.status)), h("td", {}, client.agent_version || format.UNKNOWN), h("td", {}, format.ago(client.last_seen))))),
          )
        : h("p", { class: "af-quiet" }, "None has ever connected."),
      h("p", {}, h("button", { type: "button", class: "af-button", onclick: look }, "Look again")),
    );
  }

  farm.feed.follow("farm", signal);
  farm.feed.addEventListener("state", look, { signal });
  look();
  return element;
}
