"""How long from a call until a viewer has it, while the span is open, and at which rates?

A relay with a durable log; the program, and a viewer that compares its wall clock with the event's, in
processes of their own. Rates from 10 to 50,000 events a second, then a program whose main thread never stops
computing. Beside it the floor: the same threads and processes around a bare `websockets` server, one
message an event, nothing stored; and how long OpenTelemetry's and Logfire's batches wait, with their
defaults, before their exporter so much as sees a span that has ended. Last: spans of ours and of
OpenTelemetry's SDK through our bridge, until their line is in `lumina-stream tail --json`.

    bench_latency.py [--seconds 8]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from report import figure, number, percentiles, table, versions
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

import lumina_stream as lumina
from lumina_stream.model import codec
from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import BINARY
from lumina_stream.transport.child_relay import ChildRelay

RATES = (10, 1_000, 10_000, 50_000)
CPU_BOUND = 0  # for a rate: as many as come between two pieces of work
WORK = 20_000  # turns of an empty loop between two spans of the busy program
FLOOR_RATES = (10, 1_000, 10_000)
SPANS = 300
spawn = multiprocessing.get_context("spawn")


def main() -> None:
    """Print the percentiles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each rate")
    seconds: float = parser.parse_args().seconds
    print(versions("websockets", "opentelemetry-sdk", "logfire"))
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            for rate in (*RATES, CPU_BOUND):
                found = hop(watch_relay, relay.url, trace_at, relay.url, rate, seconds)
                rows.append(row(f"lumina-stream, {named(rate)}", found))
                if rate == 10_000:
                    half, most = percentiles(found, 50, 99)
                    figure("latency: 10,000 events/s, p50", half, "ms", at_most=2)
                    figure("latency: 10,000 events/s, p99", most, "ms", at_most=10)
        finally:
            relay.close()
    for rate in (*FLOOR_RATES, CPU_BOUND):
        with floor() as url:
            found = hop(watch_floor, f"{url}/watch", send_at, f"{url}/send", rate, seconds)
        rows.append(row(f"bare websockets, {named(rate)}", found))
    for name, delays in batch_delays(seconds).items():
        rows.append(row(f"{name}, batch delay alone", delays))
    table(["call to viewer, ms", "n", "p50", "p99", "p99.9", "max"], rows)
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            through_the_command(relay.url)
        finally:
            lumina.shutdown()
            relay.close()


def named(rate: int) -> str:
    return f"{rate:,} events/s" if rate else "CPU-bound program"


def row(name: str, found: list[float]) -> list[str]:
    cuts = (*percentiles(found, 50, 99, 99.9), max(found))
    return [name, f"{len(found):,}", *map(number, cuts)]


def hop(
    watch: Callable[[str, Connection], None],
    watched: str,
    produce: Callable[[str, int, float], None],
    endpoint: str,
    rate: int,
    seconds: float,
) -> list[float]:
    """Run a program and a viewer; return milliseconds from call to viewer, the first second left out."""
    ours, theirs = spawn.Pipe()
    viewer = spawn.Process(target=watch, args=(watched, theirs))
    viewer.start()
    ours.recv()
    program = spawn.Process(target=produce, args=(endpoint, rate, seconds + 1))
    program.start()
    program.join()
    time.sleep(0.5)
    ours.send(None)
    pairs: list[tuple[int, int]] = ours.recv()
    viewer.join()
    first = min(called for called, _ in pairs)
    return [(seen - called) / 1e6 for called, seen in pairs if called > first + 1_000_000_000]


def paced(rate: int, seconds: float) -> Iterator[int]:
    """Yield how many events are due, at most once a millisecond; the busy program computes instead."""
    begun, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        if rate == CPU_BOUND:
            for _ in range(WORK):
                pass
            yield 3
            continue
        due = int(passed * rate) - sent
        if due:
            sent += due
            yield due
        time.sleep(max(0.001, (sent + 1) / rate - (time.perf_counter() - begun)))


# --- ours --------------------------------------------------------------------------------------------


def trace_at(url: str, rate: int, seconds: float) -> None:
    """Record spans of three events each: a start, an attribute, an end."""
    lumina.init("bench", endpoint=url)
    with lumina.trace("bench"):
        lumina.flush()
        span, step = None, 0
        for due in paced(rate, seconds):
            for _ in range(due):
                if step == 0:
                    span = lumina.start_span("step")
                elif step == 1:
                    span.set_attribute("number", 1)  # type: ignore[union-attr]
                else:
                    span.end()  # type: ignore[union-attr]
                step = (step + 1) % 3
    lumina.flush(30)
    lumina.shutdown()


def watch_relay(url: str, pipe: Connection) -> None:
    """Note when the facts came and when they were called, until the pipe says enough."""

    async def subscribe(socket: ClientConnection) -> None:
        await socket.send(codec.encode(frames.Subscribe(snapshot=False)))
        await socket.recv()

    def times(data: bytes) -> list[int]:
        frame = BINARY.relay_to_consumer(data)
        if not isinstance(frame, frames.FactBatch):
            return []
        kinds = ("span_started", "attribute_set", "span_ended")
        events = [codec.decode(fact.event) for fact in frame.facts]
        return [e.time_ns for e in events if type(e).__struct_config__.tag in kinds]

    asyncio.run(_watch(url.replace("http", "ws", 1) + "/v1/tail", pipe, subscribe, times))


async def _watch(url: str, pipe: Connection, subscribe: Any, times: Callable[[bytes], Any]) -> None:
    pairs: list[tuple[int, int]] = []
    options: Any = {"subprotocols": ["lumina.v1"], "compression": None, "max_queue": None}
    async with connect(url, **options) as socket:
        await subscribe(socket)
        pipe.send(None)

        async def read() -> None:
            while True:
                data = await socket.recv()
                seen = time.time_ns()
                pairs.extend((called, seen) for called in times(data))

        reader = asyncio.create_task(read())
        await asyncio.to_thread(pipe.recv)
        reader.cancel()
    pipe.send(pairs)


# --- the floor ---------------------------------------------------------------------------------------


@contextmanager
def floor() -> Generator[str]:
    """Run a server that hands each message on to whoever watches."""
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=hand_on, args=(theirs,))
    server.start()
    try:
        yield f"ws://127.0.0.1:{ours.recv()}"
    finally:
        server.terminate()
        server.join()


def hand_on(pipe: Connection) -> None:
    watchers: list[ServerConnection] = []

    async def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.path == "/watch":
            watchers.append(socket)
            await socket.wait_closed()
            return
        async for message in socket:
            for watcher in watchers:
                await watcher.send(message)

    async def run() -> None:
        protocol: Any = "lumina.v1"
        options: Any = {"subprotocols": [protocol], "compression": None, "max_queue": None}
        async with serve(handle, "127.0.0.1", 0, **options) as server:
            pipe.send(server.sockets[0].getsockname()[1])
            await server.serve_forever()

    asyncio.run(run())


def send_at(url: str, rate: int, seconds: float) -> None:
    """Hand times to a thread with a loop, which sends each as a message of its own."""
    loop = asyncio.new_event_loop()
    waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
    ready = threading.Event()

    async def send() -> None:
        options: Any = {"subprotocols": ["lumina.v1"], "compression": None}
        async with connect(url, **options) as socket:
            ready.set()
            while (message := await waiting.get()) is not None:
                await socket.send(message)

    thread = threading.Thread(target=loop.run_until_complete, args=(send(),))
    thread.start()
    ready.wait()
    for due in paced(rate, seconds):
        for _ in range(due):
            loop.call_soon_threadsafe(waiting.put_nowait, time.time_ns().to_bytes(8, "big"))
    loop.call_soon_threadsafe(waiting.put_nowait, None)
    thread.join()
    loop.close()


def watch_floor(url: str, pipe: Connection) -> None:
    """Note when the messages came and when they were made."""

    async def subscribe(socket: ClientConnection) -> None:
        await asyncio.sleep(0)

    asyncio.run(_watch(url, pipe, subscribe, lambda data: [int.from_bytes(data, "big")]))


# --- peers -------------------------------------------------------------------------------------------


def batch_delays(seconds: float) -> dict[str, list[float]]:
    """Return for how long ended spans wait until an exporter is called, with the defaults."""
    from logfire._internal.exporters.dynamic_batch import DynamicBatchSpanProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Exporter(SpanExporter):
        def __init__(self) -> None:
            self.delays: list[float] = []

        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            now_ns = time.time_ns()
            self.delays += [(now_ns - (one.end_time or now_ns)) / 1e6 for one in spans]
            return SpanExportResult.SUCCESS

    ways = {"OpenTelemetry": BatchSpanProcessor, "Logfire": DynamicBatchSpanProcessor}
    exporters = {name: Exporter() for name in ways}
    providers = [TracerProvider(shutdown_on_exit=False) for _ in ways]
    for provider, (name, processor) in zip(providers, ways.items(), strict=True):
        provider.add_span_processor(processor(exporters[name]))
    ending = time.perf_counter() + max(seconds, 8.0)
    while time.perf_counter() < ending:
        for provider in providers:
            with provider.get_tracer("bench").start_as_current_span("step"):
                pass
        time.sleep(random.uniform(0.01, 0.03))
    time.sleep(5.5)  # what is left goes out with the timer, not with the shutdown
    found = {name: exporter.delays for name, exporter in exporters.items()}
    for provider in providers:
        provider.shutdown()
    return found


# --- through the command -----------------------------------------------------------------------------


def through_the_command(url: str) -> None:
    """Trace, watch `lumina-stream tail --json`, and print."""
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()

    @contextmanager
    def ours(name: str) -> Generator[tuple[Any, str]]:
        with lumina.trace(name) as span:
            yield span, span.span_id

    @contextmanager
    def theirs(name: str) -> Generator[tuple[Any, str]]:
        with provider.get_tracer("bench").start_as_current_span(name) as span:
            yield span, format(span.get_span_context().span_id, "016x")

    ways: dict[str, Callable[[str], Any]] = {"lumina": ours, "OpenTelemetry": theirs}
    lumina.init("bench-latency", endpoint=url)
    lumina.instrument_opentelemetry(provider)
    with lumina.trace("warm-up"):
        lumina.flush()
    tail = subprocess.Popen(
        [sys.executable, "-m", "lumina_stream", "tail", "--url", url, "--json"],
        stdout=subprocess.PIPE,
    )
    lines: queue.Queue[tuple[int, bytes]] = queue.Queue()

    def read() -> None:
        assert tail.stdout is not None
        for line in tail.stdout:
            lines.put((time.time_ns(), line))

    threading.Thread(target=read, daemon=True).start()
    kinds = ("span_started", "attribute_set", "event_added")
    seen: dict[tuple[str, str], list[float]] = {(way, kind): [] for way in ways for kind in kinds}
    try:
        # The tail takes a moment to subscribe: trace until it shows something.
        while lines.empty():
            with lumina.trace("are you there"):
                time.sleep(0.05)
        while not lines.empty():
            lines.get()
        for step in range(SPANS):
            for way, span_of in ways.items():
                before_ns = time.time_ns()
                with span_of(f"span {step}") as (span, span_id):
                    called = {"span_started": before_ns, "attribute_set": time.time_ns()}
                    span.set_attribute("number", step)
                    called["event_added"] = time.time_ns()
                    span.add_event("half-way")
                    waiting = set(called)
                    while waiting:
                        arrived, line = lines.get(timeout=20)
                        fact = json.loads(line)
                        if fact.get("span_id") == span_id and fact["type"] in waiting:
                            waiting.discard(fact["type"])
                            seen[way, fact["type"]].append((arrived - called[fact["type"]]) / 1e6)
    finally:
        tail.terminate()
        tail.wait()
    rows = [row(f"{way}, {kind}", found) for (way, kind), found in seen.items()]
    print()
    table(["call to a line of `tail --json`, ms", "n", "p50", "p99", "p99.9", "max"], rows)
    print(f"load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
