"""What does the bridge cost a span, beside what OpenTelemetry's SDK itself costs it?

Three ways to run the same work take turns within each round, each in a process of its own, because
the interpreter specialises code for the classes that it meets: the SDK alone, with our processor, and
with the processor and the shared current span. A ratio is of one round, so that a busy moment of the
machine meets both its sides; and every few rounds the processes are new ones, because one that lies
badly in memory is slow for as long as it lives. All is as `init` leaves it: limits, redaction, content.
What was recorded is taken out between the rounds, as the exporter does in a thread of its own.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

import lumina_stream as lumina
from lumina_stream.instrument.opentelemetry import LuminaSpanProcessor, instrument_opentelemetry
from lumina_stream.model.limits import EVENT_OVERHEAD
from lumina_stream.recording.queue import EventQueue

GENERATIONS, ROUNDS, SPANS = 5, 15, 200


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


WORK = (one_attribute, typical, nested)
WAYS = ("SDK alone", "+ processor", "+ context")


def once_us(work: Callable[[Tracer], None], tracer: Tracer) -> float:
    """Return the microseconds of processor time that one call takes."""
    gc.collect(0)
    before = time.thread_time_ns()
    for _ in range(SPANS):
        work(tracer)
    return (time.thread_time_ns() - before) / SPANS / 1e3


def settle(queue: EventQueue) -> None:
    """Take out what was recorded."""
    taken = queue.drain(1_000_000)
    queue.release(0, sum(map(len, taken)) + EVENT_OVERHEAD * len(taken))


def serve(way: str, asked: Connection) -> None:
    """Measure what is asked for, by its number in `WORK`, until None is."""
    provider = TracerProvider(shutdown_on_exit=False)
    queue: EventQueue | None = None
    if way != "SDK alone":
        queue = lumina.init(service_name="bench", export=False).queue
        queue.reading = True  # what is admitted is kept, as for an exporter
        provider.add_span_processor(LuminaSpanProcessor())
        if way == "+ context":
            instrument_opentelemetry(TracerProvider(shutdown_on_exit=False))
    tracer = provider.get_tracer("bench")
    while (number := asked.recv()) is not None:
        asked.send(once_us(WORK[number], tracer))
        if queue is not None:
            settle(queue)


def generation(rounds: dict[int, list[list[float]]]) -> None:
    """Add to the rounds of each work what new processes say: a figure a way."""
    spawning = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes: list[Any] = []
    for way in WAYS:
        ours, theirs = spawning.Pipe()
        processes.append(spawning.Process(target=serve, args=(way, theirs), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    for number in range(len(WORK)):
        for done in range(ROUNDS + 2):
            figures: list[float] = []
            for pipe in pipes:
                pipe.send(number)
                figures.append(pipe.recv())
            if done >= 2:
                rounds[number].append(figures)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()


def main() -> None:
    """Print a table."""
    print(f"Python {sys.version.split()[0]}, opentelemetry-sdk {version('opentelemetry-sdk')}")
    print(
        f"{GENERATIONS} times {ROUNDS} rounds of {SPANS}; medians, us of processor time a call;"
        " added: to the SDK's own"
    )
    print(f"{'':16}{WAYS[0]:>11}{WAYS[1]:>13}{WAYS[2]:>11}{'added':>8}{'quartiles':>16}")
    rounds: dict[int, list[list[float]]] = {number: [] for number in range(len(WORK))}
    for _ in range(GENERATIONS):
        generation(rounds)
    for number, work in enumerate(WORK):
        sdk, processor, both = zip(*rounds[number], strict=True)
        added = [(ours - theirs) / theirs for ours, theirs in zip(both, sdk, strict=True)]
        quarters = statistics.quantiles(added, n=4)
        print(
            f"{work.__name__:16}{statistics.median(sdk):11.1f}{statistics.median(processor):13.1f}"
            f"{statistics.median(both):11.1f}{statistics.median(added):8.0%}"
            f"{quarters[0]:10.0%}..{quarters[2]:.0%}"
        )


if __name__ == "__main__":
    main()
