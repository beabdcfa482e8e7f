// A tree from what the relay has already: an outline, columns in pieces of some thousand spans.
//
// It merges by the rules that events have, so that it may also come on top of a tree that is there.
// Numbers in an outline count its own spans and strings, over all of its pieces.

import { NONE } from "./columns";
import { UNKEPT, Rules } from "./rules";
import { CONFLICTS, OUTLINED, PARENT_CYCLE, REMOTE_PARENT } from "./states";
import type { LossRecord, OutlineFrame, WireProducer, WireStamp } from "./wire";

const ROOT = -1;

/** What is known of an outline whose pieces are still coming. */
class Pieces {
  readonly strings: string[] = [];
  /** Our number of each of its strings as a name, and as a producer; NONE until it was needed. */
  readonly names: number[] = [];
  readonly producers: number[] = [];
  /** Our number of each of its spans that is here; NONE: there was no room for it. */
  readonly spans: number[] = [];
  /** Its number of a parent that is in a later piece -> what is to be done when that is here. */
  readonly waiting = new Map<number, (() => void)[]>();

  /** `shift`: what to add to its times. */
  constructor(readonly shift: number) {}
}

export abstract class Outlined extends Rules {
  /** More than `count` while an outline is still coming. */
  total = 0;
  private pieces: Pieces | null = null;

  /** Take in a piece of an outline; they come in order, the first one with `at` 0. */
  restoreOutline(frame: OutlineFrame): void {
    if (frame.at === 0 || this.pieces === null) this.begins(frame);
    const pieces = this.pieces;
    if (pieces === null) return;
    for (const text of frame.strings) pieces.strings.push(text);
    this.restoreProducers(frame.producers);
    this.total = Math.max(frame.total, this.count);
    const before = this.count;
    const length = frame.parents.length;
    // Ids first: parents may stand behind their children.
    for (let k = 0; k < length; k++) pieces.spans[frame.at + k] = this.met(frame.ids, k * 16);
    for (let k = 0; k < length; k++) {
      const i = pieces.spans[frame.at + k];
      if (i === NONE) continue;
      if (i >= before) this.takeNew(frame, pieces, k, i);
      else this.merge(frame, pieces, k, i);
      if (pieces.waiting.size > 0) this.arrived(pieces, frame.at + k);
    }
    this.takeSparse(frame, pieces);
    this.version++;
    this.shape++;
    if (!frame.done) return;
    for (const number of [...pieces.waiting.keys()]) this.arrived(pieces, number);
    this.pieces = null;
    this.total = this.count;
  }

  restoreProducers(known: readonly WireProducer[]): void {
    for (const {
      producer_id,
      state = "alive",
      last_seen_ns = 0,
      service = "",
      stamp,
      named,
    } of known) {
      const producer = this.producers[this.producer(producer_id)];
      if (named && named[0] >= 0) {
        if (producer.setService(service, ...this.relativeStamp(named))) this.version++;
      }
      if (!stamp || stamp[0] < 0) continue;
      const seen = state === "lost" ? last_seen_ns - this.baseNs : NaN;
      this.setFate(producer, state, seen, ...this.relativeStamp(stamp));
    }
  }

  restoreLosses(losses: readonly LossRecord[]): void {
    for (const [stamp, count, reason, exact] of losses) {
      const [time, by, seq] = this.relativeStamp(stamp);
      this.addLoss({ time, by, seq, count, reason, exact });
    }
  }

  private begins(frame: OutlineFrame): void {
    if (!this.isBased) this.setBase(frame.base_ns);
    this.expectRounding();
    this.ids.reserve(frame.total);
    this.reserve(frame.total);
    this.pieces = new Pieces(frame.base_ns - this.baseNs);
  }

  /** The number of the id at `at`; a new span is not linked yet. */
  private met(ids: string, at: number): number {
    const found = this.ids.addAt(ids, at);
    if (found < this.count) return found;
    if (found >= this.maxSpans) {
      this.truncate("spans");
      return NONE;
    }
    this.blank(found);
    this.count = found + 1;
    return found;
  }

  private takeNew(frame: OutlineFrame, pieces: Pieces, k: number, i: number): void {
    this.flags[i] = (frame.flags[k] & ~REMOTE_PARENT) | OUTLINED;
    this.takeOutcome(frame, pieces, k, i);
    if (frame.starts[k] === null) {
      this.nameOf[i] = this.nameNumber(pieces, frame.names[k]);
      this.link(i, NONE);
      return;
    }
    const number = frame.parents[k];
    const parent = this.parentOf(pieces, number);
    this.takeItsStart(frame, pieces, k, i, true, parent === null ? NONE : parent);
    if (parent !== null) return;
    this.wait(pieces, number, () => {
      const late = this.parentOf(pieces, number);
      // Unless a later start said otherwise meanwhile.
      if (late !== null && this.declared[i] === NONE) this.redeclare(i, late);
    });
  }

  /** Take in a span that was known before. */
  private merge(frame: OutlineFrame, pieces: Pieces, k: number, i: number): void {
    this.flags[i] |= (frame.flags[k] & ~REMOTE_PARENT) | OUTLINED;
    this.takeOutcome(frame, pieces, k, i);
    if (frame.starts[k] === null) return;
    const number = frame.parents[k];
    const take = () => {
      let parent = this.parentOf(pieces, number) ?? NONE;
      // The same start, which says who the parent is, where the outline does not.
      if (parent === UNKEPT) parent = this.declared[i];
      this.takeItsStart(frame, pieces, k, i, false, parent);
    };
    if (this.parentOf(pieces, number) === null) this.wait(pieces, number, take);
    else take();
  }

  /** Take in the last sign of life and the end. */
  private takeOutcome(frame: OutlineFrame, pieces: Pieces, k: number, i: number): void {
    const last = frame.lasts[k];
    const end = frame.ends[k];
    if (last !== null) this.sign(i, last + pieces.shift);
    if (end === null) return;
    const by = this.producerNumber(pieces, frame.end_by[k]);
    this.takeEnd(i, end + pieces.shift, by, frame.end_seq[k], frame.statuses[k]);
  }

  private takeItsStart(
    frame: OutlineFrame,
    pieces: Pieces,
    k: number,
    i: number,
    isNew: boolean,
    parent: number,
  ): void {
    this.takeStart(
      i,
      isNew,
      (frame.starts[k] as number) + pieces.shift,
      this.producerNumber(pieces, frame.start_by[k]),
      frame.start_seq[k],
      this.nameNumber(pieces, frame.names[k]),
      frame.kinds[k] < 0 ? NONE : this.nameNumber(pieces, frame.kinds[k]),
      parent,
      (frame.flags[k] & REMOTE_PARENT) !== 0,
    );
  }

  /** What only some spans have. */
  private takeSparse(frame: OutlineFrame, pieces: Pieces): void {
    for (const [number, [time, by, seq]] of Object.entries(frame.named ?? {})) {
      const i = pieces.spans[Number(number)];
      const name = pieces.strings[frame.names[Number(number) - frame.at]];
      if (i === undefined || i === NONE || name === undefined) continue;
      this.takeName(i, name, time + pieces.shift, this.producerNumber(pieces, by), seq);
    }
    for (const [number, conflicts] of Object.entries(frame.conflicts ?? {})) {
      const i = pieces.spans[Number(number)];
      for (const conflict of i === undefined || i === NONE ? [] : conflicts) {
        // That there is a cycle follows from the declared parents.
        this.conflicts[i] |= (CONFLICTS.get(conflict) ?? 0) & ~PARENT_CYCLE;
      }
    }
    for (const [number, input, output, cost] of frame.usage ?? []) {
      if (pieces.spans[number] >= 0) this.setShare(pieces.spans[number], input, output, cost);
    }
    this.restoreLosses(frame.losses ?? []);
    for (const [what, count] of Object.entries(frame.truncated ?? {})) {
      this.truncated[what] = Math.max(this.truncated[what] ?? 0, count);
    }
  }

  /** Our number of a parent; null: it is in a piece that is still to come. */
  private parentOf(pieces: Pieces, number: number): number | null {
    if (number === ROOT) return NONE;
    if (number < 0) return UNKEPT;
    const parent = pieces.spans[number];
    return parent === undefined ? null : parent === NONE ? UNKEPT : parent;
  }

  private wait(pieces: Pieces, number: number, then: () => void): void {
    const waiting = pieces.waiting.get(number);
    if (waiting === undefined) pieces.waiting.set(number, [then]);
    else waiting.push(then);
  }

  private arrived(pieces: Pieces, number: number): void {
    const waiting = pieces.waiting.get(number);
    if (waiting === undefined) return;
    pieces.waiting.delete(number);
    for (const then of waiting) then();
  }

  private nameNumber(pieces: Pieces, number: number): number {
    return (pieces.names[number] ??= this.table.add(pieces.strings[number] ?? ""));
  }

  private producerNumber(pieces: Pieces, number: number): number {
    return (pieces.producers[number] ??= this.producer(pieces.strings[number] ?? ""));
  }

  private relativeStamp([timeNs, by, seq]: WireStamp): [number, string, number] {
    return [this.relative(timeNs), by, seq];
  }
}
