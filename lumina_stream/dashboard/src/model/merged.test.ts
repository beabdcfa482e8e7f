import { expect, test } from "vitest";

import { Merged, WIDTH } from "./merged";
import type { Weight } from "./merged";
import { sketch } from "./sketch";
import { clockAt } from "./times";
import { NONE } from "./tree";
import type { Tree } from "./tree";

function built(tree: Tree, weight: Weight = "time"): Merged {
  const merged = new Merged();
  merged.build(tree, clockAt(100));
  merged.lay(weight);
  return merged;
}

/** A box a line: where it is, and what is in it. */
function seen(tree: Tree, merged: Merged, weight: Weight = "time"): string[] {
  const found: string[] = [];
  const scale = { from: 0, to: WIDTH, width: merged.sum[weight] };
  for (let r = 0; r < merged.rows; r++) {
    merged.visit(r, scale, Infinity, (node, x, right) => {
      if (node === NONE) return;
      const name = tree.strings[merged.name[node]];
      found.push(
        `${r} ${name} ${x}-${right} self ${merged.self[weight][node]} of ${merged.spans[node]}`,
      );
    });
  }
  return found;
}

const TREE = [
  { name: "root", from: 0, to: 100 },
  { name: "light", in: 0, from: 0, to: 10 },
  { name: "heavy", in: 0, from: 10, to: 40 },
  { name: "heavy", in: 0, from: 50, to: 90 },
  { name: "inner", in: 2, from: 20, to: 30 },
  { name: "inner", in: 3, from: 50, to: 60 },
  { name: "inner", in: 1, from: 5, to: 10 },
] as const;

test("spans of one name below one path are one box, the heaviest on the left", () => {
  const tree = sketch(TREE);
  expect(seen(tree, built(tree))).toEqual([
    "0 root 0-100 self 20 of 1",
    "1 heavy 0-70 self 50 of 2",
    "1 light 70-80 self 5 of 1",
    "2 inner 0-20 self 20 of 2",
    "2 inner 70-75 self 5 of 1",
  ]);
});

test("of spans side by side each counts in full, and their parent is as wide", () => {
  const tree = sketch([
    { name: "root", from: 0, to: 10 },
    { name: "task", in: 0, from: 0, to: 10 },
    { name: "task", in: 0, from: 0, to: 10 },
  ]);
  expect(seen(tree, built(tree))).toEqual(["0 root 0-20 self 0 of 1", "1 task 0-20 self 20 of 2"]);
});

test("by tokens and by cost: what each call adds itself", () => {
  const tree = sketch([
    { name: "root", from: 0, to: 10 },
    { name: "ask", in: 0, from: 0, to: 9 },
    { name: "embed", in: 0, from: 9, to: 10 },
    { name: "local", in: 0, from: 9, to: 10 },
  ]);
  tree.setUsage([
    [tree.id(1), 100, 50, 30],
    [tree.id(2), 1000, 0, 7],
    [tree.id(3), 10, 0, null],
  ]);
  expect(seen(tree, built(tree, "tokens"), "tokens")).toEqual([
    "0 root 0-1160 self 0 of 1",
    "1 embed 0-1000 self 1000 of 1",
    "1 ask 1000-1150 self 150 of 1",
    "1 local 1150-1160 self 10 of 1",
  ]);
  expect(seen(tree, built(tree, "cost"), "cost")).toEqual([
    "0 root 0-37 self 0 of 1",
    "1 ask 0-30 self 30 of 1",
    "1 embed 30-37 self 7 of 1",
  ]);
});

test("a box leads to its longest span, and a span to its box", () => {
  const tree = sketch(TREE);
  const merged = built(tree);
  const heavy = merged.nodeFor(2);
  expect(merged.nodeFor(3)).toBe(heavy);
  expect(merged.longest[heavy]).toBe(3);
  expect(merged.nodeFor(4)).not.toBe(merged.nodeFor(6));
  expect(merged.nodeFor(99)).toBe(NONE);
});

test("an open span counts with the time it has taken", () => {
  const tree = sketch([{ name: "open", from: 40 }]);
  expect(built(tree).sum.time).toBe(60);
});

test("many names, and building again", () => {
  const spans = Array.from({ length: 1000 }, (_, k) => ({ name: `n${k}`, from: 0, to: k + 1 }));
  const tree = sketch(spans);
  const merged = built(tree);
  expect(merged.count).toBe(1000);
  expect(seen(tree, merged)[0]).toBe("0 n999 0-1000 self 1000 of 1");
  merged.build(tree, clockAt(0));
  merged.lay("time");
  expect(merged.count).toBe(1000);
  expect(merged.sum.time).toBe((1000 * 1001) / 2);
});
