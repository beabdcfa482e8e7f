"""Trace an ASGI service: one span a request, from its headers to the last byte of its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from lumina_stream.model.limits import EXIT_S
from lumina_stream.recording.propagation import extract
from lumina_stream.recording.tracing import trace
from lumina_stream.runtime import aflush, statistics

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class TraceMiddleware:
    """Wrap an ASGI application: `app = TraceMiddleware(app)`, or add it to Starlette and FastAPI.

    The trace of the caller goes on (W3C headers). The span ends with the last body byte, or when a
    WebSocket closes; answers of 500 and above, and exceptions, make it an error. Query strings and
    headers are not recorded. When the service shuts down, what was recorded is delivered first: a
    server may end by a signal right after, past every other way of doing so.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":

            async def send_delivered(message: Message) -> None:
                if message["type"].startswith("lifespan.shutdown.") and statistics().connected:
                    await aflush(EXIT_S)
                await send(message)

            await self.app(scope, receive, send_delivered)
            return
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        http = scope["type"] == "http"
        method = str(scope.get("method", "WEBSOCKET"))
        path = str(scope.get("path", ""))
        parent = extract(scope.get("headers", ()))
        attributes = {"http.request.method": method, "url.path": path}
        with trace(f"{method} {path}", kind="http", parent=parent, attributes=attributes) as span:
            finished = False

            async def send_traced(message: Message) -> None:
                nonlocal finished
                kind = message["type"]
                if kind == "http.response.start":
                    status = int(message["status"])
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status("error", f"HTTP {status}")
                await send(message)
                last_body = kind == "http.response.body" and not message.get("more_body", False)
                if http and last_body and not finished:
                    finished = True
                    _name_by_route(span, scope, method)
                    span.end()

            await self.app(scope, receive, send_traced)
            if not finished:
                _name_by_route(span, scope, method)


def _name_by_route(span: Any, scope: Scope, method: str) -> None:
    """Name the span by its route (`GET /items/{id}`), which the framework knows after routing."""
    route = getattr(scope.get("route"), "path", None)
    if isinstance(route, str) and route != scope.get("path"):
        span.set_attribute("http.route", route)
        span.update_name(f"{method} {route}")
