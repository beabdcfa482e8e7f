"""Events composed of encoded parts are what the codec makes of the Structs, byte for byte."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.model import codec
from lumina_stream.model.events import SpanEvent
from lumina_stream.model.ids import is_span_id, is_trace_id
from lumina_stream.recording import encoding
from lumina_stream.recording.context import active
from lumina_stream.recording.encoding import (
    TRACE_PART,
    Heads,
    head_of,
    remember,
    span_id_of,
    trace_id_of,
)
from lumina_stream.recording.queue import EventQueue
from lumina_stream.recording.recorder import Recorder

TRACE, SPAN = "ab" * 16, "cd" * 8

texts = st.text(max_size=80)
values = st.recursive(
    st.text(max_size=300)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
odd = st.sampled_from(["x" * 9_000, "é" * 9_000, "\ud800", [["x"] * 2_000]])
anything = values | st.binary(max_size=20) | st.integers() | st.floats() | odd
calls = st.lists(
    st.one_of(
        st.tuples(st.just("set_attribute"), st.sampled_from("abé"), anything),
        st.tuples(st.just("set_attributes"), st.dictionaries(texts, anything, max_size=20)),
        st.tuples(st.just("add_event"), texts, st.dictionaries(texts, anything, max_size=3)),
        st.tuples(st.just("update_name"), texts),
        st.tuples(st.just("add_link"), st.dictionaries(texts, values, max_size=2)),
        st.tuples(st.just("set_status"), st.sampled_from(["ok", "error", "cancelled"]), texts),
    ),
    max_size=8,
)


def call(span: lumina.Span, said: tuple[Any, ...]) -> None:
    match said:
        case ("add_event", name, attributes):
            span.add_event(name, **attributes)
        case ("add_link", attributes):
            span.add_link(span, attributes)
        case (name, *given):
            getattr(span, name)(*given)
        case _:
            raise AssertionError(said)


@given(texts, st.none() | texts, st.dictionaries(texts, anything, max_size=20), calls)
def test_every_event_is_the_codec_s(
    name: str, kind: str | None, attributes: dict[str, Any], said: list[tuple[Any, ...]]
) -> None:
    queue = EventQueue()
    recorder = Recorder(queue, producer_id="p" * 16)
    active.recorder = recorder
    try:
        remote = lumina.SpanContext(TRACE, SPAN)
        with (
            lumina.trace(name, kind=kind, attributes=attributes) as span,
            lumina.trace(name, parent=remote, links=[span]),
        ):
            for one in said:
                call(span, one)
                call(span, one)  # the second time by what was remembered of the first
    finally:
        active.recorder = None
    data = queue.drain(1_000)
    assert recorder.faults == 0
    assert len(data) + queue.losses.total == 4 + 2 * sum(s[0] != "set_status" for s in said)
    for event in data:
        assert codec.encode(codec.decode(event)) == event


def test_the_head_has_both_ids() -> None:
    head = head_of(TRACE, SPAN)
    assert (trace_id_of(head), span_id_of(head)) == (TRACE, SPAN)
    assert head[TRACE_PART] == head_of(TRACE, "0" * 16)[TRACE_PART]


@pytest.mark.parametrize("time_ns", [1, 2**32, 1_764_400_000_000_000_000, 2**63 - 1])
def test_any_time_that_may_be_stored(time_ns: int) -> None:
    data = encoding.compose(encoding.ENDED, head_of(TRACE, SPAN), time_ns, ())
    event: SpanEvent = codec.decode(data)  # type: ignore[assignment]
    assert (event.trace_id, event.span_id, event.time_ns) == (TRACE, SPAN, time_ns)


def test_an_event_without_a_valid_time_is_lost_and_counted(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        recorded.recorder.event_added(span._head, "event", {}, at_ns=-1)
    said = lumina.statistics()
    assert (said.lost_by_type, said.faults) == ({"event_added": 1}, 1)
    recorded.recorder.faults = 0


def test_what_is_remembered_is_bounded() -> None:
    fields: dict[str, bytes] = {}
    for n in range(10_000):
        remember(fields, str(n), b"")
    assert 0 < len(fields) <= 4096
    assert "9999" in fields


# --- ids -----------------------------------------------------------------------------------------


def test_ids_are_valid_and_distinct() -> None:
    """Pools are refilled on the way."""
    heads = Heads()
    roots = [heads.trace() + heads.span() for _ in range(2_000)]
    spans = [roots[0][TRACE_PART] + heads.span() for _ in range(2_000)]
    assert {len(head) for head in roots + spans} == {len(head_of(TRACE, SPAN))}
    assert all(head == head_of(trace_id_of(head), span_id_of(head)) for head in roots + spans)
    assert all(is_trace_id(trace_id_of(h)) and is_span_id(span_id_of(h)) for h in roots + spans)
    assert len({trace_id_of(head) for head in roots}) == 2_000
    assert len({span_id_of(head) for head in roots + spans}) == 4_000


def test_a_zero_id_is_never_drawn() -> None:
    """W3C Trace Context calls it invalid."""
    drawn = iter([bytes(8 * 512 - 8) + b"\1" * 8, b"\2" * 8 * 512])
    heads = Heads(lambda size: next(drawn))
    assert [span_id_of(head_of(TRACE, SPAN)[TRACE_PART] + heads.span()) for _ in range(2)] == [
        "01" * 8,
        "02" * 8,
    ]
    half_zero = b"\2" * 8 + bytes(8)
    drawn = iter([bytes(16 * 510) + half_zero + b"\1" * 16, b"\3" * 16 * 512])
    heads = Heads(lambda size: next(drawn))
    assert [trace_id_of(heads.trace()) for _ in range(2)] == ["01" * 16, "03" * 16]


def test_a_child_that_forgets_draws_other_ids() -> None:
    """After a fork both hold the same pools."""
    rng = random.Random(1)
    heads = Heads(rng.randbytes)
    heads.trace(), heads.span()
    rest = {*heads._traces, *heads._spans}
    heads.forget()
    assert rest.isdisjoint(heads.trace() for _ in range(1_000))
    assert rest.isdisjoint(heads.span() for _ in range(1_000))


def test_a_signal_handler_may_draw_while_the_pool_is_filled() -> None:
    """Re-entry adds a pool; it never hands out an id twice."""
    rng = random.Random(2)
    inner: list[bytes] = []

    def drawing(size: int) -> bytes:
        if not inner:
            inner.append(b"")
            inner[0] = heads.span()
        return rng.randbytes(size)

    heads = Heads(drawing)
    drawn = [heads.span() for _ in range(3_000)]
    assert len({*drawn, *inner}) == 3_001


# --- what is over --------------------------------------------------------------------------------


def test_the_end_of_a_block_is_a_coroutine_that_is_over() -> None:
    span = lumina.current_span()
    for _ in range(2):
        ended = span.__aexit__(None, None, None)
        with pytest.raises(StopIteration) as stop:
            ended.send(None)
        assert stop.value.value is None
        assert list(ended.__await__()) == []
        ended.close()
    with pytest.raises(KeyError):
        ended.throw(KeyError())
