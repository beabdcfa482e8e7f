"""What does tracing cost a busy asyncio service: how many requests fewer, and how much later the slowest?

An HTTP service on raw asyncio in a process of its own; each request awaits twice, computes a little, and
makes ten spans with three attributes each. A second process asks it over 8 connections, each as quickly as it
is answered. Rounds take turns: without tracing, with ours and a relay with a durable log, with OpenTelemetry's
SDK (batches, OTLP over HTTP), and with Logfire on the same exporter; those send to a sink that answers at
once. Relay and sink share the machine with the service: what they do counts, as on a laptop. Processor
time is the service's alone, so it is what the program itself pays.

    bench_interference.py [--rounds 7] [--seconds 3]
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from report import figure, number, percentiles, spread, table, versions
from sink import Sink

from lumina_stream.transport.child_relay import ChildRelay

CONNECTIONS = 8
SPANS = 10
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REQUEST = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n"
WAYS = ("no tracing", "lumina-stream", "OpenTelemetry", "Logfire")
spawn = multiprocessing.get_context("spawn")

Opening = Callable[[str, dict[str, Any]], AbstractContextManager[Any]]


class Round(NamedTuple):
    """One round: requests a second, p99 in ms, and processor time of the service, in us a request."""

    rate: float
    p99_ms: float
    cpu_us: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    print(versions("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "logfire"))
    found: dict[str, list[Round]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, Sink() as sink, contextlib.ExitStack() as stack:
        relay = ChildRelay.start("--data", folder)
        stack.callback(relay.close)
        services = {
            way: stack.enter_context(
                service(way, relay.url if way == "lumina-stream" else sink.url)
            )
            for way in WAYS
        }
        for one in services.values():
            one.ask(0.5)
        for _ in range(options.rounds):
            for way, one in services.items():
                found[way].append(one.ask(options.seconds))
    rows: list[list[str]] = []
    added: dict[str, float] = {}
    longer: dict[str, float] = {}
    for way, rounds in found.items():
        pairs = list(zip(rounds, found["no tracing"], strict=True))
        slower = statistics.median(bare.rate / one.rate for one, bare in pairs)
        added[way] = statistics.median(one.cpu_us - bare.cpu_us for one, bare in pairs)
        rows.append(
            [
                way,
                spread([one.rate for one in rounds]),
                spread([one.p99_ms for one in rounds]),
                number(slower),
                number(statistics.median(one.p99_ms / bare.p99_ms for one, bare in pairs)),
                number(statistics.median(one.cpu_us for one in rounds)),
                number(added[way]),
            ]
        )
        longer[way] = slower - 1
    table(
        ["", "requests/s", "p99, ms", "slow-down", "p99 ratio", "service: us a request", "added"],
        rows,
    )

    # What a request takes longer, not how many there are fewer: that part cannot exceed the whole.
    ratio = longer["lumina-stream"] / longer["OpenTelemetry"]
    figure(
        "interference: time that ours adds to a request / OpenTelemetry",
        ratio,
        "times",
        at_most=0.2,
    )
    ratio = added["lumina-stream"] / added["OpenTelemetry"]
    figure("interference: processor time that ours adds / OpenTelemetry", ratio, "times")


class Service:
    """A running service, and how to load it."""

    def __init__(self, port: int, pipe: Connection) -> None:
        self._port = port
        self._pipe = pipe

    def ask(self, seconds: float) -> Round:
        """Load it for so long from a process of its own."""
        before = self._processor_s()
        ours, theirs = spawn.Pipe()
        load = spawn.Process(target=ask, args=(self._port, seconds, theirs))
        load.start()
        latencies: list[float] = ours.recv()
        load.join()
        spent = self._processor_s() - before
        (p99,) = percentiles(latencies, 99)
        return Round(len(latencies) / seconds, p99 * 1e3, spent / len(latencies) * 1e6)

    def _processor_s(self) -> float:
        self._pipe.send(None)
        return self._pipe.recv()


@contextlib.contextmanager
def service(way: str, url: str) -> Iterator[Service]:
    """Run a service that is traced in one way."""
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(way, url, theirs))
    process.start()
    try:
        yield Service(ours.recv(), ours)
    finally:
        process.terminate()
        process.join()


# --- in the service's process ------------------------------------------------------------------------


def serve(way: str, url: str, pipe: Connection) -> None:
    """Answer requests until terminated; say on the pipe what processor time was spent."""
    span_of = opening(way, url)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                with span_of("request", {"http.method": "GET", "http.route": "/", "user": 7}):
                    await work(span_of)
                writer.write(ANSWER)
                await writer.drain()

    def tell() -> None:
        pipe.recv()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(usage.ru_utime + usage.ru_stime)

    async def run() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        asyncio.get_running_loop().add_reader(pipe.fileno(), tell)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def work(span_of: Opening) -> None:
    """Do what a handler does: wait for a thing, compute, wait for another."""
    with span_of("load", {"db.system": "memory", "db.rows": 3, "cached": False}):
        await asyncio.sleep(0.0005)
    for number_ in range(SPANS - 3):
        with span_of("step", {"number": number_, "name": "a name", "share": 0.5}):
            sum(range(200))
    with span_of("render", {"template": "page", "parts": 4, "cached": True}):
        await asyncio.sleep(0.0005)


def opening(way: str, url: str) -> Opening:
    """Set a tracer up; return what opens a span with attributes."""
    match way:
        case "lumina-stream":
            import lumina_stream as lumina

            lumina.init("bench", endpoint=url)
            return lambda name, attributes: lumina.trace(name, attributes=attributes)
        case "OpenTelemetry":
            from opentelemetry.sdk.trace import TracerProvider

            provider = TracerProvider()
            provider.add_span_processor(batches(url))
            tracer = provider.get_tracer("bench")
            return lambda name, attributes: tracer.start_as_current_span(
                name, attributes=attributes
            )
        case "Logfire":
            import logfire

            logfire.configure(
                send_to_logfire=False,
                console=False,
                metrics=False,
                inspect_arguments=False,
                additional_span_processors=[batches(url)],
            )
            return lambda name, attributes: logfire.span(name, **attributes)
        case _:
            return lambda name, attributes: contextlib.nullcontext()


def batches(url: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces"))


# --- in the load's process ---------------------------------------------------------------------------


def ask(port: int, seconds: float, pipe: Connection) -> None:
    """Ask over some connections, each as quickly as it is answered; send what every answer took."""

    async def client(ending: float, latencies: list[float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (asked := time.perf_counter()) < ending:
            writer.write(REQUEST)
            await reader.readexactly(len(ANSWER))
            latencies.append(time.perf_counter() - asked)
        writer.close()
        await writer.wait_closed()

    async def run() -> list[float]:
        latencies: list[float] = []
        ending = time.perf_counter() + seconds
        await asyncio.gather(*(client(ending, latencies) for _ in range(CONNECTIONS)))
        return latencies

    pipe.send(asyncio.run(run()))


if __name__ == "__main__":
    main()
