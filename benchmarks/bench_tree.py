"""How quickly does a tree grow, and what does a span in it take? Decoded events, nothing else beside them.

One trace of a million spans with one attribute each: a start, the attribute, an end. Wide: all below one
root. Deep: chains of 10,000, each span open until those below it have ended. Shuffled: any earlier span
may be the parent, and all events come in no order. Each shape in a process of its own, its collector set
as the relay's is. Processor time of `TraceTree.apply` alone; memory is what the process grew by (RSS).

    bench_tree.py [--spans 1000000]
"""

import argparse
import gc
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from report import figure, number, table, versions

from lumina_stream.model import codec
from lumina_stream.model.events import AttributeSet, SpanEnded, SpanStarted
from lumina_stream.model.tree import TraceTree
from lumina_stream.relay.serve import GC_THRESHOLD

TRACE_ID = "5" * 32
PRODUCER_ID = "9" * 32
CHAIN = 10_000
FRAME = 500
START_NS = 1_790_000_000_000_000_000


def main() -> None:
    """Measure every shape in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--shape", choices=SHAPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shape:
        print(*measure(options.shape, options.spans))
        return
    print(versions("msgspec"))
    rows: list[list[str]] = []
    for shape in SHAPES:
        command = [sys.executable, __file__, "--shape", shape, "--spans", str(options.spans)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rate, size = map(float, shown.split())
        figure(f"tree: events taken in, {shape}", rate, "events/s", at_least=400_000)
        figure(f"tree: a span with one attribute, {shape}", size, "bytes", at_most=1024)
        rows.append([shape, number(rate), number(1e6 / rate), number(size)])
    table([f"{options.spans:,} spans", "events/s", "us an event", "bytes a span (RSS)"], rows)


def measure(shape: str, spans: int) -> tuple[float, float]:
    """Return events a second of processor time, and bytes a span."""
    frames: Iterable[tuple[int, bytes]] = framed(SHAPES[shape](spans))
    if shape == "shuffled":
        frames = list(frames)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    before = rss()
    tree = TraceTree(TRACE_ID, max_spans=spans + 1)
    spent_ns = events = 0
    for first_seq, frame in frames:
        decoded = codec.decode_array(frame)
        apply = tree.apply
        started = time.thread_time_ns()
        for seq, event in enumerate(decoded, first_seq):
            apply(event, PRODUCER_ID, seq)  # type: ignore[arg-type]
        spent_ns += time.thread_time_ns() - started
        events += len(decoded)
    assert len(tree) == spans and not tree.open_count and not tree.missing_count
    return events / spent_ns * 1e9, (rss() - before) / spans


Made = Iterator[SpanStarted | AttributeSet | SpanEnded]


def wide(spans: int) -> Made:
    """One root; what is below it runs one after the other."""
    yield started(0, None)
    for number_ in range(1, spans):
        yield started(number_, 0)
        yield attribute(number_)
        yield ended(number_)
    yield attribute(0)
    yield ended(0)


def deep(spans: int) -> Made:
    """Chains below one root, each opened from above and closed from below."""
    yield started(0, None)
    for first in range(1, spans, CHAIN):
        chain = range(first, min(first + CHAIN, spans))
        for number_ in chain:
            yield started(number_, 0 if number_ == first else number_ - 1)
            yield attribute(number_)
        for number_ in reversed(chain):
            yield ended(number_)
    yield attribute(0)
    yield ended(0)


def shuffled(spans: int) -> Made:
    """Any earlier span may be the parent; events in no order."""
    chance = random.Random(1)
    order = list(range(3 * spans))
    chance.shuffle(order)
    for at in order:
        number_, which = divmod(at, 3)
        if which == 0:
            yield started(number_, random.Random(number_).randrange(number_) if number_ else None)
        else:
            yield attribute(number_) if which == 1 else ended(number_)


SHAPES = {"wide": wide, "deep": deep, "shuffled": shuffled}


def started(number_: int, parent: int | None) -> SpanStarted:
    at = START_NS + number_ * 1_000_000
    parent_id = None if parent is None else span_id(parent)
    return SpanStarted(TRACE_ID, span_id(number_), at, f"step {number_ % 10}", parent_id, "tool")


def attribute(number_: int) -> AttributeSet:
    return AttributeSet(
        TRACE_ID, span_id(number_), START_NS + number_ * 1_000_000 + 1_000, "number", number_
    )


def ended(number_: int) -> SpanEnded:
    return SpanEnded(TRACE_ID, span_id(number_), START_NS + number_ * 1_000_000 + 900_000)


def span_id(number_: int) -> str:
    return f"{number_ * 0x9E3779B97F4A7C15 % 2**64:016x}"


def framed(events: Made) -> Iterator[tuple[int, bytes]]:
    """Encode events in frames, as they come from the log, with the seq of each first one."""
    seq, part = 1, []
    for event in events:
        part.append(event)
        if len(part) == FRAME:
            yield seq, codec.encode(part)  # type: ignore[arg-type]
            seq, part = seq + FRAME, []
    if part:
        yield seq, codec.encode(part)  # type: ignore[arg-type]


def rss() -> int:
    """Return the resident memory of this process, in bytes."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmRSS in /proc/self/status")


if __name__ == "__main__":
    main()
