"""Every span of an OpenTelemetry program, live: started, filled and ended here as it happens there.

`instrument_opentelemetry()` is the one line. `LuminaSpanProcessor` alone, added to a provider by
hand, streams its spans without sharing the current span with ours. Needs `opentelemetry-sdk`.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan

from lumina_stream import runtime
from lumina_stream.instrument import opentelemetry_bridge, overlap
from lumina_stream.instrument.opentelemetry_context import LEFT_OUT, share
from lumina_stream.instrument.opentelemetry_live import born_live, go_live
from lumina_stream.instrument.opentelemetry_ours import LuminaSpan
from lumina_stream.instrument.opentelemetry_span import MIRROR, Mirror, mirror_of, mirrored
from lumina_stream.instrument.overlap import recorded_already
from lumina_stream.recording.context import active, recorder_now
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.sampling import is_sampled

_log = logging.getLogger("lumina_stream")


class LuminaSpanProcessor(SpanProcessor):
    """Stream a provider's spans: `provider.add_span_processor(LuminaSpanProcessor())`.

    The start is on its way when `start_span` returns; attributes, events, exceptions, links and a
    new name follow as they are set; the end brings what was set in any other way. Ids and times are
    OpenTelemetry's own. A span that its sampler left out is left out here.
    """

    def __init__(self) -> None:
        self._closed = False
        self._born_otherwise = born_live()

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        """Record a start, and have the span's later calls stream."""
        recorder = active.recorder or recorder_now()
        if recorder is None or self._closed:
            return
        try:
            if getattr(span, MIRROR, None) is not None:  # a second processor of ours
                return
            context: Any = span._context  # pyright: ignore[reportPrivateUsage]
            if not context[3] & 1:  # a tuple: its properties cost a frame each; [3] are the flags
                return
            if recorded_already.get():
                overlap.begin(context[1])
                return
            if not recorder.samples_all and not _wanted(recorder, span, parent_context):
                setattr(span, LEFT_OUT, True)
                recorder.unsampled += span.parent is None
                return
            go_live(span, mirrored(recorder, span))
        except Exception as error:
            recorder.fault(error)

    def on_end(self, span: ReadableSpan) -> None:
        """Record what the stream missed, and the end."""
        try:
            held: Any = getattr(span, "_attributes", None)
            mirror: Mirror | None = getattr(held, MIRROR, None)
            if mirror is not None:
                mirror.finish(span)
                return
            context = span.get_span_context()
            if context is None or not context.trace_flags.sampled or overlap.end(context.span_id):
                return
            mirror = mirror_of(context.span_id)
            if mirror is None:
                mirror = self._late(span)
            if mirror is not None:
                mirror.finish(span)
        except Exception as error:
            if active.recorder is not None:
                active.recorder.fault(error)

    def shutdown(self) -> None:
        """Take no further spans; those that are open still end."""
        self._closed = True
        self._born_otherwise()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything recorded so far is stored; return whether it is."""
        return runtime.flush(timeout_millis / 1_000)

    def _late(self, span: ReadableSpan) -> Mirror | None:
        """Return a mirror for a span that began before we were there: all of it comes now."""
        recorder, context = active.recorder, span.get_span_context()
        if recorder is None or context is None or self._closed:
            return None
        if not is_sampled(format(context.trace_id, "032x"), recorder.sample_bound):
            return None
        return mirrored(recorder, span)


def _wanted(recorder: Recorder, span: SdkSpan, parent_context: Context | None) -> bool:
    """Decide by our own sample rate: a remote parent's flag wins, a trace is taken whole."""
    parent = span.parent
    if parent is not None:
        if parent.is_remote:
            return True
        above = trace.get_current_span(parent_context)
        if isinstance(above, LuminaSpan) or mirror_of(parent.span_id) is not None:
            return True  # what we left out has no flag, and never comes here
        if getattr(above, LEFT_OUT, False):
            return False
    return is_sampled(format(span.get_span_context().trace_id, "032x"), recorder.sample_bound)


class OpenTelemetryBridge:
    """What `instrument_opentelemetry` returns: `remove()` undoes it."""

    def __init__(self) -> None:
        self.processor = LuminaSpanProcessor()
        """What streams the spans; for a provider that is not found by itself, add it there."""
        self._undo: list[Callable[[], None]] = []

    def remove(self) -> None:
        """Stop: no further span is streamed, and the current span is shared no more."""
        global _bridge
        self.processor.shutdown()
        while self._undo:
            self._undo.pop()()
        if _bridge is self:
            _bridge = None


_bridge: OpenTelemetryBridge | None = None


def instrument_opentelemetry(
    provider: TracerProvider | None = None, *, set_global: bool = False
) -> OpenTelemetryBridge:
    """Stream every OpenTelemetry span of this process, and share the current span both ways.

    It takes the providers that there are and those made later, in any order with the program's own
    set-up; `provider`: this one only. Where the program sets none up, instrumented libraries are
    recorded all the same, by a provider that gives way to the program's. `set_global=True` makes
    that one the global provider at once, for libraries that ask whether there is one. Called again
    it returns the same bridge. Nothing is sent but to lumina's relay.
    """
    global _bridge
    bridge = _bridge
    if bridge is None:
        bridge = _bridge = OpenTelemetryBridge()
        bridge._undo.append(share())  # pyright: ignore[reportPrivateUsage]
        if provider is None:
            _take_all(bridge)
    if provider is not None:
        provider.add_span_processor(bridge.processor)
    elif set_global and not _is_set():
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    return bridge


def start_from_environment() -> None:
    """Instrument if `LUMINA_ENDPOINT` or `LUMINA_ENABLED=1` asks for it: for `opentelemetry-instrument`.

    It runs after the distribution has set its provider up, and before anything is instrumented. The
    service name is OpenTelemetry's unless `LUMINA_SERVICE_NAME` says otherwise. Never raises.
    """
    try:
        if not runtime.asked_by_environment():
            return
        name = os.environ.get("OTEL_SERVICE_NAME")
        if active.recorder is None and name and not os.environ.get("LUMINA_SERVICE_NAME"):
            runtime.init(service_name=name)
        instrument_opentelemetry()
    except Exception as error:
        _log.warning("lumina-stream: OpenTelemetry is not bridged: %s", error)


# --- finding the providers --------------------------------------------------------------------------


def _take_all(bridge: OpenTelemetryBridge) -> None:
    processor, undo = bridge.processor, bridge._undo  # pyright: ignore[reportPrivateUsage]
    before = TracerProvider.__init__

    @functools.wraps(before)
    def __init__(self: TracerProvider, *args: Any, **kwargs: Any) -> None:
        before(self, *args, **kwargs)
        if not processor._closed:  # pyright: ignore[reportPrivateUsage]
            self.add_span_processor(processor)

    if _is_set():
        existing: Any = trace.get_tracer_provider()
        # Some wrap the SDK's provider, and name it so.
        for found in (existing, getattr(existing, "provider", None)):
            add: Any = getattr(found, "add_span_processor", None)
            if add is not None:
                add(processor)
                break
        else:
            _log.warning(
                "lumina-stream: the OpenTelemetry provider %s takes no span processor",
                type(existing).__name__,
            )
    TracerProvider.__init__ = __init__

    def restore() -> None:
        if TracerProvider.__init__ is __init__:
            TracerProvider.__init__ = before

    undo.append(restore)
    _fall_back(undo)


def _fall_back(undo: list[Callable[[], None]]) -> None:
    """Give tracers a real span while the program has set no provider, instead of none.

    The global provider stays unset: a program that asks, or sets its own later, finds what it would
    have found, and the tracers turn to its provider.
    """
    proxy: Any = trace.ProxyTracer
    before: Any = proxy.__dict__.get("_tracer")
    if not isinstance(before, property) or before.fget is None:
        _log.info("lumina-stream: this OpenTelemetry has no proxy tracer; set a provider up")
        return
    real: Callable[[Any], Any] = before.fget
    provider: TracerProvider | None = None

    def _tracer(self: Any) -> Any:
        nonlocal provider
        found = real(self)
        if found is not self._noop_tracer:
            return found
        if provider is None:
            provider = TracerProvider(shutdown_on_exit=False)
        known = self.__dict__.get("_lumina_tracer")
        if known is None or known[0] is not provider:  # of a bridge that was removed
            tracer = provider.get_tracer(
                self._instrumenting_module_name,
                self._instrumenting_library_version,
                self._schema_url,
                self._attributes,
            )
            known = self.__dict__["_lumina_tracer"] = (provider, tracer)
        return known[1]

    proxy._tracer = property(_tracer)

    def restore() -> None:
        proxy._tracer = before

    undo.append(restore)


def _is_set() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


opentelemetry_bridge.imported()  # our own import of the SDK is one that the bridge may wait for
