import { expect, test } from "vitest";

import { Tree } from "../../model/tree";
import { endOf, selfTime } from "./timing";

const TRACE = "0".repeat(31) + "1";
const BASE = 1_700_000_000e9;
const id = (n: number) => n.toString(16).padStart(16, "0");

/** [start, end or null] of a span and of its children, ns after its own start. */
function built(end: number | null, children: [number, number | null][]): Tree {
  const tree = new Tree(TRACE);
  let seq = 0;
  const say = (event: object) => tree.apply({ trace_id: TRACE, ...event } as never, "p", ++seq);
  const span = (n: number, start: number, stop: number | null, parent: string | null) => {
    say({
      type: "span_started",
      span_id: id(n),
      parent_id: parent,
      name: "x",
      time_ns: BASE + start,
    });
    if (stop !== null) say({ type: "span_ended", span_id: id(n), time_ns: BASE + stop });
  };
  span(1, 0, end, null);
  children.forEach(([start, stop], place) => span(place + 2, start, stop, id(1)));
  tree.settle();
  return tree;
}

const self = (tree: Tree, now = 0) => selfTime(tree, tree.find(id(1)), BASE + now - tree.baseNs);

test("a span without children took all its time itself", () => {
  expect(self(built(10_240, []))).toBe(10_240);
});

test("children that overlap count once", () => {
  expect(
    self(
      built(10_240, [
        [1024, 5120],
        [2048, 4096],
        [4096, 6144],
      ]),
    ),
  ).toBe(10_240 - 5120);
});

test("a child that outlives its parent takes no more than there is", () => {
  expect(self(built(10_240, [[5120, 20_480]]))).toBe(5120);
});

test("what is open goes on until now", () => {
  const tree = built(null, [[2048, null]]);
  expect(self(tree, 8192)).toBe(2048);
  expect(
    endOf(tree, tree.find(id(1)), BASE + 8192 - tree.baseNs) - tree.start[tree.find(id(1))],
  ).toBe(8192);
});
