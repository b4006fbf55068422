/** Columns of the table of runs that people choose: values of the config, summaries of metrics. */

import { h } from "./dom.js";
import * as format from "./format.js";

/** Of a metric; as `sort` and `where` know them. */
const STATS = ["last", "min", "max", "best"];

/** Metrics that stand in the table before anybody chose. */
const USUAL = 3;

/** @typedef {import("./types").Task} Task */

/**
 * A column, by its name: `config.NAME` or `metrics.NAME.STAT`; `value` is undefined where a task
 * has none.
 * @param {string} key @returns {{key: string, title: string, metric: string | null, value: (task: Task) => unknown}}
 */
export function column(key) {
  const parts = /^metrics\.(.+)\.(last|min|max|best)$/.exec(key);
  if (!parts) {
    const path = key.slice("config.".length);
    return { key, title: path, metric: null, value: (task) => flat(task.config)[path] };
  }
  const [, name, stat] = parts;
  return {
    key,
    title: stat === "last" ? name : `${name} ${stat}`,
    metric: stat === "last" ? null : name,
    value: (task) =>
      stat === "last" ? task.metrics[name] : task.summaries?.find((one) => one.name === name)?.[/** @type {"min"} */ (stat)],
  };
}

/** What is shown without a choice. @param {Task[]} tasks */
export function usual(tasks) {
  return metrics(tasks).filter((name) => name !== "learning_rate").slice(0, USUAL).map((name) => `metrics.${name}.last`);
}

/**
 * A list to choose from, behind a button.
 * @param {Task[]} tasks that the choice is offered for @param {string[]} chosen
 * @param {object} heard
 * @param {(key: string, on: boolean) => void} heard.onchoose @param {() => void} heard.onforget
 */
export function picker(tasks, chosen, { onchoose, onforget }) {
  const keys = [...new Set([...offered(tasks), ...chosen])];
  const config = keys.filter((key) => key.startsWith("config."));
  const names = metrics(tasks);
  const box = (/** @type {string} */ key) =>
    h("input", {
      type: "checkbox",
      checked: chosen.includes(key),
      "aria-label": key.replace(/^(config|metrics)\./, ""),
      onchange: (/** @type {any} */ event) => onchoose(key, event.target.checked),
    });
  const none = (/** @type {string} */ words) => h("p", { class: "af-quiet" }, words);
  return [
    h(
      "fieldset",
      {},
      h("legend", {}, "Config"),
      config.length ? config.map((key) => h("label", {}, box(key), ` ${column(key).title}`)) : none("These tasks have no config."),
    ),
    h(
      "fieldset",
      {},
      h("legend", {}, "Metrics"),
      names.length
        ? h(
            "table",
            {},
            h("thead", {}, h("tr", {}, h("td", {}), STATS.map((stat) => h("th", { scope: "col" }, stat)))),
            h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), STATS.map((stat) => h("td", {}, box(`metrics.${name}.${stat}`)))))),
          )
        : none("These tasks have no metrics yet."),
    ),
    h("button", { type: "button", class: "af-link", onclick: onforget }, "As at first"),
  ];
}

/** Every column that these tasks have a value for. @param {Task[]} tasks */
export function offered(tasks) {
  const config = [...new Set(tasks.flatMap((task) => Object.keys(flat(task.config))))].sort();
  return [...config.map((path) => `config.${path}`), ...metrics(tasks).flatMap((name) => STATS.map((stat) => `metrics.${name}.${stat}`))];
}

/** A value as a cell shows it. @param {unknown} value */
export function shown(value) {
  if (value === undefined) return "";
  if (value === null || typeof value === "number") return format.number(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** @param {Task[]} tasks */
function metrics(tasks) {
  return [...new Set(tasks.flatMap((task) => Object.keys(task.metrics)))];
}

/**
 * Objects within objects by names with dots, as the farm's filters know them.
 * @param {Record<string, unknown>} values @param {string} prefix @returns {Record<string, unknown>}
 */
export function flat(values, prefix = "") {
  /** @type {Record<string, unknown>} */
  const found = {};
  for (const [name, value] of Object.entries(values)) {
    const inner = value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length;
    if (inner) Object.assign(found, flat(/** @type {Record<string, unknown>} */ (value), `${prefix}${name}.`));
    else found[prefix + name] = value;
  }
  return found;
}
