"""A span of ours, seen by OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any
from weakref import ref

from opentelemetry import trace
from opentelemetry.trace.span import TraceState

from lumina_stream.instrument.content import withheld
from lumina_stream.model.events import Link
from lumina_stream.recording.context import active
from lumina_stream.recording.propagation import context_of
from lumina_stream.recording.span import RemoteParent, Span


class LuminaSpan(trace.Span):
    """Stand for a span of ours in OpenTelemetry's context: a parent, and calls go to our span."""

    __slots__ = ("_context", "_span")

    def __init__(self, span: Span) -> None:
        said = context_of(span)
        remote = isinstance(span, RemoteParent)
        self._context = otel_context(
            said.trace_id, said.span_id, said.sampled, said.tracestate, remote=remote
        )
        self._span = ref(span)  # no loop: a span that nobody holds must end as abandoned

    def get_span_context(self) -> trace.SpanContext:
        """Return our span's ids."""
        return self._context

    def is_recording(self) -> bool:
        """Return whether our span records."""
        span = self._span()
        return span is not None and span.is_recording

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute of our span."""
        span = self._span()
        if span is not None and _captures():
            span.set_attribute(key, value)
        elif span is not None:
            span.set_attributes(withheld({key: value}))

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes of our span."""
        span = self._span()
        if span is not None:
            span.set_attributes(attributes if _captures() else withheld(attributes))

    def add_event(
        self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None
    ) -> None:
        """Add an event to our span."""
        span = self._span()
        if span is not None:
            said = {str(key): value for key, value in (attributes or {}).items()}
            span.add_event(name, **(said if _captures() else withheld(said, name)))

    def add_link(
        self, context: trace.SpanContext, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Link our span to another one."""
        span = self._span()
        if span is not None:
            target = Link(format(context.trace_id, "032x"), format(context.span_id, "016x"))
            span.add_link(target, attributes)

    def update_name(self, name: str) -> None:
        """Give our span another name."""
        span = self._span()
        if span is not None:
            span.update_name(name)

    def set_status(
        self, status: trace.Status | trace.StatusCode, description: str | None = None
    ) -> None:
        """Set the status of our span."""
        span = self._span()
        if isinstance(status, trace.Status):
            status, description = status.status_code, status.description
        if span is None or status is trace.StatusCode.UNSET:
            return
        if status is trace.StatusCode.ERROR:
            span.set_status("error", (description or "") if _captures() else "")
        else:
            span.set_status("ok")

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception on our span."""
        span = self._span()
        if span is not None:
            span.record_exception(
                exception, **{str(key): value for key, value in (attributes or {}).items()}
            )

    def end(self, end_time: int | None = None) -> None:
        """End our span."""
        span = self._span()
        if span is not None:
            span.end()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        span = self._span()
        if span is not None:
            span._finish(exc_val)  # pyright: ignore[reportPrivateUsage]


def otel_context(
    trace_id: str, span_id: str, sampled: bool, tracestate: str | None, *, remote: bool
) -> trace.SpanContext:
    """Return ids of ours as OpenTelemetry's."""
    return trace.SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        remote,
        trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT),
        TraceState.from_header([tracestate]) if tracestate else None,
    )


def _captures() -> bool:
    recorder = active.recorder
    return recorder is None or recorder.capture_content
