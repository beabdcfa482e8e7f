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
const AGAIN_TIMES = 20;
const AGAIN_MS = 100;
const MOST_KEPT = 1000;

let columns = new Int32Array(0);

/** The figures of a density row, counted again as often as that costs nothing much. */
export function figuresOf(
  sight: Sight,
  frame: Pick<Frame, "tree" | "clock">,
  fold: number,
): Figures {
  const { tree } = frame;
  const { figured, rows } = sight;
  const members = rows.membersOf(fold);
  const { key: group } = rows.folds[fold];
  const known = figured.get(group);
  const key = `${tree.version} ${members.count}`;
  const begun = performance.now();
  if (known) {
    if (known.key === key && known.figures.running === 0) return known.figures;
    if (begun - known.ms < Math.max(AGAIN_MS, known.cost * AGAIN_TIMES)) return known.figures;
  }
  if (figured.size > MOST_KEPT) figured.clear();
  const made = figures(tree, members, frame.clock);
  const ms = performance.now();
  figured.set(group, { key, figures: made, ms, cost: ms - begun });
  return made;
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
  const across = Math.ceil(scale.width / size);
  if (columns.length !== across) columns = new Int32Array(across);
  const most = densityColumns(
    tree,
    members,
    clock,
    { ...scale, width: scale.width / size },
    columns,
  );
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
  const of = figuresOf(sight, frame, fold);
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
