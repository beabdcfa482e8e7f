"""The Model Context Protocol: one span a request, at the client and at the server.

The trace goes on in the request's `_meta`, as OpenTelemetry prescribes. From 2.0 on the library makes
spans of its own: where we see them (the bridge is on) they are enriched, with what was asked and
answered; else they are ours, under the same names.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, cast

from lumina_stream.instrument.calls import tracing
from lumina_stream.instrument.enriching import bridged, enriching, mirror_of
from lumina_stream.instrument.registry import Install, Patch, Patches
from lumina_stream.instrument.runs import content
from lumina_stream.model import opentelemetry as names
from lumina_stream.recording.context import active, recorder_now
from lumina_stream.recording.propagation import extract, inject
from lumina_stream.recording.span import OFF, Span
from lumina_stream.recording.tracing import start_span, with_attributes
from lumina_stream.recording.values import type_of

DISPATCHER = "mcp.shared.jsonrpc_dispatcher"

_METHODS = {
    "initialize": ("initialize", ()),
    "list_tools": ("tools/list", ()),
    "call_tool": ("tools/call", ("name", "arguments")),
    "list_resources": ("resources/list", ()),
    "read_resource": ("resources/read", ("uri",)),
    "list_prompts": ("prompts/list", ()),
    "get_prompt": ("prompts/get", ("name", "arguments")),
}
"""Methods of the session: the protocol's name of each, and its first parameters."""


class _Request:
    """A request and its span: our own, or the library's, which is not there yet."""

    __slots__ = ("given", "method", "span")

    def __init__(self, method: str, given: dict[str, Any]) -> None:
        self.method = method
        self.given = given
        self.span: Span | None = None

    @property
    def target(self) -> str:
        """What it is about: a tool, a prompt, a resource."""
        return str(self.given.get("uri") or self.given.get("name") or "")

    def known(self) -> dict[str, Any]:
        """Return what is known of it before it is made, as attributes."""
        method, target = self.method, self.target
        said: dict[str, Any] = {"mcp.method.name": method}
        if method == "tools/call":
            said |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": target}
        else:
            said[names.KIND] = "mcp"
        if method == "prompts/get":
            said["gen_ai.prompt.name"] = target
        elif method == "resources/read":
            said["mcp.resource.uri"] = target
        return said

    def start(self, side: str, parent: Any = None) -> Span | None:
        """Start a span of ours; `side` is `client` or `server`."""
        options: dict[str, Any] = {"parent": parent} if parent is not None else {}
        said = self.known()
        kind = said.pop(names.KIND, "tool")
        name = f"{self.method} {self.target}" if self.target else self.method
        span = start_span(
            name, kind=kind, attributes={**said, names.SPAN_KIND: side, **self._asked()}, **options
        )
        self.span = None if span is OFF else span
        return self.span

    def bind(self, other: Any) -> None:
        """Take the span that the library has begun."""
        mirror, recorder = mirror_of(other), recorder_now()
        if mirror is not None and recorder is not None and self.span is None:
            self.span = enriching(recorder, mirror)
            self.span.set_attributes(self._asked())

    def answered(self, result: Any) -> None:
        """Record what came back: of a tool, the text."""
        span = self.span
        if span is None or self.method != "tools/call":
            return
        said: Any = getattr(result, "root", result)  # 1.x wraps it for the wire
        texts = [str(text) for part in _of(said, "content") or () if (text := _of(part, "text"))]
        if content() and texts:
            span.set_attribute("gen_ai.tool.call.result", "\n".join(texts))
        if _of(said, "isError") or _of(said, "is_error"):
            span.set_status("error", texts[0] if texts and content() else "tool error")

    def _asked(self) -> dict[str, Any]:
        arguments = self.given.get("arguments")
        if self.method != "tools/call" or arguments is None or not content():
            return {}
        return {"gen_ai.tool.call.arguments": arguments}


_sending: ContextVar[_Request | None] = ContextVar("lumina_mcp_request", default=None)
"""The request that waits for the library's own span."""


def _of(said: Any, name: str) -> Any:
    """Return a field of a model of the library's, or of the same as the wire has it."""
    if isinstance(said, dict):
        return cast("dict[str, Any]", said).get(name)
    return getattr(said, name, None)


def _safely(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:
        if active.recorder is not None:
            active.recorder.fault(error)
        return None


# --- the client's side ---------------------------------------------------------------------------


def _sent(method: str, parameters: tuple[str, ...]) -> Callable[[Any, Patch], Any]:
    """Return what stands in the place of a session's method."""

    def make(original: Any, patch: Patch) -> Any:
        # In 1.x only some requests can carry it; in 2.x the dispatcher gives it to all.
        takes_meta = (
            DISPATCHER not in sys.modules and "meta" in inspect.signature(original).parameters
        )

        async def call(*args: Any, **kwargs: Any) -> Any:
            if not patch.on or not tracing():
                return await original(*args, **kwargs)
            request = _Request(method, dict(zip(parameters, args[1:], strict=False)) | kwargs)
            if _begins_its_own(args[0]):
                outer = _sending.get()
                _sending.set(request)
                try:
                    result = await original(*args, **kwargs)
                finally:
                    _sending.set(outer)
                _safely(request.answered, result)
                return result
            span: Span | None = _safely(request.start, "client")
            if span is None:
                return await original(*args, **kwargs)
            with span:
                if takes_meta:
                    kwargs["meta"] = inject(dict(kwargs.get("meta") or {}))
                result = await original(*args, **kwargs)
                _safely(request.answered, result)
                return result

        return call

    return make


def _begins_its_own(session: Any) -> bool:
    """Tell whether the library makes a span of its own of what a session sends, and we see it."""
    kind = type_of(getattr(session, "_dispatcher", None))
    return bridged() and kind.__name__ == "JSONRPCDispatcher"  # the one in the process makes none


class _Bound:
    """The library's span of a request, with the request's attributes from its start."""

    def __init__(self, opening: Any, request: _Request) -> None:
        self._opening = opening
        self._request = request

    def __enter__(self) -> Any:
        with with_attributes(_safely(self._request.known) or {}):
            span = self._opening.__enter__()
        _safely(self._request.bind, span)
        return span

    def __exit__(self, *raised: Any) -> Any:
        return self._opening.__exit__(*raised)


def _announcing(original: Any, patch: Patch) -> Any:
    def otel_span(*args: Any, **kwargs: Any) -> Any:
        opening = original(*args, **kwargs)
        request = _sending.get()
        if not patch.on or request is None or request.span is not None:
            return opening
        return _Bound(opening, request)

    return otel_span


def _injecting(original: Any, patch: Patch) -> Any:
    def inject_trace_context(meta: dict[str, Any]) -> None:
        original(meta)
        if patch.on and "traceparent" not in meta:
            inject(meta)

    return inject_trace_context


def _client(module: ModuleType, patches: Patches) -> None:
    for name, (method, needs) in _METHODS.items():
        patches.replace(module.ClientSession, name, _sent(method, needs), needs)


def _dispatcher(module: ModuleType, patches: Patches) -> None:
    patches.replace(module, "otel_span", _announcing)
    patches.replace(module, "inject_trace_context", _injecting, ("meta",))


# --- the server's side ---------------------------------------------------------------------------


def _wrapping(original: Any, patch: Patch) -> Any:
    """Return what stands in the place of the library's own middleware (2.x)."""

    async def wrapped(self: Any, ctx: Any, call_next: Any) -> Any:
        # Without an id it is a notification.
        if not patch.on or not tracing() or ctx.request_id is None:
            return await original(self, ctx, call_next)
        request = _Request(ctx.method, dict(ctx.params or {}))
        if bridged():

            async def call_bound(inner: Any) -> Any:
                from opentelemetry.trace import get_current_span

                _safely(request.bind, get_current_span())
                result = await call_next(inner)
                _safely(request.answered, result)
                return result

            return await original(self, ctx, call_bound)
        span: Span | None = _safely(request.start, "server", extract(dict(ctx.meta or {})))
        if span is None:
            return await original(self, ctx, call_next)
        with span:
            result = await original(self, ctx, call_next)
            _safely(request.answered, result)
            return result

    return wrapped


def _handling(original: Any, patch: Patch) -> Any:
    """Return what stands in the place of a server's `_handle_request` (1.x)."""

    async def handle(self: Any, message: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        handler = self.request_handlers.get(type(req))
        if not patch.on or not tracing() or handler is None:
            return await original(self, message, req, *args, **kwargs)
        params: Any = getattr(req, "params", None)
        given: dict[str, Any] = {} if params is None else dict(params)
        request = _Request(str(req.method), given)
        meta: Any = getattr(params, "meta", None)
        parent = extract(getattr(meta, "model_extra", None) or {})
        span: Span | None = _safely(request.start, "server", parent)
        if span is None:
            return await original(self, message, req, *args, **kwargs)
        respond = message.respond

        async def respond_recorded(response: Any) -> Any:
            failed = getattr(response, "message", None)
            if failed is not None and getattr(response, "code", None) is not None:
                span.set_status("error", str(failed) if content() else "")
            else:
                _safely(request.answered, response)
            return await respond(response)

        message.respond = respond_recorded
        with span:
            return await original(self, message, req, *args, **kwargs)

    return handle


def _middleware(module: ModuleType, patches: Patches) -> None:
    patches.replace(module.OpenTelemetryMiddleware, "__call__", _wrapping, ("ctx", "call_next"))


def _server(module: ModuleType, patches: Patches) -> None:
    if "_handle_request" in vars(module.Server):  # 1.x
        patches.replace(module.Server, "_handle_request", _handling, ("message", "req"))


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module: those of 1.x and of 2.x, of which each has its own."""
    return {
        "mcp.client.session": _client,
        DISPATCHER: _dispatcher,
        "mcp.server._otel": _middleware,
        "mcp.server.lowlevel.server": _server,
    }
