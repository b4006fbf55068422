/** What is done with the tasks that are ticked in a table. */

import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { action, label } from "./parts.js";

/** @typedef {import("./types").Task} Task */

const DONE = { stop: "Stopping", delete: "Deleted", restore: "Restored" };

/**
 * A bar, empty while nothing is ticked.
 * @param {import("./farm.js").Farm} farm
 * @param {object} heard
 * @param {() => void} heard.oncompare @param {() => void} heard.onclear
 * @param {() => void} heard.onchanged when tasks were changed
 */
export function chosenBar(farm, { oncompare, onclear, onchanged }) {
  const bar = h("div", { class: "af-row", role: "group", "aria-label": "Chosen tasks" });
  const notice = h("div", { class: "af-row", role: "status" });
  /** @type {Task[]} */
  let tasks = [];
  let trash = false;
  let asking = false;

  const button = (/** @type {string} */ words, /** @type {() => void} */ act, kind = "") =>
    h("button", { type: "button", class: `af-button ${kind}`, onclick: act }, words);

  function idle() {
    asking = false;
    if (!tasks.length) return fill(bar);
    const going = tasks.filter((task) => !format.FINAL.has(task.status));
    fill(
      bar,
      h("strong", {}, `${tasks.length} chosen`),
      tasks.length > 1 && !trash && button("Compare", oncompare, "af-primary"),
      !farm.readonly && !trash && going.length > 0 && button("Stop…", () => ask("stop", going, "Each writes a checkpoint and ends.")),
      !farm.readonly && !trash && button("Delete…", () => ask("delete", tasks, "What still runs of them is stopped. They can be restored for 7 days.")),
      !farm.readonly && trash && action("Restore", () => act("restore", tasks)),
      button("Choose none", onclear),
    );
  }

  /** @param {"stop" | "delete"} what @param {Task[]} meant @param {string} words what comes of it */
  function ask(what, meant, words) {
    asking = true;
    const no = button("Cancel", idle);
    const yes = what === "stop" ? "Stop" : "Delete";
    fill(
      bar,
      h("span", {}, `${yes} ${named(meant)}? ${words}`),
      action(`${yes} ${meant.length}`, () => act(what, meant), { class: "af-button af-danger" }),
      no,
    );
    no.focus();
  }

  /** @param {"stop" | "delete" | "restore"} what @param {Task[]} meant */
  async function act(what, meant) {
    const ids = meant.map((task) => task.id);
    const { results } = await farm.send("POST", "/tasks/bulk", { action: what, ids });
    const refused = results.filter((/** @type {any} */ one) => one.error);
    const done = meant.filter((task) => !refused.some((/** @type {any} */ one) => one.id === task.id));
    fill(
      notice,
      done.length > 0 && h("span", {}, `${DONE[what]} ${named(done)}.`),
      done.length > 0 && what === "delete" && action("Undo", () => act("restore", done)),
      refused.length > 0 && h("span", { class: "af-complaint" }, `${refused.length} of ${meant.length} not: ${[...new Set(refused.map((/** @type {any} */ one) => one.error.message))].join(" ")}`),
    );
    if (what !== "stop") onclear();
    idle();
    onchanged();
  }

  return {
    element: h("div", { class: "af-chosen" }, bar, notice),
    /** @param {Task[]} now what is ticked @param {boolean} deleted whether it lies in the trash */
    show(now, deleted) {
      const same = trash === deleted && now.map((task) => task.id).join() === tasks.map((task) => task.id).join();
      tasks = now;
      trash = deleted;
      if (!(asking && same)) idle(); // a question stands until somebody answers it
    },
  };
}

/** @param {Task[]} tasks */
function named(tasks) {
  return tasks.length === 1 ? `“${label(tasks[0])}”` : `${tasks.length} tasks`;
}
