"""What was read from an LLM provider's answer, whatever its library, and how unknown shapes are read.

Everything here is total: a field that is absent, of another type, or whose access raises is "not
said" (None), never an error. Nothing here keeps or changes what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, Protocol, cast

import msgspec

from lumina_stream.recording.context import active
from lumina_stream.recording.values import type_of

Channel = Literal["output", "reasoning", "tool"]


class Usage(msgspec.Struct):
    """Tokens of one call; None is "not said", which is not 0.

    `input_tokens` includes what came from or went into a cache, `output_tokens` includes reasoning,
    as OpenTelemetry has it, whatever the provider's own way of counting.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    total_tokens: int | None = None
    billed_input: int | None = None
    billed_output: int | None = None

    def says_anything(self) -> bool:
        """Whether any field was said."""
        return self != _UNSAID

    def merged(self, later: Usage) -> Usage:
        """Return the two field by field: the later one where it says something."""
        said = {n: v for n in self.__struct_fields__ if (v := getattr(later, n)) is not None}
        return msgspec.structs.replace(self, **said)


_UNSAID = Usage()


class Piece(msgspec.Struct):
    """Text that one piece of a stream adds to one channel; `tool` carries arguments as JSON text."""

    channel: Channel
    text: str


class Reading(msgspec.Struct):
    """What one answer said. Finish reasons are the provider's own words, one a choice."""

    provider: str | None = None
    operation: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: list[str] = []
    usage: Usage | None = None
    messages: list[dict[str, Any]] = []
    """GenAI output messages: `{"role", "parts": [{"type": "text", "content"}, ...], "finish_reason"}`."""
    error: tuple[str, str] | None = None
    """Type and message of an error that the answer itself carries (inside HTTP 200, or failed)."""
    incomplete: bool = False
    """A stream that has not said its last word."""
    extra: dict[str, Any] = {}
    """Further attributes, under their full names."""


class Accumulator(Protocol):
    """Read a stream's pieces one after the other. Neither call raises."""

    def feed(self, piece: Any) -> list[Piece]:
        """Take one piece as the library gave it; return the text that it adds, often one Piece."""
        ...

    def reading(self) -> Reading:
        """Return what is known so far; may be called at any time, and more than once."""
        ...


# --- reading unknown shapes --------------------------------------------------------------------------


class Attributes:
    """An object's attributes, or a foreign mapping's items, read as a dictionary's `get` would."""

    __slots__ = ("_is_mapping", "_source")

    def __init__(self, source: Any) -> None:
        self._source = source
        self._is_mapping = isinstance(source, Mapping)

    def get(self, name: str) -> Any:
        """Return the field, None where there is none or reading it fails."""
        try:
            if self._is_mapping:
                return self._source[name]
            return getattr(self._source, name, None)
        except Exception:
            return None


class Fields(Protocol):
    """What `fields` returns: a dictionary, or something that answers like one."""

    def get(self, name: str, /) -> Any:
        """Return the field, None where there is none."""
        ...


SEQUENCES = (list, tuple)
"""For `isinstance`: a union written in its place would be made anew at every call."""
NOTHING: dict[str, Any] = {}
_SCALARS = frozenset({str, int, float, bool})


def fields(value: Any) -> Fields:
    """Return a view of a dictionary's, SDK object's or any other object's fields.

    Models of pydantic keep what the class does not know (`reasoning_content` of an OpenAI-compatible
    server) apart, and a miss by `getattr` there costs more than all the rest of a piece.
    """
    if value is None:
        return NOTHING
    kind = type_of(value)
    if kind is dict:
        return value
    if kind in _SCALARS:
        return NOTHING
    try:
        extra = value.__pydantic_extra__
        if extra is None:
            return value.__dict__
        if type_of(extra) is dict:
            return {**value.__dict__, **extra} if extra else value.__dict__
    except Exception:
        pass
    return Attributes(value)


def text(value: Any) -> str | None:
    """Return a string (or a string enumeration's value), None for anything else."""
    if type(value) is str:
        return value
    if value is None:
        return None
    try:
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, str):
            return str.__str__(value)
    except Exception:
        pass
    return None


def count(value: Any) -> int | None:
    """Return a non-negative whole number, None for anything else; `5.0` is 5 (Cohere counts so)."""
    kind = type_of(value)
    if kind is int:
        return value if 0 <= value <= 0x7FFFFFFFFFFFFFFF else None
    if kind is float:
        return int(value) if 0 <= value < 2**53 else None
    return None


def items(value: Any) -> list[Any]:
    """Return a list's or tuple's items; anything else has none."""
    if type(value) is list:
        return cast("list[Any]", value)
    if value is not None and isinstance(value, SEQUENCES):
        return list(cast("list[Any]", value))
    return []


def mapping(value: Any) -> dict[str, Any]:
    """Return a plain dictionary as it is; anything else is an empty one."""
    return cast("dict[str, Any]", value) if type(value) is dict else NOTHING


def added(*counts: int | None) -> int | None:
    """Return the sum of what was said, None when nothing was."""
    said = [number for number in counts if number is not None]
    return sum(said) if said else None


def total(one: Usage | None, other: Usage | None) -> Usage | None:
    """Return the sum of two usages, field by field."""
    if one is None or other is None:
        return other if one is None else one
    names = one.__struct_fields__
    return Usage(**{name: added(getattr(one, name), getattr(other, name)) for name in names})


MOST_ELEMENTS = 4096
DEEPEST = 12


def plain(value: Any) -> Any:
    """Return plain data for JSON: models become dictionaries without what is None; bounded."""
    return _plain(value, DEEPEST, [MOST_ELEMENTS])


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    kind = type_of(value)
    if value is None or kind is str or kind is int or kind is float or kind is bool:
        return value
    if depth <= 0 or budget[0] <= 0:
        return "…"
    budget[0] -= 1
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(cast('bytes', value))} bytes>"
    if isinstance(value, Enum):
        return _plain(value.value, depth - 1, budget)
    if isinstance(value, SEQUENCES):
        return [_plain(v, depth - 1, budget) for v in cast("list[Any]", value)[: budget[0]]]
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, item in list(cast("Mapping[Any, Any]", value).items())[: budget[0]]:
            found[key if type(key) is str else str(key)] = _plain(item, depth - 1, budget)
        return found
    known = fields(value)
    if isinstance(known, dict):
        model = cast("dict[str, Any]", known)
        return {k: _plain(v, depth - 1, budget) for k, v in model.items() if v is not None}
    if isinstance(value, str | int | float):
        return value
    return value  # the recorder's own cleaning shows what it is


TEXT_KEPT = 1 << 20
"""Characters of one text that an accumulator keeps; an attribute holds far less, the rest is counted."""
SLOTS_KEPT = 256
"""Choices, blocks and tool calls of one stream that are kept apart."""


class Text:
    """A text that arrives in pieces: the beginning is kept, all of it is counted."""

    __slots__ = ("_pieces", "length")

    def __init__(self, first: str = "") -> None:
        self._pieces: list[str] = []
        self.length = 0
        if first:
            self.add(first)

    def add(self, piece: str) -> None:
        """Add one piece."""
        if self.length < TEXT_KEPT:
            self._pieces.append(piece)
        self.length += len(piece)

    def joined(self) -> str:
        """Return the beginning that was kept."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0][:TEXT_KEPT] if self._pieces else ""


def faulty(error: Exception) -> None:
    """Count a reader's own mistake, where the runtime counts its others."""
    recorder = active.recorder
    if recorder is not None:
        recorder.fault(error)
