/** The farm's own page: what a Lab shows in its panel, for every browser. */

import { fill, h } from "./dom.js";
import { Farm } from "./farm.js";
import * as format from "./format.js";
import { clientView } from "./client.js";
import { machinesView } from "./machines.js";
import { packagesView, tokensView } from "./admin.js";
import { connection } from "./parts.js";
import { queueView } from "./queue.js";
import { ASKED, runsView } from "./runs.js";
import { taskView } from "./task.js";

const PAGES = { tasks: "Tasks", queue: "Queue", clients: "Machines", packages: "Packages", tokens: "Tokens" };

const farm = new Farm({ base: location.origin, headers: { "X-AIFarm-Page": "1" } });
let leaving = new AbortController();

/** Whether somebody logged in here: the cookie itself no script can see. */
const KNOWN = "aifarm-logged-in";

/** Who is logged in, or null. */
async function whoami() {
  if (!localStorage.getItem(KNOWN)) return null;
  try {
    return await farm.get("/token");
  } catch (error) {
    if (/** @type {any} */ (error).status !== 401) throw error;
    localStorage.removeItem(KNOWN);
    return null;
  }
}

function login() {
  const complaint = h("p", { class: "af-complaint", role: "alert" });
  const field = /** @type {HTMLInputElement} */ (h("input", { id: "token", type: "password", class: "af-input", autocomplete: "off", required: true, autofocus: true }));
  document.title = "AI Farm";
  fill(
    document.body,
    h(
      "main",
      { class: "aifarm af-login" },
      h("h2", {}, "AI Farm"),
      h(
        "form",
        {
          onsubmit: async (/** @type {Event} */ event) => {
            event.preventDefault();
            try {
              await farm.send("POST", "/session", undefined, { Authorization: `Bearer ${field.value.trim()}` });
              localStorage.setItem(KNOWN, "yes");
              start();
            } catch (error) {
              complaint.textContent = /** @type {Error} */ (error).message;
              field.select();
            }
          },
        },
        h("label", { for: "token" }, "Token"),
        field,
        complaint,
        h("button", { type: "submit", class: "af-button af-primary" }, "Log in"),
      ),
      h("p", { class: "af-note" }, "An administrator makes one with ", h("code", {}, "aifarm token create"), "."),
    ),
  );
  field.focus();
}

async function start() {
  let me;
  try {
    me = await whoami();
  } catch (error) {
    fill(document.body, h("main", { class: "aifarm af-login" }, h("p", { role: "alert" }, /** @type {Error} */ (error).message), h("button", { class: "af-button", onclick: start }, "Try again")));
    return;
  }
  if (!me) return login();
  farm.readonly = me.role === "viewer";
  const pages = Object.entries(PAGES).filter(([page]) => page !== "tokens" || me.role === "admin");
  const links = pages.map(([page, words]) => h("a", { href: `#/${page}`, dataset: { page } }, words));
  const main = h("main", { class: "af-main aifarm" });
  const always = new AbortController();
  fill(
    document.body,
    h(
      "header",
      { class: "af-top aifarm" },
      h("strong", {}, "AI Farm"),
      h("nav", { "aria-label": "pages" }, links),
      h("span", { class: "af-quiet" }, `${me.name} (${me.role})`),
      h("a", { class: "af-link", href: "api/docs" }, "API"),
      h("button", { type: "button", class: "af-link", onclick: logout }, "Log out"),
    ),
    connection(farm, always.signal),
    main,
  );
  window.onhashchange = () => show(main, links, me);
  show(main, links, me);
}

async function logout() {
  leaving.abort();
  await farm.send("DELETE", "/session");
  localStorage.removeItem(KNOWN);
  location.reload();
}

/** @param {HTMLElement} main @param {HTMLElement[]} links @param {any} me */
function show(main, links, me) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "tasks", id] = path.split("/").map(decodeURIComponent);
  const asked = Object.fromEntries([...new URLSearchParams(query)].filter(([name]) => ASKED.includes(name)));
  for (const link of links) {
    if (link.dataset.page === (page || "tasks")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const onopen = (/** @type {string} */ task) => (location.hash = `#/tasks/${task}`);
  const onclient = (/** @type {string} */ client) => (location.hash = `#/clients/${encodeURIComponent(client)}`);
  document.title = `${id ? format.short(id) : (PAGES[/** @type {keyof typeof PAGES} */ (page)] ?? "Tasks")} · AI Farm`;
  const title = h("h1", { tabindex: -1 }, PAGES[/** @type {keyof typeof PAGES} */ (page)] ?? "Tasks");
  if (page === "clients" && id) fill(main, clientView(farm, id, signal, { onopen, admin: me.role === "admin" }));
  else if (page === "clients") fill(main, title, machinesView(farm, signal, { onopen, onclient }));
  else if (page === "queue") fill(main, title, queueView(farm, signal, { onopen }));
  else if (page === "packages") fill(main, title, packagesView(farm));
  else if (page === "tokens") fill(main, title, tokensView(farm));
  else if (id) fill(main, taskView(farm, id, signal, { onretry: onopen }));
  else
    fill(
      main,
      title,
      runsView(farm, signal, {
        onopen,
        asked,
        onasked: (next) => history.replaceState(null, "", `#/tasks?${new URLSearchParams(next)}`),
      }),
    );
  if (signal.aborted) return;
  window.scrollTo(0, 0);
}

start();
