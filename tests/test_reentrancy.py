"""Recording inside recording: at every call boundary of our own code a traced function is run.

A signal handler runs between two bytecodes, where the interpreter looks for one: around calls.
`sys.setprofile` fires exactly there, and deterministically. What it interrupts must come out as if
nothing had happened, and what it records must be there, all of it, once.
"""

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.model.limits import EVENT_OVERHEAD
from lumina_stream.recording.context import active
from lumina_stream.recording.queue import EventQueue
from lumina_stream.recording.recorder import Recorder


def interrupted(work: Callable[[], Any], handler: Callable[[], Any], at: int) -> bool:
    """Run `work` with `handler` at its `at`-th call boundary; return whether there was one."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += 1
        if count == at:
            sys.setprofile(None)
            handler()

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count >= at


def everywhere(work: Callable[[], Any], handler: Callable[[], Any]) -> Iterator[int]:
    """Run `work` once for each of its call boundaries, interrupted there."""
    at = 1
    while interrupted(work, handler, at):
        yield at
        at += 1
    assert at > 3, "nothing was interrupted"


WORK: dict[str, Callable[[lumina.Span], Any]] = {
    "fast attribute": lambda span: span.set_attribute("plain", 1),
    "careful attribute": lambda span: span.set_attribute("list", [1, {"a": b"x"}]),
    "attributes": lambda span: span.set_attributes({"a": 1, "b": "x"}),
    "event": lambda span: span.add_event("event", a=1),
    "start and end": lambda span: lumina.start_span("inner", links=[span]).end(),
    "block": lambda span: lumina.trace("inner").__enter__().__exit__(None, None, None),
    "error": lambda span: span.record_exception(ValueError("x")),
    "link": lambda span: span.add_link(span),
    "name": lambda span: span.update_name("span"),
}


@pytest.mark.parametrize("name", WORK)
def test_row_23_a_traced_handler_at_every_point_of_a_recording_call(
    recorded: Recorded, name: str
) -> None:
    def handler() -> None:
        with lumina.trace("handler") as inner:
            inner.set_attribute("k", 1)
        lumina.current_span().add_event("handled")

    with lumina.trace("span") as span:
        span.set_attribute("plain", 0)
        recorded.poll()
        WORK[name](span)
        alone = len(recorded.poll())
        once = alone - 2
        runs = sum(1 for _ in everywhere(lambda: WORK[name](span), handler))
        # The last round, in which there was no further boundary, records too.
        assert len(recorded.poll()) == alone + (runs + 1) * once + runs * 4
        assert lumina.current_span() is span
    spans = recorded.spans()
    assert all(s.state == "ok" for s in spans)
    handlers = [s for s in spans if s.name == "handler"]
    assert len(handlers) == runs
    assert {s.parent.name for s in handlers if s.parent} <= {"span", "inner"}
    assert lumina.statistics().lost == 0


@pytest.mark.parametrize("call", ["set_attribute", "add_event"])
def test_refusals_inside_a_refusal_are_counted_exactly(call: str) -> None:
    recorder = Recorder(EventQueue(10_000), producer_id="p" * 16)
    active.recorder = recorder
    try:
        span, other = lumina.start_span("span"), lumina.start_span("other")
        recorder.queue.used = 9_000

        def work() -> None:
            if call == "add_event":
                span.add_event("k")
            else:
                span.set_attribute("k", 1)

        runs = sum(1 for _ in everywhere(work, lambda: other.set_attribute("k", 1)))
        assert recorder.queue.losses.total == 2 * runs + 1
        report = recorder.queue.losses.take(1)
        assert report is not None
        assert report.count == sum(report.by_type.values()) == 2 * runs + 1
        recorder.queue.used = 0
        span.end()
        other.end()
    finally:
        active.recorder = None


def test_refusals_inside_a_report_are_in_this_one_or_the_next() -> None:
    recorder = Recorder(EventQueue(10_000), producer_id="p" * 16)
    active.recorder = recorder
    ledger = recorder.queue.losses
    try:
        span = lumina.start_span("span")
        recorder.queue.used = 9_000
        told = 0

        def take() -> None:
            nonlocal told
            report = ledger.take(1)
            if report is not None:
                assert report.count == sum(report.by_type.values()) == sum(report.by_trace.values())
                told += report.count

        for _ in everywhere(take, lambda: span.set_attribute("k", 1)):
            pass
        take()
        assert told == ledger.total
        recorder.queue.used = 0
        span.end()
    finally:
        active.recorder = None


def test_the_queue_counts_its_bytes_exactly() -> None:
    queue = EventQueue()

    def admit() -> None:
        queue.admit(b"outer", queue.ends_bound)

    for _ in everywhere(admit, lambda: queue.admit(b"inner!", queue.ends_bound)):
        pass
    assert queue.used == sum(len(event) + EVENT_OVERHEAD for event in queue.events)


def test_a_subscription_counts_its_bytes_exactly(recorded: Recorded) -> None:
    with lumina.subscribe() as live, lumina.trace("span") as span:

        def take() -> None:
            span.set_attribute("k", 1)
            live.poll()

        for _ in everywhere(take, lambda: span.set_attribute("k", 2)):
            live.poll()
            assert live._bytes == 0


def test_a_span_collected_inside_a_recording_call(recorded: Recorded) -> None:
    """The collector runs wherever something is allocated; what it finds there ends as abandoned."""

    def drop() -> None:
        cycle: list[Any] = [lumina.start_span("dropped")]
        cycle.append(cycle)
        del cycle
        gc.collect(0)

    with lumina.trace("span") as span:
        runs = sum(1 for _ in everywhere(lambda: span.set_attribute("list", [1]), drop))
    dropped = [s for s in recorded.spans() if s.name == "dropped"]
    assert [s.state for s in dropped] == ["abandoned"] * runs
    assert recorded.one("span").state == "ok"


def test_gc_callbacks_that_trace(recorded: Recorded) -> None:
    fired = 0

    def callback(phase: str, info: Any) -> None:
        nonlocal fired
        fired += 1
        with lumina.trace("collection"):
            pass

    threshold = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(5, 2, 2)
    try:
        with lumina.trace("span") as span:
            for n in range(200):
                span.set_attribute("n", [n, {"k": n}])
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(callback)
    assert fired > 10
    spans = recorded.spans()
    assert len(spans) == fired + 1
    assert {s.state for s in spans} == {"ok"}
    assert recorded.attributes("span")["n"] == [199, {"k": 199}]


def test_row_23_real_signals_while_recording(recorded: Recorded) -> None:
    handled = 0

    def handler(number: int, frame: Any) -> None:
        nonlocal handled
        handled += 1
        with lumina.trace("signal") as span:
            span.set_attribute("k", 1)

    before = signal.signal(signal.SIGUSR1, handler)
    done = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        while not done.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)

    thread = threading.Thread(target=send)
    try:
        with lumina.trace("span") as span:
            thread.start()
            for n in range(3000):
                span.set_attribute("n", n)
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    types = recorded.types()
    assert types.count("span_started") == types.count("span_ended") == handled + 1
    assert types.count("attribute_set") == 3000 + handled


def test_a_log_call_inside_a_recording_call(recorded: Recorded) -> None:
    """A value's own `__str__` logs, and the handler records on the span that is being written."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lumina.current_span().add_event("log", text=record.getMessage())

    logger = logging.Logger("inside")
    logger.addHandler(Handler())

    class Talking:
        def __str__(self) -> str:
            logger.warning("being read")
            return "talking"

    with lumina.trace("span", value=Talking()) as span:
        span.set_attribute("k", Talking())
    node = recorded.one("span")
    assert node.attributes == {"value": "talking", "k": "talking"}
    assert [event.name for event in node.event_list()] == ["log"]


def test_a_del_that_traces(recorded: Recorded) -> None:
    class Traced:
        def __del__(self) -> None:
            with lumina.trace("del"):
                pass

        def __str__(self) -> str:
            return "held"

    with lumina.trace("span") as span:
        span.set_attribute("k", Traced())
    assert recorded.shape() == {"span": (None, "ok"), "del": ("span", "ok")}


def test_an_error_raised_by_a_signal_handler_reaches_the_program(recorded: Recorded) -> None:
    """It is not ours to swallow: a program's alarm must interrupt what it was set for."""

    class Alarm(BaseException):
        pass

    def handler() -> None:
        raise Alarm

    with lumina.trace("span") as span:
        for at in range(1, 12):
            with pytest.raises(Alarm):
                interrupted(lambda: span.set_attribute("k", [1]), handler, at)
        span.set_attribute("k", "after")
    assert recorded.attributes("span")["k"] == "after"
