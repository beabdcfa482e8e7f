// The line above a trace: what it is, how it goes, and what can be done with it.

import type { ComponentChildren } from "preact";

import { traceEnd, axisStart } from "../../model/bounds";
import { UNKNOWN, cost, count, duration, tokens } from "../../model/format";
import { NONE } from "../../model/tree";
import { useAtom } from "../../state/atom";
import { useCalmly, useTicking } from "../../state/ticker";
import { Glyph } from "../glyph";
import { cut } from "./canvas";
import { backToNow } from "./replay";
import type { Sight } from "./sight";

const MOST_NAME = 300;

export function Head({ sight }: { sight: Sight }) {
  useCalmly(sight.live.changed);
  const position = useAtom(sight.film.position);
  const filmState = useAtom(sight.film.state);
  const follow = useAtom(sight.follow);
  const isPathOn = useAtom(sight.isPathOn);
  const { tree, live } = sight;
  const state = tree.traceState;
  const isRunning = state === "running";
  const isLive = isRunning && filmState === "off";
  const totals = tree.totals();
  const name = tree.root === NONE ? "" : tree.name(tree.root);
  const truncated = Object.values(tree.truncated).reduce((sum, n) => sum + n, 0);
  const href = `v1/traces/${live.traceId}`;
  return (
    <header class="trace-head" data-position={position}>
      <div class="trace-title">
        <h1 class="cut" dir="auto" title={cut(name, MOST_NAME)}>
          {cut(name, MOST_NAME) || (tree.count ? "(no name)" : live.traceId)}
        </h1>
        <p class="trace-state">
          <span class={`trace-state-is state-${state}`}>
            {state !== "ok" && <Glyph state={state} label="" />}
            {filmState !== "off" && filmState !== "loading" ? `replay: ${state}` : state}
          </span>
          <span class="secondary cut trace-services" dir="auto">
            {tree.services.slice(0, 4).join(", ")}
          </span>
          {truncated > 0 && (
            <span class="trace-warning">{count(truncated)} left out: too many</span>
          )}
        </p>
      </div>
      <Figure label="Duration" isHero>
        <Took sight={sight} ticks={isLive} />
      </Figure>
      <Figure label={totals.open > 0 ? "Spans open" : "Spans"}>
        {totals.open > 0
          ? `${count(tree.openCount)} of ${count(tree.startedCount)}`
          : count(tree.startedCount)}
      </Figure>
      <Figure label="Errors" isError={tree.errorCount > 0}>
        {count(tree.errorCount)}
      </Figure>
      {totals.calls > 0 && (
        <>
          <Figure label="Tokens" isWide>
            {tokens(totals.input)} in, {tokens(totals.output)} out
          </Figure>
          <Figure
            label={totals.unpriced > 0 && totals.cost !== null ? "Cost, at least" : "Cost"}
            isWide
          >
            {totals.cost === null ? UNKNOWN : cost(totals.cost)}
          </Figure>
        </>
      )}
      <div class="trace-actions">
        <button
          type="button"
          class="action"
          aria-pressed={follow && isLive}
          disabled={!isLive}
          title="Stick to now (l)"
          onClick={() => sight.setFollow(!follow)}
        >
          Follow
        </button>
        <button
          type="button"
          class="action"
          aria-pressed={isPathOn}
          title={isRunning ? "The way to what is waited for (c)" : "What the trace waited for (c)"}
          onClick={() => sight.isPathOn.set(!isPathOn)}
        >
          {isRunning ? "Waiting for" : "Critical path"}
        </button>
        <button
          type="button"
          class="action"
          aria-pressed={filmState !== "off"}
          title="Replay the trace (r)"
          onClick={() => toggleReplay(sight)}
        >
          Replay
        </button>
        <a
          class="action"
          href={href}
          download={`trace-${live.traceId}.json`}
          title="Download the trace as JSON"
        >
          JSON
          <svg
            viewBox="0 0 12 12"
            width="12"
            height="12"
            fill="none"
            stroke="currentColor"
            stroke-width="1.5"
            aria-hidden="true"
          >
            <path d="M6 1.5v6M3.5 5.5L6 8l2.5-2.5M2 10.5h8" />
          </svg>
        </a>
      </div>
    </header>
  );
}

export function toggleReplay(sight: Sight): void {
  if (sight.film.state.get() === "off") void sight.film.show(Infinity);
  else backToNow(sight.film);
}

function Figure({
  label,
  children,
  isHero,
  isError,
  isWide,
}: {
  label: string;
  children: ComponentChildren;
  isHero?: boolean;
  isError?: boolean;
  isWide?: boolean;
}) {
  return (
    <div
      class={`trace-figure${isHero ? " is-hero" : ""}${isWide ? " is-wide" : ""}${isError ? " is-error" : ""}`}
    >
      <span class="secondary">{label}</span>
      <span class={isHero ? "trace-hero" : "trace-value"}>{children}</span>
    </div>
  );
}

function Took({ sight, ticks }: { sight: Sight; ticks: boolean }) {
  const text = useTicking<HTMLSpanElement>(() => duration(tookNs(sight)), ticks);
  return <span ref={text} />;
}

/** As it is drawn: from the first root to the last end, or to now. */
function tookNs({ tree, film, live }: Sight): number {
  if (tree.openCount === 0) return traceEnd(tree) - axisStart(tree);
  const now = film.isOn ? film.time : live.nowNs() - tree.baseNs;
  return Math.max(0, now - axisStart(tree));
}
