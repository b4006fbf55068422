/** The table of runs: found, sorted, compared. */

import { Chart } from "./chart.js";
import { Curve } from "./curve.js";
import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import { badge, bar, empty, failed, label } from "./parts.js";

const PAGE = 50;

/** What is asked of the list, as the address of a page may keep it. */
export const ASKED = ["search", "status", "submitter", "project", "tag", "where", "sort", "page"];

const SORTS = { created_at: "submitted", status: "state", title: "title" };

/**
 * @param {import("./farm.js").Farm} farm @param {AbortSignal} signal
 * @param {object} options
 * @param {(id: string) => void} options.onopen
 * @param {Record<string, string>} [options.asked]
 * @param {(asked: Record<string, string>) => void} [options.onasked]
 */
export function runsView(farm, signal, { onopen, asked = {}, onasked = () => {} }) {
  /** @type {import("./types").Task[]} */
  let tasks = [];
  let total = 0;
  /** @type {Set<string>} */
  const chosen = new Set();
  const place = h("div", { class: "af-wide" }, h("p", { class: "af-quiet" }, "Loading…"));
  const foot = h("div", { class: "af-row af-foot" });
  const compared = h("div", {});
  let reading = 0;

  async function read() {
    const mine = ++reading;
    try {
      const metric = /^-?metrics\.(.+)\.\w+$/.exec(asked.sort ?? "")?.[1];
      const answer = await farm.get("/tasks", {
        ...asked,
        status: asked.status?.split(","),
        tag: asked.tag?.split(","),
        where: asked.where?.split(/\s*,\s*/),
        limit: PAGE,
        summaries: metric ? [metric] : undefined,
      });
      if (mine !== reading || signal.aborted) return;
      ({ tasks, total } = answer);
      draw();
    } catch (error) {
      if (mine === reading) fill(place, failed(/** @type {Error} */ (error), read));
    }
  }

  /** @param {Record<string, string>} change */
  function ask(change) {
    asked = Object.fromEntries(Object.entries({ ...asked, page: "", ...change }).filter(([, value]) => value));
    onasked(asked);
    read();
  }

  function draw() {
    if (!tasks.length) {
      const all = ASKED.every((name) => !asked[name] || name === "sort" || name === "page");
      fill(place, all ? empty("No task yet.", h("p", { class: "af-quiet" }, "Submit one from a notebook, a script or the shell: ", h("code", {}, "farm.submit(…)"))) : empty("No task is like that.", h("button", { type: "button", class: "af-button", onclick: () => ask(Object.fromEntries(ASKED.map((name) => [name, ""]))) }, "Show all")));
      fill(foot);
      return;
    }
    fill(place, table());
    const page = Number(asked.page ?? 1);
    const pages = Math.max(1, Math.ceil(total / PAGE));
    fill(
      foot,
      h("span", { class: "af-quiet" }, `${format.number(total)} task${total === 1 ? "" : "s"}`),
      pages > 1 && [
        h("button", { type: "button", class: "af-button", disabled: page <= 1, onclick: () => ask({ page: String(page - 1) }) }, "Newer"),
        h("span", { class: "af-quiet" }, `page ${page} of ${pages}`),
        h("button", { type: "button", class: "af-button", disabled: page >= pages, onclick: () => ask({ page: String(page + 1) }) }, "Older"),
      ],
      h("span", { class: "af-spring" }),
      chosen.size > 1 && h("button", { type: "button", class: "af-button af-primary", onclick: compare }, `Compare ${chosen.size}`),
    );
  }

  /** @param {string} key @param {string} words */
  function column(key, words) {
    const turned = asked.sort === `-${key}` || (!asked.sort && key === "created_at");
    const straight = asked.sort === key;
    return h(
      "th",
      { scope: "col", "aria-sort": turned ? "descending" : straight ? "ascending" : null },
      h("button", { type: "button", class: "af-sort", onclick: () => ask({ sort: turned ? key : `-${key}` }) }, words, turned ? " ↓" : straight ? " ↑" : ""),
    );
  }

  function table() {
    const metrics = [...new Set(tasks.flatMap((task) => Object.keys(task.metrics)))]
      .filter((name) => name !== "learning_rate")
      .slice(0, 3);
    return h(
      "table",
      { class: "af-table af-runs" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, h("span", { class: "af-unseen" }, "compare")),
          column("title", "task"),
          column("status", SORTS.status),
          h("th", { scope: "col" }, "progress"),
          metrics.map((name) => column(`metrics.${name}.last`, name)),
          h("th", { scope: "col" }, "submitter"),
          h("th", { scope: "col" }, "clients"),
          column("created_at", SORTS.created_at),
        ),
      ),
      h("tbody", {}, tasks.map((task) => row(task, metrics))),
    );
  }

  /** @param {import("./types").Task} task @param {string[]} metrics */
  function row(task, metrics) {
    const open = (/** @type {Event} */ event) => {
      event.preventDefault();
      onopen(task.id);
    };
    return h(
      "tr",
      { dataset: { task: task.id } },
      h(
        "td",
        {},
        h("input", {
          type: "checkbox",
          checked: chosen.has(task.id),
          "aria-label": `Compare ${label(task)}`,
          onchange: (/** @type {any} */ event) => {
            if (event.target.checked) chosen.add(task.id);
            else chosen.delete(task.id);
            draw();
          },
        }),
      ),
      h("td", {}, h("a", { href: `#/tasks/${task.id}`, class: "af-link", onclick: open }, label(task)), " ", h("code", { class: "af-quiet" }, format.short(task.id)), task.tags.map((tag) => [" ", h("span", { class: "af-tag" }, tag)])),
      h("td", {}, badge(task.status)),
      h("td", { class: "af-progress" }, bar(task.progress, task.status), h("span", { class: "af-number" }, format.percent(task.progress))),
      metrics.map((name) => h("td", { class: "af-number" }, name in task.metrics ? format.number(task.metrics[name]) : "")),
      h("td", {}, task.submitter),
      h("td", {}, [...new Set(task.clients)].join(", ")),
      h("td", { title: format.time(task.created_at) }, format.ago(task.created_at)),
    );
  }

  async function compare() {
    const several = tasks.filter((task) => chosen.has(task.id));
    fill(compared, h("p", { class: "af-quiet" }, "Loading…"));
    const histories = await Promise.all(several.map((task) => farm.get(`/tasks/${task.id}/metrics`, { points: 500 })));
    const names = [...new Set(histories.flatMap((history) => history.series.map((/** @type {any} */ one) => one.name)))];
    const charts = names.map((name) => {
      const chart = new Chart({ signal, title: name, height: 220 });
      const lines = several.flatMap((task, index) => {
        const series = histories[index].series.find((/** @type {any} */ one) => one.name === name);
        return series ? [{ label: `${label(task)} ${format.short(task.id)}`, colour: index, curve: Curve.of(series) }] : [];
      });
      return { chart, lines };
    });
    fill(compared, h("h2", {}, "Compared"), differences(several), h("div", { class: "af-charts" }, charts.map(({ chart }) => chart.element)));
    for (const { chart, lines } of charts) chart.show(lines);
    compared.scrollIntoView({ behavior: "smooth" });
  }

  const redraw = coalesced(draw);
  farm.feed.addEventListener(
    "task",
    (event) => {
      const told = /** @type {CustomEvent} */ (event).detail;
      const index = tasks.findIndex((task) => task.id === told.id);
      if (index >= 0) {
        tasks[index] = { ...told, summaries: tasks[index].summaries };
        redraw();
      } else if (!asked.page && Object.keys(asked).length === 0) {
        read(); // a new one, and this is where it belongs
      }
    },
    { signal },
  );
  farm.feed.addEventListener("snapshot", () => read(), { signal });
  farm.feed.addEventListener("gone", () => read(), { signal });
  farm.feed.follow("farm", signal);
  read();

  /** @param {string} name @param {string} hint @param {string} [kind] */
  const field = (name, hint, kind = "search") =>
    h("input", {
      type: kind,
      class: "af-input",
      value: asked[name] ?? "",
      placeholder: hint,
      "aria-label": hint,
      onchange: (/** @type {any} */ event) => ask({ [name]: event.target.value.trim() }),
    });
  const states = ["", "pending", "running", "paused", "completed", "failed", "stopped"];
  return h(
    "section",
    { class: "aifarm" },
    h(
      "div",
      { class: "af-row af-controls" },
      field("search", "Search in titles, names, notes"),
      h(
        "select",
        { class: "af-input", "aria-label": "State", onchange: (/** @type {any} */ event) => ask({ status: event.target.value }) },
        states.map((state) => h("option", { value: state, selected: state === (asked.status ?? "") }, state || "any state")),
      ),
      field("submitter", "Submitter"),
      field("project", "Project"),
      field("tag", "Tags"),
      field("where", "Where: config.lr<0.01, metrics.loss.min<=0.5"),
    ),
    place,
    foot,
    compared,
  );
}

/** The keys of config in which tasks differ. @param {import("./types").Task[]} several */
function differences(several) {
  const keys = [...new Set(several.flatMap((task) => Object.keys(task.config)))];
  const differing = keys.filter((key) => new Set(several.map((task) => JSON.stringify(task.config[key]))).size > 1);
  if (!differing.length) return h("p", { class: "af-quiet" }, "Their configs are the same.");
  return h(
    "div",
    { class: "af-wide" },
    h(
      "table",
      { class: "af-table" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "task"), differing.map((key) => h("th", { scope: "col" }, key)))),
      h(
        "tbody",
        {},
        several.map((task) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, `${label(task)} `, h("code", { class: "af-quiet" }, format.short(task.id))),
            differing.map((key) => h("td", { class: "af-number" }, key in task.config ? JSON.stringify(task.config[key]) : "")),
          ),
        ),
      ),
    ),
  );
}
