"""What a client returned, recorded: at once, or when the program parses it (`with_raw_response`)."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

from lumina_stream.llm.span import LlmSpan
from lumina_stream.recording.context import active
from lumina_stream.recording.values import type_of


def answered(span: LlmSpan, result: Any) -> Any:
    """Record what a client returned, and return it: a raw response is recorded when it is parsed."""
    try:
        http = getattr(result, "http_response", None)
        parses = http is not None and callable(getattr(type_of(result), "parse", None))
        if parses and not hasattr(http, "_content"):
            _when_parsed(span, result)
            return result
    except Exception as error:
        if active.recorder is not None:
            active.recorder.fault(error)
        return result
    return span.record(result)


def _when_parsed(span: LlmSpan, raw: Any) -> None:
    kind: Any = type_of(raw)
    reference = weakref.ref(raw)
    waiting = _Unparsed(span)
    weakref.finalize(raw, waiting.done).atexit = False

    def recorded(parsed: Any) -> Any:
        if waiting.over:
            return parsed
        result = span.record(parsed)
        waiting.done()
        return result

    async def recorded_async(parsing: Any) -> Any:
        return recorded(await parsing)

    def parse(*args: Any, **kwargs: Any) -> Any:
        parsed: Any = kind.parse(reference(), *args, **kwargs)
        return recorded_async(parsed) if inspect.iscoroutine(parsed) else recorded(parsed)

    object.__setattr__(raw, "parse", parse)


class _Unparsed:
    """Stands for a raw response among what a span waits for, until it is parsed or gone."""

    __slots__ = ("__weakref__", "over", "span")

    def __init__(self, span: LlmSpan) -> None:
        self.span = span
        self.over = False
        span.stream_began(self)  # pyright: ignore[reportArgumentType]

    def cut(self) -> None:
        self.over = True

    def done(self) -> None:
        if not self.over:
            self.over = True
            self.span.stream_over(self, "ok", None)  # pyright: ignore[reportArgumentType]
