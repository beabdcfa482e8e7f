import { expect, test } from "vitest";

import { FactLog, REPLAY_FACTS, TraceEvents } from "./replay";
import { NONE, Tree } from "./tree";
import type { Event, Fact } from "./wire";

const TRACE = "1".repeat(32);
const BASE = 2 ** 60;

function id(n: number): string {
  return (n + 1).toString(16).padStart(16, "0");
}

/** What a program says of `spans` spans, a dozen open at a time. */
function film(spans: number): Fact[] {
  const said: Event[] = [];
  const of = (n: number, time: number) => ({
    trace_id: TRACE,
    span_id: id(n),
    time_ns: BASE + 1024 * time,
  });
  for (let n = 0; n < spans; n++) {
    const parent_id = n === 0 ? null : id(Math.floor((n - 1) / 4));
    said.push({ type: "span_started", ...of(n, said.length), name: `n${n % 7}`, parent_id });
    said.push({ type: "attribute_set", ...of(n, said.length), key: "n", value: n });
    if (n >= 12 && n % 11) {
      said.push({ type: "span_ended", ...of(n - 12, said.length), status: n % 5 ? "ok" : "error" });
    }
  }
  return said.map((event, k) => ({
    offset: k + 1,
    producerId: k % 3 ? "a" : "b",
    seq: k,
    service: "s",
    event,
  }));
}

function seen(tree: Tree): unknown[] {
  const spans = Array.from({ length: tree.count }, (_, i) => [
    tree.id(i),
    tree.name(i),
    tree.state(i),
    tree.parent[i],
    tree.start[i],
    tree.end[i],
    tree.service(i),
  ]);
  return [
    spans,
    tree.openCount,
    tree.errorCount,
    tree.startedCount,
    tree.totals(),
    tree.traceState,
  ];
}

function grown(events: TraceEvents, k: number): Tree {
  const tree = new Tree(TRACE, { baseNs: events.baseNs });
  for (let n = 0; n < k; n++) {
    const { event, producerId, seq, service } = events.fact(n);
    tree.heardFrom(producerId, service);
    tree.apply(event, producerId, seq);
  }
  tree.settle();
  return tree;
}

test("the tree at any moment is the one that the facts until then make, wherever one comes from", () => {
  const events = new TraceEvents(TRACE, film(2_000));
  for (const prepared of [false, true]) {
    if (prepared) for (const _ of events.prepare());
    let k = 17;
    for (let n = 0; n < 40; n++) {
      k = (k * 7919 + 104_729) % (events.count + 1);
      expect([k, seen(events.treeAt(k))]).toEqual([k, seen(grown(events, k))]);
    }
  }
  expect(seen(events.treeAt(0))[0]).toEqual([]);
  expect(seen(events.treeAt(events.count + 5))).toEqual(seen(grown(events, events.count)));
});

test("a step ahead goes on with the same tree, and spans keep their numbers", () => {
  const events = new TraceEvents(TRACE, film(3_000));
  const tree = events.treeAt(700);
  expect(events.treeAt(710)).toBe(tree);
  const numbers = new Map<string, number>();
  for (const k of [8_000, 3, 4_000, 8_400]) {
    const at = events.treeAt(k);
    for (let i = 0; i < at.count; i++) {
      expect(numbers.get(at.id(i)) ?? i).toBe(i);
      numbers.set(at.id(i), i);
    }
  }
});

test("facts are told in the order of their time; those at no time stay where the log has them", () => {
  const at = (offset: number, time_ns: number): Fact => ({
    offset,
    producerId: "p",
    seq: offset,
    service: "",
    event: { type: "event_added", trace_id: TRACE, span_id: id(0), time_ns, name: String(offset) },
  });
  const events = new TraceEvents(TRACE, [
    at(1, 0),
    at(2, 500),
    at(3, 300),
    at(4, 0),
    at(5, 400),
    at(6, 500),
  ]);
  expect(Array.from({ length: 6 }, (_, k) => events.fact(k).offset)).toEqual([3, 4, 5, 1, 2, 6]);
  expect(Array.from({ length: 6 }, (_, k) => events.timeAt(k))).toEqual([0, 0, 100, 200, 200, 200]);
  expect(events.baseNs).toBe(300);
  expect([-1, 0, 99, 100, 200, 1e9].map((time) => events.countAt(time))).toEqual([
    0, 2, 2, 3, 6, 6,
  ]);
});

test("what a span said until a moment, forth and back", () => {
  const events = new TraceEvents(TRACE, film(50));
  const [started, set, ended] = events.factsOf(id(5));
  expect(events.detailAt(id(5), started)).toBeUndefined();
  expect(events.detailAt(id(5), set + 1)?.attributes.get("n")).toBe(5);
  expect(events.detailAt(id(5), ended + 1)?.complete).toBe(true);
  expect(events.detailAt(id(5), set)?.attributes.size).toBe(0);
  expect(events.detailAt(id(49), events.count)?.attributes.get("n")).toBe(49);
  expect(events.factsOf("f".repeat(16))).toEqual([]);
});

test("what became of a producer shows from when it became so", () => {
  const log = new FactLog(TRACE);
  for (const fact of film(20)) log.add(fact);
  const ns = (time: number) => BASE + 1024 * time;
  const last = log.count;
  log.restoreProducers([{ producer_id: "a", service: "api", named: [ns(0), "relay", 1] }]);
  log.restoreProducers([
    {
      producer_id: "a",
      state: "lost",
      last_seen_ns: ns(30),
      service: "api",
      stamp: [ns(last + 5), "relay", 9],
    },
    { producer_id: "b", state: "alive", service: "", stamp: [ns(1), "relay", 2] },
    { producer_id: "elsewhere", state: "ended", service: "", stamp: [ns(1), "relay", 3] },
  ]);
  const events = log.finish();
  expect(events.count).toBe(last + 1);
  const before = events.treeAt(last);
  const open = before
    .unended()
    .find((i) => before.producers[before.producerOf[i]].id === "a") as number;
  expect([before.state(open), before.service(open)]).toEqual(["running", "api"]);
  expect(events.treeAt(last + 1).state(open)).toBe("interrupted");
});

test("tokens and cost show from a call's end on", () => {
  const log = new FactLog(TRACE);
  for (const fact of film(30)) log.add(fact);
  const events = log.finish([
    [id(2), 10, 5, 7],
    [id(29), 1, 1, null],
  ]);
  const end = events.factsOf(id(2))[2];
  expect(events.treeAt(end).totals()).toMatchObject({ input: 0, calls: 0 });
  expect(events.treeAt(end + 1).totals()).toMatchObject({ input: 10, cost: 7 });
  expect(events.treeAt(events.count).totals()).toMatchObject({ input: 11, unpriced: 1 });
});

test("a film has an end, and says when it is not the log's", () => {
  const log = new FactLog(TRACE);
  const [fact] = film(1);
  for (let n = 0; n < REPLAY_FACTS - 1; n++) log.add({ ...fact, seq: n });
  expect(log.isFull).toBe(false);
  log.add(fact);
  log.add(fact);
  expect([log.count, log.isFull, log.finish().isCut]).toEqual([REPLAY_FACTS, true, true]);
  log.clear();
  expect([log.count, log.finish().count, log.finish().treeAt(0).root]).toEqual([0, 0, NONE]);
});
