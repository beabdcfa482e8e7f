"""How long after its start does a relay with a large store take producers again, and serve everything?

The store is written directly (traces of 100 spans, three events a span, one frame a trace), taken in once by
a relay, and kept in the temporary folder for the next run. Then the relay is started after a clean stop and
after a SIGKILL into a load of 60,000 events, in turn. Timed from the start of the process: until a producer's
hello is welcomed, until `/healthz` says `ok` (all that is stored is applied), and until the list of traces
answers.

    bench_restart.py [--events 1000000] [--rounds 3]      the target is meant for 10,000,000
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from report import figure, number, table, versions
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import lumina_stream as lumina
from lumina_stream.model import codec
from lumina_stream.model.events import AttributeSet, SpanEnded, SpanStarted
from lumina_stream.protocol.frames import Hello
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.relay.log import Entry
from lumina_stream.relay.sqlite_log import SqliteLog

TRACE_SPANS = 100
TRACE_EVENTS = 3 * TRACE_SPANS
AT_ONCE = 100  # frames a commit
LOAD_EVENTS = 60_000
PATIENCE_S = 3_600


class Started(NamedTuple):
    """Seconds from a relay's start until it took a producer, was done, and listed traces."""

    welcome: float
    ready: float
    listed: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(versions("apsw", "uvicorn"))
    folder = Path(tempfile.gettempdir()) / f"lumina-bench-restart-{options.events}"
    prepare(folder, options.events)
    found: dict[str, list[Started]] = {"a clean stop": [], "SIGKILL": []}
    for _ in range(options.rounds):
        with Relay(folder) as relay:
            found["a clean stop"].append(relay.started())
            load(relay.url)
            relay.end(signal.SIGKILL)
        with Relay(folder) as relay:
            found["SIGKILL"].append(relay.started())
    rows: list[list[str]] = []
    for after, starts in found.items():
        welcome, ready, listed = (statistics.median(column) for column in zip(*starts, strict=True))
        rows.append([f"after {after}", number(welcome), number(ready), number(listed)])
        name = f"restart: {options.events:,} events, after {after}"
        bounds = (2.0, 10.0) if options.events >= 10_000_000 else (None, None)
        figure(f"{name}, takes producers", welcome, "s", at_most=bounds[0])
        figure(f"{name}, serves all", max(ready, listed), "s", at_most=bounds[1])
    table([f"{options.events:,} events, s", "welcomes", "caught up", "lists traces"], rows)


class Relay:
    """A relay on a folder, and when it was started."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._begun = time.perf_counter()
        command = [sys.executable, "-m", "lumina_stream", "serve", "--port", str(port)]
        self._process = subprocess.Popen(
            [*command, "--data", str(folder), "--max-bytes", "unlimited"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *error: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        """End the process and wait for it; the second time does nothing."""
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait()

    def started(self) -> Started:
        """Wait until it does everything; return when it did what."""
        welcome = asyncio.run(self._hello())
        while self._get("/healthz")["status"] != "ok":
            time.sleep(0.01)
        ready = self._passed()
        assert self._get("/v1/traces?limit=100")["traces"]
        return Started(welcome, ready, self._passed())

    async def _hello(self) -> float:
        """Try until a producer is welcomed."""
        hello = Hello(secrets.token_hex(8), secrets.token_hex(8), 1, "bench")
        options: Any = {"subprotocols": ["lumina.v1"], "compression": None, "proxy": None}
        while self._passed() < PATIENCE_S:
            with contextlib.suppress(OSError, InvalidStatus):  # 503: not yet
                address = self.url.replace("http", "ws", 1) + "/v1/stream"
                async with connect(address, **options) as producer:
                    session = ProducerSession(hello)
                    await producer.send(session.connected(time.time_ns(), time.monotonic_ns()))
                    while not session.welcomed:
                        session.receive(await producer.recv())
                    welcomed = self._passed()
                    await producer.send(session.bye())
                    return welcomed
            assert self._process.poll() is None, "the relay has ended"
            await asyncio.sleep(0.01)
        raise TimeoutError(f"no producer was welcomed within {PATIENCE_S} s")

    def _passed(self) -> float:
        return time.perf_counter() - self._begun

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)


def prepare(folder: Path, events: int) -> None:
    """Write the store, unless it is there, and have a relay take it in."""
    done = folder.with_name(f"{folder.name}.done")
    if done.exists() and folder.exists():
        print(f"the store of an earlier run: {size_of(folder)} MiB")
        return
    begun = time.perf_counter()
    log = SqliteLog.open(folder)
    producer_id = secrets.token_hex(16)
    try:
        for first in range(0, events, AT_ONCE * TRACE_EVENTS):
            last = min(first + AT_ONCE * TRACE_EVENTS, events)
            log.append([frame(producer_id, at) for at in range(first, last, TRACE_EVENTS)])
    finally:
        log.close()
    wrote = time.perf_counter()
    with Relay(folder) as relay:
        relay.started()
    took = time.perf_counter() - wrote
    done.touch()
    print(
        f"the store was written in {wrote - begun:.0f} s ({size_of(folder)} MiB), and taken in for the"
        f" first time in {took:.0f} s"
    )


def frame(producer_id: str, first: int) -> Entry:
    """Return a finished trace of 100 spans as one frame of the log."""
    trace_id, now_ns = secrets.token_hex(16), time.time_ns()
    ids = [secrets.token_hex(8) for _ in range(TRACE_SPANS)]
    made: list[SpanStarted | AttributeSet | SpanEnded] = []
    for number_, span_id in enumerate(ids):
        parent = ids[number_ // 10] if number_ else None
        name = f"step {number_ % 10}"
        made.append(SpanStarted(trace_id, span_id, now_ns + number_, name, parent, "tool"))
        made.append(AttributeSet(trace_id, span_id, now_ns + number_ + 1, "number", number_))
    made += [SpanEnded(trace_id, span_id, now_ns + 1_000_000) for span_id in reversed(ids)]
    return Entry(producer_id, first + 1, len(made), codec.encode(made), (trace_id,), now_ns)  # type: ignore[arg-type]


def load(url: str) -> None:
    """Send what the next checkpoint has not seen when the relay is killed."""
    lumina.init("bench-restart", endpoint=url)
    for _ in range(LOAD_EVENTS // TRACE_EVENTS):
        with lumina.trace("request"):
            for number_ in range(TRACE_SPANS - 1):
                with lumina.trace("step") as span:
                    span.set_attribute("number", number_)
    assert lumina.flush(60)
    lumina.shutdown()


def size_of(folder: Path) -> str:
    return number(sum(path.stat().st_size for path in folder.rglob("*")) / (1 << 20))


if __name__ == "__main__":
    main()
