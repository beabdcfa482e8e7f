"""A relay that comes back takes events at once, and shows them when it has read what it must."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sockets import FakeSocket, until

from lumina_stream.model import codec
from lumina_stream.model.events import ProducerEnded, ProducerReturned, SpanEnded, SpanStarted
from lumina_stream.process import new_identity
from lumina_stream.protocol import frames
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.relay import core
from lumina_stream.relay.projections import Projections
from lumina_stream.relay.sqlite_log import SqliteLog
from lumina_stream.relay.streaming import ProducerConnection

TRACE = "a" * 32
ROOT, CHILD = "1" * 16, "2" * 16


class Program:
    """A traced program, whose connections end with the relay."""

    def __init__(self) -> None:
        producer_id, nonce = new_identity()
        self.session = ProducerSession(frames.Hello(producer_id, nonce, 1, "shop"))

    async def connect(self, relay: core.Relay) -> None:
        self.socket = FakeSocket()
        peer = relay.attendance.intake.peer()
        self.running = asyncio.create_task(ProducerConnection(relay, self.socket, peer).run())  # type: ignore[arg-type]
        self.socket.to_relay.put_nowait(self.session.connected(1, 1))
        while not self.session.welcomed:
            await self._hear()

    async def say(self, *events: SpanStarted | SpanEnded) -> None:
        """Send events, and wait until they are acknowledged."""
        for event in events:
            self.session.add(codec.encode(event))
        while self.session.unacknowledged:
            while (batch := self.session.next_batch()) is not None:
                self.socket.to_relay.put_nowait(batch)
            await self._hear()

    async def disconnect(self) -> None:
        """End the connection, as it ends with the relay's process."""
        self.socket.to_relay.put_nowait(None)
        await self.running
        self.session.disconnected()

    async def _hear(self) -> None:
        async with asyncio.timeout(20):
            self.session.receive(await self.socket.to_peer.get())


def said(store: SqliteLog, relay: core.Relay) -> list[object]:
    """Return what the relay has said of producers, as it is in the log."""
    rows = store.read(0, max_bytes=1 << 30)
    return [
        event
        for row in rows
        if row.producer_id == relay.witness.producer_id
        for event in codec.decode_array(row.events)
    ]


def test_events_are_taken_while_the_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged before anything can be shown; then shown once; what a producer did meanwhile is said."""
    is_read, read = asyncio.Event(), Projections.replay

    def replay(projections: Projections) -> Iterator[int]:
        while not is_read.is_set():
            yield projections.offset
        yield from read(projections)

    async def go() -> None:
        first = Program()
        is_read.set()
        store = SqliteLog.open(tmp_path)
        relay = core.Relay(store, tmp_path)
        relay.start()
        await first.connect(relay)
        await first.say(
            SpanStarted(TRACE, ROOT, 1, "order"), SpanStarted(TRACE, CHILD, 2, "pay", ROOT)
        )
        await until(lambda: relay.lag == 0)
        await first.disconnect()
        for task in relay._tasks:  # killed: nothing is checkpointed
            task.cancel()
        relay.projections._store.close(clean=False)
        store.close()

        is_read.clear()
        monkeypatch.setattr(Projections, "replay", replay)
        store = SqliteLog.open(tmp_path)
        relay = core.Relay(store, tmp_path)
        relay.start()
        second = Program()
        await first.connect(relay)
        await first.say(SpanEnded(TRACE, CHILD, 3))
        await second.connect(relay)
        await second.say(SpanStarted("b" * 32, ROOT, 4, "other"))
        second.socket.to_relay.put_nowait(second.session.bye())
        await asyncio.sleep(0.05)
        assert relay.status == "catching up" and not relay.ready.is_set()
        assert relay.projections.summary(TRACE) is None
        assert relay.hub.offset == 0

        is_read.set()
        await relay.ready.wait()
        await second.running
        await until(lambda: not relay.committer.pending_bytes and relay.lag == 0)
        tree = relay.projections.tree(TRACE)
        assert tree is not None and tree.open_count == 1 and tree.span_count == 2
        assert tree.state == "running", "its producer was there all the time"
        other = relay.projections.tree("b" * 32)
        assert other is not None and other.state == "unended" and other.services == ["shop"]
        kinds = [type(event) for event in said(store, relay)]
        assert kinds.count(ProducerEnded) == 1 and ProducerReturned not in kinds
        assert relay.hub.offset == relay.projections.offset == store.next_offset - 1
        await first.disconnect()
        await relay.close()

    asyncio.run(go())


def test_a_relay_that_ends_while_it_reads_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came meanwhile is not applied past what was not read yet."""
    read = Projections.replay

    def for_ever(projections: Projections) -> Iterator[int]:
        while True:
            yield projections.offset

    async def go() -> None:
        program = Program()
        for replay in (read, for_ever, read):
            monkeypatch.setattr(Projections, "replay", replay)
            store = SqliteLog.open(tmp_path)
            relay = core.Relay(store, tmp_path)
            relay.start()
            if replay is read:
                await relay.ready.wait()
            await program.connect(relay)
            span = f"{program.session.last_seq + 1:016x}"
            await program.say(SpanStarted(TRACE, span, 5, "step"))
            if replay is read:
                await until(lambda: relay.lag == 0)
            await program.disconnect()
            await relay.close()
        store = SqliteLog.open(tmp_path)
        relay = core.Relay(store, tmp_path)
        relay.start()
        await relay.ready.wait()
        tree = relay.projections.tree(TRACE)
        assert tree is not None and tree.span_count == 3
        await relay.close()

    asyncio.run(go())
