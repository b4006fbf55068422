/** Values as people read them. Unknown is "n/a", never a false zero. */

export const UNKNOWN = "n/a";

/** @param {number | null | undefined} value percent @param {number} [digits] */
export function percent(value, digits = 0) {
  return value === null || value === undefined ? UNKNOWN : `${value.toFixed(digits)} %`;
}

/** @param {number | null | undefined} mib */
export function memory(mib) {
  if (mib === null || mib === undefined) return UNKNOWN;
  return mib < 1024 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(mib < 10240 ? 1 : 0)} GiB`;
}

/** @param {number | null | undefined} count bytes */
export function bytes(count) {
  if (count === null || count === undefined) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

/** @param {number | null | undefined} value */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** A number of an axis: short, and no digit more than it needs. @param {number} value */
export function tick(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  const short = Number(value.toPrecision(4)); // 0.1 + 0.2
  if (size >= 1e6 || size < 1e-3) return short.toExponential().replace("e+", "e");
  return short.toLocaleString("en", { maximumFractionDigits: 6 });
}

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago a moment was. @param {string | null | undefined} moment ISO 8601 */
export function ago(moment) {
  if (!moment) return UNKNOWN;
  const seconds = (Date.now() - Date.parse(moment)) / 1000;
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

/** A moment in this reader's own time. @param {string | null | undefined} moment ISO 8601 */
export function time(moment) {
  return moment ? new Date(moment).toLocaleString() : UNKNOWN;
}

/** @param {string} id */
export function short(id) {
  return id.slice(0, 8);
}

/** @type {Map<string, {attempt: number, at: number, progress: number}>} where running tasks were when this page first saw them so */
const first = new Map();
const TELLING = 0.5; // percent of progress, from which on a pace is one

/**
 * Seconds that a running task still needs at its present pace, null while nobody can say. Time in
 * which it waited or was paused is none of its pace, so that is measured here; until then it is
 * what a first attempt has made since it began.
 * @param {import("./types").Task} task
 */
export function remaining(task) {
  const { id, attempt, progress } = task;
  if (task.status !== "running") {
    first.delete(id);
    return null;
  }
  const known = first.get(id);
  const from = known && known.attempt === attempt && known.progress <= progress ? known : { attempt, at: Date.now(), progress };
  first.set(id, from);
  if (progress - from.progress >= TELLING) return left(from.at, from.progress, progress);
  if (attempt > 1 || task.from_checkpoint || !task.started_at || progress < TELLING) return null;
  return left(Date.parse(task.started_at), 0, progress);
}

/** @param {number} since in ms @param {number} before @param {number} now */
function left(since, before, now) {
  return (((Date.now() - since) / 1000) * (100 - now)) / (now - before);
}

/** The word for a state, and whether it is one that a task stays in. */
export const FINAL = new Set(["completed", "failed", "stopped"]);
