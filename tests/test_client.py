"""A live view of a real relay, on asyncio and on trio."""

import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest
from support.relay_process import PATIENCE_S, RelayProcess, new_hello, running_relay

from lumina_stream.model import codec
from lumina_stream.model.errors import ConnectionFailed, LuminaError
from lumina_stream.model.events import AttributeSet, Event, SpanEnded, SpanStarted
from lumina_stream.model.live import Update
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.transport.connection import connect
from lumina_stream.viewing.client import LiveView, tail


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with running_relay(tmp_path / "data") as process:
        yield process


def run(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    async def patiently() -> None:
        with anyio.fail_after(2 * PATIENCE_S):
            await main()

    anyio.run(patiently, backend=backend)


class Program:
    """A producer over the shipped connection; `say` returns once the relay has stored it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = ProducerSession(new_hello())
        self.trace_id = secrets.token_hex(16)
        self.at = time.time_ns()

    def start(self, span_id: str, parent: str | None = None, name: str = "work") -> SpanStarted:
        self.at += 1000
        return SpanStarted(self.trace_id, span_id, self.at, name, parent)

    def end(self, span_id: str) -> SpanEnded:
        self.at += 1000
        return SpanEnded(self.trace_id, span_id, self.at)

    async def say(self, *events: Event, bye: bool = False) -> None:
        for event in events:
            self.session.add(codec.encode(event))
        async with connect(self.url, "/v1/stream") as connection:
            await connection.send(self.session.connected(time.time_ns(), time.monotonic_ns()))
            while not self.session.welcomed or self.session.unacknowledged:
                self.session.receive(await connection.receive())
                while (batch := self.session.next_batch()) is not None:
                    await connection.send(batch)
            if bye:
                await connection.send(self.session.bye())
        self.session.disconnected()


async def until(live: LiveView, done: Callable[[], bool]) -> list[Update]:
    updates: list[Update] = []
    while not done():
        updates.append(await anext(live))
    return updates


R, A, B = "aa" * 8, "bb" * 8, "cc" * 8


def test_a_span_is_seen_while_it_runs(backend: str, relay: RelayProcess) -> None:
    """Starts, attributes and ends arrive one by one, and updates say what they touched."""

    async def main() -> None:
        program = Program(relay.url)
        async with tail(relay.url) as live:
            await program.say(program.start(R))
            await until(live, lambda: program.trace_id in live.traces)
            assert live.connected
            tree = live.traces[program.trace_id]
            assert tree.state == "running"
            assert abs(live.relay_ns() - time.time_ns()) < 5e9
            await program.say(AttributeSet(program.trace_id, R, program.at, "k", 1), program.end(R))
            updates = await until(live, lambda: tree.finished)
            assert tree.span(R).attributes == {"k": 1}  # type: ignore[union-attr]
            touched = {s for u in updates for change in u.changes for s in change.span_ids}
            assert touched == {R}
            assert live.offset > 0
        assert not live.connected

    run(backend, main)


def test_a_late_joiner_gets_what_is_open(backend: str, relay: RelayProcess) -> None:
    """The open traces come whole; later facts fit them; without a snapshot only the news come."""

    async def main() -> None:
        program = Program(relay.url)
        await program.say(program.start(R), program.start(A, R), program.end(A))
        async with tail(relay.url) as live, tail(relay.url, snapshot=False) as news:
            await until(live, lambda: len(live.traces.get(program.trace_id, ())) == 2)
            await program.say(program.start(B, R))
            await until(live, lambda: len(live.traces[program.trace_id]) == 3)
            await until(news, lambda: program.trace_id in news.traces)
            states = {n.span_id: n.state for n in live.traces[program.trace_id]}
            assert states == {R: "running", A: "ok", B: "running"}
            tree: TraceTree = news.traces[program.trace_id]
            assert tree.span(A) is None

    run(backend, main)


def test_filters_and_since(backend: str, relay: RelayProcess) -> None:
    """Only what was asked for comes; `since` brings what is over, too."""

    async def main() -> None:
        wanted, other = Program(relay.url), Program(relay.url)
        await wanted.say(wanted.start(R, name="rag_request"), wanted.end(R))
        await other.say(other.start(R, name="cron"))
        async with tail(relay.url, name="rag_*", since="10m") as live:
            await until(live, lambda: wanted.trace_id in live.traces)
            assert other.trace_id not in live.traces
        async with tail(relay.url, trace_id=wanted.trace_id) as live:
            await until(live, lambda: wanted.trace_id in live.traces)

    run(backend, main)


def test_it_goes_on_after_the_relay_was_away(backend: str, relay: RelayProcess) -> None:
    """The relay is killed and started again: the view comes back by itself and misses nothing."""

    async def main() -> None:
        program = Program(relay.url)
        async with tail(relay.url) as live:
            await program.say(program.start(R))
            await until(live, lambda: program.trace_id in live.traces)
            port = relay.port
            relay.kill()
            relay.start(port)
            await program.say(program.start(A, R), program.end(A), program.end(R))

            def over() -> bool:
                tree = live.traces.get(program.trace_id)
                return tree is not None and tree.finished and len(tree) == 2

            updates = await until(live, over)
            assert not any(update.restarted for update in updates)

    run(backend, main)


def test_no_relay(backend: str, relay: RelayProcess) -> None:
    """Entering fails and says what to do; with retry it waits for the relay instead."""
    url, port = relay.url, relay.port
    relay.kill()

    async def main() -> None:
        with pytest.raises(ConnectionFailed, match=r"nothing listens at .*lumina-stream serve"):
            async with tail(url):
                pass
        async with tail(url, retry=True) as live:
            assert not live.connected
            relay.start(port)
            program = Program(url)
            await program.say(program.start(R))
            await until(live, lambda: program.trace_id in live.traces)

    run(backend, main)


def test_leaving(backend: str, relay: RelayProcess) -> None:
    """Exceptions and cancellation pass through as they are; nothing is left behind."""

    async def main() -> None:
        with pytest.raises(KeyError, match="mine"):
            async with tail(relay.url):
                raise KeyError("mine")
        with anyio.move_on_after(0.05) as scope:
            async with tail(relay.url, snapshot=False) as live:
                while True:
                    await anext(live)
        assert scope.cancelled_caught
        async with tail(relay.url) as live:
            pass
        with pytest.raises(StopAsyncIteration):
            while True:
                await anext(live)
        with pytest.raises(LuminaError, match="entered before"):
            await anext(tail(relay.url))

    run(backend, main)
