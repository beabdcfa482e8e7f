"""Trace, span and producer ids: lower-case hex as W3C Trace Context writes them."""

import re
from collections.abc import Collection

TRACE_ID_LENGTH = 32
SPAN_ID_LENGTH = 16

_TRACE_ID = re.compile(r"[0-9a-f]{32}\Z")
_SPAN_ID = re.compile(r"[0-9a-f]{16}\Z")
_ZERO_TRACE_ID = "0" * TRACE_ID_LENGTH
_ZERO_SPAN_ID = "0" * SPAN_ID_LENGTH
_DIGITS = b"0123456789abcdef"


def is_trace_id(text: str) -> bool:
    """Tell whether `text` is a valid W3C trace id: 32 lower-case hex digits, not all zero."""
    return _TRACE_ID.match(text) is not None and text != _ZERO_TRACE_ID


def is_span_id(text: str) -> bool:
    """Tell whether `text` is a valid W3C parent id: 16 lower-case hex digits, not all zero."""
    return _SPAN_ID.match(text) is not None and text != _ZERO_SPAN_ID


def are_span_ids(texts: Collection[str]) -> bool:
    """Tell whether `is_span_id` is true of every one: a look at all of them together."""
    joined = "".join(texts)
    return (
        joined.isascii()
        and {*map(len, texts)} <= {SPAN_ID_LENGTH}
        and not joined.encode().translate(None, _DIGITS)
        and _ZERO_SPAN_ID not in texts
    )
