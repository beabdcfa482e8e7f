// What runs now, in all traces, the longest first: what a hung call looks like before it fails.

import { useEffect, useRef, useState } from "preact/hooks";

import { ago, count, duration } from "../model/format";
import type { OpenSpan } from "../model/wire";
import type { LiveList } from "../net/list";
import { useAtom } from "../state/atom";
import { traceHref } from "../state/route";
import { useTicking } from "../state/ticker";
import { Glyph, kindColour } from "./glyph";
import { hold } from "./order";
import { useHeld } from "./pointer";

/** Lines shown until more are asked for; as many stay reserved, so that the list below stands
 * still. */
const FEW = 5;
/** The section shrinks only after fewer lines were enough for so long. */
const SHRINK_MS = 5000;

export function Running({ list, nowNs }: { list: LiveList; nowNs: () => number }) {
  const { spans, total } = useAtom(list.running);
  const traces = useAtom(list.traces);
  const [isAll, setAll] = useState(false);
  const box = useRef<HTMLElement>(null);
  const held = useHeld(box);
  const shown = useRef<{ order: string[]; spans: Map<string, OpenSpan> }>({
    order: [],
    spans: new Map(),
  });

  const byId = new Map(spans.map((span) => [`${span.trace_id} ${span.span_id}`, span]));
  const { order } = hold(shown.current.order, [...byId.keys()], held);
  const most = isAll ? order.length : FEW;
  const lines = order.slice(0, most).map((id) => ({
    id,
    span: byId.get(id) ?? shown.current.spans.get(id),
    isOver: !byId.has(id),
  }));
  shown.current = { order, spans: new Map([...(held ? shown.current.spans : []), ...byId]) };
  const places = usePlaces(Math.min(order.length, most), held);
  const longest = lines.reduce(
    (least, { span }) => Math.min(least, span?.start_ns ?? least),
    Infinity,
  );
  const names = new Map(traces.map((trace) => [trace.trace_id, trace.name]));

  return (
    <section ref={box} class="running" aria-labelledby="running-title">
      <div class="section-head">
        <h2 id="running-title">Running now</h2>
        <span class="muted">{total > 0 ? count(total) : ""}</span>
        {order.length > FEW && (
          <button type="button" class="link" aria-expanded={isAll} onClick={() => setAll(!isAll)}>
            {isAll ? "Show fewer" : `Show ${count(order.length)}`}
          </button>
        )}
      </div>
      <ul
        class="running-lines"
        style={{ minHeight: `${places * 32}px` }}
        aria-label="Open spans, longest first"
      >
        {lines.map(
          ({ id, span, isOver }) =>
            span && (
              <Line
                key={id}
                span={span}
                nowNs={nowNs}
                longest={longest}
                isOver={isOver}
                traceName={names.get(span.trace_id) ?? ""}
              />
            ),
        )}
        {lines.length === 0 && <li class="muted running-none">Nothing runs at the moment.</li>}
      </ul>
    </section>
  );
}

function Line({
  span,
  nowNs,
  longest,
  isOver,
  traceName,
}: {
  span: OpenSpan;
  nowNs: () => number;
  longest: number;
  isOver: boolean;
  traceName: string;
}) {
  // Nothing is said of how long until the relay has said what time it is.
  const since = (ns: number) => (nowNs() > 0 ? Math.max(0, nowNs() - ns) : NaN);
  const time = useTicking<HTMLSpanElement>(
    () => (isOver ? "over" : duration(since(span.start_ns))),
    !isOver,
  );
  const sign = useTicking<HTMLSpanElement>(
    () => (isOver ? "" : `${span.silent ? "silent, " : ""}last sign ${ago(since(span.last_ns))}`),
    !isOver,
  );
  const state = isOver ? "ok" : span.silent ? "silent" : "running";
  return (
    <li class={`running-line ${isOver ? "over" : ""}`}>
      <Glyph state={state} />
      <a class="cut running-name" href={traceHref(span.trace_id, span.span_id)} title={span.name}>
        {span.name || "(no name)"}
      </a>
      <span class="cut muted running-trace">
        {[traceName === span.name ? "" : traceName, span.service].filter(Boolean).join(" · ")}
      </span>
      <Lasting span={span} nowNs={nowNs} longest={longest} />
      <span ref={sign} class={`number secondary running-sign ${span.silent ? "silent" : ""}`} />
      <span ref={time} class="number running-time" />
    </li>
  );
}

/** A bar from the span's start to now, on the longest span's scale; pale since the last sign of
 * life. */
function Lasting({
  span,
  nowNs,
  longest,
}: {
  span: OpenSpan;
  nowNs: () => number;
  longest: number;
}) {
  const bar = useRef<HTMLSpanElement>(null);
  const share = () => {
    const now = nowNs();
    const whole = Math.max(1, now - longest);
    const start = Math.min(1, Math.max(0, (span.start_ns - longest) / whole));
    const last = Math.min(1, Math.max(start, (span.last_ns - longest) / whole));
    bar.current?.style.setProperty("--start", `${start * 100}%`);
    bar.current?.style.setProperty("--last", `${last * 100}%`);
    return "";
  };
  const ticks = useTicking<HTMLSpanElement>(share);
  return (
    <span ref={bar} class="lasting" style={{ "--kind": kindColour(span.kind) }} aria-hidden="true">
      <span class="lasting-bar" />
      <span ref={ticks} class="lasting-alive" />
      <span class="lasting-now" />
    </span>
  );
}

/** How many lines' room to keep: more at once, fewer only when fewer were enough for a while. */
function usePlaces(wanted: number, held: boolean): number {
  const [places, setPlaces] = useState(wanted);
  const needed = Math.max(1, wanted);
  if (needed > places) setPlaces(needed);
  useEffect(() => {
    if (needed >= places || held) return;
    const timer = setTimeout(() => setPlaces(needed), SHRINK_MS);
    return () => clearTimeout(timer);
  }, [needed, places, held]);
  return Math.max(needed, places);
}
