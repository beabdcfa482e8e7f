import { expect, test } from "vitest";

import { Paced, PacedSteps } from "./paced";

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

/** Work of ten steps, a millisecond each. */
function inSteps() {
  const made = { ms: 0, begun: 0, steps: 0 };
  const paced = new PacedSteps();
  function* steps(): Generator<void, void> {
    made.begun++;
    for (let step = 0; step < 10; step++) {
      if (step > 0) yield;
      made.steps++;
      made.ms++;
    }
  }
  const run = (key: string, isUrgent = false) => paced.run(key, () => made.ms, steps, isUrgent);
  return { made, paced, run };
}

test("steps take two milliseconds of a frame, then rest nineteen times as long as all took", () => {
  const { made, paced, run } = inSteps();
  for (let frame = 1; frame <= 4; frame++) {
    expect(run("a")).toBe(false);
    expect([made.steps, paced.isStale, paced.dueMs]).toEqual([frame * 2, true, 0]);
    made.ms += 14;
  }
  expect(run("a")).toBe(true);
  expect([made.begun, made.steps, paced.isStale]).toEqual([1, 10, false]);
  made.ms += 189;
  expect(run("b")).toBe(false);
  expect([made.begun, paced.isStale, paced.dueMs]).toEqual([1, true, 1]);
  made.ms += 1;
  run("b");
  expect(made.begun).toBe(2);
});

test("what was begun is brought to its end, and is stale if it is not what is wanted by then", () => {
  const { made, paced, run } = inSteps();
  run("a");
  for (let frame = 0; frame < 3; frame++) run("b");
  expect(run("b")).toBe(true);
  expect([made.begun, paced.isStale]).toEqual([1, true]);
});

test("steps that a person waits for begin anew, and are done at once", () => {
  const { made, paced, run } = inSteps();
  run("a");
  expect(run("b", true)).toBe(true);
  expect([made.begun, made.steps, paced.isStale]).toEqual([2, 12, false]);
});
