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

/** Milliseconds: how often it is looked whether a connection is quiet, for how long one may be, and
 * how long it may take to answer then. */
const LOOK = 15_000;
const QUIET = 45_000;
const PATIENCE = 10_000;

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
    /** What the latest subscription asks for. @type {string[]} */
    this._wanted = [];
    /** Whether it is still unanswered: of two at once it could not be said which was answered. */
    this._unanswered = false;
    /** The moment of the latest news. */
    this._heard = 0;
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
    if (signal.aborted) return;
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

  /** Tells what was learnt of a task elsewhere. @param {import("./types").Task} task */
  learn(task) {
    this.tasks.set(task.id, task);
    this._tell("task", task);
  }

  /** Tries at once, where it would wait. */
  retry() {
    if (this.state === "away") this._connect();
  }

  _connect() {
    clearTimeout(this._timer);
    if (!this._topics.size) return;
    this._to("connecting");
    const socket = this._open(this.url);
    this._socket = socket;
    this._joined.clear();
    this._unanswered = false;
    this._heard = Date.now();
    const mine = () => this._socket === socket;
    socket.onopen = () => mine() && this._subscribe();
    socket.onmessage = (frame) => {
      if (!mine()) return;
      this._heard = Date.now();
      for (const message of JSON.parse(frame.data)) this._take(message);
    };
    socket.onclose = () => mine() && this._ended();
    // A kernel that is busy answers late, and its news come all the same.
    if (socket instanceof WebSocket) this._look();
  }

  /** A connection may be gone without a word: one that is quiet for long is asked. */
  _look() {
    const now = Date.now();
    const quiet = now - this._heard > QUIET;
    if (quiet && this._socket?.readyState === WebSocket.OPEN) this._subscribe();
    this._timer = window.setTimeout(() => (quiet && this._heard < now ? this._leave() : this._look()), quiet ? PATIENCE : LOOK);
  }

  /** Without waiting until the other side has heard of it. */
  _leave() {
    const socket = this._socket;
    this._ended();
    socket?.close();
  }

  _ended() {
    clearTimeout(this._timer);
    this._socket = null;
    if (!this._topics.size) return this._to("idle");
    const seconds = AGAIN[Math.min(this._tries, AGAIN.length - 1)];
    this._tries += 1;
    this._to("away");
    // Not all pages of a lab at once.
    this._timer = window.setTimeout(() => this._connect(), seconds * 1000 * (0.7 + 0.6 * Math.random()));
  }

  _resubscribe() {
    // Views come and go in groups: one subscription for all of them.
    clearTimeout(this._asked);
    this._asked = window.setTimeout(() => {
      if (!this._topics.size) this._leave();
      else if (this._socket?.readyState === WebSocket.OPEN && !this._unanswered) this._subscribe();
    }, 0);
  }

  _subscribe() {
    this._fresh = true;
    this._unanswered = true;
    this._wanted = [...this._topics.keys()];
    this._socket?.send(JSON.stringify({ type: "subscribe", topics: this._wanted }));
  }

  /** The latest subscription was answered; meanwhile something else may have come to be wanted. */
  _answered() {
    this._unanswered = false;
    if (this._wanted.length !== this._topics.size || this._wanted.some((topic) => !this._topics.has(topic))) this._resubscribe();
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
          this._answered();
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
        this._answered();
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
