// The minimap: the whole trace in a strip, with the part that is in view as a brush.

import { useEffect, useMemo, useRef } from "preact/hooks";

import { fromPx, toPx } from "../../model/axis";
import type { Scale } from "../../model/axis";
import { KIND_GROUPS, KindGroups } from "../../model/kinds";
import { Minimap } from "../../model/minimap";
import { Paced } from "../../model/paced";
import { penOf } from "./canvas";
import type { Pen } from "./canvas";
import { palette } from "./palette";
import type { Frame, Sight } from "./sight";
import { fitAll } from "./walk";

const EDGE = 6;

export function Strip({ sight }: { sight: Sight }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const held = useMemo(() => ({ minimap: new Minimap(), groups: new KindGroups(), paced: new Paced() }), [sight]);

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
    const stopPainting = sight.paint((frame) => {
      if (width === 0) return false;
      const pen = penOf(element, width, height);
      if (!pen) return false;
      scale = { ...frame.whole, width };
      const { minimap, groups, paced } = held;
      const nowPx = frame.isOpen ? Math.floor(toPx(scale, frame.clock.now)) : 0;
      const key = `${frame.tree.version} ${frame.tree.count} ${scale.from} ${scale.to} ${width} ${nowPx}`;
      const isOther = frame.tree !== treeSeen || minimap.width !== width;
      paced.run(key, () => performance.now(), () => {
        treeSeen = frame.tree;
        frame.tree.settle();
        minimap.build(frame.tree, groups, frame.clock, scale);
      }, isOther);
      if (paced.isStale) sight.touch();
      draw(pen, scale, height, minimap, frame);
      return frame.isOpen;
    });

    let drag: { kind: "new" | "move" | "from" | "to"; x: number; at: number; from: number; to: number } | null = null;
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
        element.style.cursor = kind === "new" ? "crosshair" : kind === "move" ? "grab" : "ew-resize";
        return;
      }
      if (Math.abs(x - drag.x) < 3) return;
      const at = fromPx(scale, x);
      const by = at - drag.at;
      const ends: [number, number] =
        drag.kind === "new" ? [drag.at, at]
        : drag.kind === "move" ? [drag.from + by, drag.to + by]
        : drag.kind === "from" ? [drag.from + by, drag.to]
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
        sight.axis.show({ from: drag.at - half, to: drag.at + half }, performance.now(), sight.eased);
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

function draw(pen: Pen, scale: Scale, height: number, minimap: Minimap, frame: Frame): void {
  const colours = palette();
  pen.fillStyle = colours.background;
  pen.fillRect(0, 0, scale.width, height);
  const room = height - 8;
  // The square root, so that one span at work beside a hundred is still seen.
  const tall = (n: number) => (n === 0 ? 0 : Math.max(2, Math.round(room * Math.sqrt(n / minimap.most))));
  for (let kind = KIND_GROUPS.length - 1; kind >= 0; kind--) {
    pen.fillStyle = colours.kinds[kind];
    let start = 0;
    let from = -1;
    let to = -1;
    for (let c = 0; c <= minimap.width; c++) {
      let below = 0;
      if (c < minimap.width) for (let k = 0; k < kind; k++) below += minimap.active[k][c];
      const own = c < minimap.width ? minimap.active[kind][c] : 0;
      const low = own === 0 ? -1 : tall(below);
      const high = own === 0 ? -1 : tall(below + own);
      if (low === from && high === to && c < minimap.width) continue;
      if (from >= 0) pen.fillRect(start, height - 2 - to, c - start, Math.max(1, to - from));
      start = c;
      from = low;
      to = high;
    }
  }
  for (let c = 0; c < minimap.width; c++) {
    if (minimap.lost[c] > 0) {
      pen.fillStyle = colours.lost;
      for (let y = 0; y < height; y += 5) pen.fillRect(c, y, 2, 3);
    }
    if (minimap.errors[c] > 0) {
      pen.fillStyle = colours.error;
      pen.fillRect(c - 1, 0, 3, 5);
    }
  }
  const now = Math.round(toPx(scale, frame.clock.now));
  if (frame.isOpen && now <= scale.width) {
    pen.fillStyle = colours.running;
    pen.fillRect(now, 0, 1, height);
  }
  drawBrush(pen, scale, height, frame);
}

function drawBrush(pen: Pen, scale: Scale, height: number, { view, whole }: Frame): void {
  if (view.from <= whole.from && view.to >= whole.to) return;
  const colours = palette();
  const from = Math.round(toPx(scale, view.from));
  const to = Math.max(from + 2, Math.round(toPx(scale, view.to)));
  pen.globalAlpha = 0.7;
  pen.fillStyle = colours.surface;
  pen.fillRect(0, 0, from, height);
  pen.fillRect(to, 0, scale.width - to, height);
  pen.globalAlpha = 1;
  pen.fillStyle = colours.running;
  pen.fillRect(from - 1, 0, 2, height);
  pen.fillRect(to - 1, 0, 2, height);
  pen.fillRect(from - 2, height / 2 - 8, 4, 16);
  pen.fillRect(to - 2, height / 2 - 8, 4, 16);
}
