// The labels of the waterfall: the rows in view as elements, a tree for those who do not see it.

import { useEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";

import { count, tokens } from "../../model/format";
import { LOSS } from "../../model/rows";
import { ERROR, MISSING, NONE } from "../../model/tree";
import { useAtom } from "../../state/atom";
import { LABELS_LEAST, labelWidth } from "../../state/settings";
import { Glyph, kindColour } from "../glyph";
import { figuresOf, figuresText } from "./bars";
import { cut } from "./canvas";
import { AXIS, ROW } from "./sight";
import type { Frame, Sight } from "./sight";
import { select, toggleRow } from "./walk";

const INDENT = 14;
/** In deep trees a level is indented less, but never by less than this. */
const LEAST_INDENT = 4;
/** The share of the labels' width that indents may take. */
const MOST_INDENT = 0.4;
/** Rows drawn above and below what is in view. */
const AROUND = 3;
/** What of a name is put into a row; all of it is in the panel. */
const MOST_NAME = 400;
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
    return sight.paint((frame) => {
      const { scroll, rows } = sight;
      const first = Math.max(0, Math.floor(scroll.top / ROW) - AROUND);
      const last = Math.min(rows.count, Math.ceil((scroll.top + scroll.seen) / ROW) + AROUND);
      window.current = { first, last };
      if (list.current) list.current.style.transform = `translateY(${AXIS + first * ROW - scroll.top}px)`;
      const now = keyOf(sight, frame, first, last);
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
    shown.push(label(sight, row, base, indent, { hasTokens, hasServices, hasFigures: sight.hasFigures, isSelected: row === selected }));
  }
  const onClick = (event: MouseEvent) => {
    const target = event.target as HTMLElement;
    const row = Number(target.closest<HTMLElement>("[data-row]")?.dataset.row ?? NONE);
    if (row === NONE) return;
    if (target.closest(".label-toggle") || rows.fold[row] >= 0) toggleRow(sight, row);
    else if (rows.fold[row] !== LOSS) select(sight, tree.id(rows.span[row]));
  };
  const onOver = (event: MouseEvent) => {
    const row = Number((event.target as HTMLElement).closest<HTMLElement>("[data-row]")?.dataset.row ?? NONE);
    const old = sight.pointed.get();
    if (old?.row !== row) sight.pointed.set(row === NONE ? null : { row, box: NONE, at: NaN, x: NaN, y: NaN });
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

type Columns = { hasTokens: boolean; hasServices: boolean; hasFigures: boolean; isSelected: boolean };

function label(sight: Sight, row: number, base: number, indent: number, columns: Columns) {
  const { rows, tree, folding } = sight;
  const fold = rows.fold[row];
  const i = rows.span[row];
  const depth = rows.depth[row];
  const collapsed = fold === LOSS ? undefined : rows.isCollapsed(tree, folding, row);
  const isPointed = sight.pointed.get()?.row === row;
  const isNew = fold === NONE && i >= sight.newFrom;
  const isFaded = fold === NONE && fades(sight, i);
  return (
    <div
      key={fold === LOSS ? "lost" : fold >= 0 ? `f${rows.folds[fold].key}` : i}
      id={rowId(row)}
      class={`label${columns.isSelected ? " is-selected" : ""}${isPointed ? " is-pointed" : ""}${isNew ? " is-new" : ""}${isFaded ? " is-faded" : ""}`}
      role="row"
      data-row={row}
      aria-rowindex={row + 2}
      aria-level={depth + 1}
      aria-posinset={rows.place[row]}
      aria-setsize={rows.among[row]}
      aria-expanded={collapsed === undefined ? undefined : !collapsed}
      aria-selected={columns.isSelected}
    >
      <span class="label-name" role="gridcell">
        <span class="label-guides" style={{ width: `${Math.max(0, depth - base) * indent}px`, backgroundSize: `${indent}px 100%` }} />
        <span class={collapsed === undefined ? "label-leaf" : "label-toggle"}>
          {collapsed !== undefined && <Chevron isOpen={!collapsed} />}
        </span>
        {fold === LOSS ? <Lost /> : fold >= 0 ? <Folded sight={sight} fold={fold} i={i} isWide={columns.hasFigures} /> : <Named sight={sight} i={i} isCollapsed={collapsed === true} />}
      </span>
      {columns.hasServices && fold === NONE && (
        <span class="label-service cut" role="gridcell" dir="auto">
          {tree.service(i)}
        </span>
      )}
      {columns.hasTokens && fold === NONE && (
        <span class="label-tokens" role="gridcell">
          {tokensOf(sight, i)}
        </span>
      )}
    </div>
  );
}

function Named({ sight, i, isCollapsed }: { sight: Sight; i: number; isCollapsed: boolean }) {
  const { tree } = sight;
  const state = tree.stateCode(i);
  const name = tree.name(i);
  const below = tree.allErrors[i] - (tree.status[i] === ERROR ? 1 : 0);
  return (
    <>
      <span class="label-kind" style={{ background: kindColour(tree.kind(i)) }} />
      {state === MISSING ? <Glyph state="missing" /> : <Glyph state={tree.state(i)} />}
      <span class={`label-text cut${state === ERROR ? " is-error" : ""}${name ? "" : " muted"}`} dir="auto">
        {name ? cut(name, MOST_NAME) : state === MISSING ? `span ${tree.id(i)}` : "(no name)"}
      </span>
      {below > 0 && <ErrorsBelow n={below} />}
      {isCollapsed && <span class="label-count">{count(tree.allSpans[i] - (state === MISSING ? 0 : 1))}</span>}
    </>
  );
}

function Folded({ sight, fold, i, isWide }: { sight: Sight; fold: number; i: number; isWide: boolean }) {
  const { tree, rows } = sight;
  const of = isWide ? figuresOf(sight, { tree, clock: sight.clock(performance.now()) }, fold) : null;
  return (
    <>
      <span class="label-kind label-kind-many" style={{ color: kindColour(tree.kind(i)) }} />
      <span class="label-text label-many cut" dir="auto">
        {cut(tree.name(i), MOST_NAME) || "(no name)"}
      </span>
      <span class="label-count">×{count(rows.membersOf(fold).count)}</span>
      {of && (
        <span class={`label-figures cut${of.errors > 0 ? " is-error" : of.running > 0 ? " is-running" : ""}`}>
          {figuresText(of)}
        </span>
      )}
    </>
  );
}

function Lost() {
  return <span class="label-text is-lost">Lost events</span>;
}

function ErrorsBelow({ n }: { n: number }) {
  return (
    <svg class="label-below" viewBox="0 0 8 8" width="8" height="8" role="img" aria-label={`${count(n)} with errors below`}>
      <path d="M1.5 1.5l5 5M6.5 1.5l-5 5" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" />
    </svg>
  );
}

function Chevron({ isOpen }: { isOpen: boolean }) {
  return (
    <svg viewBox="0 0 12 12" width="12" height="12" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true">
      <path d={isOpen ? "M3 4.5l3 3 3-3" : "M4.5 3l3 3-3 3"} />
    </svg>
  );
}

function tokensOf(sight: Sight, i: number): string {
  const { tree } = sight;
  const sum = tree.allInput[i] + tree.allOutput[i];
  return sum > 0 ? tokens(sum) : "";
}

function fades(sight: Sight, i: number): boolean {
  const matches = sight.matches.get();
  if (matches) return !matches.has(i);
  return sight.path !== null && !sight.path.has(i);
}

function rowId(row: number): string {
  return `row-${row}`;
}

/** From which depth indents count, and how wide they are: in deep trees labels would else be all
 *  indent. */
function indentsOf(sight: Sight, first: number, last: number, width: number): { base: number; indent: number } {
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

/** What the labels in view are made from; ten times a second also what ticks in them. */
function keyOf(sight: Sight, frame: Frame, first: number, last: number): string {
  const pointed = sight.pointed.get()?.row ?? NONE;
  const tick = Math.floor(frame.ms / 100);
  const version = changedAt(sight, frame, tick);
  const found = sight.matches.get()?.count ?? -1;
  const isNew = sight.newFrom < Infinity ? sight.newFrom : "";
  return `${first} ${last} ${sight.rowsVersion} ${sight.selected.get()} ${pointed} ${version} ${found} ${sight.query.get()} ${sight.path ? sight.path.span.length : -1} ${isNew}`;
}

const said = new WeakMap<Sight, { tick: number; version: number }>();

function changedAt(sight: Sight, { tree }: Frame, tick: number): number {
  const known = said.get(sight);
  if (known && (known.tick === tick || known.version === tree.version)) return known.version;
  said.set(sight, { tick, version: tree.version });
  return tree.version;
}
