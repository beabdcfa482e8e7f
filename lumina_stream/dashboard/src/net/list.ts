// The list of traces and what is running now, live. Fed by summaries, never by facts.

import { toParams, toWire } from "../model/filter";
import type { Filter } from "../model/filter";
import type { OpenSpan, Rates, TraceSummary } from "../model/wire";
import { Atom } from "../state/atom";
import { paintSoon } from "../state/frames";
import { get } from "./api";
import { RelayClock } from "./clock";
import { Connection } from "./connection";
import type { LinkStatus, Taker } from "./connection";

/** What the relay lists when the view begins; with fewer there are no older ones. */
const FIRST_TRACES = 1_000;
const PAGE = 200;
/** Traces kept beside those that the person asked for: a tab that is open for a day keeps no
 *  more. */
const KEPT = 2_000;
const RATES_EVERY_MS = 2_000;
const RATES_SINCE = "5m";
/** A double holds a time of these years to 128 ns. */
const ROUNDING_NS = 256;

type Runs = { spans: readonly OpenSpan[]; total: number };
type Page = { traces: readonly TraceSummary[]; next: string | null };

export class LiveList {
  /** Newest first; those that match the filter. Until it says so first, those of the filter
   *  before. */
  readonly traces = new Atom<readonly TraceSummary[]>([]);
  /** Of all traces, longest first; `total` counts those that are not listed, too. */
  readonly running = new Atom<Runs>({ spans: [], total: 0 });
  /** Of the traces that match the filter and started in the last minutes. */
  readonly rates = new Atom<Rates | null>(null);
  readonly status = new Atom<LinkStatus>("loading");
  /** Why it was refused, for people. */
  readonly refusal = new Atom("");
  /** Never much: the relay sends no more than ten messages a second. */
  readonly behind = new Atom(0);
  /** Whether older traces can be had by `more`. */
  readonly hasMore = new Atom(false);

  private readonly clock = new RelayClock();
  private readonly runningConnection: Connection;
  private connection: Connection;
  /** What `running` and `rates` will be in the next frame that somebody sees. */
  private runs: Runs = this.running.get();
  private found: Rates | null = null;
  private known = new Map<string, TraceSummary>();
  private mostKept = KEPT;
  /** Of the view as it began: how many traces came so far, and whether any did. */
  private came = 0;
  private isListed = false;
  /** All traces that started later are here. */
  private whole = Infinity;
  private asked = new AbortController();
  private loading: Promise<void> | null = null;
  private readonly timer: ReturnType<typeof setInterval>;
  private isPublishing = false;

  constructor(private filter: Filter = {}) {
    this.connection = this.connect();
    this.runningConnection = new Connection(
      { type: "subscribe", view: "running" },
      {
        take: (update) => {
          if (update.type !== "running") return;
          this.runs = { spans: update.spans, total: update.total };
          paintSoon(this.publishFigures);
        },
      },
      this.clock,
    );
    this.timer = setInterval(() => this.askRates(), RATES_EVERY_MS);
    document.addEventListener("visibilitychange", this.askRates);
    this.askRates();
  }

  /** The relay's wall clock as estimated here, ns; 0 until it has said what time it is. It stands while
   *  the relay does not answer. */
  nowNs(): number {
    return this.connection.nowNs();
  }

  setFilter(filter: Filter): void {
    this.filter = filter;
    this.connection.close();
    this.asked.abort();
    this.asked = new AbortController();
    this.connection = this.connect();
    this.askRates();
  }

  /** Load the next page of older traces. Throws an `ApiError`. */
  more(): Promise<void> {
    const { signal } = this.asked;
    this.loading ??= this.loadMore(signal)
      .catch((error: unknown) => {
        if (!signal.aborted) throw error;
      })
      .finally(() => (this.loading = null));
    return this.loading;
  }

  close(): void {
    this.connection.close();
    this.runningConnection.close();
    this.asked.abort();
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.askRates);
  }

  private connect(): Connection {
    const filter = toWire(this.filter);
    const taker: Taker = {
      take: (update) => {
        if (update.type === "restarted") {
          this.begin();
        } else if (update.type === "traces") {
          for (const trace of update.traces) this.list(trace);
          this.isListed = true;
        } else if (update.type === "removed") {
          for (const id of update.trace_ids) this.known.delete(id);
        } else return;
        // A hidden tab publishes nothing, and still keeps no more than it should.
        if (this.known.size > 2 * this.mostKept) this.sorted();
        if (this.isListed) this.publishSoon();
      },
    };
    const connection = new Connection(
      { type: "subscribe", view: "traces", filter },
      taker,
      this.clock,
    );
    const show = () => {
      if (connection !== this.connection) return;
      const status = connection.status.get();
      this.refusal.set(connection.refusal.get());
      if (status !== "live" || this.isListed) this.status.set(status);
    };
    connection.status.watch(show);
    connection.behind.watch(() => this.behind.set(connection.behind.get()));
    return connection;
  }

  private readonly publishFigures = (): void => {
    this.running.set(this.runs);
    this.rates.set(this.found);
  };

  private begin(): void {
    this.known = new Map();
    this.came = 0;
    this.isListed = false;
    this.whole = Infinity;
    this.mostKept = KEPT;
    this.hasMore.set(false);
  }

  private list(trace: TraceSummary): void {
    this.known.set(trace.trace_id, trace);
    if (this.came >= FIRST_TRACES) return;
    // What the view begins with are the latest ones.
    this.came++;
    this.whole = Math.min(this.whole, trace.start_ns);
    if (this.came === FIRST_TRACES) this.hasMore.set(true);
  }

  /** Once a frame, and not while nobody looks. */
  private publishSoon(): void {
    if (this.isPublishing) return;
    this.isPublishing = true;
    paintSoon(() => {
      this.isPublishing = false;
      if (this.isListed) this.publish();
    });
  }

  private publish(): void {
    this.traces.set(this.sorted());
    this.status.set(this.connection.status.get());
  }

  private sorted(): TraceSummary[] {
    const traces = [...this.known.values()].sort(newestFirst);
    if (traces.length > this.mostKept) this.forget(traces);
    return traces;
  }

  /** Let go of the oldest ones that have ended: `more` brings them back. */
  private forget(traces: TraceSummary[]): void {
    let over = traces.length - this.mostKept;
    for (let at = traces.length - 1; at >= 0 && over > 0; at--) {
      if (traces[at].state === "running") continue;
      this.known.delete(traces[at].trace_id);
      this.whole = traces[at].start_ns;
      traces.splice(at, 1);
      over--;
    }
    this.hasMore.set(true);
  }

  private async loadMore(signal: AbortSignal): Promise<void> {
    const params = toParams(this.filter);
    params.set("limit", String(PAGE));
    if (Number.isFinite(this.whole)) params.set("until_ns", String(this.whole + ROUNDING_NS));
    const before = this.known.size;
    let next: string | null = null;
    do {
      if (next !== null) params.set("cursor", next);
      const page: Page = await get<Page>(`v1/traces?${params.toString()}`, signal);
      for (const trace of page.traces) {
        // What is known already is newer: it came by the connection.
        if (!this.known.has(trace.trace_id)) this.known.set(trace.trace_id, trace);
        this.whole = trace.start_ns;
      }
      next = page.next;
    } while (next !== null && this.known.size === before);
    this.mostKept += this.known.size - before;
    this.hasMore.set(next !== null);
    this.publishSoon();
  }

  private readonly askRates = (): void => {
    if (document.hidden) return;
    const { signal } = this.asked;
    const params = toParams(this.filter);
    params.set("since", RATES_SINCE);
    get<Rates>(`v1/rates?${params.toString()}`, signal).then(
      (rates) => {
        if (signal.aborted) return;
        this.found = rates;
        paintSoon(this.publishFigures);
      },
      () => undefined, // the connection's status says what is wrong
    );
  };
}

function newestFirst(a: TraceSummary, b: TraceSummary): number {
  return b.start_ns - a.start_ns || (a.trace_id < b.trace_id ? -1 : 1);
}
