import { expect, test } from "vitest";

import { FactLog } from "../../model/replay";
import type { TraceEvents } from "../../model/replay";
import { BASE_NS, spanId } from "../../model/sketch";
import type { Event } from "../../model/wire";
import type { LiveTrace } from "../../net/trace";
import { Film } from "./film";

const TRACE = "0123456789abcdef0123456789abcdef";
const S = 1e9;

/** Spans that start at these seconds. */
function eventsAt(...seconds: number[]): TraceEvents {
  const log = new FactLog(TRACE);
  seconds.forEach((second, k) => {
    const about = { trace_id: TRACE, span_id: spanId(k), time_ns: BASE_NS + second * S };
    const event: Event = { type: "span_started", ...about, name: `span ${k}` };
    log.add({ offset: k, producerId: "p", seq: k, service: "s", event });
  });
  return log.finish();
}

function filmOf(events: () => Promise<TraceEvents>): Film {
  return new Film({ events } as unknown as LiveTrace);
}

test("a moment shows the tree after so many events", async () => {
  const film = filmOf(async () => eventsAt(0, 1, 2));
  expect([film.isOn, film.state.get()]).toEqual([false, "off"]);
  await film.show(2);
  expect([film.tree?.count, film.position.get(), film.time]).toEqual([2, 2, S]);
  film.seek(99);
  expect([film.tree?.count, film.position.get()]).toEqual([3, 3]);
  film.seek(0);
  expect([film.tree?.count, film.time]).toEqual([0, 0]);
});

test("playing goes on as the screen's time does, at the chosen speed, and stops at the end", async () => {
  const film = filmOf(async () => eventsAt(0, 1, 2));
  await film.show(1);
  film.speed.set(4);
  film.play();
  film.advance(5000);
  film.advance(5249);
  expect([film.position.get(), film.time]).toEqual([1, 0.996 * S]);
  film.advance(5250);
  expect(film.position.get()).toBe(2);
  film.advance(5500);
  expect([film.position.get(), film.state.get()]).toEqual([3, "paused"]);
  film.play(); // from the beginning again
  expect(film.position.get()).toBe(0);
});

test("a pause of an hour takes a second and a half", async () => {
  const film = filmOf(async () => eventsAt(0, 3600));
  await film.show(1);
  film.play();
  film.advance(0);
  film.advance(1499);
  expect(film.position.get()).toBe(1);
  film.advance(1500);
  expect(film.position.get()).toBe(2);
});

test("back to now, also while the events are still coming", async () => {
  let deliver = (_: TraceEvents) => {};
  const film = filmOf(() => new Promise((resolve) => (deliver = resolve)));
  const shown = film.show(1);
  expect(film.state.get()).toBe("loading");
  film.stop();
  deliver(eventsAt(0));
  await shown;
  expect([film.state.get(), film.isOn]).toEqual(["off", false]);
});

test("what goes wrong is said", async () => {
  const film = filmOf(() => Promise.reject(new Error("no log")));
  await film.show(1);
  expect([film.state.get(), film.failed.get()]).toEqual(["off", "no log"]);
});
