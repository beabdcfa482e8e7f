import { expect, test } from "vitest";

import { Paced } from "./paced";

test("work is done when its key changes, and then rests nine times as long as it took", () => {
  let ms = 0;
  let done = 0;
  const paced = new Paced();
  const work = () => {
    done++;
    ms += 10;
  };
  const now = () => ms;
  expect(paced.run("a", now, work)).toBe(true);
  expect(paced.run("a", now, work)).toBe(false);
  expect([done, paced.isStale]).toEqual([1, false]);
  ms += 89;
  expect(paced.run("b", now, work)).toBe(false);
  expect(paced.isStale).toBe(true);
  ms += 1;
  expect(paced.run("b", now, work)).toBe(true);
  expect([done, paced.isStale]).toEqual([2, false]);
});

test("what a person waits for is done at once", () => {
  let ms = 0;
  const paced = new Paced();
  const slow = () => void (ms += 1000);
  paced.run("a", () => ms, slow);
  expect(paced.run("b", () => ms, slow, true)).toBe(true);
});

test("what is what it was needs no work, though it was stale between", () => {
  let ms = 0;
  const paced = new Paced();
  const slow = () => void (ms += 1000);
  paced.run("a", () => ms, slow);
  paced.run("b", () => ms, slow);
  expect(paced.isStale).toBe(true);
  paced.run("a", () => ms, slow);
  expect(paced.isStale).toBe(false);
});
