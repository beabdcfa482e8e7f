// How fast a tree grows, by facts and from an outline, and what it takes. `npm run bench`.

import { bench, describe } from "vitest";

import { Tree } from "./tree";
import type { Event, OutlineFrame } from "./wire";

const TRACE = "1".repeat(32);
const BASE_NS = 2 ** 60;

function id(n: number): string {
  return ((n * 2654435761) >>> 0).toString(16).padStart(8, "0") + n.toString(16).padStart(8, "0");
}

/** A tree of `count` spans, ten to a parent: a start, an attribute and an end each. */
function facts(count: number): Event[] {
  const events: Event[] = [];
  for (let n = 0; n < count; n++) {
    const of = { trace_id: TRACE, span_id: id(n) };
    const parent_id = n === 0 ? null : id(Math.floor((n - 1) / 10));
    const time_ns = BASE_NS + n * 1024;
    const name = `step ${n % 50}`;
    events.push({ type: "span_started", ...of, time_ns, name, parent_id, kind: "tool" });
    events.push({ type: "attribute_set", ...of, time_ns: time_ns + 256, key: "k", value: n });
    if (n % 5) events.push({ type: "span_ended", ...of, time_ns: time_ns + 512, status: "ok" });
  }
  return events;
}

function outline(count: number, each = 500): string[] {
  const frames: string[] = [];
  for (let at = 0; at < count; at += each) {
    const numbers = Array.from({ length: Math.min(each, count - at) }, (_, k) => at + k);
    const frame: OutlineFrame = {
      type: "outline",
      offset: 1,
      trace_id: TRACE,
      base_ns: BASE_NS,
      total: count,
      at,
      strings: at === 0 ? ["p", "tool", ...Array.from({ length: 50 }, (_, n) => `step ${n}`)] : [],
      producers: [],
      ids: numbers.map(id).join(""),
      parents: numbers.map((n) => (n === 0 ? -1 : Math.floor((n - 1) / 10))),
      names: numbers.map((n) => 2 + (n % 50)),
      kinds: numbers.map(() => 1),
      starts: numbers.map((n) => n * 1000),
      start_by: numbers.map(() => 0),
      start_seq: numbers.map((n) => 3 * n),
      ends: numbers.map((n) => (n % 5 ? n * 1000 + 500 : null)),
      end_by: numbers.map((n) => (n % 5 ? 0 : -1)),
      end_seq: numbers.map((n) => (n % 5 ? 3 * n + 2 : -1)),
      statuses: numbers.map((n) => (n % 5 ? 1 : 0)),
      lasts: numbers.map((n) => n * 1000 + 500),
      flags: numbers.map(() => 2),
      usage: numbers.filter((n) => n % 20 === 0).map((n) => [n, 100, 20, 5_000_000]),
      done: at + each >= count,
    };
    frames.push(JSON.stringify(frame));
  }
  return frames;
}

function restored(frames: readonly string[]): Tree {
  const tree = new Tree(TRACE);
  frames.forEach((frame, n) => {
    tree.restoreOutline(JSON.parse(frame) as OutlineFrame);
    if (n % 10 === 0) tree.settle();
  });
  tree.settle();
  return tree;
}

const few = { iterations: 3, warmupIterations: 1, time: 0, warmupTime: 0 };

describe("280,000 facts, settled each 100", () => {
  const events = facts(100_000);
  bench("apply", () => void grow(events), few);
});

describe("outline of 200,000 spans", () => {
  const frames = outline(200_000);
  bench("parse and restore", () => void restored(frames), few);
  bench("parse alone", () => frames.forEach((frame) => void JSON.parse(frame)), few);
});

describe("100 starts into 200,000 spans", () => {
  const tree = restored(outline(200_000));
  let n = 200_000;
  bench("apply and settle", () => {
    for (let k = 0; k < 100; k++) {
      const time_ns = BASE_NS + 1000 * ++n;
      const parent_id = id(n % 1_000);
      const start: Event = {
        type: "span_started",
        trace_id: TRACE,
        span_id: id(n),
        time_ns,
        name: "x",
        parent_id,
      };
      tree.apply(start, "p", 4 * n);
    }
    tree.settle();
  });
});

function grow(events: readonly Event[]): Tree {
  const tree = new Tree(TRACE);
  for (let n = 0; n < events.length; n++) {
    tree.apply(events[n], "p", n + 1);
    if (n % 100 === 0) tree.settle();
  }
  return tree;
}
