"""The frames of `lumina.v1`. They hold events as raw MessagePack; `wire` has their two encodings."""

from typing import Literal, TypeAlias

import msgspec

from lumina_stream.model.events import Attributes, Count, Pid, Status, TimeNs
from lumina_stream.model.producers import Producer
from lumina_stream.model.record import Columns

KEPT, LEFT = "kept", "left"
"""What a `hello` says of a spool: its program keeps one, or is gone and another delivers what it left."""

View: TypeAlias = Literal["events", "traces", "trace", "running"]


class _Frame(msgspec.Struct, tag_field="type", gc=False, omit_defaults=True):
    pass


# --- producer -> relay -----------------------------------------------------------------------


class Hello(_Frame, tag="hello"):
    """Open a producer's connection: who it is, and from which seq on it still holds events.

    `nonce` and the process fields tell one incarnation from a clone. `first_seq` is the first
    unacknowledged seq: what lies between the relay's last and it cannot be had any more. `spool`:
    `kept`, its events are also in a file and will come from there; `left`, the producer is gone,
    this is that file, and `wall_ns` is when it was last alive.
    """

    producer_id: str
    nonce: str
    first_seq: int
    service: str = ""
    resource: Attributes = {}
    host: str = ""
    pid: Pid = 0
    process_start: int = 0
    boot_id: str = ""
    pid_namespace: int = 0
    wall_ns: TimeNs = 0
    mono_ns: int = 0
    version: int = 1
    spool: str = ""


class Batch(_Frame, tag="batch"):
    """Consecutive events from `first_seq` on; `events` is a MessagePack array, kept raw."""

    first_seq: int
    events: msgspec.Raw


class Heartbeat(_Frame, tag="heartbeat"):
    """A sign of life: how many events were admitted so far, and both clocks."""

    admitted: Count
    wall_ns: TimeNs = 0
    mono_ns: int = 0


class Bye(_Frame, tag="bye"):
    """Nothing more comes from the producer; `last_seq` is its last event.

    `lost`: it did not end by itself, what it left open is interrupted.
    """

    last_seq: int
    lost: bool = False


# --- relay -> producer -----------------------------------------------------------------------


class Welcome(_Frame, tag="welcome"):
    """Answer to `hello`: the last seq stored, and what the relay takes."""

    last_seq: int
    relay_id: str = ""
    frame_bytes: int = 0
    frame_events: int = 0
    heartbeat_s: float = 0.0


class Ack(_Frame, tag="ack"):
    """All events up to and including `upto` are stored."""

    upto: int


class Nack(_Frame, tag="nack"):
    """A gap: go on from `expected`."""

    expected: int


class Throttle(_Frame, tag="throttle"):
    """Send nothing for `pause_s` seconds."""

    pause_s: float


class Inspect(_Frame, tag="inspect"):
    """Reserved: ask for an open span's stack."""

    span_id: str


class Error(_Frame, tag="error"):
    """Say why the connection ends. `new_identity`: take a new producer id and come back."""

    message: str
    code: str = "error"
    new_identity: bool = False


# --- consumer -> relay -----------------------------------------------------------------------


class Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Select traces; None selects all. The words are those of `GET /v1/traces`.

    `service`, `session` and `user`: a span of the trace names it. `name` is a glob over the root's
    name. A running trace is as long as it runs. `attribute` are `key=value` each.
    """

    service: str | None = None
    trace_id: str | None = None
    name: str | None = None
    state: str | None = None
    error: bool | None = None
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None
    session: str | None = None
    user: str | None = None
    attribute: tuple[str, ...] = ()


class Cursor(msgspec.Struct, frozen=True):
    """Where a consumer stands: an offset of the log, and the epoch in which it learned it."""

    epoch: str
    offset: int


class Subscribe(_Frame, tag="subscribe"):
    """Ask for a view. With a valid `cursor` it goes on from there; else it starts

    with what arrived since `since_ns`, or with a snapshot of the open traces, or (`snapshot=False`)
    with what comes next. `outline`, for the view `trace`: the snapshot comes as `Outline` frames and
    costs as `Usage`, for who draws a large tree and asks for details span by span.
    """

    view: View = "events"
    filter: Filter = Filter()
    cursor: Cursor | None = None
    since_ns: TimeNs | None = None
    snapshot: bool = True
    outline: bool = False


# --- relay -> consumer -----------------------------------------------------------------------


class Subscribed(_Frame, tag="subscribed"):
    """Answer to `subscribe`. `recovered`: it goes on from the cursor; else drop what you have."""

    recovered: bool
    epoch: str
    offset: int
    relay_ns: int = 0


class LossRecord(msgspec.Struct, frozen=True, array_like=True):
    """A loss on a trace: its stamp, how many events, why, and whether the count is exact."""

    stamp: tuple[int, str, int]
    count: int
    reason: str
    exact: bool


class SpanCost(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the call of a span costs, in trillionths of a dollar; not `known`: nobody has a price."""

    span_id: str
    input: int
    output: int
    known: bool


class Snapshot(_Frame, tag="snapshot"):
    """A piece of a snapshot at `offset`: some spans of one trace, or (`trace_id` empty) producers only.

    `done` marks the last piece of the whole snapshot.
    """

    offset: int
    trace_id: str = ""
    spans: Columns | None = None
    producers: tuple[Producer, ...] = ()
    truncated: dict[str, int] = {}
    losses: tuple[LossRecord, ...] = ()
    done: bool = False
    costs: tuple[SpanCost, ...] = ()


class Outline(_Frame, tag="outline", omit_defaults=False):
    """A piece of a trace's outline at `offset`: spans by number, from `at` on, field by field.

    A span's number is its place in the whole outline. `total` is how many there are, and may grow
    from piece to piece while spans start; the last piece, `done`, has the true one. Texts are
    numbers into all `strings` so far; times are nanoseconds since `base_ns`. -1 stands for none
    in columns of numbers, None for no time. A piece may be newer than `offset`: the facts that
    follow bring nothing twice.

    `ids` has 16 digits a span. `parents` are declared ones: -2 stands for one that is not kept.
    `statuses` are places in `STATUS_CODES`, `flags` sums of `FLAG_...`. By number, where there is
    something to say: `named` (the stamp of a name that is not the start's), `conflicts`, and in
    `usage` what the span's call adds beyond the spans below it: input tokens, output tokens,
    trillionths of a dollar (None: no price). `producers`, `losses` and `truncated` come once each.
    """

    offset: int
    trace_id: str
    base_ns: int
    total: int
    at: int
    strings: list[str]
    producers: list[Producer]
    ids: str
    parents: list[int]
    names: list[int]
    kinds: list[int]
    starts: list[int | None]
    start_by: list[int]
    start_seq: list[int]
    ends: list[int | None]
    end_by: list[int]
    end_seq: list[int]
    statuses: list[int]
    lasts: list[int | None]
    flags: list[int]
    named: dict[int, tuple[int, int, int]] = {}
    conflicts: dict[int, list[str]] = {}
    usage: list[tuple[int, int, int, int | None]] = []
    losses: list[LossRecord] = []
    truncated: dict[str, int] = {}
    done: bool = False


STATUS_CODES: tuple[Status | None, ...] = (None, "ok", "error", "cancelled", "abandoned")
"""What the numbers in `Outline.statuses` stand for."""
FLAG_REMOTE_PARENT, FLAG_ATTRIBUTES, FLAG_EVENTS, FLAG_TEXT, FLAG_LINKS, FLAG_ERROR = (
    1, 2, 4, 8, 16, 32,
)  # fmt: skip
"""What the bits of `Outline.flags` say that a span has."""


class Usage(_Frame, tag="usage"):
    """What calls of one trace add now, as `Outline.usage`, by span id; zeros: nothing any more.

    It follows the facts that it is of, and moves no cursor.
    """

    upto: int
    trace_id: str
    usage: list[tuple[str, int, int, int | None]]


class WireFact(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One event of a batch of facts."""

    offset: int
    seq: int
    event: msgspec.Raw


class FactBatch(_Frame, tag="batch"):
    """Facts of one producer, in the order of the log; all the consumer's view has up to `upto`.

    `unstored`: the log refuses at the moment. Offsets say nothing then; a `skip` follows later.
    """

    upto: int
    producer_id: str
    service: str
    facts: tuple[WireFact, ...]
    unstored: bool = False


Bar: TypeAlias = tuple[int, int, str | None, str]
"""A span in a trace's miniature: where it starts and how long it is (-1: it runs), in thousandths of

`duration_ns`, or of the time to `last_ns` while that is None; its kind, and its state.
"""


class TraceSummary(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of a list of traces. `duration_ns` is None while it runs; `start_ns` 0 if unknown.

    `cost_usd` is None where no call has a price; `unpriced` calls are not in it. `preview` is the
    beginning of what the root was given, `bars` are some of the longest spans below it.
    """

    trace_id: str
    name: str
    service: str
    state: str
    start_ns: int
    duration_ns: int | None
    spans: int
    open: int
    errors: int
    kind: str | None = None
    services: tuple[str, ...] = ()
    missing: int = 0
    lost: int = 0
    truncated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    last_ns: int = 0
    cost_usd: float | None = None
    unpriced: int = 0
    sessions: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    preview: str = ""
    bars: tuple[Bar, ...] = ()


class Summaries(_Frame, tag="traces"):
    """The traces that changed since the last one."""

    upto: int
    traces: tuple[TraceSummary, ...]


class Costs(_Frame, tag="costs"):
    """What calls of one trace cost, as worked out by the relay; it follows their facts."""

    upto: int
    trace_id: str
    costs: tuple[SpanCost, ...]


class OpenSpan(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A running span of any trace."""

    trace_id: str
    span_id: str
    name: str
    kind: str | None
    service: str
    start_ns: int
    last_ns: int


class Running(_Frame, tag="running"):
    """The open spans of all traces, longest-running first; `total` counts those not listed too."""

    upto: int
    spans: tuple[OpenSpan, ...]
    total: int


class Removed(_Frame, tag="removed"):
    """These traces are no longer in the view."""

    upto: int
    trace_ids: tuple[str, ...]


class Progress(_Frame, tag="progress"):
    """Nothing new for you up to `offset`; `relay_ns` is the relay's clock."""

    offset: int
    relay_ns: int = 0


class Skip(_Frame, tag="skip"):
    """What lies between is not coming: too slow, or no longer kept. A snapshot follows."""

    from_offset: int
    to_offset: int


ProducerFrame: TypeAlias = Hello | Batch | Heartbeat | Bye
RelayToProducer: TypeAlias = Welcome | Ack | Nack | Throttle | Inspect | Error
RelayToConsumer: TypeAlias = (
    Subscribed
    | Snapshot
    | Outline
    | FactBatch
    | Costs
    | Usage
    | Summaries
    | Running
    | Removed
    | Progress
    | Skip
    | Error
)
AnyFrame: TypeAlias = ProducerFrame | RelayToProducer | Subscribe | RelayToConsumer
