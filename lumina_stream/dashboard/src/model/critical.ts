// What a trace waited for: of a finished one the critical path, of a live one the way down to the
// oldest span that is still open. Pure.

import { endOf } from "./times";
import type { Clock } from "./times";
import { NONE, RUNNING } from "./tree";
import type { Tree } from "./tree";

export class Path {
  /** Stretches of time by their spans, the earliest first; none overlaps another. */
  readonly span: number[] = [];
  readonly from: number[] = [];
  readonly to: number[] = [];
  private readonly spans = new Set<number>();

  add(span: number, from: number, to: number): void {
    this.span.push(span);
    this.from.push(from);
    this.to.push(to);
  }

  has(span: number): boolean {
    return this.spans.has(span);
  }

  /** Put the stretches, which were found from the last to the first, in order. */
  finish(): void {
    this.span.reverse();
    this.from.reverse();
    this.to.reverse();
    for (const span of this.span) this.spans.add(span);
  }
}

/** Walk back from the end of `root`: at each moment to the child that ended last before it, whose
 *  end was waited for; what no child accounts for is the span's own.
 *
 * What still ran at that moment was not waited for: neither a child that outlives its parent, unless
 * they are of two producers, whose clocks may differ, nor one that overlaps a child already on the
 * path. O(n log n) of the children of the path's spans. */
export function criticalPath(tree: Tree, root: number, clock: Clock): Path {
  const path = new Path();
  if (root === NONE || !(endOf(tree, root, clock) > tree.start[root])) return path;
  // Spans that were entered and not left.
  const stack = [entered(tree, root, endOf(tree, root, clock), clock)];
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    const start = tree.start[top.span];
    if (top.next === top.children.length || top.until <= start) {
      if (top.until > start) path.add(top.span, start, top.until);
      stack.pop();
      continue;
    }
    const child = top.children[top.next++];
    const begins = Math.max(tree.start[child], start);
    let ends = endOf(tree, child, clock);
    if (ends > top.until) {
      const clocksDiffer = tree.producerOf[child] !== tree.producerOf[top.span];
      if (!clocksDiffer || top.until < top.end) continue;
      ends = top.until;
    }
    if (!(ends > begins)) continue;
    if (top.until > ends) path.add(top.span, ends, top.until);
    top.until = begins;
    stack.push(entered(tree, child, ends, clock));
  }
  path.finish();
  return path;
}

type Entered = {
  span: number;
  end: number;
  /** Up to when it is not accounted for yet. */
  until: number;
  /** Its children, the last to end first. */
  children: readonly number[];
  next: number;
};

function entered(tree: Tree, span: number, end: number, clock: Clock): Entered {
  const children: number[] = [];
  for (let child = tree.firstChild[span]; child !== NONE; child = tree.nextSibling[child]) {
    if (tree.start[child] < end) children.push(child);
  }
  const ends = new Map(children.map((child) => [child, endOf(tree, child, clock)]));
  if (children.length > 1) children.sort((a, b) => ends.get(b)! - ends.get(a)!);
  return { span, end, until: end, children, next: 0 };
}

/** The open span that has been open longest of those that have no open child: what is waited for now.
 *  NONE where nothing is open. `open`: `tree.unended()`. */
export function oldestOpenLeaf(tree: Tree, open: Int32Array): number {
  const isInner = new Set<number>();
  for (const i of open) {
    if (tree.stateCode(i) === RUNNING && tree.parent[i] !== NONE) isInner.add(tree.parent[i]);
  }
  let oldest: number = NONE;
  for (const i of open) {
    if (tree.stateCode(i) !== RUNNING || isInner.has(i)) continue;
    if (oldest === NONE || tree.start[i] < tree.start[oldest]) oldest = i;
  }
  return oldest;
}

/** The way from the root down to `leaf`, each span up to where the next one begins. */
export function pathTo(tree: Tree, leaf: number, clock: Clock): Path {
  const path = new Path();
  let until = leaf === NONE ? NaN : endOf(tree, leaf, clock);
  for (let i = leaf; i !== NONE; i = tree.parent[i]) {
    const start = tree.start[i];
    if (start < until) {
      path.add(i, start, until);
      until = start;
    } else path.add(i, until, until);
  }
  path.finish();
  return path;
}
