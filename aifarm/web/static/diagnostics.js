/** What to look at when something does not work: versions, connection, agents. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { standing } from "./machines.js";
import { facts } from "./parts.js";

/** @typedef {{title: string, facts: [string, string | null | undefined][]}} Section */

const MODES = {
  starting: "starts on this machine",
  leading: "leading: this Jupyter server runs the farm of this machine",
  following: "following: another Jupyter server of yours runs the farm of this machine",
  attached: "attached to a farm elsewhere",
  away: "there is none",
};
const SILENT = 120; // seconds after which an agent that is said to be there is worth a word

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {object} host
 * @param {() => Promise<any>} host.info what the server extension says of itself
 * @param {() => Promise<any>} host.door the package of the extension that JupyterLab has loaded
 * @param {() => {name: string, role: string}} host.me
 * @param {(text: string) => void} host.copy
 * @param {string} host.lab its version @param {number} host.protocol as this page speaks it
 */
export function diagnosticsView(farm, signal, { info, door, me, copy, lab, protocol }) {
  const element = h("section", { class: "af-diagnostics" }, h("p", { class: "af-quiet" }, "Looking…"));

  async function look() {
    const [server, front, system] = await Promise.allSettled([info(), door(), me().role === "admin" ? farm.get("/system") : null]);
    if (signal.aborted) return;
    const told = server.status === "fulfilled" ? server.value : null;
    const installed = front.status === "fulfilled" ? front.value.version : null;
    const running = system.status === "fulfilled" ? system.value : null;
    const clients = [...farm.feed.clients.values()].sort((a, b) => a.id.localeCompare(b.id));
    const xsrf = /(^|; )_xsrf=/.test(document.cookie);
    /** @type {Section[]} */
    const sections = [
      {
        title: "This page",
        facts: [
          ["JupyterLab", lab],
          ["AI Farm in it", installed ?? format.UNKNOWN],
          ["protocol", String(protocol)],
          ["live socket", farm.feed.state],
          ["XSRF cookie", xsrf ? "there" : "none: a token is used instead"],
          ["address", location.origin],
          ["browser", navigator.userAgent],
        ],
      },
      {
        title: "The Jupyter server",
        facts: told
          ? [
              ["AI Farm", told.versions.aifarm],
              ["protocol", String(told.protocol)],
              ["Jupyter Server", told.versions.jupyter_server],
              ["Tornado", told.versions.tornado],
            ]
          : [["AI Farm", "does not answer"]],
      },
      {
        title: "The farm",
        facts: [
          ["mode", told ? MODES[/** @type {keyof typeof MODES} */ (told.state)] : format.UNKNOWN],
          ["at", told?.url],
          ["log", told?.logs ?? (told?.state === "attached" ? "on the farm's server" : null)],
          ["version", running?.version],
          ["database", running?.database],
          ["you", me().name && `${me().name} (${me().role})`],
        ],
      },
      {
        title: "Agents",
        facts: clients.length
          ? clients.map((client) => [client.id, `${standing(client)}, version ${client.agent_version || format.UNKNOWN}, heard ${format.ago(client.last_seen)}`])
          : [["none", "has ever connected"]],
      },
    ];
    const wrong = problems({ server, told, installed, protocol, live: farm.feed.state, clients });
    const text = [...wrong, ...sections.flatMap(({ title, facts }) => ["", title, ...facts.filter(([, value]) => value).map(([name, value]) => `  ${name}: ${value}`)])].join("\n").trim();
    const done = h("span", { role: "status" });
    fill(
      element,
      h("h2", {}, "Diagnostics"),
      wrong.length ? h("ul", { class: "af-problems", role: "alert" }, wrong.map((sentence) => h("li", {}, sentence))) : h("p", { role: "status" }, "Nothing is found to be wrong."),
      h(
        "div",
        { class: "af-actions" },
        h("button", { type: "button", class: "af-button", onclick: look }, "Look again"),
        h(
          "button",
          {
            type: "button",
            class: "af-button",
            onclick: () => {
              copy(text);
              fill(done, "Copied.");
            },
          },
          "Copy as text",
        ),
        done,
      ),
      sections.map(({ title, facts: known }) => [h("h3", {}, title), facts(known)]),
    );
  }

  farm.feed.follow("farm", signal);
  farm.feed.addEventListener("state", look, { signal });
  look();
  return element;
}

/**
 * What is wrong, each in one sentence that says what to do.
 * @param {{server: PromiseSettledResult<any>, told: any, installed: string | null, protocol: number, live: string, clients: import("./types").Client[]}} found
 */
export function problems({ server, told, installed, protocol, live, clients }) {
  const found = [];
  if (!told) return [`${/** @type {PromiseRejectedResult} */ (server).reason.message} Look at the log of the Jupyter server, and start it again.`];
  if (told.protocol !== protocol) found.push("This page is of another version than the Jupyter server: reload it.");
  const { aifarm } = told.versions;
  if (installed && installed !== aifarm) {
    const old = newer(aifarm, installed) ? "JupyterLab is installed" : "the Jupyter server runs";
    found.push(`JupyterLab has AI Farm ${installed}, the Jupyter server ${aifarm}: upgrade aifarm in the environment in which ${old}, and restart Jupyter.`);
  }
  if (told.state === "away") found.push(told.problem ?? "There is no farm.");
  else if (live === "away") found.push("The live socket does not open: a proxy before Jupyter has to let WebSockets through to aifarm/api/v2/live.");
  const silent = clients.filter((client) => client.status === "active" && Date.now() - Date.parse(client.last_seen) > SILENT * 1000);
  for (const client of silent) found.push(`${client.id} was last heard ${format.ago(client.last_seen)}: look at its agent's log.`);
  return found;
}

/** Whether the one version is newer than the other. @param {string} one @param {string} other */
function newer(one, other) {
  return one.localeCompare(other, "en", { numeric: true }) > 0;
}
