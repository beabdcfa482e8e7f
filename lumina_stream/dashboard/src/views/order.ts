// Which lines a list shows, in which order, while a person points at it: nothing moves under the
// pointer, what is new waits and is counted. Pure.

export type Held = {
  /** Ids as shown, top first. */
  order: string[];
  /** How many lines are there that are not shown. */
  waiting: number;
};

/** Return what to show of `ids` (as they should be), given what is shown and whether it is held.
 *
 * Held: what is shown stays where it is, even what is gone from `ids`, so that nothing is pulled
 * from under the pointer; what comes after the last shown line is appended, which moves
 * nothing. */
export function hold(shown: readonly string[], ids: readonly string[], held: boolean): Held {
  if (!held || shown.length === 0) return { order: [...ids], waiting: 0 };
  const known = new Set(shown);
  let last = ids.length - 1;
  while (last >= 0 && !known.has(ids[last])) last--;
  if (last < 0) return { order: [...shown], waiting: ids.length };
  const after = ids.slice(last + 1);
  let waiting = 0;
  for (let at = 0; at < last; at++) if (!known.has(ids[at])) waiting++;
  return { order: after.length ? [...shown, ...after] : [...shown], waiting };
}
