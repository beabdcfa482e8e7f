"""The HTTP routes: what a person, a probe or a script asks once."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from lumina_stream.formats import otlp_json
from lumina_stream.formats.span_json import span_json
from lumina_stream.formats.tree_json import tree_json
from lumina_stream.model.ids import is_span_id, is_trace_id
from lumina_stream.relay.asked import read_query
from lumina_stream.relay.costs import CostQuery
from lumina_stream.relay.log import LogError
from lumina_stream.relay.metrics import metrics_text
from lumina_stream.relay.rates import Kept, RateQuery
from lumina_stream.relay.selection import QueryError, TraceQuery

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

T = TypeVar("T")

_JSON = "application/json"
SLICE_S = 0.002
"""Longest time in which an answer is made before the loop looks at its sockets again."""
RATES_S = 1.0
"""How old rates may be that another viewer has asked for."""
RATES_SHARE = 20
"""How many times as long as they took to find out they are good as well."""
PART_BYTES = 64 << 10
"""Bytes of an answer that are sent at once."""
_encode_exact = msgspec.json.Encoder(decimal_format="number").encode


class Routes:
    """The routes of one relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._rates: dict[RateQuery, Kept] = {}

    async def healthz(self, request: Request) -> Response:
        """Say who we are and how we do."""
        relay = self._relay
        body = {
            "service": "lumina-stream",
            "version": _version(),
            "status": relay.status,
            "relay_id": relay.witness.producer_id,
            "epoch": relay.store.epoch.id,
            "offset": relay.store.next_offset - 1,
            "uptime_s": round(time.monotonic() - relay.started, 3),
            "pid": os.getpid(),
        }
        if relay.degraded:
            body["reason"] = relay.degraded
        return JSONResponse(body)

    async def metrics(self, request: Request) -> Response:
        """Return the figures in Prometheus' text format."""
        return Response(
            metrics_text(self._relay), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def traces(self, request: Request) -> Response:
        """List traces."""
        try:
            query = read_query(request.query_params, TraceQuery)
            await self._relay.price()
            page = await _through(self._relay.projections.page(query))
        except QueryError as error:
            return JSONResponse({"error": str(error)}, 400)
        # Fields of a default value are written too: a script reads what the documentation names.
        traces = [msgspec.structs.asdict(summary) for summary in page.traces]
        return _json({"traces": traces, "next": page.next})

    async def trace(self, request: Request) -> Response:
        """Return one trace's tree."""
        trace_id: str = request.path_params["trace_id"]
        if not is_trace_id(trace_id):
            return missing("there is no such trace")
        shape = request.query_params.get("format", "tree")
        if shape not in ("tree", "otlp-json"):
            return JSONResponse({"error": f"no format {shape!r}: tree or otlp-json"}, 400)
        tree = await self._relay.tree(trace_id)
        if tree is None:
            return missing("there is no such trace")
        if shape == "otlp-json":
            return Response(otlp_json.write(self._relay.guests.groups(tree)), media_type=_JSON)
        return _in_parts(tree_json(tree))

    async def delete(self, request: Request) -> Response:
        """Delete one trace, for good."""
        trace_id: str = request.path_params["trace_id"]
        try:
            deletion = (
                await self._relay.deleting.delete(trace_id) if is_trace_id(trace_id) else None
            )
        except LogError as error:
            return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1"})
        if deletion is None:
            return missing("there is no such trace")
        return JSONResponse({"trace_id": trace_id, "erased": deletion.erased})

    async def span(self, request: Request) -> Response:
        """Return one span of a trace, whole."""
        trace_id, span_id = request.path_params["trace_id"], request.path_params["span_id"]
        if not is_trace_id(trace_id) or not is_span_id(span_id):
            return missing("there is no such span")
        offset = self._relay.projections.offset
        tree = await self._relay.tree(trace_id)
        node = None if tree is None else tree.span(span_id)
        if tree is None or node is None:
            return missing("there is no such span")
        return _in_parts(span_json(tree, node, offset))

    async def costs(self, request: Request) -> Response:
        """Say what calls cost, by what was asked."""
        try:
            query = read_query(request.query_params, CostQuery)
            await self._relay.price()
            answer = await _through(self._relay.projections.costs(query))
            return Response(_encode_exact(answer), media_type=_JSON)
        except QueryError as error:
            return JSONResponse({"error": str(error)}, 400)

    async def rates(self, request: Request) -> Response:
        """Say how many traces come, fail and run, and how long they take."""
        try:
            query = read_query(request.query_params, RateQuery)
            now_s = time.monotonic()
            kept = self._rates.get(query)
            if kept is None or now_s >= kept.until_s:
                answer = await _through(self._relay.projections.rates(query))
                took_s = time.monotonic() - now_s
                self._rates = {q: k for q, k in self._rates.items() if now_s < k.until_s}
                # Viewers ask every other second: what is dear to find out is found out less often.
                kept = self._rates[query] = Kept(answer, now_s + RATES_S + RATES_SHARE * took_s)
            return _json(kept.answer)
        except QueryError as error:
            return JSONResponse({"error": str(error)}, 400)


async def _through(steps: Generator[None, None, T]) -> T:
    """Return what steps come to, leaving the loop to others in between."""
    until = time.monotonic() + SLICE_S
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
        if time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + SLICE_S


def _in_parts(parts: Iterator[bytes]) -> Response:
    """Answer with JSON that is made while it is sent, leaving the loop to others in between."""

    async def body() -> AsyncIterator[bytes]:
        held, until = bytearray(), time.monotonic() + SLICE_S
        for part in parts:
            held += part
            if len(held) >= PART_BYTES:
                yield bytes(held)
                held.clear()
            if time.monotonic() > until:
                await asyncio.sleep(0)
                until = time.monotonic() + SLICE_S
        yield bytes(held)

    return StreamingResponse(body(), media_type=_JSON)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type=_JSON)


async def refused(request: Request, error: Exception) -> Response:
    """Answer what no route takes, or not so, as every other mistake is answered."""
    if not isinstance(error, HTTPException):
        raise error
    said = {
        404: f"nothing is at {request.url.path}",
        405: f"{request.url.path} does not take {request.method}",
    }
    body = {"error": said.get(error.status_code, error.detail)}
    return JSONResponse(body, error.status_code, error.headers)


def missing(reason: str) -> Response:
    """Answer that what was asked for is not here."""
    return JSONResponse({"error": reason}, 404)


def _version() -> str:
    try:
        from lumina_stream.version import __version__
    except ImportError:
        return "0"
    return __version__
