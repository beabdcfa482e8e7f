// One trace, live: its connection, its tree, and the detail of the span that is looked at.

import { FactLog } from "../model/replay";
import type { TraceEvents } from "../model/replay";
import { NONE, Tree } from "../model/tree";
import type { OutlineFrame, SpanDetail } from "../model/wire";
import { Atom } from "../state/atom";
import { paintSoon } from "../state/frames";
import { ApiError, get } from "./api";
import { Lead } from "./clock";
import { Connection } from "./connection";
import type { LinkStatus } from "./connection";
import type { Facts, Update } from "./session";
import { workSoon } from "./slices";

export class LiveTrace {
  /** Replaced by another one if the relay starts over: compare by identity. */
  tree: Tree;
  /** "missing": there is no such trace (yet); it goes live when its first fact comes. */
  readonly status = new Atom<LinkStatus>("loading");
  /** How much of the outline is here, 0 to 1. */
  readonly progress = new Atom(0);
  /** Counts up, at most once a frame, when the tree or what is known of its spans has changed. */
  readonly changed = new Atom(0);

  private readonly connection: Connection;
  private readonly leads = new Map<string, Lead>();
  /** The tree that an outline makes while the one before it is still shown. */
  private coming: Tree | null = null;
  private wasWhole = false;
  /** The id of the span whose detail is open, "" if none is. */
  private opened = "";
  private asked: AbortController | null = null;
  private askedWhileOpen = false;
  private isAnnounced = false;
  private announced = { tree: null as Tree | null, version: -1 };

  constructor(readonly traceId: string) {
    this.tree = new Tree(traceId);
    const subscription = { view: "trace", filter: { trace_id: traceId }, outline: true } as const;
    this.connection = new Connection({ type: "subscribe", ...subscription }, this);
    this.connection.status.watch(() => this.showStatus());
  }

  /** The log's offset up to which the tree has everything. */
  get offset(): number {
    return this.connection.session.offset;
  }

  /** Facts received and not applied, by estimate. */
  get behind(): Atom<number> {
    return this.connection.behind;
  }

  /** Why it was refused, for people. */
  get refusal(): Atom<string> {
    return this.connection.refusal;
  }

  /** The relay's wall clock as estimated here, ns; it stands while the relay does not answer. The
   *  trace's last sign of life while it is not known. */
  nowNs(): number {
    return this.connection.nowNs() || this.tree.lastSeenNs;
  }

  /** By how much a producer's clock (its index in `tree.producers`) is ahead of the relay's, ns;
   *  0 where nothing says so. */
  skew(producer: number): number {
    const id = this.tree.producers[producer]?.id;
    return (id !== undefined && this.leads.get(id)?.over(this.connection.clock)) || 0;
  }

  /** Load a span's detail and keep it up to date until another one is opened; NONE: of none. */
  open(i: number): void {
    const id = i === NONE || i >= this.tree.count ? "" : this.tree.id(i);
    if (id === this.opened && (id === "" || this.tree.detail(i) !== undefined)) return;
    this.shut();
    this.opened = id;
    if (id !== "") this.keep();
  }

  /** The whole log of the trace as it is now, up to the first `REPLAY_FACTS` facts. `onProgress`:
   *  how many are here. Throws an `ApiError`. */
  async events(onProgress?: (facts: number) => void, signal?: AbortSignal): Promise<TraceEvents> {
    const log = await readLog(this.traceId, onProgress, signal);
    const events = log.finish(this.tree.usage());
    const steps = events.prepare();
    await new Promise<void>((resolve) => {
      workSoon(() => {
        if (signal?.aborted !== true && steps.next().done !== true) return true;
        resolve();
        return false;
      });
    });
    signal?.throwIfAborted();
    return events;
  }

  close(): void {
    this.connection.close();
    this.asked?.abort();
  }

  // --- what comes in ---------------------------------------------------------------------------

  take(update: Update, receivedMs: number): void {
    switch (update.type) {
      case "restarted":
        // What was skipped is all true and will be said again; else another log begins.
        this.coming = update.skipped || this.tree.count === 0 ? null : new Tree(this.traceId);
        this.progress.set(0);
        return;
      case "outline":
        return this.takeOutline(update);
      case "facts":
        return this.takeFacts(update, receivedMs);
      case "removed":
        if (update.trace_ids.includes(this.traceId)) this.forget();
        return;
      case "usage":
        return (this.coming ?? this.tree).setUsage(update.usage);
    }
  }

  drained(): void {
    this.showStatus();
    this.announce();
  }

  /** It was deleted: nothing of it stays on the screen. */
  private forget(): void {
    this.tree = new Tree(this.traceId);
    this.coming = null;
    this.open(NONE);
    this.showStatus();
    this.announce();
  }

  private takeOutline(frame: OutlineFrame): void {
    const tree = this.coming ?? this.tree;
    tree.restoreOutline(frame);
    const here = frame.at + frame.parents.length;
    this.progress.set(frame.done || frame.total === 0 ? 1 : here / frame.total);
    if (frame.done) {
      this.wasWhole = true;
      if (this.coming !== null) this.tree = this.coming;
      this.coming = null;
      this.keep();
    }
    this.announce();
  }

  private takeFacts({ producerId, service, facts }: Facts, receivedMs: number): void {
    const tree = this.coming ?? this.tree;
    tree.heardFrom(producerId, service);
    let latest = -Infinity;
    for (const [, seq, event] of facts) {
      tree.apply(event, producerId, seq);
      if (event.time_ns > latest) latest = event.time_ns;
    }
    this.lead(producerId).heard(latest, receivedMs);
    this.announce();
  }

  private lead(producerId: string): Lead {
    let lead = this.leads.get(producerId);
    if (lead === undefined) this.leads.set(producerId, (lead = new Lead()));
    return lead;
  }

  private showStatus(): void {
    const status = this.connection.status.get();
    if (status !== "live") this.status.set(status);
    else if (!this.wasWhole) this.status.set("loading");
    else this.status.set(this.tree.count === 0 ? "missing" : "live");
  }

  /** Tell once a frame; a hidden tab has none, and is told when it is seen again. */
  private announce(): void {
    if (this.isAnnounced) return;
    this.isAnnounced = true;
    this.tell();
    paintSoon(() => {
      this.isAnnounced = false;
      if (this.announced.tree !== this.tree || this.announced.version !== this.tree.version) {
        this.announce();
      }
    });
  }

  private tell(): void {
    const { tree } = this;
    tree.settle();
    this.announced = { tree, version: tree.version };
    if (this.askedWhileOpen && !this.isOpen()) this.ask();
    this.changed.update((n) => n + 1);
  }

  // --- the detail of the open span -------------------------------------------------------------

  private isOpen(): boolean {
    const i = this.tree.find(this.opened);
    return i !== NONE && this.tree.state(i) === "running";
  }

  private keep(): void {
    const i = this.tree.find(this.opened);
    if (i === NONE) return;
    this.tree.keepDetail(i);
    this.ask();
  }

  private shut(): void {
    this.asked?.abort();
    this.asked = null;
    this.askedWhileOpen = false;
    const i = this.tree.find(this.opened);
    if (i !== NONE) this.tree.dropDetail(i);
  }

  /** Ask for what the relay has of the open span: now, and once more when it has ended, for the
   *  sums. */
  private ask(): void {
    const span = this.opened;
    this.asked?.abort();
    const asked = (this.asked = new AbortController());
    this.askedWhileOpen = this.isOpen();
    get<SpanDetail>(`v1/traces/${this.traceId}/spans/${span}`, asked.signal).then(
      (found) => {
        if (asked.signal.aborted) return;
        this.tree.restoreDetail(found);
        this.announce();
      },
      (error: unknown) => {
        if (asked.signal.aborted) return;
        const reason = error instanceof ApiError ? error.message : String(error);
        this.tree.failDetail(this.tree.find(span), reason);
        this.announce();
      },
    );
  }
}

/** Read a trace's facts from the log, on a connection of their own. */
function readLog(
  traceId: string,
  onProgress: ((facts: number) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<FactLog> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const log = new FactLog(traceId);
    const subscription = { view: "trace", filter: { trace_id: traceId }, snapshot: false } as const;
    const end = (then: () => void) => {
      connection.close();
      signal?.removeEventListener("abort", abort);
      then();
    };
    const abort = () => end(() => reject(signal?.reason));
    const connection = new Connection(
      { type: "subscribe", ...subscription },
      {
        take(update) {
          if (update.type === "restarted") log.clear();
          else if (update.type === "facts") {
            const { producerId, service } = update;
            for (const [offset, seq, event] of update.facts) {
              log.add({ offset, seq, event, producerId, service });
            }
            onProgress?.(log.count);
            if (log.isFull) end(() => resolve(log));
          } else if (update.type === "snapshot") log.restoreProducers(update.producers ?? []);
          else if (update.type === "progress") end(() => resolve(log));
        },
      },
    );
    connection.status.watch(() => {
      const { refusal, status } = connection;
      if (status.get() === "refused") end(() => reject(new ApiError(0, refusal.get())));
    });
    signal?.addEventListener("abort", abort);
  });
}
