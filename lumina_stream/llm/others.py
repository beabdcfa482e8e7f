"""Answers of narrower shapes: Anthropic's old completions, OpenAI's assistants, Mistral's conversations,
Google's interactions, watsonx, and LangChain's messages. Each is a few fields; a shape that grows gets
a module of its own.
"""

from __future__ import annotations

from typing import Any

from lumina_stream.llm import google, openai_chat
from lumina_stream.llm.parts import MOST_PARTS, part_of, parts_of, parts_of_message, text_part
from lumina_stream.llm.shape import (
    Accumulator,
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
    total,
)


def read(answer: Any, known: Fields) -> Reading | None:
    """Read a whole answer of one of these shapes; None for any other."""
    if known.get("type") == "completion" and text(known.get("completion")) is not None:
        return _completion(known)
    if _is_langchain(known):
        return _langchain(known)
    if text(known.get("conversation_id")) and isinstance(known.get("outputs"), list | tuple):
        return _conversation(known)
    if count(fields(known.get("usage")).get("total_input_tokens")) is not None:
        return _interaction(known)
    first = fields(next(iter(items(known.get("results"))), None))
    if text(first.get("generated_text")) is not None:
        return _watsonx(known, first)
    return None


def accumulator(piece: Any, known: Fields) -> Accumulator | None:
    """Return an accumulator for a stream of one of these shapes; None for any other."""
    kind = text(known.get("type"))
    if kind == "completion":
        return CompletionStream()
    if _is_langchain(known):
        return LangChainStream()
    event = text(known.get("event")) or ""
    data_type = text(fields(known.get("data")).get("type")) or ""
    if event.startswith("thread.") or data_type.startswith(("conversation.", "message.output.")):
        return EventStream()
    event_type = text(known.get("event_type")) or ""
    if event_type.startswith(("interaction.", "content.", "step.")):
        return EventStream()
    return None


def _answer(
    provider: str | None, operation: str, parts: list[dict[str, Any]], finish: str | None
) -> Reading:
    return Reading(
        provider=provider,
        operation=operation,
        finish_reasons=[finish] if finish else [],
        messages=[{"role": "assistant", "parts": parts, "finish_reason": finish}],
    )


def _completion(known: Fields) -> Reading:
    finish = text(known.get("stop_reason"))
    said = parts_of(known.get("completion"))
    reading = _answer("anthropic", "text_completion", said, finish)
    reading.response_model, reading.response_id = text(known.get("model")), text(known.get("id"))
    return reading


def _conversation(known: Fields) -> Reading:
    parts: list[dict[str, Any]] = []
    model: str | None = None
    for output in items(known.get("outputs"))[:MOST_PARTS]:
        entry = fields(output)
        model = text(entry.get("model")) or model
        if entry.get("type") == "function.call":
            call = {**_call_of(entry)}
            parts += part_of(call)
        elif entry.get("content") is not None:
            parts += parts_of(entry.get("content"))
    reading = _answer("mistral_ai", "chat", parts, None)
    reading.response_model = model
    reading.usage = openai_chat.read_usage(known.get("usage"))
    reading.extra["gen_ai.conversation.id"] = text(known.get("conversation_id"))
    return reading


def _call_of(entry: Fields) -> dict[str, Any]:
    return {
        "type": "tool_call",
        "id": entry.get("tool_call_id"),
        "name": entry.get("name"),
        "input": entry.get("arguments"),
    }


def _interaction(known: Fields) -> Reading:
    parts: list[dict[str, Any]] = []
    for output in items(known.get("outputs") or known.get("steps"))[:MOST_PARTS]:
        entry = fields(output)
        kind = text(entry.get("type"))
        if kind == "function_call" or kind == "text":
            parts += part_of(output)
        elif kind == "model_output":
            parts += parts_of(entry.get("content"))
    if not parts:
        parts = parts_of(known.get("output_text"))
    finish = text(known.get("status"))
    reading = _answer("gcp.gen_ai", "generate_content", parts, finish)
    reading.response_model, reading.response_id = text(known.get("model")), text(known.get("id"))
    reading.usage = google.read_usage(known.get("usage"))
    return reading


def _watsonx(known: Fields, first: Fields) -> Reading:
    said = parts_of(first.get("generated_text"))
    reading = _answer("ibm.watsonx.ai", "text_completion", said, text(first.get("stop_reason")))
    reading.response_model = text(known.get("model_id"))
    usage = Usage(
        input_tokens=count(first.get("input_token_count")),
        output_tokens=count(first.get("generated_token_count")),
    )
    reading.usage = usage if usage.says_anything() else None
    return reading


class CompletionStream:
    """Accumulate Anthropic's old completions."""

    def __init__(self) -> None:
        self._text = Text()
        self._finish: str | None = None
        self._model: str | None = None
        self._id: str | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one event."""
        known = fields(piece)
        self._finish = text(known.get("stop_reason")) or self._finish
        self._model = text(known.get("model")) or self._model
        self._id = text(known.get("id")) or self._id
        words = text(known.get("completion"))
        if not words:
            return []
        self._text.add(words)
        return [Piece("output", words)]

    def reading(self) -> Reading:
        """Return what is known so far."""
        parts = [text_part(self._text.joined())] if self._text.length else []
        reading = _answer("anthropic", "text_completion", parts, self._finish)
        reading.response_model, reading.response_id = self._model, self._id
        reading.incomplete = self._finish is None
        return reading


class EventStream:
    """Accumulate the events of assistants, conversations and interactions: text, and the last usage."""

    def __init__(self) -> None:
        self._text = Text()
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._finish: str | None = None
        self._ended = False
        self._provider: str | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one event."""
        try:
            return self._feed(fields(piece))
        except Exception as error:
            faulty(error)
            return []

    def _feed(self, event: Fields) -> list[Piece]:
        name = text(event.get("event")) or text(event.get("event_type")) or ""
        data = fields(event.get("data"))
        self._begin(name)
        whole = event.get("interaction")
        inner = data if whole is None else fields(whole)
        usage = inner.get("usage")
        if usage is not None:
            is_google = count(fields(usage).get("total_input_tokens")) is not None
            said = google.read_usage(usage) if is_google else openai_chat.read_usage(usage)
            if said is not None:
                self._usage = said if self._usage is None else self._usage.merged(said)
        self._model = text(inner.get("model")) or self._model
        if name.startswith(("thread.run.", "interaction.", "conversation.response.")):
            self._id = text(inner.get("id")) or self._id
            if name.endswith((".completed", ".complete", ".done", ".failed", ".incomplete")):
                self._finish = text(inner.get("status")) or name.rpartition(".")[2]
                self._ended = True
        words = self._words(name, event, data)
        if not words:
            return []
        self._text.add(words)
        return [Piece("output", words)]

    def _begin(self, name: str) -> None:
        if self._provider is None:
            if name.startswith("thread."):
                self._provider = "openai"
            elif name.startswith(("conversation.", "message.output.")):
                self._provider = "mistral_ai"
            elif name.startswith("interaction."):
                self._provider = "gcp.gen_ai"

    def _words(self, name: str, event: Fields, data: Fields) -> str:
        if name == "thread.message.delta":
            content = items(fields(data.get("delta")).get("content"))
            return "".join(part["content"] for c in content for part in _texts(c))
        if name == "message.output.delta":
            return "".join(
                part["content"] for part in parts_of(data.get("content")) if _is_text(part)
            )
        if name in ("content.delta", "step.delta"):
            delta = fields(event.get("delta"))
            if delta.get("type") == "text":
                return text(delta.get("text")) or ""
        return ""

    def reading(self) -> Reading:
        """Return what is known so far."""
        parts = [text_part(self._text.joined())] if self._text.length else []
        reading = _answer(self._provider, "chat", parts, self._finish)
        reading.response_model, reading.response_id = self._model, self._id
        reading.usage, reading.incomplete = self._usage, not self._ended
        return reading


def _is_text(part: dict[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("content"), str)


def _texts(content: Any) -> list[dict[str, Any]]:
    return [part for part in part_of(content) if _is_text(part)]


# --- LangChain ----------------------------------------------------------------------------------------


def _is_langchain(known: Fields) -> bool:
    return (
        isinstance(known.get("response_metadata"), dict)
        and known.get("content") is not None
        and text(known.get("type")) in ("ai", "AIMessageChunk")
    )


def _langchain_usage(value: Any) -> Usage | None:
    if value is None:
        return None
    said = fields(value)
    inner, outer = fields(said.get("input_token_details")), fields(said.get("output_token_details"))
    usage = Usage(
        input_tokens=count(said.get("input_tokens")),
        output_tokens=count(said.get("output_tokens")),
        total_tokens=count(said.get("total_tokens")),
        cache_read_tokens=count(inner.get("cache_read")),
        cache_write_tokens=count(inner.get("cache_creation")),
        audio_input_tokens=count(inner.get("audio")),
        audio_output_tokens=count(outer.get("audio")),
        reasoning_tokens=count(outer.get("reasoning")),
    )
    return usage if usage.says_anything() else None


def _finish_of(metadata: Fields) -> str | None:
    for name in ("finish_reason", "stop_reason", "stopReason", "done_reason"):
        finish = text(metadata.get(name))
        if finish:
            return finish
    return None


def _langchain(known: Fields) -> Reading:
    metadata = fields(known.get("response_metadata"))
    finish = _finish_of(metadata)
    reading = _answer(text(metadata.get("model_provider")), "chat", parts_of_message(known), finish)
    reading.usage = _langchain_usage(known.get("usage_metadata"))
    reading.response_model = text(metadata.get("model_name")) or text(metadata.get("model"))
    reading.response_id = text(metadata.get("id")) or text(known.get("id"))
    return reading


class LangChainStream:
    """Accumulate message chunks; their usages add up, because LangChain makes differences of them."""

    def __init__(self) -> None:
        self._text = Text()
        self._reasoning = Text()
        self._usage: Usage | None = None
        self._last = Reading()
        self._finish: str | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one chunk."""
        try:
            known = fields(piece)
            self._usage = total(self._usage, _langchain_usage(known.get("usage_metadata")))
            read_chunk = _langchain(known)
            self._finish = next(iter(read_chunk.finish_reasons), None) or self._finish
            last = self._last
            last.provider = read_chunk.provider or last.provider
            last.response_model = read_chunk.response_model or last.response_model
            last.response_id = read_chunk.response_id or last.response_id
            found: list[Piece] = []
            for part in parts_of(known.get("content")):
                words = part.get("content")
                if not isinstance(words, str) or not words:
                    continue
                if part["type"] == "text":
                    self._text.add(words)
                    found.append(Piece("output", words))
                elif part["type"] == "reasoning":
                    self._reasoning.add(words)
                    found.append(Piece("reasoning", words))
            return found
        except Exception as error:
            faulty(error)
            return []

    def reading(self) -> Reading:
        """Return what is known so far."""
        parts: list[dict[str, Any]] = []
        if self._reasoning.length:
            parts.append({"type": "reasoning", "content": self._reasoning.joined()})
        if self._text.length:
            parts.append(text_part(self._text.joined()))
        reading = _answer(self._last.provider, "chat", parts, self._finish)
        reading.response_model = self._last.response_model
        reading.response_id = self._last.response_id
        reading.usage = self._usage
        return reading
