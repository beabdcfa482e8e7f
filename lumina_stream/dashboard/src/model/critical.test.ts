import { expect, test } from "vitest";

import { criticalPath, oldestOpenLeaf, pathTo } from "./critical";
import { sketch } from "./sketch";
import type { Sketched } from "./sketch";
import { clockAt } from "./times";
import { NONE } from "./tree";

function critical(spans: Sketched[]): string[] {
  const tree = sketch(spans);
  const path = criticalPath(tree, tree.root, clockAt(200));
  return path.span.map((i, k) => `${spans[i].name} ${path.from[k]}-${path.to[k]}`);
}

test("one after the other, with the parent's own time between", () => {
  expect(
    critical([
      { name: "root", from: 0, to: 100 },
      { name: "a", in: 0, from: 10, to: 40 },
      { name: "b", in: 0, from: 50, to: 90 },
    ]),
  ).toEqual(["root 0-10", "a 10-40", "root 40-50", "b 50-90", "root 90-100"]);
});

test("of parallel children the one that ended last was waited for", () => {
  expect(
    critical([
      { name: "root", from: 0, to: 100 },
      { name: "short", in: 0, from: 10, to: 40 },
      { name: "long", in: 0, from: 10, to: 90 },
      { name: "inner", in: 2, from: 20, to: 80 },
    ]),
  ).toEqual(["root 0-10", "long 10-20", "inner 20-80", "long 80-90", "root 90-100"]);
});

test("what overlaps the path was not waited for", () => {
  expect(
    critical([
      { name: "root", from: 0, to: 100 },
      { name: "a", in: 0, from: 0, to: 60 },
      { name: "b", in: 0, from: 50, to: 100 },
      { name: "c", in: 0, from: 10, to: 45 },
    ]),
  ).toEqual(["root 0-10", "c 10-45", "root 45-50", "b 50-100"]);
});

test("a child that outlives its parent was not waited for, unless their clocks may differ", () => {
  const spans = [
    { name: "root", from: 0, to: 100 },
    { name: "in time", in: 0, from: 0, to: 50 },
    { name: "late", in: 0, from: 40, to: 120 },
  ];
  expect(critical(spans)).toEqual(["in time 0-50", "root 50-100"]);
  expect(
    critical(spans.map((span) => (span.name === "late" ? { ...span, by: "b" } : span))),
  ).toEqual(["root 0-40", "late 40-100"]);
});

test("spans without a length are not on it, and the path covers the root without a gap", () => {
  const spans = [
    { name: "root", from: 0, to: 100 },
    { name: "zero", in: 0, from: 50, to: 50 },
    { name: "a", in: 0, from: 0, to: 50 },
  ];
  expect(critical(spans)).toEqual(["a 0-50", "root 50-100"]);
  expect(critical([{ name: "" }])).toEqual([]);
});

test("a chain of ten thousand", () => {
  const spans = Array.from({ length: 10_000 }, (_, k) => ({
    name: "deep",
    in: k ? k - 1 : undefined,
    from: k,
    to: 30_000 - k,
  }));
  const tree = sketch(spans);
  const path = criticalPath(tree, 0, clockAt(0));
  expect(path.span).toHaveLength(19_999);
  expect(path.has(9999)).toBe(true);
  expect(path.span.filter((i) => i === 0)).toHaveLength(2);
});

test("of a live trace: the way down to the span that has been open longest", () => {
  const spans = [
    { name: "root", from: 0 },
    { name: "done", in: 0, from: 1, to: 5 },
    { name: "waits", in: 0, from: 10 },
    { name: "newer", in: 0, from: 30 },
    { name: "oldest leaf", in: 2, from: 20 },
    { name: "lost", in: 0, from: 2, by: "b" },
  ];
  const tree = sketch(spans, "b");
  const leaf = oldestOpenLeaf(tree, tree.unended());
  expect(leaf).toBe(4);
  const path = pathTo(tree, leaf, clockAt(50));
  expect(path.span.map((i, k) => `${spans[i].name} ${path.from[k]}-${path.to[k]}`)).toEqual([
    "root 0-10",
    "waits 10-20",
    "oldest leaf 20-50",
  ]);
  expect(oldestOpenLeaf(sketch(spans.slice(0, 0)), new Int32Array(0))).toBe(NONE);
});
