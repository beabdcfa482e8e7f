// The filter box: words to a filter of the API, and back.

import type { State } from "./wire";

export type Filter = {
  service?: string;
  /** A glob over the root's name. */
  name?: string;
  state?: State;
  error?: boolean;
  minDurationNs?: number;
  maxDurationNs?: number;
  session?: string;
  user?: string;
  attributes?: readonly (readonly [key: string, value: string])[];
};

export type FilterError = {
  /** Where in the text the word begins and ends. */
  at: number;
  end: number;
  message: string;
};

export function parse(_text: string): { filter: Filter; errors: FilterError[] } {
  throw new Error("to come");
}

/** Write a filter as words; `parse` gives it back. */
export function write(_filter: Filter): string {
  throw new Error("to come");
}

/** As parameters of `GET /v1/traces` and `/v1/rates`. */
export function toParams(_filter: Filter): URLSearchParams {
  throw new Error("to come");
}
