"""What does one stalled viewer cost the others, and an idle one the relay?

A relay in a process of its own, 100 viewers in this one. Rounds with a viewer that reads nothing take turns
with rounds without it: the others' p99 from a batch's sending to its arrival, the bytes and facts that
they got, and the relay's memory. Then 1,000 viewers of a relay where nothing happens.
"""

import asyncio
import contextlib
import gc
import json
import secrets
import socket
import statistics
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection, connect

from lumina_stream.model import codec
from lumina_stream.model.events import AttributeSet
from lumina_stream.protocol import frames
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.protocol.wire import BINARY
from lumina_stream.transport.child_relay import ChildRelay

VIEWERS = 100
PAIRS = 10
BATCHES = 120
BATCH_EVENTS = 20
PAUSE_S = 0.02
TEXT = "x" * 400
IDLE = 1_000
MIB = 1 << 20


class Round(NamedTuple):
    """What one round has shown."""

    p99_ms: float
    payload_bytes: int
    facts: int
    rss: int


class Watcher:
    """A viewer that counts what it gets."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.arrived: list[tuple[float, int]] = []
        self.payload_bytes = self.facts = 0

    async def run(self, facts: int) -> None:
        while self.facts < facts:
            data = await self._socket.recv()
            now = time.perf_counter()
            assert isinstance(data, bytes)
            frame = BINARY.relay_to_consumer(data)
            if isinstance(frame, frames.FactBatch) and len(frame.facts) >= BATCH_EVENTS:
                self.arrived.append((now, frame.facts[0].seq))
                self.facts += len(frame.facts)
                self.payload_bytes += len(data)


def opening(url: str, path: str) -> connect:
    return connect(
        url.replace("http", "ws", 1) + path,
        subprotocols=["lumina.v1"],  # type: ignore[list-item]
        compression=None,
        proxy=None,
        max_queue=None,
    )


@contextlib.asynccontextmanager
async def viewers(url: str, count: int) -> AsyncIterator[list[ClientConnection]]:
    """Connect viewers that want what comes next."""
    async with contextlib.AsyncExitStack() as stack:
        sockets: list[ClientConnection] = []
        for _ in range(count):
            one = await stack.enter_async_context(opening(url, "/v1/tail"))
            await one.send(codec.encode(frames.Subscribe(snapshot=False)))
            await one.recv()
            sockets.append(one)
        yield sockets


@contextlib.contextmanager
def stalled(url: str) -> Iterator[None]:
    """Subscribe, and read nothing of what comes."""
    host, port = url.removeprefix("http://").split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.connect((host, int(port)))
    raw.sendall(
        f"GET /v1/tail HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: lumina.v1\r\n\r\n".encode()
    )
    raw.recv(12)
    asked = codec.encode(frames.Subscribe(snapshot=False))
    raw.sendall(bytes((0x82, 0x80 | len(asked))) + bytes(4) + asked)
    try:
        yield
    finally:
        raw.close()


async def one_round(url: str, pid: int, *, with_stalled: bool) -> Round:
    """Send batches to 100 viewers, or to 99 and one that stalls; return what the 99 saw."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    session = ProducerSession(frames.Hello(secrets.token_hex(8), secrets.token_hex(8), 1, "bench"))
    hindrance = stalled(url) if with_stalled else contextlib.nullcontext()
    async with (
        viewers(url, VIEWERS - with_stalled) as sockets,
        opening(url, "/v1/stream") as producer,
    ):
        with hindrance:
            await producer.send(session.connected(time.time_ns(), time.monotonic_ns()))
            session.receive(await producer.recv())
            watchers = [Watcher(one) for one in sockets[: VIEWERS - 1]]
            tasks = [asyncio.create_task(w.run(BATCHES * BATCH_EVENTS)) for w in watchers]
            sent: dict[int, float] = {}
            gc.collect()
            for _ in range(BATCHES):
                first = session.last_seq + 1
                for n in range(BATCH_EVENTS):
                    session.add(
                        codec.encode(AttributeSet(trace, span, time.time_ns(), f"k{n}", TEXT))
                    )
                batch = session.next_batch()
                assert batch is not None
                sent[first] = time.perf_counter()
                await producer.send(batch)
                while session.unacknowledged:
                    session.receive(await producer.recv())
                await asyncio.sleep(PAUSE_S)
            await asyncio.gather(*tasks)
            rss = resident(pid)
    late = [(at - sent[seq]) * 1e3 for w in watchers for at, seq in w.arrived]
    return Round(
        statistics.quantiles(late, n=100)[98],
        sum(w.payload_bytes for w in watchers),
        sum(w.facts for w in watchers),
        rss,
    )


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def pid_of(url: str) -> int:
    with urllib.request.urlopen(f"{url}/healthz") as answer:
        return int(json.load(answer)["pid"])


async def compare(url: str) -> None:
    """Print what a stalled viewer changes for the others."""
    pid = pid_of(url)
    await one_round(url, pid, with_stalled=True)
    await one_round(url, pid, with_stalled=False)
    ratios: list[float] = []
    memory: list[float] = []
    without: list[Round] = []
    for pair in range(PAIRS):
        order = (False, True) if pair % 2 == 0 else (True, False)
        said = {with_it: await one_round(url, pid, with_stalled=with_it) for with_it in order}
        plain, hindered = said[False], said[True]
        assert plain.facts == hindered.facts == (VIEWERS - 1) * BATCHES * BATCH_EVENTS
        ratios.append(hindered.p99_ms / plain.p99_ms)
        memory.append((hindered.rss - plain.rss) / MIB)
        without.append(plain)
        difference = hindered.payload_bytes / plain.payload_bytes - 1
        print(
            f"pair {pair + 1:2}  p99 {plain.p99_ms:6.2f} ms without, {hindered.p99_ms:6.2f} ms with"
            f"  ratio {ratios[-1]:.2f}  bytes {difference:+.4%}  memory {memory[-1]:+.1f} MiB"
        )
    print(
        f"{VIEWERS} viewers, one stalled: the others' p99 {statistics.median(ratios):.2f} times as long"
        f" (median of {PAIRS} pairs, {min(ratios):.2f} to {max(ratios):.2f};"
        f" without {statistics.median(r.p99_ms for r in without):.2f} ms);"
        f" memory {statistics.median(memory):+.2f} MiB (median)"
    )


async def idle(url: str) -> None:
    """Print what viewers of nothing take in the relay."""
    pid = pid_of(url)
    async with viewers(url, 20):
        pass
    before = resident(pid)
    async with viewers(url, IDLE):
        after = resident(pid)
    print(f"{IDLE:,} idle viewers: {(after - before) / 1024 / IDLE:.1f} KiB each")


def main() -> None:
    """Run both, each with a relay of its own."""
    for work in (compare, idle):
        with tempfile.TemporaryDirectory() as folder:
            relay = ChildRelay.start("--data", folder)
            try:
                asyncio.run(work(relay.url))
            finally:
                relay.close()


if __name__ == "__main__":
    main()
