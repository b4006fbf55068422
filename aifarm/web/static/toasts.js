/** A word when a task of one's own ends, whatever one looks at in Lab meanwhile. */

import * as format from "./format.js";
import { label } from "./parts.js";

/** @typedef {import("./types").Task} Task */

const BRIEFLY = 8000; // milliseconds

/**
 * @param {import("./farm.js").Farm} farm
 * @param {object} host
 * @param {any} host.notify JupyterLab's `Notification`
 * @param {() => {name: string}} host.me
 * @param {(id: string) => void} host.open
 */
export function announceEnds(farm, { notify, me, open }) {
  /** @type {Set<string>} tasks that went on when they were last heard of */
  const going = new Set();

  /** @param {Task} task */
  function heard(task) {
    if (!format.FINAL.has(task.status)) {
      going.add(task.id);
      return;
    }
    // What was over before this page knew of it is no news.
    if (!going.delete(task.id) || task.submitter !== me().name) return;
    const words = `${label(task)} ${task.status}${task.message ? `: ${task.message}` : ""}`;
    const actions = [{ label: "Show", callback: () => open(task.id) }];
    // What came about while nobody looked stays until somebody does.
    if (task.status === "failed") notify.error(words, { actions, autoClose: false });
    else if (task.status === "completed") notify.success(words, { actions, autoClose: false });
    else notify.info(words, { actions, autoClose: BRIEFLY });
  }

  farm.feed.addEventListener("task", (event) => heard(/** @type {CustomEvent} */ (event).detail));
  farm.feed.addEventListener("gone", (event) => going.delete(/** @type {CustomEvent} */ (event).detail));
  farm.feed.addEventListener("snapshot", () => {
    // A snapshot has what goes on: what is missing there ended while the farm was out of reach.
    for (const id of going) if (!farm.feed.tasks.has(id)) farm.get(`/tasks/${id}`).then(heard, () => going.delete(id));
    farm.feed.tasks.forEach(heard);
  });
}
