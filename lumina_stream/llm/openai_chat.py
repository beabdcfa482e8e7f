"""OpenAI's chat completions, and everything of that shape: Azure, Mistral, Groq, DeepSeek, xAI, vLLM,
OpenRouter, LiteLLM. Also legacy completions, embeddings, and the usage objects of the whole family.

A stream says its usage only when asked to (`include_usage`), in a chunk without choices, or, with some
servers, in the last chunk or in every one; a stream without usage has none here either.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from lumina_stream.llm.parts import (
    parts_of,
    parts_of_message,
    reasoning_part,
    text_part,
    tool_call_part,
)
from lumina_stream.llm.shape import (
    NOTHING,
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


def read_usage(value: Any) -> Usage | None:
    """Read the usage object of chat completions, responses, embeddings, images or transcriptions.

    Input and output include cache and reasoning already, with one exception: xAI counts reasoning
    beside the completion, which its total shows.
    """
    if value is None:
        return None
    said = fields(value)
    get = said.get
    inner = fields(
        get("prompt_tokens_details") or get("input_tokens_details") or get("input_token_details")
    )
    outer = fields(
        get("completion_tokens_details")
        or get("output_tokens_details")
        or get("output_token_details")
    )
    taken = _first(said, "prompt_tokens", "input_tokens")
    made = _first(said, "completion_tokens", "output_tokens")
    total_tokens = count(get("total_tokens"))
    cached = count(inner.get("cached_tokens"))
    if cached is None:
        cached = _first(said, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    written = _first(inner, "cache_write_tokens", "cache_creation_tokens")
    if written is None:
        written = count(get("cache_creation_input_tokens"))
    thought = count(outer.get("reasoning_tokens"))
    if thought is None:
        thought = count(get("reasoning_tokens"))
    if (
        thought
        and taken is not None
        and made is not None
        and total_tokens == taken + made + thought
    ):
        made += thought
    usage = Usage(
        input_tokens=taken,
        output_tokens=made,
        total_tokens=total_tokens,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=thought,
        audio_input_tokens=count(inner.get("audio_tokens")),
        audio_output_tokens=count(outer.get("audio_tokens")),
    )
    return usage if usage.says_anything() else None


def _first(known: Fields, *names: str) -> int | None:
    get = known.get
    for name in names:
        value = get(name)
        if value is not None and (number := count(value)) is not None:
            return number
    return None


def provider_of(answer: Any, known: Fields) -> str:
    """Return whose answer it is, as far as it shows: the protocol's owner unless something says more."""
    if known.get("x_groq") is not None:
        return "groq"
    if text(known.get("provider")) is not None:
        return "openrouter"
    module = type(answer).__module__
    if isinstance(module, str) and module.partition(".")[0] == "mistralai":
        return "mistral_ai"
    if known.get("prompt_filter_results") is not None:
        return "azure.ai.openai"
    return _maker(text(known.get("model")) or "")


@lru_cache(256)
def _maker(model: str) -> str:
    model = model.lower()
    for start, provider in _FAMILIES:
        if model.startswith(start):
            return provider
    return "openai"


_FAMILIES = (
    ("mistral", "mistral_ai"),
    ("open-mi", "mistral_ai"),
    ("codestral", "mistral_ai"),
    ("ministral", "mistral_ai"),
    ("magistral", "mistral_ai"),
    ("devstral", "mistral_ai"),
    ("pixtral", "mistral_ai"),
    ("deepseek", "deepseek"),
    ("grok", "x_ai"),
    ("sonar", "perplexity"),
    ("kimi", "moonshot_ai"),
    ("moonshot", "moonshot_ai"),
)


def read_error(value: Any) -> tuple[str, str] | None:
    """Read an error object: `{"type" or "code", "message"}`, or its text alone."""
    if value is None:
        return None
    said = text(value)
    if said is not None:
        return ("error", said) if said else None
    known = fields(value)
    message = text(known.get("message"))
    kind = text(known.get("type")) or text(known.get("code")) or text(known.get("status"))
    if kind is None:
        code = count(known.get("code"))
        kind = None if code is None else str(code)
    if message is None and kind is None:
        return None
    return kind or "error", message or ""


def extra_of(known: Fields, usage: Any) -> dict[str, Any]:
    """Return what OpenAI's own attributes say, and the cost where the server says it."""
    extra: dict[str, Any] = {}
    tier = text(known.get("service_tier"))
    if tier:
        extra["openai.response.service_tier"] = tier
    fingerprint = text(known.get("system_fingerprint"))
    if fingerprint:
        extra["openai.response.system_fingerprint"] = fingerprint
    cost: Any = fields(usage).get("cost")  # OpenRouter says what it charged
    if type(cost) in (int, float) and cost >= 0:
        extra["gen_ai.usage.cost"] = cost
    return extra


def usage_of(known: Fields) -> Any:
    """Return the raw usage object of an answer or chunk; Groq puts a stream's under `x_groq`."""
    usage = known.get("usage")
    return fields(known.get("x_groq")).get("usage") if usage is None else usage


def read_chat(answer: Any, known: Fields) -> Reading:
    """Read a chat completion, or a legacy completion (`text` instead of `message`)."""
    raw_usage = usage_of(known)
    reading = Reading(
        provider=provider_of(answer, known),
        operation="chat",
        response_model=text(known.get("model")),
        response_id=text(known.get("id")),
        usage=read_usage(raw_usage),
        error=read_error(known.get("error")),
        extra=extra_of(known, raw_usage),
    )
    for raw in items(known.get("choices"))[:SLOTS_KEPT]:
        choice = fields(raw)
        finish = text(choice.get("finish_reason"))
        message = choice.get("message")
        if message is not None:
            said = fields(message)
            role = text(said.get("role")) or "assistant"
            found = parts_of_message(said)
        else:
            reading.operation = "text_completion"
            role, found = "assistant", parts_of(choice.get("text"))
        if finish is not None:
            reading.finish_reasons.append(finish)
        reading.messages.append({"role": role, "parts": found, "finish_reason": finish})
    return reading


def read_embeddings(answer: Any, known: Fields) -> Reading:
    """Read an embeddings answer: usage and the number of dimensions, never the vectors."""
    reading = Reading(
        provider=provider_of(answer, known),
        operation="embeddings",
        response_model=text(known.get("model")),
        response_id=text(known.get("id")),
        usage=read_usage(known.get("usage")),
    )
    data = items(known.get("data"))
    vector = items(fields(data[0]).get("embedding")) if data else []
    if vector:
        reading.extra["gen_ai.embeddings.dimension.count"] = len(vector)
    return reading


class _Call:
    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id: str | None = None
        self.name: str | None = None
        self.arguments: Text | Any = Text()


class _Choice:
    __slots__ = ("calls", "finish", "reasoning", "refusal", "role", "text")

    def __init__(self) -> None:
        self.role = "assistant"
        self.text = Text()
        self.reasoning = Text()
        self.refusal = Text()
        self.calls: dict[Any, _Call] = {}
        self.finish: str | None = None

    def message(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        if self.reasoning.length:
            found.append(reasoning_part(self.reasoning.joined()))
        if self.text.length:
            found.append(text_part(self.text.joined()))
        if self.refusal.length:
            found.append({"type": "refusal", "content": self.refusal.joined()})
        for call in self.calls.values():
            arguments = call.arguments
            said = arguments.joined() if isinstance(arguments, Text) else arguments
            found.append(tool_call_part(call.call_id, call.name, said))
        return {"role": self.role, "parts": found, "finish_reason": self.finish}


def _says_one_thing(known: Fields) -> bool:
    said = 0
    for value in cast("dict[str, Any]", known).values() if type(known) is dict else ():
        if value is not None:
            said += 1
    return said == 1


class ChatStream:
    """Accumulate chat completion chunks, Mistral's events and the openai library's helper events."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._raw_usage: Any = None
        self._known: Fields = NOTHING
        self._provider: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._extra: dict[str, Any] = {}
        self._error: tuple[str, str] | None = None
        self._operation = "chat"

    def feed(self, piece: Any) -> list[Piece]:
        """Take one chunk."""
        found: list[Piece] = []
        try:
            known = fields(piece)
            choices = known.get("choices")
            if choices is None:
                inner = known.get("data")  # Mistral
                if inner is None and known.get("type") == "chunk":
                    inner = known.get(
                        "chunk"
                    )  # the openai library's helper; its other events repeat
                if inner is not None:
                    piece, known = inner, fields(inner)
                    choices = known.get("choices")
            if self._provider is None and (choices or known.get("model")):
                self._begin(piece, known)
            if known.get("usage") is not None or known.get("x_groq") is not None:
                self._take_usage(piece, known)
            if choices is None:
                error = read_error(known.get("error"))
                if error is not None:
                    self._error = error
            for raw in items(choices):
                self._take_choice(fields(raw), found)
        except Exception as error:
            faulty(error)
            return []
        return found

    def _begin(self, piece: Any, known: Fields) -> None:
        model = text(known.get("model"))
        if self._model is None and model:
            self._model = model
        if self._id is None:
            self._id = text(known.get("id")) or None
        if items(known.get("choices")):  # Azure opens with a chunk that only filters the prompt
            self._provider = self._provider or provider_of(piece, known)
        if known.get("prompt_filter_results") is not None:
            self._provider = "azure.ai.openai"
        self._extra |= extra_of(known, None)

    def _take_usage(self, piece: Any, known: Fields) -> None:
        raw = usage_of(known)
        usage = read_usage(raw)
        if usage is not None:
            self._usage = usage if self._usage is None else self._usage.merged(usage)
            self._extra |= extra_of(known, raw)
        if known.get("x_groq") is not None:
            self._provider = "groq"
            error = text(fields(known.get("x_groq")).get("error"))
            if error:
                self._error = ("error", error)

    def _take_choice(self, raw: Fields, found: list[Piece]) -> None:
        index = raw.get("index")
        if type(index) is not int:
            index = 0
        choice = self._choices.get(index)
        if choice is None:
            if len(self._choices) >= SLOTS_KEPT:
                return
            choice = self._choices[index] = _Choice()
        finish = raw.get("finish_reason")
        if finish is not None:
            choice.finish = text(finish) or choice.finish
        delta = raw.get("delta")
        if delta is None:
            self._take_text(raw, choice, found)
            return
        said = fields(delta)
        content = said.get("content")
        if type(content) is str:
            if content:
                choice.text.add(content)
                found.append(Piece("output", content))
                if _says_one_thing(said):
                    return  # as most pieces do: words, and nothing else
        elif content is not None:
            for part in parts_of(content):
                words = text(part.get("content")) or ""
                reasons = part["type"] == "reasoning"
                (choice.reasoning if reasons else choice.text).add(words)
                if words:
                    found.append(Piece("reasoning" if reasons else "output", words))
        thought = said.get("reasoning_content") or said.get("reasoning")
        if type(thought) is str:
            choice.reasoning.add(thought)
            found.append(Piece("reasoning", thought))
        calls = said.get("tool_calls")
        if calls:
            for call in items(calls):
                self._take_call(fields(call), choice, found)
        self._take_rest(said, choice, found)

    def _take_text(self, raw: Fields, choice: _Choice, found: list[Piece]) -> None:
        """Take a legacy completion's chunk, or a whole message where a chunk was to come."""
        words = text(raw.get("text"))
        if words:
            self._operation = "text_completion"
            choice.text.add(words)
            found.append(Piece("output", words))
        message = raw.get("message")
        if message is not None:
            for part in parts_of_message(fields(message)):
                words = text(part.get("content"))
                if words and part["type"] == "text":
                    choice.text.add(words)
                    found.append(Piece("output", words))

    def _take_rest(self, said: Fields, choice: _Choice, found: list[Piece]) -> None:
        refusal = said.get("refusal")
        if type(refusal) is str and refusal:
            choice.refusal.add(refusal)
            found.append(Piece("output", refusal))
        audio = said.get("audio")
        if audio is not None:
            transcript = text(fields(audio).get("transcript"))
            if transcript:
                choice.text.add(transcript)
                found.append(Piece("output", transcript))
        called = said.get("function_call")
        if called is not None:
            self._take_call({"index": -1, "function": called}, choice, found)

    def _take_call(self, raw: Fields, choice: _Choice, found: list[Piece]) -> None:
        """Take a tool call's piece: by index, and by id where a server does not count (Mistral, Gemini)."""
        call_id = text(raw.get("id")) or None
        key: Any = raw.get("index")
        if type(key) is not int:
            key = call_id if call_id is not None else next(reversed(choice.calls), 0)
        call = choice.calls.get(key)
        if call is not None and call_id and call.call_id and call.call_id != call_id:
            key = (key, call_id)  # several whole calls, all said to be number 0
            call = choice.calls.get(key)
        if call is None:
            if len(choice.calls) >= SLOTS_KEPT:
                return
            call = choice.calls[key] = _Call()
        call.call_id = call.call_id or call_id
        function = fields(raw.get("function") or raw.get("custom"))
        name = text(function.get("name"))
        if name:
            call.name = name if call.name is None else call.name
        arguments = function.get("arguments")
        if arguments is None:
            arguments = function.get("input")
        said = text(arguments)
        if said is None:
            if arguments is not None:
                call.arguments = arguments  # an object, whole
        elif said and isinstance(call.arguments, Text):
            call.arguments.add(said)
            found.append(Piece("tool", said))

    def reading(self) -> Reading:
        """Return what is known so far."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        return Reading(
            provider=self._provider or "openai",
            operation=self._operation,
            response_model=self._model,
            response_id=self._id,
            finish_reasons=[choice.finish for choice in choices if choice.finish is not None],
            usage=self._usage,
            messages=[choice.message() for choice in choices],
            error=self._error,
            incomplete=not choices or any(choice.finish is None for choice in choices),
            extra=dict(self._extra),
        )
