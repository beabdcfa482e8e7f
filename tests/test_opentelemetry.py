"""The OpenTelemetry bridge, against the real SDK: spans stream as they run, and share one context."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

import pytest
import trio
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.model.limits import Limits
from lumina_stream.recording.context import current

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry import baggage, context, trace
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer, TraceState

from lumina_stream.instrument import opentelemetry as bridges
from lumina_stream.instrument import opentelemetry_live
from lumina_stream.instrument.opentelemetry import (
    LuminaSpanProcessor,
    OpenTelemetryBridge,
    instrument_opentelemetry,
)
from lumina_stream.instrument.opentelemetry_span import _open, mirror_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def bridge(recorded: Recorded) -> Iterator[OpenTelemetryBridge]:
    bridge = instrument_opentelemetry(TracerProvider(shutdown_on_exit=False))
    yield bridge
    bridge.remove()
    assert "get_current" not in vars(context._RUNTIME_CONTEXT)


@pytest.fixture
def provider(bridge: OpenTelemetryBridge) -> TracerProvider:
    return provider_with(bridge)


@pytest.fixture
def tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("a.library", "1.2")


def provider_with(bridge: OpenTelemetryBridge, **options: Any) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(bridge.processor)
    return provider


def exported(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def hex_ids(span: trace.Span) -> tuple[str, str]:
    said = span.get_span_context()
    return format(said.trace_id, "032x"), format(said.span_id, "016x")


# --- streaming --------------------------------------------------------------------------------------


def test_a_start_is_recorded_at_once(recorded: Recorded, tracer: Tracer) -> None:
    """With everything that the start says, under OpenTelemetry's ids and time."""
    state = TraceState([("vendor", "x")])
    far = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), True, trace.TraceFlags(1), state)
    span = tracer.start_span(
        "call",
        context=trace.set_span_in_context(trace.NonRecordingSpan(far)),
        kind=SpanKind.CLIENT,
        attributes={"gen_ai.operation.name": "chat", "xs": [1, 2]},
        links=[Link(far, {"why": "batch"})],
        start_time=1_000,
    )
    (event,) = recorded.poll()
    assert recorded.types() == ["span_started"]
    assert (event.trace_id, event.span_id) == hex_ids(span)  # type: ignore[union-attr]
    node = recorded.one("call")
    assert (node.state, node.kind, node.remote_parent, node.start_ns) == (
        "running",
        "llm",
        True,
        1_000,
    )
    assert (node.parent_id, event.trace_id) == (SPAN, TRACE)  # type: ignore[union-attr]
    assert node.attributes == {
        "gen_ai.operation.name": "chat",
        "xs": [1, 2],
        "otel.scope.name": "a.library",
        "otel.scope.version": "1.2",
        "span.kind": "client",
        "w3c.tracestate": "vendor=x",
    }
    assert [(link.trace_id, link.attributes) for link in node.link_list()] == [
        (TRACE, {"why": "batch"})
    ]
    assert not node.marks
    span.end(2_000)
    assert recorded.one("call").duration_ns == 1_000


LATER_CALLS: list[tuple[str, Callable[[Any], Any], dict[str, Any]]] = [
    ("attribute_set", lambda s: s.set_attribute("k", 1), {"key": "k", "value": 1}),
    (
        "attribute_set",
        lambda s: s.set_attribute("k", ("a", "b")),
        {"value": ["a", "b"], "marks": None},
    ),
    (
        "attribute_set",
        lambda s: s.set_attribute("k", {"a": [1]}),
        {"value": {"a": [1]}, "marks": None},
    ),
    (
        "attributes_set",
        lambda s: s.set_attributes({"a": 1, "b": "x"}),
        {"attributes": {"a": 1, "b": "x"}},
    ),
    (
        "event_added",
        lambda s: s.add_event("e", {"a": (1,)}, 5),
        {"name": "e", "attributes": {"a": [1]}, "time_ns": 5},
    ),
    ("event_added", lambda s: s.record_exception(KeyError("k")), {"name": "exception"}),
    ("span_updated", lambda s: s.update_name("other"), {"name": "other"}),
    ("span_updated", lambda s: s.add_link(s.get_span_context(), {"a": 1}), {"name": None}),
]


@pytest.mark.parametrize(("kind", "call", "fields"), LATER_CALLS)
def test_each_later_call_streams(
    recorded: Recorded,
    tracer: Tracer,
    kind: str,
    call: Callable[[Any], Any],
    fields: dict[str, Any],
) -> None:
    """One call, one event, before the span ends; and the end does not repeat it."""
    span = tracer.start_span("call")
    call(span)
    assert recorded.types() == ["span_started", kind]
    event = recorded.events[1]
    assert {name: getattr(event, name) for name in fields} == fields
    span.end()
    assert recorded.types() == ["span_started", kind, "span_ended"]


def test_the_span_stays_what_it_was(tracer: Tracer, provider: TracerProvider) -> None:
    """Its class's subclass, with the same name; other processors and exporters see the same span."""
    exporter = exported(provider)
    bare = plain_class()
    span = tracer.start_span("call")
    assert isinstance(span, bare)
    assert type(span) is not bare
    assert type(span).__name__ == bare.__name__
    assert repr(span).partition("(")[0] == bare.__name__
    assert type(tracer.start_span("other")) is type(span)
    span.set_attribute("k", 1)
    span.add_event("e")
    span.end()
    (found,) = exporter.get_finished_spans()
    assert dict(found.attributes or {}) == {"k": 1}
    assert [event.name for event in found.events] == ["e"]
    assert hex_ids(span) == (
        format(found.context.trace_id, "032x"),
        format(found.context.span_id, "016x"),
    )


def test_the_end_brings_what_went_round_the_calls(recorded: Recorded, tracer: Tracer) -> None:
    """Attributes, events, links and a name that were set without the span's public calls; once."""
    span: Any = tracer.start_span("call")
    span.set_attribute("streamed", 1)
    span.add_event("streamed")
    span._attributes["hidden"] = 2
    span._attributes["streamed"] = 3
    span._events.append(trace_event("hidden"))
    span._links.append(Link(trace.SpanContext(1, 2, False)))
    span._name = "renamed"
    span.end()
    span.end()
    node = recorded.one("renamed")
    assert node.attributes["hidden"] == 2
    assert node.attributes["streamed"] == 3
    assert [event.name for event in node.event_list()] == ["streamed", "hidden"]
    assert len(node.link_list()) == 1
    assert recorded.types().count("span_ended") == 1
    assert recorded.types().count("event_added") == 2


def trace_event(name: str) -> Any:
    from opentelemetry.sdk.trace import Event

    return Event(name)


def test_a_hook_that_the_sdk_lacks_costs_only_its_liveness(
    recorded: Recorded, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a version that works otherwise inside, the end still brings everything."""
    monkeypatch.setattr(sdk, "_Span", plain_class())
    monkeypatch.setattr(opentelemetry_live, "_STREAMING", {})
    monkeypatch.setattr(opentelemetry_live, "_live", {})
    with tracer.start_as_current_span("call") as span:
        span.set_attribute("k", 1)
        span.add_event("e")
        span.update_name("other")
        assert recorded.types() == ["span_started"]
    node = recorded.one("other")
    assert (node.attributes["k"], node.event_list()[0].name, node.state) == (1, "e", "ok")


def test_a_span_of_a_class_of_its_own_streams_too(
    recorded: Recorded, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made by the SDK as it was before we came, or by another library."""
    monkeypatch.setattr(sdk, "_Span", type("Own", (plain_class(),), {}))
    span = tracer.start_span("call")
    assert type(span).__name__ == "Own"
    span.set_attribute("k", 1)
    assert recorded.types() == ["span_started", "attribute_set"]
    span.end()
    assert recorded.one("call").state == "ok"


def test_a_span_is_born_with_the_class_that_it_keeps(provider: TracerProvider) -> None:
    """Changing it later would slow down all that is done with the span."""
    born: list[type] = []

    class Watching(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            born.append(type(span))

    watched = TracerProvider(shutdown_on_exit=False)
    watched.add_span_processor(Watching())
    watched.add_span_processor(LuminaSpanProcessor())
    assert type(watched.get_tracer("x").start_span("call")) is born[0]


def test_a_span_of_a_provider_without_us_is_as_ever(
    recorded: Recorded, bridge: OpenTelemetryBridge
) -> None:
    """It is born with our class as well."""
    elsewhere = TracerProvider(shutdown_on_exit=False).get_tracer("x")
    with elsewhere.start_as_current_span("call", attributes={"a": 1}) as span:
        span.set_attribute("k", 1)
        span.set_attributes({"l": 2})
        span.add_event("e")
        span.update_name("other")
        span.add_link(span.get_span_context())
    assert isinstance(span, ReadableSpan)
    assert span.attributes == {"a": 1, "k": 1, "l": 2}
    assert (span.name, len(span.events), len(span.links)) == ("other", 1, 1)
    assert recorded.types() == []


def test_the_sdk_gets_its_class_back_with_the_last_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opentelemetry_live, "_births", 0)
    monkeypatch.setattr(sdk, "_Span", plain_class())
    one, other = LuminaSpanProcessor(), LuminaSpanProcessor()
    one.shutdown()
    one.shutdown()
    assert sdk._Span is not plain_class()
    other.shutdown()
    assert sdk._Span is plain_class()


def plain_class() -> type:
    """Return the SDK's own class of spans, whatever it is made to use now."""
    ours = opentelemetry_live._live
    return next(kind for kind in sdk._Span.__mro__ if ours.get(kind) is not kind)


def test_what_the_sdk_refuses_is_not_recorded(recorded: Recorded, tracer: Tracer) -> None:
    """An empty key, but that there was one; anything after the end."""
    span = tracer.start_span("call")
    span.set_attribute("", 1)
    span.end()
    span.set_attribute("late", 1)
    span.add_event("late")
    span.update_name("late")
    assert recorded.types() == ["span_started", "attribute_set", "span_ended"]
    attributes = recorded.attributes("call")
    assert attributes.pop("otel.dropped_attributes_count") == 1
    assert set(attributes) == {"otel.scope.name", "otel.scope.version"}


def test_spans_of_one_tracer_share_no_attributes(recorded: Recorded, tracer: Tracer) -> None:
    """What is said of their scope is kept for all of them, and is no span's to change."""
    # From now on the keys are known, and attributes are taken as they are.
    tracer.start_span("first").end()
    with tracer.start_as_current_span("one") as span:
        span.set_attribute("own", 1)
        span.set_attributes({"more": 2, "and more": 3})
    with tracer.start_as_current_span("other"):
        pass
    scope = {"otel.scope.name": "a.library", "otel.scope.version": "1.2"}
    assert recorded.attributes("other") == scope
    assert recorded.attributes("one") == scope | {"own": 1, "more": 2, "and more": 3}


def test_two_providers_may_give_out_the_same_ids(recorded: Recorded) -> None:
    """Each span ends as itself."""

    class Counting(RandomIdGenerator):
        number = 0

        def generate_span_id(self) -> int:
            self.number += 1
            return self.number

    tracers: list[Tracer] = []
    for _ in range(2):
        provider = TracerProvider(shutdown_on_exit=False, id_generator=Counting())
        provider.add_span_processor(LuminaSpanProcessor())
        tracers.append(provider.get_tracer("x"))
    first, second = tracers[0].start_span("first"), tracers[1].start_span("second")
    first.set_status(StatusCode.ERROR, "failed")
    first.end()
    second.end()
    assert recorded.shape() == {"first": (None, "error"), "second": (None, "ok")}


def test_what_other_processors_set_at_the_start_streams(
    recorded: Recorded, bridge: OpenTelemetryBridge
) -> None:
    class Setting(SpanProcessor):
        def __init__(self, key: str) -> None:
            self.key = key

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            span.set_attribute(self.key, 1)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Setting("before"))
    provider.add_span_processor(bridge.processor)
    provider.add_span_processor(LuminaSpanProcessor())
    provider.add_span_processor(Setting("after"))
    provider.get_tracer("x").start_span("call").end()
    assert recorded.types() == ["span_started", "attribute_set", "span_ended"]
    assert {"before", "after"} <= set(recorded.attributes("call"))


def test_a_processor_that_hands_on_another_object(
    recorded: Recorded, bridge: OpenTelemetryBridge
) -> None:
    """As Logfire's scrubber does: what ends the span has only its ids in common with what began it."""

    class Rebuilding(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            bridge.processor.on_start(span, parent_context)

        def on_end(self, span: ReadableSpan) -> None:
            copy = ReadableSpan(
                span.name, span.context, start_time=span.start_time, end_time=span.end_time
            )
            bridge.processor.on_end(copy)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Rebuilding())
    provider.get_tracer("x").start_span("call").end()
    assert recorded.types() == ["span_started", "span_ended"]


def test_a_span_that_began_before_comes_whole_at_its_end(
    recorded: Recorded, bridge: OpenTelemetryBridge
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("x").start_span("early", attributes={"k": 1}, start_time=10)
    span.add_event("e", timestamp=15)
    provider.add_span_processor(bridge.processor)
    assert recorded.types() == []
    span.end(20)
    node = recorded.one("early")
    assert (node.attributes["k"], node.state, node.duration_ns) == (1, "ok", 10)
    assert [event.time_ns for event in node.event_list()] == [15]


def test_limits_of_the_sdk_are_said(recorded: Recorded, bridge: OpenTelemetryBridge) -> None:
    from opentelemetry.sdk.trace import SpanLimits

    provider = provider_with(bridge, span_limits=SpanLimits(max_span_attributes=2, max_events=1))
    span = provider.get_tracer("x").start_span("call")
    span.set_attributes({"a": 1, "b": 2, "c": 3})
    span.add_event("one")
    span.add_event("two")
    span.end()
    attributes = recorded.attributes("call")
    assert attributes["otel.dropped_attributes_count"] == 1
    assert attributes["otel.dropped_events_count"] == 1
    assert [e.name for e in recorded.one("call").event_list()] == ["one", "two"]


# --- how it ends ------------------------------------------------------------------------------------


def test_statuses(recorded: Recorded, tracer: Tracer) -> None:
    for name, status in (
        ("unset", Status()),
        ("ok", Status(StatusCode.OK)),
        ("error", Status(StatusCode.ERROR, "went wrong")),
    ):
        with tracer.start_as_current_span(name) as span:
            span.set_status(status)
    assert {name: state for name, (_, state) in recorded.shape().items()} == {
        "unset": "ok",
        "ok": "ok",
        "error": "error",
    }
    assert (recorded.error("error").type, recorded.error("error").message) == ("", "went wrong")


def test_an_exception_is_the_error(recorded: Recorded, tracer: Tracer) -> None:
    """Its type, message and stack trace; a status of other words keeps those."""
    with pytest.raises(ValueError), tracer.start_as_current_span("raised"):
        raise ValueError("boom")
    with tracer.start_as_current_span("handled") as span:
        span.record_exception(ValueError("boom"))
        span.set_status(StatusCode.ERROR, "gave up")
    error = recorded.error("raised")
    assert (error.type, error.message) == ("ValueError", "boom")
    assert "ValueError: boom" in error.stacktrace
    assert recorded.error("handled").message == "gave up"


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_cancelled_task_is_cancelled(recorded: Recorded, tracer: Tracer, library: str) -> None:
    """OpenTelemetry says nothing of it; work begun while it is handled is not cancelled."""

    async def work(sleep_forever: Callable[[], Any]) -> None:
        with tracer.start_as_current_span("work"):
            try:
                await sleep_forever()
            finally:
                with tracer.start_as_current_span("cleaning up"):
                    pass

    if library == "asyncio":

        async def main() -> None:
            task = asyncio.create_task(work(lambda: asyncio.Event().wait()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
    else:

        async def main_trio() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work, trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

        trio.run(main_trio)
    assert recorded.shape() == {"work": (None, "cancelled"), "cleaning up": ("work", "ok")}


def test_a_span_that_nobody_ends_is_abandoned(recorded: Recorded, tracer: Tracer) -> None:
    span = tracer.start_span("dropped")
    number = span.get_span_context().span_id
    assert mirror_of(number) is not None
    del span
    gc.collect()
    assert recorded.shape() == {"dropped": (None, "abandoned")}
    assert number not in _open


# --- one context ------------------------------------------------------------------------------------


def test_children_both_ways(recorded: Recorded, tracer: Tracer) -> None:
    """Four deep, alternating, and back out again."""
    with tracer.start_as_current_span("o1") as first:
        with lumina.trace("l1") as l1:
            assert hex_ids(trace.get_current_span()) == (l1.trace_id, l1.span_id)
            with tracer.start_as_current_span("o2"):
                with lumina.trace("l2"):
                    pass
                with lumina.trace("l3"):
                    pass
            assert lumina.current_span() is l1
            with tracer.start_as_current_span("o3"):
                pass
        assert trace.get_current_span() is first
        assert lumina.current_span().span_id == hex_ids(first)[1]
    assert lumina.current_span().span_id == "0" * 16
    assert not trace.get_current_span().get_span_context().is_valid
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    assert parents == {"o1": None, "l1": "o1", "o2": "l1", "l2": "o2", "l3": "o2", "o3": "l1"}


def test_the_current_span_is_the_other_ones(recorded: Recorded, tracer: Tracer) -> None:
    """What either library sets on the current span reaches it, whoever made it."""
    with tracer.start_as_current_span("otel"):
        held = lumina.current_span()
        assert held.is_recording
        held.set_attribute("a", 1).set_attributes({"b": {1, 2}}).add_event("e", x=1)
        held.update_name("renamed").add_link(held)
        held.record_exception(ValueError("v"))
        with lumina.trace("inner"):
            seen = trace.get_current_span()
            assert seen.is_recording()
            seen.set_attribute("a", 1)
            seen.set_attributes({"b": 2})
            seen.add_event("e", {"x": 1})
            seen.record_exception(ValueError("v"))
            seen.add_link(seen.get_span_context())
            seen.update_name("renamed too")
            seen.set_status(Status(StatusCode.ERROR, "bad"))
    inner, otel = recorded.one("renamed too"), recorded.one("renamed")
    assert inner.attributes == {"a": 1, "b": 2}
    assert (otel.attributes["a"], sorted(otel.attributes["b"])) == (1, [1, 2])
    assert [e.name for e in inner.event_list()] == ["e", "exception"]
    assert [e.name for e in otel.event_list()] == ["e", "exception"]
    assert len(inner.link_list()) == len(otel.link_list()) == 1
    assert recorded.error("renamed too").message == "bad"


@pytest.mark.parametrize("status", ["ok", "error", "cancelled"])
def test_a_status_said_to_the_current_span(recorded: Recorded, tracer: Tracer, status: Any) -> None:
    with tracer.start_as_current_span("otel"):
        lumina.current_span().set_status(status, "why")
    assert recorded.shape() == {"otel": (None, status)}


def test_the_current_span_ends_the_other_one(recorded: Recorded, tracer: Tracer) -> None:
    span = tracer.start_span("otel")
    with (
        pytest.raises(KeyError),
        trace.use_span(span, record_exception=False),
        lumina.current_span(),
    ):
        raise KeyError("k")
    assert not span.is_recording()
    assert recorded.error("otel").type == "KeyError"
    with lumina.trace("ours") as ours:
        trace.get_current_span().end()
        assert not ours.is_recording
        assert not trace.get_current_span().is_recording()


def test_asyncio_tasks(recorded: Recorded, tracer: Tracer) -> None:
    """Each task has its own branch, whatever the order in which they go on."""

    async def branch(name: str) -> None:
        with tracer.start_as_current_span(f"o{name}"):
            await asyncio.sleep(0)
            async with lumina.trace(f"l{name}"):
                await asyncio.sleep(0)
                with tracer.start_as_current_span(f"i{name}"):
                    await asyncio.sleep(0)

    async def main() -> None:
        async with lumina.trace("root"):
            await asyncio.gather(*(branch(str(n)) for n in range(5)))

    asyncio.run(main())
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    for n in range(5):
        assert (parents[f"o{n}"], parents[f"l{n}"], parents[f"i{n}"]) == ("root", f"o{n}", f"l{n}")


def test_trio_tasks(recorded: Recorded, tracer: Tracer) -> None:
    async def branch(name: str) -> None:
        with tracer.start_as_current_span(f"o{name}"):
            await trio.lowlevel.checkpoint()
            async with lumina.trace(f"l{name}"):
                await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with lumina.trace("root"), trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(branch, str(n))

    trio.run(main)
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    assert all((parents[f"o{n}"], parents[f"l{n}"]) == ("root", f"o{n}") for n in range(5))


def in_thread(call: Callable[[], Any]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_threads_by_our_means(recorded: Recorded, tracer: Tracer) -> None:
    """`propagate` takes an OpenTelemetry span along, and its baggage."""

    def work() -> None:
        assert baggage.get_baggage("user") == "7"
        with tracer.start_as_current_span("otel in thread"), lumina.trace("ours in thread"):
            pass

    token = context.attach(baggage.set_baggage("user", "7"))
    with tracer.start_as_current_span("otel"):
        in_thread(lumina.propagate(work))
    with lumina.trace("bare"):
        in_thread(lambda: tracer.start_span("unrelated").end())
    context.detach(token)
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    assert parents == {
        "otel": None,
        "otel in thread": "otel",
        "ours in thread": "otel in thread",
        "bare": None,
        "unrelated": None,
    }


def test_threads_by_its_means(recorded: Recorded, tracer: Tracer) -> None:
    """A context that OpenTelemetry captured brings our span into another thread."""
    with lumina.trace("ours"):
        captured = context.get_current()

        def work() -> None:
            token = context.attach(captured)
            with lumina.trace("below"), tracer.start_as_current_span("otel below"):
                pass
            lumina.current_span().set_attribute("from the thread", 1)
            context.detach(token)
            assert lumina.current_span().span_id == "0" * 16

        in_thread(work)
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    assert parents == {"ours": None, "below": "ours", "otel below": "below"}
    assert recorded.attributes("ours") == {"from the thread": 1}


def test_other_values_of_the_context(recorded: Recorded, tracer: Tracer) -> None:
    """Baggage and suppression attach and detach around our spans without moving them."""
    with lumina.trace("ours") as ours:
        token = context.attach(context.set_value("suppress", True))
        assert lumina.current_span() is ours
        with lumina.trace("inner"):
            assert context.get_value("suppress") is True
            with tracer.start_as_current_span("otel"):
                assert context.get_value("suppress") is True
        context.detach(token)
        assert context.get_value("suppress") is None
        assert lumina.current_span() is ours
    assert recorded.shape()["otel"] == ("inner", "ok")


def test_an_emptied_context_begins_a_trace(recorded: Recorded, tracer: Tracer) -> None:
    """`attach(Context())` means no parent, for our spans too; detaching restores it."""
    with lumina.trace("ours") as ours:
        token = context.attach(context.Context())
        with lumina.trace("apart"), tracer.start_as_current_span("below"):
            pass
        with tracer.start_as_current_span("otel apart"):
            pass
        context.detach(token)
        assert lumina.current_span() is ours
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    assert parents == {"ours": None, "apart": None, "below": "apart", "otel apart": None}


def test_tracers_that_make_nothing(recorded: Recorded, bridge: OpenTelemetryBridge) -> None:
    """Their stand-ins for the current span, with its ids, do not take its place."""
    with lumina.trace("ours") as ours, trace.NoOpTracer().start_as_current_span("nothing"):
        assert lumina.current_span() is ours
        same = trace.NonRecordingSpan(trace.get_current_span().get_span_context())
        with trace.use_span(same):
            assert lumina.current_span() is ours
            assert trace.get_current_span().is_recording()


def test_leaving_in_the_wrong_order(recorded: Recorded, tracer: Tracer) -> None:
    """A span that was left while spans in it are open is nobody's parent afterwards."""
    otel = tracer.start_as_current_span("otel")
    otel.__enter__()
    ours = lumina.trace("ours")
    ours.__enter__()
    otel.__exit__(None, None, None)
    with tracer.start_as_current_span("in ours"):
        pass
    ours.__exit__(None, None, None)
    with lumina.trace("after"), tracer.start_as_current_span("after otel"):
        pass
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    assert parents == {
        "otel": None,
        "ours": "otel",
        "in ours": "ours",
        "after": None,
        "after otel": "after",
    }


def test_a_generator_of_each(recorded: Recorded, tracer: Tracer) -> None:
    """Between two items the consumer's span is current, for OpenTelemetry too."""

    @lumina.trace
    def ours() -> Iterator[int]:
        for n in range(2):
            with tracer.start_as_current_span(f"in generator {n}"):
                pass
            yield n

    with lumina.trace("consumer"):
        for n in ours():
            with tracer.start_as_current_span(f"in consumer {n}"):
                pass
    parents = {name: parent for name, (parent, _) in recorded.shape().items()}
    generator = next(name for name in parents if name.endswith("ours"))
    assert {parents[f"in generator {n}"] for n in range(2)} == {generator}
    assert {parents[f"in consumer {n}"] for n in range(2)} == {"consumer"}


def test_across_processes(recorded: Recorded, tracer: Tracer) -> None:
    """Headers of either are read by either, with flag, state and baggage."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "v=1", "baggage": "user=7"}
    with lumina.trace("ours", parent=lumina.extract(headers)) as ours:
        sent: dict[str, str] = {}
        inject(sent)
        assert sent == {
            "traceparent": f"00-{TRACE}-{ours.span_id}-01",
            "tracestate": "v=1",
            "baggage": "user=7",
        }
    token = context.attach(extract(headers))
    with lumina.trace("below remote") as below:
        sent = dict(lumina.inject())
        assert sent["traceparent"] == f"00-{TRACE}-{below.span_id}-01"
        assert (sent["tracestate"], sent["baggage"]) == ("v=1", "user=7")
    with tracer.start_as_current_span("otel") as otel:
        assert lumina.inject()["traceparent"] == f"00-{TRACE}-{hex_ids(otel)[1]}-01"
        assert lumina.inject()["tracestate"] == "v=1"
    context.detach(token)
    assert all(
        n.parent_id == SPAN and n.remote_parent
        for n in recorded.spans()
        if n.name in ("ours", "below remote", "otel")
    )


def test_with_attributes_reach_its_spans(recorded: Recorded, tracer: Tracer) -> None:
    with lumina.with_attributes(user_id="7"):
        tracer.start_span("otel").end()
    assert recorded.attributes("otel")["user_id"] == "7"


def test_our_span_is_not_kept_alive_by_its_stand_in(recorded: Recorded, tracer: Tracer) -> None:
    """Captured contexts are kept for long; a dropped span ends as abandoned all the same."""
    span = lumina.start_span("dropped")
    current.set(span)
    kept = [context.get_current()]
    current.set(None)
    del span
    assert recorded.shape() == {"dropped": (None, "abandoned")}
    seen = trace.get_current_span(kept[0])
    seen.set_attribute("k", 1)
    assert not seen.is_recording()
    token = context.attach(kept[0])
    with lumina.trace("below"):
        pass
    context.detach(token)
    assert recorded.one("below").parent_id == recorded.one("dropped").span_id


# --- sampling, settings, processes ------------------------------------------------------------------


def test_what_its_sampler_leaves_out(recorded: Recorded, bridge: OpenTelemetryBridge) -> None:
    """Is left out here, with our spans in it; our unsampled spans leave out theirs."""
    off = provider_with(bridge, sampler=sampling.ParentBased(sampling.ALWAYS_OFF)).get_tracer("x")
    record_only = provider_with(bridge, sampler=RecordOnly()).get_tracer("x")
    with off.start_as_current_span("out"), lumina.trace("in it"), off.start_as_current_span("out"):
        assert not lumina.current_span().is_recording
    with lumina.trace("ours"), off.start_as_current_span("sampled by its parent"):
        pass
    with record_only.start_as_current_span("recorded only"), lumina.trace("in it too"):
        pass
    assert set(recorded.shape()) == {"ours", "sampled by its parent"}
    remote = lumina.extract({"traceparent": f"00-{TRACE}-{SPAN}-00"})
    with lumina.trace("ours, unsampled", parent=remote), off.start_as_current_span("theirs"):
        sent: dict[str, str] = {}
        inject(sent)
        assert sent["traceparent"].endswith("-00")
    assert set(recorded.shape()) == {"ours", "sampled by its parent"}


class RecordOnly(sampling.Sampler):
    def should_sample(self, *args: Any, **kwargs: Any) -> sampling.SamplingResult:
        return sampling.SamplingResult(sampling.Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "record only"


def test_our_sample_rate_takes_traces_whole(bridge: OpenTelemetryBridge) -> None:
    """What we leave out is left out with all below it, and reaches other exporters all the same."""
    provider = provider_with(bridge)
    exporter, tracer = exported(provider), provider.get_tracer("x")
    with lumina.init(export=False, sample_rate=0.3) as runtime, lumina.subscribe() as live:
        for _ in range(60):
            with tracer.start_as_current_span("a"), lumina.trace("b"):
                tracer.start_span("c").end()
        live.poll()
        shapes = {tuple(sorted(n.name for n in tree)) for tree in live.traces.values()}
        assert shapes == {("a", "b", "c")}
        assert 0 < len(live.traces) < 60
        assert runtime.recorder.faults == 0
        token = context.attach(extract({"traceparent": f"00-{'f' * 32}-{SPAN}-01"}))
        tracer.start_span("of a sampled caller").end()
        context.detach(token)
        assert "f" * 32 in {f.event.trace_id for f in live.poll().facts}  # type: ignore[union-attr]
    assert len([s for s in exporter.get_finished_spans() if s.name == "a"]) == 60


def test_content_is_withheld(bridge: OpenTelemetryBridge) -> None:
    """With `capture_content=False` lengths stand for texts, in every way in which they come."""
    tracer = provider_with(bridge).get_tracer("x")
    secret = "the text of a message"
    with lumina.init(export=False, capture_content=False), lumina.subscribe() as live:
        with tracer.start_as_current_span(
            "call", attributes={"gen_ai.input.messages": secret}
        ) as span:
            span.set_attribute("gen_ai.completion.0.content", secret)
            message = "llm.input_messages.0.message"
            span.set_attributes({f"{message}.content": secret, f"{message}.role": "user", "m": "x"})
            span.add_event("gen_ai.user.message", {"content": secret, "index": 1})
            span._attributes["output.value"] = secret  # type: ignore[attr-defined]
        facts = live.poll().facts
        (tree,) = live.traces.values()
    assert secret not in repr(facts)
    (node,) = tree
    assert node.attributes["gen_ai.input.messages.length"] == len(secret)
    assert node.attributes["output.value.length"] == len(secret)
    assert node.attributes["llm.input_messages.0.message.role"] == "user"
    assert node.attributes["m"] == "x"
    assert node.event_list()[0].attributes == {"content.length": len(secret), "index": 1}


def test_errors_without_content(bridge: OpenTelemetryBridge) -> None:
    """Of an exception there are type and places: what it says, and the source, quote what was said."""
    tracer = provider_with(bridge).get_tracer("x")
    with lumina.init(export=False, capture_content=False), lumina.subscribe() as live:
        with suppress(ValueError), tracer.start_as_current_span("raised"):
            raise ValueError('the secret\n  File "secret"')
        with tracer.start_as_current_span("said") as span:
            span.set_status(StatusCode.ERROR, "the secret")
            span.set_attribute("error.message", "the secret")
        facts = live.poll().facts
        raised, said = (node for tree in live.traces.values() for node in tree)
    assert "secret" not in repr(facts)
    assert raised.error is not None
    assert raised.error.type == "ValueError"
    assert raised.error.stacktrace.strip().startswith("File ")
    assert "test_errors_without_content" in raised.error.stacktrace
    assert raised.event_list()[0].attributes["exception.message.length"] == 26
    assert (said.state, said.error and said.error.message) == ("error", "")


def test_content_on_a_span_of_ours_is_withheld(bridge: OpenTelemetryBridge) -> None:
    """By OpenTelemetry's calls on the current span, which is ours."""
    with lumina.init(export=False, capture_content=False), lumina.subscribe() as live:
        with lumina.trace("mine"):
            span = trace.get_current_span()
            span.set_attribute("gen_ai.input.messages", "secret")
            span.set_attributes({"gen_ai.output.messages": "secret", "m": "x"})
            span.add_event("gen_ai.user.message", {"content": "secret"})
            span.set_status(StatusCode.ERROR, "secret")
            span.record_exception(ValueError("secret"))
        facts = live.poll().facts
        ((node,),) = live.traces.values()
    assert "secret" not in repr(facts)
    assert node.attributes == {
        "gen_ai.input.messages.length": 6, "gen_ai.output.messages.length": 6, "m": "x",
    }  # fmt: skip
    assert node.state == "error"


def test_redaction(recorded: Recorded, tracer: Tracer) -> None:
    with tracer.start_as_current_span("call", attributes={"password": "p4ss"}) as span:
        span.set_attribute("api_key", "k3y")
        span.set_status(StatusCode.ERROR, "mail to someone@example.com")
    assert "p4ss" not in repr(recorded.poll())
    assert "k3y" not in repr(recorded.poll())


def test_a_full_queue_is_counted(bridge: OpenTelemetryBridge) -> None:
    """A span whose start was refused says nothing more, and each event of it is counted."""
    tracer = provider_with(bridge).get_tracer("x")
    runtime = lumina.init(limits=Limits(queue_bytes=4_096), endpoint="http://127.0.0.1:1")
    runtime.queue.starts_bound = 0
    with tracer.start_as_current_span("call") as span:
        span.set_attribute("k", 1)
        span.set_attributes({"a": 1, "b": 2})
        span.add_event("e")
        span.update_name("n")
        span.add_link(span.get_span_context())
    lost = runtime.statistics().lost_by_type
    runtime.queue.close()
    runtime.shutdown(0)
    assert lost == {
        "span_started": 1,
        "attribute_set": 1,
        "attributes_set": 1,
        "event_added": 1,
        "span_updated": 2,
        "span_ended": 1,
    }


def test_nothing_is_recorded_while_off() -> None:
    """And nothing is done to the spans."""
    bridge = instrument_opentelemetry(TracerProvider(shutdown_on_exit=False))
    try:
        tracer = provider_with(bridge).get_tracer("x")
        with tracer.start_as_current_span("call") as span:
            assert "_lumina_mirror" not in vars(span)
            assert trace.get_current_span() is span
    finally:
        bridge.remove()


def test_removed(recorded: Recorded) -> None:
    """Open spans still end; further ones are not seen, and the contexts know nothing of each other."""
    bridge = instrument_opentelemetry(TracerProvider(shutdown_on_exit=False))
    tracer = provider_with(bridge).get_tracer("x")
    with tracer.start_as_current_span("open"):
        bridge.remove()
        bridge.remove()
        with lumina.trace("ours"):
            assert trace.get_current_span().get_span_context().is_valid
    assert lumina.current_span().span_id == "0" * 16
    tracer.start_span("later").end()
    assert set(recorded.shape()) == {"open", "ours"}
    assert instrument_opentelemetry(TracerProvider(shutdown_on_exit=False)) is not bridge
    bridges._bridge.remove()  # type: ignore[union-attr]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork(recorded: Recorded, tracer: Tracer) -> None:
    """A span of the parent is only a parent in the child: its end there is not recorded."""
    read, write = os.pipe()
    with tracer.start_as_current_span("parent's") as span:
        pid = os.fork()
        if pid == 0:
            try:
                with lumina.subscribe() as live:
                    with tracer.start_as_current_span("child's"), lumina.trace("ours"):
                        pass
                    span.set_attribute("k", 1)
                    span.end()
                    facts = live.poll().facts
                kinds = [type(fact.event).__name__ for fact in facts]
                parent = getattr(facts[0].event, "parent_id", "")
                os.write(write, f"{kinds}{parent == hex_ids(span)[1]}".encode())
            finally:
                os._exit(0)
        os.close(write)
        said = b""
        while part := os.read(read, 4096):
            said += part
        os.waitpid(pid, 0)
    expected = ["SpanStarted", "SpanStarted", "SpanEnded", "SpanEnded"]
    assert said.decode() == f"{expected}True"
    assert recorded.shape() == {"parent's": (None, "ok")}


# --- setting up, each in a process of its own: providers are global ---------------------------------

SET_UP = {
    "the program's provider is there": """
trace.set_tracer_provider(TracerProvider()); instrument_opentelemetry()
trace.get_tracer("x").start_span("call").end()
""",
    "the program sets one up later": """
early = trace.get_tracer("early"); instrument_opentelemetry()
assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
trace.set_tracer_provider(TracerProvider())
early.start_span("call").end()
""",
    "a provider that is not the global one": """
instrument_opentelemetry()
TracerProvider().get_tracer("x").start_span("call").end()
""",
    "the program sets none up": """
early = trace.get_tracer("early"); instrument_opentelemetry()
with early.start_as_current_span("call"): pass
""",
    "the global one at once": """
instrument_opentelemetry(set_global=True); instrument_opentelemetry(set_global=True)
assert isinstance(trace.get_tracer_provider(), TracerProvider)
trace.get_tracer("x").start_span("call").end()
""",
    "ours first, then theirs": """
exporter = InMemorySpanExporter(); early = trace.get_tracer("early"); instrument_opentelemetry()
early.start_span("not exported"); provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter)); trace.set_tracer_provider(provider)
early.start_span("call").end()
assert [s.name for s in exporter.get_finished_spans()] == ["call"]
""",
    "undone": """
before = TracerProvider.__init__, trace.ProxyTracer._tracer
instrument_opentelemetry().remove()
assert before == (TracerProvider.__init__, trace.ProxyTracer._tracer)
trace.get_tracer("x").start_span("unseen").end()
instrument_opentelemetry()
trace.get_tracer("x").start_span("call").end()
""",
}
PROGRAM = """
import lumina_stream as lumina
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from lumina_stream.instrument.opentelemetry import instrument_opentelemetry
runtime = lumina.init(export=False)
with lumina.subscribe() as live:
{body}
    names = [f.event.name for f in live.poll().facts if type(f.event).__name__ == "SpanStarted"]
print(names.count("call"), "unseen" in names, runtime.recorder.faults)
"""


@pytest.mark.parametrize("body", SET_UP.values(), ids=SET_UP)
def test_setting_up(body: str) -> None:
    """Whatever the order, each span once; the program's own exporters get what they would have got."""
    program = PROGRAM.format(body="".join(f"    {line}\n" for line in body.strip().splitlines()))
    assert run(program) == "1 False 0\n"


def run(program: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LUMINA_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=clean | environment,
    )
    assert done.stderr == ""
    return done.stdout


def test_started_from_the_environment() -> None:
    """Only if lumina's variables ask for it; the service name is OpenTelemetry's."""
    program = """
import lumina_stream as lumina
from lumina_stream.instrument import opentelemetry as bridges
bridges.start_from_environment()
print(bridges._bridge is not None, lumina.statistics().service_name)
"""
    assert run(program) == "False \n"
    asked = {"LUMINA_ENDPOINT": "http://127.0.0.1:1", "OTEL_SERVICE_NAME": "shop"}
    assert run(program, **asked) == "True shop\n"
    assert run(program, **asked, LUMINA_SERVICE_NAME="mine").startswith("True")


def test_importing_lumina_does_not_import_opentelemetry() -> None:
    assert run("import lumina_stream, sys; print('opentelemetry' in sys.modules)") == "False\n"


def test_under_opentelemetry_instrument() -> None:
    """An untouched program, started by OpenTelemetry's own command: seen while it runs."""
    pytest.importorskip("opentelemetry.distro", reason="opentelemetry-distro is not installed")
    hooks = entry_points(group="opentelemetry_pre_instrument", name="lumina_stream")
    if not hooks:
        pytest.skip("the package is installed from before it had this entry point")
    program = """
import sys
from opentelemetry import trace
with trace.get_tracer("x").start_as_current_span("call") as span:
    print(hasattr(span, "_lumina_mirror"), "lumina_stream" in sys.modules)
"""
    settings = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    assert instrumented(program, settings) == "False True\n"
    asked = settings | {"LUMINA_ENDPOINT": "http://127.0.0.1:1"}
    assert instrumented(program, asked) == "True True\n"


def instrumented(program: str, environment: dict[str, str]) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LUMINA_"))}
    run = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    command = [sys.executable, "-c", run, sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=clean | environment)
    return done.stdout + ("" if done.returncode == 0 else done.stderr)
