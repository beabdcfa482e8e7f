import { expect, test } from "vitest";

import { linesOf, say, textFrom } from "./lines";
import type { Facts } from "./lines";
import type { Event } from "./wire";

const of = { trace_id: "t", time_ns: 1 };
const text = (span_id: string, text: string, channel = "output" as const): Event => ({
  type: "text_streamed",
  ...of,
  span_id,
  channel,
  index: 0,
  text,
});
const EVENTS: Event[] = [
  { type: "span_started", ...of, span_id: "a", name: "ask", kind: "llm" },
  text("a", "Hel"),
  text("a", "lo"),
  text("b", "other"),
  text("a", " again"),
  { type: "attribute_set", ...of, span_id: "a", key: "k", value: { x: 1 } },
  text("a", "!"),
  { type: "event_added", ...of, span_id: "a", name: "retry", attributes: { n: 2, why: "late" } },
  {
    type: "span_ended",
    ...of,
    span_id: "a",
    status: "error",
    error: { type: "TimeoutError", message: "no" },
  },
  { type: "producer_lost", time_ns: 2, subject_id: "p", last_seq: 1, last_seen_ns: 1 },
];
const FACTS: Facts = {
  count: EVENTS.length,
  fact: (k) => ({ offset: k, producerId: "p", seq: k, service: "s", event: EVENTS[k] }),
};

test("pieces of a text that follow each other are one line", () => {
  expect([...linesOf(FACTS, "all")]).toEqual([0, 1, 3, 4, 5, 6, 7, 8, 9]);
  expect(textFrom(FACTS, 1, "all", 100)).toEqual({ text: "Hello", pieces: 2 });
});

test("among texts alone, what came between does not part them", () => {
  expect([...linesOf(FACTS, "texts")]).toEqual([1, 3, 4]);
  expect(textFrom(FACTS, 4, "texts", 100)).toEqual({ text: " again!", pieces: 2 });
  expect(textFrom(FACTS, 4, "texts", 3).text).toBe(" ag");
});

test("each topic has its facts, and what is of no span is among the events", () => {
  expect([...linesOf(FACTS, "events")]).toEqual([7, 9]);
  expect([...linesOf(FACTS, "spans")]).toEqual([0, 8]);
  expect([...linesOf(FACTS, "attributes")]).toEqual([5]);
});

test("what facts say", () => {
  const said = (k: number) => Object.values(say(EVENTS[k], 100)).join(" | ");
  expect([0, 5, 7, 8, 9].map(said)).toEqual([
    "started | llm",
    'attribute | k = {"x":1}',
    "event | retry n = 2, why = late",
    "error | TimeoutError: no",
    "producer | lost",
  ]);
  expect(
    say({ type: "attribute_set", ...of, span_id: "a", key: "k", value: "x".repeat(9) }, 3).said,
  ).toBe("k = xxx");
});
