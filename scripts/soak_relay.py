"""Run a relay under a steady load for a long time, and say whether memory and descriptors grow.

    scripts/soak steady [SECONDS]

10,000 events/s from one traced program, two viewers, a list asked for every second, retention of a
minute and 128 MiB. Every five seconds resident memory and open descriptors of relay and program are
looked at; the slopes are those of a straight line through the last two thirds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import lumina_stream as lumina
from lumina_stream.transport.child_relay import ChildRelay

EVENTS_PER_S = 10_000
SPANS_OF_A_TRACE = 10
EVENTS_OF_A_TRACE = SPANS_OF_A_TRACE * 5
TICK_S = 0.05
LOOK_S = 5.0
MIB = 1 << 20


class Look(NamedTuple):
    """What was seen at a moment."""

    at_s: float
    relay_rss: int
    relay_fds: int
    program_rss: int
    program_fds: int
    disk_bytes: int


def trace(number: int) -> None:
    """Record one trace of fifty events."""
    with lumina.trace("request", number=number) as root:
        root.set_attribute("user", f"u{number % 1000}")
        root.set_attribute("path", "/v1/answer")
        root.add_event("accepted")
        for step in range(SPANS_OF_A_TRACE - 1):
            with lumina.trace("step", kind="tool") as span:
                span.set_attribute("step", step)
                span.set_attribute("text", "some words of an answer " * 4)
                span.add_event("done", number=number)


def look(began: float, relay_pid: int, folder: Path) -> Look:
    """Look at both processes, and at the relay's folder."""
    here = os.getpid()
    return Look(
        time.monotonic() - began,
        resident(relay_pid),
        len(os.listdir(f"/proc/{relay_pid}/fd")),
        resident(here),
        len(os.listdir(f"/proc/{here}/fd")),
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def slope(looks: list[Look], field: str) -> float:
    """Return by how much a figure grows in an hour."""
    line = statistics.linear_regression(
        [one.at_s for one in looks], [getattr(one, field) for one in looks]
    )
    return line.slope * 3600


def main() -> int:
    """Soak; return 1 if an event was lost."""
    duration_s = float(sys.argv[1]) if len(sys.argv) > 1 else 1_800.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        relay = ChildRelay.start("--data", name, "--keep", "60s", "--max-bytes", "128MiB")
        tails = [
            subprocess.Popen(
                [sys.executable, "-m", "lumina_stream", "tail", "--url", relay.url, *more],
                stdout=subprocess.DEVNULL,
            )
            for more in (["--json"], ["--json", "--name", "nothing"])
        ]
        try:
            return run(relay.url, folder, duration_s)
        finally:
            lumina.shutdown()
            for tail in tails:
                tail.kill()
                tail.wait()
            relay.close()


def run(url: str, folder: Path, duration_s: float) -> int:
    lumina.init("soak", endpoint=url)
    with urllib.request.urlopen(f"{url}/healthz") as answer:
        relay_pid = int(json.load(answer)["pid"])
    began = time.monotonic()
    looks: list[Look] = []
    traces = asked = 0
    while (now := time.monotonic() - began) < duration_s:
        while traces * EVENTS_OF_A_TRACE < now * EVENTS_PER_S:
            trace(traces)
            traces += 1
        if now >= len(looks) * LOOK_S:
            looks.append(look(began, relay_pid, folder))
        if now >= asked:
            asked += 1
            with urllib.request.urlopen(f"{url}/v1/traces?limit=50") as answer:
                answer.read()
        time.sleep(TICK_S)
    stored = lumina.flush(60)
    said = lumina.statistics()
    late = looks[len(looks) // 3 :]
    print(
        f"{now:.0f} s, {said.recorded:,} events ({said.recorded / now:,.0f}/s), {said.lost:,} lost, "
        f"{'all' if stored else 'NOT all'} stored; {late[-1].disk_bytes / MIB:.0f} MiB on disk"
    )
    for who in ("relay", "program"):
        memory = [getattr(one, f"{who}_rss") / MIB for one in late]
        descriptors = [getattr(one, f"{who}_fds") for one in late]
        print(
            f"{who:8} memory {memory[0]:.0f} to {memory[-1]:.0f} MiB (highest {max(memory):.0f}), "
            f"{slope(late, f'{who}_rss') / MIB:+.1f} MiB/h; descriptors {descriptors[0]} to {descriptors[-1]}, "
            f"{slope(late, f'{who}_fds'):+.1f}/h"
        )
    return 0 if stored and not said.lost else 1


if __name__ == "__main__":
    sys.exit(main())
