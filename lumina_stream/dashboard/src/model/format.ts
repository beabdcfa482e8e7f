// Numbers as people read them: three significant digits, the unit attached.

export const UNKNOWN = "—";

const US = 1e3;
const MS = 1e6;
const S = 1e9;
const MINUTE = 60 * S;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** "812 ns", "1.24 s", "2 m 03 s", "1 h 02 m", "3 d 04 h"; a dash for what is not known. */
export function duration(ns: number): string {
  if (!Number.isFinite(ns)) return UNKNOWN;
  if (ns < 0) return `−${duration(-ns)}`;
  // Rounded first, so that no unit shows what the next one should: 999.9 µs is 1.00 ms.
  if (ns < 999.5) return `${Math.round(ns)} ns`;
  if (ns < 999.5 * US) return `${three(ns / US)} µs`;
  if (ns < 999.5 * MS) return `${three(ns / MS)} ms`;
  if (ns < 59.95 * S) return `${three(ns / S)} s`;
  if (ns < HOUR - S / 2) return two(ns, S, 60, "m", "s");
  if (ns < DAY - MINUTE / 2) return two(ns, MINUTE, 60, "h", "m");
  return two(ns, HOUR, 24, "d", "h");
}

/** "1,204" */
export function count(n: number): string {
  return Number.isFinite(n) ? grouped.format(n) : UNKNOWN;
}

/** "812", "12.3k", "1.24M" */
export function tokens(n: number): string {
  if (!Number.isFinite(n)) return UNKNOWN;
  if (n < 999.5) return String(Math.round(n));
  if (n < 999_500) return `${three(n / 1e3)}k`;
  if (n < 999.5e6) return `${three(n / 1e6)}M`;
  return `${three(n / 1e9)}G`;
}

/** Trillionths of a dollar: "$0.0042", "$12.30", "$1,204"; a dash where nobody has a price. */
export function cost(pico: number | null): string {
  if (pico === null || !Number.isFinite(pico)) return UNKNOWN;
  const dollars = pico / 1e12;
  if (dollars === 0) return "$0";
  if (dollars >= 99.995) return `$${grouped.format(Math.round(dollars))}`;
  if (dollars >= 0.995) return `$${dollars.toFixed(2)}`;
  if (dollars < 0.0000005) return "<$0.000001";
  // Two digits that count; more of them where the first one is small says nothing more.
  return `$${trimmed(dollars.toFixed(Math.min(6, 1 - Math.floor(Math.log10(dollars)))))}`;
}

/** The time of day, "14:02:11", with `ms` "14:02:11.042"; of another day with its date. */
export function clock(ns: number, ms = false): string {
  if (!Number.isFinite(ns) || ns <= 0) return UNKNOWN;
  const at = new Date(Math.floor((ns + 256) / MS)); // a double may have it 128 ns too early
  if (Number.isNaN(at.getTime())) return UNKNOWN;
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(padded).join(":");
  const exact = ms ? `${time}.${String(at.getMilliseconds()).padStart(3, "0")}` : time;
  return at.toDateString() === new Date().toDateString() ? exact : `${date(at)} ${exact}`;
}

/** How long ago, of a time in ns: "now" below a second, then "12 s ago", "3 m ago", "2 h ago". */
export function ago(ns: number): string {
  if (!Number.isFinite(ns)) return UNKNOWN;
  if (ns < S) return "now";
  if (ns < MINUTE) return `${Math.floor(ns / S)} s ago`;
  if (ns < HOUR) return `${Math.floor(ns / MINUTE)} m ago`;
  if (ns < DAY) return `${Math.floor(ns / HOUR)} h ago`;
  return `${Math.floor(ns / DAY)} d ago`;
}

/** Three significant digits of a number from 1 to 999, never in powers of ten. */
function three(value: number): string {
  return value.toPrecision(3);
}

function two(ns: number, unit: number, each: number, large: string, small: string): string {
  const whole = Math.round(ns / unit);
  return `${grouped.format(Math.floor(whole / each))} ${large} ${padded(whole % each)} ${small}`;
}

function padded(value: number): string {
  return String(value).padStart(2, "0");
}

function trimmed(text: string): string {
  return text.replace(/0+$/, "").replace(/\.$/, "");
}

function date(at: Date): string {
  return `${at.getFullYear()}-${padded(at.getMonth() + 1)}-${padded(at.getDate())}`;
}
