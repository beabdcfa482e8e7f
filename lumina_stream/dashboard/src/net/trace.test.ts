import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { FakeSocket, installBrowser, page, settle } from "./fakes";
import { LiveTrace } from "./trace";

// All that comes is taken in at once.
vi.mock("./slices", () => ({
  workSoon: (work: () => boolean) => {
    while (work());
  },
  workNoMore: () => undefined,
}));
vi.mock("../state/frames", () => ({
  paintSoon: (paint: () => void) => void page.paints.push(paint),
}));

const TRACE = "1".repeat(32);
const BASE = 2 ** 60;
const [A, B, C] = ["a", "b", "c"].map((digit) => digit.repeat(16));

const SUBSCRIBED = { type: "subscribed", recovered: false, epoch: "e", offset: 5, relay_ns: BASE };

function outline(ids: string[], more: object = {}): object {
  return {
    type: "outline",
    offset: 5,
    trace_id: TRACE,
    base_ns: BASE,
    total: ids.length,
    at: 0,
    strings: ["p", "root", "child"],
    producers: [],
    ids: ids.join(""),
    parents: ids.map((_, n) => n - 1 && (n ? 0 : -1)),
    names: ids.map((_, n) => (n ? 2 : 1)),
    kinds: ids.map(() => -1),
    starts: ids.map((_, n) => n),
    start_by: ids.map(() => 0),
    start_seq: ids.map((_, n) => n + 1),
    ends: ids.map(() => null),
    end_by: ids.map(() => -1),
    end_seq: ids.map(() => -1),
    statuses: ids.map(() => 0),
    lasts: ids.map((_, n) => n),
    flags: ids.map(() => 0),
    done: true,
    ...more,
  };
}

function facts(offset: number, ...events: object[]): object {
  return {
    type: "batch",
    upto: offset + events.length - 1,
    producer_id: "p",
    service: "api",
    facts: events.map((event, n) => [
      offset + n,
      offset + n,
      { trace_id: TRACE, time_ns: BASE + 1e6 * (offset + n), ...event },
    ]),
  };
}

const START_C = { type: "span_started", span_id: C, name: "late", parent_id: A };
const END_B = { type: "span_ended", span_id: B };

let live: LiveTrace;
let changes = 0;

beforeEach(() => {
  installBrowser();
  changes = 0;
  live = new LiveTrace(TRACE);
  live.changed.watch(() => changes++);
});

afterEach(() => {
  live.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("it asks for the outline, and shows how much of it is here", () => {
  const socket = FakeSocket.latest.open();
  expect(socket.subscribed).toEqual({
    type: "subscribe",
    view: "trace",
    filter: { trace_id: TRACE },
    outline: true,
  });
  socket.say(SUBSCRIBED, outline([A], { total: 4, done: false }));
  expect([live.status.get(), live.progress.get(), live.tree.count]).toEqual(["loading", 0.25, 1]);
  socket.say(outline([B, C], { total: 4, at: 1, strings: [], parents: [0, 0], names: [2, 2] }));
  expect([live.status.get(), live.progress.get(), live.tree.count, live.offset]).toEqual([
    "live",
    1,
    3,
    5,
  ]);
  expect(live.tree.name(2)).toBe("child");
});

test("a trace that is not there is missing, until its first fact", () => {
  const socket = FakeSocket.latest.open().say(SUBSCRIBED, outline([]));
  expect([live.status.get(), live.progress.get()]).toEqual(["missing", 1]);
  socket.say(facts(6, START_C));
  expect([live.status.get(), live.tree.count]).toEqual(["live", 2]);
});

test("a trace that is deleted leaves the screen, another one's end does not matter", () => {
  const socket = FakeSocket.latest.open();
  socket.say(SUBSCRIBED, outline([A, B]));
  socket.say({ type: "removed", upto: 6, trace_ids: ["2".repeat(32)] });
  expect([live.status.get(), live.tree.count]).toEqual(["live", 2]);
  socket.say({ type: "removed", upto: 7, trace_ids: [TRACE] });
  expect([live.status.get(), live.tree.count]).toEqual(["missing", 0]);
});

test("facts are applied and told of once a frame, however many come", () => {
  const socket = FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  page.paint();
  page.paint();
  changes = 0;
  socket.say(facts(6, START_C), facts(7, END_B), {
    type: "usage",
    upto: 7,
    trace_id: TRACE,
    usage: [[C, 3, 2, 9]],
  });
  expect(changes).toBe(1);
  page.paint();
  expect(changes).toBe(2);
  page.paint();
  expect([changes, page.paints.length]).toEqual([2, 0]);
  expect([live.tree.count, live.tree.openCount, live.tree.service(live.tree.find(C))]).toEqual([
    3,
    2,
    "api",
  ]);
  expect([live.tree.totals().cost, live.offset]).toEqual([9, 7]);
});

test("a hidden tab is told of nothing, and of all when it is seen again", () => {
  const socket = FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  changes = 0;
  for (let offset = 6; offset < 40; offset++) socket.say(facts(offset, END_B));
  expect(changes).toBe(0);
  page.paint();
  expect(changes).toBe(1);
});

test("what was skipped merges into the tree that is there; another log makes another tree", () => {
  const socket = FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  const tree = live.tree;
  socket.say({ type: "skip", from_offset: 5, to_offset: 90 }, outline([A, B, C], { offset: 90 }));
  expect([live.tree === tree, tree.count, tree.conflicts[0], live.offset]).toEqual([
    true,
    3,
    0,
    90,
  ]);
  socket.say(
    { ...SUBSCRIBED, epoch: "other" },
    outline([B], { total: 2, done: false, parents: [-1] }),
  );
  expect([live.tree === tree, live.progress.get()]).toEqual([true, 0.5]); // the old one is shown meanwhile
  socket.say(outline([C], { total: 2, at: 1, strings: [], parents: [0], names: [2] }));
  expect([live.tree === tree, live.tree.count, live.tree.find(A)]).toEqual([false, 2, -1]);
});

test("it says that it reconnects, and goes on", async () => {
  FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  FakeSocket.latest.end();
  expect(live.status.get()).toBe("reconnecting");
  await settle();
  vi.advanceTimersByTime(5_000);
  FakeSocket.latest.open().say({ ...SUBSCRIBED, recovered: true }, facts(6, START_C));
  expect([live.status.get(), live.tree.count]).toEqual(["live", 3]);
});

test("now is the relay's, and a clock that is ahead is known by its events", () => {
  const socket = FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  expect(live.nowNs()).toBe(BASE);
  vi.advanceTimersByTime(1_000);
  expect(live.nowNs()).toBe(BASE + 1e9);
  expect(live.skew(0)).toBe(0);
  socket.say(facts(6, { ...END_B, time_ns: BASE + 3e9 }));
  expect([live.skew(0), live.skew(7)]).toEqual([2e9, 0]);
});

test("the open span's detail is loaded, kept up to date, and asked for again at its end", async () => {
  const detail = (totals: number) => ({
    status: 200,
    body: {
      offset: 5,
      trace_id: TRACE,
      span_id: B,
      attributes: [["k", 1, [BASE, "p", 2], null]],
      events: [],
      texts: [],
      links: [],
      error: null,
      totals: { spans: totals },
    },
  });
  page.answers.set(`v1/traces/${TRACE}/spans/${B}`, detail(1));
  const socket = FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  const b = live.tree.find(B);
  live.open(b);
  live.open(b); // again is nothing
  expect(live.tree.detail(b)?.complete).toBe(false);
  await settle();
  expect(page.asked).toHaveLength(1);
  expect(live.tree.detail(b)).toMatchObject({ complete: true, totals: { spans: 1 } });
  socket.say(facts(6, { type: "attribute_set", span_id: B, key: "l", value: 2 }));
  expect([...(live.tree.detail(b)?.attributes ?? [])]).toEqual([
    ["k", 1],
    ["l", 2],
  ]);
  page.answers.set(`v1/traces/${TRACE}/spans/${B}`, detail(9));
  page.paint();
  socket.say(facts(7, END_B));
  page.paint();
  await settle();
  expect(page.asked).toHaveLength(2);
  expect(live.tree.detail(b)?.totals?.spans).toBe(9);
  page.paint();
  await settle();
  expect(page.asked).toHaveLength(2);
});

test("a detail that cannot be had says why", async () => {
  FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  live.open(0);
  await settle();
  expect(live.tree.detail(0)).toMatchObject({ complete: false, failure: "no such thing" });
  live.open(-1);
  expect(page.asked).toHaveLength(1);
});

test("an answer for a span that is not open any more is not taken", async () => {
  FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B]));
  live.open(0);
  live.open(1);
  await settle();
  expect([live.tree.detail(0)?.failure, live.tree.detail(1)?.failure]).toEqual([
    "",
    "no such thing",
  ]);
});

test("the whole log comes on a connection of its own, which is closed then", async () => {
  FakeSocket.latest.open().say(SUBSCRIBED, outline([A, B, C]), {
    type: "usage",
    upto: 5,
    trace_id: TRACE,
    usage: [[B, 1, 1, 5]],
  });
  const heard: number[] = [];
  const coming = live.events((count) => heard.push(count));
  await settle();
  const own = FakeSocket.latest.open();
  expect(own.subscribed).toEqual({
    type: "subscribe",
    view: "trace",
    filter: { trace_id: TRACE },
    snapshot: false,
  });
  own.say(
    { ...SUBSCRIBED, offset: 0 },
    {
      type: "snapshot",
      offset: 0,
      done: true,
      producers: [{ producer_id: "p", service: "api", named: [BASE, "r", 1] }],
    },
    facts(6, { type: "span_started", span_id: A, name: "root" }),
    facts(7, { type: "span_started", span_id: B, name: "child", parent_id: A }, END_B),
    { type: "progress", offset: 90, relay_ns: BASE },
  );
  const events = await coming;
  expect([heard, events.count, own.isClosed]).toEqual([[1, 3], 3, true]);
  expect([
    events.treeAt(2).openCount,
    events.treeAt(3).openCount,
    events.treeAt(3).totals().cost,
  ]).toEqual([2, 1, 5]);
});

test("a replay that is left is not waited for", async () => {
  const left = new AbortController();
  const coming = live.events(undefined, left.signal);
  await settle();
  const own = FakeSocket.latest;
  left.abort();
  await expect(coming).rejects.toThrow();
  expect(own.isClosed).toBe(true);
});

test("closed, it leaves nothing behind", () => {
  live.close();
  expect([FakeSocket.latest.isClosed, vi.getTimerCount(), page.listenerCount]).toEqual([
    true,
    0,
    0,
  ]);
});
