// Which spans have just come: their rows are tinted for a moment, and the last one is followed.

import { NONE, RUNNING } from "../../model/tree";
import type { Tree } from "../../model/tree";

/** So long a row counts as new, ms: the style's tint lasts as long. */
const NEW_MS = 600;

export class Newcomers {
  /** Spans from this number on have just come. */
  from = Infinity;
  /** How many spans were there when the page had them all. */
  private known = 0;
  private isLoading = true;
  private counts: { count: number; ms: number }[] = [];

  /** Another tree is shown: all of it is old. */
  reset(tree: Tree): void {
    this.known = tree.count;
    this.counts = [];
    this.from = Infinity;
  }

  /** Look at the tree after rows were laid. `isLoading`: what comes was there before. */
  look(tree: Tree, isLoading: boolean, ms: number): void {
    if (this.isLoading || isLoading) this.reset(tree);
    this.isLoading = isLoading;
    this.counts.push({ count: tree.count, ms });
    while (this.counts.length > 1 && this.counts[1].ms < ms - NEW_MS) this.counts.shift();
    this.from = this.counts.length > 1 ? this.counts[0].count : Infinity;
  }

  /** What came is not new any more after a while. */
  expire(ms: number): void {
    const { counts } = this;
    if (counts.length > 0 && counts[counts.length - 1].ms < ms - NEW_MS) this.from = Infinity;
  }

  /** The running span that began last since the page was opened; NONE. */
  latest(tree: Tree): number {
    let latest: number = NONE;
    for (const i of tree.unended()) {
      if (i < this.known || tree.stateCode(i) !== RUNNING) continue;
      if (latest === NONE || tree.start[i] > tree.start[latest]) latest = i;
    }
    return latest;
  }
}
