// The moment that is shown: what time it is, what the axis spans, whether time goes on.

import type { Axis, Range } from "../../model/axis";
import { axisStart, traceEnd } from "../../model/bounds";
import type { Clock } from "../../model/times";
import type { Tree } from "../../model/tree";
import type { LiveTrace } from "../../net/trace";
import { reducedMotion } from "../../state/settings";
import type { Film } from "./film";

/** What a frame is painted from. */
export type Frame = {
  /** The screen's time, and the same in ticks of what is written. */
  readonly ms: number;
  readonly tick: number;
  readonly tree: Tree;
  readonly clock: Clock;
  /** What is shown of the whole. */
  readonly view: Range;
  readonly whole: Range;
  /** Where the trace begins, and ends so far. */
  readonly zero: number;
  readonly until: number;
  /** Something is open, and time goes on. */
  readonly isOpen: boolean;
};

/** Clocks that differ by less are taken to agree: the page may have been late to read what it got. */
const LEAST_SKEW_NS = 100e6;
const TEXT_MS = 100;
const CALM_MS = 1000;

export class Present {
  private heldNow = NaN;
  private heldMs = -Infinity;

  constructor(
    private readonly live: LiveTrace,
    private readonly film: Film,
    private readonly axis: Axis,
  ) {}

  /** The relay's time, or that of the replay; where less motion is wanted it goes on by the second. */
  clock(ms: number): Clock {
    const { film, live } = this;
    if (film.isOn) return { now: film.time, ahead: () => 0 };
    const now = live.nowNs() - live.tree.baseNs;
    if (!reducedMotion.get()) return { now, ahead: this.ahead };
    if (!(ms - this.heldMs < CALM_MS)) {
      this.heldMs = ms;
      this.heldNow = now;
    }
    return { now: this.heldNow, ahead: this.ahead };
  }

  private readonly ahead = (producer: number): number => {
    const skew = this.live.skew(producer);
    return skew > LEAST_SKEW_NS ? skew : 0;
  };

  /** Find out what there is to see at this moment; the axis grows to it. */
  look(ms: number): Frame {
    const { film, live, axis } = this;
    const tree = film.tree ?? live.tree;
    const clock = this.clock(ms);
    this.grow(tree, clock, ms);
    const ended = traceEnd(tree);
    return {
      ms,
      tick: Math.floor(ms / TEXT_MS),
      tree,
      clock,
      view: axis.view(ms),
      whole: axis.whole,
      zero: axis.whole.from,
      until: tree.openCount > 0 || ended !== ended ? clock.now : ended,
      isOpen: tree.openCount > 0 && (!film.isOn || film.state.get() === "playing"),
    };
  }

  /** The axis spans the trace as it is now, also while a moment of it is replayed. */
  private grow(tree: Tree, clock: Clock, ms: number): void {
    const whole = this.live.tree;
    const start = axisStart(whole);
    if (start !== start) return;
    const isOpen = whole.openCount > 0;
    const now = this.film.isOn ? this.live.nowNs() - whole.baseNs : clock.now;
    const end = isOpen ? Math.max(now, start) : traceEnd(whole);
    // What is still being loaded grows in steps, too: each other span of the axis draws all anew.
    const grows = isOpen || whole.total > whole.count;
    const shift = whole.baseNs - tree.baseNs;
    this.axis.grow(start + shift, end + shift, grows, ms, !reducedMotion.get());
  }
}
