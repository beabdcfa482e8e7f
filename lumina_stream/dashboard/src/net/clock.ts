// What time it is at the relay, from what it says, and never from the browser's own wall clock.

const SAMPLES = 30;
/** A sample so far below the best of the last ones says that the relay's clock was set anew. */
const STEP_NS = 5e9;

export class RelayClock {
  private offsets: number[] = [];
  private best = -Infinity;

  /** Whether the relay has said yet what time it is. */
  get isSet(): boolean {
    return this.offsets.length > 0;
  }

  /** Take in the relay's wall clock, received when `performance.now()` was `receivedMs`.
   *
   *  A message is never here before it was sent: of several, the one that was on its way the
   *  shortest time, which makes the relay's clock the most ahead, is the nearest to the truth. */
  heard(relayNs: number, receivedMs: number): void {
    const offset = relayNs - receivedMs * 1e6;
    if (Math.abs(offset - this.best) > STEP_NS) this.offsets = [];
    this.offsets.push(offset);
    if (this.offsets.length > SAMPLES) this.offsets.shift();
    this.best = Math.max(...this.offsets);
  }

  /** The relay's wall clock when `performance.now()` is `ms`; 0 while it has not said. */
  at(ms: number): number {
    return this.isSet ? this.best + ms * 1e6 : 0;
  }
}

const WINDOW_MS = 30_000;
/** What a message's way and our estimate of the relay's clock may be off by. */
const LEAST_NS = 20e6;

/** By how much a producer's clock is ahead of the relay's: nothing is here before it happened. */
export class Lead {
  private current = -Infinity;
  private before = -Infinity;
  private sinceMs = -Infinity;

  /** An event of `timeNs` (by the producer's clock) was here when `performance.now()` was `ms`. */
  heard(timeNs: number, ms: number): void {
    if (ms - this.sinceMs > WINDOW_MS) {
      this.before = this.current;
      this.current = -Infinity;
      this.sinceMs = ms;
    }
    this.current = Math.max(this.current, timeNs - ms * 1e6);
  }

  /** By how much, ns. What is known of the relay's clock gets better: it is asked now, not then. */
  over(clock: RelayClock): number {
    const lead = Math.max(this.current, this.before) - clock.at(0);
    return clock.isSet && lead > LEAST_NS ? lead : 0;
  }
}
