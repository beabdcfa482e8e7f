// The bars of the waterfall: shape says the state, colour the kind.

import { toPx } from "../../model/axis";
import type { Scale } from "../../model/axis";
import { clock as timeOfDay, count, duration } from "../../model/format";
import { Bar, DASHED, OPEN, beside, drawnStart, place } from "../../model/geometry";
import { kindGroup } from "../../model/kinds";
import { LOSS } from "../../model/rows";
import { durationOf, endOf } from "../../model/times";
import { ABANDONED, CANCELLED, ERROR, INTERRUPTED, NONE, RUNNING, UNENDED } from "../../model/tree";
import type { Tree } from "../../model/tree";
import { BAR, PAD, dashedLine, grain, hatch, setFont, widthOf, writeBeside } from "./canvas";
import type { Pen } from "./canvas";
import { drawDensity } from "./dense";
import { palette } from "./palette";
import { AXIS, ROW } from "./sight";
import type { Frame, Sight } from "./sight";

const bar = new Bar();

/** Draw the bars of the rows in view; return whether one of them is open. */
export function drawBars(
  pen: Pen,
  scale: Scale,
  height: number,
  top: number,
  sight: Sight,
  frame: Frame,
): boolean {
  const { rows } = sight;
  const first = Math.max(0, Math.floor(top / ROW));
  const last = Math.min(rows.count, Math.ceil((top + height - AXIS) / ROW));
  setFont(pen);
  let isOpen = false;
  for (let row = first; row < last; row++) {
    const y = Math.round((AXIS + row * ROW - top) / grain()) * grain();
    const fold = rows.fold[row];
    if (fold === LOSS) drawLosses(pen, scale, y, frame.tree);
    else if (fold >= 0) isOpen = drawDensity(pen, scale, y, sight, frame, fold) || isOpen;
    else isOpen = drawSpan(pen, scale, y, sight, frame, rows.span[row]) || isOpen;
    drawPath(pen, scale, y, sight, frame, row);
  }
  return isOpen;
}

function drawSpan(
  pen: Pen,
  scale: Scale,
  y: number,
  sight: Sight,
  frame: Frame,
  i: number,
): boolean {
  const { tree, clock } = frame;
  if (i >= tree.count) return false;
  const state = tree.stateCode(i);
  place(bar, tree, i, drawnStart(tree, i), frame.until, clock, scale, grain());
  if (bar.isMissing) {
    drawMissing(pen, scale, y, frame, i);
    return false;
  }
  const { width } = scale;
  const isDim = sight.isFaded(i);
  pen.globalAlpha = isDim ? 0.3 : 1;
  if (bar.right > 0 && bar.x < width) drawBar(pen, y, tree, i, state, width, isDim);
  const said = saidOf(tree, i, state, frame);
  const edge = state === ERROR ? 3 : 0;
  pen.globalAlpha = isDim ? 0.5 : 1;
  writeBeside(pen, said, textColour(state), bar.x - edge, bar.right + edge, y, width, bar.hatch);
  pen.globalAlpha = 1;
  return bar.end === OPEN;
}

function drawBar(
  pen: Pen,
  y: number,
  tree: Tree,
  i: number,
  state: number,
  width: number,
  isDim: boolean,
): void {
  const colours = palette();
  const alpha = isDim ? 0.3 : 1;
  const kind = colours.kinds[kindGroup(tree.kind(i))];
  // Only what is to be seen of it, and a little more for its ends.
  const x = Math.max(bar.x, -8);
  const right = Math.min(bar.right, width + 8);
  const solid = bar.hatch === bar.hatch ? Math.min(bar.hatch, right) : right;
  const left = 2;
  const radii = bar.end === OPEN ? [left, 0, 0, left] : left;
  const isFaint = state === CANCELLED || state === ABANDONED;
  pen.globalAlpha = alpha * (isFaint ? 0.4 : 1);
  pen.fillStyle = kind;
  if (solid > x) {
    if (solid - x < 5) pen.fillRect(x, y + PAD, solid - x, BAR);
    else {
      pen.beginPath();
      pen.roundRect(x, y + PAD, solid - x, BAR, radii);
      pen.fill();
    }
  }
  pen.globalAlpha = alpha;
  if (bar.hatch === bar.hatch)
    hatch(pen, bar.hatch, y + PAD, right - bar.hatch, BAR, colours.interrupted);
  if (bar.end === DASHED) dashedLine(pen, bar.right - 1, y + 2, y + ROW - 2, colours.interrupted);
  if (bar.end === OPEN) {
    pen.fillStyle = colours.running;
    pen.fillRect(bar.right - 3, y + PAD - 1, 3, BAR + 2);
  }
  if (state === ERROR) {
    pen.strokeStyle = colours.error;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.roundRect(x - 2, y + PAD - 2, right - x + 4, BAR + 4, 3);
    pen.stroke();
  }
  if (bar.skewed) {
    // A notch: the bar was moved here.
    pen.fillStyle = colours.interrupted;
    pen.beginPath();
    pen.moveTo(bar.x, y + PAD - 3);
    pen.lineTo(bar.x + 7, y + PAD - 3);
    pen.lineTo(bar.x, y + PAD + 4);
    pen.fill();
  }
}

/** What never started is an outline around what hangs from it. */
function drawMissing(pen: Pen, scale: Scale, y: number, { tree, clock }: Frame, i: number): void {
  let from = NaN;
  let to = NaN;
  let left = 1000;
  for (
    let child = tree.firstChild[i];
    child !== NONE && left-- > 0;
    child = tree.nextSibling[child]
  ) {
    if (!(from <= tree.start[child])) from = tree.start[child];
    const end = endOf(tree, child, clock);
    if (!(to >= end)) to = end;
  }
  const colours = palette();
  pen.fillStyle = colours.muted;
  if (from !== from) {
    pen.fillText("has not started", 6, y + ROW / 2 + 0.5);
    return;
  }
  const x = Math.max(-8, Math.round(toPx(scale, from)));
  const right = Math.min(scale.width + 8, Math.max(x + 2, Math.round(toPx(scale, to))));
  pen.strokeStyle = colours.control;
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  pen.strokeRect(x + 0.5, y + PAD + 0.5, Math.max(1, right - x - 1), BAR - 1);
  pen.setLineDash([]);
  writeBeside(pen, "has not started", colours.muted, x, right, y, scale.width);
}

function saidOf(tree: Tree, i: number, state: number, { clock }: Frame): string {
  const took = duration(durationOf(tree, i, clock));
  if (state === INTERRUPTED)
    return `${took}, interrupted, last seen ${timeOfDay(tree.baseNs + tree.lastSeen(i))}`;
  if (state === UNENDED) return `${took}, unended`;
  if (state === CANCELLED) return `${took}, cancelled`;
  if (state === ABANDONED) return `${took}, abandoned`;
  return took;
}

function textColour(state: number): string {
  const colours = palette();
  if (state === RUNNING) return colours.running;
  if (state === ERROR) return colours.error;
  if (state === INTERRUPTED || state === UNENDED) return colours.interrupted;
  return colours.muted;
}

/** Draw the stretches of the path that a row shows, and the steps to the rows of those after them. */
function drawPath(
  pen: Pen,
  scale: Scale,
  y: number,
  sight: Sight,
  frame: Frame,
  row: number,
): void {
  const { path } = sight;
  const stretches = path && sight.stretchesOf(row);
  if (!path || !stretches) return;
  pen.fillStyle = palette().text;
  const line = y + ROW - 4;
  // The way to what is open goes on: it is drawn up to now.
  const end = frame.isOpen || sight.film.isOn ? frame.clock.now : Infinity;
  const px = (at: number) => {
    const x = Math.round(toPx(scale, Math.min(at, end)));
    return Math.max(-4, Math.min(scale.width + 4, x));
  };
  for (const k of stretches) {
    const from = px(path.from[k]);
    const to = px(path.to[k]);
    if (to <= from) continue; // too short to be seen
    pen.fillRect(from, line, to - from, 3);
    let next = k + 1;
    while (next < path.span.length && px(path.to[next]) <= px(path.from[next])) next++;
    const after = next < path.span.length ? sight.rows.rowFor(sight.tree, path.span[next]) : NONE;
    if (after === NONE || to < 0 || to > scale.width) continue;
    const down = (after - row) * ROW;
    pen.fillRect(to - 1, Math.min(line, line + down), 1, Math.abs(down) + 3);
  }
}

function drawLosses(pen: Pen, scale: Scale, y: number, tree: Tree): void {
  const colours = palette();
  let lost = 0;
  let isExact = true;
  let right = -Infinity;
  pen.strokeStyle = colours.lost;
  pen.lineWidth = 2;
  for (const loss of tree.losses) {
    lost += loss.count;
    isExact &&= loss.exact;
    const x = Math.round(toPx(scale, loss.time));
    if (x < -10 || x > scale.width + 10) continue;
    dashedLine(pen, x - 4, y + 3, y + ROW - 3, colours.lost);
    dashedLine(pen, x + 4, y + 3, y + ROW - 3, colours.lost);
    right = Math.max(right, x + 5);
  }
  const said = `${isExact ? "" : "at least "}${count(lost)} events lost`;
  const at = beside(right - 10, right, widthOf(pen, said), scale.width);
  // Across the row, but for what is written.
  pen.setLineDash([6, 4]);
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(0, y + ROW / 2);
  pen.lineTo(scale.width, y + ROW / 2);
  pen.stroke();
  pen.setLineDash([]);
  const text = widthOf(pen, said);
  pen.fillStyle = colours.background;
  pen.fillRect(at.align === "left" ? at.x - 3 : at.x - text - 3, y + 3, text + 6, ROW - 6);
  pen.fillStyle = colours.lost;
  pen.textAlign = at.align;
  pen.fillText(said, at.x, y + ROW / 2 + 0.5);
  pen.textAlign = "left";
}
