/** What Lab's palette, menus, context menu, launcher and keyboard offer. */

import * as format from "./format.js";
import { label } from "./parts.js";

/** @typedef {import("./types").Task} Task */

export const IDS = {
  panel: "aifarm:panel",
  open: "aifarm:open",
  pause: "aifarm:pause",
  resume: "aifarm:resume",
  stop: "aifarm:stop",
  retry: "aifarm:retry",
  copy: "aifarm:copy-id",
  first: "aifarm:first-notebook",
};

const CATEGORY = "AI Farm";
const QUICKSTART = "aifarm-quickstart.ipynb";
const CHOICE = 50; // tasks to choose from, at most

/** What is done with a task, and with which ones it can be. */
const ACTIONS = {
  [IDS.pause]: { words: "Pause", status: "paused", fits: (/** @type {Task | undefined} */ task) => !over(task) && task?.desired === "running" },
  [IDS.resume]: { words: "Resume", status: "running", fits: (/** @type {Task | undefined} */ task) => !over(task) && task?.desired === "paused" },
  [IDS.stop]: { words: "Stop", status: "stopped", fits: (/** @type {Task | undefined} */ task) => !over(task) && task?.desired !== "stopped" },
};

/** The live feed knows every task that is not over. @param {Task | undefined} task */
function over(task) {
  return !task || format.FINAL.has(task.status);
}

/**
 * @param {any} app JupyterLab
 * @param {import("./farm.js").Farm} farm
 * @param {object} host
 * @param {any} host.apputils @param {any} host.lumino
 * @param {any} host.palette @param {any} host.launcher @param {any} host.mainMenu @param {any} host.browser null where Lab has none
 * @param {any} host.icon
 * @param {(view: string, id?: string) => any} host.show
 * @param {() => void} host.togglePanel
 * @param {() => Promise<any>} host.first the first notebook, as JSON
 */
export function addCommands(app, farm, { apputils, lumino, palette, launcher, mainMenu, browser, icon, show, togglePanel, first }) {
  const { commands, contextMenu, serviceManager } = app;
  const { Clipboard, InputDialog, Notification } = apputils;

  /** Short where a menu says whose it is. @param {string} words @param {string} [more] */
  const named = (words, more = "") => (/** @type {any} */ args) => (args.context || args.card ? words : args.menu ? words + more : `${CATEGORY}: ${words}${more}`);
  // A menu that says whose it is needs no picture at every line.
  const picture = (/** @type {any} */ args) => (args.context || args.menu ? undefined : icon);
  /** The task that a context menu was opened on. @returns {string | undefined} */
  const pointed = () => app.contextMenuHitTest((/** @type {HTMLElement} */ node) => Boolean(node.dataset?.task))?.dataset.task;
  const task = (/** @type {any} */ args) => args.id ?? (args.context ? pointed() : undefined);

  /** Says what went wrong where one looks. @param {(args: any) => any} act */
  const told = (act) => async (/** @type {any} */ args) => {
    try {
      return await act(args);
    } catch (error) {
      Notification.error(/** @type {Error} */ (error).message, { autoClose: false });
    }
  };

  /** The id of one of these tasks, as one chooses. @param {string} title @param {Task[]} tasks */
  async function chosen(title, tasks) {
    if (!tasks.length) {
      Notification.info("There is no task with which that can be done.", { autoClose: 4000 });
      return null;
    }
    const items = tasks.map((one) => `${label(one)} · ${one.status} · ${format.short(one.id)}`);
    const { value } = await InputDialog.getItem({ title, items });
    return value === null ? null : (tasks[items.indexOf(value)]?.id ?? null);
  }
  const latest = async (/** @type {any} */ query) => (await farm.get("/tasks", { limit: CHOICE, ...query })).tasks;

  commands.addCommand(IDS.panel, { label: named("Queue and Machines"), caption: "Shows or hides the panel", icon: picture, execute: togglePanel });
  /** @type {Record<string, {words: string, more?: string, caption: string}>} */
  const views = {
    runs: { words: "Runs", caption: "All tasks of the farm: find, sort, compare" },
    task: { words: "Open a Task", more: "…", caption: "Its state, curves, log and checkpoints" },
    client: { words: "Open a Machine", more: "…", caption: "What it does, and what it used" },
    diagnostics: { words: "Diagnostics", caption: "Versions on both sides, the connection, agents" },
  };
  commands.addCommand(IDS.open, {
    label: (/** @type {any} */ args) => {
      if (args.context) return "Open";
      const view = views[args.view ?? "task"];
      return named(view.words, view.more)(args);
    },
    caption: (/** @type {any} */ args) => views[args.view ?? "task"].caption,
    icon: picture,
    execute: told(async (args) => {
      const view = args.view ?? "task";
      if (view === "task") {
        const id = task(args) ?? (await chosen("Open a task", await latest({})));
        return id && show(view, id);
      }
      if (view === "client") {
        const id = args.id ?? (await InputDialog.getItem({ title: "Open a machine", items: [...farm.feed.clients.keys()].sort() })).value;
        return id && show(view, id);
      }
      return show(view);
    }),
  });
  for (const [command, { words, status, fits }] of Object.entries(ACTIONS))
    commands.addCommand(command, {
      label: named(words, " a Task…"),
      isVisible: (/** @type {any} */ args) => !args.context || (!farm.readonly && fits(farm.feed.tasks.get(pointed() ?? ""))),
      execute: told(async (args) => {
        const id = task(args) ?? (await chosen(`${words} a task`, [...farm.feed.tasks.values()].filter(fits)));
        if (id) await farm.send("PUT", `/tasks/${id}/status`, { status });
      }),
    });
  commands.addCommand(IDS.retry, {
    label: named("Retry", " a Task…"),
    caption: "A new task that goes on from the latest checkpoint",
    isVisible: (/** @type {any} */ args) => !args.context || (!farm.readonly && over(farm.feed.tasks.get(pointed() ?? ""))),
    execute: told(async (args) => {
      const id = task(args) ?? (await chosen("Retry a task", await latest({ status: [...format.FINAL] })));
      if (id) show("task", (await farm.send("POST", `/tasks/${id}/retry`, {})).id);
    }),
  });
  commands.addCommand(IDS.copy, { label: "Copy Id", execute: () => Clipboard.copyToSystem(pointed() ?? "") });
  commands.addCommand(IDS.first, {
    label: named("First Notebook"),
    caption: "A model of a notebook, trained on the farm",
    icon: picture,
    execute: told(async () => {
      const folder = browser?.model.path ?? "";
      const path = folder && !folder.endsWith(":") ? `${folder}/${QUICKSTART}` : `${folder}${QUICKSTART}`;
      const { contents } = serviceManager;
      const there = (await contents.get(folder)).content;
      // Never over what somebody has worked on.
      if (!there.some((/** @type {any} */ one) => one.name === QUICKSTART))
        await contents.save(path, { type: "notebook", format: "json", content: await first() });
      return commands.execute("docmanager:open", { path });
    }),
  });

  // ---------------------------------------------------------------- where they are offered

  const offered = [
    [{ command: IDS.first }, { command: IDS.panel }, { command: IDS.open, args: { view: "runs" } }],
    [{ command: IDS.open, args: { view: "task" } }, ...[IDS.pause, IDS.resume, IDS.stop, IDS.retry].map((command) => ({ command }))],
    [{ command: IDS.open, args: { view: "client" } }, { command: IDS.open, args: { view: "diagnostics" } }],
  ];
  const menu = new lumino.Menu({ commands });
  menu.id = "jp-mainmenu-aifarm";
  menu.title.label = CATEGORY;
  offered.forEach((group, index) => {
    if (index) menu.addItem({ type: "separator" });
    for (const item of group) {
      menu.addItem({ ...item, args: { ...item.args, menu: true } });
      palette?.addItem({ ...item, category: CATEGORY });
    }
  });
  mainMenu?.addMenu(menu, true, { rank: 500 });
  [IDS.open, IDS.pause, IDS.resume, IDS.stop, IDS.retry, IDS.copy].forEach((command, rank) =>
    contextMenu.addItem({ command, args: { context: true }, selector: ".aifarm [data-task]", rank }),
  );
  launcher?.add({ command: IDS.first, category: CATEGORY, rank: 0, args: { card: true } });
  launcher?.add({ command: IDS.open, category: CATEGORY, rank: 1, args: { view: "runs", card: true } });
  commands.addKeyBinding({ command: IDS.panel, args: { menu: true }, keys: ["Alt Shift F"], selector: "body" });
}
