// What the tree derives of a span, and the bits that columns of it hold.

import type { State, Status } from "./wire";

/** In the order of `stateCode`. */
export const STATES = [
  "running",
  "ok",
  "error",
  "cancelled",
  "abandoned",
  "interrupted",
  "unended",
  "missing",
] as const satisfies readonly State[];
export const RUNNING = 0;
export const OK = 1;
export const ERROR = 2;
export const CANCELLED = 3;
export const ABANDONED = 4;
export const INTERRUPTED = 5;
export const UNENDED = 6;
export const MISSING = 7;

const STATUSES: ReadonlyMap<string, number> = new Map(
  STATES.slice(OK, INTERRUPTED).map((status, i) => [status, OK + i]),
);

/** The code of a status; one that is not known counts as ok. */
export function statusCode(status: Status | undefined): number {
  return STATUSES.get(status ?? "ok") ?? OK;
}

/** Bits of `flags`. */
export const REMOTE_PARENT = 1;
export const HAS_ATTRIBUTES = 2;
export const HAS_EVENTS = 4;
export const HAS_TEXT = 8;
export const HAS_LINKS = 16;
export const HAS_ERROR_DETAIL = 32;
/** An outline told of the span: what was said of it before is not all here. */
export const OUTLINED = 64;

/** Bits of `conflicts`. */
export const PARENT_CYCLE = 1;
export const DUPLICATE_START = 2;
export const DOUBLE_END = 4;
export const EVENT_AFTER_END = 8;
export const CONFLICTS: ReadonlyMap<string, number> = new Map([
  ["parent_cycle", PARENT_CYCLE],
  ["duplicate_start", DUPLICATE_START],
  ["double_end", DOUBLE_END],
  ["event_after_end", EVENT_AFTER_END],
]);
