// The flame graph by time: each span a box below its parent, siblings that overlap in lanes of their
// own. Pure.
//
// A span with everything below it is a block; blocks that overlap in time are put below one another,
// so that what is drawn beneath a box is its own, and no two boxes of a row overlap.

import { Boxes } from "./boxes";
import { endOf } from "./times";
import type { Clock } from "./times";
import { NONE, RUNNING } from "./tree";
import type { Tree } from "./tree";

/** Boxes are spans; what runs ends at Infinity. */
export class Flame extends Boxes {
  private spans = 0;
  private walk = new Int32Array(0);
  /** When a span and all below it are over. */
  private over = new Float64Array(0);
  /** How many rows a span and all below it take. */
  private height = new Int32Array(0);

  has(i: number): boolean {
    return i >= 0 && i < this.spans;
  }

  /** Lay everything anew. O(spans log lanes); the tree has to be settled. */
  build(tree: Tree, clock: Clock): void {
    const count = tree.count;
    this.spans = count;
    this.reserve(count);
    if (this.walk.length < count) {
      const length = Math.ceil(count * 1.5);
      this.walk = new Int32Array(length);
      this.over = new Float64Array(length);
      this.height = new Int32Array(length);
    }
    const walked = this.walkTree(tree);
    this.time(tree, clock, walked);
    // From the leaves up, the children of each span are put into lanes: `row` is first the row
    // below the parent's.
    const lanes = new Lanes();
    for (let k = walked - 1; k >= 0; k--) {
      const i = this.walk[k];
      this.height[i] = 1 + this.stack(tree, lanes, tree.firstChild[i]);
    }
    this.rows = this.stack(tree, lanes, tree.firstRoot);
    for (let k = 0; k < walked; k++) {
      const i = this.walk[k];
      const parent = tree.parent[i];
      if (parent !== NONE) this.row[i] += this.row[parent] + 1;
    }
    this.sort(this.walk, walked);
  }

  /** Parents before their children, siblings by time. */
  private walkTree(tree: Tree): number {
    let walked = 0;
    let at = tree.firstRoot;
    while (at !== NONE) {
      this.walk[walked++] = at;
      let next = tree.firstChild[at];
      while (next === NONE && at !== NONE) {
        next = tree.nextSibling[at];
        at = tree.parent[at];
      }
      at = next;
    }
    return walked;
  }

  private time(tree: Tree, clock: Clock, walked: number): void {
    const { start, end, over, walk } = this;
    // What has not started begins with the first of its children that has.
    for (let k = walked - 1; k >= 0; k--) {
      const i = walk[k];
      const own = tree.start[i];
      start[i] = own;
      if (own === own) continue;
      for (let child = tree.firstChild[i]; child !== NONE; child = tree.nextSibling[child]) {
        if (!(start[i] <= start[child])) start[i] = start[child];
      }
    }
    for (let k = 0; k < walked; k++) {
      const i = walk[k];
      const parent = tree.parent[i];
      if (parent !== NONE && !(start[i] >= start[parent])) start[i] = start[parent];
    }
    for (let k = walked - 1; k >= 0; k--) {
      const i = walk[k];
      const own = endOf(tree, i, clock);
      end[i] = tree.stateCode(i) === RUNNING ? Infinity : own < start[i] ? start[i] : own;
      let latest = end[i] === end[i] ? end[i] : -Infinity;
      for (let child = tree.firstChild[i]; child !== NONE; child = tree.nextSibling[child]) {
        if (over[child] > latest) latest = over[child];
      }
      over[i] = latest;
      if (end[i] !== end[i]) end[i] = latest; // as long as what is below it
    }
  }

  /** Put siblings into lanes, each as high as its highest block; return the rows that they take. */
  private stack(tree: Tree, lanes: Lanes, first: number): number {
    if (first === NONE) return 0;
    const { start, over, row, height } = this;
    const { nextSibling } = tree;
    // Mostly one follows the other, and one lane has them all.
    let most = 0;
    let free = -Infinity;
    let i = first;
    for (; i !== NONE && !(start[i] < free); i = nextSibling[i]) {
      row[i] = 0;
      free = Math.max(free, over[i]);
      if (height[i] > most) most = height[i];
    }
    if (i === NONE) return most;
    lanes.clear();
    for (i = first; i !== NONE; i = nextSibling[i]) {
      row[i] = lanes.take(start[i], over[i], height[i]);
    }
    const rows = lanes.settle();
    for (i = first; i !== NONE; i = nextSibling[i]) row[i] = lanes.offset[row[i]];
    return rows;
  }
}

/** Which lane is free when: the lowest one is taken. */
class Lanes {
  /** After `settle`: the first row of a lane. */
  readonly offset: number[] = [];
  private readonly heights: number[] = [];
  private readonly freeAt: number[] = [];
  /** Lanes in use, the one that is free first on top. */
  private readonly busy = new Heap((lane) => this.freeAt[lane]);
  /** Lanes that are free, the lowest on top. */
  private readonly free = new Heap((lane) => lane);

  clear(): void {
    this.offset.length = this.heights.length = this.freeAt.length = 0;
    this.busy.clear();
    this.free.clear();
  }

  take(start: number, end: number, height: number): number {
    while (this.busy.size > 0 && this.freeAt[this.busy.top] <= start)
      this.free.push(this.busy.pop());
    // What has not started comes before its siblings, whenever that is: look again at what is free.
    const isFree = this.free.size > 0 && this.freeAt[this.free.top] <= start;
    const lane = isFree ? this.free.pop() : this.heights.length;
    this.freeAt[lane] = end;
    this.heights[lane] = Math.max(this.heights[lane] ?? 0, height);
    this.busy.push(lane);
    return lane;
  }

  settle(): number {
    let rows = 0;
    for (const height of this.heights) {
      this.offset.push(rows);
      rows += height;
    }
    return rows;
  }
}

class Heap {
  private readonly items: number[] = [];

  constructor(private readonly rank: (item: number) => number) {}

  get size(): number {
    return this.items.length;
  }

  get top(): number {
    return this.items[0];
  }

  clear(): void {
    this.items.length = 0;
  }

  push(item: number): void {
    const { items, rank } = this;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (rank(items[parent]) <= rank(item)) break;
      items[at] = items[parent];
      at = parent;
    }
    items[at] = item;
  }

  pop(): number {
    const { items, rank } = this;
    const top = items[0];
    const item = items.pop()!;
    const size = items.length;
    if (size > 0) {
      let at = 0;
      for (;;) {
        let child = at * 2 + 1;
        if (child >= size) break;
        if (child + 1 < size && rank(items[child + 1]) < rank(items[child])) child++;
        if (rank(items[child]) >= rank(item)) break;
        items[at] = items[child];
        at = child;
      }
      items[at] = item;
    }
    return top;
  }
}
