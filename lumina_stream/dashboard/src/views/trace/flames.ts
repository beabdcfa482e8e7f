// The boxes of both flame graphs: the kind's colour, faint, under an edge of it in full.

import type { Scale } from "../../model/axis";
import type { Boxes } from "../../model/boxes";
import { NONE } from "../../model/tree";
import { cross, fitted, hatch, setFont } from "./canvas";
import type { Pen } from "./canvas";
import { palette } from "./palette";
import { AXIS } from "./sight";

export const BOX = 18;
/** Below this width a box has no label, px. */
const LABEL_FROM = 40;
const PAD = 5;

/** What a box looks like. */
export type Look = {
  name: string;
  /** Index into KIND_GROUPS. */
  kind: number;
  isError: boolean;
  isOpen: boolean;
  isFaint: boolean;
  isHatched: boolean;
  isDashed: boolean;
  isDim: boolean;
};

/** Draw the rows in view. `lookOf` fills in what a box looks like; return whether one of them is open. */
export function drawBoxes(
  pen: Pen,
  boxes: Boxes,
  scale: Scale,
  height: number,
  top: number,
  now: number,
  lookOf: (box: number, look: Look) => void,
  special: { selected: number; pointed: number },
): boolean {
  const colours = palette();
  const look = {} as Look;
  const first = Math.max(0, Math.floor(top / BOX));
  const last = Math.min(boxes.rows, Math.ceil((top + height - AXIS) / BOX));
  let isOpen = false;
  setFont(pen);
  const outlines: (() => void)[] = [];
  for (let row = first; row < last; row++) {
    const y = Math.round(AXIS + row * BOX - top);
    boxes.visit(row, scale, now, (box, x, right) => {
      const from = Math.max(x, -4);
      const to = Math.min(right, scale.width + 4);
      if (box === NONE) {
        pen.globalAlpha = 0.25;
        pen.fillStyle = colours.kinds[4];
        pen.fillRect(from, y, to - from, BOX - 1);
        pen.globalAlpha = 1;
        pen.fillRect(from, y, to - from, 3);
        return;
      }
      lookOf(box, look);
      const colour = colours.kinds[look.kind];
      const wide = to - from > 3 ? to - from - 1 : to - from; // neighbours stay apart
      pen.fillStyle = colour;
      pen.globalAlpha = look.isDim ? 0.08 : look.isFaint ? 0.1 : 0.25;
      pen.fillRect(from, y, wide, BOX - 1);
      pen.globalAlpha = look.isDim ? 0.3 : 1;
      pen.fillRect(from, y, wide, 3);
      if (look.isHatched) hatch(pen, from, y + 3, wide, BOX - 4, colours.interrupted);
      if (look.isOpen) {
        isOpen = true;
        pen.fillStyle = colours.running;
        pen.fillRect(right - 3, y, 3, BOX - 1);
      }
      pen.globalAlpha = 1;
      if (look.isError) outlines.push(() => outline(pen, from, y, wide, colours.error));
      if (look.isDashed)
        outlines.push(() => outline(pen, from, y, wide, colours.control, [3, 3], 1));
      if (box === special.pointed)
        outlines.push(() => outline(pen, from, y, wide, colours.text, [], 1));
      if (box === special.selected)
        outlines.push(() => outline(pen, from, y, wide, colours.running));
      drawLabel(pen, look, Math.max(0, from), to, y, scale.width);
    });
  }
  for (const draw of outlines) draw();
  return isOpen;
}

function drawLabel(
  pen: Pen,
  look: Look,
  from: number,
  right: number,
  y: number,
  width: number,
): void {
  const to = Math.min(right, width);
  if (to - from < LABEL_FROM) return;
  const colours = palette();
  let x = from + PAD;
  if (look.isError) {
    cross(pen, x, y + 6.5, 6, colours.error);
    x += 11;
  }
  const text = fitted(pen, look.name, to - x - PAD);
  if (text.length < 4 && text !== look.name) return; // says nothing
  pen.fillStyle = look.isError ? colours.error : look.isDim ? colours.muted : colours.text;
  pen.fillText(text, x, y + 10);
}

function outline(
  pen: Pen,
  x: number,
  y: number,
  width: number,
  colour: string,
  dash: number[] = [],
  line = 2,
): void {
  pen.strokeStyle = colour;
  pen.lineWidth = line;
  pen.setLineDash(dash);
  pen.strokeRect(x + line / 2, y + line / 2, Math.max(1, width - line), BOX - 1 - line);
  pen.setLineDash([]);
}
