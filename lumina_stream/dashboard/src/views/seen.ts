// The names that came by, for the filter box to offer.

import { Atom } from "../state/atom";
import type { Seen } from "./complete";

const MOST = 200;

export const seen = new Atom<Seen>({ service: [], name: [] });

/** Remember names; the newest first, a bounded number of each. */
export function remember(traces: readonly { services?: readonly string[]; name: string }[]): void {
  const known = seen.get();
  const service = merged(
    known.service,
    traces.flatMap((trace) => trace.services ?? []),
  );
  const name = merged(
    known.name,
    traces.map((trace) => trace.name),
  );
  if (service !== known.service || name !== known.name) seen.set({ service, name });
}

function merged(known: readonly string[], more: readonly string[]): readonly string[] {
  const before = new Set(known);
  const added = [...new Set(more)].filter((value) => value && !before.has(value));
  return added.length ? [...added, ...known].slice(0, MOST) : known;
}
