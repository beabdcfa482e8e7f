"""Trace, span and producer ids: lower-case hex as W3C Trace Context writes them.

Ids are cut from a pool of random bytes, because one `os.urandom` call a span costs more than the
rest of starting it. The pool is emptied after a fork, so that a child never repeats its parent.
"""

import os
import re
from collections.abc import Callable
from typing import Protocol

TRACE_ID_LENGTH = 32
SPAN_ID_LENGTH = 16
_POOL_IDS = 512  # one system call (4 KiB of randomness) per 512 span ids

_TRACE_ID = re.compile(r"[0-9a-f]{32}\Z")
_SPAN_ID = re.compile(r"[0-9a-f]{16}\Z")
_ZERO_TRACE_ID = "0" * TRACE_ID_LENGTH
_ZERO_SPAN_ID = "0" * SPAN_ID_LENGTH


class IdGenerator(Protocol):
    """Draw ids; give `init` another one to make ids predictable in tests."""

    def trace_id(self) -> str:
        """Return 32 lower-case hex digits, not all zero."""
        ...

    def span_id(self) -> str:
        """Return 16 lower-case hex digits, not all zero."""
        ...


class RandomIds:
    """Draw ids from the system's randomness, a pool at a time; safe in threads and signal handlers."""

    __slots__ = ("_pool", "_random")

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._pool: list[str] = []

    def trace_id(self) -> str:
        """Return 32 lower-case hex digits, not all zero."""
        return self.span_id() + self.span_id()

    def span_id(self) -> str:
        """Return 16 lower-case hex digits, not all zero."""
        try:
            return self._pool.pop()
        except IndexError:
            self._fill()
            return self.span_id()

    def forget(self) -> None:
        """Drop what is in the pool: for the child of a fork."""
        self._pool = []

    def _fill(self) -> None:
        # Built aside and added at once: a signal handler that draws meanwhile fills a pool too.
        drawn = self._random(8 * _POOL_IDS).hex()
        ids = [drawn[i : i + 16] for i in range(0, len(drawn), 16)]
        self._pool.extend(i for i in ids if i != _ZERO_SPAN_ID)


class SequentialIds:
    """Count ids upwards from 1: for tests and documentation, never for two processes."""

    __slots__ = ("_spans", "_traces")

    def __init__(self) -> None:
        self._traces = 0
        self._spans = 0

    def trace_id(self) -> str:
        """Return the next trace id."""
        self._traces += 1
        return f"{self._traces:032x}"

    def span_id(self) -> str:
        """Return the next span id."""
        self._spans += 1
        return f"{self._spans:016x}"


def is_trace_id(text: str) -> bool:
    """Tell whether `text` is a valid W3C trace id: 32 lower-case hex digits, not all zero."""
    return _TRACE_ID.match(text) is not None and text != _ZERO_TRACE_ID


def is_span_id(text: str) -> bool:
    """Tell whether `text` is a valid W3C parent id: 16 lower-case hex digits, not all zero."""
    return _SPAN_ID.match(text) is not None and text != _ZERO_SPAN_ID
