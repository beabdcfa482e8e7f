import { expect, test } from "vitest";

import { SpanIds } from "./ids";

const spread = (n: number) => ((n * 2654435761) >>> 0).toString(16).padStart(8, "0") + "0000abcd";
const sequential = (n: number) => n.toString(16).padStart(16, "0");
const high = (n: number) => n.toString(16).padStart(8, "0") + "00000000";

test.each([
  ["spread", spread],
  ["sequential", sequential],
  ["of one low half", high],
])("ids that are %s are found again, by number and by text", (_, id) => {
  const ids = new SpanIds();
  const texts = Array.from({ length: 20_000 }, (_, n) => id(n + 1));
  const numbers = texts.map((_, n) => n);
  expect(texts.map((text) => ids.add(text))).toEqual(numbers);
  expect(ids.count).toBe(20_000);
  expect(texts.map((text) => ids.find(text))).toEqual(numbers);
  expect(texts.map((text) => ids.add(text))).toEqual(numbers);
  expect(numbers.map((n) => ids.text(n))).toEqual(texts);
  expect([ids.count, ids.find(id(20_001))]).toEqual([20_000, -1]);
});

test("what is no id is never one", () => {
  const ids = new SpanIds();
  for (const text of [
    "",
    "a",
    "A".repeat(16),
    "g".repeat(16),
    "a".repeat(15),
    "a".repeat(17),
    "\u0661".repeat(16),
  ]) {
    expect([ids.add(text), ids.find(text)]).toEqual([-1, -1]);
  }
  expect(ids.count).toBe(0);
});

test("ids that stand in a row are read where they stand", () => {
  const ids = new SpanIds();
  const row = [3, 1, 2, 1].map(spread).join("");
  expect([0, 16, 32, 48].map((at) => ids.addAt(row, at))).toEqual([0, 1, 2, 1]);
  expect(ids.find(spread(2))).toBe(2);
  expect(ids.addAt(row, 56)).toBe(-1);
});

test("they sort as their texts do", () => {
  const ids = new SpanIds();
  const texts = [
    "00000000ffffffff",
    "0000000100000000",
    "ffffffffffffffff",
    "8000000000000000",
    "7fffffffffffffff",
  ];
  for (const text of texts) ids.add(text);
  const sorted = texts.map((_, i) => i).sort((a, b) => ids.compare(a, b));
  expect(sorted.map((i) => texts[i])).toEqual([...texts].sort());
  expect(ids.compare(1, 1)).toBe(0);
});

test("room that is made keeps what is there", () => {
  const ids = new SpanIds();
  for (let n = 1; n <= 100; n++) ids.add(spread(n));
  ids.reserve(50_000);
  for (let n = 101; n <= 50_000; n++) ids.add(spread(n));
  for (let n = 1; n <= 50_000; n += 7)
    expect([ids.find(spread(n)), ids.text(n - 1)]).toEqual([n - 1, spread(n)]);
});
