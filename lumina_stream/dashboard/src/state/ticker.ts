// What ticks in words (durations, "2 s ago") does so ten times a second, once where less motion is
// wanted, and not at all where nobody looks: no watcher or a hidden tab.

import { useEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";

import type { Atom } from "./atom";
import { paintSoon } from "./frames";
import { reducedMotion } from "./settings";

const TICK_MS = 100;
const CALM_TICK_MS = 1000;

const watchers = new Set<() => void>();
let isWaiting = false;

/** Call `watcher` at each tick until the returned function is called. */
export function onTick(watcher: () => void): () => void {
  watchers.add(watcher);
  wait();
  return () => watchers.delete(watcher);
}

/** Between ticks nothing runs, not even an empty frame; a hidden tab has no next one to wait
 * for. */
function wait(): void {
  if (isWaiting || watchers.size === 0) return;
  isWaiting = true;
  setTimeout(() => paintSoon(tick), reducedMotion.get() ? CALM_TICK_MS : TICK_MS);
}

function tick(): void {
  isWaiting = false;
  for (const each of [...watchers]) each();
  wait();
}

/** Keep an element's text at what `write` returns, without drawing the component anew at each tick.
 *
 * The element must have no children of its own. */
export function useTicking<E extends HTMLElement>(
  write: () => string,
  ticks = true,
): RefObject<E | null> {
  const element = useRef<E>(null);
  const latest = useRef(write);
  latest.current = write;
  useEffect(() => {
    const update = () => {
      const text = latest.current();
      if (element.current && text !== element.current.textContent)
        element.current.textContent = text;
    };
    update();
    return ticks ? onTick(update) : undefined;
  });
  return element;
}

/** Draw the component again when an atom has changed, but no more often than text ticks. */
export function useCalmly(atom: Atom<unknown>): void {
  const [, redraw] = useState(0);
  useEffect(() => {
    let stop: (() => void) | undefined;
    const unwatch = atom.watch(() => {
      stop ??= onTick(() => {
        stop?.();
        stop = undefined;
        redraw((n) => n + 1);
      });
    });
    return () => {
      unwatch();
      stop?.();
    };
  }, [atom]);
}
