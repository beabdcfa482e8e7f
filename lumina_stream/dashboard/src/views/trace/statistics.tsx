// Figures by name: a table of the whole trace, and a short one of a stretch that was dragged over.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Range } from "../../model/axis";
import { UNKNOWN, cost, count, duration, tokens } from "../../model/format";
import { Paced } from "../../model/paced";
import { sortBy, statistics } from "../../model/statistics";
import type { Column, NameFigures } from "../../model/statistics";
import { NONE } from "../../model/tree";
import type { Tree } from "../../model/tree";
import { useAtom } from "../../state/atom";
import { kindColour } from "../glyph";
import { useRange } from "../virtual";
import { cut } from "./canvas";
import type { Sight } from "./sight";
import { fitRange, visit } from "./walk";

const HEADS: Record<Column, string> = {
  name: "Name",
  count: "Count",
  total: "Total",
  self: "Self",
  p50: "p50",
  p95: "p95",
  errors: "Errors",
  tokens: "Tokens",
  cost: "Cost",
};
const ROW_HEIGHT = 28;
const HEAD_HEIGHT = 28;
/** Open spans weigh more as time goes on: count them anew so often, ms. */
const TICK_MS = 500;

type Counted = { tree: Tree; figures: NameFigures[] };

/** The figures, kept up to date as often as there is time for it. */
function useFigures(sight: Sight, range: Range | null): Counted | null {
  const [counted, setCounted] = useState<Counted | null>(null);
  const paced = useMemo(() => new Paced(), [sight]);
  useEffect(() => {
    let seen = "";
    return sight.paint((frame) => {
      const tick = frame.isOpen ? Math.floor(frame.ms / TICK_MS) : 0;
      const asked = range ? `${range.from} ${range.to}` : "";
      const key = `${frame.tree.version} ${frame.tree.count} ${asked} ${tick}`;
      paced.run(
        key,
        () => performance.now(),
        () => {
          frame.tree.settle();
          setCounted({
            tree: frame.tree,
            figures: statistics(frame.tree, frame.clock, range ?? undefined),
          });
        },
        seen === "",
      );
      seen = key;
      if (paced.isStale) sight.touch();
      document.documentElement.dataset.paintedOffset = String(sight.live.offset);
      return frame.isOpen;
    });
  }, [sight, range?.from, range?.to]);
  return counted;
}

export function StatisticsView({ sight }: { sight: Sight }) {
  const range = useAtom(sight.range);
  const counted = useFigures(sight, range);
  return (
    <div class="statistics">
      {range && <RangeHead sight={sight} range={range} counted={counted} />}
      {counted && <Figures sight={sight} counted={counted} label="Statistics by name" />}
    </div>
  );
}

/** Below the bars: what is in the stretch that was dragged over. */
export function RangeBox({ sight }: { sight: Sight }) {
  const range = useAtom(sight.range);
  if (!range) return null;
  return <RangeFigures sight={sight} range={range} />;
}

function RangeFigures({ sight, range }: { sight: Sight; range: Range }) {
  const counted = useFigures(sight, range);
  return (
    <section class="range-box" aria-label="Selected stretch">
      <RangeHead sight={sight} range={range} counted={counted} />
      {counted && (
        <Figures sight={sight} counted={counted} label="By name, within the stretch" isShort />
      )}
    </section>
  );
}

function RangeHead({
  sight,
  range,
  counted,
}: {
  sight: Sight;
  range: Range;
  counted: Counted | null;
}) {
  const spans = counted?.figures.reduce((sum, figures) => sum + figures.count, 0) ?? 0;
  return (
    <div class="range-head">
      <strong>{duration(range.to - range.from)}</strong>
      <span class="muted">
        {count(spans)} {spans === 1 ? "span" : "spans"}
      </span>
      <span class="tools-space" />
      <button type="button" onClick={() => fitRange(sight, range)}>
        Zoom to it
      </button>
      <button type="button" onClick={() => sight.range.set(null)}>
        Close
      </button>
    </div>
  );
}

function Figures({
  sight,
  counted,
  label,
  isShort,
}: {
  sight: Sight;
  counted: Counted;
  label: string;
  isShort?: boolean;
}) {
  const [order, setOrder] = useState<{ column: Column; isAscending: boolean }>({
    column: "total",
    isAscending: false,
  });
  const scroller = useRef<HTMLDivElement>(null);
  const { tree, figures } = counted;
  const sorted = useMemo(
    () => sortBy(figures, order.column, order.isAscending, tree.strings),
    [figures, order.column, order.isAscending],
  );
  const hasCalls = figures.some(({ calls }) => calls > 0);
  const columns: readonly Column[] = isShort
    ? ["name", "count", "total", "self", "errors"]
    : [
        "name",
        "count",
        "total",
        "self",
        "p50",
        "p95",
        "errors",
        ...(hasCalls ? (["tokens", "cost"] as const) : []),
      ];
  const range = useRange(scroller, sorted.length, ROW_HEIGHT, HEAD_HEIGHT);
  const greatest = figures.reduce((most, { self }) => Math.max(most, self), 0);
  const sort = (column: Column) =>
    setOrder((old) => ({
      column,
      isAscending: old.column === column ? !old.isAscending : column === "name",
    }));
  return (
    <div
      class={`figures${isShort ? " is-short" : ""}${hasCalls ? " has-calls" : ""}`}
      ref={scroller}
      tabIndex={0}
      role="region"
      aria-label={label}
    >
      <div role="table" aria-label={label} aria-rowcount={sorted.length + 1}>
        <div class="figures-head" role="row" aria-rowindex={1}>
          {columns.map((column) => (
            <span
              key={column}
              role="columnheader"
              aria-sort={
                order.column === column ? (order.isAscending ? "ascending" : "descending") : "none"
              }
            >
              <button type="button" class="focus-inside" onClick={() => sort(column)}>
                {HEADS[column]}
                <span class="figures-order" aria-hidden="true">
                  {order.column === column ? (order.isAscending ? "▴" : "▾") : ""}
                </span>
              </button>
            </span>
          ))}
        </div>
        <div
          role="rowgroup"
          style={{ height: `${sorted.length * ROW_HEIGHT}px`, position: "relative" }}
        >
          <div
            style={{ transform: `translateY(${range.first * ROW_HEIGHT}px)` }}
            role="presentation"
          >
            {sorted.slice(range.first, range.last).map((of, k) => (
              <div
                key={of.name}
                class="figures-row"
                role="row"
                aria-rowindex={range.first + k + 2}
                onClick={() => visit(sight, of.longest)}
              >
                {columns.map((column) => (
                  <span
                    key={column}
                    role="cell"
                    class={column === "errors" && of.errors > 0 ? "is-error" : ""}
                  >
                    {column === "name" ? (
                      <Name tree={tree} of={of} />
                    ) : column === "self" ? (
                      <>
                        <span
                          class="figures-share"
                          style={{ width: `${greatest > 0 ? (of.self / greatest) * 100 : 0}%` }}
                        />
                        <span class="figures-value">{duration(of.self)}</span>
                      </>
                    ) : (
                      written(of, column)
                    )}
                  </span>
                ))}
              </div>
            ))}
          </div>
        </div>
      </div>
    </div>
  );
}

function Name({ tree, of }: { tree: Tree; of: NameFigures }) {
  const name = tree.strings[of.name];
  return (
    <>
      <span
        class="label-kind"
        style={{ background: kindColour(of.kind === NONE ? "" : tree.strings[of.kind]) }}
      />
      <button
        type="button"
        class="figures-name cut focus-inside"
        dir="auto"
        title="Go to the longest one"
      >
        {cut(name, 300) || "(no name)"}
      </button>
    </>
  );
}

function written(of: NameFigures, column: Column): string {
  switch (column) {
    case "count":
      return count(of.count);
    case "total":
    case "p50":
    case "p95":
      return duration(of[column]);
    case "errors":
      return of.errors > 0 ? count(of.errors) : "";
    case "tokens":
      return of.calls > 0 ? tokens(of.tokens) : "";
    case "cost":
      return of.calls === 0
        ? ""
        : of.cost === of.cost
          ? `${of.unpriced > 0 ? "≥ " : ""}${cost(of.cost)}`
          : UNKNOWN;
    default:
      return "";
  }
}
