// The tree of one trace, built from facts in any order. The rules are those of model/growing.py, and
// the shared fixtures hold the two together. It reads no clock.
//
// One trace as columns: a span is its number (0 to count - 1), which stays while the tree lives.
// The columns are replaced when they grow: read `tree.start[i]`, never keep the array.

import { NONE } from "./columns";
import { Detail, lengthOf, marksOf } from "./detail";
import type { Change, Stamp } from "./detail";
import { Outlined } from "./outline";
import { MOST_SPANS } from "./rules";
import {
  EVENT_AFTER_END,
  HAS_ATTRIBUTES,
  HAS_ERROR_DETAIL,
  HAS_EVENTS,
  HAS_LINKS,
  HAS_TEXT,
  MISSING,
  OUTLINED,
  RUNNING,
  STATES,
  statusCode,
} from "./states";
import type { Totals } from "./usage";
import type {
  Attributes,
  Event,
  Link,
  Marks,
  SpanDetail,
  SpanEnded,
  SpanStarted,
  State,
  TextStreamed,
  Usage,
} from "./wire";

export { NONE } from "./columns";
export type { Producer } from "./producers";
export { MOST_SPANS, UNKEPT } from "./rules";
export type { Loss } from "./rules";
export * from "./states";
export type { Totals } from "./usage";
export type { State } from "./wire";

/** In larger traces attributes, events and texts are kept of spans whose detail is open only. */
export const KEEP_DETAILS = 20_000;
/** So it is in traces that say more than this, in characters: prompts weigh more than spans. */
export const KEEP_LENGTH = 32_000_000;

export type TreeOptions = {
  maxSpans?: number;
  /** Of which spans attributes, events and texts are kept; `all` becomes `open` in large traces. */
  details?: "all" | "open" | "none";
  /** Wall-clock ns of time 0, where the first event is not to set it. */
  baseNs?: number;
};

export class Tree extends Outlined {
  private keeps: "all" | "open" | "none";
  private readonly details = new Map<number, Detail>();
  private readonly opened = new Set<number>();
  /** Characters in the details, roughly. */
  private keptLength = 0;
  private standing = { shape: -1, root: NONE };

  constructor(
    readonly traceId: string,
    { maxSpans = MOST_SPANS, details = "all", baseNs }: TreeOptions = {},
  ) {
    super();
    if (baseNs !== undefined) this.setBase(baseNs);
    this.maxSpans = maxSpans;
    this.keeps = details;
  }

  /** A tree of its own that is as this one is now, without the details. */
  clone(): Tree {
    const other = new Tree(this.traceId, { details: "none" });
    other.copy(this);
    return other;
  }

  // --- reading ---------------------------------------------------------------------------------

  /** The span id, 16 hex digits. */
  id(i: number): string {
    return this.ids.text(i);
  }

  /** The number of a span, NONE if it was never mentioned. */
  find(id: string): number {
    const i = this.ids.find(id);
    return i < this.count ? i : NONE;
  }

  name(i: number): string {
    return this.strings[this.nameOf[i]];
  }

  kind(i: number): string {
    const kind = this.kindOf[i];
    return kind < 0 ? "" : this.strings[kind];
  }

  service(i: number): string {
    const by = this.producerOf[i];
    return by < 0 ? "" : this.producers[by].service;
  }

  state(i: number): State {
    return STATES[this.stateCode(i)];
  }

  /** The last sign of life, ns since baseNs: of the producer if it is lost, else of the span. */
  lastSeen(i: number): number {
    const last = this.last[i];
    if (this.status[i] !== 0 || this.producerOf[i] < 0) return last;
    const seen = this.producers[this.producerOf[i]].lastSeen;
    return seen > last || (last !== last && this.isKnown(seen)) ? seen : last;
  }

  /** Spans that were named and have not started. */
  get missingCount(): number {
    return this.count - this.startedCount;
  }

  get lostCount(): number {
    return this.losses.reduce((sum, loss) => sum + loss.count, 0);
  }

  /** The span that stands for the trace: the root that started first; NONE if there is no span.
   *
   *  Where no root started (the parent is in another process, or its start has not come), its first
   *  child stands for it. */
  get root(): number {
    if (this.standing.shape !== this.shape) {
      this.order();
      this.standing = { shape: this.shape, root: this.findRoot() };
    }
    return this.standing.root;
  }

  get finished(): boolean {
    const root = this.root;
    if (root === NONE || this.openCount > 0) return false;
    const state = this.stateCode(root);
    return this.producerOf[root] !== NONE && state !== RUNNING && state !== MISSING;
  }

  /** `running` while anything is open, else what became of the trace. */
  get traceState(): State {
    if (this.openCount > 0) return "running";
    const fates = new Set(this.producers.filter((p) => p.unended > 0).map((p) => p.fate));
    if (fates.has("lost")) return "interrupted";
    if (fates.has("ended")) return "unended";
    const root = this.root;
    return root === NONE ? "missing" : this.state(root);
  }

  /** When the first span started, absolute ns; 0 while none has. */
  get startNs(): number {
    this.findBounds();
    return Number.isFinite(this.firstStart) ? this.firstStart + this.baseNs : 0;
  }

  /** When the last span ended, absolute ns; 0 while none has. */
  get endNs(): number {
    this.findBounds();
    return Math.max(0, this.lastEnd + this.baseNs);
  }

  /** The last sign of life of the trace, absolute ns. */
  get lastSeenNs(): number {
    let last = Math.max(0, this.lastSign + this.baseNs);
    for (const { unended, fate, lastSeen } of this.producers) {
      if (unended > 0 && fate === "lost") last = Math.max(last, lastSeen + this.baseNs);
    }
    return last;
  }

  /** Of the producers that have spans here, the root's first. */
  get services(): string[] {
    const root = this.root;
    const first = root === NONE ? "" : this.service(root);
    const others = new Set(this.producers.filter((p) => p.started > 0).map((p) => p.service));
    others.delete(first);
    others.delete("");
    return [...(first ? [first] : []), ...[...others].sort()];
  }

  /** Sums over a span and everything below it, or over the whole trace; as of the last `settle`. */
  totals(i?: number): Totals {
    if (i !== undefined) return this.totalsOf(i);
    const all = { spans: 0, open: 0, errors: 0, input: 0, output: 0, unpriced: 0, calls: 0 };
    let cost: number | null = null;
    for (let root = this.firstRoot; root !== NONE; root = this.nextSibling[root]) {
      const of = this.totalsOf(root);
      all.spans += of.spans;
      all.open += of.open;
      all.errors += of.errors;
      all.input += of.input;
      all.output += of.output;
      all.unpriced += of.unpriced;
      all.calls += of.calls;
      if (of.cost !== null) cost = (cost ?? 0) + of.cost;
    }
    return { ...all, cost };
  }

  /** What calls add beyond the spans below them, by span id. */
  usage(): Usage[] {
    const found: Usage[] = [];
    for (let i = 0; i < this.count; i++) {
      if (this.cost[i] === -1) continue;
      const cost = Number.isNaN(this.cost[i]) ? null : this.cost[i];
      found.push([this.id(i), this.input[i], this.output[i], cost]);
    }
    return found;
  }

  /** In what a span contradicts itself: bits, see `PARENT_CYCLE` and what follows it. */
  conflictsOf(i: number): number {
    const detail = this.details.get(i);
    const isLate = detail !== undefined && detail.lastEvent > this.end[i] + this.slack;
    return this.conflicts[i] | (isLate ? EVENT_AFTER_END : 0);
  }

  /** Attributes, events and texts as far as they are kept: see `KEEP_DETAILS` and `keepDetail`. */
  detail(i: number): Detail | undefined {
    return this.details.get(i);
  }

  // --- writing ---------------------------------------------------------------------------------

  /** Put siblings in order and add up, where anything changed. Call it before walking. */
  settle(): void {
    this.order();
    this.sum(this.total > this.count);
  }

  /** Take in one event of this trace, or of a producer. */
  apply(event: Event, producerId: string, seq: number): void {
    const by = this.producer(producerId);
    const time = this.relative(event.time_ns);
    switch (event.type) {
      case "span_started":
        return this.spanStarted(event, time, by, seq);
      case "span_ended":
        return this.spanEnded(event, time, by, seq);
      case "attribute_set": {
        const i = this.add(event.span_id);
        if (i === NONE) return;
        this.flags[i] |= HAS_ATTRIBUTES;
        const { key, value, marks = null } = event;
        const detail = this.kept(i);
        const stamp = this.stamp(time, by, seq);
        if (detail !== undefined)
          this.noted(detail.setValue(key, value, stamp, marks), "attributes", value);
        return this.sign(i, time);
      }
      case "attributes_set": {
        const i = this.add(event.span_id);
        if (i === NONE) return;
        this.setValues(i, event.attributes, event.marks, this.stamp(time, by, seq));
        return this.sign(i, time);
      }
      case "event_added": {
        const i = this.add(event.span_id);
        if (i === NONE) return;
        this.flags[i] |= HAS_EVENTS;
        const { name, attributes = {}, marks = null } = event;
        const detail = this.kept(i);
        const stamp = this.stamp(time, by, seq);
        if (detail !== undefined) {
          this.noted(detail.addEvent(name, attributes, stamp, marks), "events", attributes);
        } else if (time > this.end[i] + this.slack) this.conflicts[i] |= EVENT_AFTER_END;
        return this.sign(i, time);
      }
      case "text_streamed":
        return this.textStreamed(event, time, by, seq);
      case "span_updated": {
        const i = this.add(event.span_id);
        if (i === NONE) return;
        if (event.links) this.addLinks(i, event.links, this.stamp(time, by, seq));
        if (event.name != null) this.takeName(i, event.name, time, by, seq);
        return this.sign(i, time);
      }
      case "events_lost": {
        const { by_trace = {}, reason, exact = true } = event;
        const count = Object.hasOwn(by_trace, this.traceId) ? by_trace[this.traceId] : 0;
        if (count > 0) this.addLoss({ time, by: producerId, seq, count, reason, exact });
        return;
      }
      case "producer_started": {
        const subject = this.producers[this.producer(event.subject_id)];
        if (subject.setService(event.service ?? "", time, producerId, seq)) this.version++;
        return this.setFate(subject, "alive", NaN, time, producerId, seq);
      }
      case "producer_returned": {
        const subject = this.producers[this.producer(event.subject_id)];
        return this.setFate(subject, "alive", NaN, time, producerId, seq);
      }
      case "producer_lost": {
        const subject = this.producers[this.producer(event.subject_id)];
        const seen = event.last_seen_ns - this.baseNs;
        return this.setFate(subject, "lost", seen, time, producerId, seq);
      }
      case "producer_ended": {
        const subject = this.producers[this.producer(event.subject_id)];
        return this.setFate(subject, "ended", NaN, time, producerId, seq);
      }
    }
  }

  /** Take in what a producer calls itself, from a batch of its facts; what it said itself stays. */
  heardFrom(producerId: string, service: string): void {
    const producer = this.producers[this.producer(producerId)];
    if (producer.service !== "" || service === "") return;
    producer.service = service;
    this.version++;
  }

  /** Take in what calls add beyond the spans below them, as the relay works it out. */
  setUsage(usage: readonly Usage[]): void {
    for (const [id, input, output, cost] of usage) {
      const i = this.find(id);
      if (i !== NONE && this.setShare(i, input, output, cost)) this.version++;
    }
  }

  /** Keep a span's attributes, events and texts from now on, however large the trace is. */
  keepDetail(i: number): Detail {
    this.opened.add(i);
    return this.begun(i);
  }

  /** Take back `keepDetail`. */
  dropDetail(i: number): void {
    this.opened.delete(i);
    if (this.keeps !== "all") this.details.delete(i);
  }

  /** Say that what the relay has of a span could not be had. */
  failDetail(i: number, reason: string): void {
    const detail = this.details.get(i);
    if (detail === undefined) return;
    detail.failure = reason;
    this.version++;
  }

  /** Merge what the relay has of one span, which is all of it. */
  restoreDetail(found: SpanDetail): void {
    const i = this.find(found.span_id);
    const detail = i === NONE ? undefined : this.kept(i);
    if (detail === undefined) return;
    for (const [key, value, stamp, marks] of found.attributes) {
      detail.setValue(key, value, this.stampOf(...stamp), marks);
    }
    for (const { time_ns, producer_id, seq, name, attributes = {}, marks = null } of found.events) {
      detail.addEvent(name, attributes, this.stampOf(time_ns, producer_id, seq), marks);
    }
    for (const [channel, index, time_ns, by, seq, text] of found.texts) {
      detail.addPiece(channel, index, text, this.stampOf(time_ns, by, seq));
    }
    detail.restore(found);
    this.version++;
  }

  // --- one event type each ---------------------------------------------------------------------

  private spanStarted(event: SpanStarted, time: number, by: number, seq: number): void {
    let i = this.find(event.span_id);
    const isNew = i === NONE;
    if (isNew) i = this.create(event.span_id);
    if (i === NONE) return;
    const name = this.table.add(event.name);
    const kind = event.kind == null ? NONE : this.table.add(event.kind);
    const parent = this.parentNumber(i, event.parent_id);
    const isRemote = event.remote_parent === true;
    if (!this.takeStart(i, isNew, time, by, seq, name, kind, parent, isRemote)) return;
    this.sign(i, time);
    const { attributes, links, marks } = event;
    if (attributes || links || marks) {
      const stamp = this.stamp(time, by, seq);
      if (attributes || marks) this.setValues(i, attributes ?? {}, marks, stamp);
      if (links) this.addLinks(i, links, stamp);
    }
  }

  private spanEnded(event: SpanEnded, time: number, by: number, seq: number): void {
    const i = this.add(event.span_id);
    if (i === NONE) return;
    if (this.takeEnd(i, time, by, seq, statusCode(event.status))) {
      if (event.error) this.flags[i] |= HAS_ERROR_DETAIL;
      else this.flags[i] &= ~HAS_ERROR_DETAIL;
      if (event.error || this.details.has(i)) this.kept(i)?.setError(event.error ?? null);
    }
    if (event.name != null) this.takeName(i, event.name, time, by, seq);
    if (event.marks) this.kept(i)?.addMarks(event.marks, this.stamp(time, by, seq));
    this.sign(i, time);
  }

  private textStreamed(event: TextStreamed, time: number, by: number, seq: number): void {
    const i = this.add(event.span_id);
    if (i === NONE) return;
    this.flags[i] |= HAS_TEXT;
    const { channel, index, text } = event;
    const detail = this.kept(i);
    const stamp = this.stamp(time, by, seq);
    if (detail !== undefined)
      this.noted(detail.addPiece(channel, index, text, stamp), "text", text);
    this.sign(i, time);
  }

  // --- details ---------------------------------------------------------------------------------

  /** The detail of a span if it is to be kept. */
  private kept(i: number): Detail | undefined {
    if (this.keeps === "all") {
      if (this.count > KEEP_DETAILS || this.keptLength > KEEP_LENGTH) {
        this.keeps = "open";
        for (const known of [...this.details.keys()]) {
          if (!this.opened.has(known)) this.details.delete(known);
        }
      } else return this.begun(i);
    }
    return this.opened.has(i) ? this.begun(i) : undefined;
  }

  private begun(i: number): Detail {
    let detail = this.details.get(i);
    if (detail === undefined) {
      detail = new Detail();
      // Whatever was said of the span, and could not be told from flags, is still to come.
      detail.complete = this.keeps === "all" && (this.flags[i] & OUTLINED) === 0;
      this.details.set(i, detail);
    } else if (detail.complete && (this.flags[i] & OUTLINED) !== 0) detail.complete = false;
    return detail;
  }

  private setValues(
    i: number,
    values: Attributes,
    marks: Marks | null | undefined,
    stamp: Stamp,
  ): void {
    const detail = this.kept(i);
    if (marks) detail?.addMarks(marks, stamp);
    for (const key in values) {
      if (!Object.hasOwn(values, key)) continue;
      this.flags[i] |= HAS_ATTRIBUTES;
      if (detail === undefined) return;
      const value = values[key];
      this.noted(detail.setValue(key, value, stamp, marksOf(key, marks)), "attributes", value);
    }
  }

  private addLinks(i: number, links: readonly Link[], stamp: Stamp): void {
    if (links.length === 0) return;
    this.flags[i] |= HAS_LINKS;
    const detail = this.kept(i);
    if (detail === undefined) return;
    for (let index = 0; index < links.length; index++) {
      const change = detail.addLink(index, links[index], stamp);
      this.noted(change, "links", links[index].attributes);
      if (change === "full") return;
    }
  }

  private noted(change: Change, what: string, value: unknown): void {
    if (change === "full") this.truncate(what);
    else if (change === "changed" && this.keeps === "all") this.keptLength += lengthOf(value);
  }

  private stamp(time: number, by: number, seq: number): Stamp {
    const { id, imported } = this.producers[by];
    return { time, by: id, seq, imported };
  }

  private stampOf(timeNs: number, by: string, seq: number): Stamp {
    return this.stamp(this.relative(timeNs), this.producer(by), seq);
  }

  private findRoot(): number {
    let root = this.firstRoot;
    // Those that have not started come first among the roots.
    let best = NONE;
    let least = NONE;
    for (; root !== NONE; root = this.nextSibling[root]) {
      if (this.producerOf[root] !== NONE) return root;
      if (least === NONE || this.ids.compare(root, least) < 0) least = root;
      let child = this.firstChild[root];
      while (child !== NONE && this.producerOf[child] === NONE) child = this.nextSibling[child];
      if (child !== NONE && (best === NONE || this.compare(child, best) < 0)) best = child;
    }
    return best === NONE ? least : best;
  }
}
