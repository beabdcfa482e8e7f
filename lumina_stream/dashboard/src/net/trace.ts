// One trace, live: its connection, its tree, and the details of the span that is looked at.

import { TraceEvents } from "../model/replay";
import { Tree } from "../model/tree";
import type { LinkStatus } from "./connection";
import { Atom } from "../state/atom";

export class LiveTrace {
  /** Replaced by another one if the relay starts over: compare by identity. */
  tree: Tree;
  /** "missing": there is no such trace (yet); it goes live when its first fact comes. */
  readonly status = new Atom<LinkStatus>("loading");
  /** Of the outline, 0 to 1. */
  readonly progress = new Atom(0);
  /** Messages' facts received and not applied. */
  readonly behind = new Atom(0);
  /** The tree's version, at most once a frame. */
  readonly changed = new Atom(0);
  /** Why it was refused, for people. */
  readonly refusal = new Atom("");
  /** The log's offset up to which the tree has everything. */
  offset = 0;

  constructor(readonly traceId: string) {
    this.tree = new Tree(traceId);
  }

  /** The relay's wall clock as estimated here, ns since the epoch. */
  nowNs(): number {
    throw new Error("to come");
  }
  /** By how much a producer's clock (its index in `tree.producers`) is ahead of the relay's, ns;
   *  0 where nothing says so. */
  skew(_producer: number): number {
    throw new Error("to come");
  }
  /** Load a span's detail and keep it up to date until another one is opened. */
  open(_i: number): void {
    throw new Error("to come");
  }
  /** The whole log of the trace as it is now. */
  events(_onProgress?: (share: number) => void): Promise<TraceEvents> {
    throw new Error("to come");
  }
  close(): void {
    throw new Error("to come");
  }
}
