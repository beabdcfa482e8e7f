"""What do import, the first event and exit add to a program, ours and its peers?

Whole processes, interleaved, wall clock from the moment they are started; medians over what bare Python
takes to the same point. Each imports its tracer, sets it up, records one span (queued), waits until that is
delivered, and ends: ours to a relay with a durable log, the others to a sink that answers at once. Then the
same without anybody who answers, where only the exit is of interest. Processor time is the whole process's.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from report import figure, number, table, versions
from sink import Sink

from lumina_stream.transport.child_relay import ChildRelay

ROUNDS, ROUNDS_ALONE = 9, 3
NOBODY = "http://127.0.0.1:9"
SAID = """
import os, sys, time
URL = sys.argv[1]
def said(what):
    os.write(1, f"{what} {time.monotonic_ns()}\\n".encode())
"""
PROGRAMS = {
    "bare Python": "said('imported'); said('queued'); said('delivered')",
    "msgspec alone": "import msgspec; said('imported'); said('queued'); said('delivered')",
    "lumina-stream": """
import lumina_stream as lumina
said("imported")
lumina.init("bench", endpoint=URL)
with lumina.trace("first"):
    pass
said("queued")
if WAIT:
    assert lumina.flush(10)
said("delivered")
""",
    "OpenTelemetry": """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
said("imported")
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(URL + "/v1/traces")))
trace.set_tracer_provider(provider)
with trace.get_tracer("bench").start_as_current_span("first"):
    pass
said("queued")
if WAIT:
    assert provider.force_flush()
said("delivered")
""",
    "Logfire": """
import logfire
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor
said("imported")
logfire.configure(
    send_to_logfire=False, console=False, metrics=False, inspect_arguments=False,
    additional_span_processors=[BatchSpanProcessor(OTLPSpanExporter(URL + "/v1/traces"))],
)
with logfire.span("first"):
    pass
said("queued")
if WAIT:
    assert logfire.force_flush()
said("delivered")
""",
    "Langfuse": """
from langfuse import Langfuse
said("imported")
client = Langfuse(public_key="pk", secret_key="sk", host=URL)
with client.start_as_current_observation(name="first"):
    pass
said("queued")
if WAIT:
    client.flush()
said("delivered")
""",
}
POINTS = ("imported", "queued", "delivered", "exit", "processor")


def main() -> None:
    """Print the tables."""
    print(versions("msgspec", "opentelemetry-sdk", "logfire", "langfuse"))
    with tempfile.TemporaryDirectory() as folder, Sink() as sink:
        relay = ChildRelay.start("--data", folder)
        try:
            found = rounds(ROUNDS, relay.url, sink.url)
        finally:
            relay.close()
    over = report(found, POINTS)
    print("\nNobody answers:")
    alone = report(rounds(ROUNDS_ALONE, NOBODY, NOBODY), ("queued", "exit", "processor"))
    ours = over["lumina-stream"]
    figure("start: import, over bare Python", ours["imported"], "ms", at_most=40)
    figure("start: first event queued, over bare Python", ours["queued"], "ms", at_most=60)
    figure("start: first event delivered, over bare Python", ours["delivered"], "ms", at_most=300)
    figure("start: exit after the last acknowledgement", ours["exit"], "ms", at_most=100)
    figure("start: exit, no relay", alone["lumina-stream"]["exit"], "ms", at_most=100)


Found = dict[str, dict[str, list[float]]]


def rounds(count: int, ours: str, theirs: str) -> Found:
    """Run every program in turn, so often; return milliseconds by program and point."""
    found: Found = {name: {point: [] for point in POINTS} for name in PROGRAMS}
    for round_number in range(-1, count):  # the first writes bytecode, and does not count
        for name in PROGRAMS:
            url = ours if name == "lumina-stream" else theirs
            for point, figure_ms in once(name, url).items():
                if round_number >= 0:
                    found[name][point].append(figure_ms)
    return found


def once(name: str, url: str) -> dict[str, float]:
    """Run one program; return when it got where, in milliseconds, and its processor time."""
    source = f"{SAID}\nWAIT = {url != NOBODY}\n{PROGRAMS[name]}\nsaid('ending')"
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("LUMINA_", "OTEL_", "LANGFUSE_", "PYTHONDONTWRITE"))
    }
    started = time.monotonic_ns()
    process = subprocess.Popen(
        [sys.executable, "-c", source, url],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.monotonic_ns()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}")
    at = {what: int(ns) for what, ns in (line.split() for line in said.splitlines())}
    times = {what: (ns - started) / 1e6 for what, ns in at.items() if what != "ending"}
    return times | {
        "exit": (ended - at["ending"]) / 1e6,
        "processor": (usage.ru_utime + usage.ru_stime) * 1e3,
    }


def report(found: Found, points: tuple[str, ...]) -> dict[str, Mapping[str, float]]:
    """Print medians over bare Python; return them."""
    bare = {point: statistics.median(found["bare Python"][point]) for point in points}
    over: dict[str, Mapping[str, float]] = {}
    rows = [["bare Python", *(number(bare[point]) for point in points)]]
    for name, figures in found.items():
        if name != "bare Python":
            over[name] = {p: statistics.median(figures[p]) - bare[p] for p in points}
            rows.append([name, *(f"+{number(max(0.0, over[name][point]))}" for point in points)])
    table([f"ms, {len(found['bare Python']['exit'])} rounds", *points], rows)
    return over


if __name__ == "__main__":
    main()
