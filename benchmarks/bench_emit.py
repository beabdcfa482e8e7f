"""What does a span cost the program? Ours in all its forms, beside an empty block, a naive floor and other tracers.

Held equal: the interpreter, one thread that traces, and per table one process in which all cases run
in turn, a millisecond or two each, many rounds; medians and quartiles are over the rounds. Ours runs with
its defaults: limits, redaction, the byte-bounded queue, read by a thread that takes, counts and
acknowledges as the exporter does. The naive floor is `NaiveSpan` in `emit_floor`: no limits, no
sampling, no redaction, no reader. Peers (`emit_peers`) run their own pipelines up to the network, each in
a process of its own in which ours, the floor and the empty block are measured too. The last table
is processor time of whole processes whose spans are delivered and acknowledged (`emit_delivery`).
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from emit_floor import (
    BASE,
    Case,
    Figures,
    Reader,
    measure,
    ratio,
    spread,
    traced,
    traced_async,
)
from emit_peers import PEERS

import lumina_stream as lumina
from lumina_stream.protocol.frames import Hello
from lumina_stream.recording.context import active
from lumina_stream.recording.queue import EventQueue
from lumina_stream.recording.recorder import Recorder
from lumina_stream.transport.child_relay import ChildRelay
from lumina_stream.transport.spool import SpoolQueue

HERE = Path(__file__).parent
ROUNDS = 101
DELIVERIES = 3
LONG = "x" * 8_000
TEN = {f"key.{n}": value for n, value in enumerate((1, "two", 3.5, True, "five" * 5) * 2)}


class Row(NamedTuple):
    """A case of ours: `recorder` says which one is in force, `spans` how many there are in a block."""

    case: Case
    recorder: str = "on"
    spans: int = 1


def bare(n: int) -> None:
    for _ in range(n):
        with lumina.trace("step"):
            pass


async def bare_async(n: int) -> None:
    for _ in range(n):
        async with lumina.trace("step"):
            pass


def ten(n: int) -> None:
    for _ in range(n):
        with lumina.trace("step", attributes=TEN):
            pass


def ten_by_call(n: int) -> None:
    for _ in range(n):
        with lumina.trace("step") as span:
            span.set_attributes(TEN)


def event(n: int) -> None:
    for _ in range(n):
        with lumina.trace("step") as span:
            span.add_event("tick", n=1)


def long_text(n: int) -> None:
    for _ in range(n):
        with lumina.trace("step") as span:
            span.set_attribute("text", LONG)


def nested(n: int) -> None:
    for _ in range(n):
        with (
            lumina.trace("a"),
            lumina.trace("b"),
            lumina.trace("c"),
            lumina.trace("d"),
            lumina.trace("e"),
        ):
            pass


@lumina.trace
def decorated_function() -> None:
    pass


def decorated(n: int) -> None:
    for _ in range(n):
        decorated_function()


def below(case: Callable[[int], None]) -> Callable[[int], None]:
    """Return the case inside one span."""

    def inside(n: int) -> None:
        with lumina.trace("root"):
            case(n)

    return inside


async def bare_async_below(n: int) -> None:
    with lumina.trace("root"):
        await bare_async(n)


ROWS: dict[str, Row] = {
    "off": Row(bare, "off"),
    "off, async": Row(bare_async, "off"),
    "sampled-out child": Row(below(bare), "none"),
    "sampled-out child, async": Row(bare_async_below, "none"),
    "sampled-out root": Row(bare, "none"),
    "sampled-out root, async": Row(bare_async, "none"),
    "span": Row(bare),
    "span, async": Row(bare_async),
    "child span": Row(below(bare)),
    "span + 1 attribute": Row(traced),
    "span + 1 attribute, async": Row(traced_async),
    "span + 1 attribute, spool": Row(traced, "spool"),
    "span with 10 attributes": Row(ten),
    "span + 10 attributes in a call": Row(ten_by_call),
    "span + 1 event": Row(event),
    "span + a text of 8,000": Row(long_text),
    "nested five deep, a span": Row(nested, "on", 5),
    "decorated function": Row(decorated),
}


def ours(folder: str) -> Figures:
    """Measure all rows in this process; every event must have been admitted."""
    spool = SpoolQueue(folder)
    spool.begin(Hello("bench", "nonce", 1, "bench"))
    spool.open()
    assert not spool.problem, spool.problem
    queues: list[EventQueue] = [EventQueue(), spool]
    recorders: dict[str, Recorder | None] = {
        "off": None,
        "none": Recorder(queues[0], producer_id="bench", sample_rate=0.0),
        "on": Recorder(queues[0], producer_id="bench"),
        "spool": Recorder(queues[1], producer_id="bench"),
    }
    cases = BASE | {name: row.case for name, row in ROWS.items()}

    def prepare(name: str) -> None:
        active.recorder = recorders[ROWS[name].recorder] if name in ROWS else None

    with Reader(*queues):
        figures = measure(cases, ROUNDS, prepare)
    active.recorder = None
    spool.leave(delivered=True)
    lost = sum(queue.losses.total for queue in queues)
    assert not lost, f"{lost} events were refused"
    for name, row in ROWS.items():
        figures[name] = [figure / row.spans for figure in figures[name]]
    return figures


def print_ours(figures: Figures) -> None:
    print(f"{'ns':32} median  quartiles      x empty  x naive floor")
    for name, values in figures.items():
        form = ", async" if name.endswith(", async") else ""
        middle, low, high = spread(values)
        print(
            f"{name:32} {middle:6.0f}  {low:6.0f} {high:6.0f} {ratio(figures, name, f'empty{form}'):9.2f}"
            f" {ratio(figures, name, f'naive{form}'):9.2f}"
        )


def print_peers() -> None:
    """Measure the peers, each in its own process."""
    print("\nspan + 1 attribute, in a process of each peer's")
    print(f"{'ns':34} median  quartiles        ours, async  peer / ours  ours / floor")
    for name in PEERS:
        command = [sys.executable, str(HERE / "emit_peers.py"), name]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        if done.returncode == 3:
            print(f"{name:34} not installed")
            continue
        if done.returncode:
            print(f"{name:34} failed: {done.stderr.strip().splitlines()[-1:]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        figures: Figures = found["figures"]
        middle, low, high = spread(figures["peer"])
        mine = statistics.median(figures["lumina, async"])
        print(
            f"{name + ' ' + found['version']:34} {middle:6.0f}  {low:6.0f} {high:6.0f} {mine:13.0f}"
            f" {middle / mine:12.1f} {ratio(figures, 'lumina, async', 'naive, async'):12.2f}"
        )


def print_deliveries() -> None:
    """Measure whole processes, in turn: ours with a relay, OpenTelemetry's exporter with a sink."""
    program = [sys.executable, str(HERE / "emit_delivery.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        with subprocess.Popen([*program, "sink"], text=True, **pipes) as sink:  # type: ignore[call-overload]
            assert sink.stdout is not None and sink.stdin is not None
            urls = {"lumina": relay.url, "otlp": f"http://127.0.0.1:{int(sink.stdout.readline())}"}
            print("\nprocessor time of the whole process, us for each span that was acknowledged")
            for title, spans, per_s in (
                ("as fast as can be", 20_000, 0),
                ("1,000 spans a second", 2_000, 1_000),
            ):
                used: dict[str, list[float]] = {name: [] for name in urls}
                for _ in range(DELIVERIES):
                    for name, url in urls.items():
                        command = [*program, name, url, str(spans), str(per_s)]
                        done = subprocess.run(
                            command, check=False, capture_output=True, text=True, timeout=120
                        )
                        if not done.returncode:
                            used[name].append(float(done.stdout))
                if not used["otlp"]:
                    print(f"{title}: OpenTelemetry's exporter is not installed")
                    continue
                lumina_us, otlp_us = map(statistics.median, used.values())
                print(
                    f"{title:22} lumina-stream {lumina_us:6.1f} {sorted(used['lumina'])}"
                    f"  OpenTelemetry SDK + OTLP/HTTP {otlp_us:6.1f} {sorted(used['otlp'])}"
                    f"  {otlp_us / lumina_us:.1f} times"
                )
            sink.stdin.close()
        relay.close()


def main() -> None:
    """Print the tables."""
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},"
        f" lumina-stream {lumina.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        print_ours(ours(folder))
    print_peers()
    print_deliveries()


if __name__ == "__main__":
    main()
