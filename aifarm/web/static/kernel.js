/**
 * A farm by way of a notebook's kernel, where the page's server has no extension for it: over the
 * messages of a widget. `aifarm_jupyter.bridge` is the other side.
 */

import { Farm } from "./farm.js";

/** Milliseconds that a request may take: a kernel that runs a cell hears of none. */
const PATIENCE = 30_000;
const SILENT = JSON.stringify({ error: { code: "UNREACHABLE", message: "The kernel does not answer; it may be busy." } });

/**
 * @typedef {object} Model a widget's
 * @property {(message: any) => void} send
 * @property {(event: string, heard: (message: any) => void) => void} on
 * @property {(event: string, heard: (message: any) => void) => void} off
 */

/** @param {Model} model @param {AbortSignal} signal */
export function kernelFarm(model, signal) {
  /** @type {Map<string, (message: any) => void>} who waits for what of the kernel */
  const waiting = new Map();
  const heard = (/** @type {any} */ message) => waiting.get(message.id)?.(message);
  model.on("msg:custom", heard);
  signal.addEventListener("abort", () => model.off("msg:custom", heard));
  // Two pages may show one widget: each knows its own.
  const page = Math.random().toString(36).slice(2);
  let count = 0;
  const fresh = () => `${page}-${++count}`;

  /** @param {string} path @param {RequestInit} init @returns {Promise<Response>} */
  const fetch = (path, { method, body }) =>
    new Promise((resolve) => {
      const id = fresh();
      const answered = (/** @type {{status: number, text: string}} */ { status, text }) => {
        clearTimeout(silent);
        waiting.delete(id);
        resolve(new Response(status === 204 ? null : text, { status }));
      };
      const silent = window.setTimeout(() => answered({ status: 504, text: SILENT }), PATIENCE);
      waiting.set(id, answered);
      model.send({ type: "ask", id, method, path, body });
    });

  /** @returns {import("./feed.js").Socket} */
  function socket() {
    const id = fresh();
    const made = {
      readyState: /** @type {0 | 1 | 2 | 3} */ (WebSocket.CONNECTING),
      /** @type {any} */ onopen: null,
      /** @type {any} */ onmessage: null,
      /** @type {any} */ onclose: null,
      send: (/** @type {any} */ text) => model.send({ type: "frame", id, text }),
      close: () => model.send({ type: "close", id }),
    };
    waiting.set(id, ({ type, text }) => {
      if (type === "opened") {
        made.readyState = WebSocket.OPEN;
        made.onopen?.();
      } else if (type === "frame") made.onmessage?.({ data: text });
      else if (type === "closed") {
        waiting.delete(id);
        made.readyState = WebSocket.CLOSED;
        made.onclose?.();
      }
    });
    model.send({ type: "open", id });
    return made;
  }

  return new Farm({ base: "", fetch, socket, files: false });
}
