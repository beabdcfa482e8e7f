import { expect, test } from "vitest";

import { Folding, groupKey } from "./folding";
import { LOSS, Rows } from "./rows";
import { BASE_NS, sketch, spanId } from "./sketch";
import type { Sketched } from "./sketch";
import { NONE } from "./tree";
import type { Tree } from "./tree";

function built(tree: Tree, folding = new Folding()): Rows {
  const rows = new Rows();
  rows.build(tree, folding);
  return rows;
}

/** A row a line, as a person sees it. */
function seen(tree: Tree, rows: Rows): string[] {
  return Array.from({ length: rows.count }, (_, row) => {
    const fold = rows.fold[row];
    const name = tree.name(rows.span[row]);
    const said = fold === LOSS ? "lost" : fold >= 0 ? `${rows.folds[fold].count} ${name}` : name;
    return `${"  ".repeat(rows.depth[row])}${said} ${rows.place[row]}/${rows.among[row]}`;
  });
}

function many(
  count: number,
  name: string,
  parent: number,
  more: Partial<Sketched> = {},
): Sketched[] {
  return Array.from({ length: count }, (_, k) => ({
    name,
    in: parent,
    from: k,
    to: k + 10,
    ...more,
  }));
}

const SMALL: Sketched[] = [
  { name: "root", from: 0, to: 100 },
  { name: "b", in: 0, from: 20, to: 60 },
  { name: "a", in: 0, from: 10, to: 40 },
  { name: "a1", in: 2, from: 11, to: 12 },
  { name: "other root", from: 5, to: 6 },
];

test("parents come before their children, siblings by their start", () => {
  const tree = sketch(SMALL);
  expect(seen(tree, built(tree))).toEqual([
    "root 1/2",
    "  a 1/2",
    "    a1 1/1",
    "  b 2/2",
    "other root 2/2",
  ]);
});

test("what is collapsed hides what is below it, and stands for it", () => {
  const tree = sketch(SMALL);
  const folding = new Folding();
  folding.toggle(2);
  const rows = built(tree, folding);
  expect(seen(tree, rows)).toEqual(["root 1/2", "  a 1/2", "  b 2/2", "other root 2/2"]);
  expect(rows.isCollapsed(tree, folding, 1)).toBe(true);
  expect(rows.isCollapsed(tree, folding, 0)).toBe(false);
  expect(rows.isCollapsed(tree, folding, 2)).toBeUndefined();
  expect(rows.rowFor(tree, 3)).toBe(1);
  expect(rows.ownRow(3)).toBe(NONE);
  folding.reveal(tree, 3);
  rows.build(tree, folding);
  expect(rows.ownRow(3)).toBe(2);
});

test("everything below a depth is collapsed but what was opened", () => {
  const tree = sketch(SMALL);
  const folding = new Folding();
  folding.setLimit(0);
  expect(seen(tree, built(tree, folding))).toEqual(["root 1/2", "other root 2/2"]);
  folding.toggle(0);
  expect(seen(tree, built(tree, folding))).toEqual([
    "root 1/2",
    "  a 1/2",
    "  b 2/2",
    "other root 2/2",
  ]);
});

test("twenty siblings of a name have a row each, twenty-one share one", () => {
  for (const [count, expected] of [
    [20, 21],
    [21, 2],
  ]) {
    const tree = sketch([{ name: "root", from: 0, to: 100 }, ...many(count, "embed", 0)]);
    expect(built(tree).count).toBe(expected);
  }
});

test("a density row stands where its first span would, beside the other siblings", () => {
  const tree = sketch([
    { name: "root", from: 0, to: 100 },
    { name: "before", in: 0, from: -1, to: 5 },
    { name: "between", in: 0, from: 3.5, to: 5 },
    ...many(25, "embed", 0),
  ]);
  const rows = built(tree);
  expect(seen(tree, rows)).toEqual(["root 1/1", "  before 1/3", "  25 embed 2/3", "  between 3/3"]);
  expect(rows.rowFor(tree, 3 + 24)).toBe(2);
  expect(rows.ownRow(3 + 24)).toBe(NONE);
});

test("errors are never folded away, nor is what has one below it", () => {
  const spans = [{ name: "root", from: 0, to: 100 }, ...many(25, "embed", 0)];
  spans[5].status = "error";
  spans.push({ name: "inner", in: 8, from: 8, to: 9, status: "error" });
  const tree = sketch(spans);
  const rows = built(tree);
  expect(seen(tree, rows)).toEqual([
    "root 1/1",
    "  25 embed 1/3",
    "  embed 2/3",
    "  embed 3/3",
    "    inner 1/1",
  ]);
  expect(rows.ownRow(5)).toBe(2);
  expect(rows.rowFor(tree, 6)).toBe(1);
});

test("a density row opens, and its spans have rows below it", () => {
  const tree = sketch([
    { name: "root", from: 0, to: 100 },
    ...many(21, "embed", 0),
    { name: "child", in: 1, from: 1, to: 2 },
  ]);
  const folding = new Folding();
  folding.toggleGroup(groupKey(0, tree.nameOf[1]));
  const rows = built(tree, folding);
  expect(seen(tree, rows).slice(0, 5)).toEqual([
    "root 1/1",
    "  21 embed 1/1",
    "    embed 1/21",
    "      child 1/1",
    "    embed 2/21",
  ]);
  expect(rows.count).toBe(24);
  expect(rows.isCollapsed(tree, folding, 1)).toBe(false);
  expect(rows.above(4)).toBe(1);
  expect(rows.above(3)).toBe(2);
  expect(rows.above(0)).toBe(NONE);
});

test("roots fold like any siblings, and a span that somebody went to keeps its row", () => {
  const tree = sketch(many(30, "request", 0).map((span) => ({ ...span, in: undefined })));
  const folding = new Folding();
  expect(seen(tree, built(tree, folding))).toEqual(["30 request 1/1"]);
  folding.reveal(tree, 7);
  const rows = built(tree, folding);
  expect(seen(tree, rows)).toEqual(["30 request 1/2", "request 2/2"]);
  expect(rows.span[1]).toBe(7);
});

test("two names of one parent fold apart; names of two parents, too", () => {
  const tree = sketch([
    { name: "root", from: 0, to: 100 },
    { name: "x", in: 0, from: 0, to: 100 },
    { name: "y", in: 0, from: 1, to: 100 },
    ...many(22, "one", 1),
    ...many(23, "two", 1),
    ...many(24, "one", 2),
  ]);
  expect(seen(tree, built(tree))).toEqual([
    "root 1/1",
    "  x 1/2",
    "    22 one 1/2",
    "    23 two 2/2",
    "  y 2/2",
    "    24 one 1/1",
  ]);
});

test("losses have the first row", () => {
  const tree = sketch(SMALL);
  const by_trace = { [tree.traceId]: 37 };
  tree.apply(
    { type: "events_lost", time_ns: BASE_NS + 50, reason: "queue_full", count: 40, by_trace },
    "a",
    99,
  );
  expect(seen(tree, built(tree))[0]).toBe("root 1/2".replace("root", "lost").replace("1/2", "1/1"));
});

test("ten thousand levels and a rebuild that is smaller", () => {
  const deep = Array.from({ length: 10_000 }, (_, i) => ({
    name: "deep",
    in: i === 0 ? undefined : i - 1,
    from: i,
    to: 20_000 - i,
  }));
  const tree = sketch(deep);
  const folding = new Folding();
  const rows = built(tree, folding);
  expect(rows.count).toBe(10_000);
  expect(rows.depth[9999]).toBe(9999);
  folding.toggle(5);
  rows.build(tree, folding);
  expect(rows.count).toBe(6);
  expect(rows.rowFor(tree, 9999)).toBe(5);
});

test("what is folded stays so in another tree of the same trace", () => {
  const tree = sketch([...SMALL, ...many(30, "embed", 1)]);
  const folding = new Folding();
  folding.toggle(2);
  folding.toggleGroup(groupKey(1, tree.nameOf[5]));
  const other = sketch([{ name: "first" }, ...[...SMALL, ...many(30, "embed", 1)]].slice(0, 1));
  // The same spans in another order: every id is one further.
  for (const [k, span] of [...SMALL, ...many(30, "embed", 1)].entries()) {
    other.apply(
      {
        type: "span_started",
        trace_id: tree.traceId,
        span_id: spanId(k),
        time_ns: BASE_NS + span.from!,
        name: span.name,
        parent_id: span.in === undefined ? null : spanId(span.in),
      },
      "z",
      1000 - k,
    );
  }
  other.settle();
  folding.carry(tree, other);
  const rows = built(other, folding);
  expect(rows.ownRow(other.find(spanId(3)))).toBe(NONE);
  expect(rows.ownRow(other.find(spanId(20)))).not.toBe(NONE);
});
