// The columns of a tree: some 180 bytes a span, in typed arrays that grow by half when full.

import { SpanIds } from "./ids";

export const NONE = -1;

/** Strings by number; a name that a million spans have is there once. Append-only. */
export class Strings {
  readonly list: string[] = [""];
  private readonly known = new Map<string, number>([["", 0]]);

  add(text: string): number {
    let number = this.known.get(text);
    if (number === undefined) {
      number = this.list.length;
      this.list.push(text);
      this.known.set(text, number);
    }
    return number;
  }
}

const COLUMNS = [
  ["start", "end", "last", "startSeq", "endSeq", "endBy"],
  ["parent", "firstChild", "lastChild", "nextSibling", "prevSibling", "childCount", "declared"],
  ["status", "flags", "conflicts", "nameOf", "kindOf", "producerOf", "unendedAt"],
  ["input", "output", "cost"],
  ["allSpans", "allOpen", "allErrors", "allCalls", "allUnpriced"],
  ["allInput", "allOutput", "allCost"],
].flat();

const FIRST_CAPACITY = 64;

export class Columns {
  /** Spans known, the missing ones included. */
  count = 0;

  // ns since the tree's base. `start` and `end`: NaN where it has not started, not ended. `last`:
  // the last sign of life that the span itself gave, NaN if at no known time.
  start = new Float64Array(FIRST_CAPACITY);
  end = new Float64Array(FIRST_CAPACITY);
  last = new Float64Array(FIRST_CAPACITY);
  /** With `producerOf`, resp. `endBy`: which event the start and the end are. */
  startSeq = new Float64Array(FIRST_CAPACITY);
  endSeq = new Float64Array(FIRST_CAPACITY);
  endBy = new Int32Array(FIRST_CAPACITY);

  // Edges as attached (a cycle is cut), NONE where there is none. Siblings are in order after
  // `settle`.
  parent = new Int32Array(FIRST_CAPACITY);
  firstChild = new Int32Array(FIRST_CAPACITY);
  lastChild = new Int32Array(FIRST_CAPACITY);
  nextSibling = new Int32Array(FIRST_CAPACITY);
  prevSibling = new Int32Array(FIRST_CAPACITY);
  childCount = new Int32Array(FIRST_CAPACITY);
  /** The parent that the start named: NONE where it named none, UNKEPT where it is not here. */
  declared = new Int32Array(FIRST_CAPACITY);

  /** 0 none, else OK, ERROR, CANCELLED, ABANDONED: what the program said at the end. */
  status = new Uint8Array(FIRST_CAPACITY);
  flags = new Uint8Array(FIRST_CAPACITY);
  conflicts = new Uint8Array(FIRST_CAPACITY);
  /** Indexes into `strings`; kindOf: NONE where there is no kind. */
  nameOf = new Int32Array(FIRST_CAPACITY);
  kindOf = new Int32Array(FIRST_CAPACITY);
  /** Index into `producers` of who started it; NONE while the start is missing. */
  producerOf = new Int32Array(FIRST_CAPACITY);

  // What the span's own call adds beyond its children. cost: trillionths of a dollar, NaN: no
  // price; -1: no call.
  input = new Float64Array(FIRST_CAPACITY);
  output = new Float64Array(FIRST_CAPACITY);
  cost = new Float64Array(FIRST_CAPACITY);

  // Sums over the span and everything below it, right after `settle`.
  allSpans = new Int32Array(FIRST_CAPACITY);
  allOpen = new Int32Array(FIRST_CAPACITY);
  allErrors = new Int32Array(FIRST_CAPACITY);
  allCalls = new Int32Array(FIRST_CAPACITY);
  allUnpriced = new Int32Array(FIRST_CAPACITY);
  allInput = new Float64Array(FIRST_CAPACITY);
  allOutput = new Float64Array(FIRST_CAPACITY);
  allCost = new Float64Array(FIRST_CAPACITY);

  /** Where the span stands among those that have not ended; NONE once it has. */
  protected unendedAt = new Int32Array(FIRST_CAPACITY);

  protected capacity = FIRST_CAPACITY;
  protected ids = new SpanIds();
  protected table = new Strings();

  get strings(): readonly string[] {
    return this.table.list;
  }

  /** Make room for so many spans. */
  protected reserve(count: number): void {
    if (count > this.capacity) this.resize(Math.max(count, Math.ceil(this.capacity * 1.5)));
  }

  private resize(capacity: number): void {
    const columns = this as unknown as Record<string, Float64Array>;
    for (const column of COLUMNS) {
      const old = columns[column];
      const grown = new (old.constructor as Float64ArrayConstructor)(capacity);
      grown.set(this.count < old.length ? old.subarray(0, this.count) : old);
      columns[column] = grown;
    }
    this.capacity = capacity;
  }

  /** Begin a span that nothing is known of, its id being `count` in `ids`. */
  protected blank(i: number): void {
    if (i >= this.capacity) this.reserve(i + 1);
    this.start[i] = NaN;
    this.end[i] = NaN;
    this.last[i] = NaN;
    this.endBy[i] = NONE;
    this.parent[i] = NONE;
    this.declared[i] = NONE;
    this.firstChild[i] = NONE;
    this.lastChild[i] = NONE;
    this.nextSibling[i] = NONE;
    this.prevSibling[i] = NONE;
    this.kindOf[i] = NONE;
    this.producerOf[i] = NONE;
    this.cost[i] = -1;
    this.unendedAt[i] = NONE;
  }

  /** Take over another one's columns. Ids and strings are shared: they only ever grow, and whoever
   *  applies the same events in the same order meets them in the same order. */
  protected copy(other: Columns): void {
    this.count = other.count;
    this.ids = other.ids;
    this.table = other.table;
    const from = other as unknown as Record<string, Float64Array>;
    const to = this as unknown as Record<string, Float64Array>;
    for (const column of COLUMNS) to[column] = from[column].slice(0, Math.max(1, other.count));
    this.capacity = Math.max(1, other.count);
  }
}
