import { expect, test } from "vitest";

import { densityColumns, figures, memberAt, quantile } from "./density";
import { sketch } from "./sketch";
import type { Sketched } from "./sketch";
import { clockAt } from "./times";
import { NONE } from "./tree";

const SCALE = { from: 0, to: 10, width: 10 };

function columns(spans: Sketched[], now = 10): number[] {
  const tree = sketch(spans);
  const counted = new Int32Array(10);
  const list = Int32Array.from(spans, (_, i) => i);
  const most = densityColumns(
    tree,
    { list, from: 0, count: spans.length },
    clockAt(now),
    SCALE,
    counted,
  );
  expect(most).toBe(Math.max(...counted));
  return [...counted];
}

test("how many are open in each column: all that a span touches, one at least", () => {
  expect(
    columns([
      { name: "a", from: 0, to: 3 },
      { name: "b", from: 1.5, to: 2.5 },
      { name: "zero", from: 5, to: 5 },
      { name: "short", from: 6.2, to: 6.4 },
      { name: "open", from: 8 },
      { name: "" },
    ]),
  ).toEqual([1, 2, 2, 0, 0, 1, 1, 0, 1, 1]);
});

test("what begins or ends outside is counted inside", () => {
  expect(
    columns([
      { name: "around", from: -5, to: 15 },
      { name: "before", from: -5, to: 0 },
      { name: "after", from: 10, to: 12 },
      { name: "in", from: -1, to: 0.5 },
    ]),
  ).toEqual([2, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
});

test("what is said to have begun before its parent is counted where its parent begins", () => {
  const tree = sketch([
    { name: "parent", from: 4, to: 9 },
    { name: "a", in: 0, from: -100, to: -99 },
    { name: "b", in: 0, from: 2, to: 6 },
  ]);
  const counted = new Int32Array(10);
  const members = { list: Int32Array.of(1, 2), from: 0, count: 2 };
  densityColumns(tree, members, clockAt(10), SCALE, counted);
  expect([...counted]).toEqual([0, 0, 0, 0, 2, 1, 0, 0, 0, 0]);
});

test("figures of a density row", () => {
  const spans: Sketched[] = Array.from({ length: 100 }, (_, k) => ({
    name: "x",
    from: 0,
    to: 100 - k,
  }));
  spans[0].status = "error";
  spans.push({ name: "x", from: 10 }, { name: "x" });
  const tree = sketch(spans);
  const list = Int32Array.from(spans, (_, i) => i);
  const found = figures(tree, { list, from: 0, count: spans.length }, clockAt(1010));
  expect(found).toEqual({ count: 102, running: 1, errors: 1, p50: 51, p95: 96 });
});

test.each([
  [[], 0.5, NaN],
  [[7], 0.95, 7],
  [[3, 1, 2], 0.5, 2],
  [[4, 3, 2, 1], 0.5, 2],
  [[5, 5, 5, 5, 1], 0.95, 5],
])("the quantile of %j at %d is %d", (values, q, found) => {
  expect(quantile(Float64Array.from(values), q)).toBe(found);
});

test("quantiles agree with sorting", () => {
  let seed = 3;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  for (const size of [2, 3, 10, 101, 5000]) {
    const values = Float64Array.from({ length: size }, () => Math.floor(random() * size * 0.7));
    const sorted = values.slice().sort();
    for (const q of [0, 0.1, 0.5, 0.95, 1]) {
      expect(quantile(values, q)).toBe(sorted[Math.max(0, Math.ceil(size * q) - 1)]);
    }
  }
});

test("the member at a place is the one that began last of those open there, or the nearest", () => {
  const tree = sketch([
    { name: "x", from: 0, to: 50 },
    { name: "x", from: 10, to: 20 },
    { name: "x", from: 60, to: 70 },
  ]);
  const members = { list: Int32Array.from([0, 1, 2]), from: 0, count: 3 };
  const at = (time: number) => memberAt(tree, members, clockAt(100), time, 5);
  expect([at(15), at(30), at(53), at(57), at(55.5), at(80)]).toEqual([1, 0, 0, 2, 2, NONE]);
});
