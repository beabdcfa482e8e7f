import { expect, test } from "vitest";

import { ago, clock, cost, count, duration, tokens } from "./format";

const S = 1e9;

test.each([
  [0, "0 ns"],
  [812, "812 ns"],
  [999.6, "1.00 µs"],
  [1_500, "1.50 µs"],
  [999_600, "1.00 ms"],
  [812e6, "812 ms"],
  [1.24e9, "1.24 s"],
  [59.94 * S, "59.9 s"],
  [59.96 * S, "1 m 00 s"],
  [123 * S, "2 m 03 s"],
  [3599.4 * S, "59 m 59 s"],
  [3599.6 * S, "1 h 00 m"],
  [86399 * S, "1 d 00 h"],
  [100 * 3600 * S, "4 d 04 h"],
  [-812e6, "−812 ms"],
  [NaN, "—"],
  [Infinity, "—"],
])("a duration of %d ns is %s", (ns, text) => {
  expect(duration(ns)).toBe(text);
});

test.each([
  [0, "0"],
  [1_204, "1,204"],
  [1e6, "1,000,000"],
  [NaN, "—"],
])("%d is counted as %s", (n, text) => {
  expect(count(n)).toBe(text);
});

test.each([
  [0, "0"],
  [812, "812"],
  [1_000, "1.00k"],
  [12_345, "12.3k"],
  [999_600, "1.00M"],
  [1_240_000, "1.24M"],
  [2.5e9, "2.50G"],
])("%d tokens are %s", (n, text) => {
  expect(tokens(n)).toBe(text);
});

test.each([
  [null, "—"],
  [NaN, "—"],
  [0, "$0"],
  [1, "<$0.000001"],
  [4_200_000_000, "$0.0042"],
  [4_260_000_000, "$0.0043"],
  [123_000_000_000, "$0.12"],
  [996_000_000_000, "$1.00"],
  [12_300_000_000_000, "$12.30"],
  [1_204_000_000_000_000, "$1,204"],
  [1_500_000, "$0.000002"],
])("%d trillionths are %s", (pico, text) => {
  expect(cost(pico)).toBe(text);
});

test("no price is never nothing", () => {
  expect(cost(null)).not.toBe(cost(0));
});

test("a time of today is a time of day, another one has its date", () => {
  const today = new Date();
  today.setHours(14, 2, 11, 42);
  const ns = today.getTime() * 1e6;
  expect(clock(ns)).toBe("14:02:11");
  expect(clock(ns, true)).toBe("14:02:11.042");
  expect(clock(new Date(2024, 0, 3, 4, 5, 6).getTime() * 1e6)).toBe("2024-01-03 04:05:06");
  expect(clock(0)).toBe("—");
  expect(clock(9e24)).toBe("—");
});

test("a double's rounding takes no millisecond away", () => {
  for (let ms = 0; ms < 1_000; ms++) {
    const ns = new Date(2026, 3, 5, 6, 7, 8, ms).getTime() * 1e6;
    expect(clock(ns, true)).toBe(`2026-04-05 06:07:08.${String(ms).padStart(3, "0")}`);
  }
});

test.each([
  [-5, "now"],
  [0.9 * S, "now"],
  [12.9 * S, "12 s ago"],
  [200 * S, "3 m ago"],
  [7200 * S, "2 h ago"],
  [50 * 3600 * S, "2 d ago"],
])("%d ns past is %s", (ns, text) => {
  expect(ago(ns)).toBe(text);
});
