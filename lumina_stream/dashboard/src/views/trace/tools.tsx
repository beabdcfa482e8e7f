// The line of tools: which view, find, the next error.

import { useEffect, useRef } from "preact/hooks";

import { count } from "../../model/format";
import { NONE } from "../../model/tree";
import { useAtom } from "../../state/atom";
import { VIEWS } from "../../state/route";
import type { View } from "../../state/route";
import { useCalmly } from "../../state/ticker";
import type { Sight } from "./sight";
import { goToMatch, showView } from "./walk";

const SAID: Record<View, string> = {
  waterfall: "Waterfall",
  flame: "Flame graph",
  merged: "By name",
  statistics: "Statistics",
  log: "Log",
};

export const FIND_ID = "trace-find";

export function Tools({ sight, view }: { sight: Sight; view: View }) {
  useCalmly(sight.live.changed);
  const errors = sight.tree.errorCount;
  return (
    <div class="tools">
      <div class="switch" role="group" aria-label="View">
        {VIEWS.map((each, k) => (
          <button
            key={each}
            type="button"
            aria-pressed={each === view}
            title={`${SAID[each]} (${k + 1})`}
            onClick={() => showView(each)}
          >
            {SAID[each]}
          </button>
        ))}
      </div>
      <span class="tools-space" />
      {errors > 0 && (
        <span class="tools-group">
          <span class="tools-errors">
            {count(errors)} {errors === 1 ? "error" : "errors"}
          </span>
          <Step
            label="Previous error (E)"
            isUp
            onClick={() => goToMatch(sight, sight.errors(), -1)}
          />
          <Step label="Next error (e)" onClick={() => goToMatch(sight, sight.errors(), 1)} />
        </span>
      )}
      <Find sight={sight} />
    </div>
  );
}

function Find({ sight }: { sight: Sight }) {
  const query = useAtom(sight.query);
  const matches = useAtom(sight.matches);
  const selected = useAtom(sight.selected);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => () => sight.query.set(""), [sight]);
  const at = matches && selected !== null ? matches.indexOf(sight.span) : NONE;
  const found = matches
    ? at === NONE
      ? count(matches.count)
      : `${count(at + 1)} of ${count(matches.count)}`
    : "";
  const step = (direction: 1 | -1) => matches && goToMatch(sight, matches, direction);
  return (
    <span class="tools-group">
      <span class="find" role="search">
        <svg
          viewBox="0 0 16 16"
          width="14"
          height="14"
          fill="none"
          stroke="currentColor"
          stroke-width="1.5"
          aria-hidden="true"
        >
          <circle cx="7" cy="7" r="4.5" />
          <path d="M10.5 10.5l4 4" />
        </svg>
        <input
          ref={input}
          id={FIND_ID}
          type="text"
          inputMode="search"
          autocomplete="off"
          spellcheck={false}
          placeholder="Find ( / )"
          aria-label="Find in trace: name, kind, service, id or attribute"
          value={query}
          onInput={(event) => sight.query.set(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") {
              event.preventDefault();
              step(event.shiftKey ? -1 : 1);
            } else if (event.key === "Escape") {
              event.stopPropagation();
              sight.query.set("");
              focusSpans(event.currentTarget);
            }
          }}
        />
        <span class="find-count" role="status">
          {found}
        </span>
      </span>
      {matches && matches.count > 0 && (
        <>
          <Step label="Previous match (N)" isUp onClick={() => step(-1)} />
          <Step label="Next match (n)" onClick={() => step(1)} />
        </>
      )}
    </span>
  );
}

/** Let the keys go to the spans again. */
function focusSpans(input: HTMLInputElement): void {
  const spans = document.querySelector<HTMLElement>(
    ".trace-main .labels, .trace-main [tabindex='0']",
  );
  if (spans) spans.focus({ preventScroll: true });
  else input.blur();
}

function Step({ label, isUp, onClick }: { label: string; isUp?: boolean; onClick: () => void }) {
  return (
    <button type="button" class="step" aria-label={label} title={label} onClick={onClick}>
      <svg
        viewBox="0 0 12 12"
        width="12"
        height="12"
        fill="none"
        stroke="currentColor"
        stroke-width="1.5"
        aria-hidden="true"
      >
        <path d={isUp ? "M3 7.5l3-3 3 3" : "M3 4.5l3 3 3-3"} />
      </svg>
    </button>
  );
}
