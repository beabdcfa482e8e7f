"""Trees of traces that left the memory: read back beside the loop, and kept while looked at."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.relay_process import PATIENCE_S, ended, new_hello, new_span, new_trace, started

from lumina_stream.model import codec
from lumina_stream.model.events import AttributesSet, Event, EventsLost, ProducerEnded
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.intake import Accepted
from lumina_stream.relay import held
from lumina_stream.relay.core import Relay
from lumina_stream.relay.departed import Departed
from lumina_stream.relay.log import LogUnavailable
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.sqlite_log import SqliteLog
from lumina_stream.relay.visited import VISITED_BYTES, VISITED_S, Reading, Visited

# --- what is kept ---------------------------------------------------------------------------------


def tree(name: str) -> TraceTree:
    return TraceTree(name * 32)


def test_what_nobody_looks_at_goes() -> None:
    """A look prolongs its stay."""
    visited = Visited(Departed())
    visited.keep(tree("a"), 10, 0.0)
    visited.keep(tree("b"), 10, 0.0)
    assert visited.get("a" * 32, VISITED_S - 1) is not None
    visited.expire(VISITED_S)
    assert ("a" * 32 in visited, "b" * 32 in visited) == (True, False)
    visited.expire(2 * VISITED_S - 1)
    assert len(visited) == 0


def test_the_largest_leave_room_for_the_one_looked_at() -> None:
    """Together they are bounded; the last one stays whatever its size; a dropped one counts no more."""
    visited = Visited(Departed())
    visited.keep(tree("a"), VISITED_BYTES // 2, 0.0)
    visited.keep(tree("b"), VISITED_BYTES // 2, 0.0)
    assert len(visited) == 2
    visited.get("a" * 32, 1.0)
    visited.keep(tree("c"), 1, 1.0)
    assert ("a" * 32 in visited, "b" * 32 in visited) == (True, False)
    visited.keep(tree("d"), 3 * VISITED_BYTES, 1.0)
    assert ["d" * 32 in visited, len(visited)] == [True, 1]
    visited.drop("d" * 32)
    visited.keep(tree("a"), VISITED_BYTES // 2, 2.0)
    visited.keep(tree("a"), VISITED_BYTES // 2, 2.0)  # again: it counts once
    visited.keep(tree("b"), VISITED_BYTES // 2, 2.0)
    assert len(visited) == 2


# --- reading --------------------------------------------------------------------------------------


class Fed:
    """A relay in this process, fed without sockets."""

    def __init__(self, folder: Path) -> None:
        self.relay = Relay(SqliteLog.open(folder), folder, book=PriceBook(published=False))
        self.hello = new_hello()

    async def store(self, *events: Event) -> None:
        """Store, and wait until it is applied."""
        relay = self.relay
        relay.attendance.introduce(self.hello)
        raw = codec.join_array([codec.encode(event) for event in events])
        seq = relay.attendance.intake.number(self.hello.producer_id, len(events))
        relay.accepted(Accepted(self.hello.producer_id, seq, len(events), raw))
        await self.settled()

    async def settled(self) -> None:
        await self.relay.committer.run(lambda _: None)
        async with asyncio.timeout(PATIENCE_S):
            while self.relay.lag:
                await asyncio.sleep(0)
        self.relay.projections.list()

    async def gone(self, spans: int = 1, *, unfinished: bool = False) -> str:
        """Store a trace that then leaves the memory, with a call in it; return its id."""
        trace, root = new_trace(), new_span()
        usage = {"gen_ai.usage.input_tokens": 7}
        events: list[Event] = [started(trace, root), AttributesSet(trace, root, 1, usage)]
        events += [started(trace, new_span(), "child", root) for _ in range(spans - 1)]
        if not unfinished:
            events += [ended(trace, event.span_id) for event in events if event.time_ns != 1]  # type: ignore[union-attr]
        await self.store(*events)
        return trace

    async def evict(self) -> None:
        for _ in range(3):
            trace, root = new_trace(), new_span()
            await self.store(started(trace, root), ended(trace, root))

    @property
    def read_back(self) -> int:
        return self.relay.projections.statistics().read_back


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Run something with a relay that keeps next to nothing in memory."""
    monkeypatch.setattr(held, "RECENT_TRACES", 1)
    monkeypatch.setattr(held, "RECENT_FEWEST", 1)

    def run(go: Callable[[Fed], Coroutine[Any, Any, None]]) -> None:
        async def inside() -> None:
            fed = Fed(tmp_path)
            fed.relay.start()
            await fed.relay.ready.wait()
            try:
                await go(fed)
            finally:
                await fed.relay.close()

        asyncio.run(inside())

    return run


def test_a_trace_is_read_once_for_all_who_look(feed) -> None:
    """Several at the same time and one later: one reading, the whole tree, its usage worked out."""

    async def go(fed: Fed) -> None:
        trace = await fed.gone(20)
        await fed.evict()
        assert trace not in fed.relay.projections.forest.traces
        before = fed.read_back
        found = await asyncio.gather(*(fed.relay.tree(trace) for _ in range(5)))
        later = await fed.relay.tree(trace)
        assert later is not None and all(one is later for one in found)
        assert fed.read_back == before + 1
        assert (len(later), later.span_count, later.services) == (20, 20, ["svc"])
        (call,) = later.calls.spans.values()
        assert call.call is not None and call.call.share is not None
        assert call.call.share.input == 7
        assert await fed.relay.tree(new_trace()) is None

    feed(go)


def test_the_loop_goes_on_while_a_trace_is_read(feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading waits here for something that only the loop can bring."""
    released = threading.Event()
    run = Reading.run

    def waiting(reading: Reading) -> None:
        assert released.wait(PATIENCE_S)
        run(reading)

    monkeypatch.setattr(Reading, "run", waiting)

    async def go(fed: Fed) -> None:
        trace = await fed.gone()
        await fed.evict()
        asked = asyncio.create_task(fed.relay.tree(trace))
        await fed.store(started(new_trace(), new_span()))
        assert not asked.done()
        released.set()
        assert await asked is not None

    feed(go)


def test_what_comes_while_it_is_read_counts(feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late span brings the trace into the memory: that one is right, what was read is not kept."""
    began, released = threading.Event(), threading.Event()
    run = Reading.run

    def waiting(reading: Reading) -> None:
        began.set()
        assert released.wait(PATIENCE_S)
        run(reading)

    monkeypatch.setattr(Reading, "run", waiting)

    async def go(fed: Fed) -> None:
        trace = await fed.gone()
        await fed.evict()
        asked = asyncio.create_task(fed.relay.tree(trace))
        await asyncio.to_thread(began.wait, PATIENCE_S)
        await fed.store(started(trace, new_span()))
        released.set()
        found = await asked
        assert found is fed.relay.projections.forest.traces[trace]
        assert len(found) == 2
        await fed.store(ended(trace, list(found)[1].span_id))
        await fed.evict()
        assert trace not in fed.relay.projections.forest.traces
        again = await fed.relay.tree(trace)
        assert again is not None and len(again) == 2

    feed(go)


def test_a_trace_that_goes_on_is_forgotten_here(feed) -> None:
    """What is looked at after it left the memory again has what came in between."""

    async def go(fed: Fed) -> None:
        trace = await fed.gone()
        await fed.evict()
        assert await fed.relay.tree(trace) is not None
        span = new_span()
        await fed.store(started(trace, span), ended(trace, span))
        await fed.evict()
        assert trace not in fed.relay.projections.forest.traces
        found = await fed.relay.tree(trace)
        assert found is not None and len(found) == 2

    feed(go)


def test_a_loss_that_is_reported_later_is_seen(feed) -> None:
    """It needs no tree to be known, and shows in the one that is looked at."""

    async def go(fed: Fed) -> None:
        trace = await fed.gone()
        await fed.evict()
        assert (await fed.relay.tree(trace)).lost_count == 0  # type: ignore[union-attr]
        await fed.store(EventsLost(9, "queue_full", 3, by_trace={trace: 3}))
        assert (await fed.relay.tree(trace)).lost_count == 3  # type: ignore[union-attr]

    feed(go)


def test_the_fate_of_its_producers_is_known(feed) -> None:
    """A span that was left open says what became of it."""

    async def go(fed: Fed) -> None:
        trace = await fed.gone(unfinished=True)
        producer_id = fed.hello.producer_id
        fed.relay.attendance._say(ProducerEnded(2**62, producer_id, 9))  # pyright: ignore[reportPrivateUsage]
        await fed.settled()
        fed.hello = new_hello()
        await fed.evict()
        assert trace not in fed.relay.projections.forest.traces
        found = await fed.relay.tree(trace)
        assert found is not None
        assert (found.state, found.services) == ("unended", ["svc"])
        assert found.rollup(next(iter(found)).span_id).open == 0

    feed(go)


def test_the_relay_does_not_wait_for_a_reading(feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing abandons it: a long trace would hold up the exit for as long as it takes."""
    began = threading.Event()
    abandoned: list[bool] = []

    def endless(reading: Reading) -> None:
        began.set()
        until = time.monotonic() + PATIENCE_S
        while not reading.is_abandoned and time.monotonic() < until:
            pass
        assert reading.is_abandoned
        abandoned.append(True)
        raise LogUnavailable("the trace is no longer wanted")

    async def go(fed: Fed) -> None:
        trace = await fed.gone()
        await fed.evict()
        monkeypatch.setattr(Reading, "run", endless)
        asked = asyncio.create_task(fed.relay.tree(trace))
        await asyncio.to_thread(began.wait, PATIENCE_S)
        asked.cancel()

    feed(go)
    assert abandoned == [True]


def test_an_abandoned_reading_stops_at_the_next_page(feed, monkeypatch) -> None:
    """And says so, so that nobody takes half a tree for the whole."""

    async def go(fed: Fed) -> None:
        trace = await fed.gone()
        await fed.evict()
        reading = fed.relay.projections.begin_reading(trace)
        assert reading is not None
        reading.is_abandoned = True
        with pytest.raises(LogUnavailable):
            reading.run()
        again = fed.relay.projections.begin_reading(trace)
        assert again is not None
        again.run()
        assert len(again.tree) == 1 and again.cost > 0

    feed(go)
