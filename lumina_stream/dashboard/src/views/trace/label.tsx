// One row's label: what it is, how it is, what is below it.

import { count, tokens } from "../../model/format";
import { LOSS } from "../../model/rows";
import { ERROR, MISSING, NONE } from "../../model/tree";
import { Glyph, kindColour } from "../glyph";
import { cut } from "./canvas";
import { figuresOf, figuresText } from "./dense";
import type { Sight } from "./sight";

/** What of a name is put into a row; all of it is in the panel. */
const MOST_NAME = 400;
/** A name that may not fit is said in full under the pointer. */
const LONG_NAME = 24;

/** Which columns there are, and what is true of the row in particular. */
export type Columns = {
  hasTokens: boolean;
  hasServices: boolean;
  hasFigures: boolean;
  isSelected: boolean;
  /** From which depth its indent counts, and how wide that is, px. */
  base: number;
  indent: number;
};

/** Draw one row; a function, not a component, so that its key is the span. */
export function label(sight: Sight, row: number, columns: Columns) {
  const { rows, tree, folding } = sight;
  const fold = rows.fold[row];
  const i = rows.span[row];
  const depth = rows.depth[row];
  const collapsed = fold === LOSS ? undefined : rows.isCollapsed(tree, folding, row);
  const { base, indent } = columns;
  const is = [
    columns.isSelected && "is-selected",
    sight.pointed.get()?.row === row && "is-pointed",
    fold === NONE && i >= sight.newcomers.from && "is-new",
    fold === NONE && sight.isFaded(i) && "is-faded",
  ];
  return (
    <div
      key={fold === LOSS ? "lost" : fold >= 0 ? `f${rows.folds[fold].key}` : i}
      id={rowId(row)}
      class={["label", ...is.filter(Boolean)].join(" ")}
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
        <span
          class="label-guides"
          style={{
            width: `${Math.max(0, depth - base) * indent}px`,
            backgroundSize: `${indent}px 100%`,
          }}
        />
        <span class={collapsed === undefined ? "label-leaf" : "label-toggle"}>
          {collapsed !== undefined && <Chevron isOpen={!collapsed} />}
        </span>
        {fold === LOSS ? (
          <Lost />
        ) : fold >= 0 ? (
          <Folded sight={sight} fold={fold} i={i} isWide={columns.hasFigures} />
        ) : (
          <Named sight={sight} i={i} isCollapsed={collapsed === true} />
        )}
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
      <span
        class={`label-text cut${state === ERROR ? " is-error" : ""}${name ? "" : " muted"}`}
        dir="auto"
        title={name.length > LONG_NAME ? cut(name, MOST_NAME) : undefined}
      >
        {name ? cut(name, MOST_NAME) : state === MISSING ? `span ${tree.id(i)}` : "(no name)"}
      </span>
      {below > 0 && <ErrorsBelow n={below} />}
      {isCollapsed && (
        <span class="label-count">{count(tree.allSpans[i] - (state === MISSING ? 0 : 1))}</span>
      )}
    </>
  );
}

function Folded({
  sight,
  fold,
  i,
  isWide,
}: {
  sight: Sight;
  fold: number;
  i: number;
  isWide: boolean;
}) {
  const { tree, rows } = sight;
  const of = isWide
    ? figuresOf(sight, { tree, clock: sight.clock(performance.now()) }, fold)
    : null;
  return (
    <>
      <span class="label-kind label-kind-many" style={{ color: kindColour(tree.kind(i)) }} />
      <span class="label-text label-many cut" dir="auto">
        {cut(tree.name(i), MOST_NAME) || "(no name)"}
      </span>
      <span class="label-count">×{count(rows.membersOf(fold).count)}</span>
      {of && (
        <span
          class={`label-figures cut${of.errors > 0 ? " is-error" : of.running > 0 ? " is-running" : ""}`}
        >
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
    <svg
      class="label-below"
      viewBox="0 0 8 8"
      width="8"
      height="8"
      role="img"
      aria-label={`${count(n)} with errors below`}
    >
      <path
        d="M1.5 1.5l5 5M6.5 1.5l-5 5"
        stroke="currentColor"
        stroke-width="1.5"
        stroke-linecap="round"
      />
    </svg>
  );
}

function Chevron({ isOpen }: { isOpen: boolean }) {
  return (
    <svg
      viewBox="0 0 12 12"
      width="12"
      height="12"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      aria-hidden="true"
    >
      <path d={isOpen ? "M3 4.5l3 3 3-3" : "M4.5 3l3 3-3 3"} />
    </svg>
  );
}

function tokensOf(sight: Sight, i: number): string {
  const { tree } = sight;
  const sum = tree.allInput[i] + tree.allOutput[i];
  return sum > 0 ? tokens(sum) : "";
}

/** The id of a row's element. */
export function rowId(row: number): string {
  return `row-${row}`;
}
