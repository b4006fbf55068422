/** The log of a rank: its end, followed as it grows, back to its beginning, searched. */

import { fill, h } from "./dom.js";
import { download } from "./parts.js";
import * as format from "./format.js";

/** Lines that are read at first, and at once when they are asked for. */
const TAIL = 500;
const PAGE = 1000;

/** Lines on the page, before the oldest go while the log is followed. */
const MOST = 5000;

/** @typedef {{text: string, element: HTMLElement}} Line */

/**
 * @param {import("./farm.js").Farm} farm @param {import("./types").Task} task @param {AbortSignal} signal
 */
export function logView(farm, task, signal) {
  let rank = 0;
  /** The attempt that was chosen, null is the latest. @type {number | null} */
  let chosen = null;
  let attempt = 0;
  let first = 0;
  let next = 0;
  let total = 0;
  let started = 0;
  let reading = false;
  let again = false;
  let problem = "";
  /** @type {Line[]} */
  let lines = [];
  /** @type {Line[]} those with the words that are looked for */
  let hits = [];
  /** @type {Line | null} */
  let current = null;

  const ranks = Math.max(1, task.n_clients, task.clients.length);
  const open = h("div", { class: "af-line af-quiet" });
  const earlier = h("button", { type: "button", class: "af-link", onclick: () => older() });
  const box = h("div", { class: "af-log", tabindex: 0, "aria-label": "log", role: "log", onscroll: () => (follow.checked = atEnd()) });
  const search = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "search",
      class: "af-input",
      placeholder: "Find in the log",
      "aria-label": "Find in the log",
      oninput: () => look(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && go(event.shiftKey ? -1 : 1),
    })
  );
  const count = h("span", { class: "af-quiet af-number", role: "status" });
  const step = (/** @type {number} */ by, /** @type {string} */ sign, /** @type {string} */ title) =>
    h("button", { type: "button", class: "af-button af-small", title, "aria-label": title, onclick: () => go(by) }, sign);
  const moves = h("span", { class: "af-row af-hidden" }, step(-1, "↑", "The one before (Shift+Enter); reads earlier lines where it has to"), step(1, "↓", "The next one (Enter)"));
  const follow = /** @type {HTMLInputElement} */ (
    h("input", { type: "checkbox", checked: true, onchange: () => follow.checked && toEnd() })
  );
  const file = h("span", {});

  const atEnd = () => box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  function toEnd() {
    box.scrollTop = box.scrollHeight;
  }

  // ---------------------------------------------------------------- lines

  /** @param {string} text @returns {Line} */
  function made(text) {
    const line = { text, element: h("div", { class: "af-line" }, text) };
    mark(line);
    return line;
  }

  /** @param {number} number */
  function clear(number = rank) {
    rank = number;
    started += 1;
    attempt = first = next = total = 0;
    lines = [];
    hits = [];
    current = null;
    fill(open);
    draw();
    fill(file, download(farm, `/api/v2/tasks/${task.id}/logs.txt?rank=${rank}${chosen === null ? "" : `&attempt=${chosen}`}`, "Download", "The whole log of this rank, as text"));
    read();
  }

  /** What stands around the lines; these themselves are added where they come. */
  function draw() {
    fill(earlier, first ? `Show earlier lines (${format.number(first)})` : "");
    if (!lines.length && !open.textContent) {
      const words = problem || (format.FINAL.has(task.status) ? "It wrote nothing." : task.status === "pending" ? "Not begun yet." : "No output yet.");
      fill(box, h("span", { class: "af-quiet" }, words));
    } else if (!open.isConnected) fill(box, earlier, lines.map((line) => line.element), open);
    told();
  }

  async function read() {
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    do {
      again = false;
      const mine = started;
      try {
        const asked = next ? { first: next, attempt } : { tail: TAIL, attempt: chosen };
        const page = await farm.get(`/tasks/${task.id}/logs`, { rank, ...asked });
        if (signal.aborted) return;
        if (mine !== started) {
          again = true; // another rank is wanted by now
          continue;
        }
        problem = "";
        if (!next) first = page.first;
        ({ attempt, next, total } = page);
        append(page.lines);
        again = again || next < total;
      } catch (error) {
        problem = /** @type {Error} */ (error).message; // the next line that comes tries again
        draw();
        break;
      }
    } while (again);
    reading = false;
  }

  /** Reads what came while nobody told of it: of this attempt, or of a later one. */
  async function catchUp() {
    if (chosen === null && attempt) {
      const mine = started;
      const latest = await farm.get(`/tasks/${task.id}/logs`, { rank, tail: 1 }).catch(() => null);
      if (mine !== started || signal.aborted) return;
      if (latest && latest.attempt > attempt) return clear();
    }
    read();
  }

  /** @param {string[]} texts */
  function append(texts) {
    const fresh = texts.map(made);
    lines.push(...fresh);
    hits.push(...fresh.filter(matches));
    draw();
    if (fresh.some((line) => !line.element.isConnected)) open.before(...fresh.map((line) => line.element));
    if (!follow.checked) return;
    if (lines.length > MOST && !search.value) drop(lines.length - MOST);
    toEnd();
  }

  /** @param {number} many of the oldest lines */
  function drop(many) {
    for (const line of lines.splice(0, many)) line.element.remove();
    first += many;
    draw();
  }

  /** Reads the lines before the first one. */
  async function older() {
    if (!first) return false;
    const mine = started;
    const many = Math.min(PAGE, first);
    try {
      const page = await farm.get(`/tasks/${task.id}/logs`, { rank, attempt, first: first - many, limit: many });
      if (mine !== started || signal.aborted) return false;
      const fresh = page.lines.map(made);
      const below = box.scrollHeight - box.scrollTop;
      first -= many;
      lines.unshift(...fresh);
      hits.unshift(...fresh.filter(matches));
      earlier.after(...fresh.map((/** @type {Line} */ line) => line.element));
      draw();
      box.scrollTop = box.scrollHeight - below;
      return true;
    } catch (error) {
      fill(count, /** @type {Error} */ (error).message);
      return false;
    }
  }

  // ---------------------------------------------------------------- search

  const wanted = () => search.value.toLowerCase();

  /** @param {Line} line */
  const matches = (line) => Boolean(wanted()) && line.text.toLowerCase().includes(wanted());

  /** Shows where a line has what is looked for. @param {Line} line */
  function mark(line) {
    const words = wanted();
    if (!matches(line)) {
      if (line.element.childElementCount) fill(line.element, line.text);
      return;
    }
    const lower = line.text.toLowerCase();
    const pieces = [];
    let at = 0;
    for (let found = lower.indexOf(words); found >= 0; found = lower.indexOf(words, at)) {
      pieces.push(line.text.slice(at, found), h("mark", {}, line.text.slice(found, found + words.length)));
      at = found + words.length;
    }
    fill(line.element, pieces, line.text.slice(at));
  }

  function look() {
    for (const line of lines) mark(line);
    hits = lines.filter(matches);
    moves.classList.toggle("af-hidden", !wanted());
    show(hits[hits.length - 1] ?? null);
  }

  /** @param {Line | null} line */
  function show(line) {
    current?.element.classList.remove("af-current");
    current = line;
    if (line) {
      line.element.classList.add("af-current");
      // Within the box: the page itself stays where it is.
      box.scrollTop = line.element.offsetTop - box.clientHeight / 2;
    }
    told();
  }

  function told() {
    const part = first ? ` in the last ${format.number(total - first)} lines` : "";
    if (!wanted()) fill(count);
    else if (!hits.length) fill(count, `none${part}`);
    else fill(count, `${current ? hits.indexOf(current) + 1 : "–"} of ${format.number(hits.length)}${part}`);
  }

  /** To another hit; before the first one, in lines that are read for it. @param {number} by 1 or -1 */
  async function go(by) {
    if (!wanted()) return;
    let place = (current ? hits.indexOf(current) : hits.length) + by;
    while (place < 0 || !hits.length) {
      const before = hits.length;
      if (!(await older())) break;
      place += hits.length - before;
      if (!before && hits.length) place = hits.length - 1;
    }
    if (hits.length) show(hits[(place + hits.length) % hits.length]);
  }

  // ---------------------------------------------------------------- what is heard

  farm.feed.addEventListener(
    "log",
    (event) => {
      const heard = /** @type {CustomEvent} */ (event).detail;
      if (heard.task_id !== task.id || heard.rank !== rank || (chosen !== null && heard.attempt !== chosen)) return;
      if (attempt && heard.attempt > attempt) return clear();
      fill(open, heard.open);
      if (heard.total > next || !attempt) read();
      else {
        draw();
        if (follow.checked) toEnd();
      }
    },
    { signal },
  );
  farm.feed.addEventListener("joined", (event) => /** @type {CustomEvent} */ (event).detail.has(`task:${task.id}`) && catchUp(), { signal });

  const select = (/** @type {string} */ words, /** @type {[string, string][]} */ options, /** @type {(value: string) => void} */ onchange) =>
    h("select", { class: "af-input", "aria-label": words, title: words, onchange: (/** @type {any} */ event) => onchange(event.target.value) }, options.map(([value, shown]) => h("option", { value }, shown)));
  const numbers = (/** @type {number} */ many, /** @type {number} */ from) => Array.from({ length: many }, (_, index) => String(index + from));
  const row = h(
    "div",
    { class: "af-row" },
    search,
    moves,
    count,
    h("span", { class: "af-spring" }),
    ranks > 1 && select("Rank", numbers(ranks, 0).map((one) => [one, `rank ${one}`]), (value) => clear(Number(value))),
    task.attempt > 1 &&
      select("Attempt", [["", "latest attempt"], ...numbers(task.attempt, 1).map((one) => /** @type {[string, string]} */ ([one, `attempt ${one}`]))], (value) => {
        chosen = value ? Number(value) : null;
        clear();
      }),
    h("label", { title: "Stay at the end as it grows" }, follow, " follow"),
    file,
  );
  clear();
  return h("section", { class: "af-logs" }, row, box);
}
