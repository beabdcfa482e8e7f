// A consumer's session over any number of connections: pure, no sockets. It makes the decisions
// that protocol/consumer.py makes: where to go on, what was had before, when a snapshot is whole.

import type {
  BatchFrame,
  Cursor,
  Frame,
  OutlineFrame,
  ProgressFrame,
  RemovedFrame,
  RunningFrame,
  SnapshotFrame,
  Subscribe,
  SummariesFrame,
  UsageFrame,
} from "../model/wire";

/** The relay starts over: drop what there is. `skipped`: of what came before all is true, and
 *  merges with the snapshot that follows. */
export type Restarted = { type: "restarted"; skipped: boolean };
/** The connection goes on from the cursor: keep what there is. */
export type Resumed = { type: "resumed" };
/** Facts to apply, in the order of the log; what was had before is left out. */
export type Facts = {
  type: "facts";
  producerId: string;
  service: string;
  facts: BatchFrame["facts"];
};
export type Refused = { type: "refused"; code: string; message: string };

export type Update =
  | Restarted
  | Resumed
  | Facts
  | Refused
  | SnapshotFrame
  | OutlineFrame
  | UsageFrame
  | SummariesFrame
  | RunningFrame
  | RemovedFrame
  | ProgressFrame;

/** The relay sent what it must not. */
export class RemoteProtocolError extends Error {}

export class Session {
  /** Everything in the view up to here was received. */
  offset = 0;
  /** The relay's clock in the last message, ns; 0 where it was not said. */
  relayNs = 0;

  private epoch: string | null = null;
  private isSnapshotOpen = false;

  constructor(private readonly subscription: Subscribe) {}

  /** Where to go on; null before the first answer, and until a snapshot is complete. */
  get cursor(): Cursor | null {
    if (this.epoch === null || this.isSnapshotOpen) return null;
    return { epoch: this.epoch, offset: this.offset };
  }

  /** The message to send first on a connection. */
  subscribe(): string {
    const { cursor } = this;
    return JSON.stringify(cursor === null ? this.subscription : { ...this.subscription, cursor });
  }

  /** Take in one message; return what it brings. Throws `RemoteProtocolError`. */
  receive(text: string): Update[] {
    const frame = parsed(text);
    this.relayNs = ("relay_ns" in frame && frame.relay_ns) || 0;
    if (frame.type === "error") {
      return [{ type: "refused", code: frame.code ?? "error", message: frame.message }];
    }
    if (frame.type === "subscribed") {
      if (!frame.recovered) this.offset = frame.offset;
      this.epoch = frame.epoch;
      this.isSnapshotOpen = !frame.recovered && this.expectsSnapshot;
      return [frame.recovered ? { type: "resumed" } : { type: "restarted", skipped: false }];
    }
    if (this.epoch === null) throw new RemoteProtocolError("the first frame must be subscribed");
    switch (frame.type) {
      case "snapshot":
      case "outline":
        this.isSnapshotOpen = frame.done !== true;
        if (frame.done) this.advance(frame.offset);
        return [frame];
      case "batch":
        return this.facts(frame);
      case "skip":
        this.offset = frame.to_offset;
        this.isSnapshotOpen = true;
        return [{ type: "restarted", skipped: true }];
      case "progress":
        this.advance(frame.offset);
        return [frame];
      case "usage": // its `upto` says nothing about facts: it may come between two of them
        return [frame];
      case "traces":
      case "running":
      case "removed":
        this.advance(frame.upto);
        return [frame];
      default:
        return []; // of a later version
    }
  }

  private facts({ upto, producer_id, service, facts, unstored }: BatchFrame): Update[] {
    // While the log refuses, facts come without a place in it; a skip follows once it takes them.
    if (unstored) return [{ type: "facts", producerId: producer_id, service, facts }];
    const had = this.offset;
    const isNew = facts.length > 0 && facts[0][0] > had;
    const fresh = isNew ? facts : facts.filter(([offset]) => offset > had);
    this.advance(upto);
    return fresh.length ? [{ type: "facts", producerId: producer_id, service, facts: fresh }] : [];
  }

  private advance(offset: number): void {
    if (offset > this.offset) this.offset = offset;
  }

  private get expectsSnapshot(): boolean {
    const { view, snapshot = true, since_ns } = this.subscription;
    return (view === "events" || view === "trace") && (snapshot || since_ns !== undefined);
  }
}

function parsed(text: string): Frame {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    throw new RemoteProtocolError("not JSON");
  }
  if (typeof frame !== "object" || frame === null || !("type" in frame)) {
    throw new RemoteProtocolError("not a frame of lumina.v1.json");
  }
  return frame as Frame;
}
