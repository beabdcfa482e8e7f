import { expect, test } from "vitest";

import { KIND_GROUPS, KindGroups, kindGroup } from "./kinds";
import { Minimap } from "./minimap";
import { BASE_NS, sketch } from "./sketch";
import { clockAt } from "./times";
import type { Tree } from "./tree";

const SCALE = { from: 0, to: 10, width: 10 };

function built(tree: Tree, now = 10): Minimap {
  const minimap = new Minimap();
  for (const _ of minimap.build(tree, new KindGroups(), clockAt(now), SCALE));
  return minimap;
}

function active(minimap: Minimap, kind: (typeof KIND_GROUPS)[number]): number[] {
  return [...minimap.active[KIND_GROUPS.indexOf(kind)].subarray(0, minimap.width)];
}

test("kinds have five colours", () => {
  expect(
    ["llm", "rerank", "tool", "task", "http", "", "constructor"].map(
      (k) => KIND_GROUPS[kindGroup(k)],
    ),
  ).toEqual(["llm", "retrieval", "tool", "agent", "other", "other", "other"]);
});

test("each column counts who works there, not who waits for a child", () => {
  const minimap = built(
    sketch([
      { name: "root", kind: "agent", from: 0, to: 10 },
      { name: "a", in: 0, kind: "llm", from: 2, to: 5 },
      { name: "b", in: 0, kind: "llm", from: 4, to: 6 },
      { name: "c", in: 0, kind: "tool", from: 8 },
    ]),
  );
  expect(active(minimap, "agent")).toEqual([1, 1, 0, 0, 0, 0, 1, 1, 0, 0]);
  expect(active(minimap, "llm")).toEqual([0, 0, 1, 1, 2, 1, 0, 0, 0, 0]);
  expect(active(minimap, "tool")).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
  expect(minimap.most).toBe(2);
});

test("a child that outlives its parent takes no more from it than it has", () => {
  const minimap = built(
    sketch([
      { name: "root", from: 0, to: 5 },
      { name: "late", in: 0, kind: "llm", from: 3, to: 9 },
    ]),
  );
  expect(active(minimap, "other")).toEqual([1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
  expect(active(minimap, "llm")).toEqual([0, 0, 0, 1, 1, 1, 1, 1, 1, 0]);
});

test("where spans failed, and where events were lost", () => {
  const tree = sketch([{ name: "root", from: 0, to: 5, status: "error" }]);
  const by_trace = { [tree.traceId]: 37 };
  tree.apply(
    { type: "events_lost", time_ns: BASE_NS + 7, reason: "queue_full", count: 40, by_trace },
    "a",
    99,
  );
  const minimap = built(tree);
  expect([...minimap.errors]).toEqual([0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
  expect(minimap.lost[7]).toBe(37);
});

test("until all is counted anew, what was counted before stands", () => {
  const tree = sketch([{ name: "root", kind: "llm", from: 0, to: 10 }]);
  const minimap = built(tree);
  for (let k = 0; k < 6_000; k++) {
    const span_id = (k + 1_000).toString(16).padStart(16, "0");
    const start = { type: "span_started", trace_id: tree.traceId, span_id, name: "more" } as const;
    tree.apply({ ...start, time_ns: BASE_NS + 3 }, "a", 1_000 + 2 * k);
    const end = { type: "span_ended", trace_id: tree.traceId, span_id } as const;
    tree.apply({ ...end, time_ns: BASE_NS + 4, status: "ok" }, "a", 1_001 + 2 * k);
  }
  tree.settle();
  const before = active(minimap, "other");
  const steps = minimap.build(tree, new KindGroups(), clockAt(10), SCALE);
  expect(steps.next().done).toBe(false);
  expect(active(minimap, "other")).toEqual(before);
  expect(steps.next().done).toBe(true);
  expect(active(minimap, "other")).toEqual([0, 0, 0, 6_000, 0, 0, 0, 0, 0, 0]);
});
