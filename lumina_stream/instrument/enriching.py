"""A span that a library's own OpenTelemetry tracing makes: found on our side, and more recorded of it.

Nothing here needs OpenTelemetry; while the bridge is off nothing is found.
"""

from __future__ import annotations

import sys
from typing import Any

from lumina_stream.llm.span import LlmSpan
from lumina_stream.model.events import ErrorInfo, Status
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import Span

MODEL_OPERATIONS = ("chat", "text_completion", "generate_content", "embeddings")
"""What OpenTelemetry calls an operation that is one call of a model."""


class Enriching(LlmSpan):
    """Records more of a span that another one began and ends: OpenTelemetry's, by its ids."""

    def _make_current(self) -> None:
        return None

    def _leave(self) -> None:
        return None

    def _end(self, status: Status, error: ErrorInfo | None) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        try:
            for stream in tuple(self._open):
                stream.cut()
            self._open.clear()
            if self._texts is not None:
                self._texts.flush()
        except Exception as fault:
            recorder.fault(fault)
        self._recorder = None


def enriching(recorder: Recorder, mirror: Span) -> Enriching:
    """Return what records more of a span, beginning with a call that is made now."""
    return Enriching(mirror._head, recorder, _since_ns=recorder.now())  # pyright: ignore[reportPrivateUsage]


def bridged() -> bool:
    """Tell whether the bridge is on: spans that libraries make with OpenTelemetry are seen."""
    bridge = sys.modules.get("lumina_stream.instrument.opentelemetry")
    return bridge is not None and getattr(bridge, "_bridge", None) is not None


def mirror_of(other: Any) -> Span | None:
    """Return our side of an OpenTelemetry span, None for one that we do not see."""
    spans = sys.modules.get("lumina_stream.instrument.opentelemetry_span")
    if spans is None or other is None:
        return None
    return spans.mirror_of(other.get_span_context().span_id)


def call_around(around: Span | None) -> Span | None:
    """Return our side of the OpenTelemetry span that is current, if it stands for one call of a model."""
    spans = sys.modules.get("lumina_stream.instrument.opentelemetry_span")
    other: Any = None if around is None or spans is None else around._otel  # pyright: ignore[reportPrivateUsage]
    if spans is None or around is None or not other or not around.is_recording:
        return None
    attributes: Any = getattr(other[2], "attributes", None) or {}
    if attributes.get("gen_ai.operation.name") not in MODEL_OPERATIONS:
        return None
    return spans.mirror_of(int(around.span_id, 16))
