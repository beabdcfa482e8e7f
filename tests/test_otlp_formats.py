"""OTLP in both encodings: against opentelemetry-proto where it is there, by hand where it is not."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.formats import otlp, otlp_json, otlp_protobuf
from lumina_stream.formats.otlp import Group, OtlpEvent, OtlpLink, OtlpSpan, Resource, Scope
from lumina_stream.model import codec, limits
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import (
    AttributesSet,
    EventAdded,
    EventsLost,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.tree import TraceTree

EXAMPLE = Path(__file__).parents[2] / "shared" / "data" / "otlp" / "trace.json"
TRACE, SPAN, PARENT = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "eee19b7ec3c1b173"
PRODUCER = "+otlp-0123456789abcdef"


def whole_span(**fields: Any) -> OtlpSpan:
    """Return a span in which every field says something."""
    said: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "name": "work",
        "start_ns": 10,
        "end_ns": 90,
        "parent_id": PARENT,
        "kind": 3,
        "attributes": {
            "s": "text",
            "b": True,
            "i": -(2**63),
            "f": 0.25,
            "l": [1, "two", [3.5]],
            "m": {"k": {"n": None}},
        },
        "events": [OtlpEvent(20, "tick", {"n": 1})],
        "links": [OtlpLink("1" * 32, "2" * 16, {"why": "batch"}, "a=b")],
        "code": 2,
        "message": "bad",
        "trace_state": "vendor=1",
        "flags": 0x301,
        "dropped_attributes": 1,
        "dropped_events": 2,
        "dropped_links": 3,
    }
    return OtlpSpan(**(said | fields))


def group(*spans: OtlpSpan) -> Group:
    resource = Resource({"service.name": "svc", "host.name": "h"}, "https://schema/1")
    return Group(resource, Scope("lib", "1.2", {"a": "b"}, "https://schema/2"), list(spans))


def tree_of(*spans: OtlpSpan, producer: str = PRODUCER, scope: Scope = Scope("lib")) -> TraceTree:
    tree = TraceTree(TRACE)
    events = [event for span in spans for event in otlp.events_of(span, scope)]
    for seq, event in enumerate(events, 1):
        tree.apply(event, producer, seq)
    return tree


@pytest.mark.parametrize("encoding", [otlp_json, otlp_protobuf], ids=["json", "protobuf"])
def test_every_field_comes_back(encoding: Any) -> None:
    """What is written is read as the same."""
    read = encoding.read(
        encoding.write([group(whole_span(), whole_span(span_id=PARENT, parent_id=None))])
    )
    if encoding is otlp_json:  # whether the parent is remote is in the flags of both
        assert read.groups == [group(whole_span(), whole_span(span_id=PARENT, parent_id=None))]
    assert read.groups[0].spans[0] == whole_span()
    assert read.groups[0].scope == group().scope and read.groups[0].resource == group().resource
    assert read.refused_count == 0


def test_protobuf_is_what_opentelemetry_means_by_it() -> None:
    """The generated classes read what we write, and write what we read."""
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    message = service.ExportTraceServiceRequest.FromString(
        otlp_protobuf.write([group(whole_span())])
    )
    span = message.resource_spans[0].scope_spans[0].spans[0]
    assert span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT
    assert (span.start_time_unix_nano, span.end_time_unix_nano, span.kind) == (10, 90, 3)
    assert span.status.code == 2 and span.status.message == "bad" and span.flags == 0x301
    assert {a.key: a.value.WhichOneof("value") for a in span.attributes} == {
        "s": "string_value", "b": "bool_value", "i": "int_value", "f": "double_value",
        "l": "array_value", "m": "kvlist_value",
    }  # fmt: skip
    assert otlp_protobuf.read(message.SerializeToString()).groups == [group(whole_span())]
    answer = service.ExportTraceServiceResponse.FromString(otlp_protobuf.write_response(3, "why"))
    assert (answer.partial_success.rejected_spans, answer.partial_success.error_message) == (
        3,
        "why",
    )
    assert otlp_protobuf.read_response(answer.SerializeToString()) == (3, "why")


def test_the_official_example_in_both_encodings() -> None:
    """The example of opentelemetry-proto, and its protobuf twin, say the same."""
    if not EXAMPLE.exists():
        pytest.skip(f"{EXAMPLE} is not here")
    read = otlp_json.read(EXAMPLE.read_bytes())
    assert otlp_protobuf.read(otlp_protobuf.write(read.groups)).groups == read.groups
    (only,) = read.groups
    assert only.resource.service == "my.service"
    assert only.scope == Scope(
        "my.library", "1.0.0", {"my.scope.attribute": "some scope attribute"}
    )
    tree = tree_of(*only.spans, scope=only.scope)
    node = tree.span(SPAN)
    assert node is not None and node.name == "I'm a server span" and node.parent_id == PARENT
    assert node.duration_ns == 1_000_000_000 and node.state == "ok"
    assert node.attributes == {
        "my.span.attr": "some value",
        "otel.scope.name": "my.library",
        "otel.scope.version": "1.0.0",
        "otel.scope.attributes": {"my.scope.attribute": "some scope attribute"},
        "span.kind": "server",
    }


def json_span(**fields: Any) -> bytes:
    span = {
        "traceId": TRACE.upper(),
        "spanId": SPAN,
        "name": "n",
        "startTimeUnixNano": "5",
    } | fields
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"kind": "SPAN_KIND_CLIENT"}, "kind", 3),
        ({"kind": 3}, "kind", 3),
        ({"kind": "3"}, "kind", 3),
        ({"kind": "SPAN_KIND_NEW"}, "kind", 0),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, "code", 2),
        ({"status": {"code": 2}}, "code", 2),
        ({"status": None}, "code", 0),
        ({"startTimeUnixNano": 5}, "start_ns", 5),
        ({"endTimeUnixNano": "0"}, "end_ns", 0),
        ({"endTimeUnixNano": None}, "end_ns", 0),
        ({"parentSpanId": ""}, "parent_id", None),
        ({"parentSpanId": "0" * 16}, "parent_id", None),
        ({"traceId": base64.b64encode(bytes.fromhex(TRACE)).decode()}, "trace_id", TRACE),
        ({"spanId": base64.b64encode(bytes.fromhex(SPAN)).decode()}, "span_id", SPAN),
        ({"attributes": [{"key": "i", "value": {"intValue": 7}}]}, "attributes", {"i": 7}),
        ({"attributes": [{"key": "i", "value": {"intValue": "7"}}]}, "attributes", {"i": 7}),
        ({"attributes": [{"key": "e", "value": {}}, {"key": "n"}]}, "attributes", {"e": None, "n": None}),
        ({"attributes": [{"key": "f", "value": {"doubleValue": "Infinity"}}]}, "attributes", {"f": float("inf")}),
        ({"attributes": [{"key": "x", "value": {"bytesValue": "aGk="}}]}, "attributes", {"x": b"hi"}),
        ({"unheardOf": [{}]}, "name", "n"),
    ],
)  # fmt: skip
def test_the_shapes_of_json(fields: dict[str, Any], field: str, expected: object) -> None:
    """Names or numbers, text or integers, hex of either case, null for nothing."""
    read = otlp_json.read(json_span(**fields))
    assert read.refused == {}
    assert getattr(read.groups[0].spans[0], field) == expected


BAD_SPANS = [
    {"traceId": "00" * 16}, {"traceId": ""}, {"traceId": "xyz"}, {"spanId": "0" * 16},
    {"spanId": 5}, {"parentSpanId": "abc"}, {"startTimeUnixNano": "0"},
    {"startTimeUnixNano": "soon"}, {"startTimeUnixNano": str(2**64)}, {"endTimeUnixNano": -1},
    {"attributes": 3}, {"events": [{"timeUnixNano": {}}]},
]  # fmt: skip


@pytest.mark.parametrize("fields", BAD_SPANS, ids=str)
def test_one_bad_span_is_refused_alone(fields: dict[str, Any]) -> None:
    """The others are kept, and the answer says which was not and why."""
    bad, good = (json.loads(json_span(**f)) for f in (fields, {"name": "good"}))
    spans = bad["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans += good["resourceSpans"][0]["scopeSpans"][0]["spans"]
    read = otlp_json.read(json.dumps(bad).encode())
    assert [s.name for s in read.groups[0].spans] == ["good"]
    assert read.refused_count == 1 and read.message().startswith("1 x ")


def block(number: int, data: bytes) -> bytes:
    assert len(data) < 128
    return bytes((number << 3 | 2, len(data))) + data


def test_one_unreadable_span_in_protobuf_is_refused_alone() -> None:
    """A span whose own bytes are broken takes no neighbour with it."""
    ids = block(1, bytes.fromhex(TRACE)) + block(2, bytes.fromhex(SPAN))
    good = ids + b"\x39" + struct.pack("<Q", 5)
    broken = [b"\x0a\x7f", b"\x08\x01" + ids, b"\xff" * 11, b"\x0b", ids, block(1, b"short")]
    scope = b"".join(block(2, span) for span in [*broken, good])
    body = b"\x0a" + bytes((len(scope) & 0x7F | 0x80, len(scope) >> 7)) + b""
    inner = b"\x12" + bytes((len(scope) & 0x7F | 0x80, len(scope) >> 7)) + scope
    body = b"\x0a" + bytes((len(inner) & 0x7F | 0x80, len(inner) >> 7)) + inner
    read = otlp_protobuf.read(body)
    assert [s.span_id for s in read.groups[0].spans] == [SPAN]
    assert read.refused_count == len(broken)
    assert "other reasons" in read.message()


@pytest.mark.parametrize("read", [otlp_json.read, otlp_protobuf.read])
@pytest.mark.parametrize(
    "data", [b"\x0a\xff\xff\xff\xff\x0f", b"[1", b'{"resourceSpans": 3}', b"\x0b"]
)
def test_what_is_no_request_is_said_to_be_none(read: Any, data: bytes) -> None:
    """One exception of ours, whatever is wrong."""
    with pytest.raises(DecodeError):
        read(data)


@given(st.binary(max_size=300))
def test_any_bytes_as_protobuf(data: bytes) -> None:
    """Total: spans or `DecodeError`, nothing else."""
    try:
        read = otlp_protobuf.read(data)
    except DecodeError:
        return
    for part in read.groups:
        for span in part.spans:
            otlp.events_of(span, part.scope)


@given(st.data())
def test_a_damaged_request_never_escapes(data: st.DataObject) -> None:
    """Flip and cut the bytes of a real one: the same."""
    body = bytearray(otlp_protobuf.write([group(whole_span())]))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_as_protobuf.hypothesis.inner_test(
        bytes(body[: data.draw(st.integers(0, len(body)))])
    )


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["key", "value", "values", "stringValue", "arrayValue"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.sampled_from(["traceId", "kind", "attributes", "events", "links", "status", "flags"]),
    JSONISH,
)
def test_any_json_in_a_span(field: str, value: object) -> None:
    """Total here as well."""
    read = otlp_json.read(json_span(**{field: value}))
    assert read.refused_count + sum(len(g.spans) for g in read.groups) == 1


# --- meaning -------------------------------------------------------------------------------------


def test_a_whole_span_becomes_its_events() -> None:
    """Start, attributes as of the end, events, end; links, state and the remote parent are kept."""
    raised = {"exception.type": "ValueError", "exception.message": "no"}
    told = [OtlpEvent(20, "tick", {"n": 1}), OtlpEvent(30, "exception", raised)]
    span = whole_span(message="", events=told)
    events = otlp.events_of(span, Scope("lib", "1.2"))
    assert [type(e) for e in events] == [
        SpanStarted,
        AttributesSet,
        EventAdded,
        EventAdded,
        SpanEnded,
    ]
    node = tree_of(span).span(SPAN)
    assert node is not None and node.remote_parent and node.state == "error"
    assert node.error is not None and (node.error.type, node.error.message) == ("ValueError", "no")
    (link,) = node.link_list()
    assert link.attributes == {"why": "batch", "w3c.tracestate": "a=b"}
    assert (
        node.attributes["w3c.tracestate"] == "vendor=1" and node.attributes["span.kind"] == "client"
    )
    assert node.attributes["otel.dropped_links_count"] == 3


def test_what_came_in_goes_out_again() -> None:
    """In, into a tree, and out: the same span."""
    span = whole_span(message="bad")
    node = tree_of(span, scope=Scope("lib", "1.2", {"a": "b"}, "u")).span(SPAN)
    assert node is not None
    scope, back = otlp.span_of(TRACE, node)
    assert scope == Scope("lib", "1.2", {"a": "b"}, "u")
    back.events = [e for e in back.events if e.name != "exception"]
    back.flags |= 1
    assert back == span


@pytest.mark.parametrize("status", ["ok", "error", "cancelled", "abandoned"])
def test_our_own_spans_survive_the_way_out_and_in(status: Any) -> None:
    """Kind, status, error and streamed text have names where OpenTelemetry has no field."""
    tree = TraceTree(TRACE)
    said = [
        SpanStarted(TRACE, SPAN, 10, "ask", kind="agent"),
        TextStreamed(TRACE, SPAN, 20, "output", 0, "hel"),
        TextStreamed(TRACE, SPAN, 21, "output", 1, "lo"),
        SpanEnded(TRACE, SPAN, 30, status),
    ]
    for seq, event in enumerate(said, 1):
        tree.apply(event, "p", seq)
    (sent,) = otlp.groups_of([(TRACE, n) for n in tree], lambda _: Resource())
    body = otlp_protobuf.read(otlp_protobuf.write([sent])).groups[0]
    node = tree_of(*body.spans).span(SPAN)
    assert node is not None
    assert (node.kind, node.state, node.text("output")) == ("agent", status, "hello")


def test_an_open_span_is_open() -> None:
    """An end of 0 or none: a start with its attributes, no end; the end may come later."""
    tree = tree_of(whole_span(end_ns=0, links=[]))
    node = tree.span(SPAN)
    assert node is not None and node.state == "running" and node.attributes["s"] == "text"
    for seq, event in enumerate(otlp.events_of(whole_span(links=[]), Scope()), 50):
        tree.apply(event, PRODUCER, seq)
    assert node.state == "error" and len(node.event_list()) == 1 and node.flags() == []


@pytest.mark.parametrize("pending_first", [True, False])
def test_a_logfire_pending_span_is_the_start_of_its_parent(pending_first: bool) -> None:
    """It has an id of its own; the real span is its parent. No third span appears, in either order."""
    pending = whole_span(
        span_id="9" * 16, parent_id=SPAN, end_ns=10, code=0, events=[], links=[],
        attributes={"logfire.span_type": "pending_span", "logfire.pending_parent_id": PARENT, "k": "old"},
    )  # fmt: skip
    real = whole_span(code=0, attributes={"k": "new", "gen_ai.operation.name": "chat"})
    tree = tree_of(pending)
    node = tree.span(SPAN)
    assert node is not None and node.state == "running" and node.parent_id == PARENT
    assert len(tree) == 2 and "logfire.pending_parent_id" not in node.attributes
    both = (pending, real) if pending_first else (real, pending)
    node = tree_of(*both).span(SPAN)
    assert node is not None and node.state == "ok" and node.attributes["k"] == "new"
    assert node.flags() == []


def test_a_span_sent_twice_is_one() -> None:
    """An exporter that got no answer sends again: nothing is doubled, nothing is flagged."""
    once, twice = tree_of(whole_span()), tree_of(whole_span(), whole_span())
    a, b = once.span(SPAN), twice.span(SPAN)
    assert a is not None and b is not None
    assert [e.name for e in b.event_list()] == [e.name for e in a.event_list()]
    assert b.link_list() == a.link_list() and b.attributes == a.attributes and b.flags() == []


def test_twins_within_a_span_stay_two() -> None:
    """Equal events of one moment, from a clock of milliseconds, are told apart; so in every copy."""
    span = whole_span(events=[OtlpEvent(20, "tick"), OtlpEvent(20, "tick"), OtlpEvent(21, "tick")])
    node = tree_of(span, span).span(SPAN)
    assert node is not None and [e.time_ns for e in node.event_list()] == [20, 21, 22]


def test_a_span_that_is_streamed_and_exported_is_one() -> None:
    """The bridge streams it, OTLP brings it again: the stream's producer keeps it, silently."""
    tree = TraceTree(TRACE)
    streamed = [
        SpanStarted(TRACE, SPAN, 10, "work", PARENT, "http", remote_parent=True),
        EventAdded(TRACE, SPAN, 20, "tick", {"n": 1}),
        SpanEnded(TRACE, SPAN, 90, "cancelled"),
    ]
    exported = otlp.events_of(whole_span(code=0), Scope())
    for order in (streamed + exported, exported + streamed):
        tree = TraceTree(TRACE)
        for seq, event in enumerate(order, 1):
            tree.apply(event, PRODUCER if any(event is e for e in exported) else "0f" * 8, seq)
        node = tree.span(SPAN)
        assert node is not None and node.flags() == [] and node.state == "cancelled"
        assert [e.name for e in node.event_list()] == ["tick"]
        assert node.producer_id == "0f" * 8 and node.attributes["s"] == "text"


def test_every_event_fits() -> None:
    """Long text is cut and marked; many attributes are spread over events."""
    big = {f"k{i}": "x" * 20_000 for i in range(12)} | {
        "prompt": "é" * 100_000,
        "list": list(range(5_000)),
        "messages": [{"role": "user", "content": "y" * 30_000}] * 4,
        "nan": float("nan"),
        "raw": b"\0" * 100,
        "big": 2**70,
    }
    deep: Any = "x"
    for _ in range(30):
        deep = [deep]
    span = whole_span(
        name="n" * 5_000,
        attributes=big | {"deep": deep},
        events=[OtlpEvent(20, "e", {f"a{i}": "z" * 40_000 for i in range(5)})],
        links=[OtlpLink("1" * 32, "2" * 16, {"a": "q" * 60_000})] * 200,
    )
    events = otlp.events_of(span, Scope("s" * 100_000))
    assert max(len(codec.encode(e)) for e in events) <= limits.EVENT_BYTES
    node = tree_of(span).span(SPAN)
    assert node is not None and node.attributes["k11"] == "x" * 20_000
    marks = node.attribute_marks()
    assert marks["prompt"] == "cut:100000" and marks["list"] == "cut:5000"
    assert marks["raw"] == "converted:bytes:100" and marks["nan"] == "converted:float"
    assert marks["@name"] == "cut:5000" and marks["big"] == "converted:int"
    assert len(node.attributes["prompt"].encode()) > 40_000
    assert node.attributes["otel.dropped_links_count"] == 75


def test_a_resource_is_one_producer() -> None:
    """The same attributes in any order, the same id; others, another."""
    one = otlp.resource_of({"service.name": "a", "x": 1})
    assert otlp.producer_id(one) == otlp.producer_id(
        otlp.resource_of({"x": 1, "service.name": "a"})
    )
    assert otlp.producer_id(one) != otlp.producer_id(otlp.resource_of({"service.name": "a"}))
    assert otlp.producer_id(one) < "0" and otlp.resource_of({}).service == "unknown_service"


def test_what_multiplies_is_bounded() -> None:
    """Two bytes an event, three an object: counted before they become anything."""
    ids = (
        block(1, bytes.fromhex(TRACE))
        + block(2, bytes.fromhex(SPAN))
        + b"\x39"
        + struct.pack("<Q", 5)
    )
    span = ids + b"\x5a\x00" * 50_000
    request = otlp.Request([], {})
    for _ in range(25):
        otlp_protobuf._scope_spans(otlp_protobuf._block(2, span), Resource(), request)
    assert request.items <= otlp.REQUEST_ITEMS + limits.SPAN_EVENTS + 1
    assert request.refused[otlp.TOO_MANY] >= 4
    with pytest.raises(otlp_json.TooBig):
        otlp_json.read(b'{"resourceSpans":[' + b"{}," * 1_000_001)


def test_unrelated_events_are_no_spans() -> None:
    """A tree with a span that never started sends nothing of it."""
    tree = TraceTree(TRACE)
    tree.apply(EventAdded(TRACE, SPAN, 5, "orphan"), "p", 1)
    tree.apply(EventsLost(5, "full", 1), "p", 2)
    assert otlp.groups_of([(TRACE, n) for n in tree], lambda _: Resource()) == []
