import { expect, test } from "vitest";

import { Axis, FIRST_NS, fromPx, grownEnd, niceStep, tickLabel, ticks, toPx } from "./axis";

const MS = 1e6;
const S = 1e9;
const MINUTE = 60 * S;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test("a moment and its pixel are each other's inverse", () => {
  const scale = { from: 100, to: 300, width: 1000 };
  expect(toPx(scale, 100)).toBe(0);
  expect(toPx(scale, 300)).toBe(1000);
  expect(toPx(scale, 150)).toBe(250);
  expect(fromPx(scale, 250)).toBe(150);
});

test.each([
  [0.3, 1],
  [1, 1],
  [1.1, 2],
  [3, 5],
  [6, 10],
  [0.2 * S, 0.2 * S],
  [0.21 * S, 0.5 * S],
  [S, S],
  [1.1 * S, 2 * S],
  [6 * S, 10 * S],
  [11 * S, 15 * S],
  [31 * S, MINUTE],
  [16 * MINUTE, 30 * MINUTE],
  [31 * MINUTE, HOUR],
  [7 * HOUR, 12 * HOUR],
  [13 * HOUR, DAY],
  [3 * DAY, 5 * DAY],
])("the round step of at least %d ns is %d", (least, step) => {
  expect(niceStep(least)).toBeCloseTo(step, 6);
});

test("ticks stand at round times since the beginning, no closer than asked for", () => {
  const { ticks: made, base } = ticks({ from: 0, to: S, width: 1000 }, 0, 100);
  expect(base).toBeNull();
  expect(made).toHaveLength(11);
  expect(made.map(({ label }) => label).slice(0, 3)).toEqual(["0", "100 ms", "200 ms"]);
  expect(made[10]).toEqual({ at: S, label: "1.0 s" });
  expect(made[3].at).toBe(300 * MS);
});

test("the beginning may be anywhere", () => {
  const { ticks: made } = ticks({ from: 7, to: 107, width: 500 }, 7, 100);
  expect(made.map(({ at, label }) => [at, label])).toEqual([
    [7, "0"],
    [27, "20 ns"],
    [47, "40 ns"],
    [67, "60 ns"],
    [87, "80 ns"],
    [107, "100 ns"],
  ]);
});

test("deep in a long trace labels count from a moment that is written once", () => {
  const from = DAY + 3 * MINUTE + 12_345_678_900;
  const { ticks: made, base } = ticks({ from, to: from + 1000, width: 1000 }, 0, 100);
  expect(base!.at).toBeLessThanOrEqual(from);
  expect(made.every(({ label }) => /^\+\d+(\.\d+)? (ns|µs)$/.test(label))).toBe(true);
  expect(new Set(made.map(({ label }) => label)).size).toBe(made.length);
});

test.each([
  [0, 1, "0"],
  [-250 * MS, 50 * MS, "−250 ms"],
  [1500 * MS, 500 * MS, "1.5 s"],
  [2 * S, 500 * MS, "2.0 s"],
  [2 * S, S, "2 s"],
  [90 * S, 30 * S, "1 m 30 s"],
  [90 * S + 100 * MS, 100 * MS, "1 m 30.1 s"],
  [5 * MINUTE, MINUTE, "5 m"],
  [HOUR, MINUTE, "1 h"],
  [HOUR, 30 * S, "1 h 0 m 0 s"],
  [26 * HOUR, HOUR, "1 d 2 h"],
  [2 * DAY, DAY, "2 d"],
  [999.98 * MS, MS, "1.000 s"],
  [999.98 * MS, MS / 100, "999.98 ms"],
  [118_000, MS, "118 µs"],
])("%d ns in steps of %d is %s", (ns, step, label) => {
  expect(tickLabel(ns, step)).toBe(label);
});

test("the end grows by a quarter, and only when now is past it", () => {
  expect(grownEnd(0, 10 * S, 10 * S)).toBe(10 * S);
  expect(grownEnd(0, 10 * S, 10 * S + 1)).toBeCloseTo(12.5 * S, -1);
  expect(grownEnd(5, 6, 7)).toBe(5 + FIRST_NS);
  let end = S;
  let steps = 0;
  for (let now = S; now < 60 * S; now += 16 * MS) {
    const grown = grownEnd(0, end, now);
    if (grown !== end) steps++;
    end = grown;
  }
  expect(steps).toBeLessThan(20); // 1.25 ** 19 is 69
});

function axisOver(from: number, to: number): Axis {
  const axis = new Axis();
  axis.grow(from, to, false, 0, false);
  return axis;
}

test("all of a finished trace is shown, with a little room at its end", () => {
  const { from, to } = axisOver(100, 1100).view(0);
  expect([from, to]).toEqual([100, 1180]);
});

test("the view grows with what it shows all of, within 120 ms, and slows down", () => {
  const axis = new Axis();
  axis.grow(0, S / 2, true, 0, false);
  expect(axis.view(0)).toEqual({ from: 0, to: S });
  axis.grow(0, S + 1, true, 1000, true);
  const { to } = axis.whole;
  expect(to).toBeCloseTo(1.25 * S, -2);
  expect(axis.view(1000).to).toBe(S);
  expect(axis.view(1040).to - S).toBeGreaterThan((to - S) / 3);
  expect(axis.moves(1119)).toBe(true);
  expect(axis.moves(1120)).toBe(false);
  expect(axis.view(1120).to).toBe(to);
});

test("zooming keeps what is under the pointer there", () => {
  const axis = axisOver(0, 1000);
  const at = 400;
  const px = toPx({ ...axis.view(0), width: 800 }, at);
  axis.zoom(at, 0.5, 0, false);
  expect(toPx({ ...axis.view(0), width: 800 }, at)).toBeCloseTo(px, 9);
  expect(axis.view(0).to - axis.view(0).from).toBeCloseTo(540, 9);
  expect(axis.all || axis.follow).toBe(false);
});

test("nothing is shown beyond what there is, and nothing below 100 ns", () => {
  const axis = axisOver(0, 1e6);
  axis.zoom(5e5, 1e-9, 0, false);
  expect(axis.view(0).to - axis.view(0).from).toBeCloseTo(100, 3);
  axis.pan(1e9, 0, false);
  expect(axis.view(0).to).toBeCloseTo(axis.whole.to, 3);
  axis.pan(-1e9, 0, false);
  expect(axis.view(0).from).toBe(0);
  axis.zoom(0, 1e9, 0, false);
  expect(axis.view(0)).toEqual(axis.whole);
  expect(axis.all).toBe(true);
});

test("who follows while zoomed in sees now come in steps, until they move", () => {
  const axis = new Axis();
  axis.grow(0, 60 * S, true, 0, false);
  axis.show({ from: 50 * S, to: 60 * S }, 0, false);
  axis.follow = true;
  axis.grow(0, 60 * S + 1, true, 0, false);
  expect(axis.view(0).to).toBeCloseTo(62.5 * S, -2);
  expect(axis.view(0).to - axis.view(0).from).toBeCloseTo(10 * S, -2);
  const there = axis.view(0);
  axis.grow(0, 62 * S, true, 0, false);
  expect(axis.view(0)).toEqual(there);
  axis.pan(-0.1, 0, false);
  axis.grow(0, 70 * S, true, 0, false);
  expect(axis.view(0).to).toBeCloseTo(61.5 * S, -2);
});

test("times from another base are shifted", () => {
  const axis = axisOver(0, 1000);
  axis.show({ from: 100, to: 300 }, 0, false);
  axis.shift(5);
  expect(axis.view(0)).toEqual({ from: 105, to: 305 });
  axis.fit(0, false);
  expect(axis.view(0)).toEqual({ from: 5, to: 1085 });
});
