"""`trace`: a span around a block, or around every call of a function.

One object serves both: used with `with` or `async with` it starts a span, called with a function it
decorates it. Whether tracing is on is asked when the block is entered or the function is called,
never when it is decorated.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast, overload

import msgspec

from lumina_stream.recording import generators
from lumina_stream.recording.carriers import SpanContext
from lumina_stream.recording.context import active, ambient, current, recorder_now
from lumina_stream.recording.span import OFF, NonRecordingSpan, Span, here
from lumina_stream.recording.starting import CURRENT, Block, Current, carry_on
from lumina_stream.recording.values import type_of

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

ARGUMENTS = "function.arguments"
RESULT = "function.result"


class Trace(Block):
    """What `trace(...)` returns: a context manager (sync and async) and a decorator."""

    def __call__(self, function: F) -> F:
        """Decorate a function, coroutine function, generator or async generator function."""
        return decorate(function, self)


@overload
def trace(name: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def trace(
    name: str = "",
    /,
    *,
    kind: str | None = None,
    parent: Span | SpanContext | Current | None = CURRENT,
    root: bool = False,
    links: Iterable[Any] = (),
    attributes: Mapping[str, Any] | None = None,
    capture: bool = False,
    **more: Any,
) -> Trace: ...


def trace(name: Any = "", /, **options: Any) -> Any:
    """Trace a block (`with trace("name")`, `async with` too) or a function (`@trace`, `@trace("name")`).

    A decorated function gives its own name where there is none: `@trace(kind="tool")`.

    `kind`: llm, retrieval, embedding, rerank, tool, agent, task, http, db, or any other word.
    `parent`: a Span, or what `extract` returned; None and the default mean the current span.
    `root`: begin a trace of its own. `links`: spans that this one refers to without being inside
    them. `attributes` and all further keywords become attributes. `capture`: a decorated function's
    arguments and result become attributes. Never raises, never waits; neither form suspends.
    """
    # A classmethod object is not callable, and still stands for a function.
    if type(name) is not str and (callable(name) or type_of(name) is classmethod):
        return decorate(name, Trace(function_name(name), options))
    return Trace(name, options)


def _documented(
    name: str = "",
    /,
    *,
    kind: str | None = None,
    parent: Span | SpanContext | Current | None = CURRENT,
    root: bool = False,
    links: Iterable[Any] = (),
    attributes: Mapping[str, Any] | None = None,
    capture: bool = False,
    **more: Any,
) -> Trace: ...  # type: ignore[empty-body]


trace.__signature__ = inspect.signature(_documented)  # type: ignore[attr-defined]
del _documented


def start_span(
    name: str,
    /,
    *,
    kind: str | None = None,
    parent: Span | SpanContext | Current | None = CURRENT,
    root: bool = False,
    links: Iterable[Any] = (),
    attributes: Mapping[str, Any] | None = None,
    **more: Any,
) -> Span:
    """Start a span where no `with` fits; it is never current by itself, and `end()` ends it.

    `with span:` makes it current for a block, and ends it there. Collected unended, it ends as
    `abandoned`.
    """
    recorder = recorder_now()
    if recorder is None:
        return OFF
    options = {
        "kind": kind,
        "parent": parent,
        "root": root,
        "links": links,
        "attributes": attributes,
    }
    span = Trace(name, options | more).start(recorder)
    if span is not OFF and span is current.get():
        return carry_on(
            cast("NonRecordingSpan", span)
        )  # `with` and `end()` must not reach the root that is not sampled
    return span


def current_span() -> Span:
    """Return the span of the code that runs now; outside of any a no-op span, never None."""
    return here() or OFF


class _Around(dict[str, Any]):
    """Ambient attributes of one block; `outer` is what was in force before, as with spans."""

    outer: dict[str, Any] | None = None
    left = False


@contextlib.contextmanager
def with_attributes(attributes: Mapping[str, Any] | None = None, /, **more: Any) -> Generator[None]:
    """Give every span that starts inside the block these attributes, in tasks started there too."""
    around = _Around(ambient.get() or {})
    try:
        around.update(attributes or {})
    except Exception as error:  # no mapping: the block goes on without
        if active.recorder is not None:
            active.recorder.fault(error)
    around.update(more)
    around.outer = _in_force(ambient.get())
    ambient.set(around)
    try:
        yield
    finally:
        # No token: the block may be left in another task, or in another order than it was entered.
        around.left = True
        if ambient.get() is around:
            ambient.set(_in_force(around.outer))


def _in_force(around: dict[str, Any] | None) -> dict[str, Any] | None:
    while isinstance(around, _Around) and around.left:
        around = around.outer
    return around


def decorate(function: F, settings: Trace) -> F:
    """Return the function with a span around each of its calls, of the same sort as it was."""
    if isinstance(function, staticmethod | classmethod):
        method = cast("Any", function)
        return type(method)(decorate(method.__func__, settings))
    if not settings.name:  # replaced, not set: one `trace()` may decorate several functions
        settings = msgspec.structs.replace(settings, name=function_name(function))
    arguments = _argument_reader(function) if settings.options.get("capture") else None

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span | None:
        recorder = recorder_now()
        if recorder is None:
            return None
        span = settings.start(recorder)
        if arguments is not None and recorder.capture_content and span.is_recording:
            span.set_attribute(ARGUMENTS, arguments(args, kwargs))
        return None if span is OFF or span is current.get() else span

    def keep(span: Span, result: Any) -> None:
        if (
            arguments is not None
            and active.recorder is not None
            and active.recorder.capture_content
        ):
            span.set_attribute(RESULT, result)

    shape = callee(function)
    if inspect.isasyncgenfunction(shape):
        wrapped: Any = generators.wrap_async_generator(function, begin)
    elif inspect.isgeneratorfunction(shape):
        wrapped = generators.wrap_generator(function, begin)
    elif inspect.iscoroutinefunction(shape):

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            span = begin(args, kwargs)
            if span is None:
                return await function(*args, **kwargs)
            with span:
                result = await function(*args, **kwargs)
                keep(span, result)
                return result

        wrapped = call_async
    else:

        def call(*args: Any, **kwargs: Any) -> Any:
            span = begin(args, kwargs)
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
                return _await(span, result, keep)
            keep(span, result)
            span.__exit__(None, None, None)
            return result

        wrapped = call
    return cast("F", dress(wrapped, function))


async def _await(span: Span, coroutine: Any, keep: Callable[[Span, Any], None]) -> Any:
    with span:
        result = await coroutine
        keep(span, result)
        return result


def callee(function: Any) -> Any:
    """Return what says of which sort a callable is: for an object its type's `__call__`."""
    if inspect.isroutine(function) or isinstance(function, functools.partial | type):
        return function  # pyright: ignore[reportUnknownVariableType]
    return getattr(type_of(function), "__call__", function)  # noqa: B004


def dress(wrapped: Any, function: Any) -> Any:
    try:
        return functools.wraps(function)(wrapped)
    except (AttributeError, TypeError):  # a callable without a name
        return wrapped


def function_name(function: Any) -> str:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    inner = getattr(inner, "__func__", inner)  # pyright: ignore[reportUnknownArgumentType]
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _argument_reader(
    function: Callable[..., Any],
) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """Return what names a call's arguments, `self` and `cls` left out."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return lambda args, kwargs: {**{str(i): value for i, value in enumerate(args)}, **kwargs}

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # the call itself will say so
            return {}
        bound.apply_defaults()
        named = dict(bound.arguments)
        for receiver in ("self", "cls"):
            named.pop(receiver, None)
        return named

    return read
