// What one span says: how it went, then its conversation, error, attributes, events and links.

import { useLayoutEffect } from "preact/hooks";

import type { Detail } from "../../model/detail";
import { NONE } from "../../model/tree";
import type { Tree } from "../../model/tree";
import type { LiveTrace } from "../../net/trace";
import { go, route } from "../../state/route";
import { useCalmly } from "../../state/ticker";
import { Overview } from "./overview";
import { Tabs } from "./tabs";
import "./panel.css";

/** A moment of the replay: what the panel shows instead of now. */
export type Moment = { tree: Tree; detail: Detail | undefined; nowNs: number };

/** What the parts of the panel are drawn from. */
export type Shown = {
  live: LiveTrace;
  tree: Tree;
  detail: Detail | undefined;
  /** The span's number in `tree`. */
  span: number;
  /** Wall-clock ns: the relay's now, or the moment of the replay. */
  nowNs: () => number;
  /** Whether time goes on for what is shown. */
  isLive: boolean;
};

/** Show a span of a trace, filling the box that it is in. `at`: as it was at a moment of the
 * replay. */
export function SpanPanel({ live, span, at }: { live: LiveTrace; span: number; at?: Moment }) {
  useCalmly(live.changed);
  const now = at ? NONE : span; // the replay has numbers, and details, of its own
  useLayoutEffect(() => {
    live.open(now);
    return () => live.open(NONE);
  }, [live, live.tree, now]);
  const tree = at?.tree ?? live.tree;
  if (span < 0 || span >= tree.count) return <section class="panel" aria-label="Span" />;
  tree.settle();
  const shown: Shown = {
    live,
    tree,
    span,
    detail: at ? at.detail : tree.detail(span),
    nowNs: () => (at ? at.nowNs : live.nowNs()),
    isLive: !at,
  };
  return (
    <section class="panel" aria-label="Span">
      <div class="panel-parts">
        <Overview shown={shown} />
        <Tabs key={tree.id(span)} shown={shown} />
      </div>
    </section>
  );
}

/** Go to another span of the trace that is shown; null closes the panel. */
export function select(span: string | null): void {
  const at = route.get();
  if (at.page === "trace") go({ ...at, span });
}
