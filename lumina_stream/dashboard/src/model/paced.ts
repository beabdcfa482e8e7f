// Work that is done again whenever what it is made from has changed, but takes no more than a share
// of the time: what takes 50 ms is done twice a second, what takes 1 ms in every frame. Pure; the
// clock is passed in.

/** The share of the time that one piece of work may take. */
const SHARE = 0.1;

export class Paced {
  private key: string | undefined;
  private doneMs = -Infinity;
  private costMs = 0;
  /** What was made is not up to date: ask again in a while. */
  isStale = false;

  /** Do the work if `key` is not the one of the last time and it is due; tell whether it was done.
   *
   * `now`: a clock in ms. `isUrgent`: a person waits for it. */
  run(key: string, now: () => number, work: () => void, isUrgent = false): boolean {
    if (key === this.key) {
      this.isStale = false;
      return false;
    }
    const begun = now();
    if (!isUrgent && begun - this.doneMs < this.costMs * (1 / SHARE - 1)) {
      this.isStale = true;
      return false;
    }
    work();
    this.doneMs = now();
    this.costMs = this.doneMs - begun;
    this.key = key;
    this.isStale = false;
    return true;
  }
}

/** The share of work in steps: what takes so long that it is cut up may be as old as twenty times that. */
const STEPS_SHARE = 0.05;
/** Longest time that steps take of one frame, ms: a frame has 16, and others work in it, too. */
const FRAME_SHARE_MS = 2;

/** The same for work that comes in steps, of which a frame does a few: the longer it takes as a whole,
 *  the more frames it is spread over. */
export class PacedSteps {
  private key: string | undefined;
  private doing: { key: string; steps: Iterator<void> } | null = null;
  private doneMs = -Infinity;
  private costMs = 0;
  /** What was made is not up to date: ask again in `dueMs`. */
  isStale = false;
  /** How long nothing will be done yet, ms; 0: the next frame goes on with it. */
  dueMs = 0;

  /** Begin the work if `key` is not the one of the last time and it is due, or go on with it; tell
   *  whether it is done. What is begun is brought to its end, with the key that it had then.
   *
   * `now`: a clock in ms. `isUrgent`: a person waits for it, it begins anew and takes what it takes. */
  run(key: string, now: () => number, steps: () => Iterator<void>, isUrgent = false): boolean {
    const begun = now();
    if (isUrgent) this.doing = null;
    if (this.doing === null) {
      if (key === this.key && !isUrgent) {
        this.isStale = false;
        return false;
      }
      this.isStale = true;
      this.dueMs = isUrgent ? 0 : Math.max(0, this.restUntil() - begun);
      if (this.dueMs > 0) return false;
      this.doing = { key, steps: steps() };
      this.costMs = 0;
    }
    const isDone = this.go(this.doing.steps, isUrgent ? Infinity : begun + FRAME_SHARE_MS, now);
    const ended = now();
    this.costMs += ended - begun;
    if (!isDone) return false;
    this.key = this.doing.key;
    this.doing = null;
    this.doneMs = ended;
    this.isStale = this.key !== key;
    this.dueMs = this.restUntil() - ended;
    return true;
  }

  private restUntil(): number {
    return this.doneMs + this.costMs * (1 / STEPS_SHARE - 1);
  }

  private go(steps: Iterator<void>, untilMs: number, now: () => number): boolean {
    do {
      if (steps.next().done === true) return true;
    } while (now() < untilMs);
    return false;
  }
}
