"""How many events a second does one durable relay acknowledge, and what does each cost it?

    benchmarks/bench_relay.py [--events N] [--grow N] [--only ROUNDS]

A relay in a process of its own; frames are made before the clock starts and sent by another process, which
keeps 4 MiB unacknowledged; tails in a third one read everything and decode nothing. Held equal: traces
of ten spans of three events (start with two attributes, one attribute, end), every commit synced. What is
*acknowledged* is on the disk; what is *shown* has also reached the projections: both are printed.
CPU is the relay's own, user and system, until everything is shown.
"""

import argparse
import asyncio
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from report import figure, versions
from websockets.asyncio.client import connect

from lumina_stream.model import codec, limits
from lumina_stream.model.events import AttributeSet, SpanEnded, SpanStarted
from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import BINARY
from lumina_stream.transport.child_relay import ChildRelay

MIB = 1 << 20
SPANS = 10
TRACE_EVENTS = SPANS * 3
FRAMES = (1, 10, 100, 1_000)
TAILS = (0, 1, 10, 100)
PACED = 100_000
GROWN = 1_000_000
"""Events stored at last in a whole run: a minute. The growth to ten times as many is asked for by `--grow`."""
SETTLED_S = 12.0
"""After the last event is shown: what was put off is worked out and checkpointed, and memory given back."""
LOOK_S = 0.02


class Load(NamedTuple):
    """What the sender has seen: seconds from the first byte to the last acknowledgement."""

    events: int
    payload_bytes: int
    seconds: float


class Run(NamedTuple):
    """What one load did to the relay."""

    load: Load
    shown_s: float
    cpu_s: float
    rss: int
    lag_ms: float
    most_lag_ms: float

    @property
    def rate(self) -> float:
        """Return the acknowledged events a second."""
        return self.load.events / self.load.seconds

    @property
    def shown_rate(self) -> float:
        """Return the events a second that also reached the projections."""
        return self.load.events / self.shown_s

    @property
    def cpu_us(self) -> float:
        """Return the relay's microseconds of CPU an event."""
        return self.cpu_s / self.load.events * 1e6


# --- the sender, a process of its own --------------------------------------------------------


def events_of(traces: int) -> Iterator[bytes]:
    """Yield the encoded events of whole traces."""
    encode = codec.encode
    now = time.time_ns()
    for number in range(traces):
        trace_id, parent = secrets.token_hex(16), None
        for step in range(SPANS):
            span_id = secrets.token_hex(8)
            now += 1_000
            said = {"db.top_k": step, "tenant": f"t{number % 100}"}
            name = "retrieval" if step else "rag_request"
            yield encode(SpanStarted(trace_id, span_id, now, name, parent, "retrieval", said))
            yield encode(AttributeSet(trace_id, span_id, now + 200, "db.results_count", step))
            yield encode(SpanEnded(trace_id, span_id, now + 900))
            parent = parent or span_id


def messages(events: int, per_frame: int) -> Iterator[bytes]:
    """Yield WebSocket messages of whole traces: batches, behind a mask of zeros that leaves them as they are."""
    held: list[bytes] = []
    seq = 1
    for event in events_of(events // TRACE_EVENTS):
        held.append(event)
        if len(held) == per_frame:
            yield message(codec.encode(frames.Batch(seq, msgspec.Raw(codec.join_array(held)))))
            seq += len(held)
            held = []
    if held:
        yield message(codec.encode(frames.Batch(seq, msgspec.Raw(codec.join_array(held)))))


def message(data: bytes) -> bytes:
    """Return one binary WebSocket message of a client."""
    size = len(data)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 1 << 16:
        head = b"\x82\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x82\xff" + size.to_bytes(8, "big")
    return head + bytes(4) + data


class Sender:
    """A producer on a plain socket: as little of the machine as can be."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(
            f"GET /v1/stream HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Protocol: lumina.v1\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        while self._file.readline() != b"\r\n":
            pass
        self.acked = 0
        self._more = threading.Condition()
        hello = frames.Hello(secrets.token_hex(8), secrets.token_hex(8), 1, "bench")
        self._socket.sendall(message(codec.encode(hello)))
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, made: list[bytes], last: int, per_frame: int, rate: float) -> Load:
        """Send messages, `rate` events a second at most (0: as fast as it goes), and wait for the ack of the last."""
        total = sum(map(len, made))
        window = max(per_frame, limits.IN_FLIGHT_BYTES * per_frame * len(made) // total)
        began, sent = time.perf_counter(), 0
        for one in made:
            if rate:
                ahead = sent / rate - (time.perf_counter() - began)
                if ahead > 0.001:
                    time.sleep(ahead)
            if sent - self.acked > window:
                self._await(sent - window // 2)
            self._socket.sendall(one)
            sent += per_frame
        self._await(last)
        return Load(last, total, time.perf_counter() - began)

    def _await(self, seq: int) -> None:
        with self._more:
            while self.acked < seq:
                self._more.wait()

    def _read(self) -> None:
        read = self._file.read
        while head := read(2):
            size = head[1]
            if size == 126:
                size = int.from_bytes(read(2), "big")
            data = read(size)
            if head[0] & 15 == 9:  # a ping
                self._socket.sendall(b"\x8a" + bytes((0x80 | size,)) + bytes(4) + data)
            elif head[0] & 15 == 2:
                frame = BINARY.relay_to_producer(data)
                if isinstance(frame, frames.Ack):
                    with self._more:
                        self.acked = frame.upto
                        self._more.notify()
                elif not isinstance(frame, frames.Welcome):
                    raise SystemExit(f"the relay answers {frame}")


def sender(url: str, events: int, per_frame: int, rate: float) -> None:
    """Make the frames, wait for a line, send, and print what was seen."""
    whole = -(-events // TRACE_EVENTS) * TRACE_EVENTS
    made = list(messages(whole, per_frame))
    one = Sender(url)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(one.send(made, whole, per_frame, rate)), flush=True)
    sys.stdin.readline()


# --- tails, a process of their own -----------------------------------------------------------


async def tails(url: str, count: int) -> None:
    """Subscribe to everything, read it, and look at nothing."""

    async def read(opened: asyncio.Semaphore) -> None:
        async with connect(
            url.replace("http", "ws", 1) + "/v1/tail",
            subprotocols=["lumina.v1"],  # type: ignore[list-item]
            compression=None,
            proxy=None,
            max_size=None,
        ) as one:
            await one.send(codec.encode(frames.Subscribe(snapshot=False)))
            await one.recv()
            opened.release()
            while True:
                await one.recv()

    opened = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(read(opened)) for _ in range(count)]
    for _ in tasks:
        await opened.acquire()
    print("ready", flush=True)
    await asyncio.gather(*tasks)


# --- the measurement -------------------------------------------------------------------------


class Child:
    """This file in another process, ready when it says so."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


class Watched:
    """A relay, and what is seen of it from outside."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._relay = ChildRelay.start("--data", folder)
        self.url = self._relay.url
        self.pid = int(self._json("/healthz")["pid"])

    def run(
        self,
        events: int,
        per_frame: int,
        tail_count: int = 1,
        rate: float = 0.0,
        settled_s: float = 0.0,
    ) -> Run:
        """Send events; return what they cost, up to `settled_s` after they are shown."""
        watching = Child("--tails", self.url, tail_count) if tail_count else None
        sending = Child("--sender", self.url, events, per_frame, rate)
        cpu_s, began = self.cpu_s(), time.perf_counter()
        sending.go()
        said: list[Load] = []
        reader = threading.Thread(target=lambda: said.append(Load(*json.loads(sending.line()))))
        reader.start()
        lags: list[float] = []
        while reader.is_alive():
            lags.append(self.lag_s() * 1e3)
            reader.join(LOOK_S if rate else 0.5)
        while self.lag():
            time.sleep(LOOK_S)
        shown_s = time.perf_counter() - began
        time.sleep(settled_s)
        cpu_s = self.cpu_s() - cpu_s
        sending.end()
        if watching is not None:
            watching.end()
        return Run(
            said[0], shown_s, cpu_s, self.rss(), statistics.median(lags or [0]), max(lags or [0])
        )

    def cpu_s(self) -> float:
        """Return its CPU time so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> int:
        """Return its resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    def lag(self) -> float:
        """Return how many stored events are not shown yet."""
        return self._metric("projection_lag_events")

    def lag_s(self) -> float:
        """Return for how long the oldest of these has been stored."""
        return self._metric("projection_lag_seconds")

    def disk_bytes(self) -> int:
        """Return the size of the log's segments."""
        return sum(p.stat().st_size for p in self.folder.rglob("segment-*"))

    def close(self) -> None:
        """Stop it."""
        self._relay.close()

    def _metric(self, name: str) -> float:
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"lumina_{name} "):
                    return float(line.split()[1])
        raise KeyError(name)

    def _json(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)


def once(events: int, per_frame: int, tail_count: int = 1, rate: float = 0.0) -> Run:
    """Measure with a relay of its own."""
    with tempfile.TemporaryDirectory() as folder:
        relay = Watched(folder)
        try:
            return relay.run(events, per_frame, tail_count, rate)
        finally:
            relay.close()


def line(name: str, run: Run) -> None:
    """Print one row."""
    print(
        f"{name:34} {run.rate:9,.0f} acked/s {run.shown_rate:9,.0f} shown/s"
        f" {run.cpu_us:6.2f} us CPU an event, RSS {run.rss / MIB:4.0f} MiB",
        flush=True,
    )


def grow(most: int) -> None:
    """Print what an event costs as the log grows, what was put off included, and what it takes on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        relay = Watched(folder)
        idle, stored, disk = relay.rss(), 0, 0
        step, first, run = 100_000, 0.0, None
        try:
            while stored < most:
                run = relay.run(step, 100, settled_s=SETTLED_S)
                stored += run.load.events
                first = first or run.cpu_us
                line(f"up to {stored:,} stored", run)
                print(
                    f"{'':34} {run.cpu_us / first:.2f} x the first; {relay.disk_bytes() / stored:.0f} bytes on"
                    f" disk an event, {run.load.payload_bytes / run.load.events:.0f} sent; idle {idle / MIB:.0f} MiB"
                )
                step = min(step * 3, most - stored, 1_000_000) or 1
            disk = relay.disk_bytes()
        finally:
            relay.close()
    assert run is not None
    figure(
        f"an event's CPU at {stored:,} stored, beside the first",
        run.cpu_us / first,
        "x",
        at_most=1.2,
    )
    figure("bytes on disk, an event, index included", disk / stored, "bytes", at_most=120)
    figure("relay memory, idle", idle / MIB, "MiB", at_most=80)
    traces = stored // TRACE_EVENTS
    figure(
        f"relay memory after {traces * SPANS:,} spans in {traces:,} finished traces, caught up",
        run.rss / MIB,
        "MiB",
        at_most=200,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--events", type=int, default=300_000, help="events of one measurement")
    parser.add_argument("--grow", type=int, default=0, help="events stored at last, to see growth")
    parser.add_argument("--only", type=int, default=0, help="rounds of 100 events a frame, 1 tail")
    parser.add_argument("--sender", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--tails", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sender:
        url, events, per_frame, rate = given.sender
        sender(url, int(events), int(per_frame), float(rate))
        return
    if given.tails:
        asyncio.run(tails(given.tails[0], int(given.tails[1])))
        return
    if given.only:
        for _ in range(given.only):
            line("100 events a frame, 1 tail", once(given.events, 100))
        return
    if given.grow:
        grow(given.grow)
        return
    print(versions("uvicorn", "websockets", "apsw"))
    for per_frame in FRAMES:
        events = min(given.events, per_frame * 20_000)
        line(f"{per_frame:,} events a frame, 1 tail", once(events, per_frame))
    for count in TAILS:
        line(
            f"100 events a frame, {count} tails",
            once(given.events // max(1, count // 10), 100, count),
        )
    run = once(given.events, 100, rate=PACED)
    line(f"{PACED:,} events/s offered", run)
    print(f"{'':34} projection lag median {run.lag_ms:.0f}, most {run.most_lag_ms:.0f} ms")
    figure(f"projection lag at {PACED:,} events/s offered, median", run.lag_ms, "ms", at_most=100)
    grow(GROWN)


if __name__ == "__main__":
    main()
