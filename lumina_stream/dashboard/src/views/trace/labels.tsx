// The labels of the waterfall: the rows in view as elements, a tree for those who do not see it.

import { useEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";

import { count } from "../../model/format";
import { LOSS } from "../../model/rows";
import { NONE } from "../../model/tree";
import { useAtom } from "../../state/atom";
import { LABELS_LEAST, labelWidth } from "../../state/settings";
import { label, rowId } from "./label";
import { AXIS, ROW } from "./sight";
import type { Sight } from "./sight";
import { select, toggleRow } from "./walk";

const INDENT = 14;
/** In deep trees a level is indented less, but never by less than this. */
const LEAST_INDENT = 4;
/** The share of the labels' width that indents may take. */
const MOST_INDENT = 0.4;
/** Rows drawn above and below what is in view. */
const AROUND = 3;
/** The service's column, and the figures of density rows, need so much room. */
const SERVICE_FROM = 340;
const FIGURES_FROM = 320;

export function Labels({ sight, isNarrow }: { sight: Sight; isNarrow: boolean }) {
  const drawn = useAtom(sight.drawn);
  const chosen = useAtom(labelWidth);
  const width = isNarrow ? LABELS_LEAST : chosen;
  const list = useRef<HTMLDivElement>(null);
  const window = useRef({ first: 0, last: 0 });

  // With each frame the list is moved; it is drawn again when other rows come in, or what they say
  // has changed.
  useEffect(() => {
    let key = "";
    // What the tree says changes in the rows as often as text ticks.
    let tick = NaN;
    let version = NaN;
    return sight.paint((frame) => {
      const { scroll, rows } = sight;
      const first = Math.max(0, Math.floor(scroll.top / ROW) - AROUND);
      const last = Math.min(rows.count, Math.ceil((scroll.top + scroll.seen) / ROW) + AROUND);
      window.current = { first, last };
      if (list.current)
        list.current.style.transform = `translateY(${AXIS + first * ROW - scroll.top}px)`;
      if (tick !== frame.tick) version = frame.tree.version;
      tick = frame.tick;
      const now = keyOf(sight, version, first, last);
      if (now !== key) {
        key = now;
        sight.drawn.update((n) => n + 1);
      }
      return false;
    });
  }, [sight]);

  const { first, last } = window.current;
  const { rows, tree } = sight;
  const { base, indent } = indentsOf(sight, first, last, width);
  sight.hasFigures = width >= FIGURES_FROM;
  const hasTokens = !isNarrow && tree.totals().calls > 0;
  const hasServices = !isNarrow && width >= SERVICE_FROM && tree.services.length > 1;
  const selected = sight.span === NONE ? NONE : rows.rowFor(tree, sight.span);
  const shown: JSX.Element[] = [];
  for (let row = first; row < Math.min(last, rows.count); row++) {
    shown.push(
      label(sight, row, {
        hasTokens,
        hasServices,
        hasFigures: sight.hasFigures,
        isSelected: row === selected,
        base,
        indent,
      }),
    );
  }
  const onClick = (event: MouseEvent) => {
    const target = event.target as HTMLElement;
    const row = Number(target.closest<HTMLElement>("[data-row]")?.dataset.row ?? NONE);
    if (row === NONE) return;
    if (target.closest(".label-toggle") || rows.fold[row] >= 0) toggleRow(sight, row);
    else if (rows.fold[row] !== LOSS) select(sight, tree.id(rows.span[row]));
  };
  const onOver = (event: MouseEvent) => {
    const row = Number(
      (event.target as HTMLElement).closest<HTMLElement>("[data-row]")?.dataset.row ?? NONE,
    );
    const old = sight.pointed.get();
    if (old?.row !== row)
      sight.pointed.set(row === NONE ? null : { row, box: NONE, at: NaN, x: NaN, y: NaN });
    sight.touch();
  };
  const onLeave = () => {
    sight.pointed.set(null);
    sight.touch();
  };
  return (
    <div
      class="labels focus-inside"
      style={{ width: `${width}px` }}
      role="treegrid"
      aria-label="Spans"
      aria-rowcount={rows.count + 1}
      aria-activedescendant={selected >= first && selected < last ? rowId(selected) : undefined}
      tabIndex={0}
      data-drawn={drawn}
      onClick={onClick}
      onMouseOver={onOver}
      onMouseLeave={onLeave}
    >
      <div class="labels-head" role="row" aria-rowindex={1}>
        <span class="label-name" role="columnheader">
          Span
          {base > 0 && <span class="label-depth">from depth {count(base)}</span>}
        </span>
        {hasServices && (
          <span class="label-service" role="columnheader">
            Service
          </span>
        )}
        {hasTokens && (
          <span class="label-tokens" role="columnheader">
            Tokens
          </span>
        )}
      </div>
      <div class="labels-list" role="rowgroup" ref={list}>
        {shown}
      </div>
    </div>
  );
}

/** From which depth indents count, and how wide they are: in deep trees labels would else be all
 *  indent. */
function indentsOf(
  sight: Sight,
  first: number,
  last: number,
  width: number,
): { base: number; indent: number } {
  const { rows } = sight;
  let least = Infinity;
  let most = 0;
  for (let row = first; row < Math.min(last, rows.count); row++) {
    least = Math.min(least, rows.depth[row]);
    most = Math.max(most, rows.depth[row]);
  }
  const room = width * MOST_INDENT;
  if (most * INDENT <= room) return { base: 0, indent: INDENT };
  const levels = Math.max(1, most - least);
  const indent = Math.max(LEAST_INDENT, Math.min(INDENT, Math.floor(room / levels)));
  return { base: Math.max(0, least, most - Math.floor(room / indent)), indent };
}

/** What the labels in view are made from. */
function keyOf(sight: Sight, version: number, first: number, last: number): string {
  const { newcomers, rowsVersion, pathVersion } = sight;
  return [
    first,
    last,
    rowsVersion,
    version,
    sight.selected.get(),
    sight.pointed.get()?.row,
    sight.matches.get()?.count,
    sight.query.get(),
    pathVersion,
    newcomers.from,
  ].join(" ");
}
