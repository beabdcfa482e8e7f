// The minimap: the whole trace in a strip, with the part that is in view as a brush.

import { useEffect, useMemo, useRef } from "preact/hooks";

import { fromPx, toPx } from "../../model/axis";
import type { Scale } from "../../model/axis";
import { KIND_GROUPS, KindGroups } from "../../model/kinds";
import { Minimap } from "../../model/minimap";
import { PacedSteps } from "../../model/paced";
import { NONE } from "../../model/tree";
import { grain, penOf } from "./canvas";
import type { Pen } from "./canvas";
import { palette } from "./palette";
import type { Frame, Sight } from "./sight";
import { fitAll } from "./walk";

const EDGE = 6;

export function Strip({ sight }: { sight: Sight }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const held = useMemo(
    () => ({ minimap: new Minimap(), groups: new KindGroups(), paced: new PacedSteps() }),
    [sight],
  );

  useEffect(() => {
    const element = canvas.current!;
    let width = 0;
    let height = 0;
    let scale: Scale = { from: 0, to: 1, width: 1 };
    const observer = new ResizeObserver(() => {
      width = element.clientWidth;
      height = element.clientHeight;
      sight.touch();
    });
    observer.observe(element);
    let treeSeen: unknown = null;
    let lookSeen = "";
    let paintedSeen = "";
    const drawn = document.createElement("canvas");
    const stopPainting = sight.paint((frame) => {
      if (width === 0) return false;
      scale = { ...frame.whole, width };
      const { minimap, groups, paced } = held;
      const nowPx = frame.isOpen ? Math.floor(toPx(scale, frame.clock.now)) : 0;
      const key = `${frame.tree.version} ${frame.tree.count} ${scale.from} ${scale.to} ${width} ${grain()} ${nowPx}`;
      const across = Math.max(1, Math.round(width / grain()));
      const isOther = frame.tree !== treeSeen || minimap.width !== across;
      const isNew = paced.run(
        key,
        () => performance.now(),
        () => {
          treeSeen = frame.tree;
          frame.tree.settle();
          return minimap.build(frame.tree, groups, frame.clock, { ...scale, width: across });
        },
        isOther,
      );
      if (paced.isStale && paced.dueMs > 0) sight.touchIn(paced.dueMs);
      else if (paced.isStale) sight.touch();
      // What was counted is drawn once, not with each move of the pointer.
      const look = `${height} ${palette().background} ${devicePixelRatio}`;
      if (isNew || look !== lookSeen) {
        lookSeen = look;
        const drawing = penOf(drawn, width, height);
        if (drawing) drawColumns(drawing, height, minimap);
        paintedSeen = "";
      }
      const now = frame.isOpen ? Math.round(toPx(scale, frame.clock.now)) : NONE;
      const brush = sight.axis.all ? null : brushOf(scale, frame); // it may be on its way there
      // Most frames change nothing here, and what is not drawn anew needs not be put together anew.
      const painted = `${width} ${now} ${brush}`;
      if (painted === paintedSeen) return frame.isOpen;
      paintedSeen = painted;
      const pen = penOf(element, width, height);
      if (!pen) return false;
      pen.drawImage(drawn, 0, 0, width, height);
      if (now >= 0 && now <= scale.width) {
        pen.fillStyle = palette().running;
        pen.fillRect(now, 0, 1, height);
      }
      if (brush) drawBrush(pen, scale.width, height, brush);
      return frame.isOpen;
    });

    let drag: {
      kind: "new" | "move" | "from" | "to";
      x: number;
      at: number;
      from: number;
      to: number;
    } | null = null;
    const kindAt = (x: number) => {
      const { from, to } = sight.axis.view(performance.now());
      const [left, right] = [toPx(scale, from), toPx(scale, to)];
      const isWhole = sight.axis.all;
      if (!isWhole && Math.abs(x - left) <= EDGE) return "from";
      if (!isWhole && Math.abs(x - right) <= EDGE) return "to";
      return !isWhole && x > left && x < right ? "move" : "new";
    };
    const xOf = (event: PointerEvent) => event.clientX - element.getBoundingClientRect().left;
    const onDown = (event: PointerEvent) => {
      if (event.button !== 0) return;
      const x = xOf(event);
      const { from, to } = sight.axis.view(performance.now());
      drag = { kind: kindAt(x), x, at: fromPx(scale, x), from, to };
      element.setPointerCapture(event.pointerId);
    };
    const onMove = (event: PointerEvent) => {
      const x = xOf(event);
      if (!drag) {
        const kind = kindAt(x);
        element.style.cursor =
          kind === "new" ? "crosshair" : kind === "move" ? "grab" : "ew-resize";
        return;
      }
      if (Math.abs(x - drag.x) < 3) return;
      const at = fromPx(scale, x);
      const by = at - drag.at;
      const ends: [number, number] =
        drag.kind === "new"
          ? [drag.at, at]
          : drag.kind === "move"
            ? [drag.from + by, drag.to + by]
            : drag.kind === "from"
              ? [drag.from + by, drag.to]
              : [drag.from, drag.to + by];
      sight.axis.show({ from: Math.min(...ends), to: Math.max(...ends) }, performance.now(), false);
      sight.letGo();
      sight.touch();
    };
    const onUp = (event: PointerEvent) => {
      const x = xOf(event);
      if (drag && Math.abs(x - drag.x) < 3 && drag.kind === "new" && !sight.axis.all) {
        // A click beside the brush brings it there.
        const half = (drag.to - drag.from) / 2;
        sight.axis.show(
          { from: drag.at - half, to: drag.at + half },
          performance.now(),
          sight.eased,
        );
        sight.letGo();
        sight.touch();
      }
      drag = null;
    };
    const onCancel = () => (drag = null);
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const unit = event.deltaMode === 1 ? 20 : 1;
      const at = fromPx(scale, event.clientX - element.getBoundingClientRect().left);
      const by = Math.min(200, Math.max(-200, event.deltaY * unit));
      sight.axis.zoom(at, Math.exp(by * 0.003), performance.now(), false);
      sight.letGo();
      sight.touch();
    };
    const onDouble = () => fitAll(sight);
    element.addEventListener("pointerdown", onDown);
    element.addEventListener("pointermove", onMove);
    element.addEventListener("pointerup", onUp);
    element.addEventListener("pointercancel", onCancel);
    element.addEventListener("wheel", onWheel, { passive: false });
    element.addEventListener("dblclick", onDouble);
    return () => {
      stopPainting();
      observer.disconnect();
      element.removeEventListener("pointerdown", onDown);
      element.removeEventListener("pointermove", onMove);
      element.removeEventListener("pointerup", onUp);
      element.removeEventListener("pointercancel", onCancel);
      element.removeEventListener("wheel", onWheel);
      element.removeEventListener("dblclick", onDouble);
    };
  }, [sight]);

  return <canvas ref={canvas} class="minimap" aria-hidden="true" />;
}

/** Columns are device pixels: between any others there would be seams. */
function drawColumns(pen: Pen, height: number, minimap: Minimap): void {
  const colours = palette();
  const size = grain();
  pen.fillStyle = colours.background;
  pen.fillRect(0, 0, minimap.width * size, height);
  const room = height - 8;
  // The square root, so that one span at work beside a hundred is still seen.
  const tall = (n: number) =>
    n === 0 ? 0 : Math.max(2, Math.round(room * Math.sqrt(n / minimap.most)));
  const below = new Int32Array(minimap.width);
  for (let kind = 0; kind < KIND_GROUPS.length; kind++) {
    pen.fillStyle = colours.kinds[kind];
    const active = minimap.active[kind];
    // Columns that look alike in one go.
    for (let c = 0; c < minimap.width;) {
      const own = active[c];
      const low = below[c];
      const start = c;
      for (; c < minimap.width && active[c] === own && below[c] === low; c++) below[c] += own;
      if (own === 0) continue;
      const from = tall(low);
      pen.fillRect(
        start * size,
        height - 2 - tall(low + own),
        (c - start) * size,
        Math.max(1, tall(low + own) - from),
      );
    }
  }
  for (let c = 0; c < minimap.width; c++) {
    if (minimap.lost[c] > 0) {
      pen.fillStyle = colours.lost;
      for (let y = 0; y < height; y += 5) pen.fillRect(c * size, y, 2, 3);
    }
    if (minimap.errors[c] > 0) {
      pen.fillStyle = colours.error;
      pen.fillRect(c * size - 1, 0, 3, 5);
    }
  }
}

type Brush = readonly [from: number, to: number];

/** What is in view, px. */
function brushOf(scale: Scale, { view }: Frame): Brush {
  const from = Math.round(toPx(scale, view.from));
  return [from, Math.max(from + 2, Math.round(toPx(scale, view.to)))];
}

function drawBrush(pen: Pen, width: number, height: number, [from, to]: Brush): void {
  const colours = palette();
  pen.globalAlpha = 0.7;
  pen.fillStyle = colours.surface;
  pen.fillRect(0, 0, from, height);
  pen.fillRect(to, 0, width - to, height);
  pen.globalAlpha = 1;
  pen.fillStyle = colours.running;
  pen.fillRect(from - 1, 0, 2, height);
  pen.fillRect(to - 1, 0, 2, height);
  pen.fillRect(from - 2, height / 2 - 8, 4, 16);
  pen.fillRect(to - 2, height / 2 - 8, 4, 16);
}
