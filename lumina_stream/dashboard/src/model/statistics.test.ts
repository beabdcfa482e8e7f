import { expect, test } from "vitest";

import { sketch } from "./sketch";
import type { Sketched } from "./sketch";
import { sortBy, statistics } from "./statistics";
import { clockAt, durationOf, endOf, selfTime } from "./times";

const SPANS: Sketched[] = [
  { name: "root", from: 0, to: 100 },
  { name: "ask", in: 0, from: 10, to: 40, kind: "llm" },
  { name: "ask", in: 0, from: 30, to: 60, kind: "llm", status: "error" },
  { name: "embed", in: 1, from: 15, to: 20 },
  { name: "late", in: 0, from: 90, to: 130 },
  { name: "open", in: 0, from: 95 },
  { name: "" },
];

test("when a span ends, by its state", () => {
  const tree = sketch([{ name: "a", from: 0, to: 5 }, { name: "b", from: 5 }, { name: "" }]);
  expect([0, 1, 2].map((i) => endOf(tree, i, clockAt(50)))).toEqual([5, 50, NaN]);
  expect(endOf(tree, 1, clockAt(2))).toBe(5);
  expect(endOf(tree, 1, { now: 50, ahead: () => 7 })).toBe(57);
  const lost = sketch([{ name: "c", from: 5 }], "a");
  expect(endOf(lost, 0, clockAt(500))).toBe(60);
  expect(durationOf(sketch([{ name: "x", from: 9, to: 5 }]), 0, clockAt(0))).toBe(0);
});

test("self time is what no child covers, however children overlap or outlive", () => {
  const tree = sketch(SPANS);
  const self = (i: number, from?: number, to?: number) => selfTime(tree, i, clockAt(120), from, to);
  expect(self(0)).toBe(100 - 50 - 10);
  expect(self(1)).toBe(25);
  expect(self(4)).toBe(40);
  expect(self(5)).toBe(25);
  expect(self(6)).toBe(0);
  expect(self(0, 5, 35)).toBe(5);
  expect(self(0, 200, 300)).toBe(0);
});

test("figures by name", () => {
  const tree = sketch(SPANS);
  tree.setUsage([
    [tree.id(1), 100, 20, 5],
    [tree.id(2), 10, 0, null],
  ]);
  const found = statistics(tree, clockAt(120));
  expect(found.map(({ name }) => tree.strings[name])).toEqual([
    "root",
    "ask",
    "late",
    "open",
    "embed",
  ]);
  expect(found[1]).toMatchObject({
    count: 2,
    running: 0,
    errors: 1,
    total: 60,
    self: 55,
    p50: 30,
    p95: 30,
    tokens: 130,
    cost: 5,
    unpriced: 1,
    longest: 1,
  });
  expect(found[3]).toMatchObject({ running: 1, total: 25, cost: NaN });
});

test("figures of a stretch of time: what touches it, and only what lies in it", () => {
  const tree = sketch(SPANS);
  const found = statistics(tree, clockAt(120), { from: 18, to: 32 });
  expect(found.map((of) => [tree.strings[of.name], of.count, of.total, of.self])).toEqual([
    ["ask", 2, 16, 14],
    ["root", 1, 14, 0],
    ["embed", 1, 2, 2],
  ]);
});

test("sorted by any column, what is not known last", () => {
  const tree = sketch(SPANS);
  tree.setUsage([[tree.id(1), 1, 1, 5]]);
  const found = statistics(tree, clockAt(120));
  const names = (column: Parameters<typeof sortBy>[1], up: boolean) =>
    sortBy(found, column, up, tree.strings).map(({ name }) => tree.strings[name]);
  expect(names("name", true)).toEqual(["ask", "embed", "late", "open", "root"]);
  expect(names("count", false)[0]).toBe("ask");
  expect(names("cost", false)[0]).toBe("ask");
  expect(names("cost", true)[0]).toBe("ask");
  expect(names("self", true)[0]).toBe("embed");
});
