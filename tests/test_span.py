"""The Span API: every call returns the span, never raises, and is silent once the span has ended."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.model.events import AttributeSet, Link, SpanEnded, SpanStarted, SpanUpdated


class Hostile:
    """Everything that Python asks of it raises."""

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __len__ = __iter__ = __hash__ = __eq__ = __bool__ = _raise  # type: ignore[assignment]
    __getattr__ = __getitem__ = __index__ = __int__ = __float__ = _raise


CALLS: dict[str, Callable[[lumina.Span], Any]] = {
    "set_attribute": lambda span: span.set_attribute("k", 1),
    "set_attributes": lambda span: span.set_attributes({"k": 1}),
    "add_event": lambda span: span.add_event("event", k=1),
    "record_exception": lambda span: span.record_exception(ValueError("v")),
    "set_status": lambda span: span.set_status("error", "message"),
    "update_name": lambda span: span.update_name("other"),
    "add_link": lambda span: span.add_link(lumina.SpanContext("1" * 32, "2" * 16)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_return_the_span_and_are_on_their_way_at_once(recorded: Recorded, name: str) -> None:
    with lumina.trace("span") as span:
        before = len(recorded.poll())
        assert CALLS[name](span) is span
        assert len(recorded.poll()) == before + (name != "set_status")


@pytest.mark.parametrize("name", CALLS)
def test_calls_after_the_end_are_counted_and_silent(recorded: Recorded, name: str) -> None:
    span = lumina.start_span("span")
    span.end()
    before = len(recorded.poll())
    assert CALLS[name](span) is span
    assert len(recorded.poll()) == before
    assert lumina.statistics().late_calls == 1


@pytest.mark.parametrize("name", CALLS)
def test_calls_on_a_span_that_is_not_recorded(name: str) -> None:
    span = lumina.current_span()
    assert CALLS[name](span) is span
    assert not span.is_recording
    assert (span.trace_id, span.span_id) == ("0" * 32, "0" * 16)


@pytest.mark.parametrize(
    "call",
    [
        lambda span, bad: span.set_attribute("k", bad),
        lambda span, bad: span.set_attribute(bad, 1),
        lambda span, bad: span.set_attributes(bad),
        lambda span, bad: span.set_attributes({"k": bad}),
        lambda span, bad: span.add_event(bad),
        lambda span, bad: span.add_event("event", k=bad),
        lambda span, bad: span.record_exception(bad),
        lambda span, bad: span.set_status(bad),
        lambda span, bad: span.set_status("error", bad),
        lambda span, bad: span.update_name(bad),
        lambda span, bad: span.add_link(bad),
        lambda span, bad: span.add_link(lumina.SpanContext("1" * 32, "2" * 16), {"k": bad}),
        lambda span, bad: span.add_link(lumina.SpanContext("1" * 32, "2" * 16), bad),
        lambda span, bad: lumina.start_span(bad).end(),
        lambda span, bad: lumina.start_span("s", kind=bad).end(),
        lambda span, bad: lumina.start_span("s", attributes=bad).end(),
        lambda span, bad: lumina.start_span("s", links=bad).end(),
        lambda span, bad: lumina.start_span("s", links=[bad, (bad, bad)]).end(),
        lambda span, bad: lumina.start_span("s", parent=bad).end(),
        lambda span, bad: lumina.start_span("s", parent=lumina.SpanContext(bad, bad)).end(),
        lambda span, bad: lumina.inject(bad),
        lambda span, bad: lumina.extract(bad),
    ],
)
@pytest.mark.parametrize(
    "bad",
    [Hostile(), None, 5, [], b"\xff", "\ud800", object, ["unhashable"], float("nan")],
    ids=lambda bad: type(bad).__name__,
)
def test_nothing_that_is_handed_over_raises(call: Any, bad: Any) -> None:
    runtime = lumina.init(export=False)
    with runtime, lumina.subscribe() as subscription:
        with lumina.trace("span") as span:
            call(span, bad)
            span.set_attribute("after", 1)
        subscription.poll()
        (tree,) = (t for t in subscription.traces.values() if t.span(span.span_id))
        node = tree.span(span.span_id)
        assert node is not None
        assert (node.state, node.attributes["after"]) in (("ok", 1), ("error", 1))
        assert not any(s.state == "running" for t in subscription.traces.values() for s in t)


def test_is_recording(recorded: Recorded) -> None:
    span = lumina.start_span("span")
    assert span.is_recording
    span.end()
    assert not span.is_recording


def test_end_twice_records_one_end(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        span.end()
        span.end()
    assert recorded.types() == ["span_started", "span_ended"]


def test_attributes_of_all_calls(recorded: Recorded) -> None:
    with lumina.trace("span", attributes={"a.b": 1}, c="d") as span:
        span.set_attribute("e", 1.5).set_attributes({"f": True, "g": [1, {"h": None}]})
        span.set_attribute("a.b", 2)
    assert recorded.attributes("span") == {
        "a.b": 2,
        "c": "d",
        "e": 1.5,
        "f": True,
        "g": [1, {"h": None}],
    }


def test_a_value_is_taken_as_it_is_at_the_call(recorded: Recorded) -> None:
    value, nested = [1], {"k": [1]}
    with lumina.trace("span", start=nested) as span:
        span.set_attribute("value", value).add_event("event", value=value)
        value.append(2)
        nested["k"].append(2)
    node = recorded.one("span")
    assert node.attributes == {"start": {"k": [1]}, "value": [1]}
    assert node.event_list()[0].attributes == {"value": [1]}


def test_add_event_takes_a_key_called_name(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        span.add_event("event", name="n", self="s")
    (event,) = recorded.one("span").event_list()
    assert (event.name, event.attributes) == ("event", {"name": "n", "self": "s"})


def test_record_exception_does_not_end_the_span(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        try:
            raise ValueError("v")
        except ValueError as error:
            span.record_exception(error, attempt=1)
    node = recorded.one("span")
    (event,) = node.event_list()
    assert node.state == "ok"
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "ValueError"
    assert event.attributes["exception.message"] == "v"
    assert "raise ValueError" in event.attributes["exception.stacktrace"]
    assert event.attributes["attempt"] == 1


def test_set_status_says_how_it_ends_whatever_leaves_the_block(recorded: Recorded) -> None:
    with lumina.trace("said error") as span:
        span.set_status("error", "no answer")
    with pytest.raises(KeyError), lumina.trace("said ok") as span:
        span.set_status("ok")
        raise KeyError
    with pytest.raises(KeyError), lumina.trace("both") as span:
        span.set_status("error", "said")
        raise KeyError("raised")
    with lumina.trace("last wins") as span:
        span.set_status("error", "no").set_status("ok")
    assert {name: state for name, (_, state) in recorded.shape().items()} == {
        "said error": "error",
        "said ok": "ok",
        "both": "error",
        "last wins": "ok",
    }
    assert recorded.error("said error").message == "no answer"
    assert recorded.error("both").type == "KeyError"
    assert recorded.one("said ok").error is None
    assert recorded.one("last wins").error is None


def test_an_unknown_status_becomes_an_event(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        span.set_status("failed")  # type: ignore[arg-type]
    node = recorded.one("span")
    assert node.state == "ok"
    assert [event.name for event in node.event_list()] == ["invalid status"]


def test_update_name_is_live_and_repeated_at_the_end(recorded: Recorded) -> None:
    with lumina.trace("before") as span:
        span.update_name("after")
        assert recorded.one("after").state == "running"
    end = recorded.poll()[-1]
    assert isinstance(end, SpanEnded)
    assert end.name == "after"


def test_links(recorded: Recorded) -> None:
    other = lumina.SpanContext("1" * 32, "2" * 16)
    span = lumina.start_span("linked", links=[other, (other, {"k": 1}), "junk", Link("0", "1")])
    span.add_link(other, {"late": True}).add_link("junk").add_link(span)
    span.end()
    links = recorded.one("linked").link_list()
    assert [(link.trace_id[0], link.attributes) for link in links] == [
        ("1", {}),
        ("1", {"k": 1}),
        ("1", {"late": True}),
        (span.trace_id[0], {}),
    ]


def test_links_without_end_are_not_waited_for(recorded: Recorded) -> None:
    from itertools import repeat

    lumina.start_span("junk", links=repeat("junk")).end()
    lumina.start_span("good", links=repeat(lumina.SpanContext("1" * 32, "2" * 16))).end()
    assert recorded.one("junk").link_list() == []
    assert len(recorded.one("good").link_list()) == 128


def test_attributes_beyond_the_limit_are_counted_as_lost(recorded: Recorded) -> None:
    with lumina.trace("span", attributes={"first": 0}) as span:
        for n in range(200):
            span.set_attribute(f"k{n}", n)
        span.set_attribute("first", 1)
        span.set_attribute("k0", "again")
    assert len(recorded.attributes("span")) == 128
    assert recorded.attributes("span")["k0"] == "again"
    assert recorded.attributes("span")["first"] == 1
    assert lumina.statistics().lost_by_type == {"attribute_set": 73}


def test_attributes_beyond_the_limit_in_one_call_are_cut_and_marked(recorded: Recorded) -> None:
    many = {f"k{n}": n for n in range(200)}
    with lumina.trace("span", first=1) as span:
        span.set_attributes(many)
    set_event = recorded.poll()[1]
    assert set_event.marks == {"@attributes": "cut:200"}  # type: ignore[union-attr]
    assert recorded.attributes("span") == {"first": 1} | {f"k{n}": n for n in range(127)}


def test_a_large_event_is_cut_and_marked_never_larger_than_a_frame(recorded: Recorded) -> None:
    big = {f"k{n}": "x" * 8000 for n in range(100)}
    other = lumina.SpanContext("1" * 32, "2" * 16)
    with lumina.trace("span", attributes=big, links=[(other, big)] * 100) as span:
        span.set_attributes(big).add_event("event", **big).set_attribute("one", big)
        span.add_link(other, big)
    for event in recorded.poll():
        assert len(pickle.dumps(str(event))) < 200_000
    start = recorded.poll()[0]
    assert len(start.attributes) >= 3  # type: ignore[union-attr]
    assert "@attributes" in (start.marks or {})  # type: ignore[union-attr]
    assert len(start.links) == 100  # type: ignore[union-attr]
    assert lumina.statistics().lost == 0
    assert isinstance(recorded.poll()[-2], SpanUpdated)


def test_large_attributes_given_as_keywords_are_cut_as_well(recorded: Recorded) -> None:
    many = {f"k{n}": "x" * 8000 for n in range(20)}
    for _ in range(2):  # the second time the name and the keys are known
        with lumina.trace("span", **many):
            pass
    for start in (event for event in recorded.poll() if isinstance(event, SpanStarted)):
        assert 3 <= len(start.attributes) < 20
        assert start.marks is not None and start.marks["@attributes"].startswith("cut:")


def test_repr_names_the_ids(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        assert repr(span) == f"<Span {span.trace_id}/{span.span_id}>"


def test_the_fast_path_and_the_careful_one_agree(recorded: Recorded) -> None:
    """The first value of a key goes the careful way, later ones the fast way: same events."""
    values: list[Any] = ["text", 5, True, False, 1.5, 2**63 - 1, -(2**63), "é", "", 0.0, None]
    with lumina.trace("span") as span:
        for value in values:
            span.set_attribute("k", value).set_attribute("k", value)
    said = [event.value for event in recorded.poll() if isinstance(event, AttributeSet)]
    assert said == [value for value in values for _ in range(2)]
    assert [type(a) for a in said[::2]] == [type(b) for b in said[1::2]]


def test_what_cannot_be_made_small_enough_is_refused_and_counted() -> None:
    limits = lumina.Limits(event_bytes=400)
    with lumina.init(export=False, limits=limits) as runtime, lumina.trace("span") as span:
        span.add_event("e" * 1000).set_attribute("k", "v" * 1000)
        assert runtime.statistics().lost_by_type == {"event_added": 1}
