"""Which events of a batch count: decode them once, and refuse what no tree should see.

A refused event keeps its seq and its place in the log, so that acknowledgement stays dense; it is
counted, and neither applied nor handed on. The same rules read the log back, so that a replay
agrees with what was live. Pure.
"""

from collections.abc import Callable, Iterable
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
    SpanEnded,
    SpanEvent,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
    UnknownEvent,
)
from lumina_stream.model.ids import is_span_id, is_trace_id
from lumina_stream.model.producers import is_imported
from lumina_stream.protocol import guards

RELAY_PREFIX = "relay-"
"""Producer ids of relays begin with it; no other producer may say what became of a producer."""

_MAX_INT = (1 << 63) - 1
_CONTAINERS = frozenset((dict, list))


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


def admit(data: bytes, producer_id: str) -> Admitted:
    """Decode a MessagePack array of events and refuse those that break a rule.

    Refused are events that cannot be read, whose ids are no W3C ids, that nest too deep, or in
    which a producer speaks of another one. Raises `DecodeError` if `data` is no array.
    """
    events = codec.decode_array(data)
    traces: dict[str, None] = {}
    spans: set[str] = set()  # ids repeat within a batch: each is looked at once
    refused = 0
    for index, event in enumerate(events):
        holds = _HOLDS.get(type(event))
        if holds is None:
            sound = event is not None and _is_sound_other(event, producer_id, traces)
        else:
            # On the way of every event, hence in line.
            span_event = cast("SpanEvent", event)
            trace_id, span_id = span_event.trace_id, span_event.span_id
            sound = (
                (trace_id in traces or is_trace_id(trace_id))
                and (span_id in spans or is_span_id(span_id))
                and (holds is _nothing or _is_shallow(holds(event)))
                and (type(event) is not SpanStarted or _has_sound_edges(event, spans))
            )
            if sound:
                traces[trace_id] = None
                spans.add(span_id)
        if not sound:
            events[index] = None
            refused += 1
    return Admitted(events, tuple(traces), refused)


def _has_sound_edges(event: SpanStarted, spans: set[str]) -> bool:
    parent_id = event.parent_id
    if parent_id is not None and parent_id not in spans and not is_span_id(parent_id):
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


def _nothing(event: Any) -> Iterable[Any]:
    return ()


def _value(event: Any) -> Iterable[Any]:
    return (event.value,)


def _attributes(event: Any) -> Iterable[Any]:
    return event.attributes.values()


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
