"""What a trace is made of: one Struct an event, a tagged union on `type`.

A field added here is ignored by older readers; a new type is stored and forwarded raw by them.
Times are wall-clock nanoseconds (see `clock`), ids lower-case W3C hex (see `ids`).
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

Attributes: TypeAlias = dict[str, Any]
"""Plain values only: str, bool, int64, finite float, None, lists and string-keyed maps of these."""

TimeNs: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Decoding refuses what no store and no difference of two times could hold: until the year 2262."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""So small that sums over all that is kept stay within 63 bits, and exact in a browser."""
Pid: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

Status: TypeAlias = Literal["ok", "error", "cancelled", "abandoned"]
Channel: TypeAlias = Literal["input", "output", "reasoning", "tool"]


class Link(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Point from a span to another one, in this or another trace."""

    trace_id: str
    span_id: str
    attributes: Attributes = {}


class ErrorInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Say what was raised: the exception's qualified type name, its message and its stack trace."""

    type: str
    message: str = ""
    stacktrace: str = ""


class SpanStarted(
    msgspec.Struct, tag_field="type", tag="span_started", gc=False, omit_defaults=True
):
    """A span began. `remote_parent`: the parent belongs to another process and may never be seen."""

    trace_id: str
    span_id: str
    time_ns: TimeNs
    name: str
    parent_id: str | None = None
    kind: str | None = None
    attributes: Attributes = {}
    links: tuple[Link, ...] = ()
    remote_parent: bool = False
    marks: dict[str, str] | None = None


class AttributeSet(
    msgspec.Struct, tag_field="type", tag="attribute_set", gc=False, omit_defaults=True
):
    """One attribute got a value. `marks`: what was done to it, by path (see `Marks`)."""

    trace_id: str
    span_id: str
    time_ns: TimeNs
    key: str
    value: Any
    marks: dict[str, str] | None = None


class AttributesSet(
    msgspec.Struct, tag_field="type", tag="attributes_set", gc=False, omit_defaults=True
):
    """Several attributes got values in one call."""

    trace_id: str
    span_id: str
    time_ns: TimeNs
    attributes: Attributes
    marks: dict[str, str] | None = None


class EventAdded(msgspec.Struct, tag_field="type", tag="event_added", gc=False, omit_defaults=True):
    """Something happened at one moment inside a span."""

    trace_id: str
    span_id: str
    time_ns: TimeNs
    name: str
    attributes: Attributes = {}
    marks: dict[str, str] | None = None


class TextStreamed(
    msgspec.Struct, tag_field="type", tag="text_streamed", gc=False, omit_defaults=True
):
    """A piece of streamed text; `index` counts the pieces of its channel from 0."""

    trace_id: str
    span_id: str
    time_ns: TimeNs
    channel: Channel
    index: int
    text: str


class SpanUpdated(
    msgspec.Struct, tag_field="type", tag="span_updated", gc=False, omit_defaults=True
):
    """A running span got another name, or further links."""

    trace_id: str
    span_id: str
    time_ns: TimeNs
    name: str | None = None
    links: tuple[Link, ...] = ()


class SpanEnded(msgspec.Struct, tag_field="type", tag="span_ended", gc=False, omit_defaults=True):
    """A span ended. `name` repeats a changed name, for readers that missed `span_updated`."""

    trace_id: str
    span_id: str
    time_ns: TimeNs
    status: Status = "ok"
    error: ErrorInfo | None = None
    name: str | None = None
    marks: dict[str, str] | None = None


class EventsLost(msgspec.Struct, tag_field="type", tag="events_lost", gc=False, omit_defaults=True):
    """Events that were recorded and are not stored.

    `count` is their number, exactly or (`exact=False`) at least. `by_type` and `by_trace` split it;
    traces past the 64th are summed under `other`. `subject_id` names the producer when the relay
    says it on a producer's behalf; otherwise it is the event's own producer.
    """

    time_ns: TimeNs
    reason: str
    count: Count
    by_type: dict[str, Count] = {}
    by_trace: dict[str, Count] = {}
    exact: bool = True
    first_time_ns: TimeNs = 0
    last_time_ns: TimeNs = 0
    subject_id: str | None = None


class ProducerStarted(
    msgspec.Struct, tag_field="type", tag="producer_started", gc=False, omit_defaults=True
):
    """The relay met a producer: `subject_id` is its id, `resource` what it says of itself."""

    time_ns: TimeNs
    subject_id: str
    service: str = ""
    resource: Attributes = {}
    pid: Pid = 0
    host: str = ""


class ProducerLost(
    msgspec.Struct, tag_field="type", tag="producer_lost", gc=False, omit_defaults=True
):
    """A producer is gone without a `bye`: its open spans are interrupted since `last_seen_ns`."""

    time_ns: TimeNs
    subject_id: str
    last_seq: int
    last_seen_ns: TimeNs


class ProducerReturned(
    msgspec.Struct, tag_field="type", tag="producer_returned", gc=False, omit_defaults=True
):
    """A producer that was taken for lost speaks again: its open spans run on."""

    time_ns: TimeNs
    subject_id: str


class ProducerEnded(
    msgspec.Struct, tag_field="type", tag="producer_ended", gc=False, omit_defaults=True
):
    """A producer said `bye`: what it left open is unended."""

    time_ns: TimeNs
    subject_id: str
    last_seq: int


class UnknownEvent(msgspec.Struct, gc=False):
    """An event of a type that this version does not know, kept as it came."""

    type: str
    raw: bytes
    trace_id: str | None = None
    span_id: str | None = None
    time_ns: TimeNs = 0


SpanEvent: TypeAlias = (
    SpanStarted | AttributeSet | AttributesSet | EventAdded | TextStreamed | SpanUpdated | SpanEnded
)
"""Events of one span: all have trace_id, span_id and time_ns."""

ProducerEvent: TypeAlias = (
    EventsLost | ProducerStarted | ProducerLost | ProducerReturned | ProducerEnded
)
"""Events about a producer, of no span."""

KnownEvent: TypeAlias = (
    SpanStarted
    | AttributeSet
    | AttributesSet
    | EventAdded
    | TextStreamed
    | SpanUpdated
    | SpanEnded
    | EventsLost
    | ProducerStarted
    | ProducerLost
    | ProducerReturned
    | ProducerEnded
)
Event: TypeAlias = KnownEvent | UnknownEvent


class Fact(msgspec.Struct, frozen=True, gc=False):
    """An event as the log has it: where it stands, who said it, and which of theirs it is.

    An offset of 0 means that it is not stored (yet): it may come again, with its offset.
    """

    offset: int
    producer_id: str
    seq: int
    service: str
    event: Event
