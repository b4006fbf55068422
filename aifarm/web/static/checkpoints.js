/** A task's checkpoints: kept, deleted, downloaded, and loaded in Python. */

import { h } from "./dom.js";
import * as format from "./format.js";
import { action, confirmed, download, empty, python } from "./parts.js";

/**
 * @param {import("./farm.js").Farm} farm @param {import("./types").Task} task
 * @param {() => void} again reads them once more
 */
export async function checkpointsView(farm, task, again) {
  const { checkpoints } = await farm.get(`/tasks/${task.id}/checkpoints`);
  if (!checkpoints.length) {
    const over = format.FINAL.has(task.status);
    return empty(over ? "No checkpoint." : "No checkpoint yet.", !over && h("p", { class: "af-quiet" }, "There is one at least every five minutes, and at the end."));
  }
  const path = (/** @type {any} */ one) => `/tasks/${task.id}/checkpoints/${one.id}`;
  const mine = farm.controls(task.submitter);
  const best = checkpoints.find((/** @type {any} */ one) => one.best);

  /** @param {any} one */
  const actions = (one) =>
    h(
      "div",
      { class: "af-actions" },
      download(farm, one.path, "Download", `As a file of ${format.bytes(one.size)}, for torch.load`),
      mine &&
        action(one.pinned ? "Unpin" : "Pin", () => farm.send("PUT", `${path(one)}/pin`, { pinned: !one.pinned }).then(again), {
          title: one.pinned ? "The farm may clear it away again" : "Keeps it until it is unpinned",
        }),
      mine && !one.pinned && action("Delete…", () => remove(one), { title: "Asks once more" }),
    );

  /** @param {any} one */
  async function remove(one) {
    if (!(await confirmed(`Delete the checkpoint of step ${format.number(one.step)} for good?`, "Delete"))) return;
    await farm.send("DELETE", path(one));
    again();
  }

  return [
    h(
      "div",
      { class: "af-wide" },
      h(
        "table",
        { class: "af-table af-checkpoints" },
        h("thead", {}, h("tr", {}, ["step", "", "epoch", "metrics", "size", "written", "what to do"].map((name) => h("th", { scope: "col" }, name)))),
        h(
          "tbody",
          {},
          checkpoints.map((/** @type {any} */ one) =>
            h(
              "tr",
              {},
              h("td", { class: "af-number" }, format.number(one.step)),
              h("td", {}, one.final && h("span", { class: "af-tag" }, "final"), one === best && h("span", { class: "af-tag" }, "best"), one.pinned && h("span", { class: "af-tag" }, "pinned")),
              h("td", { class: "af-number" }, one.epoch === null ? "" : format.number(one.epoch)),
              h("td", { class: "af-number" }, Object.entries(one.metrics).slice(0, 2).map(([name, value]) => `${name} ${format.number(/** @type {number | null} */ (value))}`).join(", ")),
              h("td", { class: "af-number" }, format.bytes(one.size)),
              h("td", { title: format.time(one.created_at) }, format.ago(one.created_at)),
              h("td", {}, actions(one)),
            ),
          ),
        ),
      ),
    ),
    h("h3", {}, "In Python"),
    h("p", {}, python(`weights = farm.task("${task.id}").checkpoint(${best ? '"best"' : ""}).state_dict()`)),
    h("p", { class: "af-note" }, "What model.load_state_dict takes. checkpoint() is the latest one, checkpoint(\"ID\") any of these."),
  ];
}

/** The files that a task keeps, in one download. @param {import("./farm.js").Farm} farm @param {import("./types").Task} task */
export async function outputsView(farm, task) {
  const { outputs } = await farm.get(`/tasks/${task.id}/outputs`);
  if (!outputs.length) return null;
  const size = outputs.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.size, 0);
  const files = `${format.number(outputs.length)} ${outputs.length === 1 ? "file" : "files"}, ${format.bytes(size)}. `;
  return h("p", { class: "af-note" }, `The task keeps ${files}`, download(farm, `/api/v2/tasks/${task.id}/outputs.zip`, "Download all", "As one zip archive"));
}
