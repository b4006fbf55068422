/**
 * A farm, as a page sees it: its REST API, and one live socket that everything on the page shares.
 *
 * @typedef {import("./types").Task} Task
 * @typedef {import("./types").Client} Client
 */

import { Feed } from "./feed.js";

/** What the farm refused, or could not be reached for. `field`: of the request, where it says. */
export class FarmError extends Error {
  /**
   * @param {string} message @param {string} code @param {number} status
   * @param {Record<string, any>} [details]
   */
  constructor(message, code, status, details = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.details = details;
  }
}

export class Farm {
  /**
   * @param {object} options
   * @param {string} options.base the farm's address, with no slash at its end
   * @param {Record<string, string>} [options.headers] what each request carries, read anew by each
   * @param {(url: string, init: RequestInit) => Promise<Response>} [options.fetch] the host's own
   * @param {(url: string) => import("./feed.js").Socket} [options.socket] the host's own
   * @param {boolean} [options.files] whether the browser itself can fetch from `base`
   * @param {boolean} [options.readonly] nothing may be changed
   * @param {() => void} [options.onstranger] called when the farm does not know who asks
   */
  constructor({ base, headers = {}, fetch = (url, init) => window.fetch(url, init), socket, files = true, readonly = false, onstranger = () => {} }) {
    this.base = base;
    this.readonly = readonly;
    /** @type {import("./types").Token | null} who is here, where the page knows */
    this.me = null;
    this._headers = headers;
    this._send = fetch;
    this._onstranger = onstranger;
    this._files = files;
    this.feed = new Feed(`${base}/api/v2/live`.replace(/^http/, "ws"), socket);
  }

  /**
   * Whether a page offers to change what belongs to somebody; the farm asks again.
   * @param {string} owner who submitted, published or put it
   */
  controls(owner) {
    return !this.readonly && (!this.me || this.me.role === "admin" || this.me.name === owner);
  }

  /** @param {string} path @param {Record<string, any>} [query] @returns {Promise<any>} */
  get(path, query) {
    return this.send("GET", path + search(query));
  }

  /**
   * The answer's JSON, null for an empty one. Raises FarmError.
   * @param {string} method @param {string} path under /api/v2 @param {any} [body]
   * @param {Record<string, string>} [headers]
   * @returns {Promise<any>}
   */
  async send(method, path, body, headers) {
    const answer = await this._fetch(method, path, body, headers);
    return answer.status === 204 ? null : answer.json();
  }

  /** @param {string} path @param {Record<string, any>} [query] @returns {Promise<string>} */
  async text(path, query) {
    return (await this._fetch("GET", path + search(query))).text();
  }

  /** Where a browser downloads something by itself, null where it cannot. @param {string} path as the API gives it */
  link(path) {
    return this._files ? this.base + (path.startsWith("/") ? path : `/${path}`) : null;
  }

  /** @param {string} method @param {string} path @param {any} [body] @param {Record<string, string>} [more] */
  async _fetch(method, path, body, more) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json, text/plain", ...this._headers, ...more };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await this._send(`${this.base}/api/v2${path}`, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "same-origin",
      });
    } catch {
      throw new FarmError("The farm does not answer.", "UNREACHABLE", 0);
    }
    if (answer.ok) return answer;
    if (answer.status === 401) this._onstranger();
    let told = null;
    try {
      told = (await answer.json()).error;
    } catch {
      // not ours: a proxy's page, perhaps
    }
    throw new FarmError(
      told?.message ?? `The farm answered ${answer.status}.`,
      told?.code ?? "UNKNOWN",
      answer.status,
      told?.details,
    );
  }
}

/** @param {Record<string, any>} [query] */
function search(query) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {}))
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== null && one !== undefined && one !== "") params.append(name, String(one));
  const text = params.toString();
  return text ? `?${text}` : "";
}
