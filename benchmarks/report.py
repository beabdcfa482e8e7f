"""How the benchmarks say what they found: figures held against a bound, percentiles, tables, versions."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

FIGURE = "FIGURE"


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> None:
    """Print one figure on a line of its own, with the bound that it is held against, if any.

    `scripts/bench` gathers these lines into the table at the top of RESULTS.md.
    """
    wanted, met = "-", "-"
    if at_most is not None:
        wanted, met = f"<= {number(at_most)} {unit}", "yes" if value <= at_most else "no"
    elif at_least is not None:
        wanted, met = f">= {number(at_least)} {unit}", "yes" if value >= at_least else "no"
    print(f"{FIGURE} | {name} | {wanted} | {number(value)} {unit} | {met}", flush=True)


def number(value: float) -> str:
    """Return a number with three significant digits, and more only where they are whole."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percentiles(values: Sequence[float], *wanted: float) -> list[float]:
    """Return percentiles, the nearest value that was really measured: 50, 99, 99.9 ..."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [ordered[min(last, round(last * percent / 100))] for percent in wanted]


def spread(values: Sequence[float]) -> str:
    """Return the median, and the quartiles beside it."""
    low, high = percentiles(values, 25, 75)
    return f"{number(statistics.median(values))} ({number(low)} to {number(high)})"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns: the first to the left, the others to the right."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip(), flush=True)


def versions(*packages: str) -> str:
    """Return Python's version, ours, and those of the packages that stand beside us."""
    found = [f"Python {platform.python_version()}", f"{os.cpu_count()} cores"]
    for package in ("lumina-stream", *packages):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)
