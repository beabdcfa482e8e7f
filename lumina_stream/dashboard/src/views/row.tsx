// One trace in one line.

import { clock, cost, count, duration, tokens } from "../model/format";
import type { TraceSummary } from "../model/wire";
import { traceHref } from "../state/route";
import { useTicking } from "../state/ticker";
import { Glyph } from "./glyph";
import { Mini } from "./mini";

export const ROW_HEIGHT = 40;
export const HEAD_HEIGHT = 28;

const COLUMNS = [
  ["name", "Trace"],
  ["service", "Service"],
  ["duration", "Duration"],
  ["spans", "Spans"],
  ["mini", "Timeline"],
  ["tokens", "Tokens"],
  ["cost", "Cost"],
  ["preview", "Input"],
  ["started", "Started"],
] as const;

export function TableHead() {
  return (
    <div role="rowgroup" class="table-head">
      <div role="row" aria-rowindex={1} class="row">
        {COLUMNS.map(([name, title]) => (
          <span key={name} role="columnheader" class={`secondary cell cell-${name}`}>
            {title}
          </span>
        ))}
      </div>
    </div>
  );
}

export function TraceRow({
  id,
  trace,
  nowNs,
  place,
  isActive,
  isNew,
}: {
  id: string;
  trace: TraceSummary;
  nowNs: () => number;
  place: number;
  isActive: boolean;
  isNew: boolean;
}) {
  const isOpen = trace.state === "running";
  const name = trace.name || "(root not seen yet)";
  const both = (trace.input_tokens ?? 0) + (trace.output_tokens ?? 0);
  const time = useTicking<HTMLSpanElement>(
    () => (isOpen ? lasts(trace, nowNs()) : lasted(trace)),
    isOpen && trace.start_ns > 0,
  );
  return (
    <div
      id={id}
      role="row"
      aria-rowindex={place + 2}
      aria-selected={isActive}
      class={`row trace-row ${isActive ? "active" : ""} ${isNew ? "arrive" : ""}`}
      style={{ transform: `translateY(${place * ROW_HEIGHT}px)` }}
    >
      <span role="gridcell" class={`cell cell-name state-${trace.state}`}>
        <span class="state">
          <Glyph state={trace.state} />
        </span>
        <a
          class="cut row-link"
          href={traceHref(trace.trace_id)}
          tabIndex={-1}
          title={name}
          dir="auto"
        >
          {name}
        </a>
        <Flaws trace={trace} />
      </span>
      <span
        role="gridcell"
        class="cell cell-service cut muted"
        title={(trace.services ?? []).join(", ")}
      >
        {trace.service}
      </span>
      <span role="gridcell" class="cell cell-duration">
        <span ref={time} />
      </span>
      <span role="gridcell" class="cell cell-spans">
        {trace.open > 0 && <span class="open">{count(trace.open)} open / </span>}
        {count(trace.spans)}
      </span>
      <span role="gridcell" class="cell cell-mini">
        <Mini bars={trace.bars ?? []} state={trace.state} />
      </span>
      <span role="gridcell" class="cell cell-tokens" title={both ? tokenTitle(trace) : undefined}>
        {both > 0 && tokens(both)}
      </span>
      <span role="gridcell" class="cell cell-cost" title={costTitle(trace)}>
        {(both > 0 || trace.cost_usd != null) && cost(picos(trace.cost_usd))}
      </span>
      <span role="gridcell" class="cell cell-preview cut muted" title={trace.preview} dir="auto">
        {trace.preview}
      </span>
      <span role="gridcell" class="cell cell-started muted" title={exactly(trace.start_ns)}>
        {trace.start_ns > 0 && started(trace.start_ns, nowNs())}
      </span>
    </div>
  );
}

/** What is wrong below a root that is not wrong itself: failed spans, lost events, what is
 * missing. */
function Flaws({ trace }: { trace: TraceSummary }) {
  return (
    <>
      {trace.errors > 0 && trace.state !== "error" && (
        <span class="flaw flaw-error" title={`${count(trace.errors)} spans failed`}>
          <Glyph state="error" label={`${count(trace.errors)} spans failed`} />
          {count(trace.errors)}
        </span>
      )}
      {(trace.lost ?? 0) > 0 && <span class="flaw flaw-lost">{count(trace.lost ?? 0)} lost</span>}
      {(trace.truncated ?? 0) > 0 && (
        <span class="flaw flaw-cut">{count(trace.truncated ?? 0)} not kept</span>
      )}
    </>
  );
}

/** How long it runs; nothing while its start, or what time it is, is not known. */
function lasts(trace: TraceSummary, nowNs: number): string {
  return trace.start_ns > 0 && nowNs > 0 ? duration(Math.max(0, nowNs - trace.start_ns)) : "";
}

function lasted(trace: TraceSummary): string {
  return trace.duration_ns == null ? "" : duration(trace.duration_ns);
}

function tokenTitle(trace: TraceSummary): string {
  return `${count(trace.input_tokens ?? 0)} in, ${count(trace.output_tokens ?? 0)} out`;
}

function costTitle(trace: TraceSummary): string | undefined {
  return trace.unpriced ? `${count(trace.unpriced)} calls of models without a price` : undefined;
}

function picos(usd: number | null | undefined): number | null {
  return usd == null ? null : usd * 1e12;
}

const DAY_NS = 86_400e9;

/** The time of day; for what began another day, that day too. */
function started(startNs: number, nowNs: number): string {
  const day = (ns: number) => new Date(ns / 1e6).toDateString();
  if (nowNs - startNs < DAY_NS && day(startNs) === day(nowNs)) return clock(startNs);
  const date = new Date(startNs / 1e6);
  const short = date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${short} ${clock(startNs).slice(0, 5)}`;
}

function exactly(startNs: number): string | undefined {
  return startNs > 0 ? new Date(startNs / 1e6).toISOString() : undefined;
}
