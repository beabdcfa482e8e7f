"""Anthropic's messages: whole, streamed, and with the helper events of its library.

Input tokens are counted without what the cache gave or took, so the three are added here. A stream
spreads its usage over `message_start` and cumulative `message_delta`s; each field counts as it was
last said. An error can come as an event inside HTTP 200.
"""

from __future__ import annotations

from typing import Any

from lumina_stream.llm.openai_chat import read_error
from lumina_stream.llm.parts import part_of, parts_of, reasoning_part, text_part, tool_call_part
from lumina_stream.llm.shape import (
    SLOTS_KEPT,
    Fields,
    Piece,
    Reading,
    Text,
    Usage,
    added,
    count,
    faulty,
    fields,
    text,
)

STREAM_TYPES = frozenset(
    {
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "ping",
    }
)

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


class _Counts:
    """The usage as Anthropic counts, field by field the last that was said."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def take(self, value: Any) -> None:
        if value is None:
            return
        known = fields(value)
        for name in _COUNTS:
            self._take(name, known.get(name))
        lifetimes = known.get("cache_creation")
        if lifetimes is not None:
            inner = fields(lifetimes)
            self._take("5m", inner.get("ephemeral_5m_input_tokens"))
            self._take("1h", inner.get("ephemeral_1h_input_tokens"))
        details = known.get("output_tokens_details")
        if details is not None:
            self._take("thinking", fields(details).get("thinking_tokens"))

    def _take(self, name: str, value: Any) -> None:
        number = count(value)
        if number is not None:
            self._said[name] = number

    def usage(self) -> Usage | None:
        said = self._said
        if not said:
            return None
        read, written = said.get("cache_read_input_tokens"), said.get("cache_creation_input_tokens")
        if written is None:
            written = added(said.get("5m"), said.get("1h"))
        taken = said.get("input_tokens")
        return Usage(
            input_tokens=None if taken is None else added(taken, read, written),
            output_tokens=said.get("output_tokens"),
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_5m_tokens=said.get("5m"),
            cache_write_1h_tokens=said.get("1h"),
            reasoning_tokens=said.get("thinking"),
        )


def read_usage(value: Any) -> Usage | None:
    """Read one usage object as Anthropic counts; the result includes the cache in the input."""
    counts = _Counts()
    counts.take(value)
    return counts.usage()


def _extra(usage: Any) -> dict[str, Any]:
    known = fields(usage)
    extra: dict[str, Any] = {}
    tier = text(known.get("service_tier"))
    if tier:
        extra["anthropic.response.service_tier"] = tier
    searches = count(fields(known.get("server_tool_use")).get("web_search_requests"))
    if searches:
        extra["anthropic.usage.web_search_requests"] = searches
    return extra


def read_message(known: Fields) -> Reading:
    """Read a whole message."""
    finish = text(known.get("stop_reason"))
    usage = known.get("usage")
    message = {
        "role": text(known.get("role")) or "assistant",
        "parts": parts_of(known.get("content")),
        "finish_reason": finish,
    }
    return Reading(
        provider="anthropic",
        operation="chat",
        response_model=text(known.get("model")),
        response_id=text(known.get("id")),
        finish_reasons=[finish] if finish else [],
        usage=read_usage(usage),
        messages=[message],
        extra=_extra(usage),
    )


class _Block:
    __slots__ = ("arguments", "kind", "start", "text")

    def __init__(self, start: Any) -> None:
        self.start = start
        self.kind = text(fields(start).get("type")) or "text"
        self.text = Text()
        self.arguments = Text()

    def parts(self) -> list[dict[str, Any]]:
        known = fields(self.start)
        if self.kind.endswith("tool_use"):
            said: Any = self.arguments.joined()
            if not said:
                said = known.get("input")
            return [tool_call_part(known.get("id"), known.get("name"), said)]
        if self.kind == "thinking":
            return [reasoning_part(self.text.joined())]
        if self.kind == "text":
            return [text_part(self.text.joined())] if self.text.length else []
        return part_of(self.start)


class MessageStream:
    """Accumulate the events of a streamed message."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._counts = _Counts()
        self._model: str | None = None
        self._id: str | None = None
        self._role = "assistant"
        self._finish: str | None = None
        self._ended = False
        self._error: tuple[str, str] | None = None
        self._extra: dict[str, Any] = {}

    def feed(self, piece: Any) -> list[Piece]:
        """Take one event; those that the library adds (`text`, `input_json`, ...) repeat others."""
        try:
            event = fields(piece)
            kind = event.get("type")
            if kind == "content_block_delta":
                return self._take_delta(event)
            self._take(kind, event)
        except Exception as error:
            faulty(error)
        return []

    def _take_delta(self, event: Fields) -> list[Piece]:
        delta = fields(event.get("delta"))
        kind = delta.get("type")
        if kind == "text_delta":
            said = delta.get("text")
            if type(said) is str and said:
                block = self._block(event, "text")
                if block is not None:
                    block.text.add(said)
                return [Piece("output", said)]
        elif kind == "input_json_delta":
            said = delta.get("partial_json")
            if type(said) is str and said:
                block = self._block(event, "tool_use")
                if block is not None:
                    block.arguments.add(said)
                return [Piece("tool", said)]
        elif kind == "thinking_delta":
            said = delta.get("thinking")
            if type(said) is str and said:
                block = self._block(event, "thinking")
                if block is not None:
                    block.text.add(said)
                return [Piece("reasoning", said)]
        return []

    def _take(self, kind: Any, event: Fields) -> None:
        if kind == "message_start":
            message = fields(event.get("message"))
            self._model = text(message.get("model")) or self._model
            self._id = text(message.get("id")) or self._id
            self._role = text(message.get("role")) or self._role
            usage = message.get("usage")
            self._counts.take(usage)
            self._extra |= _extra(usage)
        elif kind == "content_block_start":
            start = event.get("content_block")
            block = self._block(event, "text", start)
            known = fields(start)
            said = text(known.get("text")) or text(known.get("thinking"))
            if block is not None and said:
                block.text.add(said)
        elif kind == "message_delta":
            finish = text(fields(event.get("delta")).get("stop_reason"))
            self._finish = finish or self._finish
            usage = event.get("usage")
            self._counts.take(usage)
            self._extra |= _extra(usage)
        elif kind == "message_stop":
            self._ended = True
        elif kind == "error":
            self._error = read_error(event.get("error")) or ("error", "")

    def _block(self, event: Fields, kind: str, start: Any = None) -> _Block | None:
        index = event.get("index")
        if type(index) is not int:
            index = 0
        block = self._blocks.get(index)
        if block is None:
            if len(self._blocks) >= SLOTS_KEPT:
                return None
            block = self._blocks[index] = _Block({"type": kind} if start is None else start)
        return block

    def reading(self) -> Reading:
        """Return what is known so far."""
        found = [part for _, block in sorted(self._blocks.items()) for part in block.parts()]
        message = {"role": self._role, "parts": found, "finish_reason": self._finish}
        return Reading(
            provider="anthropic",
            operation="chat",
            response_model=self._model,
            response_id=self._id,
            finish_reasons=[self._finish] if self._finish else [],
            usage=self._counts.usage(),
            messages=[message],
            error=self._error,
            incomplete=not self._ended and self._error is None,
            extra=dict(self._extra),
        )
