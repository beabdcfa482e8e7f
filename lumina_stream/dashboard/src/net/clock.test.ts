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
  const lead = new Lead();
  lead.heard(NOW - 3e9, NOW, 0); // an old event: says nothing
  expect(lead.ns).toBe(0);
  lead.heard(NOW + 15e6, NOW, 1); // within what our own estimate may be off
  expect(lead.ns).toBe(0);
  lead.heard(NOW + 2e9, NOW, 2);
  lead.heard(NOW + 1e9, NOW, 3);
  expect(lead.ns).toBe(2e9);
});

test("a producer's clock that was mended is ahead no more, after a while", () => {
  const lead = new Lead();
  lead.heard(NOW + 2e9, NOW, 0);
  lead.heard(NOW, NOW, 31_000);
  expect(lead.ns).toBe(2e9);
  lead.heard(NOW, NOW, 62_000);
  expect(lead.ns).toBe(0);
});
