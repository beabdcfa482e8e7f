// Which lines of a long list are drawn: those in view and a few around them.

import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import type { RefObject } from "preact";

import { paintSoon } from "../state/frames";

/** Lines drawn above and below what is in view: a flick of the wheel finds them there. */
const AROUND = 8;

export type Range = { first: number; last: number };

/** Return the range [first, last) of `count` lines of `height` px that `scroller` shows now.
 *
 * `above`: px of other content at the top of the scrolled box. */
export function rangeOf(
  top: number,
  view: number,
  count: number,
  height: number,
  above = 0,
): Range {
  const first = Math.floor((top - above) / height) - AROUND;
  const last = Math.ceil((top - above + view) / height) + AROUND;
  return { first: Math.max(0, Math.min(first, count)), last: Math.max(0, Math.min(last, count)) };
}

/** Draw again when another part of the list comes into view. */
export function useRange(
  scroller: RefObject<HTMLElement | null>,
  count: number,
  height: number,
  above = 0,
): Range {
  const [, redraw] = useState(0);
  const box = scroller.current;
  const range = rangeOf(box?.scrollTop ?? 0, box?.clientHeight ?? 0, count, height, above);
  useLayoutEffect(() => redraw((n) => n + 1), []); // the box is there only now
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    let drawn = "";
    const look = () => {
      const now = rangeOf(element.scrollTop, element.clientHeight, count, height, above);
      const key = `${now.first} ${now.last}`;
      if (key !== drawn) {
        drawn = key;
        redraw((n) => n + 1);
      }
    };
    const soon = () => paintSoon(look);
    const observer = new ResizeObserver(soon);
    observer.observe(element);
    element.addEventListener("scroll", soon, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", soon);
    };
  }, [count, height, above]);
  return range;
}
