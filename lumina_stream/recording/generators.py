"""Spans around generators: current only while the generator's own frame runs.

Between two items the consumer's code runs, in the same context; there the span must not be
current, or spans of the consumer would hang below it, and two interleaved generators below each
other. The span starts with the first item, and ends with exhaustion, close, error or collection.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from typing import Any, TypeAlias

from lumina_stream.recording.context import current
from lumina_stream.recording.span import Span

Begin: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], "Span | None"]


def wrap_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """Return a generator function that runs `function`'s generators inside spans."""

    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = begin(args, kwargs)
        if span is None:
            bare: Generator[Any, Any, Any] = function(*args, **kwargs)
            return (yield from bare)
        inside: Span | None = span
        try:
            inner: Generator[Any, Any, Any] = function(*args, **kwargs)
            step: Callable[[], Any] = partial(next, inner)
            while True:
                outside = current.get()
                current.set(inside)
                try:
                    item = step()
                except StopIteration as stop:
                    span._finish(None)  # pyright: ignore[reportPrivateUsage]
                    return stop.value
                finally:
                    inside = current.get()
                    current.set(outside)
                try:
                    sent = yield item
                except GeneratorExit:
                    outside = current.get()
                    current.set(inside)
                    try:
                        inner.close()
                    finally:
                        current.set(outside)
                    raise
                except BaseException as error:
                    # No function of ours: its frame would join the error's traceback, and hold it.
                    step = partial(inner.throw, error)
                else:
                    step = partial(inner.send, sent)
        except BaseException as error:
            step = _nothing  # it may hold the error, and so this frame: a loop for the collector
            span._finish(error)  # pyright: ignore[reportPrivateUsage]
            raise

    return generate


def wrap_async_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """Return an async generator function that runs `function`'s generators inside spans."""

    async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = begin(args, kwargs)
        inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        inside: Span | None = span if span is not None else current.get()
        # The loop must know of this generator alone: when it closes those that were left open, it
        # would close the inner one too, at the same time as this one does.
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            step: Any = inner.asend(None)
        finally:
            sys.set_asyncgen_hooks(*hooks)
        try:
            while True:
                outside = current.get()
                current.set(inside)
                try:
                    item = await step
                except StopAsyncIteration:
                    break
                finally:
                    inside = current.get()
                    current.set(outside)
                try:
                    step = inner.asend((yield item))
                except GeneratorExit:
                    outside = current.get()
                    current.set(inside)
                    try:
                        await inner.aclose()
                    finally:
                        current.set(outside)
                    raise
                except BaseException as error:
                    step = inner.athrow(error)
        except BaseException as error:
            step = None  # it may hold the error, and so this frame: a loop for the collector
            if span is not None:
                span._finish(error)  # pyright: ignore[reportPrivateUsage]
            raise
        else:
            if span is not None:
                span._finish(None)  # pyright: ignore[reportPrivateUsage]

    return generate


def _nothing() -> None:
    return None
