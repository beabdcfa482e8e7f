"""The queue: bounded in bytes, thresholds in order, and a loss ledger that is exact."""

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lumina_stream as lumina
from lumina_stream.model import codec
from lumina_stream.model.events import SpanEnded, SpanStarted
from lumina_stream.model.limits import EVENT_OVERHEAD, LOSS_TRACES
from lumina_stream.recording.context import active
from lumina_stream.recording.queue import OTHER, EventQueue, LossLedger
from lumina_stream.recording.recorder import Recorder


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A recorder with a queue of 10,000 bytes that nobody reads; it is the one in force."""
    active.recorder = Recorder(EventQueue(10_000), producer_id="p" * 16)
    yield active.recorder
    active.recorder = None


def fill_to(queue: EventQueue, share: float) -> None:
    queue.used = int(10_000 * share)


def test_admission_thresholds_in_order() -> None:
    queue = EventQueue(1000)
    assert (queue.text_bound, queue.attributes_bound, queue.starts_bound, queue.ends_bound) == (
        500,
        800,
        950,
        1000,
    )
    event = b"x" * (50 - EVENT_OVERHEAD if EVENT_OVERHEAD < 50 else 4)
    size = len(event) + EVENT_OVERHEAD
    for bound in (500, 800, 950, 1000):
        queue.used = bound - size
        assert queue.admit(event, bound)
        assert queue.used == bound
        assert not queue.admit(event, bound)
        assert queue.used == bound


@pytest.mark.parametrize(
    ("share", "admitted"),
    [
        (0.60, {"attribute_set", "event_added", "span_started", "span_ended"}),
        (0.81, {"span_started", "span_ended"}),
        (0.96, {"span_ended"}),
        (1.00, set()),
    ],
)
def test_what_a_span_may_still_say_as_the_queue_fills(
    recorder: Recorder, share: float, admitted: set[str]
) -> None:
    span = lumina.start_span("open")
    recorder.queue.drain(10)
    fill_to(recorder.queue, share)
    span.set_attribute("k", 1)
    span.add_event("event")
    fill_to(recorder.queue, share)
    started = lumina.start_span("next")
    fill_to(recorder.queue, share)
    span.end()
    said = {codec.decode(data).__struct_config__.tag for data in recorder.queue.drain(10)}  # type: ignore[union-attr]
    assert said == admitted
    everything = {"attribute_set", "event_added", "span_started", "span_ended"}
    assert recorder.queue.losses.totals == dict.fromkeys(everything - admitted, 1)
    recorder.closed = True
    assert started is not None


def test_a_refused_start_takes_everything_of_its_span_along_and_all_of_it_is_counted(
    recorder: Recorder,
) -> None:
    fill_to(recorder.queue, 0.99)
    with lumina.trace("refused") as span:
        assert not span.is_recording
        recorder.queue.used = 0  # there is room again, and it stays refused
        span.set_attribute("k", 1).set_attributes({"k": 1}).add_event("e")
        span.record_exception(ValueError()).update_name("n").add_link(span)
        with lumina.trace("child") as child:
            assert child.is_recording
    assert recorder.queue.losses.totals == {
        "span_started": 1,
        "attribute_set": 1,
        "attributes_set": 1,
        "event_added": 2,
        "span_updated": 2,
        "span_ended": 1,
    }
    assert recorder.late_calls == 0
    assert [type(codec.decode(data)) for data in recorder.queue.drain(10)] == [
        SpanStarted,
        SpanEnded,
    ]


def test_a_refused_start_abandoned_is_counted_too(recorder: Recorder) -> None:
    fill_to(recorder.queue, 0.99)
    span = lumina.start_span("refused")
    del span
    assert recorder.queue.losses.totals == {"span_started": 1, "span_ended": 1}


@pytest.mark.parametrize("threads", [4])
def test_emitted_is_admitted_plus_lost_under_threads(threads: int) -> None:
    """Exact to the event, with the interpreter switching threads as often as it can."""
    recorder = Recorder(EventQueue(200_000), producer_id="p" * 16)
    active.recorder = recorder
    queue, per_thread = recorder.queue, 300
    taken: list[bytes] = []
    done, interval = threading.Event(), sys.getswitchinterval()

    def work() -> None:
        for n in range(per_thread):
            with lumina.trace("span") as span:
                for _ in range(3):
                    span.set_attribute("k", n)
                span.add_event("event")

    def read() -> None:
        while not done.is_set() or queue.events:
            batch = queue.drain(7)
            taken.extend(batch)
            for event in batch:
                queue.release(0, len(event) + EVENT_OVERHEAD)
            if len(taken) % 5 == 0:
                reports.append(queue.losses.take(1))

    reports: list[Any] = []
    reader = threading.Thread(target=read)
    workers = [threading.Thread(target=work) for _ in range(threads)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in (reader, *workers):
            thread.start()
        for thread in workers:
            thread.join()
        done.set()
        reader.join()
    finally:
        done.set()
        sys.setswitchinterval(interval)
        active.recorder = None
    reports.append(queue.losses.take(1))
    assert len(taken) + queue.losses.total == threads * per_thread * 6
    assert queue.used == 0
    told = [report for report in reports if report is not None]
    assert sum(report.count for report in told) == queue.losses.total
    assert queue.losses.total == sum(queue.losses.totals.values())
    for report in told:
        assert report.count == sum(report.by_type.values()) == sum(report.by_trace.values())


def test_drain_keeps_events_counted_until_they_are_released() -> None:
    queue = EventQueue()
    for n in range(5):
        assert queue.admit(bytes([n]), queue.ends_bound)
    assert queue.drain(3) == [b"\0", b"\1", b"\2"]
    assert queue.drain(3) == [b"\3", b"\4"]
    assert queue.drain(3) == []
    assert queue.used == 5 * (1 + EVENT_OVERHEAD)
    queue.release(5, queue.used)
    assert queue.used == 0


def test_the_reader_is_woken_once_until_it_sleeps_again() -> None:
    queue, woken = EventQueue(), []
    queue.wake = lambda: woken.append(1)
    for _ in range(3):
        queue.admit(b"x", queue.ends_bound)
    assert woken == [1]
    queue.idle = True
    queue.admit(b"x", queue.ends_bound)
    assert woken == [1, 1]


def test_taps_see_what_is_admitted_and_nothing_else() -> None:
    queue, seen = EventQueue(EVENT_OVERHEAD + 10), []
    queue.taps = (seen.append,)
    assert queue.admit(b"x", queue.ends_bound)
    assert not queue.admit(b"y", queue.ends_bound)
    assert seen == [b"x"]


def test_without_a_reader_nothing_is_kept() -> None:
    queue = EventQueue(EVENT_OVERHEAD, reading=False)
    for _ in range(100):
        assert queue.admit(b"x" * 1000, queue.ends_bound)
    assert (queue.used, len(queue.events)) == (0, 0)


def test_a_closed_queue_takes_nothing() -> None:
    queue, seen = EventQueue(), []
    queue.taps = (seen.append,)
    queue.admit(b"x", queue.ends_bound)
    queue.close()
    assert not queue.admit(b"", queue.ends_bound)
    assert (queue.drain(10), seen) == ([], [b"x"])


# --- the ledger --------------------------------------------------------------------------------


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["a", "b"]),
                st.integers(0, 100).map(str),
                st.integers(1, 50),
                st.integers(1, 5),
            ),
            st.none(),
        )
    )
)
def test_reports_add_up(steps: list[tuple[str, str, int, int] | None]) -> None:
    ledger = LossLedger()
    told, counted = 0, 0
    times: list[int] = []
    for step in [*steps, None]:
        if step is not None:
            ledger.count(step[0], step[1], step[2], "queue_full", step[3])
            counted += step[3]
            times.append(step[2])
            assert ledger.pending
            continue
        report = ledger.take(99)
        assert not ledger.pending
        assert (report is None) == (not times)
        if report is not None:
            told += report.count
            assert report.exact
            assert report.count == sum(report.by_type.values()) == sum(report.by_trace.values())
            assert (report.first_time_ns, report.last_time_ns) == (times[0], times[-1])
            assert len(report.by_trace) <= LOSS_TRACES + 1
        times = []
    assert told == counted == ledger.total == sum(ledger.totals.values())
    assert ledger.take(100) is None


def test_traces_past_the_limit_are_summed() -> None:
    ledger = LossLedger()
    for n in range(LOSS_TRACES + 10):
        ledger.count("a", f"t{n}", 1, "queue_full")
    ledger.count("a", "t0", 1, "queue_full")
    report = ledger.take(1)
    assert report is not None
    assert (report.by_trace["t0"], report.by_trace[OTHER]) == (2, 10)
