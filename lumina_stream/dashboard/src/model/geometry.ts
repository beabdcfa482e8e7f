// Where a span's bar is, to the pixel column, and what it looks like at its ends. Pure.

import { toPx } from "./axis";
import type { Scale } from "./axis";
import { endOf } from "./times";
import type { Clock } from "./times";
import { INTERRUPTED, MISSING, NONE, RUNNING, UNENDED } from "./tree";
import type { Tree } from "./tree";

/** No bar is narrower, px. */
export const LEAST_WIDTH = 2;
/** The hatch of an interrupted span is at least so wide: it has to be seen where nothing follows. */
export const LEAST_HATCH = 12;

/** How a bar ends on the right. */
export const CLOSED = 0;
/** It runs: the edge is now. */
export const OPEN = 1;
/** Nobody said how it ended. */
export const DASHED = 2;

/** One bar, filled in by `place`; reused, so that drawing makes no garbage. */
export class Bar {
  /** px from the scale's left edge; whole device pixels. */
  x = 0;
  width = 0;
  /** From here to the bar's end nothing was heard of it; NaN where there is no such part. */
  hatch = NaN;
  end = CLOSED;
  /** It is said to have begun before its parent, or after now: clocks differ, and it was moved. */
  skewed = false;
  /** It has not started: there is nothing to draw, or only where its children are. */
  isMissing = false;

  get right(): number {
    return this.x + this.width;
  }
}

/** The latest start among a span and those above it, where its bar begins: no span begins before its
 *  parent, whatever the clocks say. NaN where none has started. O(depth). */
export function drawnStart(tree: Tree, i: number): number {
  let start = NaN;
  for (let at = i; at !== NONE; at = tree.parent[at]) {
    const own = tree.start[at];
    if (!(own <= start)) start = own === own ? own : start;
  }
  return start;
}

/** Put a span's bar into `bar`.
 *
 * `start`: its `drawnStart`. `until`: where the trace ends so far, for what broke off. `grain`: the
 * size of a device pixel in px; bars begin and end at whole ones. */
export function place(
  bar: Bar,
  tree: Tree,
  i: number,
  start: number,
  until: number,
  clock: Clock,
  scale: Scale,
  grain = 1,
): Bar {
  const own = tree.start[i];
  const state = tree.stateCode(i);
  bar.hatch = NaN;
  bar.isMissing = state === MISSING || own !== own;
  if (bar.isMissing) {
    bar.x = bar.width = 0;
    bar.end = CLOSED;
    bar.skewed = false;
    return bar;
  }
  bar.skewed = own < start;
  let from = start;
  let to = endOf(tree, i, clock);
  if (state === RUNNING) {
    bar.end = OPEN;
    if (to > clock.now && clock.ahead(tree.producerOf[i]) > 0) {
      // Its clock is ahead: the bar would reach into the future. It ends at the now-line instead.
      bar.skewed = true;
      to = clock.now;
      if (from > to) from = to;
    }
  } else {
    bar.end = state === INTERRUPTED || state === UNENDED ? DASHED : CLOSED;
  }
  if (to < from) to = from; // it ended before its parent began, they say
  bar.x = snap(toPx(scale, from), grain);
  bar.width = Math.max(LEAST_WIDTH, snap(toPx(scale, to), grain) - bar.x);
  if (state === INTERRUPTED) {
    bar.hatch = bar.right;
    const end = Math.max(snap(toPx(scale, Math.max(until, to)), grain), bar.hatch + LEAST_HATCH);
    bar.width = end - bar.x;
  }
  return bar;
}

function snap(px: number, grain: number): number {
  // Far outside of what is shown, only on which side it is matters.
  return Math.round(Math.min(Math.max(px, -1e6), 1e6) / grain) * grain;
}

/** Where what is written beside a bar begins, and how it is aligned. */
export type Beside = { x: number; align: "left" | "right" };

const GAP = 6;

/** Right of the bar; left of it where it would overflow; at the edge where the bar is out of sight.
 *
 * `text`: the width of what is written, px. */
export function beside(left: number, right: number, text: number, width: number): Beside {
  if (right <= 0) return { x: GAP, align: "left" };
  if (left >= width) return { x: width - GAP, align: "right" };
  if (right + GAP + text <= width) return { x: right + GAP, align: "left" };
  if (left - GAP - text >= 0) return { x: left - GAP, align: "right" };
  return { x: Math.min(right, width) - GAP, align: "right" }; // on the bar: there is no other place
}
