// The tree is what model/growing.py says, whatever the order: see tests/support/tree_fixtures.py.

import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

import { NONE, REMOTE_PARENT, Tree, CONFLICTS } from "./tree";
import type { Event, OutlineFrame, Usage } from "./wire";

const FOLDER = fileURLToPath(new URL("../../../../tests/fixtures/trees/", import.meta.url));

type Told = [producerId: string, seq: number, event: Event];
type Row = Record<string, unknown> & { usage: unknown };
type Fixture = {
  name: string;
  trace_id: string;
  max_spans: number | null;
  ordered: boolean;
  facts: Told[];
  usage: Usage[];
  late: [count: number, frames: OutlineFrame[]][];
  spans: Record<string, Row>;
  tree: Record<string, unknown>;
};

/** What an outline does not have; it comes with a span's detail. */
const DETAILS = ["attributes", "attribute_stamps", "marks", "events", "texts", "links", "error"];

const fixtures = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".json"))
  .map((file) => JSON.parse(readFileSync(FOLDER + file, "utf8")) as Fixture);

function grown(fixture: Fixture, facts: Told[], tree = emptyTree(fixture)): Tree {
  for (const [producerId, seq, event] of facts) tree.apply(event, producerId, seq);
  return tree;
}

function emptyTree(fixture: Fixture): Tree {
  const maxSpans = fixture.max_spans ?? undefined;
  return new Tree(fixture.trace_id, maxSpans === undefined ? {} : { maxSpans });
}

function settled(fixture: Fixture, tree: Tree): Tree {
  tree.setUsage(fixture.usage);
  tree.settle();
  return tree;
}

function rowsOf(tree: Tree): Record<string, Row> {
  const rows: Record<string, Row> = {};
  for (let i = 0; i < tree.count; i++) rows[tree.id(i)] = rowOf(tree, i);
  return rows;
}

function rowOf(tree: Tree, i: number): Row {
  const detail = tree.detail(i);
  const at = (time: number) => time + tree.baseNs;
  const children: string[] = [];
  let before = NONE;
  for (let child = tree.firstChild[i]; child !== NONE; child = tree.nextSibling[child]) {
    children.push(tree.id(child));
    expect([tree.prevSibling[child], tree.parent[child]]).toEqual([before, i]);
    before = child;
  }
  expect([tree.lastChild[i], tree.childCount[i]]).toEqual([before, children.length]);
  const by = tree.producerOf[i];
  const startedBy = by === NONE ? null : tree.producers[by].id;
  const totals = tree.totals(i);
  return {
    parent_id: tree.parentId(i),
    parent: tree.parent[i] === NONE ? null : tree.id(tree.parent[i]),
    children,
    name: tree.name(i),
    kind: tree.kindOf[i] === NONE ? null : tree.kind(i),
    remote_parent: (tree.flags[i] & REMOTE_PARENT) !== 0,
    state: tree.state(i),
    producer_id: startedBy,
    service: tree.service(i),
    start: startedBy === null ? null : [at(tree.start[i]), startedBy, tree.startSeq[i]],
    end:
      tree.status[i] === 0
        ? null
        : [at(tree.end[i]), tree.producers[tree.endBy[i]].id, tree.endSeq[i]],
    error: detail?.error ?? null,
    last_seen_ns: Number.isNaN(tree.lastSeen(i)) ? 0 : at(tree.lastSeen(i)),
    attributes: Object.fromEntries(detail?.attributes ?? []),
    attribute_stamps: Object.fromEntries(
      [...(detail?.values ?? [])].map(([key, { stamp }]) => [
        key,
        [at(stamp.time), stamp.by, stamp.seq],
      ]),
    ),
    marks: Object.fromEntries(detail?.marks ?? []),
    events: (detail?.events ?? []).map(({ stamp, name, attributes, marks }) => [
      [at(stamp.time), stamp.by, stamp.seq],
      name,
      attributes,
      marks,
    ]),
    texts: Object.fromEntries((detail?.channels ?? []).map((c) => [c, detail?.text(c)])),
    links: (detail?.links ?? []).map((link) => [
      link.trace_id,
      link.span_id,
      link.attributes ?? {},
    ]),
    flags: [...CONFLICTS]
      .filter(([, bit]) => tree.conflictsOf(i) & bit)
      .map(([flag]) => flag)
      .sort(),
    totals: [totals.spans, totals.open, totals.errors],
    usage: [totals.input, totals.output, totals.cost ?? 0, totals.unpriced],
  };
}

function wholeOf(tree: Tree): Record<string, unknown> {
  const walk: [number, string][] = [];
  const roots: string[] = [];
  for (let i = tree.firstRoot, depth = 0; i !== NONE;) {
    if (depth === 0) roots.push(tree.id(i));
    walk.push([depth, tree.id(i)]);
    if (tree.firstChild[i] !== NONE) {
      i = tree.firstChild[i];
      depth++;
      continue;
    }
    while (i !== NONE && tree.nextSibling[i] === NONE) {
      i = tree.parent[i];
      depth--;
    }
    i = i === NONE ? NONE : tree.nextSibling[i];
  }
  expect(roots.length).toBe(tree.rootCount);
  const unended = [...tree.unended()];
  const running = unended.filter((i) => tree.state(i) === "running");
  const totals = tree.totals();
  return {
    walk,
    roots,
    root: tree.root === NONE ? null : tree.id(tree.root),
    state: tree.traceState,
    finished: tree.finished,
    span_count: tree.startedCount,
    missing_count: tree.missingCount,
    open_count: tree.openCount,
    error_count: tree.errorCount,
    lost_count: tree.lostCount,
    open_spans: running.sort((a, b) => tree.compare(a, b)).map((i) => tree.id(i)),
    unfinished_producers: [
      ...new Set(unended.map((i) => tree.producers[tree.producerOf[i]].id)),
    ].sort(),
    start_ns: tree.startNs,
    end_ns: tree.endNs,
    services: tree.services,
    last_seen_ns: tree.lastSeenNs,
    truncated: tree.truncated,
    losses: tree.losses
      .map((loss) => [
        [loss.time + tree.baseNs, loss.by, loss.seq],
        loss.count,
        loss.reason,
        loss.exact,
      ])
      .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
    usage: [totals.input, totals.output, totals.cost ?? 0, totals.unpriced],
  };
}

function check(fixture: Fixture, tree: Tree, without: readonly string[] = []): void {
  const rows = rowsOf(settled(fixture, tree));
  const expected: Record<string, Row> = {};
  for (const [id, row] of Object.entries(fixture.spans)) {
    expected[id] = { ...row, texts: row.texts, usage: row.usage ?? rows[id]?.usage };
    for (const field of without) {
      delete expected[id][field];
      delete rows[id]?.[field];
    }
  }
  expect(rows).toEqual(expected);
  const whole = { ...fixture.tree };
  const losses = [...(whole.losses as unknown[])];
  losses.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  expect(wholeOf(tree)).toEqual({ ...whole, losses });
}

/** A shuffle that is the same each time. */
function shuffled<T>(values: readonly T[], seed: number): T[] {
  const result = [...values];
  let state = seed * 2654435761 + 1;
  for (let i = result.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

test("there are fixtures", () => {
  expect(fixtures.length).toBeGreaterThan(30);
});

describe.each(fixtures.map((fixture) => [fixture.name, fixture] as const))("%s", (_, fixture) => {
  test("in the order given", () => {
    check(fixture, grown(fixture, fixture.facts));
  });

  test.skipIf(fixture.ordered)("in other orders, some of it twice", () => {
    check(fixture, grown(fixture, [...fixture.facts].reverse()));
    for (let seed = 1; seed <= 8; seed++) {
      const twice = shuffled(fixture.facts, seed).slice(0, Math.ceil(fixture.facts.length / 3));
      check(fixture, grown(fixture, shuffled([...fixture.facts, ...twice], seed)));
    }
  });

  test.skipIf(fixture.ordered)("read at any moment", () => {
    const tree = emptyTree(fixture);
    for (const [at, fact] of shuffled(fixture.facts, 99).entries()) {
      grown(fixture, [fact], tree);
      if (at % 3 === 0) tree.settle();
    }
    check(fixture, tree);
  });

  test.skipIf(fixture.late.length === 0)("joined late by an outline, with what follows", () => {
    for (const [count, frames] of fixture.late) {
      for (const overlap of [0, 3]) {
        const tree = emptyTree(fixture);
        for (const frame of frames) tree.restoreOutline(frame);
        tree.settle();
        expect(tree.total).toBe(tree.count);
        // An outline has the producers whose spans it has.
        grown(fixture, fixture.facts.slice(0, count).filter(isOfProducer), tree);
        grown(fixture, shuffled(fixture.facts.slice(Math.max(0, count - overlap)), count), tree);
        check(fixture, tree, [...DETAILS, ...lateFlags(fixture)]);
      }
    }
  });

  test.skipIf(fixture.late.length === 0)("an outline on top of what was there", () => {
    for (const [count, frames] of fixture.late) {
      const have = Math.floor(count / 2);
      const tree = grown(fixture, shuffled(fixture.facts.slice(have), count));
      grown(fixture, fixture.facts.slice(0, have).filter(isOfProducer), tree);
      tree.settle();
      for (const frame of frames) tree.restoreOutline(frame);
      check(fixture, tree, [...DETAILS, ...lateFlags(fixture)]);
    }
  });
});

function isOfProducer([, , event]: Told): boolean {
  return event.type.startsWith("producer_");
}

/** An event after the end shows with the span's detail only, where it came by an outline. */
function lateFlags(fixture: Fixture): string[] {
  const isLate = Object.values(fixture.spans).some((row) =>
    (row.flags as string[]).includes("event_after_end"),
  );
  return isLate ? ["flags"] : [];
}
