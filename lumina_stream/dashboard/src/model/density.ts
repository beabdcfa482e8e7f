// Many siblings of one name in one row: how many are open in each pixel column, and their figures.

import { toPx } from "./axis";
import type { Scale } from "./axis";
import { drawnStart } from "./geometry";
import { durationOf, endOf } from "./times";
import type { Clock } from "./times";
import { ERROR, NONE, RUNNING } from "./tree";
import type { Tree } from "./tree";

/** Spans of a list, by their numbers: `list[from]` to `list[from + count - 1]`. */
export type Members = { readonly list: Int32Array; readonly from: number; readonly count: number };

/** Count into `columns[c]` how many members are open in pixel column c; return the greatest count.
 *
 * A member is in every column that it touches, and in one at least. */
export function densityColumns(
  tree: Tree,
  { list, from, count }: Members,
  clock: Clock,
  scale: Scale,
  columns: Int32Array,
): number {
  columns.fill(0);
  const last = columns.length - 1;
  const parent = count > 0 ? tree.parent[list[from]] : NONE;
  const least = parent === NONE ? NaN : drawnStart(tree, parent);
  for (let k = from; k < from + count; k++) {
    const i = list[k];
    const start = tree.start[i];
    // As bars are drawn: not before their parents.
    const left = Math.floor(toPx(scale, start < least ? least : start));
    if (!(left <= last)) continue; // outside, or it has not started
    const right = Math.max(left, Math.ceil(toPx(scale, endOf(tree, i, clock))) - 1);
    if (right < 0) continue;
    columns[left < 0 ? 0 : left]++;
    if (right < last) columns[right + 1]--;
  }
  let greatest = 0;
  for (let c = 1; c <= last; c++) columns[c] += columns[c - 1];
  for (let c = 0; c <= last; c++) if (columns[c] > greatest) greatest = columns[c];
  return greatest;
}

export type Figures = {
  count: number;
  running: number;
  errors: number;
  /** ns; NaN where none has started. */
  p50: number;
  p95: number;
};

/** The figures of a density row; what still runs counts with the time that it has taken. */
export function figures(tree: Tree, { list, from, count }: Members, clock: Clock): Figures {
  const took = new Float64Array(count);
  let known = 0;
  let running = 0;
  let errors = 0;
  for (let k = from; k < from + count; k++) {
    const i = list[k];
    if (tree.status[i] === ERROR) errors++;
    if (tree.stateCode(i) === RUNNING) running++;
    const duration = durationOf(tree, i, clock);
    if (duration === duration) took[known++] = duration;
  }
  const durations = took.subarray(0, known);
  return { count, running, errors, p50: quantile(durations, 0.5), p95: quantile(durations, 0.95) };
}

/** The value below which a share `q` of the values lies (nearest rank); NaN of none.
 *
 * Puts the values into another order. O(n) on average, where sorting would take a page's frame. */
export function quantile(values: Float64Array, q: number): number {
  if (values.length === 0) return NaN;
  const rank = Math.min(values.length - 1, Math.max(0, Math.ceil(values.length * q) - 1));
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = median3(values[low], values[(low + high) >> 1], values[high]);
    let left = low;
    let right = high;
    while (left <= right) {
      while (values[left] < pivot) left++;
      while (values[right] > pivot) right--;
      if (left <= right) {
        const swap = values[left];
        values[left++] = values[right];
        values[right--] = swap;
      }
    }
    if (rank <= right) high = right;
    else if (rank >= left) low = left;
    else break;
  }
  return values[rank];
}

function median3(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}

/** The member nearest to a moment: what a click on the row means. NONE where none is within `reach`. */
export function memberAt(
  tree: Tree,
  { list, from, count }: Members,
  clock: Clock,
  at: number,
  reach: number,
): number {
  let best: number = NONE;
  let nearest = reach;
  for (let k = from; k < from + count; k++) {
    const i = list[k];
    const away = Math.max(tree.start[i] - at, at - endOf(tree, i, clock), 0);
    // Of several that are open there, the one that began last: it is the one on top.
    if (away < nearest || (away === nearest && away < reach)) {
      nearest = away;
      best = i;
    }
  }
  return best;
}
