"""The ASGI application: which path leads where, and the guard in front of every one of them."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from lumina_stream.protocol import SUBPROTOCOL, SUBPROTOCOL_JSON
from lumina_stream.relay import routes
from lumina_stream.relay.access import Access, Asked, Denied, Role
from lumina_stream.relay.browser_session import (
    SESSION_ROUTE,
    TOKEN_BYTES,
    BrowserSessions,
    SessionRoutes,
)
from lumina_stream.relay.clients import NOBODY
from lumina_stream.relay.console import Refusals
from lumina_stream.relay.otlp import MOST_BYTES, OtlpRoutes
from lumina_stream.relay.static import Static
from lumina_stream.relay.streaming import stream
from lumina_stream.relay.tailing import tail

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

BODY_BYTES = 1 << 20
"""Largest body of a request that is read at all; only OTLP's routes have their own."""

_OTLP = ("/v1/traces", "/v1/metrics", "/v1/logs")
_WRITES = ("/v1/stream", "/v1/metrics", "/v1/logs")
_PAGE = ("/", SESSION_ROUTE)
_OPEN = ("/healthz",)
_GUARDED_HEADERS = (b"host", b"origin", b"authorization")
_COOKIE = b"cookie"


def make_app(relay: "Relay", access: Access) -> ASGIApp:
    """Return the application of a relay."""
    sessions = BrowserSessions(access.port, time.monotonic, access.find)
    session = SessionRoutes(access, sessions)
    own = routes.Routes(relay)
    otlp = OtlpRoutes(relay)
    static = Static()

    async def on_stream(websocket: WebSocket) -> None:
        await stream(relay, websocket, _subprotocol(websocket), websocket.state.pace)

    async def on_tail(websocket: WebSocket) -> None:
        await tail(relay, websocket, _subprotocol(websocket))

    app = Starlette(
        routes=[
            WebSocketRoute("/v1/stream", on_stream),
            WebSocketRoute("/v1/tail", on_tail),
            Route("/healthz", own.healthz, methods=["GET"]),
            Route("/metrics", own.metrics, methods=["GET"]),
            Route("/v1/traces", own.traces, methods=["GET"]),
            Route("/v1/traces", otlp.traces, methods=["POST"], max_body_size=MOST_BYTES),
            Route("/v1/metrics", otlp.ignored, methods=["POST"], max_body_size=MOST_BYTES),
            Route("/v1/logs", otlp.ignored, methods=["POST"], max_body_size=MOST_BYTES),
            Route("/v1/rates", own.rates, methods=["GET"]),
            Route("/v1/costs", own.costs, methods=["GET"]),
            Route("/v1/traces/{trace_id}", own.trace, methods=["GET"]),
            Route("/v1/traces/{trace_id}", own.delete, methods=["DELETE"]),
            Route("/v1/traces/{trace_id}/spans/{span_id}", own.span, methods=["GET"]),
            Route(SESSION_ROUTE, session.begin, methods=["POST"], max_body_size=TOKEN_BYTES),
            Route(SESSION_ROUTE, session.end, methods=["DELETE"]),
            Route("/", static.page, methods=["GET"]),
            Route("/assets/{name}", static.asset, methods=["GET"]),
        ],
        max_body_size=BODY_BYTES,
        exception_handlers={HTTPException: routes.refused},
    )
    return Guard(app, relay, access, sessions)


class Guard:
    """Let a request through to `app` when `Access` says so and the relay is ready."""

    def __init__(
        self, app: ASGIApp, relay: "Relay", access: Access, sessions: BrowserSessions
    ) -> None:
        self._app = app
        self._relay = relay
        self._access = access
        self._sessions = sessions
        self._refusals = Refusals(relay.log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        asked = self._asked(scope)
        denied = self._denied(scope, asked)
        entered: bytes | None = None
        if denied is None:
            clients, is_socket = self._relay.clients, scope["type"] == "websocket"
            token = self._access.token(asked)
            client = NOBODY if token is None else token.digest
            scope.setdefault("state", {})["pace"] = clients.pace(client, alone=is_socket)
            if is_socket and clients.enter(client):
                entered = client
            elif is_socket:
                denied = Denied(429, "this client has as many connections as it may at once")
        if denied is not None:
            if scope["type"] == "websocket":
                self._refusals.note(denied.reason, scope["path"])
            await _refuse(denied, scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "GET" and "/v1/" in scope["path"]:
            await self._relay.caught_up()
        try:
            await self._app(scope, receive, send)
        finally:
            if entered is not None:
                self._relay.clients.quota.leave(entered)

    def _asked(self, scope: Scope) -> Asked:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return _asked(scope, _role(scope, path), self._sessions)

    def _denied(self, scope: Scope, asked: Asked) -> Denied | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in _OPEN and scope["type"] == "http":
            return None
        denied = self._access.decide(asked)
        if denied is not None:
            return denied
        if not self._relay.ready.is_set() and not _brings_events(scope, path):
            return Denied(503, "the relay is starting: it reads its log; try again in a moment")
        if scope["type"] == "websocket":
            offered: list[str] = scope.get("subprotocols") or []
            if offered and _choose(offered) is None:
                return Denied(400, f"the subprotocol must be {SUBPROTOCOL} or {SUBPROTOCOL_JSON}")
        return None


def _role(scope: Scope, path: str) -> Role:
    if path in _PAGE or path.startswith("/assets/"):
        return "page"
    if path in _WRITES or (scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")):
        return "write"
    return "read"


def _brings_events(scope: Scope, path: str) -> bool:
    """Tell whether a request is for the log alone, which takes events before they can be shown."""
    return path == "/v1/stream" or (path in _OTLP and scope.get("method") == "POST")


def _asked(scope: Scope, role: Role, sessions: BrowserSessions) -> Asked:
    found: dict[bytes, str] = {}
    repeated = False
    for name, value in scope["headers"]:
        if name in _GUARDED_HEADERS:
            repeated = repeated or name in found
            found[name] = value.decode("latin-1")
        elif name == _COOKIE:  # HTTP/2 may part it, and then each part is one of its own
            found[name] = "; ".join((*filter(None, (found.get(name),)), value.decode("latin-1")))
    return Asked(
        role,
        found.get(b"host"),
        found.get(b"origin"),
        found.get(b"authorization"),
        repeated,
        sessions.token(found.get(_COOKIE)),
    )


async def _refuse(denied: Denied, scope: Scope, receive: Receive, send: Send) -> None:
    headers: Mapping[str, str] = {}
    if denied.status == 401:
        headers = {"WWW-Authenticate": 'Bearer realm="lumina-stream"'}
    elif denied.status in (429, 503):
        headers = {"Retry-After": "1"}
    response: Response = JSONResponse({"error": denied.reason}, denied.status, headers)
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    websocket = WebSocket(scope, receive, send)
    await websocket.receive()
    await websocket.send_denial_response(response)


def _subprotocol(connection: HTTPConnection[Any]) -> str | None:
    return _choose(connection.scope.get("subprotocols") or [])


def _choose(offered: list[str]) -> str | None:
    for name in offered:
        if name in (SUBPROTOCOL, SUBPROTOCOL_JSON):
            return name
    return None
