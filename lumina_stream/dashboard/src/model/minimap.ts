// The whole trace in a strip: what was going on in each pixel column, by the colour of its kind.

import { toPx } from "./axis";
import type { Scale } from "./axis";
import { KIND_GROUPS } from "./kinds";
import type { KindGroups } from "./kinds";
import { endOf } from "./times";
import type { Clock } from "./times";
import { ERROR, NONE } from "./tree";
import type { Tree } from "./tree";

/** Spans counted in one step: half a millisecond. */
const STEP = 5_000;

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

  /** Count anew, in steps: until the last one is done, what was counted before stands. The tree has to
   *  be settled; what comes to it meanwhile is counted the next time. O(spans). */
  *build(tree: Tree, groups: KindGroups, clock: Clock, scale: Scale): Generator<void, void> {
    const width = Math.max(1, Math.floor(scale.width));
    const active = KIND_GROUPS.map(() => new Int32Array(width + 1));
    const errors = new Int32Array(width);
    const lost = new Int32Array(width);
    const { count } = tree;
    for (let from = 0; from < count; from += STEP) {
      if (from > 0) yield;
      groups.learn(tree.strings); // kinds, too, come meanwhile
      const to = Math.min(count, from + STEP);
      for (let i = from; i < to; i++) {
        const columns = active[groups.of(tree.kindOf[i])];
        add(tree, clock, scale, i, columns, errors);
      }
    }
    for (const loss of tree.losses) {
      lost[clamp(Math.floor(toPx(scale, loss.time)), width - 1)] += loss.count;
    }
    let most = 0;
    for (const columns of active) for (let c = 1; c < width; c++) columns[c] += columns[c - 1];
    for (let c = 0; c < width; c++) {
      let sum = 0;
      for (const columns of active) sum += columns[c];
      if (sum > most) most = sum;
    }
    Object.assign(this, { width, active, errors, lost, most });
  }
}

/** Count one span, as differences between a column and the one before. */
function add(
  tree: Tree,
  clock: Clock,
  scale: Scale,
  i: number,
  columns: Int32Array,
  errors: Int32Array,
): void {
  const start = tree.start[i];
  const end = endOf(tree, i, clock);
  if (!(end >= start)) return;
  const last = errors.length - 1;
  const left = clamp(Math.floor(toPx(scale, start)), last);
  const right = Math.max(left, clamp(Math.ceil(toPx(scale, end)) - 1, last));
  columns[left]++;
  columns[right + 1]--;
  if (tree.status[i] === ERROR) errors[right]++;
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

function clamp(column: number, last: number): number {
  return column < 0 ? 0 : column > last ? last : column;
}
