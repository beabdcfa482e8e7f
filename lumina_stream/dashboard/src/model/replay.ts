// A trace's own events as a film: the tree as it was after any number of them.

import type { Detail } from "./detail";
import { Tree } from "./tree";
import type { Fact } from "./wire";

export class TraceEvents {
  /** How many facts there are, in the order of their time. At most `REPLAY_FACTS`. */
  readonly count: number = 0;
  /** How many more the log has that are not here. */
  readonly left: number = 0;
  /** Wall-clock ns of time 0, that of every tree that `treeAt` returns. */
  readonly baseNs: number = 0;

  /** The k-th fact, from 0. */
  fact(_k: number): Fact {
    throw new Error("to come");
  }
  /** When the k-th fact happened: ns since baseNs; never less than the one before. */
  timeAt(_k: number): number {
    throw new Error("to come");
  }
  /** How many facts happened at `time` (ns since baseNs) or before. */
  countAt(_time: number): number {
    throw new Error("to come");
  }
  /** The tree after the first k facts, settled. The one returned before may be the same, moved on;
   *  spans have the same numbers in all of them. */
  treeAt(_k: number): Tree {
    throw new Error("to come");
  }
  /** What a span said within the first k facts. */
  detailAt(_spanId: string, _k: number): Detail | undefined {
    throw new Error("to come");
  }
}
