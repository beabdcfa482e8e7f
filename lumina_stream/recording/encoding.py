"""Events as bytes, composed of parts that are encoded already.

What comes out is what `codec.encode` makes of the Structs in `model.events`, byte for byte: a map
that begins with `type`, `trace_id`, `span_id` and `time_ns`, and goes on with the fields that are
not at their defaults. Ids, names and keys are the same in event after event, so a span keeps the
bytes of its ids (its *head*, up to the number that `time_ns` is), and the recorder those of names
and keys. An event is then one `join`.
"""

from __future__ import annotations

import os
from binascii import hexlify
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Any, TypeAlias

from lumina_stream.model.codec import decode, encode
from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    ErrorInfo,
    EventAdded,
    Link,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
)

Opening: TypeAlias = tuple[bytes, ...]
"""How an event of a type begins, by the number of fields after `time_ns`."""

_TRACE = encode("trace_id") + b"\xd9\x20"  # a string of 32
_SPAN = encode("span_id") + b"\xb0"  # a string of 16
_TIME = encode("time_ns") + b"\xcf"  # an unsigned integer of 8 bytes
_TRACE_ID = slice(len(_TRACE), len(_TRACE) + 32)
_SPAN_ID = slice(_TRACE_ID.stop + len(_SPAN), _TRACE_ID.stop + len(_SPAN) + 16)
_TIME_AT = _SPAN_ID.stop + len(_TIME)
TRACE_PART = slice(_TRACE_ID.stop)
"""Where a head says which trace: what the heads of a parent and its children share."""
SPAN_ID = _SPAN_ID
"""Where a head has the span id's 16 digits."""
SAMPLED_BY = slice(_TRACE_ID.start + 18, _TRACE_ID.stop)
"""Where a head has the digits of the trace id that sampling decides by."""


def _opening(event_type: str) -> Opening:
    tag = encode("type") + encode(event_type)
    return tuple(bytes((0x84 + more,)) + tag for more in range(12))


STARTED = _opening("span_started")
ATTRIBUTE_SET = _opening("attribute_set")
ATTRIBUTES_SET = _opening("attributes_set")
EVENT_ADDED = _opening("event_added")
TEXT_STREAMED = _opening("text_streamed")
UPDATED = _opening("span_updated")
ENDED = _opening("span_ended")

NAME, KIND, KEY, VALUE, CHANNEL, INDEX, TEXT = map(
    encode, ("name", "kind", "key", "value", "channel", "index", "text")
)
ATTRIBUTES, LINKS, MARKS, STATUS, ERROR = map(
    encode, ("attributes", "links", "marks", "status", "error")
)
PARENT = encode("parent_id") + b"\xb0"
REMOTE_PARENT = encode("remote_parent") + b"\xc3"
"""Keys, with what is the same in all their values. A field is a key and an encoded value."""


def compose(opening: Opening, head: bytes, time_ns: int, fields: Iterable[bytes]) -> bytes:
    """Return one event. `fields` are those after `time_ns`, in the order of the Struct's."""
    parts = [b"", head, time_ns.to_bytes(8, "big"), *fields]
    parts[0] = opening[len(parts) - 3]
    return b"".join(parts)


def packer(opening: Opening) -> Callable[[bytes, bytes, int], bytes]:
    """Return what writes an opening, a head and a time: in one call, what all events begin with."""
    return Struct(f">{len(opening[0])}s{_TIME_AT}sQ").pack


def head_of(trace_id: str, span_id: str) -> bytes:
    """Return the head of a span with these ids: lower-case hex, 32 and 16 digits."""
    return b"".join((_TRACE, trace_id.encode(), _SPAN, span_id.encode(), _TIME))


def trace_id_of(head: bytes) -> str:
    """Return the trace id in a head."""
    return head[_TRACE_ID].decode()


def span_id_of(head: bytes) -> str:
    """Return the span id in a head."""
    return head[_SPAN_ID].decode()


_POOL = 512
"""Ids drawn at once: a system call a span would cost more than the rest of starting it."""
_ZEROS, _BREAK = b"0" * 16, b"\n"


class Heads:
    """Draw ids from the system's randomness, a pool of the parts of heads at a time.

    `pop_trace` and `pop_span` are the pools' own `pop`: they raise IndexError where `trace` and
    `span` fill the pool first. Safe in threads and in signal handlers.
    """

    __slots__ = ("_random", "_spans", "_traces", "pop_span", "pop_trace")

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._traces: list[bytes] = []
        self._spans: list[bytes] = []
        self.pop_trace: Callable[[], bytes] = self._traces.pop
        """Return the `TRACE_PART` of the heads of a new trace."""
        self.pop_span: Callable[[], bytes] = self._spans.pop
        """Return what follows a head's `TRACE_PART`: the head of one more span in that trace."""

    def trace(self) -> bytes:
        """Return what `pop_trace` does."""
        while True:
            try:
                return self._traces.pop()
            except IndexError:
                self._traces.extend(self._drawn(_TRACE, 16, b""))

    def span(self) -> bytes:
        """Return what `pop_span` does."""
        while True:
            try:
                return self._spans.pop()
            except IndexError:
                self._spans.extend(self._drawn(_SPAN, 8, _TIME))

    def forget(self) -> None:
        """Drop what is in the pools: for the child of a fork, which must not repeat its parent."""
        self._traces.clear()
        self._spans.clear()

    def _drawn(self, before: bytes, size: int, after: bytes) -> list[bytes]:
        """Return ids of `size` random bytes as hex, each with what stands around it."""
        digits = hexlify(self._random(size * _POOL), _BREAK, size)
        between = after + _BREAK + before
        drawn = (before + digits.replace(_BREAK, between) + after).split(_BREAK)
        # Half of a trace's id may have to serve as a span's.
        return [part for part in drawn if _ZEROS not in part] if _ZEROS in digits else drawn


_REMEMBERED = 4096


def remember(fields: dict[str, bytes], text: str, field: bytes) -> None:
    """Keep a text's field. Texts made of data are without number, so now and then all are forgotten."""
    if len(fields) >= _REMEMBERED:
        fields.clear()
    fields[text] = field


def fitted(data: bytes, most: int) -> bytes:
    """Return an event that is larger than `most` bytes with what is bulky left out, marked with its size.

    Empty if that is not enough: a frame must hold it.
    """
    event = decode(data)
    mark = f"cut:{len(data)} bytes"
    match event:
        case SpanStarted() | EventAdded() | AttributesSet():
            kept: dict[str, Any] = {}
            room = most // 2
            for key, value in event.attributes.items():
                room -= len(encode(value)) + len(key)
                if room < 0:
                    break
                kept[key] = value
            event.attributes = kept
            event.marks = {"@attributes": mark}
            if isinstance(event, SpanStarted):
                event.links = _bare(event.links)
        case SpanUpdated():
            event.links = _bare(event.links)
        case AttributeSet():
            event.value = "…"
            event.marks = {event.key: mark}
        case SpanEnded(error=ErrorInfo() as error):
            event.error = ErrorInfo(error.type, error.message[:1000], error.stacktrace[-4000:])
        case _:
            pass
    data = encode(event)
    return data if len(data) <= most else b""


def _bare(links: tuple[Link, ...]) -> tuple[Link, ...]:
    """Return links without their attributes."""
    return tuple(Link(link.trace_id, link.span_id) for link in links)
