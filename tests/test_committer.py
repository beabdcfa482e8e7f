"""Group commit: groups grow with the load, a refusal leaves no hole, an odd entry harms nobody."""

import asyncio
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.relay_process import ended, new_hello, new_span, new_trace, started
from support.sockets import FakeSocket, until

from lumina_stream.model import codec
from lumina_stream.model.events import Event, Fact
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import ConsumerSession, Facts
from lumina_stream.protocol.intake import Accepted
from lumina_stream.protocol.producer import ProducerSession, Rewound, Throttled
from lumina_stream.protocol.wire import BINARY
from lumina_stream.relay import core
from lumina_stream.relay.channel import Behind
from lumina_stream.relay.committer import Committer, Submission
from lumina_stream.relay.log import Entry, LogError, LogFull
from lumina_stream.relay.sqlite_log import SqliteLog
from lumina_stream.relay.streaming import ProducerConnection


class FakeLog:
    """A log in memory whose next appends can be held, refused, or find an entry odd."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.refusals = 0
        self.odd: int | None = None
        self.closed = False

    def append(self, entries: list[Entry]) -> list[int]:
        self.go.wait(10)
        if self.refusals:
            self.refusals -= 1
            raise LogFull("no space left")
        if self.odd is not None and any(e.first_seq == self.odd for e in entries):
            raise LogError("an odd entry")
        self.groups.append([e.first_seq for e in entries])
        return [e.first_seq for e in entries]

    def remember_producer(self, producer_id: str, data: bytes) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Told:
    """What a committer said."""

    def __init__(self, log: FakeLog) -> None:
        self.committed: list[int] = []
        self.refused: list[set[str]] = []
        self.rejected: list[int] = []
        self.committer = Committer(log, self._committed, self._refused, self._rejected)  # type: ignore[arg-type]

    def submit(self, *seqs: int, producer: str = "p") -> None:
        for seq in seqs:
            self.committer.submit(Submission(Entry(producer, seq, 1, b"\x90", (), 0)))

    def _committed(self, group: list[Submission], offsets: list[int]) -> None:
        self.committed += [s.entry.first_seq for s in group]

    def _refused(self, group: list[Submission], producers: set[str], error: Exception) -> None:
        assert group
        self.refused.append(producers)

    def _rejected(self, submission: Submission, error: LogError) -> None:
        self.rejected.append(submission.entry.first_seq)


def test_what_waits_goes_into_one_commit() -> None:
    async def go() -> None:
        log = FakeLog()
        told = Told(log)
        log.go.clear()
        told.submit(1)
        while told.committer._queue.qsize():
            await asyncio.sleep(0)
        told.submit(2, 3, 4)
        log.go.set()
        await told.committer.close()
        assert log.groups == [[1], [2, 3, 4]]
        assert told.committed == [1, 2, 3, 4]
        assert told.committer.pending_bytes == 0 and log.closed

    asyncio.run(go())


def test_nothing_after_a_refusal_is_stored_before_it_is_told() -> None:
    """What was queued behind a refused commit would leave a hole: it is refused with it, once."""

    async def go() -> None:
        log = FakeLog()
        told = Told(log)
        log.go.clear()
        log.refusals = 1
        told.submit(1)
        while told.committer._queue.qsize():
            await asyncio.sleep(0)
        told.submit(2)
        told.submit(1, producer="q")
        log.go.set()
        while not told.refused:
            await asyncio.sleep(0)
        told.submit(1, 2)  # sent again
        await told.committer.close()
        assert told.refused == [{"p", "q"}]
        assert told.committed == [1, 2]
        assert told.committer.pending_bytes == 0

    asyncio.run(go())


def test_an_odd_entry_does_not_take_its_neighbours_with_it() -> None:
    async def go() -> None:
        log = FakeLog()
        told = Told(log)
        log.go.clear()
        log.odd = 3
        told.submit(1)
        while told.committer._queue.qsize():
            await asyncio.sleep(0)
        told.submit(2, 3, 4)
        log.go.set()
        await told.committer.close()
        assert (told.committed, told.rejected, told.refused) == ([1, 2, 4], [3], [])

    asyncio.run(go())


# --- the whole relay, without sockets ------------------------------------------------------------


class Store(SqliteLog):
    """A log that can be told that its disk is full."""

    full = False

    def append(self, entries):  # type: ignore[no-untyped-def]
        if self.full:
            raise LogFull("no space left on device")
        return super().append(entries)


@pytest.mark.parametrize("rounds", [3])
def test_a_full_disk_is_survived_without_loss(tmp_path: Path, monkeypatch, rounds: int) -> None:
    """No ack while it is full, a pause and a rewind for the producer, everything once afterwards."""
    monkeypatch.setattr(core, "REFUSED_PAUSE_S", 0.01)

    async def go() -> None:
        store = Store.open(tmp_path)
        relay = core.Relay(store, tmp_path)
        relay.start()
        await relay.ready.wait()
        view = relay.hub.subscribe(frames.Subscribe(), BINARY, lambda: None)
        socket = FakeSocket()
        connection = ProducerConnection(relay, socket, relay.attendance.intake.peer())  # type: ignore[arg-type]
        running = asyncio.create_task(connection.run())
        session = ProducerSession(new_hello())
        signals: list[object] = []
        trace = new_trace()

        async def exchange(done: Callable[[], bool]) -> None:
            while not done():
                while (batch := session.next_batch()) is not None:
                    socket.to_relay.put_nowait(batch)
                async with asyncio.timeout(20):
                    signals.extend(session.receive(await socket.to_peer.get()))

        def add(*events: Event) -> None:
            for event in events:
                session.add(codec.encode(event))

        consumer = ConsumerSession(frames.Subscribe())
        consumer.receive(BINARY.encode(frames.Subscribed(False, "e", 0)))
        facts: list[Fact] = []
        skipped: list[tuple[int, int]] = []

        def look() -> None:
            while (frame := view.next()) is not None:
                if isinstance(frame, Behind):  # what follows up to there comes in a snapshot
                    skipped.append((frame.from_offset, frame.to_offset))
                    continue
                for update in consumer.receive(frame):
                    facts.extend(update.facts if isinstance(update, Facts) else ())

        socket.to_relay.put_nowait(session.connected(1, 1))
        await exchange(lambda: session.welcomed)
        for _ in range(rounds):
            span = new_span()
            add(started(trace, span), ended(trace, span))
            await exchange(lambda: not session.unacknowledged)
            await until(lambda: relay.hub.offset == store.next_offset - 1)
            look()  # what a viewer has not read when the log recovers comes in its snapshot
            store.full = True
            signals.clear()
            acked = session.acked
            add(*(started(trace, secrets.token_hex(8)) for _ in range(20)))
            await exchange(lambda: any(isinstance(s, Rewound) for s in signals))
            assert any(isinstance(s, Throttled) for s in signals)
            assert session.acked == acked and relay.status == "degraded"
            look()
            store.full = False
            await exchange(lambda: not session.unacknowledged)
            await until(lambda: relay.hub.offset == store.next_offset - 1)
            look()
            assert relay.status == "ok"
        socket.to_relay.put_nowait(session.bye())
        await running
        await until(lambda: not relay.committer.pending_bytes)
        await until(lambda: relay.hub.offset == store.next_offset - 1)
        look()
        assert [f.seq for f in facts if not f.offset], "what was refused was shown all the same"
        assert len(skipped) == rounds, "after each a snapshot, of what is stored"
        facts[:] = [fact for fact in facts if fact.offset]
        seen = {fact.offset for fact in facts}
        for first, last in skipped:
            seen.update(range(first + 1, last + 1))
        assert seen == set(range(1, store.next_offset))
        rows = [row for row in store.read(0) if row.producer_id == session.producer_id]
        assert [row.first_seq for row in rows] == [1, *(row.last_seq + 1 for row in rows[:-1])]
        assert rows[-1].last_seq == session.last_seq
        said = [type(f.event).__name__ for f in facts if f.producer_id != session.producer_id]
        assert said == ["ProducerStarted", "ProducerEnded"]
        await relay.close()

    asyncio.run(go())


def test_who_asks_waits_for_what_is_stored(tmp_path: Path) -> None:
    """A question is answered once all is applied that was stored before it, though the ack came first."""

    async def go() -> None:
        store = SqliteLog.open(tmp_path)
        relay = core.Relay(store, tmp_path)
        trace, span = new_trace(), new_span()
        raw = codec.join_array([codec.encode(started(trace, span))])
        stored: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        relay.accepted(Accepted("p", 1, 1, raw), stored.set_result)
        assert await stored is None
        asked = asyncio.create_task(relay.caught_up())
        await asyncio.sleep(0)
        assert not asked.done() and relay.projections.tree(trace) is None
        relay.start()
        await asked
        assert relay.projections.tree(trace) is not None
        await relay.caught_up()  # at once: there is nothing to wait for
        await relay.close()

    asyncio.run(go())
