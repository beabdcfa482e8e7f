// What every canvas of the page needs: its size in device pixels, texts that fit, dashes, hatches.

import { beside } from "../../model/geometry";
import { palette } from "./palette";
import { ROW } from "./sight";

/** The height of a bar, and what is free above and below it in its row, px. */
export const BAR = 14;
export const PAD = (ROW - BAR) / 2;

export type Pen = CanvasRenderingContext2D;

/** The size of a device pixel, px. */
export function grain(): number {
  return 1 / (devicePixelRatio || 1);
}

/** Make a canvas as large as it is shown, in device pixels, and return its pen in px. */
export function penOf(canvas: HTMLCanvasElement, width: number, height: number): Pen | null {
  const ratio = devicePixelRatio || 1;
  const across = Math.max(1, Math.round(width * ratio));
  const down = Math.max(1, Math.round(height * ratio));
  const pen = canvas.getContext("2d", { alpha: false });
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    if (pen) fonts.delete(pen); // a new size resets all that was set
  }
  pen?.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

/** The font that a pen has: setting the same one again costs a twentieth of a frame. */
const fonts = new WeakMap<Pen, string>();

export function setFont(pen: Pen, size = 12, weight = 400): void {
  const font = `${weight} ${size}px ${palette().sans}`;
  if (fonts.get(pen) !== font) {
    pen.font = font;
    fonts.set(pen, font);
  }
  pen.textBaseline = "middle";
  pen.textAlign = "left";
}

const widths = new Map<string, number>();
const MOST_WIDTHS = 5000;

/** The width of a text in the font that `setFont` sets by default, px. */
export function widthOf(pen: Pen, text: string): number {
  let width = widths.get(text);
  if (width === undefined) {
    if (widths.size >= MOST_WIDTHS) widths.clear();
    width = pen.measureText(text).width;
    widths.set(text, width);
  }
  return width;
}

/** What is measured of a name: more of it is on no screen. */
const MOST_TEXT = 240;

/** Cut a text to a width, px, with an ellipsis; "" where not even that fits. */
export function fitted(pen: Pen, text: string, width: number): string {
  const short = text.length > MOST_TEXT ? cut(text, MOST_TEXT) : text;
  const whole = widthOf(pen, short);
  if (whole <= width && short.length === text.length) return text;
  let length = Math.min(short.length, Math.floor((width / Math.max(1, whole)) * short.length));
  for (; length > 0; length = Math.floor(length * 0.9)) {
    const shorter = `${cut(short, length)}…`;
    if (pen.measureText(shorter).width <= width) return shorter;
  }
  return "";
}

/** The beginning of a text; no character is cut in two. */
export function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  const code = text.charCodeAt(length - 1);
  return text.slice(0, code >= 0xd800 && code < 0xdc00 ? length - 1 : length);
}

/** Write beside a bar in the row at `y`; on it, where there is no other place, on a ground of its own. `before`: then
 *  left of this, if it is a number. */
export function writeBeside(
  pen: Pen,
  said: string,
  colour: string,
  left: number,
  right: number,
  y: number,
  width: number,
  before = NaN,
): void {
  const text = widthOf(pen, said);
  const at = beside(left, right, text, width);
  let { x } = at;
  if (at.align === "right" && x > left && x < right) {
    if (before < x) x = Math.max(left + text, before) - 6;
    pen.fillStyle = palette().background;
    pen.fillRect(x - text - 4, y + 3, text + 8, ROW - 6);
  }
  pen.fillStyle = colour;
  pen.textAlign = at.align;
  pen.fillText(said, x, y + ROW / 2 + 0.5);
  pen.textAlign = "left";
}

/** Lines at 45 degrees over a box. */
export function hatch(
  pen: Pen,
  x: number,
  y: number,
  width: number,
  height: number,
  colour: string,
): void {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.beginPath();
  // Only what is to be seen: a box may reach far beyond the canvas.
  const from = Math.max(x, -height);
  const to = Math.min(x + width, pen.canvas.width);
  for (let at = from - ((from - x) % 6) - height; at < to; at += 6) {
    pen.moveTo(at, y + height);
    pen.lineTo(at + height, y);
  }
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.restore();
}

export function dashedLine(pen: Pen, x: number, from: number, to: number, colour: string): void {
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.setLineDash([3, 2]);
  pen.beginPath();
  pen.moveTo(x, from);
  pen.lineTo(x, to);
  pen.stroke();
  pen.setLineDash([]);
}

/** A cross in a square of `size` px. */
export function cross(pen: Pen, x: number, y: number, size: number, colour: string): void {
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x + size, y + size);
  pen.moveTo(x + size, y);
  pen.lineTo(x, y + size);
  pen.stroke();
  pen.lineCap = "butt";
}
