// When a span begins and ends on the screen: what is still open ends now, what broke off ends with
// its last sign of life. Pure; the time comes from whoever asks.

import { MISSING, NONE, RUNNING } from "./tree";
import type { Tree } from "./tree";

/** The present: of the relay, or of a moment of the replay. */
export type Clock = {
  /** ns since the tree's base. */
  readonly now: number;
  /** By how much a producer's clock is ahead of that, ns. */
  readonly ahead: (producer: number) => number;
};

/** A clock that all producers share. */
export function clockAt(now: number): Clock {
  return { now, ahead: () => 0 };
}

/** When a span ends, by the clock of its producer: ns since the base, NaN if it has not started. */
export function endOf(tree: Tree, i: number, clock: Clock): number {
  const end = tree.end[i];
  if (end === end) return end;
  const start = tree.start[i];
  const state = tree.stateCode(i);
  if (state === MISSING) return NaN;
  if (state === RUNNING) {
    const producer = tree.producerOf[i];
    const now = clock.now + (producer === NONE ? 0 : clock.ahead(producer));
    return now > start ? now : start;
  }
  const last = tree.lastSeen(i);
  return last > start ? last : start;
}

/** How long a span took, or has taken so far; NaN if it has not started. Never negative. */
export function durationOf(tree: Tree, i: number, clock: Clock): number {
  const took = endOf(tree, i, clock) - tree.start[i];
  return took < 0 ? 0 : took;
}

/** How much of [from, to) a span was open with none of its children open. O(children). */
export function selfTime(
  tree: Tree,
  i: number,
  clock: Clock,
  from = -Infinity,
  to = Infinity,
): number {
  const start = Math.max(tree.start[i], from);
  const end = Math.min(endOf(tree, i, clock), to);
  if (!(end > start)) return 0;
  let self = end - start;
  let covered = start; // children come by start: what lies before is accounted for
  for (let child = tree.firstChild[i]; child !== NONE; child = tree.nextSibling[child]) {
    const begins = Math.max(tree.start[child], covered);
    if (begins >= end) break;
    const ends = Math.min(endOf(tree, child, clock), end);
    if (ends > begins) {
      self -= ends - begins;
      covered = ends;
    }
  }
  return self;
}
