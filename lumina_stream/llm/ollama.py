"""Ollama: chat, generate and embed. Its counts may be missing: a prompt from the cache has none."""

from __future__ import annotations

from typing import Any

from lumina_stream.llm.parts import parts_of_message, reasoning_part, text_part
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


def is_answer(known: Fields) -> bool:
    """Whether this is an answer of chat or generate, or a chunk of one."""
    if type(known.get("done")) is not bool:
        return False
    return known.get("message") is not None or text(known.get("response")) is not None


def is_embeddings(known: Fields) -> bool:
    """Whether this is an answer of embed."""
    return isinstance(known.get("embeddings"), list | tuple) and (
        count(known.get("total_duration")) is not None or read_usage(known) is not None
    )


def read_usage(known: Fields) -> Usage | None:
    """Read the counts of an answer's last chunk."""
    usage = Usage(
        input_tokens=count(known.get("prompt_eval_count")),
        output_tokens=count(known.get("eval_count")),
    )
    return usage if usage.says_anything() else None


class ChatStream:
    """Accumulate chunks of chat or generate; a whole answer is a stream of one."""

    def __init__(self) -> None:
        self._text = Text()
        self._thinking = Text()
        self._others: list[dict[str, Any]] = []
        self._role = "assistant"
        self._usage: Usage | None = None
        self._model: str | None = None
        self._finish: str | None = None
        self._ended = False
        self._operation = "chat"
        self._error: tuple[str, str] | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one chunk."""
        try:
            return self._feed(fields(piece))
        except Exception as error:
            faulty(error)
            return []

    def _feed(self, known: Fields) -> list[Piece]:
        found: list[Piece] = []
        if self._model is None:
            self._model = text(known.get("model"))
        message = known.get("message")
        if message is not None:
            said = fields(message)
            self._role = text(said.get("role")) or self._role
            thought, words = text(said.get("thinking")), text(said.get("content"))
            for call in items(said.get("tool_calls")):
                if len(self._others) < SLOTS_KEPT:
                    self._others += parts_of_message({"tool_calls": [call]})
        else:
            thought, words = text(known.get("thinking")), text(known.get("response"))
            if words is not None:
                self._operation = "text_completion"
        if thought:
            self._thinking.add(thought)
            found.append(Piece("reasoning", thought))
        if words:
            self._text.add(words)
            found.append(Piece("output", words))
        if known.get("done") is True:
            self._ended = True
            self._finish = text(known.get("done_reason")) or self._finish
            usage = read_usage(known)
            if usage is not None:
                self._usage = usage if self._usage is None else self._usage.merged(usage)
        error = text(known.get("error"))
        if error:
            self._error = ("error", error)
        return found

    def reading(self) -> Reading:
        """Return what is known so far."""
        found: list[dict[str, Any]] = []
        if self._thinking.length:
            found.append(reasoning_part(self._thinking.joined()))
        if self._text.length:
            found.append(text_part(self._text.joined()))
        message = {
            "role": self._role,
            "parts": found + self._others,
            "finish_reason": self._finish,
        }
        return Reading(
            provider="ollama",
            operation=self._operation,
            response_model=self._model,
            finish_reasons=[self._finish] if self._finish else [],
            usage=self._usage,
            messages=[message],
            error=self._error,
            incomplete=not self._ended and self._error is None,
        )


def read_answer(answer: Any) -> Reading:
    """Read a whole answer."""
    stream = ChatStream()
    stream.feed(answer)
    reading = stream.reading()
    reading.incomplete = False
    return reading


def read_embeddings(known: Fields) -> Reading:
    """Read an answer of embed."""
    reading = Reading(
        provider="ollama",
        operation="embeddings",
        response_model=text(known.get("model")),
        usage=read_usage(known),
    )
    vectors = items(known.get("embeddings"))
    if vectors and items(vectors[0]):
        reading.extra["gen_ai.embeddings.dimension.count"] = len(items(vectors[0]))
    return reading
