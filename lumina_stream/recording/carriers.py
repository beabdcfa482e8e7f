"""A trace across processes: W3C traceparent, tracestate and baggage headers in and out.

`extract` takes headers from anyone and never raises; what is malformed is ignored.
Source: https://www.w3.org/TR/trace-context/ and https://www.w3.org/TR/baggage/
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, cast

import msgspec

from lumina_stream.model.ids import is_span_id, is_trace_id

TRACESTATE_LENGTH = 512
BAGGAGE_LENGTH = 8192
BAGGAGE_ENTRIES = 64

_KEY = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # an RFC 7230 token
_TRACEPARENT = re.compile(
    r"\s*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\s*\Z"
)


class SpanContext(msgspec.Struct, frozen=True):
    """A span of another process: what `extract` found and `trace(parent=...)` goes on from."""

    trace_id: str
    span_id: str
    sampled: bool = True
    tracestate: str = ""
    baggage: dict[str, str] = {}


def is_valid(context: SpanContext) -> bool:
    """Tell whether both ids are what W3C Trace Context allows; the program may have written them."""
    try:
        return is_trace_id(context.trace_id) and is_span_id(context.span_id)
    except TypeError:
        return False


def read_headers(headers: object) -> SpanContext | None:
    """Return the span context that headers carry, None if there is none; never raises.

    `headers`: a mapping of str or bytes, any case, or pairs of them (ASGI's list).
    """
    try:
        found = _wanted(headers)
        match = _TRACEPARENT.match(found.get("traceparent", ""))
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more) or not is_trace_id(trace_id):
            return None
        if not is_span_id(span_id):
            return None
        return SpanContext(
            trace_id,
            span_id,
            bool(int(flags, 16) & 1),
            _read_tracestate(found.get("tracestate", "")),
            _read_baggage(found.get("baggage", "")),
        )
    except Exception:
        return None


def write_headers(
    headers: MutableMapping[str, str],
    trace_id: str,
    span_id: str,
    sampled: bool,
    remote: SpanContext | None,
) -> None:
    """Write the headers of a span; tracestate and baggage go on as they came."""
    headers["traceparent"] = f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"
    if remote is not None and remote.tracestate:
        headers["tracestate"] = remote.tracestate
    if remote is not None and remote.baggage:
        from urllib.parse import quote  # here, like `unquote`: most programs never need it

        members = (f"{k}={quote(v, errors='replace')}" for k, v in remote.baggage.items())
        headers["baggage"] = ",".join(members)


def _wanted(headers: object) -> dict[str, str]:
    given = cast("Any", headers)
    items: Iterable[tuple[Any, Any]] = given.items() if isinstance(headers, Mapping) else given
    found: dict[str, str] = {}
    for key, value in items:
        name = (key.decode("latin-1") if isinstance(key, bytes) else str(key)).lower()
        if name in ("traceparent", "tracestate", "baggage"):
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            found[name] = (
                f"{found[name]},{text}" if name in found and name != "traceparent" else text
            )
    return found


def _read_tracestate(text: str) -> str:
    """Return it with whole members only, and nothing that could not stand in a header."""
    if not (text.isascii() and text.isprintable()):
        return ""
    if len(text) > TRACESTATE_LENGTH:
        text = text[: TRACESTATE_LENGTH + 1].rpartition(",")[0]
    return text.strip()


def _read_baggage(text: str) -> dict[str, str]:
    from urllib.parse import unquote

    baggage: dict[str, str] = {}
    for member in text[:BAGGAGE_LENGTH].split(",")[:BAGGAGE_ENTRIES]:
        key, equals, value = member.partition(";")[0].partition("=")
        if equals and _KEY.match(key.strip()):
            baggage[key.strip()] = unquote(value.strip())
    return baggage
