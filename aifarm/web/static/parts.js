/** Small pieces that several views show alike. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";

/** @param {string} status */
export function badge(status) {
  return h("span", { class: `af-badge af-${status}` }, status);
}

/** @param {number} progress percent @param {string} status */
export function bar(progress, status) {
  const element = h("div", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("div"));
  advance(element, progress, status);
  return element;
}

/** Moves a bar. @param {HTMLElement} element @param {number} progress percent @param {string} status */
export function advance(element, progress, status) {
  element.className = `af-bar af-${status}`;
  element.setAttribute("aria-valuenow", String(Math.round(progress)));
  element.setAttribute("aria-label", `${Math.round(progress)} % done`);
  /** @type {HTMLElement} */ (element.firstElementChild).style.width = `${Math.min(100, Math.max(0, progress))}%`;
}

/**
 * A button that waits for what it does, and says beside itself why it could not.
 * @param {string} label @param {() => Promise<any>} act @param {Record<string, any>} [attributes]
 */
export function action(label, act, attributes = {}) {
  const button = h("button", { type: "button", class: "af-button", ...attributes }, label);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy")) return;
    button.setAttribute("aria-busy", "true");
    complain(button, null);
    try {
      await act();
    } catch (error) {
      complain(button, /** @type {Error} */ (error).message);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
  return button;
}

/** @param {HTMLElement} button @param {string | null} sentence */
function complain(button, sentence) {
  const row = button.closest(".af-actions") ?? button.parentElement;
  row?.querySelector(".af-complaint")?.remove();
  if (sentence) row?.append(h("p", { class: "af-complaint", role: "alert" }, sentence));
}

/**
 * @param {string[]} names of the columns, "" for one of buttons
 * @param {any[][]} rows of elements or text
 */
export function table(names, rows) {
  return h(
    "div",
    { class: "af-wide" },
    h(
      "table",
      { class: "af-table" },
      h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell))))),
    ),
  );
}

/** How long ago, with the moment itself where somebody points. @param {string | null} at ISO 8601 */
export function moment(at) {
  return h("time", { datetime: at, title: format.time(at) }, format.ago(at));
}

/**
 * Asks before something that cannot be taken back. Resolves to whether the answer is `yes`.
 * @param {string} question @param {string} yes what its button says @param {...any} rest
 * @returns {Promise<boolean>}
 */
export function confirmed(question, yes, ...rest) {
  return new Promise((resolve) => {
    const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "aifarm af-dialog", "aria-label": question }));
    const button = (/** @type {string} */ words, /** @type {string} */ look, /** @type {string} */ value) =>
      h("button", { type: "button", class: `af-button ${look}`, onclick: () => dialog.close(value) }, words);
    fill(dialog, h("p", { class: "af-question" }, question), rest, h("div", { class: "af-actions" }, button("Cancel", "", ""), button(yes, "af-danger", "yes")));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A button that copies. Without TLS a browser has no clipboard for pages, but for what is selected.
 * @param {string} text @param {() => void} select marks it where it stands @param {string} look
 */
function copier(text, select, look) {
  const button = h("button", { type: "button", class: look, title: "Copy this" }, "Copy");
  button.addEventListener("click", async () => {
    select();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      document.execCommand("copy");
    }
    button.textContent = "Copied";
  });
  return button;
}

/** Text, and a button that copies it. @param {string} text @param {string} name what it is */
export function copied(text, name) {
  const field = /** @type {HTMLInputElement} */ (h("input", { class: "af-input af-copied", readonly: true, value: text, "aria-label": name, onfocus: () => field.select() }));
  return h("div", { class: "af-row" }, field, copier(text, () => field.select(), "af-button"));
}

/**
 * A link to a file, null where this page cannot fetch one.
 * @param {import("./farm.js").Farm} farm @param {string} path as the API gives it
 * @param {string} words @param {string} title
 */
export function download(farm, path, words, title) {
  const href = farm.link(path);
  return href && h("a", { class: "af-link", href, download: true, title }, words);
}

/**
 * A line of Python to take along.
 * @param {string} line
 */
export function python(line) {
  const code = h("code", { class: "af-python" }, line);
  return h("span", { class: "af-row" }, code, copier(line, () => getSelection()?.selectAllChildren(code), "af-link"));
}

/** What stands where there is nothing yet. @param {string} title @param {...any} rest */
export function empty(title, ...rest) {
  return h("div", { class: "af-nothing" }, h("p", { class: "af-nothing-title" }, title), rest);
}

/** @param {Error} error @param {() => void} again */
export function failed(error, again) {
  return h(
    "div",
    { class: "af-error", role: "alert" },
    h("p", {}, error.message),
    h("button", { type: "button", class: "af-button", onclick: again }, "Try again"),
  );
}

/** @param {[string, any][]} facts */
export function facts(facts) {
  return h(
    "dl",
    { class: "af-facts" },
    facts
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/**
 * The connection, told where it is not as usual.
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 */
export function connection(farm, signal) {
  const line = h("div", { class: "af-connection", role: "status" });
  const show = () => {
    const away = farm.feed.state === "away";
    line.classList.toggle("af-hidden", !away);
    fill(line, away && ["The farm does not answer; what you see may be old. ", h("button", { type: "button", class: "af-link", onclick: () => farm.feed.retry() }, "Try now")]);
  };
  farm.feed.addEventListener("state", show, { signal });
  show();
  return line;
}

/** Name and title of a task. @param {import("./types").Task} task */
export function label(task) {
  return task.title ?? `${task.name}${task.version ? ` ${task.version}` : ""}`;
}

/** @param {import("./types").Task} task */
export function timing(task) {
  if (task.ended_at && task.started_at)
    return `took ${format.duration((Date.parse(task.ended_at) - Date.parse(task.started_at)) / 1000)}`;
  const left = format.remaining(task);
  if (left !== null) return `${format.duration(left)} left`;
  if (task.started_at) return `started ${format.ago(task.started_at)}`;
  return `submitted ${format.ago(task.created_at)}`;
}
