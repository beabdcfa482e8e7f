"""OTLP over HTTP: what an OpenTelemetry exporter posts, and what it is answered.

Spans are stored before they are acknowledged. What cannot be taken is refused span by span, with
the reason; a refusal of the log is answered so that the exporter sends again. Metrics and logs are
answered and counted, not kept: an exporter that sends them must not retry for ever.
"""

import asyncio
import math
import time
import zlib
from typing import TYPE_CHECKING, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lumina_stream.formats import otlp, otlp_json, otlp_protobuf
from lumina_stream.model.errors import DecodeError
from lumina_stream.protocol.pacing import Pace
from lumina_stream.relay.guests import Batch, batches_of
from lumina_stream.relay.log import LogError, LogUnavailable

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

MOST_BYTES = 16 << 20
"""A request's body, compressed or not, as it is decoded: some 20,000 spans."""
INLINE_BYTES = 32 << 10
"""Up to here a body is decoded in the event loop, a millisecond or so; above it in a thread."""
DECODING = 2
"""Large bodies decoded at a time: bounds the memory that they take."""
RETRY_AFTER_S = "1"
FORWARDED_BY = "lumina-relay-id"
"""Header of a request that a relay forwards: one that comes back to its sender is a loop."""

_JSON, _PROTOBUF = "application/json", "application/x-protobuf"
_INVALID, _UNAVAILABLE, _EXHAUSTED = 3, 14, 8  # google.rpc.Code


class _Encoding(Protocol):
    """What `otlp_json` and `otlp_protobuf` have in common."""

    def read(self, data: bytes) -> otlp.Request: ...
    def write_response(self, refused: int, message: str) -> bytes: ...
    def write_status(self, code: int, message: str) -> bytes: ...


_ENCODINGS: dict[str, _Encoding] = {
    _JSON: otlp_json,
    _PROTOBUF: otlp_protobuf,
    "application/protobuf": otlp_protobuf,
}


class OtlpRoutes:
    """The routes at which OpenTelemetry exporters knock."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._decoding = asyncio.Semaphore(DECODING)

    async def traces(self, request: Request) -> Response:
        """Take spans."""
        media, encoding = _negotiated(request)
        counters = self._relay.counters
        try:
            if encoding is None:
                raise _Refused(415, _INVALID, f"content type {media!r}: use {_PROTOBUF} or {_JSON}")
            if request.headers.get(FORWARDED_BY) == self._relay.witness.producer_id:
                raise _Refused(508, _INVALID, "this relay forwards to itself")
            _check_pace(request)
            asked, batches = await self._read(request, encoding)
            await self._store(batches)
        except _Refused as refused:
            counters.otlp_requests_refused += 1
            counters.throttles += refused.status == 429
            return _answer_error(refused, media, encoding or otlp_json)
        taken = sum(len(group.spans) for group in asked.groups)
        counters.otlp_requests += 1
        counters.otlp_spans += taken
        counters.otlp_spans_refused += asked.refused_count
        body = encoding.write_response(asked.refused_count, asked.message())
        return Response(body, media_type=media)

    async def ignored(self, request: Request) -> Response:
        """Answer metrics or logs, and count them."""
        media, encoding = _negotiated(request)
        try:
            async for _ in request.stream():
                pass
        except ClientDisconnect:
            return Response(status_code=400)
        self._relay.counters.otlp_ignored += 1
        if encoding is None:
            return Response(b"{}", media_type=_JSON)
        return Response(encoding.write_response(0, ""), media_type=media)

    async def _read(
        self, request: Request, encoding: _Encoding
    ) -> tuple[otlp.Request, list[Batch]]:
        compression = request.headers.get("content-encoding", "identity").strip().lower()
        if compression not in ("gzip", "identity", ""):
            raise _Refused(415, _INVALID, f"content encoding {compression!r}: use gzip or none")
        try:
            body = await request.body()
        except ClientDisconnect:
            raise _Refused(400, _INVALID, "the client went away") from None
        pace = _pace(request)
        if pace is not None:
            pace.took(len(body), time.monotonic())

        def decode() -> tuple[otlp.Request, list[Batch]]:
            data = decompressed(body) if compression == "gzip" else body
            asked = encoding.read(data)
            return asked, batches_of(asked)

        try:
            if len(body) <= INLINE_BYTES and compression != "gzip":
                return decode()
            async with self._decoding:
                return await asyncio.to_thread(decode)
        except (TooLarge, otlp_json.TooBig) as error:
            raise _Refused(413, _EXHAUSTED, str(error)) from None
        except DecodeError as error:
            raise _Refused(400, _INVALID, str(error)) from None

    async def _store(self, batches: list[Batch]) -> None:
        try:
            await self._relay.guests.take(batches)
        except LogUnavailable as error:
            raise _Refused(503, _UNAVAILABLE, f"the log refuses: {error}") from None
        except LogError as error:
            raise _Refused(500, _UNAVAILABLE, str(error)) from None


class TooLarge(DecodeError):
    """A body decompresses to more than is taken."""


def decompressed(body: bytes) -> bytes:
    """Return what a gzip body holds; raise `TooLarge` above `MOST_BYTES`, `DecodeError` if it is broken."""
    parts: list[bytes] = []
    room = MOST_BYTES
    while body:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(body, room + 1)
        except zlib.error as error:
            raise DecodeError(f"not gzip: {error}") from None
        room -= len(part)
        if room < 0:
            raise TooLarge(f"more than {MOST_BYTES >> 20} MiB after decompression")
        if not member.eof:
            raise DecodeError("truncated gzip body")
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)


class _Refused(Exception):
    def __init__(self, status: int, code: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status
        self.code = code
        self.message = message


def _pace(request: Request) -> Pace | None:
    return getattr(request.state, "pace", None)


def _check_pace(request: Request) -> None:
    """Refuse a request of a client that is in debt; its exporter keeps it and comes again."""
    pace = _pace(request)
    due_s = 0.0 if pace is None else pace.due_s(time.monotonic())
    if due_s:
        raise _Refused(429, _EXHAUSTED, "this client sends more than --max-rate", due_s)


def _negotiated(request: Request) -> tuple[str, _Encoding | None]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media, _ENCODINGS.get(media)


def _answer_error(refused: _Refused, media: str, encoding: _Encoding) -> Response:
    headers = {"Retry-After": RETRY_AFTER_S} if refused.status == 503 else {}
    if refused.retry_after_s:
        headers = {"Retry-After": str(math.ceil(refused.retry_after_s))}
    body = encoding.write_status(refused.code, refused.message)
    kind = media if media in _ENCODINGS else _JSON
    return Response(body, refused.status, headers, kind)
