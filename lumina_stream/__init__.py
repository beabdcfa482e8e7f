"""lumina-stream: live tracing of pipelines that are still running.

    import lumina_stream as lumina

    lumina.init(service_name="my-rag-app")

    async with lumina.trace("rag_request", user_query=query) as span:
        span.set_attribute("rag_version", "1.1")

`lumina-stream serve` in one terminal and `lumina-stream tail` in another show it while it runs.
"""

from typing import TYPE_CHECKING, Any

from lumina_stream.model.errors import (
    ConfigurationError,
    ConnectionEnded,
    ConnectionFailed,
    LuminaError,
)
from lumina_stream.model.limits import Limits
from lumina_stream.recording.carriers import SpanContext
from lumina_stream.recording.propagation import extract, inject, propagate
from lumina_stream.recording.redaction import DEFAULT, Redaction
from lumina_stream.recording.span import Span
from lumina_stream.recording.starting import CURRENT
from lumina_stream.recording.tracing import current_span, start_span, trace, with_attributes
from lumina_stream.runtime import (
    Runtime,
    Statistics,
    aflush,
    ashutdown,
    flush,
    init,
    shutdown,
    statistics,
    subscribe,
)
from lumina_stream.version import __version__

if TYPE_CHECKING:
    from lumina_stream.instrument.asgi import TraceMiddleware
    from lumina_stream.instrument.logging import TraceIds, add_trace_ids
    from lumina_stream.instrument.opentelemetry import (
        LuminaSpanProcessor,
        instrument_opentelemetry,
    )
    from lumina_stream.instrument.registry import instrument, uninstrument
    from lumina_stream.llm.call import trace_llm
    from lumina_stream.llm.span import LlmSpan
    from lumina_stream.recording.subscription import Subscription
    from lumina_stream.viewing.client import tail

_LATER = {
    "LlmSpan": "lumina_stream.llm.span",
    "LuminaSpanProcessor": "lumina_stream.instrument.opentelemetry",
    "instrument_opentelemetry": "lumina_stream.instrument.opentelemetry",
    "Subscription": "lumina_stream.recording.subscription",
    "TraceIds": "lumina_stream.instrument.logging",
    "TraceMiddleware": "lumina_stream.instrument.asgi",
    "add_trace_ids": "lumina_stream.instrument.logging",
    "instrument": "lumina_stream.instrument",
    "tail": "lumina_stream.viewing.client",
    "trace_llm": "lumina_stream.llm.call",
    "uninstrument": "lumina_stream.instrument.registry",
}

__all__ = [
    "CURRENT",
    "DEFAULT",
    "ConfigurationError",
    "ConnectionEnded",
    "ConnectionFailed",
    "Limits",
    "LlmSpan",
    "LuminaError",
    "LuminaSpanProcessor",
    "Redaction",
    "Runtime",
    "Span",
    "SpanContext",
    "Statistics",
    "Subscription",
    "TraceIds",
    "TraceMiddleware",
    "__version__",
    "add_trace_ids",
    "aflush",
    "ashutdown",
    "current_span",
    "extract",
    "flush",
    "init",
    "inject",
    "instrument",
    "instrument_opentelemetry",
    "propagate",
    "shutdown",
    "start_span",
    "statistics",
    "subscribe",
    "tail",
    "trace",
    "trace_llm",
    "uninstrument",
    "with_attributes",
]


def __getattr__(name: str) -> Any:
    """Import on first use what needs more than the standard library and msgspec."""
    if name in _LATER:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LATER[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
