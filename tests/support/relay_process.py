"""A real relay in a process of its own, and peers of it that speak the shipped machines."""

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from lumina_stream.model import codec
from lumina_stream.model.events import Event, Fact, SpanEnded, SpanStarted
from lumina_stream.process import boot_id, pid_namespace, process_start
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import ConsumerSession, Facts, Update
from lumina_stream.protocol.producer import Acknowledged, ProducerSession, Signal
from lumina_stream.protocol.wire import BINARY, Wire

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 20.0

_PROGRAM = """
import sys, pathlib
from lumina_stream.relay.serve import RelayConfig, serve
from lumina_stream.protocol.wire import BINARY, Wire
import msgspec
sys.exit(serve(msgspec.json.decode(sys.argv[1], type=RelayConfig, dec_hook=lambda t, v: t(v))))
"""


class RelayProcess:
    """A relay that can be killed, stopped and started again on the same data."""

    def __init__(self, data: Path, **config: object) -> None:
        self.data = data
        self.config = config
        self.process: subprocess.Popen[str]
        self.url = ""
        self.start()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def start(self, port: int = 0, descriptors: int | None = None, *, wait: bool = True) -> None:
        """Start it; `descriptors`: how many files it may open at once.

        `wait`: until it shows all that it has; it takes events before.
        """
        import msgspec

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors or 0, descriptors or 0))

        config = {"port": port, "data": str(self.data), "log_format": "json", **self.config}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LUMINA_")}
        environment["PYTHONPATH"] = str(REPOSITORY)
        with (self.data.parent / f"{self.data.name}.stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, msgspec.json.encode(config).decode()],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                preexec_fn=None if descriptors is None else limit,
            )
        if wait:
            assert self.process.stdout is not None
            self.url = self.process.stdout.readline().strip()
            assert self.url.startswith("http"), self.stderr()

    def stderr(self) -> str:
        return (self.data.parent / f"{self.data.name}.stderr").read_text()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def running_relay(data: Path, **config: object) -> Iterator[RelayProcess]:
    relay = RelayProcess(data, **config)
    try:
        yield relay
    finally:
        if relay.process.poll() is None:
            relay.stop()


class Producer:
    """A producer on one connection at a time; its session outlives them."""

    def __init__(
        self, url: str, *, hello: frames.Hello | None = None, token: str | None = None
    ) -> None:
        self.url = url
        self.session = ProducerSession(hello or new_hello())
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.socket: ClientConnection

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["Producer"]:
        async with open_socket(self.url, "/v1/stream", headers=self.headers) as self.socket:
            await self.socket.send(self.session.connected(time.time_ns(), time.monotonic_ns()))
            while not self.session.welcomed:
                self.session.receive(await self._receive())
            yield self
            self.session.disconnected()

    def add(self, *events: Event) -> None:
        for event in events:
            self.session.add(codec.encode(event))

    async def send(self, *events: Event) -> None:
        self.add(*events)
        await self.flush()

    async def flush(self) -> None:
        while (batch := self.session.next_batch()) is not None:
            await self.socket.send(batch)

    async def acknowledged(self) -> list[Signal]:
        """Wait until everything that was sent is acknowledged."""
        signals: list[Signal] = []
        while self.session.unacknowledged:
            signals += self.session.receive(await self._receive())
            await self.flush()
        assert any(isinstance(s, Acknowledged) for s in signals) or not signals
        return signals

    async def store(self, *events: Event) -> None:
        await self.send(*events)
        await self.acknowledged()

    async def bye(self) -> None:
        await self.socket.send(self.session.bye())
        await asyncio.wait_for(self.socket.wait_closed(), PATIENCE_S)

    async def _receive(self) -> bytes | str:
        return await asyncio.wait_for(self.socket.recv(), PATIENCE_S)


class Consumer:
    """A consumer that gathers what it gets."""

    def __init__(self, url: str, subscribe: frames.Subscribe, *, wire: Wire = BINARY) -> None:
        self.url = url
        self.wire = wire
        self.session = ConsumerSession(subscribe, wire)
        self.updates: list[Update] = []
        self.facts: list[Fact] = []
        self.socket: ClientConnection

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["Consumer"]:
        async with open_socket(self.url, "/v1/tail", self.wire.subprotocol) as self.socket:
            await self.socket.send(self.session.subscribe())
            yield self

    async def take(self) -> list[Update]:
        data = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        updates = self.session.receive(data)
        self.updates += updates
        for update in updates:
            if isinstance(update, Facts):
                self.facts += update.facts
        return updates

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                await self.take()

    async def until_type(self, kind: type) -> Update:
        await self.until(lambda: any(isinstance(update, kind) for update in self.updates))
        return next(update for update in self.updates if isinstance(update, kind))


def open_socket(
    url: str, path: str, subprotocol: str = "lumina.v1", headers: dict[str, str] | None = None
) -> connect:
    return connect(
        url.replace("http", "ws", 1) + path,
        subprotocols=[subprotocol],  # type: ignore[list-item]
        compression=None,
        proxy=None,
        max_size=None,
        max_queue=None,
        close_timeout=1,
        additional_headers=headers or {},
    )


def new_hello(pid: int = 0, **fields: object) -> frames.Hello:
    """Return a hello; with a `pid`, one of a process of this machine."""
    local: dict[str, object] = {}
    if pid:
        local = {
            "pid": pid,
            "process_start": process_start(pid),
            "boot_id": boot_id(),
            "pid_namespace": pid_namespace(),
        }
    return frames.Hello(
        secrets.token_hex(8), secrets.token_hex(8), 1, **{"service": "svc", **local, **fields}
    )  # type: ignore[arg-type]


def started(
    trace_id: str, span_id: str, name: str = "root", parent_id: str | None = None
) -> SpanStarted:
    return SpanStarted(trace_id, span_id, time.time_ns(), name, parent_id)


def ended(trace_id: str, span_id: str) -> SpanEnded:
    return SpanEnded(trace_id, span_id, time.time_ns())


def new_trace() -> str:
    return secrets.token_hex(16)


def new_span() -> str:
    return secrets.token_hex(8)
