// The whole trace in a strip: what was going on in each pixel column, by the colour of its kind.

import { toPx } from "./axis";
import type { Scale } from "./axis";
import { KIND_GROUPS } from "./kinds";
import type { KindGroups } from "./kinds";
import { endOf } from "./times";
import type { Clock } from "./times";
import { ERROR, NONE } from "./tree";
import type { Tree } from "./tree";

export class Minimap {
  width = 0;
  /** By kind group, then column: how many spans were at work there themselves, not waiting for
   *  their children. */
  active: Int32Array[] = [];
  /** The greatest sum of a column. */
  most = 0;
  /** By column: how many spans failed there, how much was lost. */
  errors = new Int32Array(0);
  lost = new Int32Array(0);

  /** Count anew. O(spans); the tree has to be settled. */
  build(tree: Tree, groups: KindGroups, clock: Clock, scale: Scale): void {
    const width = Math.max(1, Math.floor(scale.width));
    if (width !== this.width) {
      this.width = width;
      this.active = KIND_GROUPS.map(() => new Int32Array(width + 1));
      this.errors = new Int32Array(width);
      this.lost = new Int32Array(width);
    }
    for (const columns of this.active) columns.fill(0);
    this.errors.fill(0);
    this.lost.fill(0);
    groups.learn(tree.strings);
    for (let i = 0; i < tree.count; i++) this.add(tree, groups, clock, scale, i);
    for (const loss of tree.losses) {
      this.lost[clamp(Math.floor(toPx(scale, loss.time)), width - 1)] += loss.count;
    }
    this.most = 0;
    for (const columns of this.active) for (let c = 1; c < width; c++) columns[c] += columns[c - 1];
    for (let c = 0; c < width; c++) {
      let sum = 0;
      for (const columns of this.active) sum += columns[c];
      if (sum > this.most) this.most = sum;
    }
  }

  private add(tree: Tree, groups: KindGroups, clock: Clock, scale: Scale, i: number): void {
    const start = tree.start[i];
    const end = endOf(tree, i, clock);
    if (!(end >= start)) return;
    const last = this.width - 1;
    const columns = this.active[groups.of(tree.kindOf[i])];
    const left = clamp(Math.floor(toPx(scale, start)), last);
    const right = Math.max(left, clamp(Math.ceil(toPx(scale, end)) - 1, last));
    columns[left]++;
    columns[right + 1]--;
    if (tree.status[i] === ERROR) this.errors[right]++;
    // While a child is open the span waits. Only whole columns are taken out.
    let covered = left;
    for (let child = tree.firstChild[i]; child !== NONE; child = tree.nextSibling[child]) {
      const from = Math.max(covered, Math.floor(toPx(scale, tree.start[child])));
      if (from > right) break;
      const to = Math.min(right, Math.ceil(toPx(scale, endOf(tree, child, clock))) - 1);
      if (to >= from) {
        columns[from]--;
        columns[to + 1]++;
        covered = to + 1;
      }
    }
  }
}

function clamp(column: number, last: number): number {
  return column < 0 ? 0 : column > last ? last : column;
}
