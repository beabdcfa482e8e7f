// The waterfall: labels in rows of the page, bars on a canvas beside them, one scroll for both.

import { useEffect, useRef } from "preact/hooks";

import { fromPx } from "../../model/axis";
import { memberAt } from "../../model/density";
import { LOSS } from "../../model/rows";
import { NONE } from "../../model/tree";
import { useAtom } from "../../state/atom";
import { LABELS_LEAST, LABELS_MOST, labelWidth } from "../../state/settings";
import { drawBars } from "./bars";
import { palette } from "./palette";
import { Labels } from "./labels";
import { AXIS, BELOW, ROW } from "./sight";
import type { Sight } from "./sight";
import { useStage } from "./stage";
import { drawBehind, drawOver } from "./timeline";
import { Tip } from "./tip";
import { fitSpan, select, toggleRow } from "./walk";

export function Waterfall({ sight, isNarrow }: { sight: Sight; isNarrow: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const space = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { rows, scroll } = sight;

  const rowAt = (y: number) => {
    const row = Math.floor((y - AXIS + scroll.top) / ROW);
    return y >= AXIS && row < rows.count ? row : NONE;
  };

  useStage({
    sight,
    axis: sight.axis,
    scroll,
    box,
    space,
    canvas,
    content: () => rows.count * ROW + AXIS + BELOW,
    draw: (pen, scale, height, frame) => {
      pen.fillStyle = palette().background;
      pen.fillRect(0, 0, scale.width, height);
      drawRowGrounds(pen, scale.width, sight);
      drawBehind(pen, scale, height, sight, frame);
      const isOpen = drawBars(pen, scale, height, scroll.top, sight, frame);
      return drawOver(pen, scale, height, sight, frame) || isOpen;
    },
    point: (place) => {
      const { x, y } = place ?? { x: 0, y: 0 };
      sight.pointed.set(place && { row: rowAt(y), box: NONE, at: fromPx(place.scale, x), x, y });
    },
    pick: (x, y, scale, isTwice) => {
      const row = rowAt(y);
      if (row === NONE) return;
      const fold = rows.fold[row];
      if (fold >= 0) {
        const at = fromPx(scale, x);
        const reach = ((scale.to - scale.from) / scale.width) * 4;
        const member = memberAt(
          sight.tree,
          rows.membersOf(fold),
          sight.clock(performance.now()),
          at,
          reach,
        );
        if (isTwice || member === NONE) toggleRow(sight, row);
        else select(sight, sight.tree.id(member));
      } else if (isTwice) fitSpan(sight, rows.span[row]);
      else if (fold !== LOSS) select(sight, sight.tree.id(rows.span[row]));
    },
    mark: (from, to) => sight.range.set({ from, to }),
  });

  return (
    <div class="stage" ref={box}>
      <div class="stage-sheet">
        <Labels sight={sight} isNarrow={isNarrow} />
        <Divider sight={sight} isNarrow={isNarrow} />
        <canvas ref={canvas} class="stage-canvas" aria-hidden="true" />
        <Tip sight={sight} canvas={canvas} />
      </div>
      <div ref={space} />
    </div>
  );
}

function drawRowGrounds(pen: CanvasRenderingContext2D, width: number, sight: Sight): void {
  const { rows, scroll, span } = sight;
  const ground = (row: number, colour: string) => {
    if (row === NONE) return;
    pen.fillStyle = colour;
    pen.fillRect(0, AXIS + row * ROW - scroll.top, width, ROW);
  };
  const selected = span === NONE ? NONE : rows.rowFor(sight.tree, span);
  const pointed = sight.pointed.get()?.row ?? NONE;
  if (pointed !== selected) ground(pointed, palette().surface);
  ground(selected, palette().selected);
}

/** The line between labels and bars, to be dragged or moved with the arrow keys. */
function Divider({ sight, isNarrow }: { sight: Sight; isNarrow: boolean }) {
  const width = useAtom(labelWidth);
  const from = useRef<number | null>(null);
  useEffect(() => sight.touch(), [width]);
  if (isNarrow) return <div class="divider" />;
  const to = (px: number) =>
    labelWidth.set(Math.round(Math.min(LABELS_MOST, Math.max(LABELS_LEAST, px))));
  return (
    <div
      class="divider divider-moves"
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of the labels"
      aria-valuenow={width}
      aria-valuemin={LABELS_LEAST}
      aria-valuemax={LABELS_MOST}
      tabIndex={0}
      onPointerDown={(event) => {
        from.current = event.clientX - width;
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => from.current !== null && to(event.clientX - from.current)}
      onPointerUp={() => (from.current = null)}
      onPointerCancel={() => (from.current = null)}
      onDblClick={() => to(360)}
      onKeyDown={(event) => {
        const by = event.key === "ArrowLeft" ? -16 : event.key === "ArrowRight" ? 16 : 0;
        if (by === 0) return;
        event.preventDefault();
        event.stopPropagation();
        to(width + by);
      }}
    />
  );
}
