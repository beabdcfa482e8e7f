// Who hangs from whom, and in which order: by start, then by span id; those not started first.
//
// A child that comes in order, or nearly, is put where it belongs at once. One that belongs further
// back waits at the end, and `order` sorts its siblings.

import { Columns, NONE } from "./columns";

/** How many siblings a new one is carried past; most come in the order of their start. */
const STEPS = 32;

export class Siblings extends Columns {
  /** Wall-clock ns of time 0; 0 until something is known. */
  baseNs = 0;
  /** Roots are linked by nextSibling as children are. */
  firstRoot = NONE;
  lastRoot = NONE;
  rootCount = 0;
  /** Counts up with every change of structure, of a start or of a name. */
  shape = 0;

  /** Parents whose children are not in order; NONE: the roots. */
  private readonly unordered = new Set<number>();

  /** Below 0 if `a` comes before `b` among siblings. */
  compare(a: number, b: number): number {
    const startA = this.start[a];
    const startB = this.start[b];
    // What has not started sorts as if at the epoch; as times are told from the base, that is
    // -baseNs.
    const keyA = startA === startA ? startA : -this.baseNs;
    const keyB = startB === startB ? startB : -this.baseNs;
    return keyA < keyB ? -1 : keyA > keyB ? 1 : this.ids.compare(a, b);
  }

  /** Hang a span that hangs nowhere from `parent`, or make it a root. */
  protected insert(i: number, parent: number): void {
    this.shape++;
    let after = parent === NONE ? this.lastRoot : this.lastChild[parent];
    let steps = 0;
    while (after !== NONE && this.compare(after, i) > 0) {
      if (++steps > STEPS) {
        this.unordered.add(parent);
        after = parent === NONE ? this.lastRoot : this.lastChild[parent];
        break;
      }
      after = this.prevSibling[after];
    }
    const before = after === NONE ? this.first(parent) : this.nextSibling[after];
    this.parent[i] = parent;
    this.prevSibling[i] = after;
    this.nextSibling[i] = before;
    if (after !== NONE) this.nextSibling[after] = i;
    else this.setFirst(parent, i);
    if (before !== NONE) this.prevSibling[before] = i;
    else this.setLast(parent, i);
    if (parent === NONE) this.rootCount++;
    else this.childCount[parent]++;
  }

  /** Take a span from where it hangs; it hangs nowhere then. */
  protected remove(i: number): void {
    this.shape++;
    const parent = this.parent[i];
    const before = this.prevSibling[i];
    const after = this.nextSibling[i];
    if (before !== NONE) this.nextSibling[before] = after;
    else this.setFirst(parent, after);
    if (after !== NONE) this.prevSibling[after] = before;
    else this.setLast(parent, before);
    if (parent === NONE) this.rootCount--;
    else this.childCount[parent]--;
    this.parent[i] = NONE;
  }

  /** Put a span in its place again after its start changed. */
  protected reorder(i: number): void {
    const before = this.prevSibling[i];
    const after = this.nextSibling[i];
    this.shape++;
    if (before !== NONE && this.compare(before, i) > 0) this.relink(i);
    else if (after !== NONE && this.compare(after, i) < 0) this.relink(i);
  }

  /** Sort what waits to be. */
  protected order(): void {
    if (this.unordered.size === 0) return;
    for (const parent of this.unordered) this.sort(parent);
    this.unordered.clear();
    this.shape++;
  }

  protected override copy(other: Siblings): void {
    super.copy(other);
    this.baseNs = other.baseNs;
    this.firstRoot = other.firstRoot;
    this.lastRoot = other.lastRoot;
    this.rootCount = other.rootCount;
    this.shape = other.shape;
    for (const parent of other.unordered) this.unordered.add(parent);
  }

  private relink(i: number): void {
    const parent = this.parent[i];
    this.remove(i);
    this.insert(i, parent);
  }

  private sort(parent: number): void {
    const children: number[] = [];
    for (let i = this.first(parent); i !== NONE; i = this.nextSibling[i]) children.push(i);
    children.sort((a, b) => this.compare(a, b));
    let before = NONE;
    for (const i of children) {
      this.prevSibling[i] = before;
      if (before !== NONE) this.nextSibling[before] = i;
      else this.setFirst(parent, i);
      before = i;
    }
    if (before !== NONE) this.nextSibling[before] = NONE;
    this.setLast(parent, before);
  }

  private first(parent: number): number {
    return parent === NONE ? this.firstRoot : this.firstChild[parent];
  }

  private setFirst(parent: number, i: number): void {
    if (parent === NONE) this.firstRoot = i;
    else this.firstChild[parent] = i;
  }

  private setLast(parent: number, i: number): void {
    if (parent === NONE) this.lastRoot = i;
    else this.lastChild[parent] = i;
  }
}
