// What of a tree a person has folded: collapsed spans, opened density rows. By span numbers, for
// speed; carried over by id when another tree of the same trace takes the first one's place.

import { NONE } from "./tree";
import type { Tree } from "./tree";

/** The key of the siblings of one name below one parent (NONE: the roots). */
export function groupKey(parent: number, name: number): number {
  return (parent + 1) * 2 ** 24 + name;
}

function splitKey(key: number): [parent: number, name: number] {
  return [Math.floor(key / 2 ** 24) - 1, key % 2 ** 24];
}

export class Folding {
  /** Spans at this depth and deeper are collapsed, unless they are in `other`. */
  limit = Infinity;
  /** Spans that are not as `limit` has them. */
  private other = new Set<number>();
  private opened = new Set<number>();
  /** Spans that are never put into a density row: somebody went to them. */
  private kept = new Set<number>();
  /** Counts up with each change. */
  version = 0;

  isCollapsed(i: number, depth: number): boolean {
    return depth >= this.limit !== this.other.has(i);
  }

  /** True where no span was singled out: `limit` says all. */
  get isPlain(): boolean {
    return this.other.size === 0;
  }

  toggle(i: number): void {
    if (!this.other.delete(i)) this.other.add(i);
    this.version++;
  }

  isOpened(group: number): boolean {
    return this.opened.has(group);
  }

  toggleGroup(group: number): void {
    if (!this.opened.delete(group)) this.opened.add(group);
    this.kept.clear();
    this.version++;
  }

  isKept(i: number): boolean {
    return this.kept.has(i);
  }

  /** Collapse everything from a depth on. */
  setLimit(limit: number): void {
    this.limit = limit;
    this.other.clear();
    this.version++;
  }

  /** Make sure that a span has a row of its own. */
  reveal(tree: Tree, i: number): void {
    if (!this.kept.has(i)) {
      this.kept.add(i);
      this.version++;
    }
    let depth = 0;
    for (let at = tree.parent[i]; at !== NONE; at = tree.parent[at]) depth++;
    for (let at = tree.parent[i]; at !== NONE; at = tree.parent[at]) {
      depth--;
      if (this.isCollapsed(at, depth)) this.toggle(at);
      if (!this.kept.has(at)) {
        this.kept.add(at);
        this.version++;
      }
    }
  }

  /** Say the same of another tree of the same trace; spans that it does not have are forgotten. */
  carry(from: Tree, to: Tree): void {
    const moved = (i: number) => (i === NONE ? NONE : i < from.count ? to.find(from.id(i)) : NONE);
    const all = (spans: Set<number>) => new Set([...spans].map(moved).filter((i) => i !== NONE));
    this.other = all(this.other);
    this.kept = all(this.kept);
    const opened = new Set<number>();
    for (const key of this.opened) {
      const [parent, name] = splitKey(key);
      const there = moved(parent);
      const spelled = to.strings.indexOf(from.strings[name]);
      if (spelled >= 0 && (there !== NONE || parent === NONE)) opened.add(groupKey(there, spelled));
    }
    this.opened = opened;
    this.version++;
  }
}
