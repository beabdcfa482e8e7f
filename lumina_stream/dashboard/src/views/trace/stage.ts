// What every view with an axis does: it paints its canvas with each frame of the sight, the wheel zooms
// and pans, a drag pans, a drag on the axis or with Shift marks a stretch. The elements are the views'.

import { useLayoutEffect, useRef } from "preact/hooks";
import type { RefObject } from "preact";

import { fromPx } from "../../model/axis";
import type { Axis, Scale } from "../../model/axis";
import { penOf } from "./canvas";
import type { Pen } from "./canvas";
import type { Scroll } from "./scroll";
import { AXIS } from "./sight";
import type { Frame, Sight } from "./sight";

/** A pointer that moved less has clicked, px. */
const CLICK_PX = 3;

export type Stage = {
  sight: Sight;
  /** What the canvas shows across, and how far down it is. */
  axis: Axis;
  scroll: Scroll;
  /** What is scrolled, what makes it high, and what is painted. */
  box: RefObject<HTMLElement | null>;
  space: RefObject<HTMLElement | null>;
  canvas: RefObject<HTMLCanvasElement | null>;
  /** The height of the whole, px. */
  content: () => number;
  /** Paint; return whether what was painted moves with time. */
  draw: (pen: Pen, scale: Scale, height: number, frame: Frame) => boolean;
  /** A click, px from the canvas' corner. `isTwice`: the second one of two. */
  pick: (x: number, y: number, scale: Scale, isTwice: boolean) => void;
  /** Where the pointer is; null: not here. */
  point: (place: { x: number; y: number; scale: Scale } | null) => void;
  /** Mark a stretch; absent: stretches of this axis mean nothing. */
  mark?: (from: number, to: number) => void;
};

export function useStage(stage: Stage): void {
  const latest = useRef(stage);
  latest.current = stage;
  const { sight, axis, scroll } = stage;
  useLayoutEffect(() => {
    const canvas = stage.canvas.current!;
    const box = stage.box.current!;
    let width = 0;
    let height = 0;
    let scale: Scale = { from: 0, to: 1, width: 1 };
    scroll.attach(box, stage.space.current!);
    const observer = new ResizeObserver(() => {
      width = canvas.clientWidth;
      height = canvas.clientHeight;
      sight.touch();
    });
    observer.observe(canvas);

    const stopPainting = sight.paint((frame) => {
      if (width === 0 || height === 0) return false;
      sight.giveWidth(width);
      scroll.resize(latest.current.content(), height);
      const pen = penOf(canvas, width, height);
      if (!pen) return false;
      scale = { ...axis.view(frame.ms), width };
      if (axis.moves(frame.ms)) sight.touch();
      const moves = latest.current.draw(pen, scale, height, frame);
      document.documentElement.dataset.paintedOffset = String(sight.live.offset);
      return moves;
    });
    const stopListening = listen(canvas, box, latest, () => scale);
    return () => {
      stopPainting();
      stopListening();
      observer.disconnect();
      scroll.detach();
    };
  }, [sight, axis, scroll]);
}

function listen(
  canvas: HTMLCanvasElement,
  box: HTMLElement,
  latest: { readonly current: Stage },
  scaleNow: () => Scale,
): () => void {
  let drag: Drag | null = null;
  let lastClick = { ms: -Infinity, x: 0, y: 0 };

  const placeOf = (event: MouseEvent) => {
    const { left, top } = canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top, scale: scaleNow() };
  };

  const onWheel = (event: WheelEvent) => {
    const { sight, axis, scroll } = latest.current;
    const ms = performance.now();
    const unit = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
    const { x, scale } = placeOf(event);
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      const at = fromPx(scale, Math.min(Math.max(x, 0), scale.width));
      axis.zoom(at, Math.exp(clamp(event.deltaY * unit, 200) * 0.003), ms, false);
      sight.letGo();
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
      axis.pan((by * unit) / scale.width, ms, false);
      sight.letGo();
    } else if (scroll.isScaled) {
      event.preventDefault();
      scroll.to(scroll.top + event.deltaY * unit);
      sight.letGo();
    }
    sight.touch();
  };

  const onScroll = () => {
    const { sight, scroll } = latest.current;
    if (scroll.follow()) sight.letGo();
    sight.touch();
  };

  const onDown = (event: PointerEvent) => {
    if (event.button !== 0) return;
    const { axis, scroll, mark } = latest.current;
    const { x, y, scale } = placeOf(event);
    const marks = mark !== undefined && (y < AXIS || event.shiftKey);
    const view = axis.view(performance.now());
    drag = { x, y, at: fromPx(scale, x), view, top: scroll.top, marks, moved: false };
    canvas.setPointerCapture(event.pointerId);
  };

  const onMove = (event: PointerEvent) => {
    const { sight, axis, scroll, mark, point } = latest.current;
    const place = placeOf(event);
    if (drag && Math.hypot(place.x - drag.x, place.y - drag.y) >= CLICK_PX) drag.moved = true;
    if (drag?.moved && drag.marks) {
      const at = fromPx(place.scale, place.x);
      mark?.(Math.min(drag.at, at), Math.max(drag.at, at));
    } else if (drag?.moved) {
      const by = ((place.x - drag.x) / place.scale.width) * (drag.view.to - drag.view.from);
      const { from, to } = drag.view;
      if (place.x !== drag.x) axis.show({ from: from - by, to: to - by }, performance.now(), false);
      scroll.to(drag.top - (place.y - drag.y));
      sight.letGo();
      canvas.dataset.dragged = "";
    }
    point(place);
    sight.touch();
  };

  const onUp = (event: PointerEvent) => {
    const { sight, pick } = latest.current;
    delete canvas.dataset.dragged;
    if (!drag) return;
    const { moved, marks } = drag;
    drag = null;
    if (moved) return;
    if (marks) {
      sight.range.set(null);
      return;
    }
    const { x, y, scale } = placeOf(event);
    const ms = performance.now();
    const isTwice = ms - lastClick.ms < 400 && Math.hypot(x - lastClick.x, y - lastClick.y) < 6;
    lastClick = { ms: isTwice ? -Infinity : ms, x, y };
    pick(x, y, scale, isTwice);
  };

  const onCancel = () => {
    drag = null;
    delete canvas.dataset.dragged;
  };

  const onLeave = () => {
    if (drag) return;
    latest.current.point(null);
    latest.current.sight.touch();
  };

  box.addEventListener("wheel", onWheel, { passive: false });
  box.addEventListener("scroll", onScroll, { passive: true });
  canvas.addEventListener("pointerdown", onDown);
  canvas.addEventListener("pointermove", onMove);
  canvas.addEventListener("pointerup", onUp);
  canvas.addEventListener("pointercancel", onCancel);
  canvas.addEventListener("pointerleave", onLeave);
  return () => {
    box.removeEventListener("wheel", onWheel);
    box.removeEventListener("scroll", onScroll);
    canvas.removeEventListener("pointerdown", onDown);
    canvas.removeEventListener("pointermove", onMove);
    canvas.removeEventListener("pointerup", onUp);
    canvas.removeEventListener("pointercancel", onCancel);
    canvas.removeEventListener("pointerleave", onLeave);
  };
}

type Drag = {
  x: number;
  y: number;
  at: number;
  view: { from: number; to: number };
  top: number;
  marks: boolean;
  moved: boolean;
};

function clamp(value: number, most: number): number {
  return Math.min(most, Math.max(-most, value));
}
