// What ticks in words (durations, "2 s ago") does so ten times a second, once where less motion is
// wanted, and not at all where nobody looks: no watcher or a hidden tab.

import { useEffect, useRef } from "preact/hooks";
import type { RefObject } from "preact";

import { paintAlways } from "./frames";
import { reducedMotion } from "./settings";

const TICK_MS = 100;
const CALM_TICK_MS = 1000;

const watchers = new Set<() => void>();
let stop: (() => void) | undefined;
let lastMs = -Infinity;

/** Call `watcher` at each tick until the returned function is called. */
export function onTick(watcher: () => void): () => void {
  watchers.add(watcher);
  stop ??= paintAlways((nowMs) => {
    // Half a frame early rather than a whole one late.
    if (nowMs - lastMs < (reducedMotion.get() ? CALM_TICK_MS : TICK_MS) - 8) return;
    lastMs = nowMs;
    for (const each of [...watchers]) each();
  });
  return () => {
    watchers.delete(watcher);
    if (watchers.size === 0) {
      stop?.();
      stop = undefined;
    }
  };
}

/** Keep an element's text at what `write` returns, without drawing the component anew at each tick.

    The element must have no children of its own. */
export function useTicking<E extends HTMLElement>(write: () => string, ticks = true): RefObject<E | null> {
  const element = useRef<E>(null);
  const latest = useRef(write);
  latest.current = write;
  useEffect(() => {
    let shown = "";
    const update = () => {
      const text = latest.current();
      if (element.current && text !== shown) element.current.textContent = shown = text;
    };
    update();
    return ticks ? onTick(update) : undefined;
  });
  return element;
}
