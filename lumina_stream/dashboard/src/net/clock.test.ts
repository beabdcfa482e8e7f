import { expect, test } from "vitest";

import { Lead, RelayClock } from "./clock";

const NOW = 2 ** 60;

test("nothing is known until the relay has said what time it is", () => {
  const clock = new RelayClock();
  expect([clock.isSet, clock.at(5)]).toEqual([false, 0]);
  clock.heard(NOW, 10);
  expect(clock.isSet).toBe(true);
});

test("the message that was on its way the shortest time counts", () => {
  const clock = new RelayClock();
  clock.heard(NOW, 100); // 60 ms late
  clock.heard(NOW + 1e9, 1_040); // in time
  clock.heard(NOW + 2e9, 2_300); // 260 ms late
  expect(clock.at(2_040)).toBe(NOW + 2e9);
});

test("a relay's clock that was set back, or ahead, is believed", () => {
  const clock = new RelayClock();
  clock.heard(NOW, 0);
  clock.heard(NOW - 60e9, 1_000);
  expect(clock.at(1_000)).toBe(NOW - 60e9);
  clock.heard(NOW + 60e9, 2_000);
  expect(clock.at(2_000)).toBe(NOW + 60e9);
});

test("drift is followed: old samples go", () => {
  const clock = new RelayClock();
  clock.heard(NOW, 0);
  for (let n = 1; n <= 40; n++) clock.heard(NOW + n * 1e9 - n * 1e6, n * 1_000);
  expect(clock.at(40_000)).toBe(NOW + 40e9 - 11e6);
});

test("a producer's clock is ahead by what it says too early", () => {
  const clock = clockAt(NOW);
  const lead = new Lead();
  lead.heard(NOW - 3e9, 0); // an old event: says nothing
  expect(lead.over(clock)).toBe(0);
  lead.heard(NOW + 15e6, 0); // within what our own estimate may be off
  expect(lead.over(clock)).toBe(0);
  lead.heard(NOW + 2e9, 0);
  lead.heard(NOW + 1e9, 0);
  expect(lead.over(clock)).toBe(2e9);
  expect(lead.over(new RelayClock())).toBe(0);
});

test("a producer's clock that was mended is ahead no more, after a while", () => {
  const clock = clockAt(NOW);
  const lead = new Lead();
  lead.heard(NOW + 2e9, 0);
  lead.heard(NOW + 31e9, 31_000);
  expect(lead.over(clock)).toBe(2e9);
  lead.heard(NOW + 62e9, 62_000);
  expect(lead.over(clock)).toBe(0);
});

test("a producer is not ahead of a relay whose first word was late", () => {
  const clock = clockAt(NOW - 300e6);
  const lead = new Lead();
  lead.heard(NOW, 0);
  expect(lead.over(clock)).toBe(300e6);
  clock.heard(NOW + 1e9, 1_000); // this one was in time
  expect(lead.over(clock)).toBe(0);
});

/** What the relay says when `performance.now()` is 0. */
function clockAt(ns: number): RelayClock {
  const clock = new RelayClock();
  clock.heard(ns, 0);
  return clock;
}
