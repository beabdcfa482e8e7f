"""What does a span cost the program? Off, sampled out and on, beside an empty `with` and a naive floor.

Held equal: one thread, the same interpreter, one span and one attribute a round. Ours runs with its
defaults: limits, redaction, the byte-bounded queue, taken out by a thread of the benchmark instead
of a relay. The naive floor has none of these. The last rows compare the queue in memory with a spool,
round by round in turn, so that both meet the same noise.
"""

import contextvars
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

import lumina_stream as lumina
from lumina_stream.protocol.frames import Hello
from lumina_stream.recording.context import active
from lumina_stream.recording.queue import EventQueue
from lumina_stream.transport.spool import SpoolQueue

ROUNDS, BATCH = 31, 4_000


class Empty:
    """The cheapest context manager that Python has."""

    __slots__ = ()

    def __enter__(self) -> "Empty":
        return self

    def __exit__(self, kind: object, error: object, tb: object) -> None:
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


def measure(block: Callable[[], None], rounds: int = ROUNDS) -> list[float]:
    """Return nanoseconds a call, one figure a round."""
    figures: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        for _ in range(BATCH):
            block()
        figures.append((time.perf_counter_ns() - started) / BATCH)
    return figures


def empty() -> None:
    with Empty():
        pass


def bare() -> None:
    with lumina.trace("step"):
        pass


def traced() -> None:
    with lumina.trace("step") as span:
        span.set_attribute("k", 1)


def naive() -> None:
    with NaiveSpan("step") as span:
        span.set_attribute("k", 1)


def drain(stop: threading.Event) -> None:
    """Take events out as the exporter does, acknowledging at once."""
    recorder = active.recorder
    assert recorder is not None
    upto: dict[int, int] = {}
    while not stop.wait(0.001):
        queue = recorder.queue
        while taken := queue.drain(1_000):
            upto[id(queue)] = upto.get(id(queue), 0) + len(taken)
            queue.release(upto[id(queue)], sum(map(len, taken)) + 96 * len(taken))


def compare(folder: str) -> tuple[dict[str, list[float]], int]:
    """Return figures of the queue in memory and of a spool, and how many events were refused."""
    recorder = active.recorder
    assert recorder is not None
    spool = SpoolQueue(folder)
    spool.begin(Hello("bench", "nonce", 1, "bench"))
    spool.open()
    assert not spool.problem, spool.problem
    queues: dict[str, EventQueue] = {"in memory": recorder.queue, "in a spool": spool}
    figures: dict[str, list[float]] = {name: [] for name in queues}
    for _ in range(ROUNDS):
        for name, queue in queues.items():
            recorder.queue = queue
            while queue.pending:
                time.sleep(0.001)
            figures[name] += measure(traced, 1)
    spool.leave(delivered=True)
    return figures, spool.losses.total


def main() -> None:
    """Print the table."""
    rows: dict[str, list[float]] = {"empty `with`": measure(empty), "off": measure(bare)}
    lumina.init("bench", export=False, sample_rate=0.0)
    rows["sampled-out root"] = measure(bare)
    with lumina.trace("root"):
        rows["sampled-out child"] = measure(bare)
    runtime = lumina.init("bench", export=False)
    runtime.queue.reading = True
    stop = threading.Event()
    drainer = threading.Thread(target=drain, args=(stop,))
    drainer.start()
    rows["naive floor, span + 1 attribute"] = measure(naive)
    rows["lumina, span"] = measure(bare)
    rows["lumina, span + 1 attribute"] = measure(traced)
    with tempfile.TemporaryDirectory() as folder:
        queues, lost = compare(folder)
    stop.set()
    drainer.join()
    lost += lumina.statistics().lost
    rows |= {f"span + 1 attribute, {name}": figures for name, figures in queues.items()}
    base = statistics.median(rows["empty `with`"])
    floor = statistics.median(rows["naive floor, span + 1 attribute"])
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, lumina-stream {lumina.__version__}"
    )
    print(f"{'':34} median    min   x empty  x naive floor")
    for name, figures in rows.items():
        median = statistics.median(figures)
        print(
            f"{name:34} {median:6.0f} {min(figures):6.0f} ns {median / base:6.2f} {median / floor:8.2f}"
        )
    ratios = [b / a for a, b in zip(*queues.values(), strict=True)]
    print(f"spool / memory, median of the rounds: {statistics.median(ratios):.2f}")
    print(f"events refused during the run: {lost}")


if __name__ == "__main__":
    sys.exit(main())
