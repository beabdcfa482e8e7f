// Whether a person points at something: while they do, nothing in it may move.

import { useEffect, useState } from "preact/hooks";
import type { RefObject } from "preact";

/** True while the pointer is over `box`, or the keyboard's focus is visibly in it. */
export function useHeld(box: RefObject<HTMLElement | null>): boolean {
  const [held, setHeld] = useState(false);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    // After a change of layout the browser says so with the next move only: ask, do not count.
    const look = () => setHeld(element.matches(":hover, :has(:focus-visible)"));
    const events = ["pointerenter", "pointerleave", "focusin", "focusout"] as const;
    const later = () => requestAnimationFrame(look);
    for (const name of events) element.addEventListener(name, later);
    return () => {
      for (const name of events) element.removeEventListener(name, later);
    };
  }, []);
  return held;
}
