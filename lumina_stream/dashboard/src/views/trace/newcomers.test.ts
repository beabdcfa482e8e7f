import { expect, test } from "vitest";

import { BASE_NS, sketch, spanId } from "../../model/sketch";
import { NONE } from "../../model/tree";
import type { Tree } from "../../model/tree";
import { Newcomers } from "./newcomers";

function grow(tree: Tree, i: number, start: number): void {
  const about = { trace_id: tree.traceId, span_id: spanId(i), time_ns: BASE_NS + start };
  tree.apply({ type: "span_started", ...about, name: `n${i}` }, "a", 1000 + i);
}

test("what was there when the page was opened is not new, however late it began", () => {
  const tree = sketch([{ name: "root", from: 0 }]);
  const newcomers = new Newcomers();
  newcomers.look(tree, true, 0);
  grow(tree, 1, 10);
  newcomers.look(tree, false, 100); // the rest of what was loaded
  expect([newcomers.from, newcomers.latest(tree)]).toEqual([Infinity, NONE]);
  grow(tree, 2, 30);
  grow(tree, 3, 20);
  newcomers.look(tree, false, 200);
  expect([newcomers.from, newcomers.latest(tree)]).toEqual([2, 2]);
});

test("new is new for 600 ms", () => {
  const tree = sketch([{ name: "root", from: 0 }]);
  const newcomers = new Newcomers();
  newcomers.look(tree, false, 0);
  grow(tree, 1, 10);
  newcomers.look(tree, false, 100);
  expect(newcomers.from).toBe(1);
  grow(tree, 2, 20);
  newcomers.look(tree, false, 800);
  expect(newcomers.from).toBe(2);
  newcomers.expire(1399);
  expect(newcomers.from).toBe(2);
  newcomers.expire(1401);
  expect(newcomers.from).toBe(Infinity);
});
