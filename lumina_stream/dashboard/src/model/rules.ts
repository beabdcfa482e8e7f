// How starts, ends and names of spans, and fates of producers, make a tree: whatever their order,
// the greatest stamp (time, producer, seq) wins. The rules are those of model/growing.py.

import { NONE } from "./columns";
import { Producer } from "./producers";
import type { Fate } from "./producers";
import {
  DOUBLE_END,
  DUPLICATE_START,
  ERROR,
  INTERRUPTED,
  MISSING,
  PARENT_CYCLE,
  REMOTE_PARENT,
  RUNNING,
  UNENDED,
} from "./states";
import { Sums } from "./usage";

/** Spans of one tree; later ones are counted as truncated. */
export const MOST_SPANS = 1_000_000;
/** `declared` of a span whose parent was named and is not kept: there are too many spans. */
export const UNKEPT = -2;
/** Beyond this many ns doubles round, to this. Times that are no further apart are then the same:
 *  outlines have them exactly, facts do not. */
const EXACT_NS = 2 ** 53;
const ROUNDING_NS = 256;

export type Loss = {
  /** ns since the tree's base. */
  readonly time: number;
  readonly by: string;
  readonly seq: number;
  readonly count: number;
  readonly reason: string;
  readonly exact: boolean;
};

type Named = { time: number; by: number; seq: number };

export abstract class Rules extends Sums {
  /** Counts up with every change. */
  version = 0;
  startedCount = 0;
  /** Spans that ended in an error, and those that are running. */
  errorCount = 0;
  openCount = 0;
  readonly producers: Producer[] = [];
  readonly losses: Loss[] = [];
  /** What was left out, as there was too much of it: how much, by what. */
  readonly truncated: Record<string, number> = {};

  protected maxSpans = MOST_SPANS;
  protected isBased = false;
  protected slack = 0;
  // ns since the base, of those at a known time: the first start, the last end, the last sign of
  // life.
  protected firstStart = Infinity;
  protected lastEnd = -Infinity;
  protected lastSign = -Infinity;
  private boundsStale = false;
  private readonly producerNumbers = new Map<string, number>();
  private latestProducer = NONE;
  /** Stamps of names that did not come with the start. */
  private readonly named = new Map<number, Named>();
  /** Ids of parents that are not kept. */
  private readonly unkept = new Map<number, string>();
  /** Spans whose edge closes a cycle, and is left out. */
  private readonly cut = new Set<number>();
  private readonly lossesKnown = new Set<string>();
  private unendedList = new Int32Array(64);
  private unendedCount = 0;

  // --- reading ---------------------------------------------------------------------------------

  stateCode(i: number): number {
    const status = this.status[i];
    if (status !== 0) return status;
    const by = this.producerOf[i];
    if (by < 0) return MISSING;
    const fate = this.producers[by].fate;
    return fate === "alive" ? RUNNING : fate === "lost" ? INTERRUPTED : UNENDED;
  }

  /** The parent that the span's start named, also where the edge is cut or not kept. */
  parentId(i: number): string | null {
    const declared = this.declared[i];
    if (declared === UNKEPT) return this.unkept.get(i) ?? "";
    return declared < 0 ? null : this.ids.text(declared);
  }

  /** Spans that started and have not ended: running, interrupted or unended; in no order. */
  unended(): Int32Array {
    return this.unendedList.slice(0, this.unendedCount);
  }

  // --- times and producers ---------------------------------------------------------------------

  /** An absolute time as ns since the base, which the first one sets. */
  protected relative(timeNs: number): number {
    if (!this.isBased) this.setBase(Math.max(0, timeNs));
    return timeNs - this.baseNs;
  }

  protected setBase(baseNs: number): void {
    this.isBased = true;
    this.baseNs = baseNs;
  }

  /** Times come exactly from now on, which facts round. */
  protected expectRounding(): void {
    if (this.baseNs > EXACT_NS) this.slack = ROUNDING_NS;
  }

  /** Whether a time is one: programs without a clock say 0. */
  protected isKnown(time: number): boolean {
    return time > -this.baseNs;
  }

  /** The number of a producer. */
  protected producer(id: string): number {
    const latest = this.latestProducer;
    if (latest !== NONE && this.producers[latest].id === id) return latest;
    let number = this.producerNumbers.get(id);
    if (number === undefined) {
      number = this.producers.length;
      this.producers.push(new Producer(id));
      this.producerNumbers.set(id, number);
    }
    this.latestProducer = number;
    return number;
  }

  /** Take in what became of a producer: what it left open is running, interrupted or unended. */
  protected setFate(
    producer: Producer,
    fate: Fate,
    lastSeen: number,
    time: number,
    by: string,
    seq: number,
  ): void {
    const wasAlive = producer.fate === "alive";
    if (!producer.setFate(fate, lastSeen, time, by, seq)) return;
    this.version++;
    const isAlive = fate === "alive";
    if (wasAlive === isAlive || producer.unended === 0) return;
    const change = isAlive ? 1 : -1;
    this.openCount += change * producer.unended;
    for (let at = 0; at < this.unendedCount; at++) {
      const i = this.unendedList[at];
      if (this.producers[this.producerOf[i]] === producer) this.climb(i, 0, change, 0);
    }
  }

  protected addLoss(loss: Loss): void {
    const key = `${loss.by} ${loss.seq} ${loss.time}`;
    if (this.lossesKnown.has(key)) return;
    this.lossesKnown.add(key);
    this.losses.push(loss);
    this.version++;
  }

  protected truncate(what: string): void {
    this.truncated[what] = (this.truncated[what] ?? 0) + 1;
    this.version++;
  }

  // --- spans -----------------------------------------------------------------------------------

  /** The number of a span, a new one if it is new; NONE if there are too many. */
  protected add(id: string): number {
    const known = this.ids.find(id);
    if (known >= 0 && known < this.count) return known;
    const i = this.create(id);
    if (i !== NONE) this.link(i, NONE);
    return i;
  }

  /** As `add`, of a span that is known to be new, and leave it to the caller to link it. */
  protected create(id: string): number {
    if (this.count >= this.maxSpans) {
      this.truncate("spans");
      return NONE;
    }
    const i = this.ids.add(id);
    if (i === NONE) return NONE; // no id: a relay sends none such
    this.blank(i);
    this.count = i + 1;
    return i;
  }

  /** The number of a parent that a span names, as `declared` has it. */
  protected parentNumber(i: number, parentId: string | null | undefined): number {
    if (parentId == null) return NONE;
    const parent = this.add(parentId);
    if (parent !== NONE) return parent;
    if (!this.unkept.has(i)) this.unkept.set(i, parentId);
    return UNKEPT;
  }

  /** Take in a start, of a new span or of one that is known; tell whether it was news. */
  protected takeStart(
    i: number,
    isNew: boolean,
    time: number,
    by: number,
    seq: number,
    name: number,
    kind: number,
    parent: number,
    isRemote: boolean,
  ): boolean {
    const old = this.producerOf[i];
    if (old === NONE) {
      this.startedCount++;
      this.producers[by].started++;
      this.begin(i, time, by, seq);
      this.climb(i, 1, 0, 0);
      if (this.isKnown(time) && time < this.firstStart) this.firstStart = time;
    } else {
      if (old === by && this.startSeq[i] === seq) return false;
      if (this.startDiffers(i, time, by, kind, parent)) this.conflicts[i] |= DUPLICATE_START;
      this.version++;
      if (!this.isLater(time, by, seq, this.start[i], old, this.startSeq[i])) return true;
      if (this.status[i] === 0) this.close(i);
      this.producers[old].started--;
      this.producers[by].started++;
      this.begin(i, time, by, seq);
      this.boundsStale = true;
    }
    this.version++;
    this.shape++;
    this.kindOf[i] = kind;
    this.flags[i] = isRemote ? this.flags[i] | REMOTE_PARENT : this.flags[i] & ~REMOTE_PARENT;
    const named = this.named.get(i);
    if (named === undefined) this.nameOf[i] = name;
    else if (this.isLater(time, by, seq, named.time, named.by, named.seq)) {
      this.nameOf[i] = name;
      this.named.delete(i);
    }
    if (isNew) {
      this.declared[i] = parent;
      this.attach(i);
    } else if (parent === this.declared[i]) this.reorder(i);
    else this.redeclare(i, parent);
    return true;
  }

  /** Take in an end; tell whether it is the one that counts. */
  protected takeEnd(i: number, time: number, by: number, seq: number, status: number): boolean {
    const old = this.status[i];
    if (old !== 0) {
      if (this.endBy[i] === by && this.endSeq[i] === seq) return false;
      if (this.endDiffers(i, time, by, status)) this.conflicts[i] |= DOUBLE_END;
      if (!this.isLater(time, by, seq, this.end[i], this.endBy[i], this.endSeq[i])) return false;
      this.boundsStale = true;
    } else {
      if (time > this.lastEnd) this.lastEnd = time;
      if (this.producerOf[i] !== NONE) this.close(i);
    }
    const errors = (status === ERROR ? 1 : 0) - (old === ERROR ? 1 : 0);
    if (errors !== 0) {
      this.errorCount += errors;
      this.climb(i, 0, 0, errors);
    }
    this.end[i] = time;
    this.endBy[i] = by;
    this.endSeq[i] = seq;
    this.status[i] = status;
    return true;
  }

  /** Take in a name that did not come with a start. */
  protected takeName(i: number, name: string, time: number, by: number, seq: number): void {
    const known = this.named.get(i);
    const start = this.producerOf[i];
    if (known !== undefined) {
      if (!this.isLater(time, by, seq, known.time, known.by, known.seq)) return;
    } else if (
      start !== NONE &&
      !this.isLater(time, by, seq, this.start[i], start, this.startSeq[i])
    ) {
      return;
    }
    this.named.set(i, { time, by, seq });
    this.nameOf[i] = this.table.add(name);
    this.shape++;
    this.version++;
  }

  /** A sign of life of a span. */
  protected sign(i: number, time: number): void {
    this.version++;
    if (time <= this.last[i] || !this.isKnown(time)) return;
    this.last[i] = time;
    if (time > this.lastSign) this.lastSign = time;
  }

  protected isLater(
    time: number,
    by: number,
    seq: number,
    thanTime: number,
    thanBy: number,
    thanSeq: number,
  ): boolean {
    const later = time - thanTime;
    if (later > this.slack) return true;
    if (later < -this.slack) return false;
    return by === thanBy ? seq > thanSeq : this.producers[by].id > this.producers[thanBy].id;
  }

  protected findBounds(): void {
    if (!this.boundsStale) return;
    this.boundsStale = false;
    this.firstStart = Infinity;
    this.lastEnd = -Infinity;
    for (let i = 0; i < this.count; i++) {
      const start = this.start[i];
      if (start < this.firstStart && this.isKnown(start)) this.firstStart = start;
      if (this.end[i] > this.lastEnd) this.lastEnd = this.end[i];
    }
  }

  // --- edges -----------------------------------------------------------------------------------

  /** Hang a span that hangs nowhere where it says; the smallest id of a cycle is where it is
   *  cut. */
  protected attach(i: number): void {
    const parent = this.declared[i];
    if (parent < 0) return this.link(i, NONE);
    // Only a span that something hangs from can close a cycle.
    if (this.childCount[i] > 0 || parent === i) {
      const weakest = this.weakestOfCycle(i, parent);
      if (weakest !== NONE) {
        this.conflicts[weakest] |= PARENT_CYCLE;
        this.cut.add(weakest);
        if (weakest === i) return this.link(i, NONE);
        this.unlink(weakest);
        this.link(weakest, NONE);
      }
    }
    this.link(i, parent);
  }

  /** Hang a span from another parent than its start named so far, with what follows from that. */
  protected redeclare(i: number, parent: number): void {
    const reopened = this.declared[i] !== NONE && this.cut.size > 0 ? this.cutAbove(i) : NONE;
    this.unlink(i);
    this.declared[i] = parent;
    this.attach(i);
    if (reopened !== NONE && reopened !== i) {
      this.unlink(reopened);
      this.attach(reopened);
    }
  }

  protected override copy(other: Rules): void {
    super.copy(other);
    this.version = other.version;
    this.startedCount = other.startedCount;
    this.errorCount = other.errorCount;
    this.openCount = other.openCount;
    this.producers.push(...other.producers.map((producer) => producer.clone()));
    this.losses.push(...other.losses);
    Object.assign(this.truncated, other.truncated);
    this.maxSpans = other.maxSpans;
    this.isBased = other.isBased;
    this.slack = other.slack;
    this.firstStart = other.firstStart;
    this.lastEnd = other.lastEnd;
    this.lastSign = other.lastSign;
    this.boundsStale = other.boundsStale;
    for (const [id, number] of other.producerNumbers) this.producerNumbers.set(id, number);
    for (const [i, named] of other.named) this.named.set(i, named);
    for (const [i, id] of other.unkept) this.unkept.set(i, id);
    for (const i of other.cut) this.cut.add(i);
    for (const key of other.lossesKnown) this.lossesKnown.add(key);
    this.unendedList = other.unendedList.slice(0, Math.max(1, other.unendedCount));
    this.unendedCount = other.unendedCount;
  }

  /** Lift the cut of the cycle that a span may be in, before its parent changes. */
  private cutAbove(i: number): number {
    let top = i;
    while (this.parent[top] !== NONE) top = this.parent[top];
    if (!this.cut.delete(top)) return NONE;
    this.conflicts[top] &= ~PARENT_CYCLE;
    return top;
  }

  /** The smallest id's span of the cycle that `parent` would close, NONE if it closes none. */
  private weakestOfCycle(i: number, parent: number): number {
    let weakest = i;
    for (let step = parent; step !== i; step = this.parent[step]) {
      if (this.ids.compare(step, weakest) < 0) weakest = step;
      if (this.parent[step] === NONE) return NONE;
    }
    return weakest;
  }

  // --- small parts -----------------------------------------------------------------------------

  private begin(i: number, time: number, by: number, seq: number): void {
    this.start[i] = time;
    this.startSeq[i] = seq;
    this.producerOf[i] = by;
    if (this.status[i] !== 0) return;
    const at = this.unendedCount++;
    if (at === this.unendedList.length) {
      const list = new Int32Array(2 * at);
      list.set(this.unendedList);
      this.unendedList = list;
    }
    this.unendedList[at] = i;
    this.unendedAt[i] = at;
    const producer = this.producers[by];
    producer.unended++;
    if (producer.fate !== "alive") return;
    this.openCount++;
    this.climb(i, 0, 1, 0);
  }

  /** A span is no longer among those that have not ended. */
  private close(i: number): void {
    const at = this.unendedAt[i];
    const moved = this.unendedList[--this.unendedCount];
    this.unendedList[at] = moved;
    this.unendedAt[moved] = at;
    this.unendedAt[i] = NONE;
    const producer = this.producers[this.producerOf[i]];
    producer.unended--;
    if (producer.fate !== "alive") return;
    this.openCount--;
    this.climb(i, 0, -1, 0);
  }

  /** Whether a second start says something else: copies of one span may come. */
  private startDiffers(i: number, time: number, by: number, kind: number, parent: number): boolean {
    if (this.declared[i] !== parent || Math.abs(this.start[i] - time) > this.slack) return true;
    // A kind follows from attributes, and a copy may have been made before they were set.
    const isCopy = this.producers[by].imported || this.producers[this.producerOf[i]].imported;
    return this.kindOf[i] !== kind && !isCopy;
  }

  private endDiffers(i: number, time: number, by: number, status: number): boolean {
    if (Math.abs(this.end[i] - time) > this.slack) return true;
    // OpenTelemetry has no word for `cancelled`: of one end, a copy may say less than the stream.
    const { producers } = this;
    return (
      this.status[i] !== status && producers[by].imported === producers[this.endBy[i]].imported
    );
  }
}
