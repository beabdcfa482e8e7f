import { expect, test } from "vitest";

import { hold } from "./order";

test("a list that nobody points at is as it should be", () => {
  expect(hold(["a", "b"], ["c", "b", "a"], false)).toEqual({ order: ["c", "b", "a"], waiting: 0 });
});

test("under the pointer nothing moves, and what is new is counted", () => {
  const shown = ["c", "b", "a"];
  expect(hold(shown, ["e", "d", "c", "b", "a"], true)).toEqual({ order: shown, waiting: 2 });
  expect(hold(shown, ["a", "b", "c"], true)).toEqual({ order: shown, waiting: 0 });
});

test("what is new between two lines waits as well", () => {
  expect(hold(["c", "a"], ["c", "b", "a"], true)).toEqual({ order: ["c", "a"], waiting: 1 });
});

test("what comes after the last line is appended: that moves nothing", () => {
  expect(hold(["c", "b"], ["d", "c", "b", "a", "z"], true)).toEqual({
    order: ["c", "b", "a", "z"],
    waiting: 1,
  });
});

test("a line that is gone stays until the pointer has left", () => {
  expect(hold(["c", "b", "a"], ["c", "a"], true)).toEqual({ order: ["c", "b", "a"], waiting: 0 });
  expect(hold(["c", "b"], ["x"], true)).toEqual({ order: ["c", "b"], waiting: 1 });
});

test("an empty list has nothing to hold", () => {
  expect(hold([], ["b", "a"], true)).toEqual({ order: ["b", "a"], waiting: 0 });
});
