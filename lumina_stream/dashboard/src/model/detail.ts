// What a span says beyond its place in the tree: attributes, events, streamed texts, links, error.
// Merged by the rules of model/node.py: the greatest stamp wins, copies of imported spans are left
// out.

import { isLater } from "./producers";
import type { Attributes, Channel, ErrorInfo, Link, Marks, SpanDetail, SpanTotals } from "./wire";

// As in model/limits.py.
export const MOST_ATTRIBUTES = 1024;
export const MOST_EVENTS = 10_000;
export const MOST_PIECES = 20_000;
export const MOST_LINKS = 128;

/** When (ns since the tree's base), who and which of theirs. */
export type Stamp = {
  readonly time: number;
  readonly by: string;
  readonly seq: number;
  /** Of an OpenTelemetry resource, whose spans may come more than once. */
  readonly imported: boolean;
};

export type Value = {
  readonly value: unknown;
  readonly stamp: Stamp;
  readonly marks: Marks | null;
};

export type DetailEvent = {
  readonly stamp: Stamp;
  readonly name: string;
  readonly attributes: Attributes;
  readonly marks: Marks | null;
};

export type Piece = { readonly stamp: Stamp; readonly index: number; readonly text: string };

/** What a change did: nothing new, something, or it was one too many. */
export type Change = "known" | "changed" | "full";

type HeldLink = { readonly stamp: Stamp; readonly index: number; readonly link: Link };

export class Detail {
  /** False while only the facts since the page was opened are in it: the rest is on its way. */
  complete = false;
  /** Why the rest is not on its way any more. */
  failure = "";
  /** Sums as the relay had them when it was asked, with what the tree does not keep. */
  totals: SpanTotals | null = null;
  error: ErrorInfo | null = null;
  /** Counts up with each change. */
  version = 0;

  private readonly held = new Map<string, Value>();
  private readonly ownMarks = new Map<string, { stamp: Stamp; mark: string }>();
  private readonly happened = new Map<string, DetailEvent>();
  private readonly linked = new Map<string, HeldLink>();
  private readonly streamed = new Map<Channel, Stream>();
  private toldLinks: readonly Link[] = [];
  private readonly toldMarks = new Map<string, string>();
  private pieceCount = 0;
  private listed: { version: number; events: readonly DetailEvent[] } | null = null;

  // --- reading ---------------------------------------------------------------------------------

  /** Attributes as they stand, with who set them when; values are tagged as in JSON frames. */
  get values(): ReadonlyMap<string, Value> {
    return this.held;
  }

  get attributes(): ReadonlyMap<string, unknown> {
    return new Map([...this.held].map(([key, { value }]) => [key, value]));
  }

  /** What was done to values, names and errors on the way, by path. */
  get marks(): ReadonlyMap<string, string> {
    const marks = new Map(this.toldMarks);
    for (const [path, { mark }] of this.ownMarks) marks.set(path, mark);
    const marked = [...this.held.values()].filter((value) => value.marks !== null);
    marked.sort((a, b) => byStamp(a.stamp, b.stamp));
    for (const value of marked) {
      for (const [path, mark] of Object.entries(value.marks ?? {})) marks.set(path, mark);
    }
    return marks;
  }

  /** In the order of their time, copies left out. */
  get events(): readonly DetailEvent[] {
    if (this.listed?.version !== this.version) {
      const events = [...this.happened.values()].sort((a, b) => byStamp(a.stamp, b.stamp));
      this.listed = { version: this.version, events: withoutCopies(events) };
    }
    return this.listed.events;
  }

  /** When the last event happened, copies included; -Infinity without any. */
  get lastEvent(): number {
    let last = -Infinity;
    for (const { stamp } of this.happened.values()) if (stamp.time > last) last = stamp.time;
    return last;
  }

  /** In the order in which they were added, copies left out. */
  get links(): readonly Link[] {
    const held = [...this.linked.values()].sort(
      (a, b) => byStamp(a.stamp, b.stamp) || a.index - b.index,
    );
    const own = new Set(held.filter((h) => !h.stamp.imported).map((h) => contentOfLink(h.link)));
    const told = new Set(this.toldLinks.map(contentOfLink));
    const links = [...this.toldLinks];
    for (const { stamp, link } of held) {
      const content = contentOfLink(link);
      if (told.has(content) || (stamp.imported && own.has(content))) continue;
      if (stamp.imported) own.add(content);
      links.push(link);
    }
    return links;
  }

  get channels(): readonly Channel[] {
    return [...this.streamed.keys()].sort();
  }

  /** What was streamed on a channel so far. */
  text(channel: Channel): string {
    return this.streamed.get(channel)?.text() ?? "";
  }

  /** The pieces of a channel in order of their index: for tokens/s and the time to the first
   *  token. */
  pieces(channel: Channel): readonly Piece[] {
    return this.streamed.get(channel)?.pieces() ?? [];
  }

  // --- writing: by the tree that it is of ------------------------------------------------------

  setValue(key: string, value: unknown, stamp: Stamp, marks: Marks | null): Change {
    const known = this.held.get(key);
    if (known === undefined && this.held.size >= MOST_ATTRIBUTES) return "full";
    if (known !== undefined && !beats(stamp, known.stamp)) return "known";
    this.held.set(key, { value, stamp, marks });
    this.version++;
    return "changed";
  }

  addMarks(marks: Marks, stamp: Stamp): void {
    for (const path of Object.keys(marks)) {
      if (!path.startsWith("@")) continue;
      const known = this.ownMarks.get(path);
      if (known !== undefined && !beats(stamp, known.stamp)) continue;
      this.ownMarks.set(path, { stamp, mark: marks[path] });
      this.version++;
    }
  }

  addEvent(name: string, attributes: Attributes, stamp: Stamp, marks: Marks | null): Change {
    const key = keyOf(stamp);
    if (this.happened.has(key)) return "known";
    if (this.happened.size >= MOST_EVENTS) return "full";
    this.happened.set(key, { stamp, name, attributes, marks });
    this.version++;
    return "changed";
  }

  addPiece(channel: Channel, index: number, text: string, stamp: Stamp): Change {
    let stream = this.streamed.get(channel);
    const known = stream?.get(index);
    if (known === undefined && this.pieceCount >= MOST_PIECES) return "full";
    if (known !== undefined && !beats(stamp, known.stamp)) return "known";
    if (stream === undefined) this.streamed.set(channel, (stream = new Stream()));
    if (known === undefined) this.pieceCount++;
    stream.set({ stamp, index, text });
    this.version++;
    return "changed";
  }

  addLink(index: number, link: Link, stamp: Stamp): Change {
    const key = `${keyOf(stamp)} ${index}`;
    if (this.linked.has(key)) return "known";
    if (this.linked.size >= MOST_LINKS) return "full";
    this.linked.set(key, { stamp, index, link });
    this.version++;
    return "changed";
  }

  /** Take over what the relay says without stamps: links, marks, error, sums. It has all that was
   *  said until it was asked, and what was said since has been, or will be, merged. */
  restore({ links, marks = {}, error, totals }: SpanDetail): void {
    this.toldLinks = links;
    for (const path of Object.keys(marks)) {
      if (path.startsWith("@")) this.toldMarks.set(path, marks[path]);
    }
    this.error ??= error;
    this.totals = totals ?? null;
    this.complete = true;
    this.failure = "";
    this.version++;
  }

  setError(error: ErrorInfo | null): void {
    if (error === this.error) return;
    this.error = error;
    this.version++;
  }
}

/** The pieces of one channel. They come in order as a rule, and are then joined as they come. */
class Stream {
  private readonly known = new Map<number, Piece>();
  private ordered: Piece[] = [];
  private joined = "";
  private inOrder = true;

  get(index: number): Piece | undefined {
    return this.known.get(index);
  }

  set(piece: Piece): void {
    const last = this.ordered.at(-1);
    this.known.set(piece.index, piece);
    if (!this.inOrder) return;
    if (last !== undefined && piece.index <= last.index) {
      this.inOrder = false;
      return;
    }
    this.ordered.push(piece);
    this.joined += piece.text;
  }

  pieces(): readonly Piece[] {
    this.order();
    return this.ordered;
  }

  text(): string {
    this.order();
    return this.joined;
  }

  private order(): void {
    if (this.inOrder) return;
    this.ordered = [...this.known.values()].sort((a, b) => a.index - b.index);
    this.joined = this.ordered.map((piece) => piece.text).join("");
    this.inOrder = true;
  }
}

/** Leave out copies of an imported span's events: told by content, or streamed by its program
 *  too. */
function withoutCopies(events: DetailEvent[]): readonly DetailEvent[] {
  if (!events.some((event) => event.stamp.imported)) return events;
  const own = new Set(
    events.filter((e) => !e.stamp.imported).map((e) => `${e.stamp.time} ${e.name}`),
  );
  const said = new Set<string>();
  return events.filter(({ stamp, name, attributes }) => {
    if (!stamp.imported) return true;
    const happened = `${stamp.time} ${name}`;
    const content = `${happened} ${contentOf(attributes)}`;
    if (own.has(happened) || said.has(content)) return false;
    said.add(content);
    return true;
  });
}

function contentOfLink({ trace_id, span_id, attributes = {} }: Link): string {
  return contentOf([trace_id, span_id, attributes]);
}

/** A value as text that is the same whatever the order of its keys. */
function contentOf(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1));
  });
}

function keyOf(stamp: Stamp): string {
  return `${stamp.by} ${stamp.seq} ${stamp.time}`;
}

function beats(stamp: Stamp, known: Stamp): boolean {
  return isLater(stamp.time, stamp.by, stamp.seq, known.time, known.by, known.seq);
}

function byStamp(a: Stamp, b: Stamp): number {
  return beats(a, b) ? 1 : beats(b, a) ? -1 : 0;
}

/** Roughly how many characters a value is, and a hundred for what holds it. */
export function lengthOf(value: unknown): number {
  if (typeof value === "string") return 100 + value.length;
  if (typeof value !== "object" || value === null) return 100;
  let length = 100;
  for (const inner of Object.values(value)) length += lengthOf(inner);
  return length;
}

/** What was done to one attribute's value and the values in it. */
export function marksOf(key: string, marks: Marks | null | undefined): Marks | null {
  if (!marks) return null;
  const own = Object.entries(marks).filter(
    ([path]) => path === key || path.startsWith(`${key}.`) || path.startsWith(`${key}[`),
  );
  return own.length ? Object.fromEntries(own) : null;
}
