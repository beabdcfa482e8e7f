"""Google's generative models: GenAI and Vertex AI, the JSON's camelCase and the libraries' snake_case.

Usage is cumulative: every chunk repeats it, and each field counts as it was last said. Thoughts are
output that Google counts beside the candidates; a tool's prompt is input beside the prompt.
"""

from __future__ import annotations

from typing import Any, cast

from lumina_stream.llm.openai_chat import read_error
from lumina_stream.llm.parts import Part, parts_of
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
    items,
    text,
    total,
)


def either(known: Fields, snake: str, camel: str) -> Any:
    """Return the field under either spelling."""
    value = known.get(snake)
    return known.get(camel) if value is None else value


def read_usage(value: Any) -> Usage | None:
    """Read usage metadata of generate_content, or the usage of an interaction (`total_input_tokens`)."""
    if value is None:
        return None
    said = fields(value)
    prompt = _count(said, "prompt_token_count", "promptTokenCount", "total_input_tokens")
    tools = _count(
        said, "tool_use_prompt_token_count", "toolUsePromptTokenCount", "total_tool_use_tokens"
    )
    answer = _count(
        said,
        "candidates_token_count",
        "candidatesTokenCount",
        "response_token_count",
        "responseTokenCount",
        "total_output_tokens",
    )
    thoughts = _count(said, "thoughts_token_count", "thoughtsTokenCount", "total_thought_tokens")
    usage = Usage(
        input_tokens=added(prompt, tools),
        output_tokens=added(answer, thoughts),
        cache_read_tokens=_count(
            said, "cached_content_token_count", "cachedContentTokenCount", "total_cached_tokens"
        ),
        reasoning_tokens=thoughts,
        total_tokens=_count(said, "total_token_count", "totalTokenCount", "total_tokens"),
        audio_input_tokens=_audio(either(said, "prompt_tokens_details", "promptTokensDetails")),
        audio_output_tokens=_audio(
            either(said, "candidates_tokens_details", "candidatesTokensDetails")
        ),
    )
    return usage if usage.says_anything() else None


def _count(known: Fields, *names: str) -> int | None:
    for name in names:
        number = count(known.get(name))
        if number is not None:
            return number
    return None


def _audio(details: Any) -> int | None:
    counts = [
        count(either(fields(detail), "token_count", "tokenCount"))
        for detail in items(details)
        if (text(fields(detail).get("modality")) or "").upper() == "AUDIO"
    ]
    return added(*counts)


_SNAKE = (
    "prompt_token_count",
    "tool_use_prompt_token_count",
    "candidates_token_count",
    "response_token_count",
    "thoughts_token_count",
    "cached_content_token_count",
    "total_token_count",
    "prompt_tokens_details",
    "candidates_tokens_details",
)
_NAMES = frozenset(_SNAKE) | {
    first + "".join(word.capitalize() for word in rest)
    for first, *rest in (name.split("_") for name in _SNAKE)
}


def is_answer(known: Fields) -> bool:
    """Whether this is an answer of generate_content, or a chunk of one."""
    return (
        isinstance(known.get("candidates"), list | tuple)
        or read_usage(either(known, "usage_metadata", "usageMetadata")) is not None
        or _block_reason(known) is not None
        or (
            text(either(known, "model_version", "modelVersion")) is not None
            and text(either(known, "response_id", "responseId")) is not None
        )
    )


def _block_reason(known: Fields) -> str | None:
    feedback = fields(either(known, "prompt_feedback", "promptFeedback"))
    return text(either(feedback, "block_reason", "blockReason"))


class _Candidate:
    __slots__ = ("finish", "parts", "role", "texts")

    def __init__(self) -> None:
        self.role = "assistant"
        self.finish: str | None = None
        self.parts: list[Part] = []
        self.texts: list[Text | None] = []

    def take(self, part: Part) -> None:
        """Add one part; text and thoughts go on where the last one of their kind was."""
        kind = part["type"]
        words = part.get("content")
        if kind in ("text", "reasoning") and isinstance(words, str):
            last = self.texts[-1] if self.texts else None
            if last is not None and self.parts[-1]["type"] == kind:
                last.add(words)
                return
            self._append(part, Text(words))
        else:
            self._append(part, None)

    def take_text(self, words: str) -> None:
        """Add a piece of text."""
        last = self.texts[-1] if self.texts else None
        if last is not None and self.parts[-1]["type"] == "text":
            last.add(words)
        else:
            self._append({"type": "text", "content": words}, Text(words))

    def _append(self, part: Part, words: Text | None) -> None:
        if len(self.parts) < SLOTS_KEPT:
            self.parts.append(part)
            self.texts.append(words)

    def message(self) -> dict[str, Any]:
        found = [
            part if words is None else {**part, "content": words.joined()}
            for part, words in zip(self.parts, self.texts, strict=True)
        ]
        return {"role": self.role, "parts": found, "finish_reason": self.finish}


class GenerateStream:
    """Accumulate chunks of generate_content_stream; a whole answer is a stream of one."""

    def __init__(self) -> None:
        self._candidates: dict[int, _Candidate] = {}
        self._counts: dict[str, Any] = {}
        self._before: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._error: tuple[str, str] | None = None
        self._blocked: str | None = None
        self._extra: dict[str, Any] = {}

    def feed(self, piece: Any) -> list[Piece]:
        """Take one chunk."""
        found: list[Piece] = []
        try:
            known = fields(piece)
            get = known.get
            if self._model is None:
                self._model = text(either(known, "model_version", "modelVersion"))
            response_id = either(known, "response_id", "responseId")
            if response_id is not None and response_id != self._id:
                self._take_id(text(response_id))
            usage = either(known, "usage_metadata", "usageMetadata")
            if usage is not None:
                self._take_usage(fields(usage))
            if get("prompt_feedback") is not None or get("promptFeedback") is not None:
                self._blocked = _block_reason(known) or self._blocked
            error = get("error")
            if error is not None:
                self._error = read_error(error) or self._error
            for raw in items(get("candidates")):
                self._take(fields(raw), found)
        except Exception as error:
            faulty(error)
            return []
        return found

    def _take_usage(self, said: Fields) -> None:
        """Note the fields that are said; they are read once, at the end, because every chunk has them."""
        counts = self._counts
        known = cast("dict[str, Any]", said) if type(said) is dict else None
        for name, value in known.items() if known else ((n, said.get(n)) for n in _NAMES):
            if value is not None and name in _NAMES:
                counts[name] = value

    def _take_id(self, response_id: str | None) -> None:
        """Note the response's id. The library calls functions by itself and goes on: the next answer,
        under another id in the same stream, has a usage of its own."""
        if response_id is None or response_id == self._id:
            return
        ended = any(candidate.finish is not None for candidate in self._candidates.values())
        if self._id is not None and ended:
            self._before = total(self._before, read_usage(self._counts))
            self._counts = {}
        self._id = response_id

    def _take(self, raw: Fields, found: list[Piece]) -> None:
        index = raw.get("index")
        if type(index) is not int:
            index = 0
        candidate = self._candidates.get(index)
        if candidate is None:
            if len(self._candidates) >= SLOTS_KEPT:
                return
            candidate = self._candidates[index] = _Candidate()
        finish = either(raw, "finish_reason", "finishReason")
        if finish is not None and (said := text(finish)) and said != "FINISH_REASON_UNSPECIFIED":
            candidate.finish = said
        content = raw.get("content")
        if content is None:
            return
        parts = items(fields(content).get("parts"))
        if len(parts) == 1:  # most chunks: one piece of text
            only = fields(parts[0])
            words = only.get("text")
            if type(words) is str and words and only.get("thought") is not True:
                candidate.take_text(words)
                found.append(Piece("output", words))
                return
        for part in parts_of(parts):
            candidate.take(part)
            words = part.get("content")
            if isinstance(words, str) and words:
                if part["type"] == "text":
                    found.append(Piece("output", words))
                elif part["type"] == "reasoning":
                    found.append(Piece("reasoning", words))

    def reading(self) -> Reading:
        """Return what is known so far. A prompt that was refused has the reason as its finish."""
        found = [self._candidates[index] for index in sorted(self._candidates)]
        finishes = [candidate.finish for candidate in found if candidate.finish is not None]
        if not finishes and self._blocked:
            finishes = [self._blocked]
        return Reading(
            provider="gcp.gen_ai",
            operation="generate_content",
            response_model=self._model,
            response_id=self._id,
            finish_reasons=finishes,
            usage=total(self._before, read_usage(self._counts)),
            messages=[candidate.message() for candidate in found],
            error=self._error,
            incomplete=not finishes and self._error is None,
            extra=dict(self._extra),
        )


def read_answer(answer: Any) -> Reading:
    """Read a whole answer."""
    stream = GenerateStream()
    stream.feed(answer)
    reading = stream.reading()
    reading.incomplete = False
    return reading


def read_embeddings(known: Fields) -> Reading:
    """Read the answer of embed_content, whose texts say their own token counts (Vertex AI)."""
    found = items(known.get("embeddings")) or [known.get("embedding")]
    counts = [
        count(either(fields(fields(item).get("statistics")), "token_count", "tokenCount"))
        for item in found
    ]
    usage = read_usage(either(known, "usage_metadata", "usageMetadata"))
    if usage is None and (tokens := added(*counts)) is not None:
        usage = Usage(input_tokens=tokens)
    reading = Reading(provider="gcp.gen_ai", operation="embeddings", usage=usage)
    values = items(fields(found[0]).get("values")) if found else []
    if values:
        reading.extra["gen_ai.embeddings.dimension.count"] = len(values)
    return reading
