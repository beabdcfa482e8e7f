// The small waterfall of a list's line: which bar is drawn in which lane. Pure.

/** [start, length (-1: still open)] in thousandths of the trace, then kind and state. */
export type Bar = readonly [number, number, string | null, string];

export type Placed = { lane: number; start: number; end: number; bar: Bar };

/** Place bars in at most `most` lanes, each in the first that is free; what finds none shares
 * the last. */
export function lanes(bars: readonly Bar[], most: number): { placed: Placed[]; count: number } {
  const ends: number[] = [];
  const placed: Placed[] = [];
  for (const bar of bars) {
    const start = Math.min(1000, Math.max(0, bar[0]));
    const end = bar[1] < 0 ? 1000 : Math.min(1000, start + bar[1]);
    let lane = ends.findIndex((free) => free <= start);
    if (lane < 0) lane = Math.min(ends.length, most - 1);
    ends[lane] = Math.max(ends[lane] ?? 0, end);
    placed.push({ lane, start, end, bar });
  }
  return { placed, count: ends.length };
}
