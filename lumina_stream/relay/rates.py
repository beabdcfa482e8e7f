"""How many traces come, fail and run, and how long they take: a glance at the last minutes. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from lumina_stream.relay.costs import parse_time
from lumina_stream.relay.selection import QueryError, Selection

EXACT_BITS = 11
"""Leading bits of a duration that are kept: an error below a thousandth, whatever the amount."""
LONGEST_S = 7 * 24 * 3600.0
"""Longest window: each of its traces is looked at."""


class RateQuery(Selection, frozen=True, kw_only=True):
    """Ask for the rates of the traces that started since `since` (see `costs.parse_time`)."""

    since: str = "5m"

    def since_ns(self, now_ns: int) -> int:
        """Return where the window begins; raises `QueryError`."""
        since_ns = parse_time(self.since, now_ns)
        if not 0 < now_ns - since_ns <= LONGEST_S * 1e9:
            raise QueryError(f"since is {self.since!r}; ask for the last 1s to 7d")
        return since_ns


class Rates:
    """Take in traces one by one, then read `answer`."""

    def __init__(self) -> None:
        self._traces = self._errors = self._finished = 0
        self._durations: dict[int, int] = {}  # by its leading bits: how many took so long

    def take(self, duration_ns: int | None, errors: int) -> None:
        """Take in a trace: None for the duration of one that runs, and how many spans failed."""
        self._traces += 1
        self._errors += errors > 0
        if duration_ns is not None:
            self._finished += 1
            shift = max(0, duration_ns.bit_length() - EXACT_BITS)
            kept = duration_ns >> shift << shift
            self._durations[kept] = self._durations.get(kept, 0) + 1

    def answer(self, window_s: float, running: int) -> dict[str, Any]:
        """Return the figures over a window of so many seconds."""
        return {
            "window_s": round(window_s, 3),
            "traces": self._traces,
            "traces_per_min": round(self._traces * 60 / window_s, 3),
            "errors": self._errors,
            "error_share": self._errors / self._traces if self._traces else 0.0,
            "p50_ns": self._quantile(50),
            "p95_ns": self._quantile(95),
            "running": running,
        }

    def _quantile(self, percent: int) -> int | None:
        """Return the least duration that so many of a hundred traces did not exceed."""
        rank, seen = -(-self._finished * percent // 100), 0
        for duration_ns in sorted(self._durations):
            seen += self._durations[duration_ns]
            if seen >= rank:
                return duration_ns
        return None


class Kept(msgspec.Struct):
    """An answer, and until when it is good enough for whoever asks the same."""

    answer: dict[str, Any]
    until_s: float
