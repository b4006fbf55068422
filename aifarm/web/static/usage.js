/** How busy the machines of a task are while it trains, along the axes of its curves. */

import { Curve } from "./curve.js";
import * as format from "./format.js";

const POINTS = 400;

/** Attempts that are looked back at: each costs a request. */
const ATTEMPTS = 6;

/** Samples of each at which each two become one. */
const MOST = 4000;

/** Milliseconds between two times that they are aligned to the axis, at least. */
const OFTEN = 1000;

/** Seconds behind the last point in which a sample still belongs to it. */
const PAUSE = 60;

/**
 * @typedef {object} Samples
 * @property {string} client
 * @property {number | "cpu"} what the number of a GPU
 * @property {number[]} time seconds since the epoch
 * @property {(number | null)[]} value percent
 */

/**
 * @typedef {object} Use
 * @property {string} title of the chart
 * @property {string} note what is to be said beside it
 * @property {Curve[]} curves over time; one a GPU, or one a machine
 */

export class Usage {
  /**
   * @param {import("./farm.js").Farm} farm @param {import("./types").Task} task @param {AbortSignal} signal
   * @param {() => void} changed
   */
  constructor(farm, task, signal, changed) {
    this.farm = farm;
    this.task = task;
    this.changed = changed;
    /** @type {Map<string, Samples>} */
    this._known = new Map();
    /** What was read last, and of what. @type {{use: Use, along: Curve, end: number, at: number} | null} */
    this._latest = null;
    this._fresh = false;
    this._timer = 0;
    this._attempt = task.attempt;
    this._following = new Set();
    this._signal = signal;
    signal.addEventListener("abort", () => clearTimeout(this._timer));
    // The latest heartbeat may have come before a client was followed.
    farm.feed.addEventListener("snapshot", () => farm.feed.clients.forEach((client) => this._told(client)), { signal });
    farm.feed.addEventListener("client", (event) => this._told(/** @type {CustomEvent} */ (event).detail), { signal });
    farm.feed.addEventListener(
      "task",
      (event) => {
        const told = /** @type {CustomEvent} */ (event).detail;
        if (told.id !== task.id) return;
        this.task = told;
        if (told.attempt !== this._attempt || told.clients.some((/** @type {string} */ one) => !this._following.has(one))) this.load();
      },
      { signal },
    );
  }

  async load() {
    this._attempt = this.task.attempt;
    for (const client of this.task.clients)
      if (!format.FINAL.has(this.task.status) && !this._following.has(client)) {
        this._following.add(client);
        this.farm.feed.follow(`client:${client}`, this._signal);
      }
    try {
      const { attempts } = await this.farm.get(`/tasks/${this.task.id}/attempts`);
      const spans = attempts.slice(-ATTEMPTS).flatMap((/** @type {any} */ one) =>
        [...new Set(one.clients)].map((client) => ({ client, since: one.started_at ?? one.assigned_at, until: one.ended_at })),
      );
      const found = await Promise.all(spans.map((/** @type {any} */ span) => this._history(span)));
      if (this._signal.aborted) return;
      // Behind what is stored comes what was heard.
      const heard = this._known;
      this._known = new Map();
      for (const history of found) if (history) this._add(history);
      for (const { client, what, time, value } of heard.values()) this._extend(client, what, time, value);
    } catch {
      // the curves stand without it
    }
    this._fresh = true;
    this.changed();
  }

  /** @param {{client: string, since: string, until: string | null}} span */
  async _history({ client, since, until }) {
    if (until && !(Date.parse(since) < Date.parse(until))) return null;
    try {
      return await this.farm.get(`/clients/${encodeURIComponent(client)}/history`, { since, until, points: POINTS });
    } catch {
      return null; // the machine has been forgotten, or has only just begun
    }
  }

  /** @param {any} history */
  _add(history) {
    const time = history.time.map((/** @type {string} */ at) => Date.parse(at) / 1000);
    this._extend(history.client, "cpu", time, history.cpu);
    for (const gpu of history.gpus) this._extend(history.client, gpu.id, time, gpu.utilization);
  }

  /** @param {any} client as the feed tells of it, at each heartbeat */
  _told(client) {
    if (format.FINAL.has(this.task.status) || !this.task.clients.includes(client.id) || !client.resources) return;
    const at = [Date.parse(client.last_seen) / 1000];
    this._extend(client.id, "cpu", at, [client.resources.cpu.usage]);
    for (const gpu of client.resources.gpu) this._extend(client.id, gpu.id, at, [gpu.utilization ?? null]);
    this._fresh = true;
    this.changed();
  }

  /** @param {string} client @param {number | "cpu"} what @param {number[]} time @param {(number | null)[]} value */
  _extend(client, what, time, value) {
    if (!time.length) return; // nothing is known: that is not to say that there is no GPU
    const key = JSON.stringify([client, what]);
    const known = this._known.get(key) ?? { client, what, time: [], value: [] };
    this._known.set(key, known);
    for (const [index, at] of time.entries()) {
      const last = known.time.length - 1;
      if (at < known.time[last]) continue;
      // When a client was last seen is kept less often than it is heard: the latest counts.
      const place = at === known.time[last] ? last : last + 1;
      known.time[place] = at;
      known.value[place] = value[index];
    }
    if (known.time.length >= MOST) thin(known);
  }

  /**
   * As it was read last, while that is but a moment ago: `changed` is called again then.
   * @param {Curve} along the curve whose steps and times are those of the axis @returns {Use}
   */
  read(along) {
    const [latest, end, now] = [this._latest, along.time[along.length - 1], performance.now()];
    if (latest && !this._fresh && latest.along === along && latest.end === end) return latest.use;
    clearTimeout(this._timer);
    if (latest && now < latest.at + OFTEN) {
      this._timer = window.setTimeout(this.changed, latest.at + OFTEN - now);
      return latest.use;
    }
    this._fresh = false;
    const use = this._aligned(along);
    this._latest = { use, along, end, at: now };
    return use;
  }

  /** @param {Curve} along @returns {Use} */
  _aligned(along) {
    const all = [...this._known.values()];
    const measured = all.filter((one) => one.value.some((value) => value !== null));
    const gpus = measured.filter((one) => one.what !== "cpu");
    const title = gpus.length ? "GPU use, %" : "processor use, %";
    const shown = gpus.length ? gpus : measured.filter((one) => one.what === "cpu");
    let note = "";
    if (all.length && all.every((one) => one.what === "cpu")) note = "No GPU on the machines of this task.";
    else if (all.length && !gpus.length) note = `GPU use: ${format.UNKNOWN}, the driver does not tell.`;
    return { title, note, curves: shown.map((one) => aligned(one, along)) };
  }
}

/** Each two samples become their mean. @param {Samples} samples */
function thin(samples) {
  const { time, value } = samples;
  const half = time.length >> 1;
  samples.time = Array.from({ length: half }, (_, index) => time[2 * index + 1]);
  samples.value = Array.from({ length: half }, (_, index) => {
    const [one, other] = [value[2 * index], value[2 * index + 1]];
    return one === null ? other : other === null ? one : (one + other) / 2;
  });
}

/**
 * Samples that know only their time, with the step that the training was at then.
 * @param {Samples} samples @param {Curve} along
 */
function aligned({ client, what, time, value }, along) {
  const name = what === "cpu" ? client : `${client} GPU ${what}`;
  const { step: steps, time: times, length } = along;
  const kept = /** @type {{step: number[], time: number[], value: (number | null)[]}} */ ({ step: [], time: [], value: [] });
  let at = 0;
  for (const [index, moment] of time.entries()) {
    if (!length || moment < times[0]) continue;
    while (at + 1 < length && times[at + 1] <= moment) at += 1;
    if (at + 1 === length && moment > times[at] + PAUSE) break; // the training is over, or its news are
    const share = at + 1 < length ? (moment - times[at]) / (times[at + 1] - times[at]) : 0;
    kept.step.push(steps[at] + share * ((steps[at + 1] ?? steps[at]) - steps[at]));
    kept.time.push(moment);
    kept.value.push(value[index]);
  }
  const curve = Curve.of({ name, ...kept });
  curve.origin = length ? times[0] : null;
  return curve;
}
