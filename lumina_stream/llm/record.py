"""`LlmSpan.record`: find out what was handed over, and record it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from types import CoroutineType
from typing import Any, cast

from lumina_stream.llm import reading as readings
from lumina_stream.llm.instances import attach, is_raw, is_stream, watched
from lumina_stream.llm.shape import SEQUENCES, Reading
from lumina_stream.llm.span import LlmSpan
from lumina_stream.llm.streams import Stream, Watch
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.values import type_name, type_of

UNRECOGNIZED = "lumina.response.unrecognized"
"""The type of what was recorded and could not be read: no tokens and no text are known of it."""

_STREAM_KEYS = ("stream", "body", "completion", "responseStream")
"""Where boto3's answers hold their event stream."""


def record(span: LlmSpan, recorder: Recorder, given: object) -> Any:
    """Record what was given; return it, or what stands for it."""
    x: Any = given
    kind = type_of(x)
    if x is None:
        return x
    if isinstance(x, CoroutineType):
        return _await(span, x)  # pyright: ignore[reportUnknownArgumentType]
    if _gives_pieces(kind):
        return stream(span, recorder, x)
    if isinstance(x, dict):
        answer = cast("dict[str, Any]", x)
        for key in _STREAM_KEYS:
            inner = answer.get(key)
            if inner is not None and _is_iterable_only(type_of(inner)):
                answer[key] = stream(span, recorder, inner)
                return given
    reading = _text(x) if isinstance(x, str) else readings.read_response(x)
    if reading is None and isinstance(x, SEQUENCES):
        reading = _collected(x)  # pyright: ignore[reportUnknownArgumentType]
    if reading is not None:
        span.answered(reading, whole=True)
        return given
    if is_raw(kind):
        return stream(span, recorder, x)
    if (
        not isinstance(x, str | bytes | bytearray | list | tuple | Mapping | Set)
        and not hasattr(kind, "model_fields")  # pydantic's are iterable: over their fields
        and is_stream(kind)
    ):
        return stream(span, recorder, x)
    span.set_attribute(UNRECOGNIZED, type_name(x))
    return given


def stream(span: LlmSpan, recorder: Recorder, x: Any) -> Any:
    """Record a stream from here on; return it, or what stands for it."""
    watch = watched(x)
    if watch is not None:
        if not watch.over and all(known.span is not span for known in watch.streams):
            watch.streams.append(Stream(span, recorder))
        return x
    return attach(x, Watch(Stream(span, recorder)))


def _text(text: str) -> Reading:
    part = {"type": "text", "content": text}
    return Reading(messages=[{"role": "assistant", "parts": [part]}])


def _collected(pieces: Sequence[Any]) -> Reading | None:
    """Read the pieces of a stream that the program has collected itself."""
    if not pieces:
        return None
    accumulator = readings.accumulator_for(pieces[0])
    for piece in pieces:
        accumulator.feed(piece)
    reading = accumulator.reading()
    return reading if reading.messages or reading.usage or reading.finish_reasons else None


@lru_cache(256)  # pydantic's classes answer such a question at length
def _gives_pieces(kind: type) -> bool:
    return hasattr(kind, "__next__") or hasattr(kind, "__anext__")


def _is_iterable_only(kind: type) -> bool:
    return (hasattr(kind, "__iter__") or hasattr(kind, "__aiter__")) and not issubclass(
        kind, str | bytes | bytearray | list | tuple | Mapping | Set
    )


async def _await(span: LlmSpan, coroutine: Any) -> Any:
    return span.record(await coroutine)
