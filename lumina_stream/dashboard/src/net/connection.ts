// A WebSocket that comes back by itself: it moves messages, and decides nothing that the session
// does.
//
// What comes in is taken in piece by piece between frames (`slices`), in order.

import { RelayClock } from "./clock";
import { ApiError, get, needsToken, socketAddress } from "./api";
import { RemoteProtocolError, Session } from "./session";
import type { Update } from "./session";
import { workNoMore, workSoon } from "./slices";
import type { Subscribe } from "../model/wire";
import { Atom } from "../state/atom";

/** "missing": no such trace (yet). "refused": the relay wants no more of it, or a token. */
export type LinkStatus = "loading" | "live" | "reconnecting" | "missing" | "refused";

// As in model/limits.py.
const RECONNECT_FIRST_MS = 50;
const RECONNECT_MOST_MS = 5_000;
/** The relay speaks each second: a connection that is silent for so long is dead. */
const SILENCE_MS = 10_000;
const CHECK_MS = 1_000;
/** Characters of a fact, as long as none was counted. */
const FACT_LENGTH = 200;

/** What is taken in of what came; the connection's own status is in `status`. */
export type Taker = {
  take(update: Update, receivedMs: number): void;
  /** All that is there has been taken in. */
  drained?(): void;
};

export class Connection {
  readonly status = new Atom<LinkStatus>("loading");
  /** Facts received and not taken in yet, by estimate. */
  readonly behind = new Atom(0);
  readonly refusal = new Atom("");
  readonly session: Session;

  private socket: WebSocket | null = null;
  private readonly waiting: { text: string; receivedMs: number }[] = [];
  private waitingLength = 0;
  private factLength = FACT_LENGTH;
  private attempts = 0;
  private heardMs = 0;
  /** When the last message came, of whatever connection. */
  private toldMs = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private readonly check: ReturnType<typeof setInterval>;
  private readonly unwatch: () => void;
  private isClosed = false;

  constructor(
    subscription: Subscribe,
    private readonly taker: Taker,
    readonly clock = new RelayClock(),
  ) {
    this.session = new Session(subscription);
    this.check = setInterval(() => this.checkSilence(), CHECK_MS);
    this.unwatch = needsToken.watch(() => {
      if (!needsToken.get() && this.status.get() === "refused") this.connect();
    });
    addEventListener("online", this.connectNow);
    document.addEventListener("visibilitychange", this.connectNow);
    this.connect();
  }

  close(): void {
    this.isClosed = true;
    clearInterval(this.check);
    clearTimeout(this.retry);
    this.unwatch();
    removeEventListener("online", this.connectNow);
    document.removeEventListener("visibilitychange", this.connectNow);
    this.drop();
  }

  /** The relay's wall clock, ns; 0 while it has not said what time it is. While it does not answer the
   *  clock stands at its last word: nobody knows what ran on since. */
  nowNs(): number {
    const isHeard = this.status.get() !== "reconnecting";
    return this.clock.at(isHeard ? performance.now() : this.toldMs);
  }

  private connect(): void {
    clearTimeout(this.retry);
    this.retry = undefined;
    this.drop();
    this.heardMs = performance.now();
    if (this.status.get() === "refused") this.status.set("loading");
    const socket = new WebSocket(socketAddress("v1/tail"), "lumina.v1.json");
    this.socket = socket;
    let wasOpen = false;
    socket.onopen = () => {
      wasOpen = true;
      this.heardMs = performance.now();
      socket.send(this.session.subscribe());
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      const receivedMs = performance.now();
      this.heardMs = this.toldMs = receivedMs;
      if (typeof data !== "string") return;
      this.waiting.push({ text: data, receivedMs });
      this.waitingLength += data.length;
      workSoon(this.work);
    };
    socket.onclose = ({ code, reason }) => {
      // What came before the end is taken in first: the cursor stands behind it.
      if (this.socket === socket) void this.lost(wasOpen, code, reason);
    };
  }

  /** Let go of the socket, and of what it brought and was not taken in: the cursor stands before
   *  it. */
  private drop(): void {
    const { socket } = this;
    this.socket = null;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    workNoMore(this.work);
    this.waiting.length = 0;
    this.waitingLength = 0;
    this.behind.set(0);
  }

  private async lost(wasOpen: boolean, code: number, reason: string): Promise<void> {
    if (this.isClosed || this.status.get() === "refused") return;
    this.socket = null;
    if (wasOpen && (code === 1002 || code === 1008))
      return this.refuse(reason || "The relay refuses.");
    if (this.status.get() !== "loading" || this.attempts > 0) this.status.set("reconnecting");
    if (!wasOpen && (await isTokenMissing())) {
      if (!this.isClosed) this.refuse("The relay wants a token.");
      return;
    }
    if (this.isClosed || this.socket !== null || this.retry !== undefined) return;
    const mostMs = Math.min(RECONNECT_MOST_MS, RECONNECT_FIRST_MS * 2 ** this.attempts++);
    this.retry = setTimeout(() => this.connect(), Math.random() * mostMs);
  }

  private refuse(message: string): void {
    this.refusal.set(message);
    this.status.set("refused");
    this.drop();
  }

  private readonly connectNow = (): void => {
    if (document.hidden || this.retry === undefined) return;
    this.connect();
  };

  private checkSilence(): void {
    if (this.socket === null || performance.now() - this.heardMs < SILENCE_MS) return;
    this.drop();
    void this.lost(true, 0, "");
  }

  /** Take in one message. */
  private readonly work = (): boolean => {
    const message = this.waiting.shift();
    if (message === undefined) return false;
    this.waitingLength -= message.text.length;
    try {
      for (const update of this.session.receive(message.text)) this.hear(update, message);
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
      this.refuse(`The relay does not speak lumina.v1.json: ${error.message}`);
      return false;
    }
    const isMore = this.waiting.length > 0;
    this.behind.set(isMore ? Math.ceil(this.waitingLength / this.factLength) : 0);
    if (!isMore) this.taker.drained?.();
    return isMore;
  };

  private hear(update: Update, { text, receivedMs }: { text: string; receivedMs: number }): void {
    if (this.session.relayNs > 0) this.clock.heard(this.session.relayNs, receivedMs);
    if (update.type === "refused") return this.refuse(update.message);
    if (update.type === "restarted" || update.type === "resumed") {
      this.attempts = 0;
      this.status.set("live");
    } else if (update.type === "facts") {
      this.factLength += (text.length / update.facts.length - this.factLength) / 16;
    }
    this.taker.take(update, receivedMs);
  }
}

/** A browser does not say why a WebSocket was refused; the same question over HTTP does. */
async function isTokenMissing(): Promise<boolean> {
  try {
    await get("v1/traces?limit=1");
    return false;
  } catch (error) {
    return error instanceof ApiError && error.status === 401;
  }
}
