import { expect, test } from "vitest";

import { Matches, search } from "./search";
import { BASE_NS, sketch, spanId } from "./sketch";
import { ERROR, NONE } from "./tree";

const tree = sketch([
  { name: "root", from: 0, to: 100 },
  { name: "Embed later", in: 0, from: 50, to: 60, kind: "embedding", status: "error" },
  { name: "embed", in: 0, from: 10, to: 40, kind: "embedding" },
  { name: "ask", in: 2, from: 11, to: 12, kind: "llm", status: "error" },
  { name: "other root", from: 5, to: 6, by: "b" },
]);
tree.apply(
  { type: "producer_started", subject_id: "b", time_ns: BASE_NS, service: "Billing" },
  "relay",
  1,
);
tree.apply(
  {
    type: "attribute_set",
    trace_id: tree.traceId,
    span_id: spanId(3),
    time_ns: BASE_NS,
    key: "db.query",
    value: "SELECT 1",
  },
  "a",
  90,
);
tree.apply(
  {
    type: "attribute_set",
    trace_id: tree.traceId,
    span_id: spanId(0),
    time_ns: BASE_NS,
    key: "n",
    value: { deep: [4711] },
  },
  "a",
  91,
);

test.each([
  ["embed", [2, 1]], // names and kinds, from top to bottom
  ["EMBED L", [1]],
  ["llm", [3]],
  ["billing", [4]],
  ["000000000000000", [0, 2, 3, 1, 4]],
  [spanId(2), [2]],
  ["00", []], // too short for an id
  ["select", [3]],
  ["db.query", [3]],
  ["4711", [0]],
  ["nowhere", []],
  ["  ", []],
])("%j finds %j", (query, found) => {
  expect([...search(tree, query).spans]).toEqual(found);
});

test("next and previous go from where one is, in the order of the tree, and round", () => {
  const found = search(tree, "embed"); // 2, then 1
  expect(found.next(NONE, 1)).toBe(2);
  expect(found.next(2, 1)).toBe(1);
  expect(found.next(1, 1)).toBe(2);
  expect(found.next(3, 1)).toBe(1); // 3 is below 2
  expect(found.next(3, -1)).toBe(2);
  expect(found.next(2, -1)).toBe(1);
  expect(found.next(NONE, -1)).toBe(1);
  expect(found.indexOf(1)).toBe(1);
  expect(found.indexOf(3)).toBe(NONE);
  expect(search(tree, "nowhere").next(2, 1)).toBe(NONE);
});

test("errors are found the same way", () => {
  const errors = Matches.of(tree, (i) => tree.status[i] === ERROR);
  expect([...errors.spans]).toEqual([3, 1]);
  expect(errors.has(3)).toBe(true);
});
