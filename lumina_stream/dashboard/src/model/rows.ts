// The rows of the waterfall: which spans are to be seen, one below the other. Pure.
//
// A tree becomes a flat list, honouring what is collapsed. More than FOLD_MOST siblings of one name
// share one density row; those that failed, or have something below them that failed, keep rows of
// their own beneath it: errors are never folded away.

import type { Members } from "./density";
import { groupKey } from "./folding";
import type { Folding } from "./folding";
import { NONE } from "./tree";
import type { Tree } from "./tree";

/** So many siblings of one name still have a row each. */
export const FOLD_MOST = 20;
/** In `fold`: the row of what was lost. */
export const LOSS = -2;

/** Siblings of one name. */
export type Fold = {
  /** For `Folding`. */
  readonly key: number;
  /** Index of the name in the tree's strings. */
  readonly name: number;
  /** Where its spans are in the list of members. */
  readonly from: number;
  count: number;
  /** Its spans have rows of their own, below it. */
  readonly isOpen: boolean;
};

export class Rows {
  count = 0;
  // Columns, longer than `count`.
  /** The row's span; of a density row its first one; NONE of the row of losses. */
  span = new Int32Array(0);
  depth = new Int32Array(0);
  /** Index into `folds` of a density row; NONE of a span's row; LOSS. */
  fold = new Int32Array(0);
  /** Place among its siblings, from 1, and how many they are. */
  place = new Int32Array(0);
  among = new Int32Array(0);

  readonly folds: Fold[] = [];
  private members = new Int32Array(0);
  private memberCount = 0;
  /** Span -> its row; NONE: it has none; below that `HIDDEN - row`: it is in that density row. */
  private rowOf = new Int32Array(0);
  private spans = 0;

  // Rows that are still to be written, the next one on top: a span, or NONE - fold.
  private stack = new Int32Array(0);
  private stackDepth = new Int32Array(0);
  private stackPlace = new Int32Array(0);
  private stackAmong = new Int32Array(0);
  private height = 0;
  /** How many siblings have a name; all 0 between two parents. */
  private tally = new Int32Array(0);
  private foldOfName = new Int32Array(0);

  /** The spans of a density row. */
  membersOf(fold: number): Members {
    const { from, count } = this.folds[fold];
    return { list: this.members, from, count };
  }

  /** The row that shows a span: its own, or that of what it is folded into; NONE: none so far. */
  rowFor(tree: Tree, i: number): number {
    for (let at = i; at !== NONE; at = tree.parent[at]) {
      const row = at < this.spans ? this.rowOf[at] : NONE;
      if (row !== NONE) return row < NONE ? HIDDEN - row : row;
    }
    return NONE;
  }

  /** The span's own row, or NONE. */
  ownRow(i: number): number {
    return i >= 0 && i < this.spans && this.rowOf[i] >= 0 ? this.rowOf[i] : NONE;
  }

  /** Whether what is below a row is hidden; undefined where there is nothing below. */
  isCollapsed(tree: Tree, folding: Folding, row: number): boolean | undefined {
    const fold = this.fold[row];
    if (fold >= 0) return !this.folds[fold].isOpen;
    const i = this.span[row];
    if (i === NONE || tree.firstChild[i] === NONE) return undefined;
    return folding.isCollapsed(i, this.depth[row]);
  }

  /** The row that this one is below of in the tree; NONE at the top. */
  above(row: number): number {
    const depth = this.depth[row];
    for (let at = row - 1; at >= 0; at--) if (this.depth[at] < depth) return at;
    return NONE;
  }

  /** Lay the rows anew. O(spans); the tree has to be settled. */
  build(tree: Tree, folding: Folding): void {
    this.spans = tree.count;
    this.rowOf = room(this.rowOf, this.spans);
    this.rowOf.fill(NONE, 0, this.spans);
    this.tally = room(this.tally, tree.strings.length);
    this.foldOfName = room(this.foldOfName, tree.strings.length);
    this.folds.length = 0;
    this.memberCount = 0;
    this.count = 0;
    if (tree.losses.length > 0) {
      this.reserve();
      this.write(NONE, 0, LOSS, 1, 1);
    }
    this.push(tree, folding, tree.firstRoot, tree.lastRoot, tree.rootCount, NONE, 0);
    while (this.height > 0) {
      const item = this.stack[--this.height];
      const depth = this.stackDepth[this.height];
      this.reserve();
      if (item < NONE) this.writeFold(NONE - 1 - item, depth);
      else {
        this.rowOf[item] = this.count;
        this.write(item, depth, NONE, this.stackPlace[this.height], this.stackAmong[this.height]);
        const first = tree.firstChild[item];
        if (first !== NONE && !folding.isCollapsed(item, depth)) {
          this.push(
            tree,
            folding,
            first,
            tree.lastChild[item],
            tree.childCount[item],
            item,
            depth + 1,
          );
        }
      }
    }
  }

  private write(span: number, depth: number, fold: number, place: number, among: number): void {
    const row = this.count++;
    this.span[row] = span;
    this.depth[row] = depth;
    this.fold[row] = fold;
    this.place[row] = place;
    this.among[row] = among;
  }

  private writeFold(index: number, depth: number): void {
    const fold = this.folds[index];
    const row = this.count;
    const place = this.stackPlace[this.height];
    this.write(this.members[fold.from], depth, index, place, this.stackAmong[this.height]);
    if (fold.isOpen) {
      this.reserveStack(fold.count);
      for (let k = fold.count - 1; k >= 0; k--) {
        this.pushOne(this.members[fold.from + k], depth + 1, k + 1, fold.count);
      }
    } else {
      for (let k = fold.from; k < fold.from + fold.count; k++) {
        this.rowOf[this.members[k]] = HIDDEN - row;
      }
    }
  }

  /** Have siblings written next: the children of `parent`, or the roots. */
  private push(
    tree: Tree,
    folding: Folding,
    first: number,
    last: number,
    count: number,
    parent: number,
    depth: number,
  ): void {
    this.reserveStack(count + 1);
    if (count <= FOLD_MOST) {
      for (let i = last, place = count; i !== NONE; i = tree.prevSibling[i], place--) {
        this.pushOne(i, depth, place, count);
      }
      return;
    }
    const { tally, foldOfName } = this;
    for (let i = first; i !== NONE; i = tree.nextSibling[i]) tally[tree.nameOf[i]]++;
    // Siblings are pushed in their order, then turned round: the first one goes on top.
    const bottom = this.height;
    for (let i = first; i !== NONE; i = tree.nextSibling[i]) {
      const name = tree.nameOf[i];
      const alike = tally[name];
      if (alike >= 0 && alike <= FOLD_MOST) {
        this.pushOne(i, depth, 0, 0);
        continue;
      }
      if (alike > 0) {
        const key = groupKey(parent, name);
        const isOpen = folding.isOpened(key);
        this.members = room(this.members, this.memberCount + alike, true);
        foldOfName[name] = this.folds.length;
        this.folds.push({ key, name, from: this.memberCount, count: 0, isOpen });
        this.memberCount += alike;
        tally[name] = -1; // its row is there
        this.pushOne(NONE - 1 - foldOfName[name], depth, 0, 0);
      }
      const fold = this.folds[foldOfName[name]];
      this.members[fold.from + fold.count++] = i;
      if (!fold.isOpen && (tree.allErrors[i] > 0 || folding.isKept(i)))
        this.pushOne(i, depth, 0, 0);
    }
    for (let i = first; i !== NONE; i = tree.nextSibling[i]) tally[tree.nameOf[i]] = 0;
    this.turn(bottom, this.height - 1);
  }

  private pushOne(item: number, depth: number, place: number, among: number): void {
    const at = this.height++;
    this.stack[at] = item;
    this.stackDepth[at] = depth;
    this.stackPlace[at] = place;
    this.stackAmong[at] = among;
  }

  private turn(from: number, to: number): void {
    const among = to - from + 1;
    for (let low = from, high = to; low <= high; low++, high--) {
      const swap = this.stack[low];
      this.stack[low] = this.stack[high];
      this.stack[high] = swap;
    }
    for (let at = to, place = 1; at >= from; at--, place++) {
      this.stackPlace[at] = place;
      this.stackAmong[at] = among;
    }
  }

  private reserve(): void {
    const rows = this.count + 1;
    if (this.among.length >= rows) return;
    this.span = room(this.span, rows, true);
    this.depth = room(this.depth, rows, true);
    this.fold = room(this.fold, rows, true);
    this.place = room(this.place, rows, true);
    this.among = room(this.among, rows, true);
  }

  private reserveStack(more: number): void {
    // Besides its own row, a sibling may bring that of its name.
    const items = this.height + more * 2;
    if (this.stackAmong.length >= items) return;
    this.stack = room(this.stack, items, true);
    this.stackDepth = room(this.stackDepth, items, true);
    this.stackPlace = room(this.stackPlace, items, true);
    this.stackAmong = room(this.stackAmong, items, true);
  }
}

const HIDDEN = -2;

function room(
  column: Int32Array<ArrayBuffer>,
  length: number,
  keeps = false,
): Int32Array<ArrayBuffer> {
  if (column.length >= length) return column;
  const grown = new Int32Array(Math.max(64, Math.ceil(length * 1.5)));
  if (keeps) grown.set(column);
  return grown;
}
