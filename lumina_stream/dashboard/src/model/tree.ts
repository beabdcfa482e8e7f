// The tree of one trace, built from facts in any order. The rules are those of model/tree.py, and
// the shared fixtures hold the two together.
//
// One trace as columns: a span is its number (0 to count - 1), which stays while the tree lives. The
// columns are replaced when they grow: read `tree.start[i]`, never keep the array.

import type { Detail } from "./detail";
import type { Producer } from "./producers";
import type { Event, LossRecord, OutlineFrame, State, Usage, WireProducer } from "./wire";

export type { State } from "./wire";

export const NONE = -1;

/** In the order of `stateCode`. */
export const STATES = [
  "running",
  "ok",
  "error",
  "cancelled",
  "abandoned",
  "interrupted",
  "unended",
  "missing",
] as const satisfies readonly State[];
export const RUNNING = 0;
export const OK = 1;
export const ERROR = 2;
export const CANCELLED = 3;
export const ABANDONED = 4;
export const INTERRUPTED = 5;
export const UNENDED = 6;
export const MISSING = 7;

/** Bits of `flags`. */
export const REMOTE_PARENT = 1;
export const HAS_ATTRIBUTES = 2;
export const HAS_EVENTS = 4;
export const HAS_TEXT = 8;
export const HAS_LINKS = 16;
export const HAS_ERROR_DETAIL = 32;

/** Bits of `conflicts`. */
export const PARENT_CYCLE = 1;
export const DUPLICATE_START = 2;
export const DOUBLE_END = 4;
export const EVENT_AFTER_END = 8;

export type Loss = {
  /** ns since the tree's base. */
  time: number;
  by: string;
  seq: number;
  count: number;
  reason: string;
  exact: boolean;
};

/** Sums over a span and everything below it. */
export type Totals = {
  spans: number;
  open: number;
  errors: number;
  input: number;
  output: number;
  /** Trillionths of a dollar; null where no call has a price. */
  cost: number | null;
  /** Calls that nobody has a price for: they are not in `cost`. */
  unpriced: number;
  calls: number;
};

export class Tree {
  /** Wall-clock ns of time 0; 0 until something is known. */
  baseNs = 0;
  /** Spans known, the missing ones included. */
  count = 0;
  /** More than `count` while an outline is still coming. */
  total = 0;

  // ns since baseNs. `start` and `end`: NaN where it has not started, not ended. `last`: the last
  // sign of life that the span itself gave, NaN if at no known time.
  declare start: Float64Array;
  declare end: Float64Array;
  declare last: Float64Array;

  // Edges as attached (a cycle is cut), NONE where there is none. Siblings are in order after `settle`.
  declare parent: Int32Array;
  declare firstChild: Int32Array;
  declare lastChild: Int32Array;
  declare nextSibling: Int32Array;
  declare prevSibling: Int32Array;
  declare childCount: Int32Array;

  /** 0 none, else OK, ERROR, CANCELLED, ABANDONED: what the program said at the end. */
  declare status: Uint8Array;
  declare flags: Uint8Array;
  declare conflicts: Uint8Array;
  /** Indexes into `strings`; kindOf NONE where there is no kind. */
  declare nameOf: Int32Array;
  declare kindOf: Int32Array;
  /** Indexes into `producers`; NONE while the start is missing. */
  declare producerOf: Int32Array;

  // What the span's own call adds beyond its children. cost: trillionths of a dollar, NaN: no price;
  // -1: no call.
  declare input: Float64Array;
  declare output: Float64Array;
  declare cost: Float64Array;

  // Sums over the span and everything below it, right after `settle`.
  declare allSpans: Int32Array;
  declare allOpen: Int32Array;
  declare allErrors: Int32Array;
  declare allInput: Float64Array;
  declare allOutput: Float64Array;
  declare allCost: Float64Array;
  declare allUnpriced: Int32Array;

  readonly strings: string[] = [""];
  readonly producers: Producer[] = [];
  /** Roots are linked by nextSibling too: those that did not start first, then by start. */
  firstRoot = NONE;
  lastRoot = NONE;
  rootCount = 0;

  /** Counts up with every change, resp. every change of structure or of a name. */
  version = 0;
  shape = 0;

  startedCount = 0;
  errorCount = 0;
  readonly losses: Loss[] = [];
  readonly truncated: Readonly<Record<string, number>> = {};

  constructor(readonly traceId: string) {}

  // --- reading ---------------------------------------------------------------------------------

  /** The span id, 16 hex digits. */
  id(_i: number): string {
    throw new Error("to come");
  }
  /** The number of a span, NONE if it was never mentioned. */
  find(_id: string): number {
    throw new Error("to come");
  }
  name(i: number): string {
    return this.strings[this.nameOf[i]];
  }
  kind(i: number): string {
    const kind = this.kindOf[i];
    return kind < 0 ? "" : this.strings[kind];
  }
  service(_i: number): string {
    throw new Error("to come");
  }
  state(i: number): State {
    return STATES[this.stateCode(i)];
  }
  stateCode(_i: number): number {
    throw new Error("to come");
  }
  /** The last sign of life, ns since baseNs: of the producer if it is lost, else of the span. */
  lastSeen(_i: number): number {
    throw new Error("to come");
  }
  /** The span's parent as its start named it: an id, also where the edge is cut or not kept. */
  parentId(_i: number): string | null {
    throw new Error("to come");
  }
  /** Spans that are running. */
  get openCount(): number {
    throw new Error("to come");
  }
  /** Spans that were named and have not started. */
  get missingCount(): number {
    return this.count - this.startedCount;
  }
  get lostCount(): number {
    return this.losses.reduce((sum, loss) => sum + loss.count, 0);
  }
  /** Spans that started and have not ended: running, interrupted or unended; in no order. */
  unended(): Int32Array {
    throw new Error("to come");
  }
  /** The span that stands for the trace; NONE while there is none. */
  get root(): number {
    throw new Error("to come");
  }
  get finished(): boolean {
    throw new Error("to come");
  }
  get traceState(): State {
    throw new Error("to come");
  }
  /** When the first span started, the last one ended; absolute ns, 0 while not known. */
  get startNs(): number {
    throw new Error("to come");
  }
  get endNs(): number {
    throw new Error("to come");
  }
  /** The last sign of life of the trace, absolute ns. */
  get lastSeenNs(): number {
    throw new Error("to come");
  }
  /** Of the producers that have spans here, the root's first. */
  get services(): string[] {
    throw new Error("to come");
  }
  /** Sums over a span and everything below it, or over the whole trace. */
  totals(_i?: number): Totals {
    throw new Error("to come");
  }
  /** Attributes, events, texts, as far as they are kept: in traces of more than `KEEP_DETAILS`
   *  spans only of those whose detail is open. */
  detail(_i: number): Detail | undefined {
    throw new Error("to come");
  }

  // --- writing ---------------------------------------------------------------------------------

  /** Put siblings in order and add up, where anything changed. Call it before walking. */
  settle(): void {
    throw new Error("to come");
  }
  /** Take in one event of this trace, or of a producer. */
  apply(_event: Event, _producerId: string, _seq: number): void {
    throw new Error("to come");
  }
  /** Take in a piece of an outline; pieces of one outline come in order. */
  restoreOutline(_frame: OutlineFrame): void {
    throw new Error("to come");
  }
  restoreProducers(_producers: readonly WireProducer[]): void {
    throw new Error("to come");
  }
  restoreLosses(_losses: readonly LossRecord[]): void {
    throw new Error("to come");
  }
  setUsage(_usage: readonly Usage[]): void {
    throw new Error("to come");
  }
}
