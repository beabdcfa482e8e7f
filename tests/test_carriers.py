"""W3C trace context and baggage: the specification's vectors, and hostile headers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lumina_stream as lumina
from lumina_stream.recording.carriers import SpanContext, read_headers, write_headers

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (PARENT, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f"  {PARENT}\t", True),
    ],
)
def test_valid(traceparent: str, sampled: bool) -> None:
    assert read_headers({"traceparent": traceparent}) == SpanContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"0x-{TRACE}-{SPAN}-01",
        f"{PARENT},{PARENT}",
        f"00-{'٠' * 32}-{SPAN}-01",
    ],
)
def test_invalid(traceparent: str) -> None:
    assert read_headers({"traceparent": traceparent}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"TraceParent": PARENT, "Other": "x"},
        [("traceparent", PARENT)],
        [(b"traceparent", PARENT.encode()), (b"\xff", b"\xff")],
        {b"TRACEPARENT": PARENT.encode()},
    ],
)
def test_every_sort_of_headers(headers: Any) -> None:
    assert lumina.extract(headers) == SpanContext(TRACE, SPAN)


def test_two_traceparents_are_not_joined() -> None:
    assert lumina.extract([("traceparent", PARENT), ("traceparent", "junk")]) is None


def test_tracestate_and_baggage_go_on_as_they_came() -> None:
    headers = [
        ("traceparent", PARENT),
        ("tracestate", "rojo=00f067aa0ba902b7"),
        ("tracestate", "congo=t61rcWkgMzE"),
        ("baggage", "userId=alice;p=1,name=%C3%A9%2C%20x"),
        ("baggage", "empty="),
    ]
    context = lumina.extract(headers)
    assert context is not None
    assert context.tracestate == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    assert context.baggage == {"userId": "alice", "name": "é, x", "empty": ""}
    with lumina.init(export=False), lumina.trace("s", parent=context), lumina.trace("t") as span:
        assert lumina.inject({"other": "1"}) == {
            "other": "1",
            "traceparent": f"00-{TRACE}-{span.span_id}-01",
            "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "baggage": "userId=alice,name=%C3%A9%2C%20x,empty=",
        }


def test_what_cannot_stand_in_a_header_does_not_go_on() -> None:
    headers = {
        "traceparent": PARENT,
        "tracestate": "a=b\r\nSet-Cookie: x",
        "baggage": "a\r\nb=c,d e=f,ok=x\r\ny,\xff=g,s=\udcff",
    }
    context = lumina.extract(headers)
    assert context is not None
    assert context.tracestate == ""
    assert set(context.baggage) == {"ok", "s"}
    with lumina.init(export=False), lumina.trace("s", parent=context):
        written = lumina.inject()
    assert set(written) == {"traceparent", "baggage"}
    assert all(value.isascii() and value.isprintable() for value in written.values())


def test_long_ones_are_cut_at_a_member() -> None:
    members = ",".join(f"k{n}=value" for n in range(100))
    context = lumina.extract({"traceparent": PARENT, "tracestate": members, "baggage": members})
    assert context is not None
    assert len(context.tracestate) <= 512
    assert members.startswith(context.tracestate + ",")
    assert len(context.baggage) == 64


def test_nothing_is_written_outside_of_any_span() -> None:
    assert lumina.inject() == {}
    with lumina.init(export=False):
        assert lumina.inject() == {}


def test_headers_that_cannot_be_written_to() -> None:
    with lumina.init(export=False) as runtime, lumina.trace("s"):
        lumina.inject(())  # type: ignore[arg-type]
        assert runtime.statistics().faults == 1


hostile = st.text(st.characters(exclude_categories=()))
member = st.sampled_from([PARENT, PARENT[:-1], "a=b", "a=%ff;x,b=\ud800", ""]) | hostile
name = st.sampled_from(["traceparent", "Tracestate", "BAGGAGE"]) | hostile


@given(
    st.dictionaries(name, member)
    | st.lists(st.tuples(name, member))
    | st.lists(st.tuples(name.map(lambda t: t.encode("utf-8", "replace")), st.binary()))
    | st.lists(st.lists(st.integers()))
    | st.integers()
    | st.none()
    | hostile
    | st.just([("traceparent", PARENT)]).flatmap(
        lambda valid: st.lists(st.tuples(name, member)).map(lambda more: [*valid, *more])
    )
)
def test_hostile_headers_never_raise_and_what_is_read_can_be_written(headers: Any) -> None:
    context = read_headers(headers)
    if context is not None:
        written: dict[str, str] = {}
        write_headers(written, context.trace_id, context.span_id, context.sampled, context)
        assert all(value.isascii() and value.isprintable() for value in written.values())
        assert read_headers(written) is not None


@given(
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.dictionaries(
        st.text("abcXYZ019!#$&'*+.^_`|~-", min_size=1), st.text(max_size=20), max_size=5
    ),
)
def test_round_trip(trace: int, span: int, sampled: bool, baggage: dict[str, str]) -> None:
    context = SpanContext(f"{trace:032x}", f"{span:016x}", sampled, "a=b,c=d", baggage)
    written: dict[str, str] = {}
    write_headers(written, context.trace_id, context.span_id, context.sampled, context)
    assert read_headers(written) == context
