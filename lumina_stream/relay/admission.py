"""Which events of a batch count: decode them once, and refuse what no tree should see.

A refused event keeps its seq and its place in the log, so that acknowledgement stays dense; it is
counted, and neither applied nor handed on. The same rules read the log back, so that a replay
agrees with what was live. Pure.
"""

from typing import Any

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    Event,
    EventAdded,
    EventsLost,
    ProducerEvent,
    SpanStarted,
    UnknownEvent,
)
from lumina_stream.model.ids import is_span_id, is_trace_id
from lumina_stream.protocol import guards

RELAY_PREFIX = "relay-"
"""Producer ids of relays begin with it; no other producer may say what became of a producer."""

_MAX_INT = (1 << 63) - 1
_PRODUCER_EVENTS = ProducerEvent.__args__
_CONTAINERS = (dict, list)


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """The events of a batch, None for each refused one, and the distinct trace ids among them."""

    events: list[Event | None]
    trace_ids: tuple[str, ...]
    refused: int


def is_relay(producer_id: str) -> bool:
    """Tell whether a producer id is a relay's own."""
    return producer_id.startswith(RELAY_PREFIX)


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
    relay = is_relay(producer_id)
    traces: dict[str, None] = {}
    spans: set[str] = set()  # ids repeat within a batch: each is looked at once
    refused = 0
    for index, event in enumerate(events):
        if event is not None:
            if isinstance(event, _PRODUCER_EVENTS):
                if relay or (
                    isinstance(event, EventsLost)
                    and event.subject_id in (None, producer_id)
                    and all(map(_is_loss_key, event.by_trace))
                ):
                    continue
            elif _is_sound(event, traces, spans):
                continue
            events[index] = None
        refused += 1
    return Admitted(events, tuple(traces), refused)


def _is_sound(event: Any, traces: dict[str, None], spans: set[str]) -> bool:
    if isinstance(event, UnknownEvent):
        if guards.is_too_deep(event.raw):
            return False
        if event.trace_id is None:
            return True
    trace_id, span_id = event.trace_id, event.span_id
    if trace_id not in traces and not is_trace_id(trace_id):
        return False
    if span_id not in spans:
        if span_id is None or not is_span_id(span_id):
            return isinstance(event, UnknownEvent) and span_id is None
        spans.add(span_id)
    match event:
        case AttributeSet(value=value):
            if isinstance(value, _CONTAINERS) and _is_too_deep(value):
                return False
        case SpanStarted(parent_id=parent_id):
            if parent_id is not None and parent_id not in spans and not is_span_id(parent_id):
                return False
            if event.attributes and _is_too_deep(event.attributes):
                return False
            if any(_is_too_deep(link.attributes) for link in event.links):
                return False
        case AttributesSet() | EventAdded():
            if event.attributes and _is_too_deep(event.attributes):
                return False
        case _:
            pass
    traces[trace_id] = None
    return True


def _is_too_deep(value: Any) -> bool:
    """Tell whether a decoded value nests deeper than a frame may, level by level."""
    level: list[Any] = [value]
    for _ in range(limits.FRAME_DEPTH):
        below: list[Any] = []
        for item in level:
            inner: Any = item.values() if isinstance(item, dict) else item
            below.extend(v for v in inner if isinstance(v, _CONTAINERS))
        if not below:
            return False
        level = below
    return True


def _is_loss_key(key: str) -> bool:
    return key == "other" or is_trace_id(key)
