import { expect, test } from "vitest";

import { Flame } from "./flame";
import { sketch } from "./sketch";
import type { Sketched } from "./sketch";
import { clockAt } from "./times";
import { NONE } from "./tree";

const SCALE = { from: 0, to: 100, width: 100 };

function built(spans: Sketched[], ...lost: string[]): Flame {
  const flame = new Flame();
  flame.build(sketch(spans, ...lost), clockAt(100));
  return flame;
}

function rows(spans: Sketched[]): number[] {
  const flame = built(spans);
  return spans.map((_, i) => flame.row[i]);
}

function drawn(flame: Flame, row: number, scale = SCALE, now = 100): [number, number, number][] {
  const found: [number, number, number][] = [];
  flame.visit(row, scale, now, (i, x, right) => found.push([i, x, right]));
  return found;
}

test("one after the other share a row, below their parent", () => {
  expect(
    rows([
      { name: "root", from: 0, to: 100 },
      { name: "a", in: 0, from: 0, to: 50 },
      { name: "b", in: 0, from: 50, to: 100 },
      { name: "b1", in: 2, from: 60, to: 70 },
    ]),
  ).toEqual([0, 1, 1, 2]);
});

test("what overlaps gets a lane of its own, below all that is in the lane before", () => {
  expect(
    rows([
      { name: "root", from: 0, to: 100 },
      { name: "a", in: 0, from: 0, to: 60 },
      { name: "a1", in: 1, from: 10, to: 50 },
      { name: "a2", in: 2, from: 20, to: 30 },
      { name: "b", in: 0, from: 50, to: 80 },
      { name: "b1", in: 4, from: 55, to: 60 },
      { name: "c", in: 0, from: 70, to: 90 }, // the first lane is free again
    ]),
  ).toEqual([0, 1, 2, 3, 4, 5, 1]);
});

test("a child that outlives its parent keeps the place below it", () => {
  expect(
    rows([
      { name: "root", from: 0, to: 100 },
      { name: "a", in: 0, from: 0, to: 20 },
      { name: "late", in: 1, from: 10, to: 50 },
      { name: "b", in: 0, from: 30, to: 60 }, // would be drawn above `late`
      { name: "b1", in: 3, from: 35, to: 40 },
    ]),
  ).toEqual([0, 1, 2, 3, 4]);
});

test("what is open lasts: nothing else gets its lane", () => {
  const spans = [
    { name: "root", from: 0 },
    { name: "open", in: 0, from: 10 },
    { name: "next", in: 0, from: 90, to: 95 },
  ];
  expect(rows(spans)).toEqual([0, 1, 2]);
  expect(drawn(built(spans), 1)).toEqual([[1, 10, 100]]);
  expect(drawn(built(spans), 1, SCALE, 30)).toEqual([[1, 10, 30]]);
});

test("roots side by side", () => {
  expect(
    rows([
      { name: "a", from: 0, to: 50 },
      { name: "a1", in: 0, from: 0, to: 10 },
      { name: "b", from: 20, to: 70 },
      { name: "c", from: 50, to: 60 },
    ]),
  ).toEqual([0, 1, 2, 0]);
});

test("a child begins no earlier than its parent", () => {
  const flame = built([
    { name: "root", from: 50, to: 100 },
    { name: "early", in: 0, from: 30, to: 60, by: "b" },
    { name: "long before", in: 0, from: 10, to: 20, by: "b" },
  ]);
  expect([flame.start[1], flame.end[1]]).toEqual([50, 60]);
  expect([flame.start[2], flame.end[2]]).toEqual([50, 50]);
});

test("a span that never started is as wide as what is below it; without that it is not drawn", () => {
  const flame = built([
    { name: "" },
    { name: "child", in: 0, from: 20, to: 30 },
    { name: "child", in: 0, from: 40, to: 60 },
    { name: "" },
  ]);
  expect([flame.start[0], flame.end[0], flame.row[1]]).toEqual([20, 60, 1]);
  expect(drawn(flame, 0).map(([i]) => i)).toEqual([0]);
});

test("boxes are drawn from one pixel column to the other", () => {
  const flame = built([
    { name: "root", from: 0, to: 100 },
    { name: "a", in: 0, from: 10.4, to: 20.6 },
    { name: "b", in: 0, from: 20.6, to: 21.6 },
  ]);
  expect(drawn(flame, 1)).toEqual([
    [1, 10, 21],
    [2, 21, 22],
  ]);
  expect(drawn(flame, 1, { from: 20.6, to: 21.6, width: 100 })).toEqual([
    [2, 0, 100], // the one before ends where the view begins: no column of it is to be seen
  ]);
});

test("what is narrower than a pixel is drawn together, and costs no more than its columns", () => {
  const crumbs = Array.from({ length: 10_000 }, (_, k) => ({
    name: "crumb",
    in: 0,
    from: 10 + k / 1000,
    to: 10 + (k + 0.5) / 1000,
  }));
  const flame = built([
    { name: "root", from: 0, to: 100 },
    ...crumbs,
    { name: "box", in: 0, from: 20, to: 30 },
    { name: "lone", in: 0, from: 50, to: 50.1 },
  ]);
  expect(drawn(flame, 1)).toEqual([
    [NONE, 10, 21],
    [10_001, 20, 30],
    [NONE, 50, 51],
  ]);
  // Zoomed in, each is a box.
  expect(drawn(flame, 1, { from: 10, to: 10.01, width: 100 })).toHaveLength(10);
});

test("the box at a place", () => {
  const flame = built([
    { name: "root", from: 0, to: 100 },
    { name: "a", in: 0, from: 10, to: 20 },
    { name: "b", in: 0, from: 30, to: 30 },
  ]);
  expect(flame.at(1, 15, 100, 0.5)).toBe(1);
  expect(flame.at(1, 25, 100, 0.5)).toBe(NONE);
  expect(flame.at(1, 30.4, 100, 0.5)).toBe(2);
  expect(flame.at(7, 15, 100, 0.5)).toBe(NONE);
});

test("ten thousand open spans have a lane each; ten thousand levels a row each", () => {
  const open = Array.from({ length: 10_000 }, (_, k) => ({ name: "open", in: 0, from: k }));
  expect(built([{ name: "root", from: 0 }, ...open]).rows).toBe(10_001);
  const deep = Array.from({ length: 10_000 }, (_, k) => ({
    name: "deep",
    in: k ? k - 1 : undefined,
    from: k,
    to: 30_000 - k,
  }));
  expect(built(deep).rows).toBe(10_000);
});

test("no two boxes of a row overlap, whatever the tree is", () => {
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  for (let round = 0; round < 50; round++) {
    const spans: Sketched[] = Array.from({ length: 60 }, (_, k) => {
      const from = Math.floor(random() * 100);
      const to = random() < 0.1 ? undefined : from + Math.floor(random() * 40);
      const parent = k && random() < 0.9 ? Math.floor(random() * k) : undefined;
      return random() < 0.1 ? { name: "" } : { name: "span", in: parent, from, to };
    });
    const flame = built(spans);
    for (let r = 0; r < flame.rows; r++) {
      const boxes = drawn(flame, r, { from: -1000, to: 1000, width: 2e6 }, 100)
        .map(([i]) => i)
        .filter((i) => i !== NONE);
      for (let k = 1; k < boxes.length; k++) {
        expect(flame.end[boxes[k - 1]]).toBeLessThanOrEqual(flame.start[boxes[k]]);
      }
    }
    spans.forEach((span, i) => {
      if (span.in !== undefined && spans[span.in].from !== undefined) {
        expect(flame.row[i]).toBeGreaterThan(flame.row[span.in]);
      }
    });
  }
});
