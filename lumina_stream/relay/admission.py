"""Which traces a batch speaks of, and which of its events count: no tree should see the others.

The traces are all that the log must know before it stores a batch: they are found in the bytes, and
nothing is decoded until the batch is stored and acknowledged. A refused event keeps its seq and its
place in the log, so that acknowledgement stays dense; it is counted, and neither applied nor handed on.
The same rules read the log back, so that a replay agrees with what was live. Pure.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    Event,
    EventAdded,
    EventsLost,
    Link,
    SpanEnded,
    SpanEvent,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
    UnknownEvent,
)
from lumina_stream.model.ids import TRACE_ID_LENGTH, are_span_ids, is_span_id, is_trace_id
from lumina_stream.model.producers import is_imported
from lumina_stream.protocol import guards

RELAY_PREFIX = "relay-"
"""Producer ids of relays begin with it; no other producer may say what became of a producer."""

_MAX_INT = (1 << 63) - 1
_CONTAINERS = frozenset((dict, list))
_WITH_ATTRIBUTES = frozenset((SpanStarted, AttributesSet, EventAdded))
_TRACE_KEY = b"\xa8trace_id\xd9" + bytes((TRACE_ID_LENGTH,))
"""What stands before a trace id in an event: its key, and the header of a string of that length."""


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """The events of a batch, None for each refused one, and the distinct trace ids among them."""

    events: list[Event | None]
    trace_ids: tuple[str, ...]
    refused: int


def is_relay(producer_id: str) -> bool:
    """Tell whether a producer id is a relay's own."""
    return producer_id.startswith(RELAY_PREFIX)


def is_reserved(producer_id: str) -> bool:
    """Tell whether a producer id is one that only the relay gives."""
    return is_relay(producer_id) or is_imported(producer_id)


def check_seq(last_seq: int) -> None:
    """Raise `RemoteProtocolError` for a seq that no log can hold."""
    if last_seq > _MAX_INT:
        raise RemoteProtocolError(f"seq {last_seq} does not fit in 63 bits")


def traces_in(data: bytes, count: int) -> tuple[str, ...]:
    """Return the distinct trace ids that a MessagePack array of `count` events may be of.

    Found where msgspec writes them; where that is less often than there are events, all are decoded.
    Raises `DecodeError` if `data` is no array.
    """
    _, *parts = data.split(_TRACE_KEY)
    if len(parts) < count:
        return _admit(data, RELAY_PREFIX).trace_ids
    found = dict.fromkeys([part[:TRACE_ID_LENGTH] for part in parts])
    return tuple(filter(is_trace_id, map(_text, found)))


def admit(data: bytes, producer_id: str) -> Admitted:
    """Decode a MessagePack array of events and refuse those that break a rule.

    Refused are events that cannot be read, whose ids are no W3C ids, that nest too deep, in which a
    producer speaks of another one, or whose trace `traces_in` did not find. Raises `DecodeError` if
    `data` is no array.
    """
    admitted = _admit(data, producer_id)
    hidden = [t for t in admitted.trace_ids if _TRACE_KEY + t.encode() not in data]
    if not hidden or data.count(_TRACE_KEY) < len(admitted.events):
        return admitted
    events = [None if getattr(e, "trace_id", None) in hidden else e for e in admitted.events]
    refused = admitted.refused + events.count(None) - admitted.events.count(None)
    return Admitted(events, tuple(t for t in admitted.trace_ids if t not in hidden), refused)


def _admit(data: bytes, producer_id: str) -> Admitted:
    events = codec.decode_array(data)
    trace_ids = _all_sound(events)
    if trace_ids is not None:
        return Admitted(events, trace_ids, 0)
    traces: dict[str, None] = {}
    refused = 0
    for index, event in enumerate(events):
        if event is None or not _is_sound(event, producer_id, traces):
            events[index] = None
            refused += 1
    return Admitted(events, tuple(traces), refused)


def _all_sound(events: Sequence[Event | None]) -> tuple[str, ...] | None:
    """Return the distinct trace ids of events of spans that are all sound, else None.

    A look at a whole frame: ids repeat within it, and nothing is called for each of its events.
    """
    kinds = set(map(type, events))
    if not kinds <= _HOLDS.keys():
        return None
    traces = dict.fromkeys(map(_trace_id, events))
    spans = set(map(_span_id, events))
    every: Any = events
    values: list[Any] = []
    if AttributeSet in kinds:
        values += [event.value for event in every if event.__class__ is AttributeSet]
    if not kinds.isdisjoint(_WITH_ATTRIBUTES):
        holding = [event.attributes.values() for event in every if type(event) in _WITH_ATTRIBUTES]
        values += itertools.chain.from_iterable(holding)
    if SpanStarted in kinds:
        started = [event for event in every if event.__class__ is SpanStarted]
        spans |= {event.parent_id for event in started if event.parent_id is not None}
        links = itertools.chain.from_iterable(map(_links, started))
        values += itertools.chain.from_iterable(link.attributes.values() for link in links)
    if all(map(is_trace_id, traces)) and are_span_ids(spans) and _is_shallow(values):
        return tuple(traces)
    return None


def _is_sound(event: Event, producer_id: str, traces: dict[str, None]) -> bool:
    holds = _HOLDS.get(type(event))
    if holds is None:
        return _is_sound_other(event, producer_id, traces)
    span_event = cast("SpanEvent", event)
    sound = (
        is_trace_id(span_event.trace_id)
        and is_span_id(span_event.span_id)
        and _is_shallow(holds(event))
        and (not isinstance(event, SpanStarted) or _has_sound_edges(event))
    )
    if sound:
        traces[span_event.trace_id] = None
    return sound


def _has_sound_edges(event: SpanStarted) -> bool:
    if event.parent_id is not None and not is_span_id(event.parent_id):
        return False
    return not event.links or all(_is_shallow(k.attributes.values()) for k in event.links)


def _is_sound_other(event: Event, producer_id: str, traces: dict[str, None]) -> bool:
    if isinstance(event, UnknownEvent):
        if guards.is_too_deep(event.raw):
            return False
        if event.trace_id is None:
            return True
        if not is_trace_id(event.trace_id):
            return False
        traces[event.trace_id] = None
        return event.span_id is None or is_span_id(event.span_id)
    if is_relay(producer_id):
        return True
    return (
        isinstance(event, EventsLost)
        and event.subject_id in (None, producer_id)
        and all(map(_is_loss_key, event.by_trace))
    )


def _is_shallow(values: Iterable[Any]) -> bool:
    """Tell whether no value nests deeper than a frame may, level by level."""
    level = [value for value in values if type(value) in _CONTAINERS]
    depth = 0
    while level:
        depth += 1
        if depth > limits.FRAME_DEPTH:
            return False
        below: list[Any] = []
        for item in level:
            inner = cast("Iterable[Any]", item.values() if type(item) is dict else item)
            below.extend(v for v in inner if type(v) in _CONTAINERS)
        level = below
    return True


def _is_loss_key(key: str) -> bool:
    return key == "other" or is_trace_id(key)


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _nothing(event: Any) -> Iterable[Any]:
    return ()


def _value(event: Any) -> Iterable[Any]:
    return (event.value,)


def _attributes(event: Any) -> Iterable[Any]:
    return event.attributes.values()


_trace_id: Callable[[Any], str] = attrgetter("trace_id")
_span_id: Callable[[Any], str] = attrgetter("span_id")
_links: Callable[[Any], Iterable[Link]] = attrgetter("links")

_HOLDS: dict[type, Callable[[Any], Iterable[Any]]] = {
    SpanStarted: _attributes,
    AttributeSet: _value,
    AttributesSet: _attributes,
    EventAdded: _attributes,
    TextStreamed: _nothing,
    SpanUpdated: _nothing,
    SpanEnded: _nothing,
}
"""Events of a span, each with the values that it holds."""
