"""By which attributes a trace is found: short scalars of any of its spans, as digests of `key=value`.

A digest is 8 bytes, so that a trace with a hundred attributes costs the store one small row. That two
different attributes have one digest happens once in more traces than a relay will ever see.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from lumina_stream.model.node import SpanNode

MOST = 1_024
"""Attributes by which one trace is found, those that came first: 8 KiB. A trace has more if its spans
say things like row numbers, by which nobody looks for a trace."""
LENGTH = 128
"""Characters of a key, and of a value that is a label rather than content."""
SIZE = 8

_SCALARS = frozenset((str, int, bool))

Digests = dict[bytes, None]
"""A set that keeps its order."""


def add_digests(digests: Digests, nodes: Iterable[SpanNode]) -> None:
    """Add what spans say to the digests of their trace, as far as there is room."""
    for node in nodes:
        for held in node.attribute_list():
            key, value = held.key, held.value
            kind = value.__class__
            if kind is float:  # rare, and not remembered: 0.0 is equal to -0.0
                digest = _digest(key, value)
            elif kind in _SCALARS and not (kind is str and len(value) > LENGTH):
                digest = _remembered(key, kind, value)
            else:
                continue
            if digest is not None:
                if len(digests) >= MOST:
                    return
                digests[digest] = None


def text_of(value: Any) -> str | None:
    """Return how a value is written in a filter, None for what is no short scalar."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value if len(value) <= LENGTH else None
        case int():
            return str(value) if -(1 << 63) <= value < 1 << 64 else None
        case float():
            return repr(value) if math.isfinite(value) else None
        case _:
            return None


@lru_cache(maxsize=16_384)
def _remembered(key: str, kind: type, value: Any) -> bytes | None:
    # By kind too: 1 and True are equal, and written each in its way.
    return _digest(key, value)


def _digest(key: str, value: Any) -> bytes | None:
    text = text_of(value)
    return None if text is None or len(key) > LENGTH else digest_of(f"{key}={text}")


@lru_cache(maxsize=1_024)
def digest_of(pair: str) -> bytes:
    """Return the digest of `key=value`."""
    return blake2b(pair.encode("utf-8", "surrogatepass"), digest_size=SIZE).digest()


def split(blob: bytes) -> Iterator[bytes]:
    """Yield the digests in a row of the store."""
    return (blob[at : at + SIZE] for at in range(0, len(blob), SIZE))
