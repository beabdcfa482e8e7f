"""OTLP traces in JSON: ids in hex, enums by name or number, 64-bit integers as text or number.

Spans are decoded one by one, so that an unreadable one does not take its neighbours with it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from lumina_stream.formats.otlp import (
    TOO_MANY,
    Group,
    OtlpEvent,
    OtlpLink,
    OtlpSpan,
    Request,
    Scope,
    resource_of,
)
from lumina_stream.model import limits
from lumina_stream.model.errors import DecodeError

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES = ("UNSET", "OK", "ERROR")
MOST_OBJECTS = 1_000_000
"""Counted on the bytes before decoding: three of them can make a hundred."""

_Number = int | float | str | None
_DEPTH = 2 * limits.DEPTH


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Number = None
    double_value: _Number = None
    array_value: _Array | None = None
    kvlist_value: _Map | None = None
    bytes_value: str | None = None


class _Array(msgspec.Struct):
    values: list[_Value | None] | None = None


class _KeyValue(msgspec.Struct):
    key: str = ""
    value: _Value | None = None


class _Map(msgspec.Struct):
    values: list[_KeyValue] | None = None


class _Resource(msgspec.Struct):
    attributes: list[_KeyValue] | None = None


class _Scope(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    attributes: list[_KeyValue] | None = None


class _Event(msgspec.Struct, rename="camel"):
    time_unix_nano: _Number = None
    name: str | None = None
    attributes: list[_KeyValue] | None = None


class _Link(msgspec.Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    attributes: list[_KeyValue] | None = None


class _Status(msgspec.Struct):
    message: str | None = None
    code: _Number = None


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    parent_span_id: str | None = None
    flags: _Number = None
    name: str | None = None
    kind: _Number = None
    start_time_unix_nano: _Number = None
    end_time_unix_nano: _Number = None
    attributes: list[_KeyValue] | None = None
    dropped_attributes_count: _Number = None
    events: list[_Event] | None = None
    dropped_events_count: _Number = None
    links: list[_Link] | None = None
    dropped_links_count: _Number = None
    status: _Status | None = None


class _ScopeSpans(msgspec.Struct, rename="camel"):
    scope: _Scope | None = None
    spans: list[msgspec.Raw] | None = None
    schema_url: str | None = None


class _ResourceSpans(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None
    schema_url: str | None = None


class _Request(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None


class TooBig(DecodeError):
    """A request holds more than is decoded at all."""


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_span = msgspec.json.Decoder(_Span).decode


def read(data: bytes) -> Request:
    """Return the spans of an export request in JSON; raise `DecodeError` if it is none.

    A span that cannot be read or taken is refused alone.
    """
    if data.count(b"{") > MOST_OBJECTS or data.count(b",") > MOST_OBJECTS:
        raise TooBig(f"more than {MOST_OBJECTS:,} objects in one request")
    try:
        return _read(_decode_request(data))
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise DecodeError(f"not an OTLP request in JSON: {error}") from None


def _read(decoded: _Request) -> Request:
    request = Request([], {})
    for part in decoded.resource_spans or ():
        attributes = {} if part.resource is None else _attributes(part.resource.attributes)
        resource = resource_of(attributes, part.schema_url or "")
        for scoped in part.scope_spans or ():
            spans: list[OtlpSpan] = []
            for raw in scoped.spans or ():
                span = _take(raw, request)
                if span is not None:
                    spans.append(span)
            if spans:
                said = scoped.scope or _Scope()
                scope = Scope(
                    said.name or "",
                    said.version or "",
                    _attributes(said.attributes),
                    scoped.schema_url or "",
                )
                request.groups.append(Group(resource, scope, spans))
    return request


def _take(raw: msgspec.Raw, request: Request) -> OtlpSpan | None:
    if request.is_full:
        request.refuse(TOO_MANY)
        return None
    try:
        span = _span(_decode_span(raw))
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        request.refuse(f"unreadable span: {error}"[: limits.KEY_LENGTH])
        return None
    return span if request.take(span) else None


def _span(said: _Span) -> OtlpSpan:
    status = said.status or _Status()
    parent_id = _id(said.parent_span_id, 8)
    return OtlpSpan(
        _id(said.trace_id, 16),
        _id(said.span_id, 8),
        said.name or "",
        _integer(said.start_time_unix_nano),
        _integer(said.end_time_unix_nano),
        parent_id if parent_id.strip("0") else None,
        _enum(said.kind, "SPAN_KIND_", _KINDS),
        _attributes(said.attributes),
        [
            OtlpEvent(_integer(e.time_unix_nano), e.name or "", _attributes(e.attributes))
            for e in said.events or ()
        ],
        [
            OtlpLink(
                _id(link.trace_id, 16),
                _id(link.span_id, 8),
                _attributes(link.attributes),
                link.trace_state or "",
            )
            for link in said.links or ()
        ],
        _enum(status.code, "STATUS_CODE_", _CODES),
        status.message or "",
        said.trace_state or "",
        _integer(said.flags),
        _integer(said.dropped_attributes_count),
        _integer(said.dropped_events_count),
        _integer(said.dropped_links_count),
    )


def _id(text: str | None, width: int) -> str:
    """Return an id in lower-case hex; base64, which plain protobuf-to-JSON writers emit, is told by its length."""
    if not text:
        return ""
    if len(text) == (width + 2) // 3 * 4 and len(text) != 2 * width:
        try:
            return base64.b64decode(text, validate=True).hex()
        except (binascii.Error, ValueError):
            return text
    return text.lower()


def _integer(value: _Number) -> int:
    return 0 if value is None or value == "" else int(value)


def _enum(value: _Number, prefix: str, known: tuple[str, ...]) -> int:
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        name = value.upper().removeprefix(prefix)
        return known.index(name) if name in known else 0
    return _integer(value)


def _attributes(said: list[_KeyValue] | None) -> dict[str, Any]:
    return {} if not said else {item.key: _plain(item.value, 0) for item in said}


def _plain(value: _Value | None, depth: int) -> Any:
    if value is None or depth > _DEPTH:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return int(value.int_value)
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return float(value.double_value)
    if value.array_value is not None:
        return [_plain(item, depth + 1) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return {i.key: _plain(i.value, depth + 1) for i in value.kvlist_value.values or ()}
    if value.bytes_value is not None:
        return base64.b64decode(value.bytes_value)
    return None


# --- out -------------------------------------------------------------------------------------


def write(groups: list[Group]) -> bytes:
    """Return groups as one TracesData object on one line."""
    return msgspec.json.encode({"resourceSpans": [_write_group(group) for group in groups]})


def write_response(refused: int, message: str) -> bytes:
    """Return an export response; a whole success is an empty object."""
    if not refused and not message:
        return b"{}"
    partial = {"rejectedSpans": str(refused), "errorMessage": message}
    return msgspec.json.encode({"partialSuccess": partial})


def write_status(code: int, message: str) -> bytes:
    """Return a google.rpc.Status: how an error is answered."""
    return msgspec.json.encode({"code": code, "message": message})


def _write_group(group: Group) -> dict[str, Any]:
    scope = _lean(
        name=group.scope.name,
        version=group.scope.version,
        attributes=_write_attributes(group.scope.attributes),
    )
    scoped = _lean(
        scope=scope, spans=[_write_span(s) for s in group.spans], schemaUrl=group.scope.schema_url
    )
    return {
        "resource": {"attributes": _write_attributes(group.resource.attributes)},
        "scopeSpans": [scoped],
        **_lean(schemaUrl=group.resource.schema_url),
    }


def _write_span(span: OtlpSpan) -> dict[str, Any]:
    return _lean(
        traceId=span.trace_id,
        spanId=span.span_id,
        traceState=span.trace_state,
        parentSpanId=span.parent_id,
        flags=span.flags,
        name=span.name,
        kind=span.kind,
        startTimeUnixNano=str(span.start_ns),
        endTimeUnixNano=str(span.end_ns) if span.end_ns else None,
        attributes=_write_attributes(span.attributes),
        droppedAttributesCount=span.dropped_attributes,
        events=[
            _lean(
                timeUnixNano=str(event.time_ns),
                name=event.name,
                attributes=_write_attributes(event.attributes),
            )
            for event in span.events
        ],
        droppedEventsCount=span.dropped_events,
        links=[
            _lean(
                traceId=link.trace_id,
                spanId=link.span_id,
                traceState=link.trace_state,
                attributes=_write_attributes(link.attributes),
            )
            for link in span.links
        ],
        droppedLinksCount=span.dropped_links,
        status=_lean(message=span.message, code=span.code),
    )


def _lean(**fields: Any) -> dict[str, Any]:
    """Return the fields that say something: JSON of protobuf leaves defaults out."""
    return {key: value for key, value in fields.items() if value}


def _write_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _write_any(value)} for key, value in attributes.items()]


def _write_any(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case bytes():
            return {"bytesValue": base64.b64encode(value).decode("ascii")}
        case dict():
            return {"kvlistValue": {"values": _write_attributes(value)}}  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            return {"arrayValue": {"values": [_write_any(item) for item in value]}}  # pyright: ignore[reportUnknownVariableType]
        case _:
            return {"stringValue": str(value)}
