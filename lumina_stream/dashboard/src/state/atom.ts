// The one kind of state of the page: a value, and who wants to know when it changes.

import { useEffect, useState } from "preact/hooks";

export class Atom<T> {
  private watchers = new Set<() => void>();

  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  /** Take a new value; watchers are told unless it is the same. */
  set(value: T): void {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const watcher of [...this.watchers]) watcher();
  }

  update(change: (value: T) => T): void {
    this.set(change(this.value));
  }

  /** Call `watcher` after each change; return how to stop that. */
  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }
}

/** Read an atom in a component, which is drawn again when the atom changes. */
export function useAtom<T>(atom: Atom<T>): T {
  const [, redraw] = useState(0);
  useEffect(() => {
    redraw((n) => n + 1); // it may have changed between the drawing and now
    return atom.watch(() => redraw((n) => n + 1));
  }, [atom]);
  return atom.get();
}
