"""Amazon Bedrock: Converse, its event stream, and InvokeModel's chunks of other providers' JSON.

Input tokens are counted without the cache, as Anthropic does. The stream's metadata, with the usage,
comes after `messageStop`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from lumina_stream.llm.parts import parts_of, reasoning_part, text_part, tool_call_part
from lumina_stream.llm.shape import (
    SLOTS_KEPT,
    Accumulator,
    Fields,
    Piece,
    Reading,
    Text,
    Usage,
    added,
    count,
    faulty,
    fields,
    items,
    mapping,
    text,
)

EVENTS = frozenset(
    {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
)


def is_event(piece: Any) -> bool:
    """Whether this is one event of ConverseStream."""
    known = mapping(piece)
    return len(known) <= 3 and any(key in EVENTS or is_exception(key) for key in known)


def is_exception(key: Any) -> bool:
    """Whether an event's key names an error that came inside the stream."""
    return type(key) is str and key.endswith("Exception")


def is_answer(known: Fields) -> bool:
    """Whether this is the answer of Converse."""
    message = fields(fields(known.get("output")).get("message"))
    return isinstance(message.get("content"), list | tuple) or (
        text(known.get("stopReason")) is not None and read_usage(known.get("usage")) is not None
    )


def read_usage(value: Any) -> Usage | None:
    """Read Converse's token usage; the result includes the cache in the input."""
    if value is None:
        return None
    said = fields(value)
    read, written = (
        count(said.get("cacheReadInputTokens")),
        count(said.get("cacheWriteInputTokens")),
    )
    taken = count(said.get("inputTokens"))
    lifetimes: dict[str, int] = {}
    for detail in items(said.get("cacheDetails")):
        inner = fields(detail)
        number = count(inner.get("inputTokens"))
        if number is not None:
            lifetimes[text(inner.get("ttl")) or ""] = number
    usage = Usage(
        input_tokens=None if taken is None else added(taken, read, written),
        output_tokens=count(said.get("outputTokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_5m_tokens=lifetimes.get("5m"),
        cache_write_1h_tokens=lifetimes.get("1h"),
        total_tokens=count(said.get("totalTokens")),
    )
    return usage if usage.says_anything() else None


def request_id(known: Fields) -> str | None:
    """Return the id that AWS gave the request: Converse has none of its own."""
    return text(fields(known.get("ResponseMetadata")).get("RequestId"))


def _model(trace: Any) -> str | None:
    return text(fields(fields(trace).get("promptRouter")).get("invokedModelId"))


def read_converse(known: Fields) -> Reading:
    """Read the answer of Converse."""
    message = fields(fields(known.get("output")).get("message"))
    finish = text(known.get("stopReason"))
    said = {
        "role": text(message.get("role")) or "assistant",
        "parts": parts_of(message.get("content")),
        "finish_reason": finish,
    }
    return Reading(
        provider="aws.bedrock",
        operation="chat",
        response_model=_model(known.get("trace")),
        response_id=request_id(known),
        finish_reasons=[finish] if finish else [],
        usage=read_usage(known.get("usage")),
        messages=[said],
    )


class _Block:
    __slots__ = ("arguments", "call_id", "name", "reasoning", "text")

    def __init__(self) -> None:
        self.text = Text()
        self.reasoning = Text()
        self.arguments = Text()
        self.call_id: str | None = None
        self.name: str | None = None

    def parts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.reasoning.length:
            found.append(reasoning_part(self.reasoning.joined()))
        if self.text.length:
            found.append(text_part(self.text.joined()))
        if self.name is not None or self.arguments.length:
            found.append(tool_call_part(self.call_id, self.name, self.arguments.joined()))
        return found


class ConverseStream:
    """Accumulate the events of ConverseStream."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._role = "assistant"
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None
        self._ended = False
        self._error: tuple[str, str] | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one event."""
        try:
            return self._feed(fields(piece), piece)
        except Exception as error:
            faulty(error)
            return []

    def _feed(self, event: Fields, piece: Any) -> list[Piece]:
        delta = event.get("contentBlockDelta")
        if delta is not None:
            return self._take_delta(fields(delta))
        start = event.get("contentBlockStart")
        if start is not None:
            inner = fields(start)
            use = fields(fields(inner.get("start")).get("toolUse"))
            block = self._block(inner)
            if block is not None:
                block.call_id = text(use.get("toolUseId"))
                block.name = text(use.get("name"))
            return []
        begun = event.get("messageStart")
        if begun is not None:
            self._role = text(fields(begun).get("role")) or self._role
        stopped = event.get("messageStop")
        if stopped is not None:
            self._finish = text(fields(stopped).get("stopReason"))
        metadata = event.get("metadata")
        if metadata is not None:
            inner = fields(metadata)
            usage = read_usage(inner.get("usage"))
            if usage is not None:
                self._usage = usage if self._usage is None else self._usage.merged(usage)
            self._model = _model(inner.get("trace")) or self._model
            self._ended = True
        for key, value in mapping(piece).items():
            if is_exception(key):
                self._error = (key, text(fields(value).get("message")) or "")
        return []

    def _block(self, known: Fields) -> _Block | None:
        index = known.get("contentBlockIndex")
        if type(index) is not int:
            index = 0
        block = self._blocks.get(index)
        if block is None:
            if len(self._blocks) >= SLOTS_KEPT:
                return None
            block = self._blocks[index] = _Block()
        return block

    def _take_delta(self, known: Fields) -> list[Piece]:
        delta = fields(known.get("delta"))
        block = self._block(known)
        said = text(delta.get("text"))
        if said:
            if block is not None:
                block.text.add(said)
            return [Piece("output", said)]
        use = delta.get("toolUse")
        if use is not None:
            said = text(fields(use).get("input"))
            if said and block is not None:
                block.arguments.add(said)
            return [Piece("tool", said)] if said else []
        thought = delta.get("reasoningContent")
        if thought is not None:
            said = text(fields(thought).get("text"))
            if said and block is not None:
                block.reasoning.add(said)
            return [Piece("reasoning", said)] if said else []
        return []

    def reading(self) -> Reading:
        """Return what is known so far."""
        found = [part for _, block in sorted(self._blocks.items()) for part in block.parts()]
        message = {"role": self._role, "parts": found, "finish_reason": self._finish}
        return Reading(
            provider="aws.bedrock",
            operation="chat",
            response_model=self._model,
            finish_reasons=[self._finish] if self._finish else [],
            usage=self._usage,
            messages=[message],
            error=self._error,
            incomplete=not self._ended and self._error is None,
        )


# --- InvokeModel --------------------------------------------------------------------------------------

METRICS = "amazon-bedrock-invocationMetrics"


def is_chunk(known: Fields) -> bool:
    """Whether this is a chunk of InvokeModelWithResponseStream."""
    return isinstance(fields(known.get("chunk")).get("bytes"), bytes)


def metrics_usage(value: Any) -> Usage | None:
    """Read the counts that Bedrock adds to another provider's last chunk."""
    said = fields(value)
    usage = Usage(
        input_tokens=count(said.get("inputTokenCount")),
        output_tokens=count(said.get("outputTokenCount")),
        cache_read_tokens=count(said.get("cacheReadInputTokenCount")),
        cache_write_tokens=count(said.get("cacheWriteInputTokenCount")),
    )
    if usage.input_tokens is not None:
        usage.input_tokens = added(
            usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens
        )
    return usage if usage.says_anything() else None


def is_native(known: Fields) -> bool:
    """Whether this is the JSON of a model without a protocol of its own: Titan, Llama."""
    return text(known.get("outputText")) is not None or (
        text(known.get("generation")) is not None
        and (
            known.get("generation_token_count") is not None or known.get("stop_reason") is not None
        )
    )


class NativeStream:
    """Accumulate Titan's or Llama's chunks; a whole answer is a stream of one."""

    def __init__(self) -> None:
        self._text = Text()
        self._finish: str | None = None
        self._usage: Usage | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one chunk."""
        try:
            return self._feed(fields(piece))
        except Exception as error:
            faulty(error)
            return []

    def _feed(self, known: Fields) -> list[Piece]:
        result = fields(next(iter(items(known.get("results"))), None))
        said = text(known.get("outputText")) or text(known.get("generation"))
        said = said or text(result.get("outputText"))
        finish = known.get("completionReason") or known.get("stop_reason")
        self._finish = text(finish or result.get("completionReason")) or self._finish
        taken = count(known.get("inputTextTokenCount"))
        made = count(known.get("totalOutputTextTokenCount"))
        usage = Usage(
            input_tokens=count(known.get("prompt_token_count")) if taken is None else taken,
            output_tokens=count(known.get("generation_token_count")) if made is None else made,
        )
        self._usage = usage if self._usage is None else self._usage.merged(usage)
        if not said:
            return []
        self._text.add(said)
        return [Piece("output", said)]

    def reading(self) -> Reading:
        """Return what is known so far."""
        usage = self._usage
        said = [text_part(self._text.joined())] if self._text.length else []
        return Reading(
            provider="aws.bedrock",
            operation="text_completion",
            finish_reasons=[self._finish] if self._finish else [],
            usage=usage if usage is not None and usage.says_anything() else None,
            messages=[{"role": "assistant", "parts": said, "finish_reason": self._finish}],
            incomplete=self._finish is None,
        )


class InvokeStream:
    """Accumulate InvokeModel's chunks with the accumulator of the model's own protocol."""

    def __init__(self, accumulator_for: Callable[[Any], Accumulator]) -> None:
        self._accumulator_for = accumulator_for
        self._inner: Accumulator | None = None
        self._metrics: Usage | None = None
        self._error: tuple[str, str] | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one chunk."""
        try:
            known = fields(piece)
            body = fields(known.get("chunk")).get("bytes")
            if not isinstance(body, bytes):
                self._take_error(piece)
                return []
            chunk: Any = msgspec.json.decode(body)
            metrics = fields(chunk).get(METRICS)
            if metrics is not None:
                self._metrics = metrics_usage(metrics)
            if self._inner is None:
                self._inner = self._accumulator_for(chunk)
            return self._inner.feed(chunk)
        except Exception as error:
            faulty(error)
            return []

    def _take_error(self, piece: Any) -> None:
        for key, value in mapping(piece).items():
            if is_exception(key):
                self._error = (key, text(fields(value).get("message")) or "")

    def reading(self) -> Reading:
        """Return what is known so far."""
        reading = Reading(incomplete=True) if self._inner is None else self._inner.reading()
        reading.provider = "aws.bedrock"
        if self._metrics is not None and (
            reading.usage is None or not reading.usage.says_anything()
        ):
            reading.usage = self._metrics
        reading.error = self._error or reading.error
        return reading
