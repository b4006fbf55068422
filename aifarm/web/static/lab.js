/** AI Farm in JupyterLab: a panel on the left, runs and tasks in the main area, commands, toasts. */

import { diagnosticsView } from "./diagnostics.js";
import { fill, h } from "./dom.js";
import { Farm } from "./farm.js";
import * as format from "./format.js";
import { panelView } from "./panel.js";
import { renderViews } from "./rendered.js";
import { runsView } from "./runs.js";
import { taskView } from "./task.js";

const PROTOCOL = 1; // as `aifarm_jupyter.info` has it

const IDS = {
  runs: "aifarm:runs",
  task: "aifarm:task",
  pause: "aifarm:pause",
  resume: "aifarm:resume",
  stop: "aifarm:stop",
  diagnostics: "aifarm:diagnostics",
  panel: "aifarm:panel",
};

/** @param {(name: string) => Promise<any>} shared */
export async function plugin(shared) {
  const [{ ILabShell, ILayoutRestorer }, apputils, { ServerConnection }, { ILauncher }, lumino, ui, { IRenderMimeRegistry }] = await Promise.all([
    shared("@jupyterlab/application"),
    shared("@jupyterlab/apputils"),
    shared("@jupyterlab/services"),
    shared("@jupyterlab/launcher"),
    shared("@lumino/widgets"),
    shared("@jupyterlab/ui-components"),
    shared("@jupyterlab/rendermime"),
  ]);
  const { ICommandPalette, MainAreaWidget, Notification, InputDialog } = apputils;

  return {
    id: "aifarm:panel",
    autoStart: true,
    requires: [ILabShell, IRenderMimeRegistry],
    optional: [ICommandPalette, ILauncher, ILayoutRestorer],
    /** @param {any} app @param {any} shell @param {any} rendermime @param {any} palette @param {any} launcher @param {any} restorer */
    activate: async (app, shell, rendermime, palette, launcher, restorer) => {
      const settings = ServerConnection.makeSettings();
      const root = `${settings.baseUrl}aifarm`;
      for (const sheet of ["vendor/uplot.css", "style.css"])
        document.head.append(h("link", { rel: "stylesheet", href: `${root}/static/${sheet}` }));
      const farm = new Farm({
        base: root,
        // Lab would else put the time behind each address, which the farm does not know.
        fetch: (/** @type {string} */ url, /** @type {RequestInit} */ init) =>
          ServerConnection.makeRequest(url, { ...init, cache: "no-cache" }, settings),
      });
      renderViews(rendermime, lumino.Widget, farm);
      const icon = new ui.LabIcon({
        name: "aifarm:icon",
        svgstr:
          '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path class="jp-icon3" fill="#616161" d="M7.2 15V9.6C4 9.5 2 7.6 2 4.2c3.2 0 5 1.3 5.6 3.600.700-3.200 2.900-5 6.400-5.200 0 4.300-2 6.600-5.200 6.900V15z"/></svg>',
      });

      /** A widget whose content lives as long as it. @param {(signal: AbortSignal) => any} make */
      const widget = (make) => {
        const made = new lumino.Widget();
        const life = new AbortController();
        made.addClass("aifarm");
        made.addClass("af-lab");
        fill(made.node, make(life.signal));
        made.disposed.connect(() => life.abort());
        return made;
      };

      /** Shows a view in the main area, the one that is open already where there is one. */
      const open = (/** @type {string} */ id, /** @type {string} */ title, /** @type {(signal: AbortSignal) => any} */ make) => {
        for (const known of shell.widgets("main")) if (known.id === id) return shell.activateById(id);
        const area = new MainAreaWidget({ content: widget(make) });
        area.id = id;
        area.title.label = title;
        area.title.icon = icon;
        area.title.closable = true;
        shell.add(area, "main");
        shell.activateById(id);
      };
      const openTask = (/** @type {string} */ id) => app.commands.execute(IDS.task, { id });

      // ---------------------------------------------------------------- commands

      const commands = app.commands;
      commands.addCommand(IDS.panel, { label: "AI Farm: Queue and Machines", icon, execute: () => shell.activateById("aifarm-panel") });
      commands.addCommand(IDS.runs, {
        label: (/** @type {any} */ args) => (args.isLauncher ? "Runs" : "AI Farm: Runs"),
        caption: "All tasks of the farm: find, sort, compare",
        icon,
        execute: () => open("aifarm-runs", "Runs", (signal) => runsView(farm, signal, { onopen: openTask })),
      });
      commands.addCommand(IDS.task, {
        label: "AI Farm: Open a Task…",
        icon,
        execute: async (/** @type {any} */ args) => {
          const id = args.id ?? (await asked("Open a task"));
          if (!id) return;
          const known = farm.feed.tasks.get(id);
          open(`aifarm-task-${id}`, known?.title ?? known?.name ?? format.short(id), (signal) => taskView(farm, id, signal, { onretry: openTask }));
        },
      });
      for (const [command, words, status] of /** @type {const} */ ([
        [IDS.pause, "Pause", "paused"],
        [IDS.resume, "Resume", "running"],
        [IDS.stop, "Stop", "stopped"],
      ]))
        commands.addCommand(command, {
          label: `AI Farm: ${words} a Task…`,
          execute: async (/** @type {any} */ args) => {
            const id = args.id ?? (await asked(`${words} a task`));
            if (!id) return;
            try {
              await farm.send("PUT", `/tasks/${id}/status`, { status });
            } catch (error) {
              Notification.error(/** @type {Error} */ (error).message);
            }
          },
        });
      commands.addCommand(IDS.diagnostics, {
        label: "AI Farm: Diagnostics",
        caption: "Versions on both sides, the connection, agents",
        execute: () => open("aifarm-diagnostics", "AI Farm: Diagnostics", (signal) => diagnosticsView(farm, signal, { info: () => info(), lab: app.version, protocol: PROTOCOL })),
      });
      for (const command of Object.values(IDS)) palette?.addItem({ command, category: "AI Farm" });
      launcher?.add({ command: IDS.runs, category: "AI Farm", rank: 0, args: { isLauncher: true } });

      /** The id of a task that is not over, chosen from a list. @param {string} title */
      async function asked(title) {
        const going = [...farm.feed.tasks.values()].filter((task) => !format.FINAL.has(task.status));
        if (!going.length) {
          Notification.info("No task runs or waits.", { autoClose: 3000 });
          return null;
        }
        const items = going.map((task) => `${task.title ?? task.name} · ${task.status} · ${format.short(task.id)}`);
        const { value } = await InputDialog.getItem({ title, items });
        return value === null ? null : (going[items.indexOf(value)]?.id ?? null);
      }

      async function info() {
        const answer = await ServerConnection.makeRequest(`${root}/info`, {}, settings);
        if (!answer.ok) throw new Error(`The extension answered ${answer.status}.`);
        return answer.json();
      }

      // ---------------------------------------------------------------- the panel

      const panel = widget((signal) => panelView(farm, signal, { onopen: openTask, run: (/** @type {string} */ id) => commands.execute(id), ids: IDS, info }));
      panel.id = "aifarm-panel";
      panel.title.icon = icon;
      panel.title.caption = "AI Farm";
      panel.node.setAttribute("role", "region");
      panel.node.setAttribute("aria-label", "AI Farm");
      shell.add(panel, "left", { rank: 600 });
      restorer?.add(panel, "aifarm-panel");

      // ---------------------------------------------------------------- toasts

      let me = "";
      farm.get("/token").then((token) => (me = token.name), () => {});
      /** @type {Map<string, string>} */
      const states = new Map();
      const learn = () => {
        for (const task of farm.feed.tasks.values()) states.set(task.id, task.status);
      };
      farm.feed.addEventListener("snapshot", learn);
      farm.feed.addEventListener("task", (/** @type {any} */ event) => {
        const task = event.detail;
        const before = states.get(task.id);
        states.set(task.id, task.status);
        if (task.submitter !== me || !before || before === task.status || !format.FINAL.has(task.status)) return;
        const words = `${task.title ?? task.name} ${task.status}${task.message ? `: ${task.message}` : ""}`;
        const actions = [{ label: "Show", callback: () => openTask(task.id) }];
        if (task.status === "failed") Notification.error(words, { actions, autoClose: false });
        else Notification.success(words, { actions, autoClose: 8000 });
      });
    },
  };
}
