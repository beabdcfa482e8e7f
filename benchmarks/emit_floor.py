"""What the rows of `bench_emit` stand on: the cheapest block, a naive tracer, our queue's reader, the clock.

A case is a function that runs its block `n` times; an async one never suspends, so no loop is
needed to run it.
"""

import contextvars
import gc
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import msgspec

import lumina_stream as lumina
from lumina_stream.model import limits
from lumina_stream.recording.queue import EventQueue

ROUND_NS = 1_500_000
"""How long a case runs at a time, about: so short that in most rounds nobody interferes."""
MOST = 1_000
"""Blocks in a row at most."""

Case: TypeAlias = Callable[[int], Coroutine[Any, Any, None] | None]
Figures: TypeAlias = dict[str, list[float]]
"""Nanoseconds a block, one figure a round, by case."""


class Empty:
    """The cheapest context manager that Python has."""

    __slots__ = ()

    def __enter__(self) -> "Empty":
        return self

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        return None

    async def __aenter__(self) -> "Empty":
        return self

    async def __aexit__(self, kind: object, error: object, tb: object) -> None:
        return None


_current: contextvars.ContextVar["NaiveSpan | None"] = contextvars.ContextVar("c", default=None)
_encode = msgspec.msgpack.Encoder().encode
_out: deque[bytes] = deque(maxlen=100_000)


class NaiveSpan:
    """A tracer of 40 lines: contextvar, hex ids, clock, one encode a call, a deque; no bounds at all."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> "NaiveSpan":
        parent = _current.get()
        self.trace_id = parent.trace_id if parent else os.urandom(16).hex()
        self.span_id = os.urandom(8).hex()
        self.token = _current.set(self)
        self._emit("span_started", name=self.name, parent_id=parent.span_id if parent else None)
        return self

    def set_attribute(self, key: str, value: object) -> None:
        self._emit("attribute_set", key=key, value=value)

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        _current.reset(self.token)
        self._emit("span_ended", status="error" if error else "ok")

    async def __aenter__(self) -> "NaiveSpan":
        return self.__enter__()

    async def __aexit__(self, kind: object, error: object, tb: object) -> None:
        self.__exit__(kind, error, tb)

    def _emit(self, event_type: str, **fields: object) -> None:
        _out.append(
            _encode(
                {
                    "type": event_type,
                    "trace_id": self.trace_id,
                    "span_id": self.span_id,
                    "time_ns": time.time_ns(),
                    **fields,
                }
            )
        )


def empty(n: int) -> None:
    for _ in range(n):
        with Empty():
            pass


async def empty_async(n: int) -> None:
    for _ in range(n):
        async with Empty():
            pass


def naive(n: int) -> None:
    for _ in range(n):
        with NaiveSpan("step") as span:
            span.set_attribute("k", 1)


async def naive_async(n: int) -> None:
    for _ in range(n):
        async with NaiveSpan("step") as span:
            span.set_attribute("k", 1)


def traced(n: int) -> None:
    for _ in range(n):
        with lumina.trace("step") as span:
            span.set_attribute("k", 1)


async def traced_async(n: int) -> None:
    for _ in range(n):
        async with lumina.trace("step") as span:
            span.set_attribute("k", 1)


BASE: dict[str, Case] = {
    "empty": empty,
    "empty, async": empty_async,
    "naive": naive,
    "naive, async": naive_async,
}
"""Measured in every process, in turn with what is compared to it."""


class Reader:
    """Take events out of queues as the exporter does, in a thread of its own, acknowledging at once."""

    def __init__(self, *queues: EventQueue) -> None:
        self._queues = queues
        self._woken = threading.Event()
        self._over = False
        for queue in queues:
            queue.wake = self._woken.set
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        upto = dict.fromkeys(self._queues, 0)
        while not self._over:
            found = 0
            for queue in self._queues:
                while taken := queue.drain(1_000):
                    found += len(taken)
                    upto[queue] += len(taken)
                    size = sum(map(len, taken)) + limits.EVENT_OVERHEAD * len(taken)
                    queue.release(upto[queue], size)
            if found:
                busy = found >= limits.COALESCE_BUSY_EVENTS
                time.sleep(limits.COALESCE_BUSY_S if busy else limits.COALESCE_S)
                continue
            self._woken.clear()
            for queue in self._queues:
                queue.idle = True
            if not any(queue.pending for queue in self._queues):
                self._woken.wait()


def run(case: Case, n: int) -> float:
    """Return nanoseconds a block."""
    started = time.perf_counter_ns()
    block = case(n)
    if block is not None:
        try:
            block.send(None)
        except StopIteration:
            pass
    return (time.perf_counter_ns() - started) / n


def measure(
    cases: Mapping[str, Case], rounds: int, prepare: Callable[[str], None] = lambda name: None
) -> Figures:
    """Run all cases in turn, `rounds` times, so that all meet the same noise.

    `prepare` is called before each turn of a case; the collector runs between rounds only.
    """
    figures: Figures = {name: [] for name in cases}
    sizes: dict[str, int] = {}
    for name, case in cases.items():
        prepare(name)
        run(case, 10)
        sizes[name] = max(1, min(MOST, int(ROUND_NS / run(case, 50))))
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, case in cases.items():
            prepare(name)
            figures[name].append(run(case, sizes[name]))
    return figures


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the median and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def ratio(figures: Figures, name: str, base: str) -> float:
    """Return the ratio of the medians of two cases that were measured in turn."""
    return statistics.median(figures[name]) / statistics.median(figures[base])
