import { expect, test } from "vitest";

import { RemoteProtocolError, Session } from "./session";
import type { Subscribe } from "../model/wire";

const TRACE = "1".repeat(32);
const OUTLINE: Subscribe = {
  type: "subscribe",
  view: "trace",
  filter: { trace_id: TRACE },
  outline: true,
};
const END = { type: "span_ended", trace_id: TRACE, span_id: "a".repeat(16), time_ns: 1 };

function told(session: Session, frame: object) {
  return session.receive(JSON.stringify(frame));
}

function subscribed(more: object = {}) {
  return { type: "subscribed", recovered: false, epoch: "e1", offset: 7, ...more };
}

function batch(upto: number, ...offsets: number[]) {
  const facts = offsets.map((offset) => [offset, offset, END]);
  return { type: "batch", upto, producer_id: "p", service: "s", facts };
}

function sent(session: Session) {
  return JSON.parse(session.subscribe()) as Subscribe;
}

test("it asks for what it was told to, without a cursor at first", () => {
  expect(sent(new Session(OUTLINE))).toEqual(OUTLINE);
});

test("a cursor is had once the outline is whole, and not while another one comes", () => {
  const session = new Session(OUTLINE);
  expect(told(session, subscribed())).toEqual([{ type: "restarted", skipped: false }]);
  expect(session.cursor).toBeNull();
  told(session, { type: "outline", offset: 9, done: false });
  expect(sent(session).cursor).toBeUndefined();
  told(session, { type: "outline", offset: 9, done: true });
  expect(sent(session)).toEqual({ ...OUTLINE, cursor: { epoch: "e1", offset: 9 } });
  expect(told(session, { type: "skip", from_offset: 9, to_offset: 50 })).toEqual([
    { type: "restarted", skipped: true },
  ]);
  expect([session.cursor, session.offset]).toEqual([null, 50]);
  told(session, { type: "outline", offset: 50, done: true });
  expect(session.cursor).toEqual({ epoch: "e1", offset: 50 });
});

test("facts that were had before are left out, whatever part of a batch they are", () => {
  const session = new Session({ type: "subscribe", view: "trace", snapshot: false });
  told(session, subscribed({ offset: 10 }));
  const [update] = told(session, batch(14, 9, 10, 11, 13));
  expect(update).toMatchObject({ type: "facts", producerId: "p", service: "s" });
  expect("facts" in update && update.facts.map(([offset]) => offset)).toEqual([11, 13]);
  expect(session.offset).toBe(14);
  expect(told(session, batch(14, 11, 13))).toEqual([]);
  expect(told(session, batch(12, 12))).toEqual([]);
  expect(session.offset).toBe(14);
});

test("what is said in order stays whole", () => {
  const session = new Session({ type: "subscribe", view: "trace", snapshot: false });
  told(session, subscribed());
  const [update] = told(session, batch(9, 8, 9));
  expect("facts" in update && update.facts.length).toBe(2);
});

test("a connection that goes on keeps the offset, one that does not takes the relay's", () => {
  const session = new Session(OUTLINE);
  told(session, subscribed());
  told(session, { type: "outline", offset: 9, done: true });
  told(session, batch(20, 20));
  expect(told(session, subscribed({ recovered: true, epoch: "e2", offset: 20 }))).toEqual([
    { type: "resumed" },
  ]);
  expect(session.cursor).toEqual({ epoch: "e2", offset: 20 });
  told(session, subscribed({ epoch: "e3", offset: 3 }));
  expect([session.offset, session.cursor]).toEqual([3, null]);
});

test("quiet moves the cursor on; sums do not", () => {
  const session = new Session({ type: "subscribe", view: "running" });
  told(session, subscribed());
  told(session, { type: "progress", offset: 30, relay_ns: 5 });
  expect([session.offset, session.relayNs]).toEqual([30, 5]);
  told(session, { type: "usage", upto: 99, trace_id: TRACE, usage: [] });
  expect([session.offset, session.relayNs]).toEqual([30, 0]);
  for (const type of ["traces", "running", "removed"]) told(session, { type, upto: 40 });
  expect(session.offset).toBe(40);
  told(session, { type: "progress", offset: 35 });
  expect(session.offset).toBe(40);
});

test("a refusal says why, before anything else as well", () => {
  const session = new Session(OUTLINE);
  expect(told(session, { type: "error", message: "no", code: "protocol" })).toEqual([
    { type: "refused", code: "protocol", message: "no" },
  ]);
});

test("what is no frame is the relay's fault; what is of a later version passes", () => {
  const session = new Session(OUTLINE);
  for (const text of ["", "[1", "3", "null", "{}"]) {
    expect(() => session.receive(text)).toThrow(RemoteProtocolError);
  }
  expect(() => told(session, batch(1, 1))).toThrow("the first frame must be subscribed");
  told(session, subscribed());
  expect(told(session, { type: "weather" })).toEqual([]);
});

test("facts that are not stored are shown and move nothing", () => {
  const session = new Session({ type: "subscribe", view: "trace", snapshot: false });
  told(session, subscribed({ offset: 10 }));
  const [update] = told(session, { ...batch(1, 0, 1), unstored: true });
  expect("facts" in update && update.facts.length).toBe(2);
  expect(session.offset).toBe(10);
});
