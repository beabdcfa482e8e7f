import { expect, test } from "vitest";

import { lanes } from "./lanes";
import type { Bar } from "./lanes";

const placed = (bars: Bar[], most = 4) =>
  lanes(bars, most).placed.map(({ lane, start, end }) => [lane, start, end]);

test("what follows shares a lane, what overlaps does not", () => {
  expect(
    placed([
      [0, 500, null, "ok"],
      [500, 500, null, "ok"],
      [600, 100, null, "ok"],
    ]),
  ).toEqual([
    [0, 0, 500],
    [0, 500, 1000],
    [1, 600, 700],
  ]);
});

test("an open bar reaches the end", () => {
  expect(placed([[300, -1, "llm", "running"]])).toEqual([[0, 300, 1000]]);
});

test("nothing is drawn outside, whatever the clocks said", () => {
  expect(
    placed([
      [-50, 2000, null, "ok"],
      [1200, 10, null, "ok"],
    ]),
  ).toEqual([
    [0, 0, 1000],
    [0, 1000, 1000],
  ]);
});

test("more than fit share the last lane", () => {
  const bars: Bar[] = Array.from({ length: 6 }, () => [0, 1000, null, "ok"]);
  const { placed, count } = lanes(bars, 3);
  expect(placed.map(({ lane }) => lane)).toEqual([0, 1, 2, 2, 2, 2]);
  expect(count).toBe(3);
});
