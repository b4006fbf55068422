/** What the table of runs is asked for: fields over it, and what the farm has against them. */

import { fill, h } from "./dom.js";

/** What may be asked, as the address of a page may keep it. */
export const ASKED = ["search", "status", "submitter", "project", "tag", "where", "sort", "page", "columns", "deleted"];

/** As `submitter`: whoever looks. */
export const ME = "me";

const STATES = ["", "pending", "running", "paused", "completed", "failed", "stopped"];

/** Whether anything narrows the list. @param {Record<string, string>} asked */
export function narrowed(asked) {
  return ASKED.some((name) => asked[name] && !["sort", "page", "columns"].includes(name));
}

/**
 * As the farm's list takes it. @param {Record<string, string>} asked @param {string} me
 * @returns {Record<string, any>}
 */
export function query({ page, columns, ...asked }, me) {
  return {
    ...asked,
    submitter: asked.submitter === ME ? me : asked.submitter,
    status: asked.status?.split(","),
    tag: asked.tag?.split(/[\s,]+/),
    where: asked.where?.split(/\s*,\s*(?=(?:[^"]*"[^"]*")*[^"]*$)/), // a comma in quotes is text
  };
}

/**
 * @param {(change: Record<string, string>) => void} ask
 * @param {HTMLElement} more what stands behind the fields
 */
export function filterBar(ask, more) {
  const known = h("datalist", { id: `af-known-${crypto.getRandomValues(new Uint32Array(1))[0]}` });
  const wrong = h("p", { class: "af-complaint af-hidden", role: "alert" });
  const whose = h("div", { class: "af-toggle", role: "group", "aria-label": "Whose tasks" });
  /** @param {string} name @param {string} hint @param {Record<string, any>} [attributes] */
  const field = (name, hint, attributes = {}) =>
    /** @type {HTMLInputElement} */ (
      h("input", {
        type: "search",
        class: "af-input",
        placeholder: hint,
        "aria-label": hint,
        onkeydown: (/** @type {Event} */ event) => event.stopPropagation(), // in Lab a key means something else
        onchange: (/** @type {any} */ event) => ask({ [name]: event.target.value.trim() }),
        ...attributes,
      })
    );
  const status = h(
    "select",
    { class: "af-input", "aria-label": "State", onchange: (/** @type {any} */ event) => ask({ status: event.target.value }) },
    STATES.map((state) => h("option", { value: state }, state || "any state")),
  );
  /** @type {Record<string, HTMLInputElement>} */
  const fields = {
    search: field("search", "Search in titles, names, notes"),
    status: /** @type {HTMLInputElement} */ (status),
    submitter: field("submitter", "Submitter"),
    project: field("project", "Project"),
    tag: field("tag", "Tags"),
    where: field("where", "Where: config.lr<0.01, metrics.loss.min<=0.5", { class: "af-input af-long", list: known.id }),
  };
  const trash = /** @type {HTMLInputElement} */ (
    h("input", { type: "checkbox", onchange: (/** @type {any} */ event) => ask({ deleted: event.target.checked ? "true" : "" }) })
  );

  return {
    element: h(
      "div",
      {},
      h("div", { class: "af-row af-controls" }, whose, Object.values(fields), h("label", {}, trash, " trash"), more),
      known,
      wrong,
    ),

    /** The fields as they are asked, whoever asked so. @param {Record<string, string>} asked */
    show(asked) {
      for (const [name, input] of Object.entries(fields)) input.value = asked[name] ?? "";
      if (asked.submitter === ME) fields.submitter.value = "";
      trash.checked = Boolean(asked.deleted);
      const toggle = (/** @type {string} */ words, /** @type {string} */ submitter) =>
        h("button", { type: "button", "aria-pressed": String((asked.submitter ?? "") === submitter), onclick: () => ask({ submitter }) }, words);
      fill(whose, toggle("All", ""), toggle("Mine", ME));
    },

    /** @param {string[]} keys that a condition may begin with */
    suggest(keys) {
      fill(known, keys.map((key) => h("option", { value: key })));
    },

    /** Says at its field what the farm does not take; false where that is none of them. @param {any} error */
    blame(error) {
      const guilty = fields[String(error?.details?.field ?? "").split("[")[0]];
      for (const input of Object.values(fields))
        if (input === guilty) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      wrong.classList.toggle("af-hidden", !guilty);
      fill(wrong, guilty && error.message);
      return Boolean(guilty);
    },
  };
}
