// A trace's own events as a film: the tree as it was after any number of them.
//
// Facts are told in the order of their time. Every so many of them the tree is kept (a key frame),
// so that going anywhere costs one copy of its columns and a few thousand facts.

import type { Detail } from "./detail";
import { NONE, Tree } from "./tree";
import type { Event, Fact, Usage, WireProducer } from "./wire";

/** Facts that a film has at most; a longer trace is shown up to there. */
export const REPLAY_FACTS = 100_000;
const KEY_FRAMES = 16;
const FACTS_PER_KEY_FRAME = 500;
/** Facts between two looks at the clock while the key frames are made. */
const STEP = 200;

/** Collects what a film is made of. */
export class FactLog {
  private facts: Fact[] = [];
  private readonly producers = new Map<string, WireProducer>();

  constructor(private readonly traceId: string) {}

  get count(): number {
    return this.facts.length;
  }

  /** Whether there is no room for more. */
  get isFull(): boolean {
    return this.facts.length >= REPLAY_FACTS;
  }

  clear(): void {
    this.facts = [];
    this.producers.clear();
  }

  add(fact: Fact): void {
    if (!this.isFull) this.facts.push(fact);
  }

  /** What is known of producers; what became of them is told by no fact of the trace. */
  restoreProducers(known: readonly WireProducer[]): void {
    for (const producer of known) {
      const before = this.producers.get(producer.producer_id);
      this.producers.set(producer.producer_id, { ...before, ...producer });
    }
  }

  /** The film. `usage`: what calls add, as it is now; it shows from a call's end on. */
  finish(usage: readonly Usage[] = []): TraceEvents {
    const heard = new Set(this.facts.map((fact) => fact.producerId));
    const producers = [...this.producers.values()].filter((p) => heard.has(p.producer_id));
    const known = new Set(this.facts.map((fact) => `${fact.producerId} ${fact.seq}`));
    const fates = producers.flatMap(fateOf).filter((f) => !known.has(`${f.producerId} ${f.seq}`));
    const names = producers.map(({ producer_id, service, named }) => ({
      producer_id,
      service,
      named,
    }));
    return new TraceEvents(this.traceId, [...this.facts, ...fates], names, usage, this.isFull);
  }
}

export class TraceEvents {
  /** How many facts there are, in the order of their time. */
  readonly count: number;
  /** Wall-clock ns of time 0, that of every tree that `treeAt` returns. */
  readonly baseNs: number;

  private readonly facts: readonly Fact[];
  private readonly times: Float64Array;
  /** After which fact a call's usage shows. */
  private readonly usageAt = new Map<number, Usage[]>();
  private readonly keyFrames: Tree[] = [];
  private readonly perKeyFrame: number;
  private current: { tree: Tree; at: number };
  private closeUp: { span: string; tree: Tree; at: number } | null = null;
  private bySpan: Map<string, number[]> | null = null;

  constructor(
    private readonly traceId: string,
    facts: readonly Fact[],
    private readonly names: readonly WireProducer[] = [],
    usage: readonly Usage[] = [],
    /** The log may have more facts, which are not here. */
    readonly isCut = false,
  ) {
    const { order, times } = inTime(facts);
    this.facts = order;
    this.times = times;
    this.count = order.length;
    this.baseNs = this.count > 0 ? times[0] : 0;
    for (let k = 0; k < this.count; k++) times[k] -= this.baseNs;
    this.perKeyFrame = Math.max(FACTS_PER_KEY_FRAME, Math.ceil(this.count / KEY_FRAMES));
    this.current = { tree: this.begin("none"), at: 0 };
    this.placeUsage(usage);
  }

  /** Make the key frames, a piece at each step, so that `treeAt` is quick everywhere. */
  *prepare(): Generator<void> {
    for (let k = STEP; k < this.count; k += STEP) {
      this.forward(k);
      yield;
    }
    this.treeAt(this.count);
  }

  /** The k-th fact, from 0. */
  fact(k: number): Fact {
    return this.facts[k];
  }

  /** When the k-th fact happened: ns since baseNs; never less than the one before. */
  timeAt(k: number): number {
    return this.times[k];
  }

  /** How many facts happened at `time` (ns since baseNs) or before. */
  countAt(time: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The tree after the first k facts, settled. The one returned before may be the same, moved on;
   *  spans have the same numbers in all of them. */
  treeAt(k: number): Tree {
    const upto = Math.max(0, Math.min(k, this.count));
    const key = Math.min(Math.floor(upto / this.perKeyFrame), this.keyFrames.length);
    const keyAt = key * this.perKeyFrame;
    if (this.current.at > upto || this.current.at < keyAt) {
      const tree = key === 0 ? this.begin("none") : this.keyFrames[key - 1].clone();
      this.current = { tree, at: keyAt };
    }
    this.forward(upto);
    this.current.tree.settle();
    return this.current.tree;
  }

  /** What a span said within the first k facts. */
  detailAt(spanId: string, k: number): Detail | undefined {
    const numbers = this.factsOf(spanId);
    if (this.closeUp?.span !== spanId || (numbers[this.closeUp.at - 1] ?? -1) >= k) {
      this.closeUp = { span: spanId, tree: this.begin("all"), at: 0 };
    }
    const { tree } = this.closeUp;
    while (this.closeUp.at < numbers.length && numbers[this.closeUp.at] < k) {
      this.tell(tree, numbers[this.closeUp.at++]);
    }
    const i = tree.find(spanId);
    return i === NONE ? undefined : tree.keepDetail(i);
  }

  /** The numbers of a span's own facts. */
  factsOf(spanId: string): readonly number[] {
    if (this.bySpan === null) {
      this.bySpan = new Map();
      for (let k = 0; k < this.count; k++) {
        const { event } = this.facts[k];
        if (!("span_id" in event)) continue;
        const numbers = this.bySpan.get(event.span_id);
        if (numbers === undefined) this.bySpan.set(event.span_id, [k]);
        else numbers.push(k);
      }
    }
    return this.bySpan.get(spanId) ?? [];
  }

  private begin(details: "all" | "none"): Tree {
    const tree = new Tree(this.traceId, { details, baseNs: this.baseNs });
    tree.restoreProducers(this.names);
    return tree;
  }

  private forward(upto: number): void {
    const { current } = this;
    while (current.at < upto) {
      this.tell(current.tree, current.at);
      const usage = this.usageAt.get(current.at);
      if (usage !== undefined) current.tree.setUsage(usage);
      current.at++;
      const key = current.at / this.perKeyFrame;
      if (key === this.keyFrames.length + 1) {
        current.tree.settle();
        this.keyFrames.push(current.tree.clone());
      }
    }
  }

  private tell(tree: Tree, k: number): void {
    const { event, producerId, seq, service } = this.facts[k];
    tree.heardFrom(producerId, service);
    tree.apply(event, producerId, seq);
  }

  private placeUsage(usage: readonly Usage[]): void {
    if (usage.length === 0) return;
    const last = new Map<string, number>();
    for (let k = 0; k < this.count; k++) {
      const { event } = this.facts[k];
      if (event.type === "span_ended" || ("span_id" in event && !last.has(event.span_id))) {
        last.set(event.span_id, k);
      }
    }
    for (const one of usage) {
      const k = last.get(one[0]);
      if (k !== undefined) this.usageAt.set(k, [...(this.usageAt.get(k) ?? []), one]);
    }
  }
}

/** Facts by their time; one at no known time stays behind the one before it in the log. */
function inTime(facts: readonly Fact[]): { order: Fact[]; times: Float64Array } {
  const known = facts.map(({ event }) => event.time_ns);
  let before = known.find((time) => time > 0) ?? 0;
  const at = known.map((time) => (before = time > 0 ? time : before));
  const numbers = Array.from(facts, (_, k) => k).sort((a, b) => at[a] - at[b] || a - b);
  return { order: numbers.map((k) => facts[k]), times: Float64Array.from(numbers, (k) => at[k]) };
}

/** What became of a producer as the fact that said so. */
function fateOf({ producer_id, state, last_seen_ns, service = "", stamp }: WireProducer): Fact[] {
  if (!stamp || stamp[0] < 0 || state === undefined || state === "alive") return [];
  const [time_ns, producerId, seq] = stamp;
  const about = { time_ns, subject_id: producer_id, last_seq: 0 };
  const event: Event =
    state === "lost"
      ? { type: "producer_lost", ...about, last_seen_ns: last_seen_ns ?? 0 }
      : { type: "producer_ended", ...about };
  return [{ offset: 0, producerId, seq, service, event }];
}
