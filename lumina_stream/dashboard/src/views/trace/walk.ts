// Going about in a trace: to a row, to a span, to the next match or error.

import type { Range } from "../../model/axis";
import { LOSS } from "../../model/rows";
import type { Matches } from "../../model/search";
import { endOf } from "../../model/times";
import { NONE } from "../../model/tree";
import { go, route } from "../../state/route";
import type { View } from "../../state/route";
import type { Sight } from "./sight";

/** Select a span by its id; null: none. What is in view stays. */
export function select(sight: Sight, id: string | null): void {
  const at = route.get();
  if (at.page !== "trace" || at.span === id) return;
  sight.selected.set(id);
  // From span to span the Back button would have a long way.
  go({ ...at, span: id }, { replace: at.span !== null && id !== null });
}

export function showView(view: View): void {
  const at = route.get();
  if (at.page === "trace") go({ ...at, view }, { replace: true });
}

/** Go to a span wherever it is. */
export function visit(sight: Sight, i: number): void {
  if (i === NONE) return;
  const id = sight.tree.id(i);
  select(sight, id);
  sight.reveal(id);
  sight.letGo();
  showTime(sight, i);
}

export function toggleRow(sight: Sight, row: number): void {
  const { rows, folding, tree } = sight;
  const fold = rows.fold[row];
  if (row < 0 || row >= rows.count || fold === LOSS) return;
  if (fold >= 0) folding.toggleGroup(rows.folds[fold].key);
  else if (tree.firstChild[rows.span[row]] !== NONE) folding.toggle(rows.span[row]);
  sight.touch();
}

/** Move the view over a span's time if that is out of it. */
export function showTime(sight: Sight, i: number): void {
  const ms = performance.now();
  const { from, to } = sight.axis.view(ms);
  const range = rangeOf(sight, i);
  if (!range || (range.to >= from && range.from <= to)) return;
  const width = to - from;
  const start = range.from - width * 0.1;
  sight.axis.show({ from: start, to: start + width }, ms, sight.eased);
}

/** Show the time of a span, with a little around it. */
export function fitSpan(sight: Sight, i: number): void {
  const range = rangeOf(sight, i);
  if (range) fitRange(sight, range);
}

export function fitRange(sight: Sight, { from, to }: Range): void {
  const around = (to - from) * 0.05;
  sight.axis.show({ from: from - around, to: to + around }, performance.now(), sight.eased);
  sight.letGo();
  sight.touch();
}

export function fitAll(sight: Sight): void {
  sight.axis.fit(performance.now(), sight.eased);
  sight.touch();
}

/** When a span began and ended, or now; null: it has not started. */
export function rangeOf(sight: Sight, i: number): Range | null {
  if (i === NONE) return null;
  const from = sight.tree.start[i];
  const to = endOf(sight.tree, i, sight.clock(performance.now()));
  return to >= from ? { from, to } : null;
}

export function goToMatch(sight: Sight, matches: Matches, direction: 1 | -1): void {
  visit(sight, matches.next(sight.span, direction));
}

/** Select the row so many further down; a closed density row counts as its first span. */
export function moveRow(sight: Sight, by: number): void {
  const { rows } = sight;
  const step = by > 0 ? 1 : -1;
  const from = selectedRow(sight);
  let row = from === NONE ? (by > 0 ? 0 : rows.count - 1) : from + by;
  row = Math.min(Math.max(row, 0), rows.count - 1);
  while (row >= 0 && row < rows.count && !isPlace(sight, row)) row += step;
  toRow(sight, row);
}

/** Open what is closed; from what is open go on to what is in it. */
export function moveIn(sight: Sight): void {
  const row = selectedRow(sight);
  if (row === NONE) return moveRow(sight, 1);
  const isCollapsed = sight.rows.isCollapsed(sight.tree, sight.folding, row);
  if (isCollapsed === true) toggleRow(sight, row);
  else if (isCollapsed === false) moveRow(sight, 1);
}

/** Close what is open; from what is closed go on to what it is in. */
export function moveOut(sight: Sight): void {
  const { rows } = sight;
  const row = selectedRow(sight);
  if (row === NONE) return;
  if (rows.isCollapsed(sight.tree, sight.folding, row) === false) return toggleRow(sight, row);
  const above = rows.above(row);
  if (above === NONE) return;
  if (rows.fold[above] >= 0) toggleRow(sight, above); // its first span stands for it then
  toRow(sight, above);
}

function selectedRow(sight: Sight): number {
  return sight.span === NONE ? NONE : sight.rows.rowFor(sight.tree, sight.span);
}

/** Whether a row stands for a span; that of losses and an open density row do not. */
function isPlace({ rows }: Sight, row: number): boolean {
  const fold = rows.fold[row];
  return fold === NONE || (fold >= 0 && !rows.folds[fold].isOpen);
}

function toRow(sight: Sight, row: number): void {
  if (row < 0 || row >= sight.rows.count) return;
  select(sight, sight.tree.id(sight.rows.span[row]));
  sight.showRow(row);
  sight.letGo();
  sight.touch();
}
