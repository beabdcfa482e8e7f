// What lies behind and over the bars on every time axis: grid, ranges, the now-line, the crosshair,
// and the axis itself.

import { fromPx, tickLabel, ticks, toPx } from "../../model/axis";
import type { Range, Scale } from "../../model/axis";
import { duration } from "../../model/format";
import { setFont, widthOf } from "./canvas";
import type { Pen } from "./canvas";
import { palette } from "./palette";
import { AXIS } from "./sight";
import type { Frame, Sight } from "./sight";

/** Draw what lies behind the bars. */
export function drawBehind(
  pen: Pen,
  scale: Scale,
  height: number,
  sight: Sight,
  frame: Frame,
): void {
  const colours = palette();
  for (const [range, colour] of [
    [sight.mark.get(), colours.interrupted],
    [sight.range.get(), colours.running],
  ] as const) {
    if (!range) continue;
    const [from, to] = spanned(range, scale);
    pen.globalAlpha = 0.1;
    pen.fillStyle = colour;
    pen.fillRect(from, AXIS, to - from, height);
    pen.globalAlpha = 1;
  }
  pen.fillStyle = colours.line;
  pen.globalAlpha = 0.6;
  for (const { at } of ticks(scale, frame.zero).ticks) {
    pen.fillRect(Math.round(toPx(scale, at)), AXIS, 1, height);
  }
  pen.globalAlpha = 1;
}

/** Draw what lies over the bars; return whether it moves with time. */
export function drawOver(
  pen: Pen,
  scale: Scale,
  height: number,
  sight: Sight,
  frame: Frame,
): boolean {
  const colours = palette();
  for (const [range, colour] of [
    [sight.mark.get(), colours.interrupted],
    [sight.range.get(), colours.running],
  ] as const) {
    if (!range) continue;
    const [from, to] = spanned(range, scale);
    pen.fillStyle = colour;
    pen.fillRect(from, AXIS, 1, height);
    pen.fillRect(to - 1, AXIS, 1, height);
  }
  const now = Math.round(toPx(scale, frame.clock.now));
  const isNowSeen = (frame.isOpen || sight.film.isOn) && now >= 0 && now <= scale.width;
  if (isNowSeen) {
    pen.fillStyle = colours.running;
    pen.fillRect(now, AXIS, 1, height);
  }
  drawAxis(pen, scale, sight, frame);
  const pointed = sight.pointed.get();
  if (pointed) drawCrosshair(pen, scale, height, Math.round(pointed.x), frame);
  return isNowSeen;
}

function drawAxis(pen: Pen, scale: Scale, sight: Sight, frame: Frame): void {
  const colours = palette();
  pen.fillStyle = colours.background;
  pen.fillRect(0, 0, scale.width, AXIS);
  setFont(pen);
  const { ticks: marks, base } = ticks(scale, frame.zero);
  let free = 0;
  if (base) {
    pen.fillStyle = colours.text;
    pen.fillText(base.label, 6, AXIS / 2);
    free = 6 + widthOf(pen, base.label) + 12;
  }
  for (const { at, label } of marks) {
    const x = Math.round(toPx(scale, at));
    const width = widthOf(pen, label);
    pen.fillStyle = colours.line;
    pen.fillRect(x, AXIS - 6, 1, 6);
    if (x + 5 < free || x + 5 + width > scale.width) continue;
    pen.fillStyle = colours.muted;
    pen.fillText(label, x + 5, AXIS / 2);
  }
  for (const [range, colour] of [
    [sight.mark.get(), colours.interrupted],
    [sight.range.get(), colours.running],
  ] as const) {
    if (range) drawLength(pen, range, scale, colour);
  }
  const now = Math.round(toPx(scale, frame.clock.now));
  if ((frame.isOpen || sight.film.isOn) && now >= 0 && now <= scale.width) {
    pen.fillStyle = colours.running;
    pen.beginPath();
    pen.moveTo(now - 4, AXIS - 7);
    pen.lineTo(now + 5, AXIS - 7);
    pen.lineTo(now + 0.5, AXIS - 1);
    pen.fill();
  }
  pen.fillStyle = colours.line;
  pen.fillRect(0, AXIS - 1, scale.width, 1);
}

/** Draw how long a range is, on the axis between its ends. */
function drawLength(pen: Pen, range: Range, scale: Scale, colour: string): void {
  const [from, to] = spanned(range, scale);
  const label = duration(range.to - range.from);
  const width = widthOf(pen, label) + 12;
  const middle = Math.min(
    Math.max((Math.max(from, 0) + Math.min(to, scale.width)) / 2, width / 2),
    scale.width - width / 2,
  );
  pen.fillStyle = colour;
  pen.fillRect(from, AXIS - 3, to - from, 3);
  pen.fillStyle = palette().background;
  pen.fillRect(middle - width / 2, 3, width, AXIS - 8);
  pen.fillStyle = colour;
  pen.fillText(label, middle - width / 2 + 6, AXIS / 2);
}

function drawCrosshair(pen: Pen, scale: Scale, height: number, x: number, frame: Frame): void {
  const colours = palette();
  pen.fillStyle = colours.control;
  pen.fillRect(x, AXIS, 1, height);
  const at = fromPx(scale, x) - frame.zero;
  const label = tickLabel(at, stepOf(scale));
  const width = widthOf(pen, label) + 12;
  const left = Math.min(Math.max(x - width / 2, 0), scale.width - width);
  pen.fillStyle = colours.text;
  pen.beginPath();
  pen.roundRect(left, 4, width, AXIS - 9, 3);
  pen.fill();
  pen.fillStyle = colours.background;
  pen.fillText(label, left + 6, AXIS / 2);
}

/** As exact as the pointer is: a pixel, in a power of ten. */
function stepOf(scale: Scale): number {
  return 10 ** Math.floor(Math.log10((scale.to - scale.from) / scale.width));
}

function spanned(range: Range, scale: Scale): [from: number, to: number] {
  const from = Math.round(Math.max(-10, toPx(scale, range.from)));
  return [from, Math.max(from + 1, Math.round(Math.min(scale.width + 10, toPx(scale, range.to))))];
}
