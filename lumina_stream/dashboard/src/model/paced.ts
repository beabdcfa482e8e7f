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
