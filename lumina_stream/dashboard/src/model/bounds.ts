// When a trace begins and ends, as its tree has it so far. Pure.

import { NONE } from "./tree";
import type { Tree } from "./tree";

/** Absolute times are rounded to 256 ns; the root knows its own ones exactly. */
const ROUNDING_NS = 512;

/** When the first span started, ns since the tree's base; NaN while none has. */
export function traceStart(tree: Tree): number {
  if (tree.startNs === 0) return NaN;
  return exactly(tree.startNs - tree.baseNs, tree.root === NONE ? NaN : tree.start[tree.root]);
}

/** Where the axis begins: no span is drawn before the first root, whatever its clock says. NaN while
 *  nothing has started. */
export function axisStart(tree: Tree): number {
  const first = tree.root === NONE ? NONE : tree.firstRoot; // asked for the root, they are in order
  const start = first === NONE ? NaN : tree.start[first];
  return start === start ? start : traceStart(tree);
}

/** The last end or sign of life, ns since the tree's base; NaN while nothing has started. */
export function traceEnd(tree: Tree): number {
  if (tree.startNs === 0) return NaN;
  const end = Math.max(tree.endNs, tree.lastSeenNs, tree.startNs) - tree.baseNs;
  return exactly(end, tree.root === NONE ? NaN : tree.end[tree.root]);
}

function exactly(rounded: number, exact: number): number {
  return Math.abs(rounded - exact) <= ROUNDING_NS ? exact : rounded;
}
