/**
 * The live feed: one socket for the page, which finds its way back by itself.
 *
 * What is known stands in `tasks` and `clients`. Listeners hear "task", "client", "event", "points",
 * "log" (with the message), "gone" (a task or client), "snapshot" after a fresh start, "joined" when
 * topics (a Set of them) are followed that were not before on this connection, and "state" when the
 * connection comes or goes.
 *
 * @typedef {Pick<WebSocket, "readyState" | "send" | "close" | "onopen" | "onmessage" | "onclose">} Socket
 */

const AGAIN = [0.5, 1, 2, 4, 8, 15]; // seconds between attempts to connect

export class Feed extends EventTarget {
  /**
   * @param {string} url
   * @param {(url: string) => Socket} [open]
   */
  constructor(url, open = (url) => new WebSocket(new URL(url, location.href))) {
    super();
    this.url = url;
    this._open = open;
    /** @type {Map<string, import("./types").Task>} */
    this.tasks = new Map();
    /** @type {Map<string, import("./types").Client>} */
    this.clients = new Map();
    /** @type {"idle" | "connecting" | "live" | "away"} */
    this.state = "idle";
    /** @type {Map<string, number>} how many views follow each topic */
    this._topics = new Map();
    /** @type {Socket | null} */
    this._socket = null;
    /** @type {string[]} what the latest subscription asks for */
    this._wanted = [];
    /** @type {Set<string>} what this connection tells of */
    this._joined = new Set();
    this._tries = 0;
    this._fresh = true;
    this._timer = 0;
    this._asked = 0;
  }

  /**
   * Follows a topic until the signal says so.
   * @param {string} topic "farm", "task:ID" or "client:ID" @param {AbortSignal} signal
   */
  follow(topic, signal) {
    this._topics.set(topic, (this._topics.get(topic) ?? 0) + 1);
    signal.addEventListener("abort", () => {
      const left = (this._topics.get(topic) ?? 1) - 1;
      if (left) this._topics.set(topic, left);
      else this._topics.delete(topic);
      this._resubscribe();
    });
    if (this._socket) this._resubscribe();
    else this._connect();
  }

  /** Tries at once, where it would wait. */
  retry() {
    if (this.state !== "away") return;
    clearTimeout(this._timer);
    this._connect();
  }

  _connect() {
    if (!this._topics.size) return;
    this._to("connecting");
    const socket = this._open(this.url);
    this._socket = socket;
    this._joined.clear();
    socket.onopen = () => this._subscribe();
    socket.onmessage = (frame) => {
      for (const message of JSON.parse(frame.data)) this._take(message);
    };
    socket.onclose = () => {
      if (this._socket !== socket) return;
      this._socket = null;
      if (!this._topics.size) return this._to("idle");
      const seconds = AGAIN[Math.min(this._tries, AGAIN.length - 1)];
      this._tries += 1;
      this._to("away");
      // Not all pages of a lab at once.
      this._timer = window.setTimeout(() => this._connect(), seconds * 1000 * (0.7 + 0.6 * Math.random()));
    };
  }

  _resubscribe() {
    // Views come and go in groups: one subscription for all of them.
    clearTimeout(this._asked);
    this._asked = window.setTimeout(() => {
      if (!this._topics.size) this._socket?.close();
      else if (this._socket?.readyState === WebSocket.OPEN) this._subscribe();
    }, 0);
  }

  _subscribe() {
    this._fresh = true;
    this._wanted = [...this._topics.keys()];
    this._socket?.send(JSON.stringify({ type: "subscribe", topics: this._wanted }));
  }

  /** @param {any} message */
  _take(message) {
    switch (message.type) {
      case "snapshot":
        if (this._fresh) {
          this.tasks.clear();
          this.clients.clear();
        }
        this._fresh = !message.more;
        for (const task of message.tasks) this.tasks.set(task.id, task);
        for (const client of message.clients) this.clients.set(client.id, client);
        if (!message.more) {
          this._tries = 0;
          this._to("live");
          this._tell("snapshot", message);
          const joined = new Set(this._wanted.filter((topic) => !this._joined.has(topic)));
          this._joined = new Set(this._wanted);
          if (joined.size) this._tell("joined", joined);
        }
        break;
      case "task":
        this.tasks.set(message.task.id, message.task);
        this._tell("task", message.task);
        break;
      case "client":
        this.clients.set(message.client.id, message.client);
        this._tell("client", message.client);
        break;
      case "task_deleted":
        this.tasks.delete(message.id);
        this._tell("gone", message.id);
        break;
      case "client_forgotten":
        this.clients.delete(message.id);
        this._tell("gone", message.id);
        break;
      case "event":
        this._tell("event", message.event);
        break;
      case "points":
      case "log":
        this._tell(message.type, message);
        break;
      case "error":
        this._tell("refused", message.error);
        break;
    }
  }

  /** @param {"idle" | "connecting" | "live" | "away"} state */
  _to(state) {
    if (state === this.state) return;
    this.state = state;
    this._tell("state", state);
  }

  /** @param {string} kind @param {any} detail */
  _tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
