// What the shared fixtures do not reach: large trees, their sums, and what is kept of them.

import { expect, test } from "vitest";

import { KEEP_DETAILS, KEEP_LENGTH, NONE, Tree } from "./tree";
import type { Event, OutlineFrame, SpanDetail } from "./wire";

const TRACE = "1".repeat(32);
const YEARS = 1_760_000_000e9;

function id(n: number): string {
  return (n + 1).toString(16).padStart(16, "0");
}

function start(n: number, parent: number | null, time_ns = n + 1, name = `span ${n}`): Event {
  const parent_id = parent === null ? null : id(parent);
  return { type: "span_started", trace_id: TRACE, span_id: id(n), time_ns, name, parent_id };
}

function end(n: number, time_ns: number, status: "ok" | "error" = "ok"): Event {
  return { type: "span_ended", trace_id: TRACE, span_id: id(n), time_ns, status };
}

function attribute(n: number, key: string, value: unknown, time_ns = 5): Event {
  return { type: "attribute_set", trace_id: TRACE, span_id: id(n), time_ns, key, value };
}

function applied(tree: Tree, ...events: Event[]): Tree {
  events.forEach((event, seq) => tree.apply(event, "p", seq + 1));
  tree.settle();
  return tree;
}

/** An outline of a span a line: [number, parent, start, end]. */
function outlineOf(
  spans: [number, number, number, number | null][],
  more: Partial<OutlineFrame> = {},
): OutlineFrame {
  return {
    type: "outline",
    offset: 1,
    trace_id: TRACE,
    base_ns: 0,
    total: spans.length,
    at: 0,
    strings: ["p", "span"],
    producers: [],
    ids: spans.map(([n]) => id(n)).join(""),
    parents: spans.map(([, parent]) => parent),
    names: spans.map(() => 1),
    kinds: spans.map(() => -1),
    starts: spans.map(([, , at]) => at),
    start_by: spans.map(() => 0),
    start_seq: spans.map(([n]) => 2 * n + 1),
    ends: spans.map(([, , , at]) => at),
    end_by: spans.map(([, , , at]) => (at === null ? -1 : 0)),
    end_seq: spans.map(([n, , , at]) => (at === null ? -1 : 2 * n + 2)),
    statuses: spans.map(([, , , at]) => (at === null ? 0 : 1)),
    lasts: spans.map(([, , at, last]) => last ?? at),
    flags: spans.map(() => 0),
    done: true,
    ...more,
  };
}

/** Sums as `totals` has them, worked out from scratch. */
function summed(tree: Tree, top: number): number[] {
  let [spans, open, errors, input, cost] = [0, 0, 0, 0, 0];
  const stack = [top];
  for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
    spans += tree.producerOf[i] === NONE ? 0 : 1;
    open += tree.state(i) === "running" ? 1 : 0;
    errors += tree.state(i) === "error" ? 1 : 0;
    input += tree.input[i];
    cost += tree.cost[i] > 0 ? tree.cost[i] : 0;
    for (let child = tree.firstChild[i]; child !== NONE; child = tree.nextSibling[child])
      stack.push(child);
  }
  return [spans, open, errors, input, cost];
}

function sums(tree: Tree, i: number): number[] {
  const { spans, open, errors, input, cost } = tree.totals(i);
  return [spans, open, errors, input, cost ?? 0];
}

test.each([
  ["a chain", (n: number) => (n === 0 ? null : n - 1)],
  ["a chain from its end", (n: number) => (n === 2_999 ? null : n + 1)],
  [
    "a comb from its end",
    (n: number) => (n === 2_999 ? null : n === 2_998 ? 2_999 : n + (n % 2 ? 1 : 2)),
  ],
  ["a fan", (n: number) => (n === 0 ? null : 0)],
  ["a tree", (n: number) => (n === 0 ? null : Math.floor((n - 1) / 3))],
])("the sums of %s are right, whether they are kept up or added up anew", (_, parentOf) => {
  const count = 3_000;
  for (const each of [10, count * 3]) {
    const tree = new Tree(TRACE);
    let seq = 0;
    const say = (event: Event) => {
      tree.apply(event, "p", ++seq);
      if (seq % each === 0) tree.settle();
    };
    for (let n = 0; n < count; n++) say(start(n, parentOf(n)));
    for (let n = 0; n < count; n += 3) say(end(n, 9_000 + n, n % 2 ? "ok" : "error"));
    tree.setUsage(Array.from({ length: 100 }, (_, n) => [id(7 * n), n, 1, n % 4 ? n : null]));
    tree.settle();
    for (let i = 0; i < count; i += 97) expect([i, sums(tree, i)]).toEqual([i, summed(tree, i)]);
    const whole = tree.totals();
    expect([whole.spans, whole.open, whole.errors]).toEqual([
      count,
      tree.openCount,
      tree.errorCount,
    ]);
    expect([whole.unpriced, whole.calls]).toEqual([25, 100]);
  }
});

test("no price is none, and not nothing", () => {
  const tree = applied(new Tree(TRACE), start(0, null), start(1, 0), start(2, 0));
  tree.setUsage([[id(1), 5, 5, null]]);
  tree.settle();
  expect(tree.totals()).toMatchObject({ input: 5, cost: null, unpriced: 1, calls: 1 });
  tree.setUsage([[id(2), 1, 1, 7]]);
  tree.settle();
  expect(tree.totals()).toMatchObject({ input: 6, cost: 7, unpriced: 1, calls: 2 });
  tree.setUsage([
    [id(2), 0, 0, 0],
    [id(1), 0, 0, 0],
  ]);
  tree.settle();
  expect(tree.totals()).toMatchObject({ input: 0, cost: null, unpriced: 0, calls: 0 });
});

test("a span that moves takes along what is below it", () => {
  const tree = applied(new Tree(TRACE), start(0, null), start(1, 0), start(2, 1), start(3, 2));
  tree.setUsage([
    [id(2), 5, 5, null],
    [id(3), 1, 1, 7],
  ]);
  tree.settle();
  tree.apply(start(2, 0, 50), "p", 50);
  tree.settle();
  expect(tree.totals(1)).toMatchObject({ spans: 1, input: 0, cost: null, unpriced: 0, calls: 0 });
  expect(tree.totals(0)).toMatchObject({ spans: 4, input: 6, cost: 7, unpriced: 1, calls: 2 });
  tree.apply(start(2, null, 60), "p", 60);
  tree.settle();
  expect(tree.totals(0)).toMatchObject({ spans: 2, input: 0, cost: null, unpriced: 0, calls: 0 });
});

test("what a large trace says in detail is kept of the open span only", () => {
  const tree = new Tree(TRACE);
  const told = [start(0, null), attribute(0, "k", 1), start(1, 0), attribute(1, "early", 1)];
  const open = applied(tree, ...told).find(id(1));
  expect(tree.detail(0)?.attributes.get("k")).toBe(1);
  expect(tree.detail(0)?.complete).toBe(true);
  tree.keepDetail(open);
  for (let n = 2; n <= KEEP_DETAILS; n++) tree.apply(start(n, 0), "p", 10 + n);
  tree.apply(attribute(0, "late", 2), "p", 5);
  tree.apply(attribute(1, "late", 2), "p", 6);
  expect([tree.detail(0), tree.flags[0] & 2]).toEqual([undefined, 2]);
  expect([...(tree.detail(open)?.attributes.keys() ?? [])]).toEqual(["early", "late"]);
  tree.dropDetail(open);
  expect(tree.detail(open)).toBeUndefined();
});

test("what a trace of few spans says at great length is not kept either", () => {
  const tree = applied(new Tree(TRACE), start(0, null), start(1, 0));
  tree.keepDetail(1);
  const messages = [{ role: "user", content: "x".repeat(1_000_000) }];
  for (let seq = 0; seq * 1_000_000 < KEEP_LENGTH; seq++) {
    expect(tree.detail(0)?.values.size ?? 0).toBe(Math.min(1, seq));
    tree.apply(attribute(0, "gen_ai.input.messages", messages, 10 + seq), "p", 10 + seq);
  }
  tree.apply(attribute(1, "k", 1), "p", 99);
  expect([tree.detail(0), tree.detail(1)?.values.size]).toEqual([undefined, 1]);
});

test("a detail is whole once the relay has told of what was before", () => {
  const tree = new Tree(TRACE);
  tree.restoreOutline(outlineOf([[0, -1, 10, null]]));
  tree.keepDetail(0);
  tree.apply(attribute(0, "k", "new", 50), "p", 9);
  expect([tree.detail(0)?.complete, tree.detail(0)?.attributes.size]).toEqual([false, 1]);
  const told: SpanDetail = {
    offset: 1,
    trace_id: TRACE,
    span_id: id(0),
    attributes: [
      ["k", "old", [20, "p", 2], null],
      ["other", 1, [20, "p", 3], { other: "redacted" }],
    ],
    events: [{ time_ns: 30, producer_id: "p", seq: 4, name: "e" }],
    texts: [["output", 0, 31, "p", 5, "Hi"]],
    links: [{ trace_id: TRACE, span_id: id(1), attributes: {} }],
    error: null,
    marks: { "@name": "cut:9", other: "redacted" },
  };
  tree.restoreDetail(told);
  const detail = tree.detail(0);
  expect(detail?.complete).toBe(true);
  expect([...(detail?.attributes ?? [])]).toEqual([
    ["k", "new"],
    ["other", 1],
  ]);
  expect([...(detail?.marks ?? [])]).toEqual([
    ["@name", "cut:9"],
    ["other", "redacted"],
  ]);
  expect([detail?.events.length, detail?.text("output"), detail?.links.length]).toEqual([
    1,
    "Hi",
    1,
  ]);
  // What is said again, as a fact or by the relay, changes nothing.
  const links = [{ trace_id: TRACE, span_id: id(1) }];
  tree.apply({ type: "span_updated", trace_id: TRACE, span_id: id(0), time_ns: 12, links }, "p", 1);
  tree.restoreDetail(told);
  expect([detail?.events.length, detail?.text("output"), detail?.links.length]).toEqual([
    1,
    "Hi",
    1,
  ]);
});

test("a fact that a double has rounded is the one that an outline has exactly", () => {
  const tree = new Tree(TRACE);
  const base_ns = Math.floor(YEARS / 2 ** 20) * 2 ** 20;
  tree.restoreOutline(outlineOf([[0, -1, 1_000, 3_100]], { base_ns }));
  tree.apply(start(0, null, base_ns + 1_024), "p", 1); // the same fact again
  tree.apply(start(0, null, base_ns + 1_024, "copy"), "+otlp-x", 9); // a copy of it, rounded
  tree.apply(end(0, base_ns + 3_072), "+otlp-x", 10);
  expect([
    tree.conflicts[0],
    tree.start[0],
    tree.name(0),
    tree.producers[tree.producerOf[0]].id,
  ]).toEqual([0, 1_000, "span", "p"]);
  tree.apply(start(0, null, base_ns + 2_048, "later"), "p", 7);
  expect([tree.conflicts[0], tree.name(0)]).toEqual([2, "later"]);
});

test("while an outline comes the tree says how much is missing, and parents may come in later pieces", () => {
  const tree = new Tree(TRACE);
  const all = outlineOf([
    [0, 3, 1, null],
    [1, 0, 2, 5],
    [2, 3, 3, 4],
    [3, -1, 0, null],
  ]);
  const piece = (from: number, to: number, done: boolean): OutlineFrame => {
    const cut = Object.entries(all).map(([key, value]) => [
      key,
      key === "strings"
        ? from === 0
          ? value
          : []
        : key === "ids"
          ? all.ids.slice(16 * from, 16 * to)
          : Array.isArray(value)
            ? value.slice(from, to)
            : value,
    ]);
    return { ...(Object.fromEntries(cut) as OutlineFrame), producers: [], at: from, done };
  };
  tree.restoreOutline(piece(0, 2, false));
  tree.settle();
  expect([tree.total, tree.count, tree.rootCount]).toEqual([4, 2, 1]);
  tree.restoreOutline(piece(2, 4, false));
  tree.settle();
  expect([tree.total, tree.count, tree.rootCount, tree.parentId(0)]).toEqual([4, 4, 1, id(3)]);
  tree.restoreOutline(piece(4, 4, true));
  tree.settle();
  expect([tree.total, tree.count, tree.rootCount]).toEqual([4, 4, 1]);
  const root = tree.firstRoot;
  expect([tree.id(root), tree.childCount[root], sums(tree, root)]).toEqual([
    id(3),
    2,
    summed(tree, root),
  ]);
  expect(tree.parentId(tree.find(id(0)))).toBe(id(3));
});

test("an outline that breaks off begins again and ends as it should", () => {
  const tree = new Tree(TRACE);
  tree.restoreOutline(
    outlineOf(
      [
        [0, -1, 1, null],
        [1, 0, 2, null],
      ],
      { total: 3, done: false },
    ),
  );
  tree.restoreOutline(
    outlineOf([
      [0, -1, 1, 9],
      [1, 0, 2, null],
      [2, 1, 3, 4],
    ]),
  );
  tree.settle();
  expect([tree.count, tree.total, tree.openCount, tree.conflicts[0]]).toEqual([3, 3, 1, 0]);
  expect(sums(tree, 0)).toEqual(summed(tree, 0));
});

test("an outline that does not know the parent contradicts nobody who does", () => {
  const tree = applied(new Tree(TRACE), start(0, 5));
  tree.restoreOutline(outlineOf([[0, -2, 1, null]], { start_seq: [9], strings: ["p", "span 0"] }));
  tree.settle();
  expect([tree.conflicts[0], tree.parentId(0), tree.id(tree.parent[0])]).toEqual([0, id(5), id(5)]);
});

test("an outline of more spans than there is room for ends all the same", () => {
  const tree = new Tree(TRACE, { maxSpans: 2 });
  tree.restoreOutline(
    outlineOf([
      [0, -1, 1, null],
      [1, 0, 2, 3],
      [2, 0, 3, 4],
    ]),
  );
  tree.settle();
  expect([tree.count, tree.total, tree.truncated]).toEqual([2, 2, { spans: 1 }]);
  expect(sums(tree, 0)).toEqual(summed(tree, 0));
});

test("a producer is called what its batches say until it says so itself", () => {
  const tree = applied(new Tree(TRACE), start(0, null));
  tree.heardFrom("p", "from the batch");
  expect(tree.service(0)).toBe("from the batch");
  tree.apply(
    { type: "producer_started", time_ns: 1, subject_id: "p", service: "its own" },
    "relay",
    1,
  );
  tree.heardFrom("p", "from the batch");
  expect(tree.service(0)).toBe("its own");
});

test("a copy goes its own way", () => {
  const tree = applied(new Tree(TRACE), start(0, null), start(1, 0), start(2, 0));
  const copy = tree.clone();
  copy.apply(end(1, 9, "error"), "p", 10);
  copy.apply(start(3, 1), "p", 11);
  copy.apply(
    { type: "producer_lost", time_ns: 20, subject_id: "p", last_seq: 9, last_seen_ns: 15 },
    "relay",
    1,
  );
  copy.settle();
  tree.settle();
  expect([tree.count, tree.openCount, tree.state(1), tree.totals().errors]).toEqual([
    3,
    3,
    "running",
    0,
  ]);
  expect([copy.count, copy.openCount, copy.state(1), copy.state(0)]).toEqual([
    4,
    0,
    "error",
    "interrupted",
  ]);
  expect([copy.totals().errors, copy.find(id(3)), tree.find(id(3))]).toEqual([1, 3, NONE]);
  tree.apply(start(3, 2), "p", 11);
  tree.settle();
  expect([tree.find(id(3)), tree.parent[3], copy.parent[3]]).toEqual([3, 2, 1]);
});

test("a version says that something changed, a shape that rows did", () => {
  const tree = applied(new Tree(TRACE), start(0, null));
  const before = [tree.version, tree.shape];
  tree.apply(attribute(0, "k", 1), "p", 8);
  expect(tree.version).toBeGreaterThan(before[0]);
  expect(tree.shape).toBe(before[1]);
  tree.apply(
    { type: "span_updated", trace_id: TRACE, span_id: id(0), time_ns: 9, name: "new" },
    "p",
    9,
  );
  expect(tree.shape).toBeGreaterThan(before[1]);
  const named = tree.shape;
  tree.apply(start(1, 0), "p", 10);
  expect(tree.shape).toBeGreaterThan(named);
});

test("what is no span id makes no span", () => {
  const tree = new Tree(TRACE);
  tree.apply(
    { type: "span_started", trace_id: TRACE, span_id: "<b>", time_ns: 1, name: "" },
    "p",
    1,
  );
  expect([tree.count, tree.root, tree.traceState, tree.finished]).toEqual([
    0,
    NONE,
    "missing",
    false,
  ]);
});
