// The time axis: where a moment is in pixels, what is shown of the whole, and round numbers to write
// on it. Pure: whoever draws passes the time in.

/** A stretch of time (or of another measure), ns since the tree's base. */
export type Range = { readonly from: number; readonly to: number };

/** A range drawn over a width of px. */
export type Scale = Range & { readonly width: number };

export function toPx(scale: Scale, at: number): number {
  return ((at - scale.from) / (scale.to - scale.from)) * scale.width;
}

export function fromPx(scale: Scale, px: number): number {
  return scale.from + (px / scale.width) * (scale.to - scale.from);
}

export type Tick = { readonly at: number; readonly label: string };
export type Ticks = {
  readonly ticks: readonly Tick[];
  /** Where the labels say "+200 ns": after this moment. */
  readonly base: Tick | null;
};

const S = 1e9;
const MINUTE = 60 * S;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const LONG_STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * S),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
];

/** The smallest round step that is at least `least` ns: 1, 2, 5; above a second as clocks have it. */
export function niceStep(least: number): number {
  if (least > S) {
    const step = LONG_STEPS.find((known) => known >= least);
    if (step !== undefined) return step;
    return decimalStep(least / DAY) * DAY;
  }
  return Math.max(1, decimalStep(least));
}

function decimalStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  // A hair less than asked for is as asked for: 0.2 / 0.1 is not quite 2.
  for (const n of [1, 2, 5]) if (n * power >= least * (1 - 1e-9)) return n * power;
  return 10 * power;
}

/** Round moments in a scale, at least `gap` px apart, counted from `zero`. */
export function ticks(scale: Scale, zero: number, gap = 88): Ticks {
  const step = niceStep(((scale.to - scale.from) / scale.width) * gap);
  const first = Math.ceil((scale.from - zero) / step);
  const last = Math.floor((scale.to - zero) / step);
  // Deep in a long trace a label would be mostly the digits that all of them share.
  const away = Math.max(Math.abs(first), Math.abs(last));
  const shared =
    away > 10_000 ? Math.floor((scale.from - zero) / (step * 1000)) * step * 1000 : null;
  const made: Tick[] = [];
  for (let n = first; n <= last; n++) {
    const at = n * step; // not by adding up: that would drift
    const label = shared === null ? tickLabel(at, step) : `+${tickLabel(at - shared, step)}`;
    made.push({ at: zero + at, label });
  }
  const base =
    shared === null ? null : { at: zero + shared, label: tickLabel(shared, step * 1000) };
  return { ticks: made, base };
}

const UNITS = [
  ["s", 1e9],
  ["ms", 1e6],
  ["µs", 1e3],
  ["ns", 1],
] as const;

/** Write a time so that steps of `step` ns can be told apart: "1.25 s", "1 m 30 s", "2 h 15 m". */
export function tickLabel(ns: number, step: number): string {
  if (ns === 0) return "0";
  if (ns < 0) return `−${tickLabel(-ns, step)}`;
  if (ns < MINUTE) {
    const at = UNITS.findIndex(([, size]) => ns >= size);
    const said = inUnit(ns, step, at < 0 ? UNITS.length - 1 : at);
    // 999.98 ms in steps of one are no 1000 ms.
    return at > 0 && parseFloat(said) >= 1000 ? inUnit(ns, step, at - 1) : said;
  }
  const seconds = ns / S;
  const parts: string[] = [];
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor((seconds % 86_400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days) parts.push(`${days} d`);
  if (hours || (days && step < DAY)) parts.push(`${hours} h`);
  if (step < HOUR && (minutes || step < MINUTE)) parts.push(`${minutes} m`);
  if (step < MINUTE) {
    const digits = Math.max(0, Math.ceil(-Math.log10(step / S) - 1e-9));
    parts.push(`${(seconds % 60).toFixed(digits)} s`);
  }
  return parts.join(" ");
}

function inUnit(ns: number, step: number, at: number): string {
  const [unit, size] = UNITS[at];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9));
  return `${(ns / size).toFixed(digits)} ${unit}`;
}

/** The shortest stretch that can be zoomed to, ns: below it a double has no more to show. */
export const LEAST_NS = 100;
/** A trace that has just begun gets this much room. */
export const FIRST_NS = 1e9;
const GROWTH = 1.25;
const EASE_MS = 120;

/** Where the axis ends: as it did until now is past it, then a quarter more than is needed. */
export function grownEnd(from: number, to: number, now: number): number {
  if (now <= to) return to;
  return from + Math.max(FIRST_NS, (now - from) * GROWTH);
}

/** `t` from 0 to 1, fast first. */
export function easeOut(t: number): number {
  return 1 - (1 - Math.min(1, Math.max(0, t))) ** 3;
}

/** What is shown of the whole, and how it moves. Times of the screen (`ms`) are passed in. */
export class Axis {
  /** What there is. */
  whole: Range = { from: 0, to: FIRST_NS };
  /** Where the view is going; `view` is on its way there. */
  private goal: Range = this.whole;
  private start: Range = this.whole;
  private startMs = -Infinity;
  /** Everything is shown, also as it grows. */
  all = true;
  /** The view sticks to now. */
  follow = true;

  /** What is shown at `ms`. */
  view(ms: number): Range {
    const t = easeOut((ms - this.startMs) / EASE_MS);
    if (t >= 1) return this.goal;
    const { start, goal } = this;
    return { from: mix(start.from, goal.from, t), to: mix(start.to, goal.to, t) };
  }

  moves(ms: number): boolean {
    return ms - this.startMs < EASE_MS;
  }

  /** What is left free after the end of a finished trace, as a share of its length. */
  margin = 0.08;

  /** Say what there is: from the first start to `end`, or to now while it is `open`.
   *  `eased`: whether the axis may move rather than jump. */
  grow(from: number, end: number, open: boolean, ms: number, eased: boolean): void {
    const to = open
      ? grownEnd(from, from === this.whole.from ? this.whole.to : from + FIRST_NS, end)
      : Math.max(end, from + LEAST_NS) + (end - from) * this.margin;
    this.take({ from, to }, ms, eased);
    if (this.follow && !this.all && open && end > this.goal.to) {
      const width = this.goal.to - this.goal.from;
      const right = Math.min(Math.max(end, this.goal.to) + width * 0.25, this.whole.to);
      this.go({ from: right - width, to: right }, ms, eased);
    }
  }

  /** Say what there is, to its ends. */
  take({ from, to }: Range, ms: number, eased: boolean): void {
    if (from === this.whole.from && to === this.whole.to) return;
    this.whole = { from, to };
    if (this.all) this.go(this.whole, ms, eased);
  }

  /** Show everything. */
  fit(ms: number, eased: boolean): void {
    this.all = true;
    this.go(this.whole, ms, eased);
  }

  /** Show a range; the person's wish, so nothing is followed any more. */
  show(range: Range, ms: number, eased: boolean): void {
    const goal = within(range, this.whole);
    this.all = goal.from === this.whole.from && goal.to === this.whole.to;
    this.follow = false;
    this.go(goal, ms, eased);
  }

  /** Zoom by `factor` (below 1: in), `at` staying where it is. */
  zoom(at: number, factor: number, ms: number, eased: boolean): void {
    const { from, to } = eased ? this.goal : this.view(ms);
    const least = LEAST_NS / (to - from);
    const by = Math.max(factor, least);
    this.show({ from: at - (at - from) * by, to: at + (to - at) * by }, ms, eased);
  }

  /** Move by a share of what is shown. */
  pan(share: number, ms: number, eased: boolean): void {
    const { from, to } = eased ? this.goal : this.view(ms);
    const by = (to - from) * share;
    this.show({ from: from + by, to: to + by }, ms, eased);
  }

  /** Count from another base: `by` ns are added to all times. */
  shift(by: number): void {
    const moved = ({ from, to }: Range) => ({ from: from + by, to: to + by });
    this.whole = moved(this.whole);
    this.goal = moved(this.goal);
    this.start = moved(this.start);
  }

  private go(goal: Range, ms: number, eased: boolean): void {
    this.start = this.view(ms);
    this.startMs = eased ? ms : -Infinity;
    this.goal = goal;
  }
}

function mix(a: number, b: number, t: number): number {
  return a + (b - a) * t;
}

/** The range moved into the whole, and no longer than that. */
function within({ from, to }: Range, whole: Range): Range {
  const length = Math.max(LEAST_NS, Math.min(to - from, whole.to - whole.from));
  const start = Math.min(Math.max(from, whole.from), whole.to - length);
  return { from: start, to: start + length };
}
