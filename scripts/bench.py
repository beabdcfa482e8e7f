"""Run the benchmarks one after the other, and write what they print to benchmarks/RESULTS.md.

`scripts/bench` makes the environment that this runs in. A benchmark that fails or takes too long does not
stop the others: the results say so.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
FIGURE = "FIGURE | "
NAMED = [  # whose versions are said
    *(
        "lumina-stream",
        "msgspec",
        "websockets",
        "uvicorn",
        "apsw",
        "structlog",
        "opentelemetry-sdk",
    ),
    *(
        "logfire",
        "langfuse",
        "ddtrace",
        "eliot",
        "mlflow",
        "rotel",
        "openai",
        "anthropic",
        "google-genai",
    ),
]
PHOENIX = ROOT / ".venv-phoenix" / "bin" / "python"


class Outcome(NamedTuple):
    """What a benchmark printed, and how it ended."""

    name: str
    seconds: float
    output: str
    ending: str  # empty if it went well


def main() -> int:
    """Run what is asked for; the exit code is 1 if anything failed."""
    names = sorted(path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("bench_*.py"))
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure lumina-stream beside its peers, on this machine, in one run.",
        epilog=(
            f"benchmarks: {', '.join(names)}\n\n"
            "Without a name all run, and benchmarks/RESULTS.md is written anew; figures of one run can be\n"
            "compared with each other, and with nothing else. One that needs what is not here says so and is\n"
            "skipped. A file's first lines say what it asks: `head -20 benchmarks/bench_start.py`; some have\n"
            "options of their own: `.venv-peers/bin/python benchmarks/bench_restart.py --help`."
        ),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds each may take (600)"
    )
    options = parser.parse_args()
    wanted: list[str] = options.names or names
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(names)}")
    output: Path | None = options.output or (None if options.names else BENCHMARKS / "RESULTS.md")
    outcomes: list[Outcome] = []
    for name in wanted:
        print(f"== {name}", flush=True)
        outcomes.append(run(name, options.timeout))
        if outcomes[-1].ending:
            print(outcomes[-1].ending, flush=True)
        if output is not None:
            output.write_text(results(outcomes))
    return 1 if any(outcome.ending for outcome in outcomes) else 0


def run(name: str, timeout_s: float) -> Outcome:
    """Run one benchmark; print its lines while they come."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-u", str(BENCHMARKS / f"bench_{name}.py")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith(("LUMINA_", "OTEL_"))},
    )
    # As Ctrl-C would: what it has started ends with it.
    late = threading.Timer(timeout_s, process.send_signal, [signal.SIGINT])
    too_late = threading.Timer(timeout_s + 30, process.kill)
    late.start()
    too_late.start()
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    code = process.wait()
    late.cancel()
    too_late.cancel()
    seconds = time.monotonic() - started
    ending = ""
    if seconds >= timeout_s:
        ending = f"stopped after {seconds:.0f} s: it took too long"
    elif code:
        ending = f"failed with exit code {code}"
    return Outcome(name, seconds, "".join(lines), ending)


def results(outcomes: list[Outcome]) -> str:
    """Return the page: the machine, the figures that have a bound, and what each benchmark printed."""
    lines = [
        "# Results",
        "",
        f"Written by `scripts/bench` on {time.strftime('%Y-%m-%d')}. {machine()}",
        "",
    ]
    lines += [f"Versions: {versions()}.", ""]
    lines += ["| figure | wanted | measured | held |", "|---|---|---|---|"]
    for outcome in outcomes:
        for line in outcome.output.splitlines():
            if line.startswith(FIGURE):
                lines.append(f"| {line.removeprefix(FIGURE)} |")
    for outcome in outcomes:
        lines += ["", f"## bench_{outcome.name}", ""]
        if outcome.ending:
            lines += [f"**{outcome.ending[0].upper()}{outcome.ending[1:]}.**", ""]
        shown = [line for line in outcome.output.splitlines() if not line.startswith(FIGURE)]
        lines += ["```text", *(line.rstrip().replace(f"{ROOT}/", "") for line in shown), "```"]
        lines += ["", f"Took {outcome.seconds:.0f} s."]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return what was measured on."""
    cpu = platform.processor() or platform.machine()
    memory = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
        total_kb = int(Path("/proc/meminfo").read_text().split()[1])
        memory = f", {total_kb / (1 << 20):.0f} GiB of memory"
    except OSError:
        pass
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    return (
        f"Machine: {cpu}, {os.cpu_count()} cores{memory}; {platform.system()} {platform.release()};"
        f" Python {platform.python_version()}. Load when the page was written: {load}."
    )


def versions() -> str:
    """Return the versions of ours and of the peers."""
    found = {one.name.lower(): one.version for one in distributions()}
    named = [f"{name} {found[name]}" for name in NAMED if name in found]
    if PHOENIX.exists():
        for path in PHOENIX.parent.parent.glob(
            "lib/python*/site-packages/arize_phoenix-*.dist-info"
        ):
            named.append(f"arize-phoenix {path.name.split('-')[1].removesuffix('.dist')}")
    return ", ".join(named)


if __name__ == "__main__":
    sys.exit(main())
