import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { needsToken } from "./api";
import { Connection } from "./connection";
import { FakeSocket, installBrowser, page, settle } from "./fakes";
import type { Update } from "./session";

const works = new Set<() => boolean>();
vi.mock("./slices", () => ({
  workSoon: (work: () => boolean) => void works.add(work),
  workNoMore: (work: () => boolean) => void works.delete(work),
}));

/** Take in so many messages, or all. */
function work(most = Infinity): void {
  for (const each of [...works]) {
    for (let n = 0; n < most; n++) {
      if (!each()) {
        works.delete(each);
        break;
      }
    }
  }
}

const SUBSCRIBED = {
  type: "subscribed",
  recovered: false,
  epoch: "e",
  offset: 5,
  relay_ns: 2 ** 60,
};
const DONE = { type: "snapshot", offset: 5, done: true };

let updates: Update[] = [];
let drained = 0;
const taker = {
  take: (update: Update) => void updates.push(update),
  drained: () => void drained++,
};
const open: Connection[] = [];

function connect(): Connection {
  const connection = new Connection({ type: "subscribe", view: "events" }, taker);
  open.push(connection);
  return connection;
}

function batch(offset: number, facts = 1): object {
  const all = Array.from({ length: facts }, (_, n) => [offset + n, offset + n, { type: "x" }]);
  return { type: "batch", upto: offset + facts - 1, producer_id: "p", service: "", facts: all };
}

beforeEach(() => {
  installBrowser();
  updates = [];
  drained = 0;
  needsToken.set(false);
});

afterEach(() => {
  for (const connection of open.splice(0)) connection.close();
  works.clear();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

test("it subscribes beside the page, in the protocol's JSON, and is live once the relay answers", () => {
  const connection = connect();
  const socket = FakeSocket.latest;
  expect([socket.address, socket.protocol]).toEqual([
    "wss://host.example/below/v1/tail",
    "lumina.v1.json",
  ]);
  expect(socket.sent).toEqual([]);
  socket.open();
  expect(socket.subscribed).toEqual({ type: "subscribe", view: "events" });
  expect(connection.status.get()).toBe("loading");
  socket.say(SUBSCRIBED);
  work();
  expect([connection.status.get(), connection.nowNs()]).toEqual(["live", 2 ** 60]);
  vi.advanceTimersByTime(500);
  expect(connection.nowNs()).toBe(2 ** 60 + 500e6);
});

test("it comes back by itself, from the cursor, sooner at first and never later than five seconds", async () => {
  vi.spyOn(Math, "random").mockReturnValue(1);
  const connection = connect();
  FakeSocket.latest.open().say(SUBSCRIBED, DONE, batch(6, 4));
  work();
  FakeSocket.latest.end();
  expect(connection.status.get()).toBe("reconnecting");
  const waits: number[] = [];
  page.answers.set("v1/traces", new Error("down"));
  for (let n = 0; n < 12; n++) {
    await settle();
    const count = FakeSocket.all.length;
    let waited = 0;
    for (; FakeSocket.all.length === count; waited++) vi.advanceTimersByTime(1);
    waits.push(waited);
    if (n < 11) FakeSocket.latest.end();
  }
  expect(waits.slice(0, 4)).toEqual([50, 100, 200, 400]);
  expect(Math.max(...waits)).toBeLessThanOrEqual(5_000);
  expect(waits.at(-1)).toBeGreaterThan(4_900);
  FakeSocket.latest.open();
  expect(FakeSocket.latest.subscribed).toMatchObject({ cursor: { epoch: "e", offset: 9 } });
  FakeSocket.latest.say({ ...SUBSCRIBED, recovered: true, offset: 9 }, batch(9, 3));
  work();
  expect(connection.status.get()).toBe("live");
  const facts = updates.flatMap((u) =>
    u.type === "facts" ? u.facts.map(([offset]) => offset) : [],
  );
  expect(facts).toEqual([6, 7, 8, 9, 10, 11]);
  // From here on it begins again with the shortest wait.
  FakeSocket.latest.end();
  await settle();
  const count = FakeSocket.all.length;
  vi.advanceTimersByTime(50);
  expect(FakeSocket.all.length).toBe(count + 1);
});

test("what came and was not taken in when the connection ended is asked for again", async () => {
  connect();
  FakeSocket.latest.open().say(SUBSCRIBED, DONE);
  work();
  FakeSocket.latest.say(batch(6), batch(7));
  work(1);
  FakeSocket.latest.end();
  await settle();
  vi.advanceTimersByTime(5_000);
  FakeSocket.latest.open();
  expect(FakeSocket.latest.subscribed).toMatchObject({ cursor: { offset: 6 } });
  FakeSocket.latest.say({ ...SUBSCRIBED, recovered: true, offset: 6 });
  work();
  expect(updates.filter((update) => update.type === "facts")).toHaveLength(1);
});

test("a connection that is silent for ten seconds is dead", async () => {
  const connection = connect();
  FakeSocket.latest.open().say(SUBSCRIBED);
  work();
  for (let n = 0; n < 20; n++) {
    vi.advanceTimersByTime(1_000);
    FakeSocket.latest.say({ type: "progress", offset: 5, relay_ns: 2 ** 60 });
    work();
  }
  expect([FakeSocket.all.length, connection.status.get()]).toEqual([1, "live"]);
  vi.advanceTimersByTime(9_000);
  expect(connection.status.get()).toBe("live");
  const quietNs = connection.nowNs(); // quiet is not lost: time goes on
  vi.advanceTimersByTime(2_000);
  expect([FakeSocket.all[0].isClosed, connection.status.get()]).toEqual([true, "reconnecting"]);
  expect(quietNs - connection.nowNs()).toBeCloseTo(9e9, -4); // its clock stands at its last word
  await settle();
  vi.advanceTimersByTime(100);
  expect(FakeSocket.all.length).toBe(2);
});

test("who comes back to the page does not wait for the next try", async () => {
  vi.spyOn(Math, "random").mockReturnValue(1);
  connect();
  FakeSocket.latest.open().say(SUBSCRIBED);
  work();
  FakeSocket.latest.end();
  await settle();
  page.hidden = true;
  page.fire("visibilitychange");
  expect(FakeSocket.all.length).toBe(1);
  page.hidden = false;
  page.fire("visibilitychange");
  expect(FakeSocket.all.length).toBe(2);
  page.fire("online");
  expect(FakeSocket.all.length).toBe(2); // it is on its way already
});

test("how far it is behind, and that nothing is left", () => {
  const connection = connect();
  FakeSocket.latest.open().say(SUBSCRIBED, DONE);
  work();
  for (let n = 0; n < 50; n++) FakeSocket.latest.say(batch(6 + 100 * n, 100));
  work(10);
  const behind = connection.behind.get();
  expect(behind).toBeGreaterThan(400);
  work(30);
  expect(connection.behind.get()).toBeLessThan(behind);
  expect(drained).toBe(1);
  work();
  expect([connection.behind.get(), drained, connection.session.offset]).toEqual([0, 2, 5_005]);
});

test("a refusal is said and not tried against", async () => {
  const connection = connect();
  FakeSocket.latest.open().say({ type: "error", code: "protocol", message: "no such view" });
  work();
  FakeSocket.latest.end(1002);
  await settle();
  vi.advanceTimersByTime(60_000);
  expect([connection.status.get(), connection.refusal.get(), FakeSocket.all.length]).toEqual([
    "refused",
    "no such view",
    1,
  ]);
});

test("a relay that speaks something else is not listened to", () => {
  const connection = connect();
  FakeSocket.latest.open().say(batch(1));
  work();
  expect(connection.status.get()).toBe("refused");
  expect(connection.refusal.get()).toContain("the first frame must be subscribed");
});

test("without a token it waits for one, and goes on when it is there", async () => {
  page.answers.set("v1/traces", { status: 401, body: { error: "who are you?" } });
  const connection = connect();
  FakeSocket.latest.end();
  await settle();
  expect([connection.status.get(), needsToken.get()]).toEqual(["refused", true]);
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.all.length).toBe(1);
  needsToken.set(false);
  expect([FakeSocket.all.length, connection.status.get()]).toEqual([2, "loading"]);
  FakeSocket.latest.open().say(SUBSCRIBED);
  work();
  expect(connection.status.get()).toBe("live");
});

test("once closed it is quiet, and leaves nothing behind", async () => {
  const connection = connect();
  const socket = FakeSocket.latest.open().say(SUBSCRIBED, batch(6));
  connection.close();
  work();
  expect([updates, socket.isClosed, page.listenerCount, vi.getTimerCount()]).toEqual([
    [],
    true,
    0,
    0,
  ]);
  socket.end();
  await settle();
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.all.length).toBe(1);
});

test("closed while it waits to come back, it does not", async () => {
  const connection = connect();
  FakeSocket.latest.open().say(SUBSCRIBED);
  work();
  FakeSocket.latest.end();
  connection.close();
  await settle();
  vi.advanceTimersByTime(60_000);
  expect([FakeSocket.all.length, vi.getTimerCount()]).toEqual([1, 0]);
});
