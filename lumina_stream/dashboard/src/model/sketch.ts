// Trees drawn by hand, for tests: a span a line, times in ns from 0.

import { Tree } from "./tree";
import type { Status } from "./wire";

export const BASE_NS = 2 ** 40;
const TRACE = "0123456789abcdef0123456789abcdef";

export type Sketched = {
  name: string;
  /** Its parent's place in the list, from 0. */
  in?: number;
  from?: number;
  /** Absent: it is open. */
  to?: number;
  kind?: string;
  status?: Status;
  by?: string;
};

/** Make a settled tree; a span's number is its place in the list. Without `from` it never started. */
export function sketch(spans: readonly Sketched[], ...lost: string[]): Tree {
  const tree = new Tree(TRACE);
  const trace_id = TRACE;
  // Base and numbers are set by what comes first: every span is mentioned once, in order.
  spans.forEach((_, i) => {
    const event = { type: "span_updated", trace_id, span_id: spanId(i), time_ns: BASE_NS } as const;
    tree.apply(event, "a", i);
  });
  spans.forEach(({ name, in: parent, from, to, kind, status, by = "a" }, i) => {
    const span_id = spanId(i);
    const seq = spans.length + i * 2;
    if (from !== undefined) {
      const parent_id = parent === undefined ? null : spanId(parent);
      const time_ns = BASE_NS + from;
      tree.apply(
        { type: "span_started", trace_id, span_id, time_ns, name, parent_id, kind },
        by,
        seq,
      );
    }
    if (to !== undefined) {
      const time_ns = BASE_NS + to;
      tree.apply({ type: "span_ended", trace_id, span_id, time_ns, status }, by, seq + 1);
    }
  });
  for (const subject_id of lost) {
    const time_ns = BASE_NS + 1e6;
    const last_seen_ns = BASE_NS + 60;
    tree.apply(
      { type: "producer_lost", subject_id, time_ns, last_seq: 0, last_seen_ns },
      "relay",
      1,
    );
  }
  tree.settle();
  return tree;
}

export function spanId(i: number): string {
  return (i + 1).toString(16).padStart(16, "0");
}
