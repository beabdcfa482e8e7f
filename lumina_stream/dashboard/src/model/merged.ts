// The flame graph by name: spans that have the same names above them are one box, the heaviest on the
// left, to see where time, tokens or cost go. Pure.
//
// A box is as wide as what its own spans took plus all that is below it. Time is time of its own
// (`selfTime`): of spans that ran side by side each counts in full.

import { Boxes } from "./boxes";
import { durationOf, selfTime } from "./times";
import type { Clock } from "./times";
import { ERROR, NONE } from "./tree";
import type { Tree } from "./tree";

export const WEIGHTS = ["time", "tokens", "cost"] as const;
export type Weight = (typeof WEIGHTS)[number];

/** All boxes lie between 0 and this, whatever they are weighed by. */
export const WIDTH = 1e9;

/** Boxes are nodes: a name below the names above it. */
export class Merged extends Boxes {
  count = 0;
  // By node.
  parent = new Int32Array(0);
  /** Indexes into the tree's strings; the kind is that of its first span, NONE: it has none. */
  name = new Int32Array(0);
  kind = new Int32Array(0);
  spans = new Int32Array(0);
  errors = new Int32Array(0);
  /** The span that took longest: what a click leads to. */
  longest = new Int32Array(0);
  /** Of its own spans, in the order of WEIGHTS: ns, tokens, trillionths of a dollar. */
  self: Record<Weight, Float64Array> = { time: none(), tokens: none(), cost: none() };
  /** With everything below it. */
  total: Record<Weight, Float64Array> = { time: none(), tokens: none(), cost: none() };
  /** Of everything. */
  sum: Record<Weight, number> = { time: 0, tokens: 0, cost: 0 };
  /** Span -> its node. */
  private nodeOf = new Int32Array(0);
  private known = 0;
  private longestTook = none();
  /** (parent, name) -> node + 1; 0 is empty. */
  private table = new Int32Array(64);

  /** The node of a span; NONE where it is not in yet. */
  nodeFor(i: number): number {
    return i >= 0 && i < this.known ? this.nodeOf[i] : NONE;
  }

  /** Merge the spans anew. O(spans); the tree has to be settled. `lay` says where the boxes are. */
  build(tree: Tree, clock: Clock): void {
    this.known = tree.count;
    if (this.nodeOf.length < tree.count) this.nodeOf = new Int32Array(Math.ceil(tree.count * 1.5));
    this.table.fill(0);
    this.count = 0;
    let i = tree.firstRoot;
    while (i !== NONE) {
      this.add(tree, i, clock);
      let next = tree.firstChild[i];
      let at = i;
      while (next === NONE && at !== NONE) {
        next = tree.nextSibling[at];
        at = tree.parent[at];
      }
      i = next;
    }
    for (const weight of WEIGHTS) {
      const self = this.self[weight];
      const total = this.total[weight];
      total.set(self.subarray(0, this.count));
      let sum = 0;
      for (let node = this.count - 1; node >= 0; node--) {
        const parent = this.parent[node];
        if (parent === NONE) sum += total[node];
        else total[parent] += total[node];
      }
      this.sum[weight] = sum;
    }
  }

  /** Say where the boxes are: by a weight, the heaviest first. */
  lay(weight: Weight): void {
    const { count, parent } = this;
    const total = this.total[weight];
    // Children by parent, as ranges of one list: those of p are from first[p + 1] on, roots first.
    const first = new Int32Array(count + 2);
    for (let node = 0; node < count; node++) first[parent[node] + 2]++;
    for (let k = 1; k < first.length; k++) first[k] += first[k - 1];
    const next = first.slice();
    const children = new Int32Array(count);
    for (let node = 0; node < count; node++) children[next[parent[node] + 1]++] = node;
    const share = WIDTH / (this.sum[weight] || 1);
    const heavierFirst = (a: number, b: number) => total[b] - total[a] || a - b;
    // A row after the other, each from left to right, which is the order that boxes are listed in.
    const walk = new Int32Array(count);
    let walked = 0;
    this.rows = 0;
    for (let k = NONE; k < walked; k++) {
      const above = k === NONE ? NONE : walk[k];
      const group = children.subarray(first[above + 1], first[above + 2]);
      if (group.length > 1) group.sort(heavierFirst);
      let x = above === NONE ? 0 : this.start[above];
      for (const node of group) {
        if (!(total[node] > 0)) {
          this.start[node] = NaN;
          continue;
        }
        this.start[node] = x;
        x += total[node] * share;
        this.end[node] = x;
        this.row[node] = above === NONE ? 0 : this.row[above] + 1;
        this.rows = this.row[node] + 1;
        walk[walked++] = node;
      }
    }
    this.sort(walk, walked);
  }

  private add(tree: Tree, i: number, clock: Clock): void {
    const above = tree.parent[i];
    const node = this.find(
      above === NONE ? NONE : this.nodeOf[above],
      tree.nameOf[i],
      tree.kindOf[i],
    );
    this.nodeOf[i] = node;
    this.spans[node]++;
    if (tree.status[i] === ERROR) this.errors[node]++;
    this.self.time[node] += selfTime(tree, i, clock);
    if (tree.cost[i] !== -1) {
      this.self.tokens[node] += tree.input[i] + tree.output[i];
      if (tree.cost[i] > 0) this.self.cost[node] += tree.cost[i];
    }
    const took = durationOf(tree, i, clock);
    if (this.longest[node] === NONE || took > this.longestTook[node]) {
      this.longest[node] = i;
      this.longestTook[node] = took;
    }
  }

  private find(parent: number, name: number, kind: number): number {
    const mask = this.table.length - 1;
    let at = hash(parent, name) & mask;
    for (let node = this.table[at] - 1; node >= 0; node = this.table[at] - 1) {
      if (this.parent[node] === parent && this.name[node] === name) return node;
      at = (at + 1) & mask;
    }
    const node = this.count++;
    this.grow();
    this.table[at] = node + 1;
    this.parent[node] = parent;
    this.name[node] = name;
    this.kind[node] = kind;
    this.longest[node] = NONE;
    this.spans[node] = this.errors[node] = 0;
    for (const weight of WEIGHTS) this.self[weight][node] = 0;
    if (this.count * 2 > this.table.length) this.rehash();
    return node;
  }

  private rehash(): void {
    this.table = new Int32Array(this.table.length * 4);
    const mask = this.table.length - 1;
    for (let node = 0; node < this.count; node++) {
      let at = hash(this.parent[node], this.name[node]) & mask;
      while (this.table[at] !== 0) at = (at + 1) & mask;
      this.table[at] = node + 1;
    }
  }

  private grow(): void {
    const length = this.parent.length;
    if (this.count <= length) return;
    const more = Math.max(64, length * 2, this.count);
    const ints = (old: Int32Array) => {
      const wider = new Int32Array(more);
      wider.set(old);
      return wider;
    };
    const floats = (old: Float64Array) => {
      const wider = new Float64Array(more);
      wider.set(old);
      return wider;
    };
    this.parent = ints(this.parent);
    this.name = ints(this.name);
    this.kind = ints(this.kind);
    this.spans = ints(this.spans);
    this.errors = ints(this.errors);
    this.longest = ints(this.longest);
    this.longestTook = floats(this.longestTook);
    for (const weight of WEIGHTS) {
      this.self[weight] = floats(this.self[weight]);
      this.total[weight] = new Float64Array(more);
    }
    this.reserve(more);
  }
}

function none(): Float64Array<ArrayBuffer> {
  return new Float64Array(0);
}

function hash(parent: number, name: number): number {
  let h = Math.imul(parent + 1, 0x9e3779b1) ^ Math.imul(name + 1, 0x85ebca6b);
  h ^= h >>> 15;
  return Math.imul(h, 0x2c1b3c6d) ^ (h >>> 13);
}
