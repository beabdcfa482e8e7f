import { expect, test } from "vitest";

import { Bar, CLOSED, DASHED, OPEN, beside, drawnStart, place } from "./geometry";
import { sketch } from "./sketch";
import type { Sketched } from "./sketch";
import { clockAt } from "./times";

const SCALE = { from: 0, to: 100, width: 200 }; // 2 px a ns

function bars(spans: Sketched[], { now = 80, until = 90, lost = [] as string[], grain = 1 } = {}) {
  const tree = sketch(spans, ...lost);
  return spans.map((_, i) => {
    const bar = place(new Bar(), tree, i, drawnStart(tree, i), until, clockAt(now), SCALE, grain);
    return { ...bar, right: bar.right };
  });
}

test("parallel children stand where they ran", () => {
  const [root, left, right] = bars([
    { name: "root", from: 0, to: 100 },
    { name: "left", in: 0, from: 10, to: 60 },
    { name: "right", in: 0, from: 40, to: 90 },
  ]);
  expect([root.x, root.right]).toEqual([0, 200]);
  expect([left.x, left.right]).toEqual([20, 120]);
  expect([right.x, right.right]).toEqual([80, 180]);
  expect([root, left, right].every(({ end, skewed }) => end === CLOSED && !skewed)).toBe(true);
});

test("an open span ends now, and its end is open", () => {
  const [bar] = bars([{ name: "open", from: 10 }], { now: 33 });
  expect([bar.x, bar.right, bar.end]).toEqual([20, 66, OPEN]);
});

test("a span without a length is two pixels wide", () => {
  const [zero, short] = bars([
    { name: "zero", from: 50, to: 50 },
    { name: "short", from: 50, to: 50.4 },
  ]);
  expect([zero.x, zero.width]).toEqual([100, 2]);
  expect([short.x, short.width]).toEqual([100, 2]);
});

test("edges are at whole device pixels", () => {
  const spans = [{ name: "span", from: 10.1, to: 20.2 }];
  expect(bars(spans)[0]).toMatchObject({ x: 20, right: 40 });
  const [bar] = bars(spans, { grain: 0.5 });
  expect([bar.x, bar.right]).toEqual([20, 40.5]);
});

test("a child outlives its parent", () => {
  const [, child] = bars([
    { name: "parent", from: 0, to: 50 },
    { name: "child", in: 0, from: 40, to: 70 },
  ]);
  expect([child.x, child.right, child.skewed]).toEqual([80, 140, false]);
});

test("a child does not begin before its parent, nor before any span above it: it is moved and marked", () => {
  const [, child, grandchild, before] = bars([
    { name: "parent", from: 30, to: 80 },
    { name: "child", in: 0, from: 20, to: 60, by: "b" },
    { name: "grandchild", in: 1, from: 25, to: 40, by: "b" },
    { name: "before", in: 0, from: 5, to: 10, by: "b" },
  ]);
  expect([child.x, child.right, child.skewed]).toEqual([60, 120, true]);
  expect([grandchild.x, grandchild.right, grandchild.skewed]).toEqual([60, 80, true]);
  expect([before.x, before.width, before.skewed]).toEqual([60, 2, true]);
});

test("what a producer whose clock is ahead has open ends at the now-line", () => {
  const tree = sketch([{ name: "ahead", from: 30 }]);
  const ahead = { now: 50, ahead: () => 100e6 };
  const bar = place(new Bar(), tree, 0, 30, 50, ahead, SCALE);
  expect([bar.x, bar.right, bar.skewed]).toEqual([60, 100, true]);
  const future = place(new Bar(), tree, 0, 30, 20, { now: 20, ahead: () => 100e6 }, SCALE);
  expect([future.x, future.width, future.skewed]).toEqual([40, 2, true]);
});

test("an interrupted span is hatched from its last sign of life to the end of the trace", () => {
  const [broken, over] = bars(
    [
      { name: "broken", from: 10, by: "b" }, // last seen at 60
      { name: "over", from: 10, to: 30, by: "b" },
    ],
    { lost: ["b"], until: 90 },
  );
  expect([broken.x, broken.hatch, broken.right, broken.end]).toEqual([20, 120, 180, DASHED]);
  expect([over.right, over.end, over.hatch]).toEqual([60, CLOSED, NaN]);
  const [last] = bars([{ name: "broken", from: 10, by: "b" }], { lost: ["b"], until: 60 });
  expect([last.hatch, last.right]).toEqual([120, 132]); // wide enough to be seen
});

test("a span that never started has no bar", () => {
  expect(bars([{ name: "" }])[0]).toMatchObject({ isMissing: true, width: 0 });
});

test("bars far outside keep their side", () => {
  const tree = sketch([
    { name: "before", from: 0, to: 10 },
    { name: "after", from: 90, to: 100 },
  ]);
  const zoomed = { from: 50, to: 50 + 1e-6, width: 200 };
  const before = place(new Bar(), tree, 0, 0, 100, clockAt(100), zoomed);
  expect(before.right).toBeLessThan(-1000);
  const after = place(new Bar(), tree, 1, 90, 100, clockAt(100), zoomed);
  expect(after.x).toBeGreaterThan(1000);
});

test.each([
  ["right of the bar", 10, 50, 40, { x: 56, align: "left" }],
  ["left of it where it would overflow", 100, 190, 40, { x: 94, align: "right" }],
  ["on it where both would", 20, 190, 40, { x: 184, align: "right" }],
  ["on what is to be seen of it", -50, 500, 40, { x: 194, align: "right" }],
  ["at the left edge", -50, -20, 40, { x: 6, align: "left" }],
  ["at the right edge", 250, 300, 40, { x: 194, align: "right" }],
])("what is written stands %s", (_, left, right, text, found) => {
  expect(beside(left, right, text, 200)).toEqual(found);
});
