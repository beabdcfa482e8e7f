// Density rows: how many siblings are open at each moment, and their figures.

import { toPx } from "../../model/axis";
import type { Scale } from "../../model/axis";
import { densityColumns, figures } from "../../model/density";
import type { Figures } from "../../model/density";
import { count, duration } from "../../model/format";
import { kindGroup } from "../../model/kinds";
import { BAR, PAD, grain, writeBeside } from "./canvas";
import type { Pen } from "./canvas";
import { palette } from "./palette";
import type { Frame, Sight } from "./sight";

/** Figures are counted again after so many times what that took, ms at least. */
const AGAIN_TIMES = 10;
const AGAIN_MS = 100;
const MOST_KEPT = 1000;

/** What is known of the siblings of one name, with when and at what cost it was found out. */
export type Counted<T> = { key: string; found: T; ms: number; cost: number };
export type Columns = { columns: Int32Array; most: number; view: string };

/** Find something out anew if its key is another one and it is due, else as it was; what is not up to
 *  date is painted again when it is due. */
function counted<T>(
  sight: Sight,
  kept: Map<number, Counted<T>>,
  group: number,
  key: string,
  restMs: number,
  count: () => T,
): T {
  const known = kept.get(group);
  const begun = performance.now();
  if (known) {
    if (known.key === key) return known.found;
    // All rows together take no more than their share.
    const rest = known.ms + Math.max(restMs, known.cost * kept.size * AGAIN_TIMES) - begun;
    if (rest > 0) {
      sight.touchIn(rest);
      return known.found;
    }
  }
  if (kept.size > MOST_KEPT) kept.clear();
  const found = count();
  const ms = performance.now();
  kept.set(group, { key, found, ms, cost: ms - begun });
  return found;
}

/** The figures of a density row, counted again as often as that costs nothing much. */
export function figuresOf(
  sight: Sight,
  frame: Pick<Frame, "tree" | "clock">,
  fold: number,
): Figures {
  const { tree, clock } = frame;
  const members = sight.rows.membersOf(fold);
  const { key: group } = sight.rows.folds[fold];
  const known = sight.figured.get(group)?.found;
  const tick = known?.running === 0 ? 0 : Math.floor(performance.now() / AGAIN_MS);
  const key = `${tree.version} ${members.count} ${tick}`;
  return counted(sight, sight.figured, group, key, AGAIN_MS, () => figures(tree, members, clock));
}

/** How many are open in each device pixel's column; at once where another stretch is shown. */
function columnsOf(
  sight: Sight,
  frame: Frame,
  scale: Scale,
  fold: number,
  running: number,
): Columns {
  const { tree, clock } = frame;
  const members = sight.rows.membersOf(fold);
  const { key: group } = sight.rows.folds[fold];
  const view = `${scale.from} ${scale.to} ${scale.width}`;
  const now = running > 0 ? Math.round(toPx(scale, clock.now)) : "";
  const key = `${tree.version} ${members.count} ${now}`;
  if (sight.densities.get(group)?.found.view !== view) sight.densities.delete(group);
  return counted(sight, sight.densities, group, key, 0, () => {
    const columns = new Int32Array(Math.ceil(scale.width));
    return { columns, view, most: densityColumns(tree, members, clock, scale, columns) };
  });
}

/** A density row's figures, as short as they can be said: how long what runs has taken is none. */
export function figuresText(of: Figures): string {
  const parts: string[] = [];
  if (of.errors > 0) parts.push(`${count(of.errors)} ${of.errors === 1 ? "error" : "errors"}`);
  if (of.running > 0) parts.push(`${count(of.running)} running`);
  if (of.running < of.count) parts.push(`p50 ${duration(of.p50)}`, `p95 ${duration(of.p95)}`);
  return parts.join(", ");
}

/** Draw one row at `y`; return whether one of its spans is open. */
export function drawDensity(
  pen: Pen,
  scale: Scale,
  y: number,
  sight: Sight,
  frame: Frame,
  fold: number,
): boolean {
  const { tree, clock } = frame;
  const colours = palette();
  const members = sight.rows.membersOf(fold);
  // In device pixels: between columns of any other width there would be seams.
  const size = grain();
  const fine = { ...scale, width: scale.width / size };
  const of = figuresOf(sight, frame, fold);
  const { columns, most } = columnsOf(sight, frame, fine, fold, of.running);
  const across = columns.length;
  const first = members.list[members.from];
  pen.fillStyle = colours.kinds[kindGroup(tree.kind(first))];
  let left = Infinity;
  let right = -Infinity;
  // Columns of one height in one go.
  for (let c = 0; c < across;) {
    const from = c;
    const n = columns[c];
    while (c < across && columns[c] === n) c++;
    if (n === 0) continue;
    // The square root, so that one beside a hundred is still seen.
    const tall = Math.max(3, Math.round(BAR * Math.sqrt(n / most)));
    pen.fillRect(from * size, y + PAD + BAR - tall, (c - from) * size, tall);
    left = Math.min(left, from * size);
    right = c * size;
  }
  const now = Math.round(toPx(scale, clock.now));
  if (of.running > 0 && now > 0 && now <= scale.width) {
    pen.fillStyle = colours.running;
    pen.fillRect(now - 3, y + PAD - 1, 3, BAR + 2);
  }
  if (!sight.hasFigures) {
    if (right < 0) left = right = toPx(scale, tree.start[first]); // out of sight
    const colour = of.errors > 0 ? colours.error : of.running > 0 ? colours.running : colours.muted;
    writeBeside(pen, figuresText(of), colour, left, right, y, scale.width);
  }
  return of.running > 0;
}
