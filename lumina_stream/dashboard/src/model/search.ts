// Find in a trace: by name, kind, service, id, and by the attributes that are here. Pure.

import { NONE } from "./tree";
import type { Tree } from "./tree";

/** Spans from the top of the tree to the bottom, as rows would show them if nothing were folded. */
export class Matches {
  private constructor(
    /** Those that match, from top to bottom. */
    readonly spans: Int32Array,
    /** Span -> where it stands in the whole tree. */
    private readonly rank: Int32Array,
  ) {}

  get count(): number {
    return this.spans.length;
  }

  /** Look at all spans. O(spans). */
  static of(tree: Tree, matches: (i: number) => boolean): Matches {
    const rank = new Int32Array(tree.count);
    const found: number[] = [];
    let walked = 0;
    let i = tree.firstRoot;
    while (i !== NONE) {
      rank[i] = walked++;
      if (matches(i)) found.push(i);
      let next = tree.firstChild[i];
      let at = i;
      while (next === NONE && at !== NONE) {
        next = tree.nextSibling[at];
        at = tree.parent[at];
      }
      i = next;
    }
    return new Matches(Int32Array.from(found), rank);
  }

  /** The match after `from` in a direction (1: down, -1: up), round the end to the beginning. */
  next(from: number, direction: 1 | -1): number {
    if (this.count === 0) return NONE;
    const place = this.placeOf(from);
    const isOn = place < this.count && this.spans[place] === from;
    const to = direction === 1 ? (isOn ? place + 1 : place) : place - 1;
    return this.spans[(to + this.count) % this.count];
  }

  /** Which match a span is, from 0; NONE: it is none. */
  indexOf(i: number): number {
    const place = this.placeOf(i);
    return place < this.count && this.spans[place] === i ? place : NONE;
  }

  has(i: number): boolean {
    return this.indexOf(i) !== NONE;
  }

  /** How many matches stand before a span; none before NONE. */
  private placeOf(i: number): number {
    if (i < 0 || i >= this.rank.length) return 0;
    const rank = this.rank[i];
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rank[this.spans[middle]] < rank) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Find what a person typed: text in names, kinds and services, a span id's beginning, text in what
 *  is known of attributes. Upper and lower case are the same. */
export function search(tree: Tree, query: string): Matches {
  const text = query.trim().toLowerCase();
  if (text === "") return Matches.of(tree, () => false);
  const inStrings = new Uint8Array(tree.strings.length);
  tree.strings.forEach((string, k) => (inStrings[k] = string.toLowerCase().includes(text) ? 1 : 0));
  const inServices = tree.producers.map(({ service }) => service.toLowerCase().includes(text));
  const mayBeId = /^[0-9a-f]{3,16}$/.test(text);
  return Matches.of(
    tree,
    (i) =>
      inStrings[tree.nameOf[i]] === 1 ||
      (tree.kindOf[i] !== NONE && inStrings[tree.kindOf[i]] === 1) ||
      (tree.producerOf[i] !== NONE && inServices[tree.producerOf[i]]) ||
      (mayBeId && tree.id(i).startsWith(text)) ||
      inAttributes(tree, i, text),
  );
}

function inAttributes(tree: Tree, i: number, text: string): boolean {
  const attributes = tree.detail(i)?.attributes;
  if (!attributes) return false;
  for (const [key, value] of attributes) {
    if (key.toLowerCase().includes(text)) return true;
    const written = typeof value === "string" ? value : JSON.stringify(value);
    if (written?.toLowerCase().includes(text)) return true;
  }
  return false;
}
