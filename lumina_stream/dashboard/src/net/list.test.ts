import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { FakeSocket, installBrowser, page, settle } from "./fakes";
import { LiveList } from "./list";
import type { TraceSummary } from "../model/wire";

vi.mock("./slices", () => ({
  workSoon: (work: () => boolean) => {
    while (work());
  },
  workNoMore: () => undefined,
}));
vi.mock("../state/frames", () => ({
  paintSoon: (paint: () => void) => void page.paints.push(paint),
}));

const BASE = 2 ** 60;
const SUBSCRIBED = { type: "subscribed", recovered: false, epoch: "e", offset: 5, relay_ns: BASE };

function summary(n: number, more: Partial<TraceSummary> = {}): TraceSummary {
  return {
    trace_id: String(n).padStart(32, "0"),
    name: `t${n}`,
    service: "s",
    state: "ok",
    start_ns: BASE + 1024 * n,
    duration_ns: 1,
    spans: 1,
    open: 0,
    errors: 0,
    ...more,
  };
}

function traces(...all: TraceSummary[]): object {
  return { type: "traces", upto: 5, traces: all };
}

function range(from: number, to: number): TraceSummary[] {
  return Array.from({ length: to - from }, (_, n) => summary(from + n));
}

let list: LiveList;
let sockets: { traces: FakeSocket; running: FakeSocket };
const shown = () => list.traces.get().map((trace) => trace.name);

beforeEach(() => {
  installBrowser();
  page.answers.set("v1/rates", { status: 200, body: { traces_per_min: 4 } });
  list = new LiveList({ service: "s" });
  const [first, second] = FakeSocket.all;
  sockets = { traces: first.open(), running: second.open() };
});

afterEach(() => {
  list.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("it asks for summaries of what the filter selects, and for all that runs", () => {
  expect(sockets.traces.subscribed).toEqual({
    type: "subscribe",
    view: "traces",
    filter: { service: "s" },
  });
  expect(sockets.running.subscribed).toEqual({ type: "subscribe", view: "running" });
  expect(list.nowNs()).toBe(0);
  sockets.running.say(SUBSCRIBED);
  expect(list.nowNs()).toBe(BASE);
});

test("newest first, replaced as they change, once a frame", () => {
  let changes = 0;
  list.traces.watch(() => changes++);
  sockets.traces.say(SUBSCRIBED, traces(summary(1), summary(3)), traces(summary(2)));
  expect(list.status.get()).toBe("loading");
  page.paint();
  expect([shown(), changes, list.status.get()]).toEqual([["t3", "t2", "t1"], 1, "live"]);
  sockets.traces.say(traces(summary(2, { name: "renamed" })), {
    type: "removed",
    upto: 6,
    trace_ids: [summary(3).trace_id],
  });
  page.paint();
  expect([shown(), changes]).toEqual([["renamed", "t1"], 2]);
});

test("an empty list is live", () => {
  sockets.traces.say(SUBSCRIBED, traces());
  page.paint();
  expect([shown(), list.status.get(), list.hasMore.get()]).toEqual([[], "live", false]);
});

test("what runs, and how many there are beside those that are listed", () => {
  const span = {
    trace_id: "t",
    span_id: "s",
    name: "n",
    kind: null,
    service: "s",
    start_ns: 1,
    last_ns: 2,
  };
  sockets.running.say(SUBSCRIBED, { type: "running", upto: 5, spans: [span], total: 9 });
  expect(list.running.get().total).toBe(0); // nobody has looked yet
  page.paint();
  expect(list.running.get()).toEqual({ spans: [span], total: 9 });
});

test("rates of the same filter, every other second, not while nobody looks", async () => {
  await settle();
  expect(list.rates.get()).toBe(null); // an answer that comes when nobody looks waits, too
  page.paint();
  expect(list.rates.get()).toEqual({ traces_per_min: 4 });
  expect(page.asked.map(({ path }) => path)).toEqual(["v1/rates?service=s&since=5m"]);
  vi.advanceTimersByTime(2_000);
  expect(page.asked).toHaveLength(2);
  page.hidden = true;
  vi.advanceTimersByTime(20_000);
  expect(page.asked).toHaveLength(2);
  page.hidden = false;
  page.fire("visibilitychange");
  expect(page.asked).toHaveLength(3);
});

test("another filter: the list before stays until the new one is there", async () => {
  sockets.traces.say(SUBSCRIBED, traces(summary(1)));
  page.paint();
  sockets.traces.say(traces(summary(2))); // not painted yet
  list.setFilter({ state: "error" });
  expect(sockets.traces.isClosed).toBe(true);
  const socket = FakeSocket.latest.open();
  expect(socket.subscribed).toMatchObject({ filter: { state: "error" } });
  socket.say(SUBSCRIBED);
  page.paint();
  expect(shown()).toEqual(["t1"]);
  socket.say(traces(summary(7)));
  page.paint();
  expect(shown()).toEqual(["t7"]);
  await settle();
  expect(page.asked.at(-1)?.path).toBe("v1/rates?state=error&since=5m");
});

test("older ones come page by page, and what is known stays as it is", async () => {
  sockets.traces.say(
    SUBSCRIBED,
    traces(...range(1_000, 1_400)),
    traces(...range(600, 1_000)),
    traces(...range(400, 600)),
  );
  page.paint();
  expect([shown().length, list.hasMore.get()]).toEqual([1_000, true]);
  page.answers.set("v1/traces", {
    status: 200,
    body: { traces: [summary(400, { name: "stale" }), ...range(200, 400).reverse()], next: "c1" },
  });
  const first = list.more();
  expect(list.more()).toBe(first);
  await first;
  page.paint();
  const asked = new URLSearchParams(page.asked.at(-1)?.path.split("?")[1]);
  expect(Object.fromEntries(asked)).toEqual({
    service: "s",
    limit: "200",
    until_ns: String(BASE + 1024 * 400 + 256),
  });
  expect([shown().length, shown()[999], list.hasMore.get()]).toEqual([1_200, "t400", true]);
  page.answers.set("v1/traces", { status: 200, body: { traces: [summary(199)], next: null } });
  await list.more();
  page.paint();
  expect(new URLSearchParams(page.asked.at(-1)?.path.split("?")[1]).get("until_ns")).toBe(
    String(BASE + 1024 * 200 + 256),
  );
  expect([shown().at(-1), list.hasMore.get()]).toEqual(["t199", false]);
});

test("a page that has only what is known is followed by the next one", async () => {
  sockets.traces.say(SUBSCRIBED, traces(...range(0, 1_000)));
  page.answers.set("v1/traces?service=s&limit=200&until_ns=" + String(BASE + 256) + "&cursor=c1", {
    status: 200,
    body: { traces: [summary(-1)], next: "c2" },
  });
  page.answers.set("v1/traces", { status: 200, body: { traces: range(0, 2), next: "c1" } });
  await list.more();
  page.paint();
  expect([shown().at(-1), list.hasMore.get()]).toEqual(["t-1", true]);
});

test("a list that is open for long keeps the newest ones and those that run", () => {
  sockets.traces.say(SUBSCRIBED, traces(summary(0, { state: "running" }), ...range(1, 1_500)));
  for (let n = 1_500; n < 4_000; n += 100) sockets.traces.say(traces(...range(n, n + 100)));
  page.paint();
  expect(shown()).toHaveLength(2_000);
  expect([shown()[0], shown().at(-1), list.hasMore.get()]).toEqual(["t3999", "t0", true]);
});

test("a list that nobody looks at keeps no more than twice as many", () => {
  sockets.traces.say(SUBSCRIBED, traces(...range(0, 1_000)));
  const sort = vi.spyOn(Array.prototype, "sort");
  for (let n = 1_000; n < 9_000; n += 100) sockets.traces.say(traces(...range(n, n + 100)));
  expect(sort).toHaveBeenCalledTimes(3); // by which the oldest are found and let go of
  page.paint();
  expect([shown().length, shown()[0]]).toEqual([2_000, "t8999"]);
});

test("a page that is asked for while the filter changes is left", async () => {
  sockets.traces.say(SUBSCRIBED, traces(...range(0, 1_000)));
  page.answers.set("v1/traces", { status: 200, body: { traces: range(0, 2), next: null } });
  const more = list.more();
  list.setFilter({});
  await more;
  expect(list.hasMore.get()).toBe(true);
});

test("the relay is lost, and found again", async () => {
  sockets.traces.say(SUBSCRIBED, traces(summary(1)));
  page.paint();
  sockets.traces.end();
  expect([list.status.get(), shown()]).toEqual(["reconnecting", ["t1"]]);
  const lostNs = list.nowNs();
  await settle();
  vi.advanceTimersByTime(5_000);
  expect(list.nowNs()).toBe(lostNs);
  FakeSocket.latest.open().say(SUBSCRIBED, traces(summary(2)));
  page.paint();
  expect([list.status.get(), shown()]).toEqual(["live", ["t2"]]);
});

test("closed, it leaves nothing behind", () => {
  list.close();
  expect([
    sockets.traces.isClosed,
    sockets.running.isClosed,
    vi.getTimerCount(),
    page.listenerCount,
  ]).toEqual([true, true, 0, 0]);
});
