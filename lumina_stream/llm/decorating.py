"""`trace_llm` around a function: its keyword arguments are the request, its result is the answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lumina_stream.llm.span import LlmSpan
from lumina_stream.recording.context import current, recorder_now
from lumina_stream.recording.generators import wrap_async_generator, wrap_generator
from lumina_stream.recording.span import OFF, Span
from lumina_stream.recording.tracing import callee, dress, function_name

if TYPE_CHECKING:
    from lumina_stream.llm.call import TraceLlm

F = TypeVar("F", bound=Callable[..., Any])


def decorate(function: F, settings: TraceLlm) -> F:
    """Return the function with a span around each of its calls, of the same sort as it was."""
    if isinstance(function, staticmethod | classmethod):
        method = cast("Any", function)
        return type(method)(decorate(method.__func__, settings))
    if not settings.name:
        settings.name = function_name(function)

    def begin(kwargs: dict[str, Any]) -> Span | None:
        recorder = recorder_now()
        if recorder is None:
            return None
        span = settings.start(recorder)
        if isinstance(span, LlmSpan) and kwargs:
            span.record_request(kwargs)
        return None if span is OFF or span is current.get() else span

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        span = begin(kwargs)
        if span is None:
            return await function(*args, **kwargs)
        with span:
            return _recorded(span, await function(*args, **kwargs))

    def call(*args: Any, **kwargs: Any) -> Any:
        span = begin(kwargs)
        if span is None:
            return function(*args, **kwargs)
        span.__enter__()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            span.__exit__(type(error), error, error.__traceback__)
            raise
        if inspect.iscoroutine(result):  # as bound methods of client libraries return it
            span._leave()  # pyright: ignore[reportPrivateUsage]
            return _await(span, result)
        result = _recorded(span, result)
        span.__exit__(None, None, None)
        return result

    shape = callee(function)
    wrapped: Any = call
    if inspect.iscoroutinefunction(shape):
        wrapped = call_async
    elif inspect.isasyncgenfunction(shape):
        wrapped = wrap_async_generator(call, _no_span)
    elif inspect.isgeneratorfunction(shape):
        wrapped = wrap_generator(call, _no_span)
    return cast("F", dress(wrapped, function))


def _no_span(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Leave the span to `call`: the generator that it returns is a recorded stream already."""


def _recorded(span: Span, result: Any) -> Any:
    return span.record(result) if isinstance(span, LlmSpan) else result


async def _await(span: Span, coroutine: Any) -> Any:
    with span:
        return _recorded(span, await coroutine)
