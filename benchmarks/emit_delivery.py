"""The processor time of a program whose spans are all delivered: one run, in a process of its own.

`emit_delivery.py lumina URL` or `emit_delivery.py otlp URL`, then the number of spans and how many a
second (0: as fast as they can be made). Prints user and system time of this process in microseconds a span,
from the first span to the last acknowledgement, the threads that deliver included; what receives
runs elsewhere. `emit_delivery.py sink` is the receiver of OTLP: it reads and answers 200, no more.
"""

import importlib
import resource
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BURST = 100
"""Spans between two looks at the clock, at most: a paced program does not make them one by one."""


class Sink(BaseHTTPRequestHandler):
    """Takes what is posted."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read it all, answer 200."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def serve_sink() -> None:
    """Serve until standard input ends; the port goes to standard output."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


def cpu_s() -> float:
    """Return the processor time of this process so far, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def paced(one: Callable[[], None], spans: int, per_s: float) -> None:
    """Call `one` so many times, `per_s` a second; 0 is without a pause."""
    if not per_s:
        for _ in range(spans):
            one()
        return
    started = time.monotonic()
    for n in range(spans):
        due = started + n / per_s
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        one()


def lumina(url: str) -> tuple[Callable[[], None], Callable[[], bool]]:
    """Return what makes a span, and what waits until all are acknowledged."""
    import lumina_stream

    lumina_stream.init("bench", endpoint=url)
    trace = lumina_stream.trace

    def one() -> None:
        with trace("step") as span:
            span.set_attribute("k", 1)

    def wait() -> bool:
        return lumina_stream.flush(60) and not lumina_stream.statistics().lost

    return one, wait


def otlp(url: str) -> tuple[Callable[[], None], Callable[[], bool]]:
    """Return the same for OpenTelemetry's SDK and its OTLP/HTTP exporter, as they come.

    Only the queue is larger than it is by default, so that it drops nothing.
    """
    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
    http: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    provider = sdk.TracerProvider()
    exporter = http.OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    provider.add_span_processor(export.BatchSpanProcessor(exporter, max_queue_size=1_000_000))
    start = provider.get_tracer("bench").start_as_current_span

    def one() -> None:
        with start("step") as span:
            span.set_attribute("k", 1)

    return one, lambda: provider.force_flush(60_000)


def main() -> None:
    """Print the figure, or serve."""
    if sys.argv[1] == "sink":
        return serve_sink()
    spans, per_s = int(sys.argv[3]), float(sys.argv[4])
    one, wait = {"lumina": lumina, "otlp": otlp}[sys.argv[1]](sys.argv[2])
    paced(one, 500, per_s and 1_000)  # connected, imported, warm
    assert wait(), "not all was delivered"
    before = cpu_s()
    paced(one, spans, per_s)
    assert wait(), "not all was delivered"
    print(f"{(cpu_s() - before) / spans * 1e6:.2f}")
    return None


if __name__ == "__main__":
    main()
