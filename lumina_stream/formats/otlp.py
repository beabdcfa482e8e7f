"""OpenTelemetry spans to events and back, whatever they were written in.

`otlp_protobuf` and `otlp_json` read and write the two encodings; here is what the spans mean. A
span that comes whole becomes its start, its attributes as they stood at the end, its events and
its end; one without an end time is open. Resource and scope, links and trace state are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lumina_stream.formats.otlp_values import Bounded
from lumina_stream.model import limits
from lumina_stream.model import opentelemetry as names
from lumina_stream.model.events import (
    Attributes,
    AttributesSet,
    Channel,
    ErrorInfo,
    Event,
    EventAdded,
    Link,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.ids import is_span_id, is_trace_id
from lumina_stream.model.node import SpanNode
from lumina_stream.model.producers import IMPORTED_PREFIX

REASONS = 3
"""Distinct reasons that an answer names; the rest is only counted."""
REQUEST_ITEMS = 200_000
"""Spans, events and links of one request: an empty event is two bytes there and 150 here."""
TOO_MANY = f"more than {REQUEST_ITEMS:,} spans, events and links in one request"
CHUNK_BYTES = 40 * limits.KIB
"""Attributes of one event, encoded: with the largest value on top it stays below an event's limit."""
LINKS_BYTES = 32 * limits.KIB
"""Attributes of all links of a span: they travel with its start, in one event."""
TEXT_BYTES = limits.MIB
"""Streamed text that is taken back from an attribute; far above a whole answer."""

_MOST_NS = (1 << 63) - 1
_PIECE = 8 * limits.KIB
_CHANNELS = ("input", "output", "reasoning", "tool")
_EXCEPTION = (names.EXCEPTION_TYPE, names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE)
_PENDING, _PENDING_PARENT = "logfire.span_type", "logfire.pending_parent_id"
_REMOTE = 0x300  # flags: it is known whether the parent is remote, and it is
_HAS_REMOTE = 0x100


class Resource(msgspec.Struct, frozen=True):
    """What a program says of itself."""

    attributes: Attributes = {}
    schema_url: str = ""

    @property
    def service(self) -> str:
        """Return the service name, `unknown_service` (OpenTelemetry's default) where none is given."""
        name = self.attributes.get("service.name")
        return name if isinstance(name, str) and name else "unknown_service"


class Scope(msgspec.Struct, frozen=True):
    """The instrumentation that made spans."""

    name: str = ""
    version: str = ""
    attributes: Attributes = {}
    schema_url: str = ""


class OtlpEvent(msgspec.Struct):
    """An event of a span."""

    time_ns: int
    name: str
    attributes: Attributes = {}


class OtlpLink(msgspec.Struct):
    """A link of a span."""

    trace_id: str
    span_id: str
    attributes: Attributes = {}
    trace_state: str = ""


class OtlpSpan(msgspec.Struct):
    """A span as OTLP has it: ids in lower-case hex, an end of 0 while it is open."""

    trace_id: str
    span_id: str
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    parent_id: str | None = None
    kind: int = 0
    attributes: Attributes = {}
    events: list[OtlpEvent] = []
    links: list[OtlpLink] = []
    code: int = 0
    message: str = ""
    trace_state: str = ""
    flags: int = 0
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0


class Group(msgspec.Struct):
    """The spans of one scope of one resource."""

    resource: Resource
    scope: Scope
    spans: list[OtlpSpan]


class Request(msgspec.Struct):
    """What an export request holds, and what of it was refused, by reason."""

    groups: list[Group]
    refused: dict[str, int] = {}
    items: int = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no further span of this request may be read."""
        return self.items >= REQUEST_ITEMS

    def take(self, span: OtlpSpan) -> bool:
        """Tell whether a span may be taken; count it as refused if not."""
        self.items += 1 + len(span.events) + len(span.links)
        fault = TOO_MANY if self.items > REQUEST_ITEMS else fault_of(span)
        if fault is not None:
            self.refuse(fault)
        return fault is None

    def refuse(self, reason: str, count: int = 1) -> None:
        """Count refused spans."""
        if reason not in self.refused and len(self.refused) >= REASONS:
            reason = "other reasons"
        self.refused[reason] = self.refused.get(reason, 0) + count

    @property
    def refused_count(self) -> int:
        """Return how many spans were refused."""
        return sum(self.refused.values())

    def message(self) -> str:
        """Return the reasons as one text, empty if nothing was refused."""
        return "; ".join(f"{count} x {reason}" for reason, count in self.refused.items())


def producer_id(resource: Resource) -> str:
    """Return the id of the producer that a resource is: the same for the same attributes, always."""
    plain = msgspec.json.encode(resource.attributes, order="sorted")
    return IMPORTED_PREFIX + hashlib.sha256(plain).hexdigest()[:16]


def resource_of(attributes: Mapping[str, Any], schema_url: str = "") -> Resource:
    """Return a resource whose attributes are plain and within the limits."""
    bounded = Bounded(CHUNK_BYTES)
    return Resource(bounded.attributes(attributes)[0], schema_url[: limits.KEY_LENGTH])


# --- in --------------------------------------------------------------------------------------


def fault_of(span: OtlpSpan) -> str | None:
    """Return why a span cannot be taken, None if it can."""
    if not is_trace_id(span.trace_id):
        return "trace id is not 16 bytes, or all zero"
    if not is_span_id(span.span_id):
        return "span id is not 8 bytes, or all zero"
    if span.parent_id is not None and not is_span_id(span.parent_id):
        return "parent span id is not 8 bytes"
    if not 0 < span.start_ns <= _MOST_NS:
        return "start time is missing or out of range"
    if not 0 <= span.end_ns <= _MOST_NS:
        return "end time is out of range"
    return None


def events_of(span: OtlpSpan, scope: Scope) -> list[Event]:
    """Return what a span says as events, in the order of their meaning; it must have no fault.

    The attributes of an ended span are stamped with its end: an older copy of it (a pending span, or one
    that was exported while it was open) never wins over them, whichever comes first.
    """
    attributes = dict(span.attributes)
    span_id, parent_id, end_ns = span.span_id, span.parent_id, span.end_ns
    if attributes.get(_PENDING) == "pending_span" and parent_id is not None:
        # A Logfire pending span stands for its parent, which has just started.
        above = attributes.pop(_PENDING_PARENT, None)
        del attributes[_PENDING]
        span_id, end_ns = parent_id, 0
        parent_id = above if isinstance(above, str) and is_span_id(above) else None
    marks: dict[str, str] = {}
    trace_id, start_ns = span.trace_id, span.start_ns
    at_ns = end_ns or start_ns
    kind = names.kind_of(attributes, span.kind)
    attributes.pop(names.KIND, None)
    own_status = attributes.pop(names.STATUS, None)
    texts = _texts(attributes)
    _add_beside(attributes, span, scope)
    started = SpanStarted(
        trace_id,
        span_id,
        start_ns,
        _cut(span.name, limits.NAME_LENGTH, "@name", marks),
        parent_id,
        kind if kind is None else kind[: limits.KEY_LENGTH],
        links=_links(span),
        remote_parent=span.flags & _REMOTE == _REMOTE,
        marks=marks or None,
    )
    found: list[Event] = [started]
    chunks = _chunks(attributes)
    if chunks and not end_ns and not started.links:
        started.attributes, said = chunks.pop(0)
        if said or marks:
            started.marks = marks | said
    found += [AttributesSet(trace_id, span_id, at_ns, a, said or None) for a, said in chunks]
    for channel, text in texts:
        found += [
            TextStreamed(trace_id, span_id, at_ns, channel, index, text[at : at + _PIECE])
            for index, at in enumerate(range(0, len(text), _PIECE))
        ]
    found += _added(span, span_id)
    if end_ns:
        found.append(_ended(span, span_id, end_ns, own_status))
    return found


def _add_beside(attributes: Attributes, span: OtlpSpan, scope: Scope) -> None:
    """Keep as attributes what an event has no field for."""
    beside: dict[str, Any] = {
        names.SCOPE_NAME: scope.name,
        names.SCOPE_VERSION: scope.version,
        names.SCOPE_ATTRIBUTES: scope.attributes,
        names.SCOPE_SCHEMA: scope.schema_url,
        names.SPAN_KIND: names.SPAN_KINDS[span.kind] if 2 <= span.kind <= 5 else "",
        names.TRACE_STATE: span.trace_state,
        names.STATUS_CODE: "OK" if span.code == names.STATUS_OK else "",
        names.DROPPED_ATTRIBUTES: span.dropped_attributes
        + max(0, len(attributes) - limits.TREE_ATTRIBUTES + 10),
        names.DROPPED_EVENTS: span.dropped_events + max(0, len(span.events) - limits.SPAN_EVENTS),
        names.DROPPED_LINKS: span.dropped_links + max(0, len(span.links) - limits.LINKS),
    }
    while len(attributes) > limits.TREE_ATTRIBUTES - 10:
        attributes.popitem()
    attributes.update({key: value for key, value in beside.items() if value})


def _chunks(attributes: Attributes) -> list[tuple[Attributes, dict[str, str]]]:
    """Return plain attributes in parts that fit an event each, with what was done to them."""
    chunks: list[tuple[Attributes, dict[str, str]]] = []
    size = CHUNK_BYTES
    for key, value in attributes.items():
        bounded = Bounded()
        short = bounded.key(key)
        plain = bounded.value(value, short)
        if size + bounded.used > CHUNK_BYTES:
            chunks.append(({}, {}))
            size = 0
        size += bounded.used
        chunks[-1][0][short] = plain
        if bounded.marks:
            chunks[-1][1].update(bounded.marks)
    return chunks


def _links(span: OtlpSpan) -> tuple[Link, ...]:
    if not span.links:
        return ()
    bounded = Bounded(LINKS_BYTES)
    found: list[Link] = []
    for link in span.links[: limits.LINKS]:
        if is_trace_id(link.trace_id) and is_span_id(link.span_id):
            attributes, _ = bounded.attributes(link.attributes)
            if link.trace_state:
                attributes[names.TRACE_STATE] = link.trace_state[: limits.KEY_LENGTH]
            found.append(Link(link.trace_id, link.span_id, attributes))
    return tuple(found)


def _added(span: OtlpSpan, span_id: str) -> list[Event]:
    found: list[Event] = []
    taken: set[tuple[str, bytes, int]] = set()
    following: dict[tuple[str, bytes, int], int] = {}
    for event in span.events[: limits.SPAN_EVENTS]:
        attributes, marks = Bounded().attributes(event.attributes)
        name = _cut(event.name, limits.NAME_LENGTH, "@name", marks)
        at = event.time_ns if 0 < event.time_ns <= _MOST_NS else span.start_ns
        # Copies of a span are told by their content: twins within one span must differ in time,
        # and differ in the same way in every copy.
        content = msgspec.msgpack.encode(attributes)
        told_ns = at
        at = following.get((name, content, told_ns), told_ns)
        while (name, content, at) in taken and at < _MOST_NS:
            at += 1
        taken.add((name, content, at))
        following[name, content, told_ns] = at
        found.append(EventAdded(span.trace_id, span_id, at, name, attributes, marks or None))
    return found


def _ended(span: OtlpSpan, span_id: str, end_ns: int, own_status: Any) -> SpanEnded:
    exception = next(
        (e.attributes for e in reversed(span.events) if e.name == names.EXCEPTION), None
    )
    status, error = names.ending_of(span.code, span.message, exception, own_status)
    marks: dict[str, str] = {}
    if error is not None:
        stack = error.stacktrace
        if len(stack) > limits.STACK_LENGTH:
            marks["@stacktrace"] = f"cut:{len(stack)}"
            stack = stack[-limits.STACK_LENGTH :]
        error = ErrorInfo(
            error.type[: limits.KEY_LENGTH],
            _cut(error.message, limits.MESSAGE_LENGTH, "@message", marks),
            stack,
        )
    return SpanEnded(span.trace_id, span_id, end_ns, status, error, marks=marks or None)


def _texts(attributes: Attributes) -> list[tuple[Channel, str]]:
    found: list[tuple[Channel, str]] = []
    for channel in _CHANNELS:
        text = attributes.get(names.TEXT + channel)
        if isinstance(text, str):
            del attributes[names.TEXT + channel]
            found.append((channel, text[:TEXT_BYTES]))
    return found


def _cut(text: str, length: int, path: str, marks: dict[str, str]) -> str:
    if len(text) <= length:
        return text
    marks[path] = f"cut:{len(text)}"
    return text[:length]


# --- out -------------------------------------------------------------------------------------


def span_of(trace_id: str, node: SpanNode) -> tuple[Scope, OtlpSpan]:
    """Return a span that has started, and its scope, as OTLP has them; an open one has no end."""
    from lumina_stream.version import __version__

    attributes = node.attributes
    take = _Taking(attributes)
    scope = Scope(
        take.text(names.SCOPE_NAME),
        take.text(names.SCOPE_VERSION),
        take.mapping(names.SCOPE_ATTRIBUTES),
        take.text(names.SCOPE_SCHEMA),
    )
    if not scope.name:
        scope = Scope("lumina_stream", __version__)
    kind = take.text(names.SPAN_KIND)
    number = names.SPAN_KINDS.index(kind) if kind in names.SPAN_KINDS[1:] else 0
    code = names.STATUS_OK if take.text(names.STATUS_CODE) == "OK" else names.STATUS_UNSET
    span = OtlpSpan(
        trace_id,
        node.span_id,
        node.name,
        node.start_ns or 0,
        node.end_ns or 0,
        node.parent_id,
        number or _default_kind(node.kind),
        attributes,
        [OtlpEvent(e.time_ns, e.name, e.attributes) for e in node.event_list()],
        [_link_out(link) for link in node.link_list()],
        code,
        "",
        take.text(names.TRACE_STATE),
        _REMOTE if node.remote_parent else _HAS_REMOTE,
        take.count(names.DROPPED_ATTRIBUTES),
        take.count(names.DROPPED_EVENTS),
        take.count(names.DROPPED_LINKS),
    )
    if node.kind is not None and names.kind_of(attributes) != node.kind:
        attributes[names.KIND] = node.kind
    if node.status in ("cancelled", "abandoned"):
        attributes[names.STATUS] = node.status
    for channel in node.text_channels():
        attributes[names.TEXT + channel] = node.text(channel)
    if node.status == "error":
        span.code = names.STATUS_ERROR
    if node.error is not None:
        span.message = node.error.message or node.error.type
        if not any(event.name == names.EXCEPTION for event in span.events):
            span.events.append(OtlpEvent(span.end_ns, names.EXCEPTION, _exception(node.error)))
    return scope, span


def groups_of(
    spans: Sequence[tuple[str, SpanNode]], resource: Callable[[str], Resource]
) -> list[Group]:
    """Return started spans (trace id, node) by resource and scope; `resource` tells a producer's."""
    found: dict[tuple[str, bytes], Group] = {}
    for trace_id, node in spans:
        if node.producer_id is None:
            continue
        scope, span = span_of(trace_id, node)
        key = (node.producer_id, msgspec.msgpack.encode(scope))
        group = found.get(key)
        if group is None:
            group = found[key] = Group(resource(node.producer_id), scope, [])
        group.spans.append(span)
    return list(found.values())


class _Taking:
    """Take attributes that stand for fields out of a dictionary."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes

    def text(self, key: str) -> str:
        value = self._attributes.get(key)
        return self._attributes.pop(key) if isinstance(value, str) else ""

    def count(self, key: str) -> int:
        value = self._attributes.get(key)
        is_count = type(value) is int and 0 <= value < 1 << 32
        return self._attributes.pop(key) if is_count else 0

    def mapping(self, key: str) -> Attributes:
        value = self._attributes.get(key)
        return self._attributes.pop(key) if isinstance(value, dict) else {}


def _default_kind(kind: str | None) -> int:
    # What leaves the program is a client's span to OpenTelemetry.
    return {"llm": 3, "embedding": 3, "rerank": 3, "http": 3, "db": 3, "server": 2}.get(
        kind or "", 1
    )


def _link_out(link: Link) -> OtlpLink:
    attributes = dict(link.attributes)
    state = _Taking(attributes).text(names.TRACE_STATE)
    return OtlpLink(link.trace_id, link.span_id, attributes, state)


def _exception(error: ErrorInfo) -> Attributes:
    said = (error.type, error.message, error.stacktrace)
    return {key: value for key, value in zip(_EXCEPTION, said, strict=True) if value}
