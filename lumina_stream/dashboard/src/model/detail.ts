// What a span says beyond its place in the tree: attributes, events, streamed texts, links, error.
// Merged by the same rules as the tree: the greatest stamp wins, copies are left out.

import type { Attributes, Channel, ErrorInfo, Link, Marks, SpanTotals } from "./wire";

/** When, who (the producer's id) and which of theirs. `time`: ns since the tree's base. */
export type Stamp = { readonly time: number; readonly by: string; readonly seq: number };

export type Value = { readonly value: unknown; readonly stamp: Stamp; readonly marks: Marks | null };

export type DetailEvent = {
  readonly stamp: Stamp;
  /** ns since the tree's base. */
  readonly time: number;
  readonly name: string;
  readonly attributes: Attributes;
  readonly marks: Marks | null;
};

export type Piece = { readonly stamp: Stamp; readonly index: number; readonly text: string };

export class Detail {
  /** False while only the facts since the page was opened are in it: the rest is on its way. */
  complete = false;
  /** Sums as the relay had them when it was asked, with what the tree does not keep. */
  totals: SpanTotals | null = null;
  /** Counts up with each change. */
  version = 0;

  /** Attributes as they stand, by key; values are tagged as in JSON frames. */
  get values(): ReadonlyMap<string, Value> {
    throw new Error("to come");
  }
  get attributes(): ReadonlyMap<string, unknown> {
    throw new Error("to come");
  }
  /** What was done to values, names and errors on the way, by path. */
  get marks(): ReadonlyMap<string, string> {
    throw new Error("to come");
  }
  /** In the order of their time, copies left out. */
  get events(): readonly DetailEvent[] {
    throw new Error("to come");
  }
  get links(): readonly Link[] {
    throw new Error("to come");
  }
  get error(): ErrorInfo | null {
    throw new Error("to come");
  }
  get channels(): readonly Channel[] {
    throw new Error("to come");
  }
  /** What was streamed on a channel so far. */
  text(_channel: Channel): string {
    throw new Error("to come");
  }
  /** The pieces of a channel in order of their index: for tokens/s and time to first token. */
  pieces(_channel: Channel): readonly Piece[] {
    throw new Error("to come");
  }
}
