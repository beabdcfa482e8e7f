"""Read the answer of any LLM provider: an object of its library, a dictionary, or a stream's pieces.

The shape decides, not the class: every OpenAI-compatible server, every version of a client library
and the JSON itself are read by the same code. Nothing here raises; a reader's own mistake is counted
with the runtime's other faults, and the answer is then not recognised.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lumina_stream.llm import (
    anthropic,
    bedrock,
    cohere,
    google,
    ollama,
    openai_chat,
    openai_responses,
    others,
)
from lumina_stream.llm.parts import length_of
from lumina_stream.llm.request import Request, read_request, request_attributes
from lumina_stream.llm.shape import (
    SEQUENCES,
    Accumulator,
    Fields,
    Piece,
    Reading,
    Text,
    Usage,
    faulty,
    fields,
    items,
    text,
)

__all__ = [
    "Accumulator",
    "Piece",
    "Reading",
    "Request",
    "Usage",
    "accumulator_for",
    "attributes_of",
    "read_body",
    "read_request",
    "read_response",
    "request_attributes",
]

BODY_READ = 16 << 20
"""Bytes of an HTTP body that are parsed; a longer one is not read at all."""
_NO_ANSWER, _BODY = (str, int, float, list, tuple), (bytes, bytearray)


def read_response(response: Any) -> Reading | None:
    """Read a whole answer; None for what is not recognised. Nothing of it is consumed or changed.

    Raw-response wrappers and HTTP responses of httpx and requests are read when their body has
    already been loaded.
    """
    try:
        return _read(response, 3)
    except Exception as error:
        faulty(error)
        return None


def _read(response: Any, unwrap: int) -> Reading | None:
    if response is None or isinstance(response, _NO_ANSWER):
        return None
    if isinstance(response, _BODY):
        return read_body(bytes(response))
    known = fields(response)
    reading = _read_known(response, known)
    if reading is None and unwrap > 0:
        reading = _unwrapped(response, known, unwrap - 1)
    return reading


def _read_known(response: Any, known: Fields) -> Reading | None:
    if isinstance(known.get("choices"), SEQUENCES):
        return openai_chat.read_chat(response, known)
    kind = known.get("object")
    if kind == "response" or (isinstance(known.get("output"), list) and text(known.get("status"))):
        return openai_responses.read_responses(response, known)
    if known.get("type") == "message" and isinstance(known.get("content"), SEQUENCES):
        return anthropic.read_message(known)
    other = others.read(response, known)
    if other is not None:
        return other
    if google.is_answer(known):
        return google.read_answer(response)
    if cohere.is_answer(known):
        return cohere.read_chat(known)
    if cohere.is_other(known):
        return cohere.read_other(known)
    if ollama.is_answer(known):
        return ollama.read_answer(response)
    if bedrock.is_answer(known):
        return bedrock.read_converse(known)
    if _has_vectors(known.get("data"), "embedding"):
        return openai_chat.read_embeddings(response, known)
    if ollama.is_embeddings(known):
        return ollama.read_embeddings(known)
    if _has_vectors(known.get("embeddings"), "values"):
        return google.read_embeddings(known)
    if bedrock.is_native(known) or _has_vectors(known.get("results"), "outputText"):
        return _read_all(bedrock.NativeStream(), [response])
    return _read_rest(response, known)


def _read_rest(response: Any, known: Fields) -> Reading | None:
    """Read what says a usage or an error and is of no known shape otherwise."""
    error = openai_chat.read_error(known.get("error"))
    usage = openai_chat.read_usage(known.get("usage"))
    metrics = _bedrock_headers(known)
    if usage is None and error is None and metrics is None:
        return None
    reading = Reading(
        response_model=text(known.get("model")),
        response_id=text(known.get("id")) or bedrock.request_id(known),
        usage=usage or metrics,
        error=error,
    )
    if metrics is not None:
        reading.provider = "aws.bedrock"
    elif type(response).__module__.partition(".")[0] in ("openai", "anthropic"):
        reading.provider = type(response).__module__.partition(".")[0]
    return reading


def _bedrock_headers(known: Fields) -> Usage | None:
    """Return the counts that InvokeModel says in its headers: its body is for the program to read."""
    headers = fields(fields(known.get("ResponseMetadata")).get("HTTPHeaders"))
    counts: dict[str, int | None] = {}
    for name in ("input", "output"):
        said = text(headers.get(f"x-amzn-bedrock-{name}-token-count"))
        counts[name] = int(said) if said and said.isdecimal() and len(said) < 16 else None
    usage = Usage(input_tokens=counts["input"], output_tokens=counts["output"])
    return usage if usage.says_anything() else None


def _has_vectors(value: Any, name: str) -> bool:
    found = items(value)
    return bool(found) and fields(found[0]).get(name) is not None


def _unwrapped(response: Any, known: Fields, unwrap: int) -> Reading | None:
    """Read what a wrapper holds: a body that was loaded, or another library's answer."""
    own: dict[str, Any] = getattr(response, "__dict__", None) or {}
    for name in ("_content", "_body", "_data"):  # httpx and requests; aiohttp; cohere
        body = own.get(name)
        if isinstance(body, bytes):
            headers = fields(own.get("headers"))
            return read_body(body, text(headers.get("content-type")))
        if body is not None and name == "_data":
            return _read(body, unwrap)
    for name in ("http_response", "raw", "data", "body"):
        inner = known.get(name)
        if isinstance(inner, str):
            return read_body(inner)
        if inner is not None and not callable(inner):
            reading = _read(inner, unwrap)
            if reading is not None:
                return reading
    return None


# --- streams ------------------------------------------------------------------------------------------


def accumulator_for(first_piece: Any) -> Accumulator:
    """Return the accumulator for a stream by its first piece, which is still to be fed to it.

    For an unknown piece: one that looks at the next pieces too, and otherwise only counts.
    """
    try:
        found = _recognised(first_piece)
        if found is not None:
            return found
    except Exception as error:
        faulty(error)
    return UnknownStream()


def _recognised(piece: Any) -> Accumulator | None:
    if isinstance(piece, str):
        return TextStream()
    known = fields(piece)
    if isinstance(known.get("choices"), SEQUENCES):
        return openai_chat.ChatStream()
    kind = text(known.get("type"))
    if kind is not None:
        if kind in anthropic.STREAM_TYPES:
            return anthropic.MessageStream()
        if kind.startswith(("response.", "transcript.text.")):
            return openai_responses.ResponsesStream()
        if kind in cohere.STREAM_TYPES:
            return cohere.ChatStream()
        if kind == "chunk" and known.get("chunk") is not None:
            return openai_chat.ChatStream()
        if kind == "error":
            has_object = known.get("error") is not None and known.get("code") is None
            return anthropic.MessageStream() if has_object else openai_responses.ResponsesStream()
    if text(known.get("event_type")) in ("stream-start", "text-generation"):
        return cohere.ChatStream()
    if isinstance(fields(known.get("data")).get("choices"), SEQUENCES):
        return openai_chat.ChatStream()
    other = others.accumulator(piece, known)
    if other is not None:
        return other
    if google.is_answer(known):
        return google.GenerateStream()
    if bedrock.is_chunk(known):
        return bedrock.InvokeStream(accumulator_for)
    if bedrock.is_event(piece):
        return bedrock.ConverseStream()
    if ollama.is_answer(known):
        return ollama.ChatStream()
    if bedrock.is_native(known):
        return bedrock.NativeStream()
    return None


class TextStream:
    """Accumulate a stream of bare text, such as a library's `text_stream`."""

    def __init__(self) -> None:
        self._text = Text()

    def feed(self, piece: Any) -> list[Piece]:
        """Take one piece of text."""
        words = text(piece)
        if not words:
            return []
        self._text.add(words)
        return [Piece("output", words)]

    def reading(self) -> Reading:
        """Return the text so far. Its end is not in it: it is never complete by itself."""
        said = [{"type": "text", "content": self._text.joined()}] if self._text.length else []
        return Reading(messages=[{"role": "assistant", "parts": said, "finish_reason": None}])


class UnknownStream:
    """Count pieces until one is recognised; from then on be that stream's accumulator."""

    LOOKS = 64
    """Pieces that are looked at; a stream of another kind must not pay for ever."""

    def __init__(self) -> None:
        self._inner: Accumulator | None = None
        self._pieces = 0
        self._error: tuple[str, str] | None = None

    def feed(self, piece: Any) -> list[Piece]:
        """Take one piece."""
        self._pieces += 1
        if self._inner is None:
            if self._pieces > self.LOOKS:
                return []
            try:
                self._inner = _recognised(piece)
                if self._inner is None:
                    self._error = openai_chat.read_error(fields(piece).get("error")) or self._error
            except Exception as error:
                faulty(error)
        return [] if self._inner is None else self._inner.feed(piece)

    def reading(self) -> Reading:
        """Return what is known so far: nothing but errors and the number of pieces, where unknown."""
        if self._inner is not None:
            return self._inner.reading()
        return Reading(error=self._error, extra={"lumina.stream.pieces": self._pieces})


def _read_all(accumulator: Accumulator, pieces: list[Any]) -> Reading:
    for piece in pieces:
        accumulator.feed(piece)
    return accumulator.reading()


# --- bodies -------------------------------------------------------------------------------------------


def read_body(body: bytes | str, content_type: str | None = None) -> Reading | None:
    """Read an HTTP body: JSON, server-sent events, or a JSON object a line. Never raises."""
    try:
        if len(body) > BODY_READ:
            return None
        said = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        start = said[:64].lstrip("\ufeff \r\n\t")
        if start.startswith(("data:", "event:", ":", "id:")):
            return _read_pieces(_events(said))
        if not start.startswith(("{", "[")):
            return None
        try:
            whole: Any = msgspec.json.decode(said)
        except ValueError:
            return _read_pieces([_decoded(line) for line in said.split("\n") if line.strip()])
        if isinstance(whole, list):  # Gemini without alt=sse streams one JSON array
            return _read_pieces(items(whole))
        return _read(whole, 0)
    except Exception as error:
        faulty(error)
        return None


def _events(said: str) -> list[Any]:
    """Return the data of server-sent events; a line that is no JSON is left out."""
    found: list[Any] = []
    data: list[str] = []
    for line in said.replace("\r\n", "\n").split("\n"):
        if line.startswith("data:"):
            data.append(line[5:].strip())
        elif not line and data:
            found.append(_decoded("\n".join(data)))
            data = []
    if data:
        found.append(_decoded("\n".join(data)))
    return found


def _decoded(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except ValueError:
        return None


def _read_pieces(pieces: list[Any]) -> Reading | None:
    pieces = [piece for piece in pieces if piece is not None]
    if not pieces:
        return None
    accumulator = UnknownStream()
    reading = _read_all(accumulator, pieces)
    return None if "lumina.stream.pieces" in reading.extra and not reading.error else reading


# --- attributes ---------------------------------------------------------------------------------------

_USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "cache_write_5m_tokens": "gen_ai.usage.cache_creation.ephemeral_5m.input_tokens",
    "cache_write_1h_tokens": "gen_ai.usage.cache_creation.ephemeral_1h.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "audio_input_tokens": "gen_ai.usage.audio.input_tokens",
    "audio_output_tokens": "gen_ai.usage.audio.output_tokens",
    "total_tokens": "gen_ai.usage.total_tokens",
    "billed_input": "cohere.usage.billed_input_tokens",
    "billed_output": "cohere.usage.billed_output_tokens",
}
"""The conventions' names; what they have none for (lifetimes, total, billed units) is named alike."""
_USAGE_NAMES = tuple(_USAGE[field] for field in Usage.__struct_fields__)


def attributes_of(reading: Reading, *, content: bool = True) -> dict[str, Any]:
    """Return a reading as OpenTelemetry GenAI attributes.

    With `content=False` no text of the answer is in it: `gen_ai.output.messages.length` instead of
    the messages, and an error's type without its message.
    """
    found: dict[str, Any] = {}
    for name, value in (
        ("gen_ai.provider.name", reading.provider),
        ("gen_ai.operation.name", reading.operation),
        ("gen_ai.request.model", reading.request_model),
        ("gen_ai.response.model", reading.response_model),
        ("gen_ai.response.id", reading.response_id),
    ):
        if value:
            found[name] = value
    if reading.finish_reasons:
        found["gen_ai.response.finish_reasons"] = list(reading.finish_reasons)
    usage = reading.usage
    if usage is not None:
        for name, number in zip(_USAGE_NAMES, msgspec.structs.astuple(usage), strict=True):
            if number is not None:
                found[name] = number
    found |= reading.extra
    if reading.messages:
        if content:
            found["gen_ai.output.messages"] = reading.messages
        else:
            found["gen_ai.output.messages.length"] = length_of(reading.messages)
    if reading.error is not None:
        found["error.type"] = reading.error[0]
        if content:
            found["error.message"] = reading.error[1]
    return found
