"""Which traces a batch is of is found in its bytes, and means the same as decoding it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import AttributeSet, Event, EventsLost, Link, SpanEnded, SpanStarted
from lumina_stream.model.limits import FRAME_DEPTH
from lumina_stream.relay.admission import admit, traces_in

A, B = "a" * 32, "b" * 32
SPAN = "1" * 16


def ended(trace_id: str) -> bytes:
    return codec.encode(SpanEnded(trace_id, SPAN, 1))


def foreign(**fields: Any) -> bytes:
    """An event as another encoder may write it: keys and strings with headers longer than needed."""

    def text(value: str) -> bytes:
        return b"\xda" + len(value).to_bytes(2, "big") + value.encode()

    parts = [
        text(key) + (text(v) if isinstance(v, str) else codec.encode(v))
        for key, v in fields.items()
    ]
    return bytes((0x80 | len(parts),)) + b"".join(parts)


def test_the_traces_of_ours_are_found() -> None:
    data = codec.join_array([ended(A), ended(B), ended(A)])
    assert traces_in(data, 3) == (A, B) == admit(data, "p").trace_ids


def test_other_encodings_are_decoded() -> None:
    odd = foreign(type="span_ended", trace_id=B, span_id=SPAN, time_ns=1)
    data = codec.join_array([ended(A), odd])
    assert traces_in(data, 2) == (A, B)
    assert admit(data, "p").refused == 0


def test_what_hides_its_trace_is_refused() -> None:
    """The log would not find it again: a tree read back must not differ from the live one."""
    odd = foreign(type="span_ended", trace_id=B, span_id=SPAN, time_ns=1)
    posing = codec.encode(AttributeSet(A, SPAN, 1, "k", ended(A).decode("latin-1")))
    bare = msgspec.msgpack.encode(
        {
            "type": "attribute_set",
            "trace_id": A,
            "span_id": SPAN,
            "time_ns": 1,
            "key": "k",
            "value": ended(A),
        }
    )
    for text in (posing, bare):
        data = codec.join_array([odd, text])
        said = admit(data, "p")
        assert set(said.trace_ids) <= set(traces_in(data, 2))
        if B not in traces_in(data, 2):
            assert said.events[0] is None and said.refused == 1
    assert B not in traces_in(codec.join_array([odd, bare]), 2)


def test_reports_of_loss_name_no_trace_of_the_batch() -> None:
    data = codec.join_array([codec.encode(EventsLost(1, "queue_full", 1, {}, {A: 1}))])
    assert traces_in(data, 1) == ()
    assert admit(data, "p").refused == 0


def test_no_array() -> None:
    with pytest.raises(DecodeError):
        traces_in(b"\xc0", 1)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


_ids = st.sampled_from([A, B, "0" * 32, "A" * 32, "x", ""])
_spans = st.sampled_from([SPAN, "0" * 16, "z" * 16, ""])
_values = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(-5, 5) | st.just(nested(FRAME_DEPTH + 1)),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
)
_events: st.SearchStrategy[Event] = (
    st.builds(SpanEnded, _ids, _spans, st.just(1))
    | st.builds(AttributeSet, _ids, _spans, st.just(1), st.text(max_size=3), _values)
    | st.builds(
        SpanStarted,
        _ids,
        _spans,
        st.just(1),
        st.text(max_size=3),
        st.none() | _spans,
        st.none(),
        st.dictionaries(st.text(max_size=2), _values, max_size=2),
        st.just(())
        | st.builds(Link, _ids, _spans, st.dictionaries(st.text(max_size=2), _values)).map(
            lambda link: (link,)
        ),
    )
    | st.builds(EventsLost, st.just(1), st.just("queue_full"), st.just(1))
)


@given(st.lists(_events, min_size=1, max_size=8))
def test_a_batch_is_judged_event_by_event(events: list[Event]) -> None:
    """What is sound beside others is sound alone, and its trace was found before it was decoded."""
    raws = [codec.encode(event) for event in events]
    data = codec.join_array(raws)
    together = admit(data, "p")
    alone = [admit(codec.join_array([raw]), "p") for raw in raws]
    assert together.events == [one.events[0] for one in alone]
    assert together.refused == sum(one.refused for one in alone) == together.events.count(None)
    assert set(together.trace_ids) == {t for one in alone for t in one.trace_ids}
    assert set(together.trace_ids) <= set(traces_in(data, len(events)))
