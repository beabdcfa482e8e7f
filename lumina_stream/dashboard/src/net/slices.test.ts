import { afterEach, beforeEach, expect, test, vi } from "vitest";

// A browser by hand: time, tasks and frames go on when the test says so.
let nowMs = 0;
let tasks: (() => void)[] = [];
let frames: (() => void)[] = [];
let timers: (() => void)[] = [];
const page = { hidden: false };

class FakeChannel {
  port1 = { onmessage: null as (() => void) | null };
  port2 = { postMessage: () => void tasks.push(() => this.port1.onmessage?.()) };
}

let slices: typeof import("./slices");

beforeEach(async () => {
  nowMs = 1_000;
  [tasks, frames, timers] = [[], [], []];
  page.hidden = false;
  vi.resetModules();
  vi.stubGlobal("MessageChannel", FakeChannel);
  vi.stubGlobal("document", page);
  vi.stubGlobal("performance", { now: () => nowMs });
  vi.stubGlobal("requestAnimationFrame", (frame: () => void) => frames.push(frame));
  vi.stubGlobal("setTimeout", (timer: () => void) => timers.push(timer));
  vi.stubGlobal("clearTimeout", (number: number) => void (timers[number - 1] = () => undefined));
  slices = await import("./slices");
});

afterEach(() => {
  vi.unstubAllGlobals();
});

/** Work of so many pieces, a millisecond each. */
function pieces(count: number): { work: () => boolean; done: () => number } {
  let done = 0;
  return {
    work: () => {
      nowMs += 1;
      return ++done < count;
    },
    done: () => done,
  };
}

function task(): number {
  const began = nowMs;
  tasks.shift()?.();
  return nowMs - began;
}

test("a little work is done at once, in one task", () => {
  const little = pieces(3);
  slices.workSoon(little.work);
  expect([little.done(), tasks.length]).toEqual([0, 1]);
  task();
  expect([little.done(), tasks.length, frames.length]).toEqual([3, 0, 0]);
});

test("much of it never takes long at a stretch, and lets every frame in", () => {
  const much = pieces(200);
  slices.workSoon(much.work);
  let frameCount = 0;
  for (let n = 0; n < 1_000 && much.done() < 200; n++) {
    let sinceFrame = 0;
    while (tasks.length > 0) {
      const tookMs = task();
      expect(tookMs).toBeLessThanOrEqual(6);
      sinceFrame += tookMs;
    }
    expect(sinceFrame).toBeLessThanOrEqual(14);
    for (const frame of frames.splice(0)) {
      frameCount++;
      frame();
    }
  }
  expect(much.done()).toBe(200);
  expect(frameCount).toBeGreaterThan(10);
});

test("where no frame comes, and where nobody looks, it goes on all the same", () => {
  const much = pieces(20);
  slices.workSoon(much.work);
  task();
  expect([tasks.length, frames.length]).toEqual([0, 1]);
  timers.at(-1)?.();
  expect(tasks.length).toBe(1);
  frames[0](); // late: the work goes on only once
  expect(tasks.length).toBe(1);
  page.hidden = true;
  frames = [];
  while (tasks.length > 0) task();
  expect([much.done(), frames.length]).toEqual([20, 0]);
});

test("those that have work take turns", () => {
  const [a, b] = [pieces(100), pieces(2)];
  slices.workSoon(a.work);
  slices.workSoon(b.work);
  task();
  expect([a.done() > 0, b.done()]).toEqual([true, 2]);
});

test("what is asked for twice is done once, and forgotten work is not done", () => {
  const [a, b] = [pieces(1), pieces(1)];
  slices.workSoon(a.work);
  slices.workSoon(a.work);
  slices.workSoon(b.work);
  slices.workNoMore(b.work);
  while (tasks.length > 0) task();
  expect([a.done(), b.done()]).toEqual([1, 0]);
});

test("a fault in one's work is reported and does not stop the other's", () => {
  const reported: unknown[] = [];
  vi.stubGlobal("reportError", (error: unknown) => reported.push(error));
  const other = pieces(2);
  slices.workSoon(() => {
    throw new Error("ours");
  });
  slices.workSoon(other.work);
  while (tasks.length > 0) task();
  expect([other.done(), reported.length]).toEqual([2, 1]);
});
