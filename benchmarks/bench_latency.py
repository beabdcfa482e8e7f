"""How long from a call until its line is in `lumina-stream tail --json`, while the span is open?

A relay with a durable log and a tail in processes of their own; this process traces and reads the
tail's output. Spans of ours and of OpenTelemetry's SDK take turns, 1,000 of each, each open until its
start, attribute and event have been seen.
"""

import json
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

import lumina_stream as lumina
from lumina_stream.transport.child_relay import ChildRelay

SPANS = 1_000


def main() -> None:
    """Print the percentiles."""
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            measure(relay.url)
        finally:
            lumina.shutdown()
            relay.close()


@contextmanager
def ours(name: str) -> Generator[tuple[Any, str]]:
    """A span of ours, and its id."""
    with lumina.trace(name) as span:
        yield span, span.span_id


@contextmanager
def theirs(name: str) -> Generator[tuple[Any, str]]:
    """A span of OpenTelemetry's SDK, and its id."""
    with provider.get_tracer("bench").start_as_current_span(name) as span:
        yield span, format(span.get_span_context().span_id, "016x")


provider = TracerProvider()
WAYS: dict[str, Callable[[str], Any]] = {"lumina": ours, "OpenTelemetry": theirs}


def measure(url: str) -> None:
    """Trace, watch the tail, and print."""
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
    seen: dict[tuple[str, str], list[float]] = {(way, kind): [] for way in WAYS for kind in kinds}
    try:
        # The tail takes a moment to subscribe: trace until it shows something.
        while lines.empty():
            with lumina.trace("are you there"):
                time.sleep(0.05)
        while not lines.empty():
            lines.get()
        for number in range(SPANS):
            for way, span_of in WAYS.items():
                before_ns = time.time_ns()
                with span_of(f"span {number}") as (span, span_id):
                    called = {"span_started": before_ns, "attribute_set": time.time_ns()}
                    span.set_attribute("number", number)
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
    for (way, kind), figures in seen.items():
        cuts = statistics.quantiles(figures, n=1000)
        print(
            f"{way:14}{kind:14} n={len(figures)}  p50 {cuts[499]:.2f}  p95 {cuts[949]:.2f}"
            f"  p99 {cuts[989]:.2f}  p99.9 {cuts[998]:.2f}  max {max(figures):.2f} ms"
        )


if __name__ == "__main__":
    main()
