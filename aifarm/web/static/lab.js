/** AI Farm in JupyterLab: a panel on the left, views in the main area, commands, toasts. */

import { clientView } from "./client.js";
import { addCommands, IDS } from "./commands.js";
import { diagnosticsView } from "./diagnostics.js";
import { fill, h } from "./dom.js";
import { Farm } from "./farm.js";
import * as format from "./format.js";
import { panelView } from "./panel.js";
import { label } from "./parts.js";
import { renderViews } from "./rendered.js";
import { runsView } from "./runs.js";
import { taskView } from "./task.js";
import { announceEnds } from "./toasts.js";

const PROTOCOL = 1; // as `aifarm_jupyter.info` has it
const PANEL = "aifarm-panel";
const SPROUT =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path class="jp-icon3" fill="#616161" d="M7.2 15V9.6C4 9.5 2 7.6 2 4.2c3.2 0 5 1.3 5.6 3.600.700-3.200 2.900-5 6.400-5.200 0 4.300-2 6.600-5.200 6.900V15z"/></svg>';

/** @param {(name: string) => Promise<any>} shared */
export async function plugin(shared) {
  const [application, apputils, { ServerConnection }, { ILauncher }, { IMainMenu }, { IDefaultFileBrowser }, { PageConfig }, { IRenderMimeRegistry }, lumino, ui] = await Promise.all(
    ["application", "apputils", "services", "launcher", "mainmenu", "filebrowser", "coreutils", "rendermime"]
      .map((name) => shared(`@jupyterlab/${name}`))
      .concat(shared("@lumino/widgets"), shared("@jupyterlab/ui-components")),
  );
  const { ILabShell, ILayoutRestorer } = application;
  const { Clipboard, ICommandPalette, MainAreaWidget, Notification, WidgetTracker } = apputils;

  return {
    id: "aifarm:panel",
    autoStart: true,
    requires: [ILabShell, IRenderMimeRegistry],
    optional: [ICommandPalette, ILauncher, ILayoutRestorer, IMainMenu, IDefaultFileBrowser],
    /**
     * @param {any} app @param {any} shell @param {any} rendermime @param {any} palette
     * @param {any} launcher @param {any} restorer @param {any} mainMenu @param {any} browser
     */
    activate: (app, shell, rendermime, palette, launcher, restorer, mainMenu, browser) => {
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
      /** JSON of Jupyter's own server. @param {string} url */
      const read = async (url) => {
        const answer = await ServerConnection.makeRequest(url, {}, settings);
        if (!answer.ok) throw new Error(`The Jupyter server answered ${answer.status}.`);
        return answer.json();
      };
      const info = () => read(`${root}/info`);
      const icon = new ui.LabIcon({ name: "aifarm:icon", svgstr: SPROUT });

      // Known before the panel follows the farm: what is told of a task depends on whose it is.
      const me = { name: "", role: "" };
      const begin = async () => {
        const told = await info();
        if (told.url && !me.name) {
          Object.assign(me, await farm.get("/token"));
          farm.me = /** @type {any} */ (me);
          farm.readonly = me.role === "viewer" || !told.may_write;
        }
        return told;
      };

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

      // ---------------------------------------------------------------- the main area

      const openTask = (/** @type {string} */ id) => app.commands.execute(IDS.open, { view: "task", id });
      const openClient = (/** @type {string} */ id) => app.commands.execute(IDS.open, { view: "client", id });
      const known = (/** @type {string} */ id) => farm.feed.tasks.get(id);
      /** @type {Record<string, {title: (id: string) => string, make: (id: string, signal: AbortSignal) => any}>} */
      const views = {
        runs: { title: () => "Runs", make: (_, signal) => runsView(farm, signal, { onopen: openTask }) },
        task: {
          title: (id) => {
            const task = known(id);
            return task ? label(task) : format.short(id);
          },
          make: (id, signal) => taskView(farm, id, signal, { onretry: openTask }),
        },
        client: { title: (id) => id, make: (id, signal) => clientView(farm, id, signal, { onopen: openTask, admin: me.role === "admin" }) },
        diagnostics: {
          title: () => "AI Farm: Diagnostics",
          make: (_, signal) =>
            diagnosticsView(farm, signal, {
              info,
              door: () => read(new URL(`${PageConfig.getOption("fullLabextensionsUrl")}/aifarm/package.json`, location.href).href),
              me: () => me,
              copy: (/** @type {string} */ text) => Clipboard.copyToSystem(text),
              lab: app.version,
              protocol: PROTOCOL,
            }),
        },
      };
      const open = new WidgetTracker({ namespace: "aifarm" });
      /** The view in the main area, the one that is open already where there is one. @param {string} view @param {string} id */
      const show = (view, id = "") => {
        const name = ["aifarm", view, id].filter(Boolean).join("-");
        let area = open.find((/** @type {any} */ one) => one.id === name);
        if (!area) {
          area = new MainAreaWidget({ content: widget((signal) => views[view].make(id, signal)) });
          area.id = name;
          area.asked = { view, id };
          area.title.label = views[view].title(id);
          area.title.icon = icon;
          area.title.closable = true;
          shell.add(area, "main");
          open.add(area);
        }
        shell.activateById(name);
        return area;
      };

      // ---------------------------------------------------------------- the panel

      const panel = widget((signal) => panelView(farm, signal, { onopen: openTask, onclient: openClient, run: (/** @type {string} */ id, /** @type {any} */ args) => app.commands.execute(id, args), me: () => me, info: begin }));
      panel.id = PANEL;
      panel.title.icon = icon;
      panel.title.caption = "AI Farm";
      panel.node.setAttribute("role", "region");
      panel.node.setAttribute("aria-label", "AI Farm");
      shell.add(panel, "left", { rank: 600 });
      const togglePanel = () => {
        if (panel.isVisible) shell.collapseLeft();
        else shell.activateById(PANEL);
      };

      addCommands(app, farm, { apputils, lumino, palette, launcher, mainMenu, browser, icon, show, togglePanel, first: () => read(`${root}/notebooks/quickstart.ipynb`) });
      restorer?.add(panel, PANEL);
      restorer?.restore(open, { command: IDS.open, args: (/** @type {any} */ area) => area.asked, name: (/** @type {any} */ area) => area.id });
      announceEnds(farm, { notify: Notification, me: () => me, open: openTask });
    },
  };
}
