import { expect, test } from "vitest";

import { axisStart, traceEnd, traceStart } from "./bounds";
import { sketch } from "./sketch";

const S = 1e9;

test("from the first start to the last end, which need not be the root's", () => {
  const tree = sketch([
    { name: "root", from: 10 * S, to: 20 * S },
    { name: "early", in: 0, from: 5 * S, to: 12 * S },
    { name: "late", in: 0, from: 15 * S, to: 30 * S },
  ]);
  expect([traceStart(tree), traceEnd(tree)]).toEqual([5 * S, 30 * S]);
});

test("the axis begins with the first root: what is said to be before it is drawn in it", () => {
  const tree = sketch([
    { name: "root", from: 10 * S, to: 20 * S },
    { name: "its clock is behind", in: 0, from: -360 * S, to: -350 * S },
  ]);
  expect([axisStart(tree), traceStart(tree)]).toEqual([10 * S, -360 * S]);
  expect(axisStart(sketch([{ name: "" }, { name: "child", in: 0, from: 7 }]))).toBe(7);
  expect(axisStart(sketch([{ name: "" }]))).toBe(NaN);
});

test("where the root is all of it, its own times count: they are not rounded", () => {
  const tree = sketch([{ name: "root", from: 100, to: 900 }]);
  tree.baseNs = 2 ** 60; // so far from 0 that absolute times are rounded to 256 ns
  expect([traceStart(tree), traceEnd(tree)]).toEqual([100, 900]);
});

test("what broke off ends with its last sign of life; what has not begun has no bounds", () => {
  const lost = sketch([{ name: "root", from: 10 }], "a");
  expect([traceStart(lost), traceEnd(lost)]).toEqual([10, 60]);
  expect([traceStart(sketch([{ name: "" }])), traceEnd(sketch([]))]).toEqual([NaN, NaN]);
});
