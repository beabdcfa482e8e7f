// The list of traces and what is running now, live. Fed by summaries, never by facts.

import type { Filter } from "../model/filter";
import type { OpenSpan, Rates, TraceSummary } from "../model/wire";
import { Atom } from "../state/atom";
import type { LinkStatus } from "./connection";

export type { OpenSpan, Rates, TraceSummary };

export class LiveList {
  /** Newest first; those that match the filter. */
  readonly traces = new Atom<readonly TraceSummary[]>([]);
  /** Longest first; `total` counts those that are not listed, too. */
  readonly running = new Atom<{ spans: readonly OpenSpan[]; total: number }>({ spans: [], total: 0 });
  readonly rates = new Atom<Rates | null>(null);
  readonly status = new Atom<LinkStatus>("loading");
  readonly behind = new Atom(0);
  readonly refusal = new Atom("");
  /** Whether older traces can be had by `more`. */
  readonly hasMore = new Atom(false);

  constructor(_filter: Filter = {}) {}

  setFilter(_filter: Filter): void {
    throw new Error("to come");
  }
  /** Load the next page of older traces. */
  more(): Promise<void> {
    throw new Error("to come");
  }
  /** The relay's wall clock as estimated here, ns since the epoch. */
  nowNs(): number {
    throw new Error("to come");
  }
  close(): void {
    throw new Error("to come");
  }
}
