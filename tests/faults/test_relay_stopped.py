"""The relay stands still for long: the program neither waits nor grows, and what is lost is counted."""

import time
from pathlib import Path
from typing import Any

import pytest
from support.faults import often
from support.logs import logged, lost
from support.programs import program
from support.relay_process import running_relay

PROGRAM = """
    import resource, sys, time
    import lumina_stream as lumina

    lumina.init(service_name="going on", limits=lumina.Limits(queue_bytes=4 << 20))
    with lumina.trace("first"):
        pass
    assert lumina.flush()
    print(lumina.statistics().producer_id, flush=True)
    sys.stdin.readline()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    until, spans = time.monotonic() + float(sys.argv[1]), 1
    while time.monotonic() < until:
        spans += 1
        with lumina.trace("work", filler="x" * 1_000):
            pass
    said = lumina.statistics()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(said.queued_bytes, grown << 10, flush=True)
    sys.stdin.readline()
    delivered, said = lumina.flush(60), lumina.statistics()
    print(delivered, spans, said.lost, flush=True)
"""


@pytest.mark.slow
def test_row_5_relay_stands_still(tmp_path: Path) -> None:
    """The queue ends at its bound; afterwards stored and reported as lost is what was recorded."""
    # breaks: lumina_stream/recording/queue.py
    # -   if used > bound:
    # +   if False:
    data = tmp_path / "data"
    with (
        running_relay(data) as relay,
        program(PROGRAM, relay.url, str(often(3, 60))) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        producer_id = process.stdout.readline().strip()
        with relay.standing_still():
            process.stdin.write("go\n")
            process.stdin.flush()
            queued, grown = map(int, process.stdout.readline().split())
        process.stdin.write("go\n")
        process.stdin.flush()
        delivered, spans, refused = process.stdout.readline().split()
        assert process.wait(60) == 0
        assert relay.stop() == 0
    bound = 4 << 20
    assert bound * 0.9 < queued < bound + (1 << 10), (
        "full, and no fuller than its bound and a report"
    )
    assert grown < 16 << 20, "what waits, what is under way, and Python's own"
    events = logged(data)[producer_id]
    assert delivered == "True" and lost(events) == int(refused) > len(events)
    began = [event["span_id"] for event in events if event["type"] == "span_started"]
    ended = {event["span_id"] for event in events if event["type"] == "span_ended"}
    assert began and ended <= set(began), "an end that was admitted has its start"
    assert len(began) + lost_of(events, "span_started") == int(spans)
    assert len(ended) + lost_of(events, "span_ended") == int(spans)
    print(
        f"{len(began)} of {spans} spans stored, {refused} events refused; grew by {grown >> 10} KiB"
    )


def lost_of(events: list[Any], kind: str) -> int:
    """Return how many events of a type are reported as lost."""
    reports = (event for event in events if event["type"] == "events_lost")
    return sum(report["by_type"].get(kind, 0) for report in reports)


BURST = """
    import sys, time
    import lumina_stream as lumina

    lumina.init(service_name="burst")
    with lumina.trace("first"):
        pass
    assert lumina.flush()
    print(lumina.statistics().producer_id, flush=True)
    sys.stdin.readline()
    for number in range(50_000):
        with lumina.trace("burst") as span:
            span.set_attribute("number", number)
    print("recorded", flush=True)
    sys.stdin.readline()
    assert lumina.flush(60)
    print(lumina.statistics().lost, flush=True)
"""


@pytest.mark.slow
def test_row_5_a_burst_while_the_relay_stands_still(tmp_path: Path) -> None:
    """50,000 spans fit into the queue as it comes: none of their 150,000 events is lost."""
    # breaks: lumina_stream/model/limits.py
    # -   QUEUE_BYTES = 64 * MIB
    # +   QUEUE_BYTES = 16 * MIB
    data = tmp_path / "data"
    with running_relay(data) as relay, program(BURST, relay.url) as process:
        assert process.stdin is not None and process.stdout is not None
        producer_id = process.stdout.readline().strip()
        with relay.standing_still():
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "recorded\n"
            time.sleep(often(1, 5))  # as long as the relay stands still, with all of it waiting
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "0\n"
        assert process.wait(60) == 0
        assert relay.stop() == 0
    assert len(logged(data)[producer_id]) == 2 + 150_000
