"""Cohere: chat in version 2 and 1, embeddings, rerank.

Cohere says tokens and billed units; the tokens are the usage, the billed units are kept beside it, and
stand in where there are no others.
"""

from __future__ import annotations

from typing import Any

from lumina_stream.llm.parts import parts_of_message, reasoning_part, text_part, tool_call_part
from lumina_stream.llm.shape import (
    SLOTS_KEPT,
    Fields,
    Piece,
    Reading,
    Text,
    Usage,
    count,
    faulty,
    fields,
    items,
    text,
)

STREAM_TYPES = frozenset(
    {
        "message-start",
        "message-end",
        "content-start",
        "content-delta",
        "content-end",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "citation-start",
        "citation-end",
        "debug",
    }
)


def read_usage(value: Any) -> Usage | None:
    """Read a usage object, or the `meta` of version 1, embeddings and rerank."""
    if value is None:
        return None
    said = fields(value)
    billed, tokens = fields(said.get("billed_units")), fields(said.get("tokens"))
    usage = Usage(
        billed_input=count(billed.get("input_tokens")),
        billed_output=count(billed.get("output_tokens")),
        input_tokens=count(tokens.get("input_tokens")),
        output_tokens=count(tokens.get("output_tokens")),
        cache_read_tokens=count(said.get("cached_tokens")),
    )
    if usage.input_tokens is None:
        usage.input_tokens = usage.billed_input
    if usage.output_tokens is None:
        usage.output_tokens = usage.billed_output
    return usage if usage.says_anything() else None


def _extra(value: Any) -> dict[str, Any]:
    units = count(fields(fields(value).get("billed_units")).get("search_units"))
    return {} if units is None else {"cohere.usage.search_units": units}


def is_answer(known: Fields) -> bool:
    """Whether this is a chat answer of version 2 or 1."""
    if text(known.get("finish_reason")) is None:
        return False
    return known.get("message") is not None or (
        text(known.get("text")) is not None and text(known.get("generation_id")) is not None
    )


def is_other(known: Fields) -> bool:
    """Whether this is an answer of embed or rerank."""
    meta = known.get("meta")
    if meta is None or (known.get("embeddings") is None and known.get("results") is None):
        return False
    version = fields(fields(meta).get("api_version")).get("version")
    return read_usage(meta) is not None or bool(_extra(meta)) or text(version) is not None


def read_chat(known: Fields) -> Reading:
    """Read a whole chat answer."""
    finish = text(known.get("finish_reason"))
    message = known.get("message")
    said = known if message is None else fields(message)
    usage = known.get("usage")
    if usage is None:
        usage = known.get("meta")
    return Reading(
        provider="cohere",
        operation="chat",
        response_id=text(known.get("id")) or text(known.get("response_id")),
        finish_reasons=[finish] if finish else [],
        usage=read_usage(usage),
        messages=[{"role": "assistant", "parts": parts_of_message(said), "finish_reason": finish}],
        extra=_extra(usage),
    )


def read_other(known: Fields) -> Reading:
    """Read an answer of embed or rerank."""
    meta = known.get("meta")
    return Reading(
        provider="cohere",
        operation="rerank" if known.get("results") is not None else "embeddings",
        response_id=text(known.get("id")),
        usage=read_usage(meta),
        extra=_extra(meta),
    )


class _Call:
    __slots__ = ("arguments", "call_id", "name")

    def __init__(self, raw: Fields) -> None:
        function = fields(raw.get("function"))
        self.call_id = text(raw.get("id"))
        self.name = text(function.get("name"))
        self.arguments = Text(text(function.get("arguments")) or "")


class ChatStream:
    """Accumulate the events of a streamed chat, of either version."""

    def __init__(self) -> None:
        self._text = Text()
        self._plan = Text()
        self._calls: dict[int, _Call] = {}
        self._whole_calls: list[Any] = []
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._id: str | None = None
        self._error: tuple[str, str] | None = None
        self._ended = False
        self._extra: dict[str, Any] = {}

    def feed(self, piece: Any) -> list[Piece]:
        """Take one event."""
        try:
            event = fields(piece)
            kind = text(event.get("type"))
            if kind is None or event.get("event_type") is not None:
                return self._take_v1(text(event.get("event_type")), event)
            return self._take(kind, event)
        except Exception as error:
            faulty(error)
            return []

    def _take(self, kind: str, event: Fields) -> list[Piece]:
        delta = fields(event.get("delta"))
        message = fields(delta.get("message"))
        if kind in ("content-delta", "content-start"):
            content = fields(message.get("content"))
            words = text(content.get("text"))
            if words:
                self._text.add(words)
                return [Piece("output", words)]
            thought = text(content.get("thinking"))
            if thought:
                self._plan.add(thought)
                return [Piece("reasoning", thought)]
        elif kind == "tool-plan-delta":
            plan = text(message.get("tool_plan"))
            if plan:
                self._plan.add(plan)
                return [Piece("reasoning", plan)]
        elif kind in ("tool-call-start", "tool-call-delta"):
            return self._take_call(kind, event, message.get("tool_calls"))
        elif kind == "message-start":
            self._id = text(event.get("id")) or self._id
        elif kind == "message-end":
            self._ended = True
            self._finish = text(delta.get("finish_reason")) or self._finish
            self._take_usage(delta.get("usage"))
            error = text(delta.get("error"))
            if error:
                self._error = (self._finish or "error", error)
        return []

    def _take_usage(self, value: Any) -> None:
        usage = read_usage(value)
        if usage is not None:
            self._usage = usage if self._usage is None else self._usage.merged(usage)
            self._extra |= _extra(value)

    def _take_call(self, kind: str, event: Fields, raw: Any) -> list[Piece]:
        index = event.get("index")
        if type(index) is not int:
            index = 0
        if isinstance(raw, list | tuple):
            raw = next(iter(items(raw)), None)
        call = fields(raw)
        if kind == "tool-call-start":
            if len(self._calls) < SLOTS_KEPT:
                started = self._calls[index] = _Call(call)
                words = started.arguments.joined()
                return [Piece("tool", words)] if words else []
            return []
        words = text(fields(call.get("function")).get("arguments"))
        if not words:
            return []
        if index in self._calls:
            self._calls[index].arguments.add(words)
        return [Piece("tool", words)]

    def _take_v1(self, kind: str | None, event: Fields) -> list[Piece]:
        if kind == "text-generation":
            words = text(event.get("text"))
            if words:
                self._text.add(words)
                return [Piece("output", words)]
        elif kind == "tool-calls-chunk":
            words = text(fields(fields(event.get("tool_call_delta")).get("parameters")).get("text"))
            words = words or text(fields(event.get("tool_call_delta")).get("parameters"))
            return [Piece("tool", words)] if words else []
        elif kind == "tool-calls-generation":
            self._whole_calls = items(event.get("tool_calls"))[:SLOTS_KEPT]
        elif kind == "stream-start":
            self._id = text(event.get("generation_id"))
        elif kind == "stream-end":
            self._ended = True
            self._finish = text(event.get("finish_reason"))
            answer = fields(event.get("response"))
            self._take_usage(answer.get("meta"))
            self._id = text(answer.get("response_id")) or self._id
        return []

    def reading(self) -> Reading:
        """Return what is known so far."""
        found: list[dict[str, Any]] = []
        if self._plan.length:
            found.append(reasoning_part(self._plan.joined()))
        if self._text.length:
            found.append(text_part(self._text.joined()))
        for _, call in sorted(self._calls.items()):
            found.append(tool_call_part(call.call_id, call.name, call.arguments.joined()))
        for raw in self._whole_calls:
            known = fields(raw)
            found.append(tool_call_part(None, known.get("name"), known.get("parameters")))
        return Reading(
            provider="cohere",
            operation="chat",
            response_id=self._id,
            finish_reasons=[self._finish] if self._finish else [],
            usage=self._usage,
            messages=[{"role": "assistant", "parts": found, "finish_reason": self._finish}],
            error=self._error,
            incomplete=not self._ended,
            extra=dict(self._extra),
        )
