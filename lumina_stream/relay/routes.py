"""The HTTP routes: what a person, a probe or a script asks once."""

import asyncio
import html
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lumina_stream.formats import otlp_json
from lumina_stream.model.ids import is_trace_id
from lumina_stream.relay.asked import read_query
from lumina_stream.relay.costs import CostQuery
from lumina_stream.relay.metrics import metrics_text
from lumina_stream.relay.summaries import QueryError, TraceQuery

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_JSON = "application/json"
_encode_exact = msgspec.json.Encoder(decimal_format="number").encode


class Routes:
    """The routes of one relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

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
            page = self._relay.projections.list(query)
        except QueryError as error:
            return JSONResponse({"error": str(error)}, 400)
        # Fields of a default value are written too: a script reads what the documentation names.
        traces = [msgspec.structs.asdict(summary) for summary in page.traces]
        return _json({"traces": traces, "next": page.next})

    async def trace(self, request: Request) -> Response:
        """Return one trace's tree."""
        trace_id: str = request.path_params["trace_id"]
        if not is_trace_id(trace_id):
            return _missing()
        tree = self._relay.projections.tree(trace_id)
        if tree is not None and tree.changed_calls:
            await self._relay.load_prices()
            tree = self._relay.projections.tree(trace_id)
        if tree is None:
            return _missing()
        shape = request.query_params.get("format", "tree")
        if shape == "otlp-json":
            return Response(otlp_json.write(self._relay.guests.groups(tree)), media_type=_JSON)
        if shape != "tree":
            return JSONResponse({"error": f"no format {shape!r}: tree or otlp-json"}, 400)
        from lumina_stream.formats.tree_json import tree_json

        return Response(tree_json(tree), media_type=_JSON)

    async def costs(self, request: Request) -> Response:
        """Say what calls cost, by what was asked."""
        try:
            query = read_query(request.query_params, CostQuery)
            await self._relay.price()
            steps = self._relay.projections.costs(query)
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    return Response(_encode_exact(stop.value), media_type=_JSON)
                await asyncio.sleep(0)
        except QueryError as error:
            return JSONResponse({"error": str(error)}, 400)

    async def page(self, request: Request) -> Response:
        """Show what is here."""
        base = html.escape(str(request.base_url).rstrip("/"))
        spans = self._relay.projections.running(1)[1]
        body = _PAGE.format(
            base=base, traces=len(self._relay.projections.forest.traces), running=spans
        )
        return Response(body, media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)


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


def _missing() -> Response:
    return JSONResponse({"error": "there is no such trace"}, 404)


def _version() -> str:
    try:
        from lumina_stream.version import __version__
    except ImportError:
        return "0"
    return __version__


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lumina-stream</title>
<h1>lumina-stream</h1>
<p>This relay runs. It holds {traces} recent traces; {running} spans are running now.</p>
<p>Watch them in a terminal:</p>
<pre>lumina-stream tail --url {base}</pre>
<p>Trace a program:</p>
<pre>LUMINA_ENDPOINT={base} LUMINA_ENABLED=1 python your_program.py</pre>
<p>As data: <a href="v1/traces">v1/traces</a>, <a href="healthz">healthz</a>,
<a href="metrics">metrics</a>.</p>
</html>
"""
