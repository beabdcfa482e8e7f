"""Spans that OpenTelemetry gets of calls that are recorded already: of an SDK inside a framework's call.

The program's own exporters get them as ever; here they are left out, and what is inside them is
inside the span of the call. Nothing here needs OpenTelemetry.
"""

from __future__ import annotations

from contextvars import ContextVar

MAX_OPEN = 10_000
"""Those that may be open at once: spans that nobody ends must not grow us."""

recorded_already: ContextVar[bool] = ContextVar("lumina_recorded_already", default=False)
"""Set while a library begins its own span of such a call."""

_open: set[int] = set()


def begin(span_id: int) -> None:
    """Note such a span, by OpenTelemetry's id."""
    if len(_open) >= MAX_OPEN:
        _open.clear()
    _open.add(span_id)


def is_open(span_id: int) -> bool:
    """Tell whether this is one of them, and has not ended."""
    return span_id in _open


def end(span_id: int) -> bool:
    """Forget a span that has ended; tell whether it was one of them."""
    if span_id not in _open:
        return False
    _open.discard(span_id)
    return True
