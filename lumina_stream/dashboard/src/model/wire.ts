// What travels between the relay and the page, as it is in JSON (docs/protocol.md). Types only.
//
// Attribute values stay as JSON has them: what JSON cannot carry exactly is a tagged string
// (`!int 9007199254740993`), which whoever shows it reads. Times are nanoseconds: absolute ones
// lose up to 128 ns in a double, ones relative to a trace's `base_ns` are exact.

export type Attributes = Readonly<Record<string, unknown>>;
export type Marks = Readonly<Record<string, string>>;
/** (time_ns, producer_id, seq): the greatest one wins a conflict. */
export type WireStamp = readonly [timeNs: number, producerId: string, seq: number];

export type Status = "ok" | "error" | "cancelled" | "abandoned";
export type State = "running" | Status | "interrupted" | "unended" | "missing";
export type Channel = "input" | "output" | "reasoning" | "tool";

export type Link = { trace_id: string; span_id: string; attributes?: Attributes };
export type ErrorInfo = { type: string; message?: string; stacktrace?: string };

type Of<Type extends string, Fields> = {
  type: Type;
  trace_id: string;
  span_id: string;
  time_ns: number;
} & Fields;
type About<Type extends string, Fields> = {
  type: Type;
  time_ns: number;
  subject_id: string;
} & Fields;

export type SpanStarted = Of<
  "span_started",
  {
    name: string;
    parent_id?: string | null;
    kind?: string | null;
    attributes?: Attributes;
    links?: readonly Link[];
    remote_parent?: boolean;
    marks?: Marks | null;
  }
>;
export type AttributeSet = Of<
  "attribute_set",
  { key: string; value: unknown; marks?: Marks | null }
>;
export type AttributesSet = Of<"attributes_set", { attributes: Attributes; marks?: Marks | null }>;
export type EventAdded = Of<
  "event_added",
  { name: string; attributes?: Attributes; marks?: Marks | null }
>;
export type TextStreamed = Of<"text_streamed", { channel: Channel; index: number; text: string }>;
export type SpanUpdated = Of<"span_updated", { name?: string | null; links?: readonly Link[] }>;
export type SpanEnded = Of<
  "span_ended",
  { status?: Status; error?: ErrorInfo | null; name?: string | null; marks?: Marks | null }
>;
export type EventsLost = {
  type: "events_lost";
  time_ns: number;
  reason: string;
  count: number;
  by_type?: Readonly<Record<string, number>>;
  by_trace?: Readonly<Record<string, number>>;
  exact?: boolean;
  first_time_ns?: number;
  last_time_ns?: number;
  subject_id?: string | null;
};
export type ProducerStarted = About<"producer_started", { service?: string }>;
export type ProducerLost = About<"producer_lost", { last_seq: number; last_seen_ns: number }>;
export type ProducerReturned = About<"producer_returned", object>;
export type ProducerEnded = About<"producer_ended", { last_seq: number }>;

export type SpanFact =
  SpanStarted | AttributeSet | AttributesSet | EventAdded | TextStreamed | SpanUpdated | SpanEnded;
export type ProducerFact =
  EventsLost | ProducerStarted | ProducerLost | ProducerReturned | ProducerEnded;
export type Event = SpanFact | ProducerFact;

/** An event as the log has it. */
export type Fact = {
  offset: number;
  producerId: string;
  seq: number;
  service: string;
  event: Event;
};

export type WireProducer = {
  producer_id: string;
  state?: "alive" | "lost" | "ended";
  last_seen_ns?: number;
  service?: string;
  stamp?: WireStamp;
  named?: WireStamp;
};
/** [stamp, count, reason, exact] */
export type LossRecord = readonly [WireStamp, number, string, boolean];
/** [span id, input tokens, output tokens, trillionths of a dollar or null: no price] */
export type Usage = readonly [string, number, number, number | null];

export type Cursor = { epoch: string; offset: number };
export type View = "events" | "traces" | "trace" | "running";
export type Subscribe = {
  type: "subscribe";
  view: View;
  filter?: object;
  cursor?: Cursor;
  since_ns?: number;
  snapshot?: boolean;
  outline?: boolean;
};

export type SubscribedFrame = {
  type: "subscribed";
  recovered: boolean;
  epoch: string;
  offset: number;
  relay_ns?: number;
};
/** A piece of a trace's outline: spans by number, from `at` on, field by field. Times are ns since
 *  `base_ns`; -1 stands for none in columns of numbers. A piece may be newer than `offset`. */
export type OutlineFrame = {
  type: "outline";
  offset: number;
  trace_id: string;
  base_ns: number;
  /** How many spans there are; may grow from piece to piece. */
  total: number;
  at: number;
  /** Those that are new: numbers of strings count over all pieces. */
  strings: readonly string[];
  producers: readonly WireProducer[];
  /** 16 digits a span. */
  ids: string;
  /** As the starts named them, by number; -2: one that is not kept. */
  parents: readonly number[];
  names: readonly number[];
  kinds: readonly number[];
  starts: readonly (number | null)[];
  start_by: readonly number[];
  start_seq: readonly number[];
  ends: readonly (number | null)[];
  end_by: readonly number[];
  end_seq: readonly number[];
  statuses: readonly number[];
  lasts: readonly (number | null)[];
  flags: readonly number[];
  /** The stamp of a name that is not the start's, by number: [ns, string, seq]. */
  named?: Readonly<Record<string, readonly [number, number, number]>>;
  conflicts?: Readonly<Record<string, readonly string[]>>;
  usage?: readonly (readonly [number, number, number, number | null])[];
  losses?: readonly LossRecord[];
  truncated?: Readonly<Record<string, number>>;
  done?: boolean;
};
export type SnapshotFrame = {
  type: "snapshot";
  offset: number;
  trace_id?: string;
  producers?: readonly WireProducer[];
  done?: boolean;
};
export type BatchFrame = {
  type: "batch";
  upto: number;
  producer_id: string;
  service: string;
  facts: readonly (readonly [offset: number, seq: number, event: Event])[];
  unstored?: boolean;
};
export type UsageFrame = { type: "usage"; upto: number; trace_id: string; usage: readonly Usage[] };
export type SummariesFrame = { type: "traces"; upto: number; traces: readonly TraceSummary[] };
export type RunningFrame = {
  type: "running";
  upto: number;
  spans: readonly OpenSpan[];
  total: number;
};
export type RemovedFrame = { type: "removed"; upto: number; trace_ids: readonly string[] };
export type ProgressFrame = { type: "progress"; offset: number; relay_ns?: number };
export type SkipFrame = { type: "skip"; from_offset: number; to_offset: number };
export type ErrorFrame = { type: "error"; message: string; code?: string };
export type Frame =
  | SubscribedFrame
  | OutlineFrame
  | SnapshotFrame
  | BatchFrame
  | UsageFrame
  | SummariesFrame
  | RunningFrame
  | RemovedFrame
  | ProgressFrame
  | SkipFrame
  | ErrorFrame;

/** [start in thousandths of the trace, length likewise (-1: open), kind, state] */
export type SummaryBar = readonly [number, number, string | null, State];

/** One line of the list of traces; fields that have their default value may be left out. */
export type TraceSummary = {
  trace_id: string;
  name: string;
  service: string;
  state: State;
  /** 0: not known. */
  start_ns: number;
  /** null while it runs. */
  duration_ns: number | null;
  spans: number;
  open: number;
  errors: number;
  kind?: string | null;
  services?: readonly string[];
  missing?: number;
  lost?: number;
  truncated?: number;
  input_tokens?: number;
  output_tokens?: number;
  last_ns?: number;
  /** null or absent: no call has a price. */
  cost_usd?: number | null;
  unpriced?: number;
  sessions?: readonly string[];
  users?: readonly string[];
  preview?: string;
  bars?: readonly SummaryBar[];
};

export type OpenSpan = {
  trace_id: string;
  span_id: string;
  name: string;
  kind: string | null;
  service: string;
  start_ns: number;
  last_ns: number;
  silent?: boolean;
};

export type Rates = {
  window_s: number;
  traces: number;
  traces_per_min: number;
  errors: number;
  /** 0 to 1; 0 where no trace was. */
  error_share: number;
  p50_ns: number | null;
  p95_ns: number | null;
  running: number;
};

/** `GET /v1/traces/{trace_id}/spans/{span_id}` */
export type SpanDetail = {
  offset: number;
  trace_id: string;
  span_id: string;
  attributes: readonly (readonly [string, unknown, WireStamp, Marks | null])[];
  events: readonly {
    time_ns: number;
    producer_id: string;
    seq: number;
    name: string;
    attributes?: Attributes;
    marks?: Marks | null;
  }[];
  texts: readonly (readonly [Channel, number, number, string, number, string])[];
  links: readonly Link[];
  error: ErrorInfo | null;
  marks?: Marks;
  flags?: readonly string[];
  totals?: SpanTotals;
};

/** Sums over a span and everything below it, as the relay has them. */
export type SpanTotals = {
  spans: number;
  open: number;
  errors: number;
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens: number;
  cache_write_tokens: number;
  reasoning_tokens: number;
  cost: number | null;
  unpriced: number;
};
