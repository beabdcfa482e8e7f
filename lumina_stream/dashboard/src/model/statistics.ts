// Figures by name: of the whole trace, or of what lies in a stretch of time. Pure.

import type { Range } from "./axis";
import { quantile } from "./density";
import { durationOf, endOf, selfTime } from "./times";
import type { Clock } from "./times";
import { ERROR, NONE, RUNNING } from "./tree";
import type { Tree } from "./tree";

export type NameFigures = {
  /** Indexes into the tree's strings; the kind is that of its first span, NONE: it has none. */
  name: number;
  kind: number;
  count: number;
  running: number;
  errors: number;
  /** ns; within the range, if there is one. Spans side by side count in full. */
  total: number;
  self: number;
  /** ns, of whole spans. */
  p50: number;
  p95: number;
  tokens: number;
  /** Trillionths of a dollar; NaN where no call has a price. */
  cost: number;
  /** Calls without a price. */
  unpriced: number;
  calls: number;
  /** The span that took longest. */
  longest: number;
};

export const COLUMNS = [
  "name",
  "count",
  "total",
  "self",
  "p50",
  "p95",
  "errors",
  "tokens",
  "cost",
] as const;
export type Column = (typeof COLUMNS)[number];

/** Add up by name, the greatest total first. O(spans); the tree has to be settled.
 *
 * Spans that have not started are left out; with a range, also those that do not touch it. */
export function statistics(tree: Tree, clock: Clock, range?: Range): NameFigures[] {
  const from = range?.from ?? -Infinity;
  const to = range?.to ?? Infinity;
  const slot = new Int32Array(tree.strings.length).fill(NONE);
  const made: NameFigures[] = [];
  const chosen = new Uint8Array(tree.count);
  const took = new Float64Array(tree.count);
  for (let i = 0; i < tree.count; i++) {
    const start = tree.start[i];
    const end = endOf(tree, i, clock);
    if (!(start <= to && Math.max(start, end) >= from)) continue;
    const name = tree.nameOf[i];
    if (slot[name] === NONE) {
      slot[name] = made.length;
      made.push(empty(name, tree.kindOf[i], i));
    }
    const figures = made[slot[name]];
    chosen[i] = 1;
    took[i] = durationOf(tree, i, clock);
    figures.count++;
    figures.total += Math.max(0, Math.min(end, to) - Math.max(start, from));
    figures.self += selfTime(tree, i, clock, from, to);
    if (tree.status[i] === ERROR) figures.errors++;
    if (tree.stateCode(i) === RUNNING) figures.running++;
    if (took[i] > took[figures.longest]) figures.longest = i;
    addCall(figures, tree, i);
  }
  spread(tree, made, slot, chosen, took);
  return made.sort((a, b) => b.total - a.total || a.name - b.name);
}

function empty(name: number, kind: number, first: number): NameFigures {
  return {
    name,
    kind,
    count: 0,
    running: 0,
    errors: 0,
    total: 0,
    self: 0,
    p50: NaN,
    p95: NaN,
    tokens: 0,
    cost: NaN,
    unpriced: 0,
    calls: 0,
    longest: first,
  };
}

function addCall(figures: NameFigures, tree: Tree, i: number): void {
  const cost = tree.cost[i];
  if (cost === -1) return;
  figures.calls++;
  figures.tokens += tree.input[i] + tree.output[i];
  if (cost !== cost) figures.unpriced++;
  else figures.cost = figures.cost === figures.cost ? figures.cost + cost : cost;
}

/** Find the quantiles: durations by name, one name after the other in one column. */
function spread(
  tree: Tree,
  made: NameFigures[],
  slot: Int32Array,
  chosen: Uint8Array,
  took: Float64Array,
): void {
  const next = new Int32Array(made.length + 1);
  for (let k = 0; k < made.length; k++) next[k + 1] = next[k] + made[k].count;
  const durations = new Float64Array(next[made.length]);
  const at = next.slice();
  for (let i = 0; i < tree.count; i++) {
    if (chosen[i]) durations[at[slot[tree.nameOf[i]]]++] = took[i];
  }
  for (let k = 0; k < made.length; k++) {
    const own = durations.subarray(next[k], next[k + 1]);
    made[k].p50 = quantile(own, 0.5);
    made[k].p95 = quantile(own, 0.95);
  }
}

/** Sort figures by a column, what is not known last. Names go up first, figures down. */
export function sortBy(
  figures: readonly NameFigures[],
  column: Column,
  isAscending: boolean,
  strings: readonly string[],
): NameFigures[] {
  const sign = isAscending ? 1 : -1;
  return [...figures].sort((a, b) => {
    if (column === "name") return sign * compareText(strings[a.name], strings[b.name]);
    const left = a[column];
    const right = b[column];
    if (left !== left || right !== right) return Number(left !== left) - Number(right !== right);
    return sign * (left - right) || b.total - a.total;
  });
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
