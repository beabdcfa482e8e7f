// Numbers as people read them: three significant digits, the unit attached.

/** "812 ns", "1.24 s", "2 m 03 s", "1 h 02 m"; "—" for what is not known. */
export function duration(_ns: number): string {
  throw new Error("to come");
}
/** "1,204" */
export function count(_n: number): string {
  throw new Error("to come");
}
/** "812", "12.3k", "1.24M" */
export function tokens(_n: number): string {
  throw new Error("to come");
}
/** Trillionths of a dollar: "$0.0042"; "—" where nobody has a price. */
export function cost(_pico: number | null): string {
  throw new Error("to come");
}
/** Wall-clock time of day, "14:02:11"; with `ms` "14:02:11.042"; of another day with its date. */
export function clock(_ns: number, _ms = false): string {
  throw new Error("to come");
}
/** "12 s ago", "3 m ago"; "now" below a second. */
export function ago(_ns: number, _nowNs: number): string {
  throw new Error("to come");
}
