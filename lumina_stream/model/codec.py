"""Events to bytes and back: MessagePack on the wire, JSON of the same Structs for browsers and people.

In JSON a value that JSON cannot carry exactly is a tagged string: `!int 9007199254740993`,
`!float nan`, `!bytes aGk=`; a string that itself looks like one is written `!str ...`. Only
attribute values are tagged: `time_ns` stays a number.
"""

import math
from binascii import a2b_base64, b2a_base64  # base64 itself imports more than it needs
from collections.abc import Sequence
from typing import Any

import msgspec

from lumina_stream.model import limits
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import (
    Event,
    Fact,
    KnownEvent,
    Link,
    SpanStarted,
    SpanUpdated,
    TimeNs,
    UnknownEvent,
)

_SAFE_INTEGER = 2**53
_TAGS = ("!int ", "!float ", "!bytes ", "!str ")

encode = msgspec.msgpack.Encoder().encode
"""Encode one event (or any Struct) as MessagePack bytes."""

_decode_event = msgspec.msgpack.Decoder(KnownEvent).decode
_decode_events = msgspec.msgpack.Decoder(list[KnownEvent]).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_encode_json = msgspec.json.Encoder().encode


class _Peek(msgspec.Struct, gc=False):
    type: str
    trace_id: str | None = None
    span_id: str | None = None
    time_ns: TimeNs = 0


_peek = msgspec.msgpack.Decoder(_Peek).decode
_peek_json = msgspec.json.Decoder(_Peek).decode
_decode_event_json = msgspec.json.Decoder(KnownEvent).decode

KNOWN_TYPES = frozenset(
    str(struct.__struct_config__.tag)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType, reportAttributeAccessIssue]
    for struct in KnownEvent.__args__
)


def decode(data: bytes | msgspec.Raw) -> Event:
    """Return the event in `data`; raise `DecodeError` when it is none. Types not known come raw."""
    try:
        return _decode_event(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _unknown(bytes(data), error)


def decode_array(data: bytes | msgspec.Raw) -> list[Event | None]:
    """Return the events of a MessagePack array; None stands for one that cannot be read.

    One bad event never takes its neighbours with it. Raises `DecodeError` if `data` is no array.
    """
    try:
        return _decode_events(data)  # pyright: ignore[reportReturnType]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return [_decode_or_none(raw) for raw in split_array(data)]


def split_array(data: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    """Return the raw elements of a MessagePack array."""
    try:
        return _split(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(f"events are not a MessagePack array: {error}") from None


def join_array(events: list[bytes] | list[msgspec.Raw]) -> bytes:
    """Return one MessagePack array of events that are encoded already."""
    return array_header(len(events)) + b"".join(events)


def join_arrays(arrays: Sequence[bytes]) -> bytes:
    """Return one MessagePack array of the elements of several; raise `DecodeError` if one is none."""
    count = sum(map(array_length, arrays))
    return array_header(count) + b"".join([data[_header_length(data) :] for data in arrays])


def _header_length(data: bytes) -> int:
    return {0xDC: 3, 0xDD: 5}.get(data[0], 1)


def array_header(count: int) -> bytes:
    """Return the MessagePack header of an array of `count` elements."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 65536:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def array_length(data: bytes | memoryview) -> int:
    """Return how many elements the header of a MessagePack array claims."""
    first = data[0] if len(data) else -1
    if 0x90 <= first <= 0x9F:
        return first & 0x0F
    if first == 0xDC and len(data) >= 3:
        return int.from_bytes(data[1:3], "big")
    if first == 0xDD and len(data) >= 5:
        return int.from_bytes(data[1:5], "big")
    raise DecodeError("events are not a MessagePack array")


def encode_json(event: Event) -> bytes:
    """Encode one event as a JSON object, values that JSON cannot carry as tagged strings."""
    return _encode_json(plain(event))


def decode_json(data: bytes | str) -> Event:
    """Return the event in a JSON object written by `encode_json`; raise `DecodeError` if none."""
    try:
        return _untagged(_decode_event_json(data))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        return _unknown_json(data, error)


def _untagged(event: KnownEvent) -> Event:
    for field in ("value", "attributes", "resource"):
        value = getattr(event, field, None)
        if value:
            setattr(event, field, untag(value))
    if isinstance(event, SpanStarted | SpanUpdated) and event.links:
        event.links = tuple(
            Link(link.trace_id, link.span_id, untag(link.attributes)) for link in event.links
        )
    return event


def plain(event: Event) -> dict[str, Any]:
    """Return the event as a dictionary that JSON can carry, `type` first."""
    if isinstance(event, UnknownEvent):
        return _plain_unknown(event)
    tagged: dict[str, Any] = {
        field: tag_value(getattr(event, field))
        for field in ("value", "attributes", "resource")
        if hasattr(event, field)
    }
    if isinstance(event, SpanStarted | SpanUpdated) and event.links:
        tagged["links"] = tuple(
            Link(link.trace_id, link.span_id, tag_value(link.attributes)) for link in event.links
        )
    return msgspec.to_builtins(msgspec.structs.replace(event, **tagged))


def plain_fact(fact: Fact) -> dict[str, Any]:
    """Return the fact as one flat dictionary: `type, offset, producer_id, seq, service`, then its own fields.

    Of one that is not stored, `offset` is 0 and `unstored` true.
    """
    fields = plain(fact.event)
    stands: dict[str, Any] = {
        "offset": fact.offset,
        "producer_id": fact.producer_id,
        "seq": fact.seq,
    }
    if not fact.offset:
        stands["unstored"] = True
    # What the log says of a fact is not the fact's to say.
    return {"type": fields["type"], **stands, "service": fact.service, **(fields | stands)}


def encode_fact_json(fact: Fact) -> bytes:
    """Encode a fact as one JSON object (see `plain_fact`)."""
    return _encode_json(plain_fact(fact))


def tag_value(value: Any) -> Any:
    """Return `value` with what JSON cannot carry written as tagged strings."""
    match value:
        case bool() | None:
            return value
        case str():
            return f"!str {value}" if value.startswith(_TAGS) else value
        case int():
            return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else f"!int {value}"
        case float():
            return value if math.isfinite(value) else f"!float {value}"
        case bytes():
            return "!bytes " + b2a_base64(value, newline=False).decode("ascii")
        case dict():
            return {str(k): tag_value(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case list() | tuple():
            return [tag_value(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return str(value)


def untag(value: Any, room: int = limits.FRAME_DEPTH) -> Any:
    """Return `value` with tagged strings turned back; a malformed tag stays the string it is.

    Raises `RecursionError` below `room` levels: how deep the interpreter itself would go differs
    from one version to the next.
    """
    match value:
        case str() if value.startswith(_TAGS):
            return _untag_string(value)
        case dict() | list() if not room:
            raise RecursionError(f"values nest deeper than {limits.FRAME_DEPTH} levels")
        case dict():
            return {k: untag(v, room - 1) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list():
            return [untag(v, room - 1) for v in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def _untag_string(text: str) -> Any:
    tag, _, rest = text.partition(" ")
    try:
        match tag:
            case "!int":
                return int(rest)
            case "!float":
                return float(rest)
            case "!bytes":
                return a2b_base64(rest, strict_mode=True)
            case _:
                return rest
    except ValueError:
        return text


_ENVELOPE = ("type", "trace_id", "span_id", "time_ns")


def _plain_unknown(event: UnknownEvent) -> dict[str, Any]:
    """Return an event whose fields are not known: all but its envelope may hold any value."""
    try:
        whole: Any = msgspec.msgpack.decode(event.raw)
        fields = {str(k): v if k in _ENVELOPE else tag_value(v) for k, v in whole.items()}
    except (msgspec.DecodeError, RecursionError, UnicodeError, AttributeError, TypeError):
        fields = {}
    return {"type": event.type, **fields}


def _unknown_json(data: bytes | str, error: Exception) -> UnknownEvent:
    try:
        peek = _peek_json(data)
        if peek.type in KNOWN_TYPES:
            raise DecodeError(f"not a valid {peek.type}: {error}")
        whole: dict[str, Any] = msgspec.json.decode(data)
        raw = encode({k: v if k in _ENVELOPE else untag(v) for k, v in whole.items()})
    except (msgspec.DecodeError, RecursionError, UnicodeError, OverflowError):
        raise DecodeError(f"not an event: {error}") from None
    return UnknownEvent(peek.type, raw, peek.trace_id, peek.span_id, peek.time_ns)


def _decode_or_none(raw: msgspec.Raw) -> Event | None:
    try:
        return decode(raw)
    except DecodeError:
        return None


def _unknown(data: bytes, error: Exception) -> UnknownEvent:
    try:
        peek = _peek(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise DecodeError(f"not an event: {error}") from None
    if peek.type in KNOWN_TYPES:
        raise DecodeError(f"not a valid {peek.type}: {error}")
    return UnknownEvent(peek.type, data, peek.trace_id, peek.span_id, peek.time_ns)
