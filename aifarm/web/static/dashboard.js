/** The farm's own page: what a Lab shows in its panel, for every browser. Each view has an address. */

import { clientView } from "./client.js";
import { dataView } from "./data.js";
import { fill, h } from "./dom.js";
import { Farm } from "./farm.js";
import * as format from "./format.js";
import { healthView } from "./health.js";
import { loginView } from "./login.js";
import { machinesView } from "./machines.js";
import { packagesView, packageView } from "./packages.js";
import { connection, empty, failed, label } from "./parts.js";
import { queueView } from "./queue.js";
import { ASKED, runsView } from "./runs.js";
import { taskView } from "./task.js";
import { tokensView } from "./tokens.js";

/** Whether somebody logged in here: the cookie itself no script can see. */
const KNOWN = "aifarm-logged-in";

const farm = new Farm({ base: location.origin, headers: { "X-AIFarm-Page": "1" }, onstranger: () => inside && lost() });

/** Ends what is shown at this address, and what is shown at all. */
let leaving = new AbortController();
let inside = false;

const open = (/** @type {string} */ task) => (location.hash = `#/tasks/${task}`);
const openClient = (/** @type {string} */ client) => (location.hash = `#/clients/${encodeURIComponent(client)}`);

/**
 * What stands at `#/NAME`, and at `#/NAME/ID…`.
 * @typedef {object} Place
 * @property {string} words
 * @property {(signal: AbortSignal, query: URLSearchParams) => any} all
 * @property {(signal: AbortSignal, ...ids: string[]) => any} [one]
 * @property {boolean} [admin] for administrators alone
 */

/** @type {Record<string, Place>} */
const PLACES = {
  tasks: {
    words: "Tasks",
    all: (signal, query) =>
      runsView(farm, signal, {
        onopen: open,
        asked: Object.fromEntries([...query].filter(([name]) => ASKED.includes(name))),
        onasked: (next) => history.replaceState(null, "", `#/tasks?${new URLSearchParams(next)}`),
      }),
    one: (signal, id) => taskView(farm, id, signal, { onretry: open }),
  },
  queue: { words: "Queue", all: (signal) => queueView(farm, signal, { onopen: open }) },
  clients: {
    words: "Machines",
    all: (signal) => machinesView(farm, signal, { onopen: open, onclient: openClient }),
    one: (signal, id) => clientView(farm, id, signal, { onopen: open, admin: farm.me?.role === "admin" }),
  },
  packages: { words: "Packages", all: () => packagesView(farm), one: (_, name, version) => packageView(farm, name, version) },
  data: { words: "Data", all: () => dataView(farm) },
  tokens: { words: "Tokens", all: () => tokensView(farm), admin: true },
  health: { words: "Health", all: (signal) => healthView(farm, signal) },
};

// ---------------------------------------------------------------- who is here

async function start() {
  if (!localStorage.getItem(KNOWN)) return ask();
  try {
    farm.me = await farm.get("/token");
  } catch (error) {
    if (/** @type {any} */ (error).status === 401) return ask();
    fill(document.body, h("main", { class: "aifarm af-login" }, h("h1", {}, "AI Farm"), failed(/** @type {Error} */ (error), start)));
    return;
  }
  enter();
}

/** @param {string} [why] */
function ask(why) {
  inside = false;
  localStorage.removeItem(KNOWN);
  document.title = "Log in · AI Farm";
  const onin = () => {
    localStorage.setItem(KNOWN, "yes");
    start();
  };
  fill(document.body, loginView(farm, onin, why));
  document.getElementById("token")?.focus();
}

/** The log-in has ended. The address stays: who logs in again comes back to it. */
function lost() {
  leaving.abort();
  window.onhashchange = null;
  ask("Your log-in has ended. Log in again to go on where you were.");
}

async function leave() {
  inside = false;
  leaving.abort();
  window.onhashchange = null;
  try {
    await farm.send("DELETE", "/session");
  } catch (error) {
    if (/** @type {any} */ (error).status !== 401) return failedToLeave(/** @type {Error} */ (error));
  }
  history.replaceState(null, "", location.pathname);
  ask();
}

/** @param {Error} error */
function failedToLeave(error) {
  fill(document.body, h("main", { class: "aifarm af-login" }, h("h1", {}, "AI Farm"), h("p", {}, "You are still logged in."), failed(error, leave)));
}

// ---------------------------------------------------------------- what is shown

function enter() {
  inside = true;
  const me = /** @type {import("./types").Token} */ (farm.me);
  farm.readonly = me.role === "viewer";
  const places = Object.entries(PLACES).filter(([, place]) => !place.admin || me.role === "admin");
  const links = places.map(([name, { words }]) => h("a", { href: `#/${name}`, dataset: { name } }, words));
  const main = h("main", { class: "af-main aifarm" });
  // A new tab is the browser's matter, whatever a view does with a plain click.
  const aside = (/** @type {MouseEvent} */ event) => {
    const link = event.target instanceof Element && event.target.closest("a");
    if (link && (event.ctrlKey || event.metaKey || event.shiftKey)) event.stopPropagation();
  };
  main.addEventListener("click", aside, { capture: true });
  const always = new AbortController();
  fill(
    document.body,
    h(
      "header",
      { class: "af-top aifarm" },
      h("strong", {}, h("img", { src: "static/icon.svg", alt: "", width: 20, height: 20 }), "AI Farm"),
      h("nav", { "aria-label": "Pages" }, links),
      h("div", { class: "af-who" }, h("span", { class: "af-quiet", title: me.expires_at ? `The token is valid until ${format.time(me.expires_at)}.` : null }, `${me.name} (${me.role})`), h("a", { class: "af-link", href: "api/docs" }, "API"), h("button", { type: "button", class: "af-link", onclick: leave }, "Log out")),
    ),
    connection(farm, always.signal),
    main,
  );
  window.onhashchange = () => show(main, links, true);
  show(main, links, false);
}

/** @param {HTMLElement} main @param {HTMLElement[]} links @param {boolean} moved from another address */
function show(main, links, moved) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { name, ids, query } = address();
  for (const link of links)
    if (link.dataset.name === name) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone there is room for some
    } else link.removeAttribute("aria-current");
  const place = links.some((link) => link.dataset.name === name) ? PLACES[name] : undefined;
  const heading = h("h1", { tabindex: -1 }, place?.words ?? "There is no such page");
  entitle(place, ids);
  if (!place || (ids.length && !place.one)) fill(main, heading, empty("Nothing is at this address.", h("a", { class: "af-link", href: "#/tasks" }, "All tasks")));
  else if (ids.length && place.one) {
    heading.classList.add("af-crumb");
    fill(heading, h("a", { class: "af-link", href: `#/${name}` }, place.words));
    fill(main, heading, place.one(signal, ...ids));
    if (name === "tasks") for (const news of ["snapshot", "task"]) farm.feed.addEventListener(news, () => entitle(place, ids), { signal });
  } else fill(main, heading, place.all(signal, query));
  // What a socket may still say, only a request can: whether this browser is logged in.
  farm.feed.addEventListener("state", () => farm.feed.state === "away" && farm.get("/token").catch(() => {}), { signal });
  if (!moved) return;
  window.scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

/** What the address asks for: `#/NAME/ID…?QUERY`. */
function address() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  let parts = path.split("/").filter(Boolean);
  try {
    parts = parts.map(decodeURIComponent);
  } catch {
    parts = ["?"]; // nobody's address
  }
  const [name = "tasks", ...ids] = parts;
  return { name, ids, query: new URLSearchParams(query) };
}

/** @param {Place | undefined} place @param {string[]} ids */
function entitle(place, ids) {
  const task = farm.feed.tasks.get(ids[0]);
  const one = task ? label(task) : place === PLACES.tasks && ids.length ? format.short(ids[0]) : ids.join(" ");
  document.title = [one, place?.words, "AI Farm"].filter(Boolean).join(" · ");
}

start();
