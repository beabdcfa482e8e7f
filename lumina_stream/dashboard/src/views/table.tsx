// Every trace in one line, newest first. Only the lines in view are there; what is new waits while
// a person points at the list or has scrolled into it.

import { useEffect, useRef, useState } from "preact/hooks";

import type { TraceSummary } from "../model/wire";
import type { LiveList } from "../net/list";
import { go } from "../state/route";
import { isTyping } from "./filter_box";
import { hold } from "./order";
import { useHeld } from "./pointer";
import { HEAD_HEIGHT, ROW_HEIGHT, TableHead, TraceRow } from "./row";
import { remember } from "./seen";
import { useRange } from "./virtual";

/** Older traces are asked for when so few lines are left below what is in view. */
const MORE_AT = 20;
/** How long a new line is tinted. */
const ARRIVAL_MS = 600;

export function TraceTable({
  list,
  nowNs,
  traces,
}: {
  list: LiveList;
  nowNs: () => number;
  traces: readonly TraceSummary[];
}) {
  const scroller = useRef<HTMLDivElement>(null);
  const [isScrolled, setScrolled] = useState(false);
  const [active, setActive] = useState<string | null>(null);
  const [, redraw] = useState(0);
  const pointed = useHeld(scroller);
  const isHeld = pointed || isScrolled;
  const known = useKnown(traces);
  const shown = useRef<string[]>([]);
  const { order, waiting } = hold(
    shown.current,
    traces.map((trace) => trace.trace_id),
    isHeld,
  );
  shown.current = order;
  const range = useRange(scroller, order.length, ROW_HEIGHT, HEAD_HEIGHT);
  useMore(list, order.length, range.last);

  useEffect(() => remember(traces), [traces]);
  const release = () => {
    scroller.current?.scrollTo({ top: 0 });
    shown.current = [];
    setScrolled(false);
    redraw((n) => n + 1);
  };
  const at = active === null ? -1 : order.indexOf(active);
  const move = (to: number) => {
    const next = Math.max(0, Math.min(order.length - 1, to));
    setActive(order[next] ?? null);
    reveal(scroller.current, next);
  };
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "n" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event))
        return;
      release();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_HEIGHT) - 2);
    const to: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: order.length - 1,
    };
    if (event.key in to) {
      event.preventDefault();
      move(to[event.key]);
    } else if (event.key === "Enter" && active !== null) {
      event.preventDefault();
      go({ page: "trace", traceId: active, span: null, view: "waterfall", at: null });
    }
  };

  const drawn = new Set<number>();
  for (let row = range.first; row < range.last; row++) drawn.add(row);
  if (at >= 0) drawn.add(at); // it is named as active, so it has to be there
  return (
    <section class="table-box" aria-label="Traces">
      {waiting > 0 && (
        <button type="button" class="pill" onClick={release}>
          {waiting.toLocaleString("en")} new
        </button>
      )}
      <div
        ref={scroller}
        class="table"
        role="grid"
        aria-label="Traces, newest first"
        aria-rowcount={order.length + 1}
        aria-activedescendant={at >= 0 ? rowId(order[at]) : undefined}
        tabIndex={0}
        onKeyDown={onKeyDown}
        onFocus={() =>
          active === null && setActive(order[range.first === 0 ? 0 : range.first + 8] ?? null)
        }
        onScroll={(event) => setScrolled(event.currentTarget.scrollTop > ROW_HEIGHT)}
      >
        <TableHead />
        <div
          role="rowgroup"
          class="table-body"
          style={{ height: `${order.length * ROW_HEIGHT}px` }}
        >
          {[...drawn].map((row) => {
            const trace = known.get(order[row]);
            return (
              trace && (
                <TraceRow
                  key={order[row]}
                  id={rowId(order[row])}
                  trace={trace}
                  nowNs={nowNs}
                  place={row}
                  isActive={row === at}
                  isNew={known.isNew(order[row])}
                />
              )
            );
          })}
        </div>
      </div>
    </section>
  );
}

function rowId(traceId: string): string {
  return `trace-${traceId}`;
}

function reveal(box: HTMLElement | null, row: number): void {
  if (!box) return;
  const top = row * ROW_HEIGHT;
  const view = box.clientHeight - HEAD_HEIGHT;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW_HEIGHT > box.scrollTop + view) box.scrollTop = top + ROW_HEIGHT - view;
}

type Known = { get(id: string): TraceSummary | undefined; isNew(id: string): boolean };

/** The traces by id, those that are gone too as long as they may be shown; and which came just
 * now. */
function useKnown(traces: readonly TraceSummary[]): Known {
  const kept = useRef(new Map<string, { trace: TraceSummary; since: number }>());
  const last = useRef<readonly TraceSummary[] | null>(null);
  if (last.current !== traces) {
    const now = performance.now();
    // A screenful at once is a page that was loaded, not news.
    const fresh =
      last.current === null
        ? traces.length
        : traces.filter((t) => !kept.current.has(t.trace_id)).length;
    const since = last.current !== null && fresh <= MORE_AT ? now : -Infinity;
    const before = kept.current;
    const after: typeof before = new Map();
    for (const trace of traces) {
      after.set(trace.trace_id, { trace, since: before.get(trace.trace_id)?.since ?? since });
    }
    for (const [id, entry] of before)
      if (!after.has(id) && after.size < 2 * traces.length + 100) after.set(id, entry);
    kept.current = after;
    last.current = traces;
  }
  return {
    get: (id) => kept.current.get(id)?.trace,
    isNew: (id) => performance.now() - (kept.current.get(id)?.since ?? -Infinity) < ARRIVAL_MS,
  };
}

/** Ask for older traces when the end comes near, one page at a time. */
function useMore(list: LiveList, count: number, last: number): void {
  const asked = useRef(-1);
  useEffect(() => {
    if (last < count - MORE_AT || asked.current === count) return;
    asked.current = count;
    void list.more();
  }, [list, count, last]);
}
