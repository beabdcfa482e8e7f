// How long a span took, and how much of that nobody below it took. Pure.

import { NONE } from "../../model/tree";
import type { Tree } from "../../model/tree";

/** When a span ended, or what counts for that: now while it runs, else its last sign of life.
 *
 * All in ns since the tree's base; NaN where nothing is known. */
export function endOf(tree: Tree, span: number, now: number): number {
  const end = tree.end[span];
  if (!Number.isNaN(end)) return end;
  return tree.state(span) === "running" ? Math.max(now, tree.start[span]) : tree.lastSeen(span);
}

/** Return the ns in which none of the span's children ran. The tree is settled. */
export function selfTime(tree: Tree, span: number, now: number): number {
  const start = tree.start[span];
  const end = endOf(tree, span, now);
  let free = Math.max(0, end - start);
  let covered = start;
  // Siblings are in order of their start: one pass joins what overlaps.
  for (let child = tree.firstChild[span]; child !== NONE; child = tree.nextSibling[child]) {
    const from = Math.max(covered, tree.start[child]);
    const to = Math.min(end, endOf(tree, child, now));
    if (to > from) {
      free -= to - from;
      covered = to;
    }
  }
  return free;
}
