/** The curves of a task, those of the tasks it is compared with, and how busy its machines were. */

import { Chart, COLOURS } from "./chart.js";
import { coalesced, fill, h } from "./dom.js";
import * as format from "./format.js";
import { download, empty, failed, label } from "./parts.js";
import { Track } from "./track.js";
import { Usage } from "./usage.js";

/** Tasks to choose from for a comparison. */
const OFFERED = 50;

/**
 * @param {import("./farm.js").Farm} farm @param {import("./types").Task} task @param {AbortSignal} signal
 * @param {string[]} [compare] the ids of other tasks
 */
export function curvesView(farm, task, signal, compare = []) {
  const mine = new Track(farm, task.id, label(task));
  const tracks = [mine];
  /** @type {Map<string, Chart>} */
  const charts = new Map();
  /** @type {Chart | null} */
  let use = null;
  const look = { x: /** @type {import("./chart.js").X} */ ("step"), log: false, smooth: 0 };
  /** @type {import("./chart.js").Range} */
  let range = null;

  const grid = h("div", { class: "af-charts" }, h("p", { class: "af-quiet" }, "Loading…"));
  const note = h("p", { class: "af-note" });
  const zoomed = h("span", { class: "af-row" });
  const others = h("div", { class: "af-row af-others" });
  const trouble = h("p", { class: "af-complaint", role: "alert" });
  const usage = new Usage(farm, task, signal, () => draw());

  /** @param {Partial<ConstructorParameters<typeof Chart>[0]>} options */
  const chart = (options) => {
    const made = new Chart({ ...look, signal, height: 190, sync: `af-${task.id}`, onzoom: zoom, ...options });
    made.range = range;
    return made;
  };

  const draw = coalesced(() => {
    const names = [...new Set(tracks.flatMap((track) => [...track.whole.keys()]))];
    for (const [name, shown] of charts)
      if (!names.includes(name)) {
        shown.remove(); // of a task that is no longer compared
        charts.delete(name);
      }
    if (!names.length) return fill(grid, nothing(task));
    if (!charts.size) fill(grid);
    for (const [index, name] of names.entries()) {
      let shown = charts.get(name);
      if (!shown) {
        shown = chart({ title: name });
        charts.set(name, shown);
        // What was measured beside it stays last.
        grid.insertBefore(shown.element, use?.element ?? null);
      }
      const several = tracks.length > 1;
      shown.show(
        tracks.flatMap((track, number) => {
          const curve = track.curve(name);
          return curve ? [{ label: several ? track.name : name, colour: several ? number : index % COLOURS.length, curve }] : [];
        }),
      );
    }
    drawUse();
  });

  function drawUse() {
    const along = mine.longest;
    if (!along?.length) return;
    const { title, note: words, curves } = usage.read(along);
    fill(note, words);
    if (!curves.some((curve) => curve.length)) return;
    if (use?.title !== title) {
      use?.remove();
      use = chart({ title, log: false, smooth: 0, y: [0, 100] });
      grid.append(use.element);
    }
    const axis = along[look.x];
    use.frame = [axis[0], axis[axis.length - 1]];
    use.show(curves.map((curve, colour) => ({ label: curve.name, colour, curve })));
  }

  async function load() {
    try {
      await mine.load();
      draw();
    } catch (error) {
      for (const one of [...charts.values(), use]) one?.remove();
      charts.clear();
      use = null;
      fill(grid, failed(/** @type {Error} */ (error), load));
    }
  }

  /** All charts show the same range. @param {import("./chart.js").Range} wanted */
  async function zoom(wanted) {
    range = wanted;
    for (const one of [...charts.values(), use]) one?.zoom(range);
    fill(zoomed, range && h("button", { type: "button", class: "af-button", title: "A double click on a chart does the same", onclick: () => zoom(null) }, "Whole range"));
    await told(Promise.all(tracks.map((track) => track.zoom(range, look.x))));
    draw();
  }

  /** Waits, and says what went wrong. @param {Promise<any>} work */
  async function told(work) {
    fill(trouble);
    try {
      await work;
      return true;
    } catch (error) {
      fill(trouble, /** @type {Error} */ (error).message);
      return false;
    }
  }

  /** @param {Partial<typeof look>} change */
  function set(change) {
    Object.assign(look, change);
    for (const one of charts.values()) one.set(change);
    if (change.x) {
      use?.set({ x: change.x });
      zoom(null);
    }
  }

  // ---------------------------------------------------------------- compared tasks

  const field = /** @type {HTMLInputElement} */ (
    h("input", { class: "af-input", list: `af-offered-${task.id}`, placeholder: "Compare with…", "aria-label": "Compare with: the name or id of a task", title: "The name or id of a task", onfocus: offer, onchange: () => chosen() })
  );
  const offered = h("datalist", { id: `af-offered-${task.id}` });
  /** @type {Map<string, string>} ids by what is shown of them */
  const known = new Map();

  async function offer() {
    try {
      const { tasks } = await farm.get("/tasks", { name: task.name, limit: OFFERED });
      known.clear();
      for (const one of tasks) if (!tracks.some((track) => track.id === one.id)) known.set(`${label(one)} · ${one.status} · ${format.short(one.id)}`, one.id);
      fill(offered, [...known.keys()].map((words) => h("option", { value: words })));
    } catch {
      // an id can still be typed
    }
  }

  async function chosen() {
    const words = field.value.trim();
    if (words && (await add(known.get(words) ?? words))) field.value = "";
  }

  /** @param {string} id */
  async function add(id) {
    if (tracks.some((track) => track.id === id)) return true;
    return told(
      (async () => {
        const other = await farm.get(`/tasks/${encodeURIComponent(id)}`);
        const track = new Track(farm, other.id, `${label(other)} ${format.short(other.id)}`);
        await track.load();
        await track.zoom(range, look.x);
        if (signal.aborted || tracks.some((one) => one.id === track.id)) return;
        tracks.push(track);
        farm.feed.follow(`task:${other.id}`, signal);
        drawOthers();
        draw();
      })(),
    );
  }

  function drawOthers() {
    mine.name = `${label(task)} ${format.short(task.id)}`;
    fill(
      others,
      tracks.slice(1).map((track, index) =>
        h(
          "span",
          { class: "af-tag" },
          h("span", { class: "af-dot", style: `background:var(${COLOURS[(index + 1) % COLOURS.length]})` }),
          ` ${track.name} `,
          h("button", { type: "button", class: "af-link", title: "No longer compare", "aria-label": `No longer compare with ${track.name}`, onclick: () => { tracks.splice(tracks.indexOf(track), 1); drawOthers(); draw(); } }, "×"),
        ),
      ),
    );
  }

  // ---------------------------------------------------------------- what is heard

  farm.feed.addEventListener(
    "points",
    (event) => {
      const heard = /** @type {CustomEvent} */ (event).detail;
      const track = tracks.find((one) => one.id === heard.task_id);
      if (!track) return;
      if (heard.gap) return void told(track.load()).then(draw);
      track.add(heard.points);
      draw();
    },
    { signal },
  );
  farm.feed.addEventListener(
    "joined",
    (event) => {
      // Before it was followed, or without the farm, there may be points that nobody told of.
      const joined = /** @type {CustomEvent} */ (event).detail;
      for (const track of tracks) if (joined.has(`task:${track.id}`)) told(track.load()).then(draw);
      if (joined.has(`task:${task.id}`)) usage.load();
    },
    { signal },
  );
  load();
  usage.load();
  for (const id of compare) add(id);

  return [
    h(
      "div",
      { class: "af-row af-controls" },
      h("label", {}, "over ", h("select", { class: "af-input", title: "What lies along the axis", onchange: (/** @type {any} */ e) => set({ x: e.target.value }) }, h("option", { value: "step" }, "steps"), h("option", { value: "time" }, "time"), h("option", { value: "elapsed" }, "time since its start"))),
      h("label", { title: "Values at or below zero have no place on it" }, h("input", { type: "checkbox", onchange: (/** @type {any} */ e) => set({ log: e.target.checked }) }), " log axis"),
      h("label", { title: "A moving average; what was measured stays visible behind it" }, "smooth ", h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0, oninput: (/** @type {any} */ e) => set({ smooth: Number(e.target.value) }) })),
      field,
      offered,
      download(farm, `/api/v2/tasks/${task.id}/metrics.csv`, "CSV", "Every point, as CSV"),
      zoomed,
    ),
    others,
    trouble,
    grid,
    note,
  ];
}

/** @param {import("./types").Task} task */
function nothing(task) {
  const quiet = (/** @type {string} */ words) => h("p", { class: "af-quiet" }, words);
  if (format.FINAL.has(task.status)) return empty("No metrics.", quiet("The training ended without reporting any."));
  if (task.status === "pending") return empty("Not begun yet.", quiet("Curves appear here once it trains."));
  return empty("No metrics yet.", quiet("What the training reports appears here as it comes."));
}
