"""OTLP traces in protobuf: the few messages that there are, read and written by hand.

A reader of its own needs no generated code, and keeps one unreadable span from taking its
neighbours with it. Lengths are checked against what is there, so nothing is allocated on a claim.
Field numbers are those of opentelemetry-proto 1.x; fields that are not known are skipped.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from lumina_stream.formats.otlp import (
    TOO_MANY,
    Group,
    OtlpEvent,
    OtlpLink,
    OtlpSpan,
    Request,
    Resource,
    Scope,
    resource_of,
)
from lumina_stream.model import limits
from lumina_stream.model.errors import DecodeError

_DEPTH = 2 * limits.DEPTH
_double = struct.Struct("<d")
_fixed = struct.Struct("<Q")


def read(data: bytes) -> Request:
    """Return the spans of an ExportTraceServiceRequest; raise `DecodeError` if it is none.

    A span that cannot be read or taken is refused alone.
    """
    request = Request([], {})
    for number, value in _fields(data):
        if number == 1:
            _resource_spans(_message(value), request)
    return request


def _resource_spans(data: bytes, request: Request) -> None:
    attributes: dict[str, Any] = {}
    schema_url = ""
    scopes: list[bytes] = []
    for number, value in _fields(data):
        match number:
            case 1:
                attributes = _attributes_of(_message(value), 1)
            case 2:
                scopes.append(_message(value))
            case 3:
                schema_url = _text(value)
            case _:
                pass
    resource = resource_of(attributes, schema_url)
    for scope in scopes:
        _scope_spans(scope, resource, request)


def _scope_spans(data: bytes, resource: Resource, request: Request) -> None:
    scope, schema_url = b"", ""
    spans: list[OtlpSpan] = []
    for number, value in _fields(data):
        match number:
            case 1:
                scope = _message(value)
            case 2:
                if request.is_full:
                    request.refuse(TOO_MANY)
                    continue
                try:
                    span = _span(_message(value))
                except DecodeError as error:
                    request.refuse(f"unreadable span: {error}")
                    continue
                if request.take(span):
                    spans.append(span)
            case 3:
                schema_url = _text(value)
            case _:
                pass
    if spans:
        request.groups.append(Group(resource, _scope(scope, schema_url), spans))


def _scope(data: bytes, schema_url: str) -> Scope:
    name = version = ""
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            version = _text(value)
    return Scope(name, version, _attributes_of(data, 3), schema_url)


def _span(data: bytes) -> OtlpSpan:
    span = OtlpSpan("", "", attributes={}, events=[], links=[])
    attributes = span.attributes
    for number, value in _fields(data):
        match number:
            case 9:
                if len(attributes) >= limits.TREE_ATTRIBUTES:
                    span.dropped_attributes += 1
                    continue
                key, held = _key_value(_message(value))
                attributes[key] = held
            case 1:
                span.trace_id = _message(value).hex()
            case 2:
                span.span_id = _message(value).hex()
            case 3:
                span.trace_state = _text(value)
            case 4:
                span.parent_id = _parent(_message(value).hex())
            case 5:
                span.name = _text(value)
            case 6:
                span.kind = _integer(value)
            case 7:
                span.start_ns = _integer(value)
            case 8:
                span.end_ns = _integer(value)
            case 10:
                span.dropped_attributes += _integer(value)
            case 11:
                if len(span.events) < limits.SPAN_EVENTS:
                    span.events.append(_event(_message(value)))
                else:
                    span.dropped_events += 1
            case 12:
                span.dropped_events += _integer(value)
            case 13:
                if len(span.links) < limits.LINKS:
                    span.links.append(_link(_message(value)))
                else:
                    span.dropped_links += 1
            case 14:
                span.dropped_links += _integer(value)
            case 15:
                for inner, held in _fields(_message(value)):
                    if inner == 2:
                        span.message = _text(held)
                    elif inner == 3:
                        span.code = _integer(held)
            case 16:
                span.flags = _integer(value)
            case _:
                pass
    return span


def _parent(span_id: str) -> str | None:
    return span_id if span_id.strip("0") else None


def _event(data: bytes) -> OtlpEvent:
    event = OtlpEvent(0, "", {})
    for number, value in _fields(data):
        match number:
            case 1:
                event.time_ns = _integer(value)
            case 2:
                event.name = _text(value)
            case 3:
                key, held = _key_value(_message(value))
                event.attributes[key] = held
            case _:
                pass
    return event


def _link(data: bytes) -> OtlpLink:
    link = OtlpLink("", "", {})
    for number, value in _fields(data):
        match number:
            case 1:
                link.trace_id = _message(value).hex()
            case 2:
                link.span_id = _message(value).hex()
            case 3:
                link.trace_state = _text(value)
            case 4:
                key, held = _key_value(_message(value))
                link.attributes[key] = held
            case _:
                pass
    return link


def _attributes_of(data: bytes, field: int) -> dict[str, Any]:
    return dict(_key_value(_message(value)) for number, value in _fields(data) if number == field)


def _key_value(data: bytes, depth: int = 0) -> tuple[str, Any]:
    key, held = "", None
    for number, value in _fields(data):
        if number == 1:
            key = _text(value)
        elif number == 2:
            held = _any(_message(value), depth)
    return key, held


def _any(data: bytes, depth: int) -> Any:
    if depth > _DEPTH:
        return None  # far below what is kept: what stands above it is cut anyway
    found: Any = None
    for number, value in _fields(data):
        match number:
            case 1:
                found = _text(value)
            case 2:
                found = _integer(value) != 0
            case 3:
                whole = _integer(value)
                found = whole - (1 << 64) if whole >> 63 else whole
            case 4:
                found = _double.unpack(_fixed.pack(_integer(value)))[0]
            case 5:
                found = [
                    _any(_message(held), depth + 1)
                    for inner, held in _fields(_message(value))
                    if inner == 1
                ]
            case 6:
                found = dict(
                    _key_value(_message(held), depth + 1)
                    for inner, held in _fields(_message(value))
                    if inner == 1
                )
            case 7:
                found = _message(value)
            case _:
                pass
    return found


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of a message: an int for the numeric wire types, bytes for the other."""
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1)
        wire = tag & 7
        if wire == 2:
            if at >= end:
                raise DecodeError("truncated protobuf message")
            length = data[at]
            at += 1
            if length > 0x7F:
                length, at = _varint(data, at - 1)
            if length > end - at:
                raise DecodeError("truncated protobuf message")
            yield tag >> 3, data[at : at + length]
            at += length
        elif wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            if at + width > end:
                raise DecodeError("truncated protobuf message")
            yield tag >> 3, int.from_bytes(data[at : at + width], "little")
            at += width
        else:
            raise DecodeError(f"protobuf wire type {wire}")
        if tag < 8:
            raise DecodeError("protobuf field number 0")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    for byte in data[at : at + 10]:
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise DecodeError("truncated or overlong protobuf varint")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise DecodeError("protobuf field of the wrong type")
    return value


def _integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise DecodeError("protobuf field of the wrong type")
    return value


def _text(value: int | bytes) -> str:
    return _message(value).decode("utf-8", "replace")


def read_response(data: bytes) -> tuple[int, str]:
    """Return how many spans an ExportTraceServiceResponse refuses, and why; raise `DecodeError`."""
    refused, message = 0, ""
    for number, value in _fields(data):
        if number == 1:
            for inner, held in _fields(_message(value)):
                if inner == 1:
                    refused = _integer(held)
                elif inner == 2:
                    message = _text(held)
    return refused, message


# --- out -------------------------------------------------------------------------------------


def write(groups: list[Group]) -> bytes:
    """Return an ExportTraceServiceRequest."""
    return b"".join(_block(1, _write_group(group)) for group in groups)


def write_response(refused: int, message: str) -> bytes:
    """Return an ExportTraceServiceResponse; a whole success is empty."""
    if not refused and not message:
        return b""
    partial = (_number(1, refused) if refused else b"") + _string(2, message)
    return _block(1, partial)


def write_status(code: int, message: str) -> bytes:
    """Return a google.rpc.Status: how an error is answered."""
    return (_number(1, code) if code else b"") + _string(2, message)


def _write_group(group: Group) -> bytes:
    scope = (
        _string(1, group.scope.name)
        + _string(2, group.scope.version)
        + _key_values(3, group.scope.attributes)
    )
    spans = (
        _block(1, scope)
        + b"".join(_block(2, _write_span(span)) for span in group.spans)
        + _string(3, group.scope.schema_url)
    )
    resource = _key_values(1, group.resource.attributes)
    return _block(1, resource) + _block(2, spans) + _string(3, group.resource.schema_url)


def _write_span(span: OtlpSpan) -> bytes:
    status = _string(2, span.message) + (_number(3, span.code) if span.code else b"")
    parts = [
        _block(1, bytes.fromhex(span.trace_id)),
        _block(2, bytes.fromhex(span.span_id)),
        _string(3, span.trace_state),
        _block(4, bytes.fromhex(span.parent_id)) if span.parent_id else b"",
        _string(5, span.name),
        _number(6, span.kind) if span.kind else b"",
        b"\x39" + _fixed.pack(span.start_ns),
        b"\x41" + _fixed.pack(span.end_ns) if span.end_ns else b"",
        _key_values(9, span.attributes),
        _number(10, span.dropped_attributes) if span.dropped_attributes else b"",
        *(_block(11, _write_event(event)) for event in span.events),
        _number(12, span.dropped_events) if span.dropped_events else b"",
        *(_block(13, _write_link(link)) for link in span.links),
        _number(14, span.dropped_links) if span.dropped_links else b"",
        _block(15, status) if status else b"",
        b"\x85\x01" + span.flags.to_bytes(4, "little") if span.flags else b"",
    ]
    return b"".join(parts)


def _write_event(event: OtlpEvent) -> bytes:
    return (
        b"\x09"
        + _fixed.pack(event.time_ns)
        + _string(2, event.name)
        + _key_values(3, event.attributes)
    )


def _write_link(link: OtlpLink) -> bytes:
    return (
        _block(1, bytes.fromhex(link.trace_id))
        + _block(2, bytes.fromhex(link.span_id))
        + _string(3, link.trace_state)
        + _key_values(4, link.attributes)
    )


def _key_values(number: int, attributes: Mapping[str, Any]) -> bytes:
    return b"".join(
        _block(number, _string(1, key) + _block(2, _write_any(value)))
        for key, value in attributes.items()
    )


def _write_any(value: Any) -> bytes:
    match value:
        case None:
            return b""
        case str():
            return _block(1, value.encode("utf-8", "replace"))
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case int():
            return _number(3, value & 0xFFFF_FFFF_FFFF_FFFF)
        case float():
            return b"\x21" + _double.pack(value)
        case bytes():
            return _block(7, value)
        case dict():
            return _block(6, _key_values(1, value))  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            return _block(5, b"".join(_block(1, _write_any(item)) for item in value))  # pyright: ignore[reportUnknownVariableType]
        case _:
            return _block(1, str(value).encode("utf-8", "replace"))


def _block(number: int, data: bytes) -> bytes:
    return _write_varint(number << 3 | 2) + _write_varint(len(data)) + data


def _string(number: int, text: str) -> bytes:
    return _block(number, text.encode("utf-8", "replace")) if text else b""


def _number(number: int, value: int) -> bytes:
    return _write_varint(number << 3) + _write_varint(value)


def _write_varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
