"""What the bridge costs a span, beside what OpenTelemetry's SDK itself costs; best of several runs.

Interpreter times vary by a quarter between runs: compare within one run.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

import lumina_stream as lumina
from lumina_stream.instrument.opentelemetry import LuminaSpanProcessor, instrument_opentelemetry

ROUNDS, SPANS = 9, 2_000


def one_attribute(tracer: Tracer) -> None:
    """A span with one attribute."""
    with tracer.start_as_current_span("work") as span:
        span.set_attribute("key", "value")


def typical(tracer: Tracer) -> None:
    """A span as an instrumentation makes it: five attributes at the start, three later, an event."""
    start = {"a": 1, "b": "two", "c": 3.0, "d": True, "e": "five"}
    with tracer.start_as_current_span("work", attributes=start) as span:
        span.set_attribute("f", 6)
        span.set_attributes({"g": 7, "h": "eight"})
        span.add_event("event", {"i": 9})


def nested(tracer: Tracer) -> None:
    """Two spans, one in the other."""
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
        pass


def once_us(work: Callable[[Tracer], None], tracer: Tracer) -> float:
    """Return the microseconds of processor time that one call takes."""
    gc.collect()
    before = time.thread_time()
    for _ in range(SPANS):
        work(tracer)
    return (time.thread_time() - before) / SPANS * 1e6


def main() -> None:
    """Print a table."""
    print(f"Python {sys.version.split()[0]}, opentelemetry-sdk {version('opentelemetry-sdk')}")
    bare = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    streaming = TracerProvider(shutdown_on_exit=False)
    streaming.add_span_processor(LuminaSpanProcessor())
    live = streaming.get_tracer("bench")
    print(f"{'us a call':16}{'SDK alone':>12}{'+ processor':>14}{'+ context':>12}{'added':>9}")
    for work in (one_attribute, typical, nested):
        best = [float("inf")] * 3
        for _ in range(
            ROUNDS
        ):  # side by side, so that a busy moment of the machine meets all three
            lumina.init(service_name="bench", export=False, enabled=False)
            best[0] = min(best[0], once_us(work, bare))
            lumina.init(service_name="bench", export=False, enabled=True)
            best[1] = min(best[1], once_us(work, live))
            bridge = instrument_opentelemetry(TracerProvider(shutdown_on_exit=False))
            best[2] = min(best[2], once_us(work, live))
            bridge.remove()
        sdk, processor, both = best
        added = (both - sdk) / sdk
        print(f"{work.__name__:16}{sdk:12.1f}{processor:14.1f}{both:12.1f}{added:9.0%}")


if __name__ == "__main__":
    main()
