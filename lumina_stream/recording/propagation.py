"""Carry the current span into threads, executors and other processes, and across HTTP."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, MutableMapping
from typing import Any, Generic, ParamSpec, TypeVar, cast

from lumina_stream.model.limits import DEFAULT_LIMITS
from lumina_stream.recording import carriers
from lumina_stream.recording.carriers import SpanContext
from lumina_stream.recording.context import active, ambient, current
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.span import (
    INVALID_TRACE_ID,
    NonRecordingSpan,
    RemoteParent,
    Span,
    here,
)
from lumina_stream.recording.values import Cleaner

P = ParamSpec("P")
R = TypeVar("R")


def inject(headers: MutableMapping[str, str] | None = None) -> MutableMapping[str, str]:
    """Write the current span into headers (W3C traceparent, tracestate, baggage); return them.

    Outside of any span, and while tracing is off, nothing is written.
    """
    if headers is None:
        headers = {}
    span = here()
    if span is None or span.trace_id == INVALID_TRACE_ID:
        return headers
    context = context_of(span)
    try:
        carriers.write_headers(headers, context.trace_id, context.span_id, context.sampled, context)
    except Exception as error:  # headers that cannot be written to: the request goes on without
        if active.recorder is not None:
            active.recorder.fault(error)
    return headers


def extract(headers: object) -> SpanContext | None:
    """Read the span that headers carry, for `trace(parent=...)`; None if there is none. Never raises.

    `headers`: any mapping of header names to values, or a list of pairs, str or bytes, any case.
    """
    return carriers.read_headers(headers)


def context_of(span: Span) -> SpanContext:
    """Return what another process needs to go on from this span."""
    remote = span._remote  # pyright: ignore[reportPrivateUsage]
    if isinstance(span, RemoteParent) and remote is not None:
        return remote
    return SpanContext(
        span.trace_id,
        span.span_id,
        not isinstance(span, NonRecordingSpan),
        "" if remote is None else remote.tracestate,
        {} if remote is None else remote.baggage,
    )


def propagate(function: Callable[P, R]) -> Callable[P, R]:
    """Bind a function to the current span, for threads, executors and other processes.

    Wherever it is called, its spans hang below that span. For a process pool the result can be
    pickled if the function can; the process initialises tracing with this one's settings unless it
    has its own.
    """
    return cast("Callable[P, R]", Propagated(function, here(), ambient.get()))


class Propagated(Generic[P, R]):
    """A function with the span and the ambient attributes under which it was bound."""

    def __init__(
        self, function: Callable[P, R], span: Span | None, attributes: dict[str, Any] | None
    ) -> None:
        self._function = function
        self._span = span
        self._attributes = attributes
        functools.update_wrapper(self, function, updated=())
        mark = getattr(inspect, "markcoroutinefunction", None)  # since Python 3.12
        if mark is not None and inspect.iscoroutinefunction(function):
            mark(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if inspect.iscoroutinefunction(self._function):
            return cast("R", self._call_async(*args, **kwargs))
        with _under(self._span, self._attributes):
            return self._function(*args, **kwargs)

    async def _call_async(self, *args: Any, **kwargs: Any) -> Any:
        with _under(self._span, self._attributes):
            return await cast("Any", self._function)(*args, **kwargs)

    def __reduce__(self) -> Any:
        context = None
        if self._span is not None and self._span.trace_id != INVALID_TRACE_ID:
            context = context_of(self._span)
        settings = active.settings() if active.recorder is not None else None
        attributes = None
        if self._attributes is not None:  # as plain data: anything else may refuse to be pickled
            cleaner = Cleaner(DEFAULT_LIMITS)
            attributes = {
                (name := cleaner.key(key)): cleaner.clean(value, name)
                for key, value in self._attributes.items()
            }
        return (_arrive, (self._function, context, attributes, settings))


def _arrive(
    function: Callable[..., Any],
    context: SpanContext | None,
    attributes: dict[str, Any] | None,
    settings: Any,
) -> Propagated[..., Any]:
    # Before the environment is asked: what the sender was told includes it, and wins over it.
    if settings is not None and active.recorder is None:
        active.revive(settings)
    span = None
    if context is not None:
        span = RemoteParent(head_of(context.trace_id, context.span_id), _remote=context)
    return Propagated(function, span, attributes)


@contextlib.contextmanager
def _under(span: Span | None, attributes: dict[str, Any] | None) -> Generator[None]:
    outside, around = current.get(), ambient.get()
    current.set(span)
    ambient.set(attributes)
    try:
        yield
    finally:
        current.set(outside)
        ambient.set(around)
