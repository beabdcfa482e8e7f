// The head of the panel: name, state in a sentence, times, and what the call was and cost.

import type { ComponentChildren } from "preact";

import { UNKNOWN, ago, clock, cost, count, duration } from "../../model/format";
import * as trees from "../../model/tree";
import { traceHref } from "../../state/route";
import { useTicking } from "../../state/ticker";
import { Copy } from "../copy";
import { Glyph, kindColour } from "../glyph";
import { readCall, tokensPerSecond } from "./call";
import type { Shown } from "./panel";
import { select } from "./panel";
import { endOf, selfTime } from "./timing";
import { markText } from "./values";

export function Overview({ shown }: { shown: Shown }) {
  const { tree, span } = shown;
  const state = tree.state(span);
  const name = tree.name(span) || (state === "missing" ? "(not seen yet)" : "(no name)");
  const kind = tree.kind(span);
  return (
    <div class="panel-side">
      <div class="panel-head">
        <span class="state">
          <Glyph state={state} />
        </span>
        <h2 class={`panel-name state-${state}`} dir="auto" title={name}>
          {name}
        </h2>
        <Copy text={() => linkTo(shown)} label="the link to this span">
          Link
        </Copy>
        <button
          type="button"
          class="icon-button"
          aria-label="Close the span"
          onClick={() => select(null)}
        >
          <svg
            viewBox="0 0 12 12"
            width="12"
            height="12"
            stroke="currentColor"
            stroke-width="1.5"
            aria-hidden="true"
          >
            <path d="M2.5 2.5l7 7M9.5 2.5l-7 7" />
          </svg>
        </button>
      </div>
      <p class="panel-what secondary">
        {kind && (
          <span class="kind">
            <span class="swatch" style={{ background: kindColour(kind) }} />
            <span class="cut">{kind}</span>
          </span>
        )}
        <span class="cut" dir="auto">
          {tree.service(span)}
        </span>
        <span class="mono panel-id">
          {tree.id(span)}
          <Copy text={() => tree.id(span)} label="the span's id" />
        </span>
      </p>
      <Sentence shown={shown} />
      <Remarks shown={shown} />
      <dl class="facts">
        <Times shown={shown} />
        <CallFacts shown={shown} />
      </dl>
    </div>
  );
}

function linkTo({ tree, span }: Shown): string {
  return new URL(traceHref(tree.traceId, tree.id(span)), location.href).href;
}

/** How it stands, in words: what is wrong first. */
function Sentence({ shown }: { shown: Shown }) {
  const { tree, span, detail } = shown;
  const state = tree.state(span);
  const last = () => tree.baseNs + tree.lastSeen(span);
  const running = useTicking<HTMLSpanElement>(
    () =>
      state === "running" && last()
        ? `Running, last sign of life ${ago(shown.nowNs() - last())}`
        : "Running",
    shown.isLive && state === "running",
  );
  if (state === "running") {
    return (
      <p class="sentence state-running">
        <span ref={running} />
      </p>
    );
  }
  return (
    <p class={`sentence state-${state}`} dir="auto">
      {state === "error"
        ? failure(detail?.error)
        : state === "interrupted"
          ? `Interrupted, last seen ${clock(last())}`
          : SAID[state]}
    </p>
  );
}

const SAID: Partial<Record<trees.State, string>> = {
  ok: "Ended",
  cancelled: "Cancelled",
  abandoned: "Abandoned: the program let go of it without ending it",
  unended: "Unended: its program left while it was open",
  missing: "Not seen yet, only named by others",
};

function failure(error: { type: string; message?: string } | null | undefined): string {
  const first = error?.message?.split("\n", 1)[0] ?? "";
  const said = [error?.type, first].filter(Boolean).join(": ");
  return said ? `Failed: ${said}` : "Failed";
}

const CONFLICTS: [number, string][] = [
  [trees.PARENT_CYCLE, "Its parents went round in a circle, which is cut here."],
  [trees.DUPLICATE_START, "It was started more than once; the last start counts."],
  [trees.DOUBLE_END, "It was ended more than once; the last end counts."],
  [trees.EVENT_AFTER_END, "It went on to say things after its end."],
];
/** A clock that is off by less is as good as they get between machines. */
const SKEW_LEAST_NS = 50e6;

/** What a person has to know to read this span right. */
function Remarks({ shown }: { shown: Shown }) {
  const { tree, span, live, detail } = shown;
  const remarks = CONFLICTS.filter(([bit]) => tree.conflicts[span] & bit).map(([, text]) => text);
  const producer = tree.producerOf[span];
  const skew = producer >= 0 ? live.skew(producer) : 0;
  if (Math.abs(skew) >= SKEW_LEAST_NS) {
    remarks.push(
      `Its clock is ${duration(Math.abs(skew))} ${skew > 0 ? "ahead of" : "behind"} the relay's.`,
    );
  }
  for (const [path, mark] of detail?.marks ?? []) {
    if (/^@(?!error)/.test(path)) remarks.push(`Its ${path.slice(1)}: ${markText(mark)}.`);
  }
  const below = tree.allErrors[span] - (tree.state(span) === "error" ? 1 : 0);
  if (below > 0) remarks.push(`${count(below)} ${below === 1 ? "span" : "spans"} below failed.`);
  return remarks.length ? (
    <ul class="remarks secondary">
      {remarks.map((text) => (
        <li key={text}>{text}</li>
      ))}
    </ul>
  ) : null;
}

/** The producer's now, in the tree's time. */
function nowIn({ tree, span, live, nowNs }: Shown): number {
  const producer = tree.producerOf[span];
  return nowNs() - tree.baseNs + (producer >= 0 ? live.skew(producer) : 0);
}

function Times({ shown }: { shown: Shown }) {
  const { tree, span } = shown;
  const start = tree.start[span];
  const ticks = shown.isLive && tree.state(span) === "running";
  const lasted = useTicking<HTMLElement>(
    () => duration(endOf(tree, span, nowIn(shown)) - start),
    ticks,
  );
  const self = useTicking<HTMLElement>(() => duration(selfTime(tree, span, nowIn(shown))), ticks);
  if (Number.isNaN(start)) return null;
  return (
    <>
      <Fact name="Start" title={new Date((tree.baseNs + start) / 1e6).toISOString()}>
        {clock(tree.baseNs + start, true)}
      </Fact>
      <div>
        <dt>Duration</dt>
        <dd ref={lasted} />
      </div>
      <div>
        <dt>Self</dt>
        <dd ref={self} />
      </div>
    </>
  );
}

function CallFacts({ shown }: { shown: Shown }) {
  const { tree, span, detail } = shown;
  const call = readCall(detail?.attributes ?? new Map());
  const totals = tree.totals(span);
  const more = detail?.totals;
  const first = firstPieceNs(shown) ?? (call.firstChunkS === null ? null : call.firstChunkS * 1e9);
  const ended = tree.end[span];
  const isCall = tree.cost[span] !== -1;
  const rate =
    isCall && !Number.isNaN(ended)
      ? tokensPerSecond(tree.output[span], ended - tree.start[span], first)
      : null;
  const isKnown = totals.calls > 0;
  if (!isKnown && !call.model) return null;
  // All of it from the beginning, so that nothing below moves when the answer has come.
  return (
    <>
      {call.model && (
        <Fact name="Model" title={[call.provider, call.model].filter(Boolean).join(" ")} isWide>
          {call.model}
        </Fact>
      )}
      {call.model && <Fact name="Finish">{call.finish || UNKNOWN}</Fact>}
      <Fact name="Tokens in">{isKnown ? count(totals.input) : UNKNOWN}</Fact>
      <Fact name="Tokens out">{isKnown ? count(totals.output) : UNKNOWN}</Fact>
      <Fact
        name="Cost"
        title={
          totals.unpriced ? `${count(totals.unpriced)} calls of models without a price` : undefined
        }
      >
        {isKnown ? cost(totals.cost) : UNKNOWN}
      </Fact>
      {call.model && <Fact name="Tokens/s">{rate === null ? UNKNOWN : perSecond(rate)}</Fact>}
      {call.model && <Fact name="First token">{first === null ? UNKNOWN : duration(first)}</Fact>}
      {more && more.cache_read_tokens > 0 && (
        <Fact name="Cache read">{count(more.cache_read_tokens)}</Fact>
      )}
      {more && more.cache_write_tokens > 0 && (
        <Fact name="Cache written">{count(more.cache_write_tokens)}</Fact>
      )}
      {more && more.reasoning_tokens > 0 && (
        <Fact name="Reasoning">{count(more.reasoning_tokens)}</Fact>
      )}
      {totals.calls > 1 && <Fact name="Calls">{count(totals.calls)}</Fact>}
    </>
  );
}

function perSecond(rate: number): string {
  return rate >= 100 ? count(Math.round(rate)) : rate.toPrecision(3);
}

/** From the span's start to the first streamed piece of its answer, ns. */
function firstPieceNs({ tree, span, detail }: Shown): number | null {
  let first = Infinity;
  for (const channel of detail?.channels ?? []) {
    if (channel !== "input")
      first = Math.min(first, detail!.pieces(channel)[0]?.stamp.time ?? Infinity);
  }
  const passed = first - tree.start[span];
  return Number.isFinite(passed) && passed >= 0 ? passed : null;
}

function Fact({
  name,
  title,
  isWide = false,
  children,
}: {
  name: string;
  title?: string;
  isWide?: boolean;
  children: ComponentChildren;
}) {
  return (
    <div title={title} class={isWide ? "wide" : ""}>
      <dt>{name}</dt>
      <dd dir="auto">{children}</dd>
    </div>
  );
}
