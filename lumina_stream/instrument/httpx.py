"""HTTP requests of httpx and httpx2: one span a request, except those of a recorded call of a model.

The span ends when the response is there: with its body, or with its headers if it is streamed. Query
strings, headers and bodies are not recorded; the trace goes on in the request's headers.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import inside_a_call, suppressed, tracing
from lumina_stream.instrument.registry import Install, Patch, Patches
from lumina_stream.recording.propagation import inject
from lumina_stream.recording.span import OFF, Span
from lumina_stream.recording.tracing import start_span


def request_span(method: Any, url: Any, headers: Any) -> Span | None:
    """Start the span of an HTTP request, and let its headers carry the trace; None for none."""
    if inside_a_call() or suppressed():
        return None
    try:
        from urllib.parse import urlsplit

        parts = urlsplit(str(url))
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        where = shown if parts.port is None else f"{shown}:{parts.port}"
        span = start_span(
            f"{method} {where}",
            kind="http",
            attributes={
                "http.request.method": str(method),
                "server.address": host,
                "server.port": port,
                "url.full": f"{parts.scheme}://{where}{parts.path}",
            },
        )
        if span is OFF:
            return None
        if "traceparent" not in headers:
            with_span: dict[str, str] = {}
            span.__enter__()
            try:
                inject(with_span)
            finally:
                span._leave()  # pyright: ignore[reportPrivateUsage]
            for key, value in with_span.items():
                headers.setdefault(key, value)
        return span
    except Exception as error:
        from lumina_stream.recording.context import active

        if active.recorder is not None:
            active.recorder.fault(error)
        return None


def response_of(span: Span, response: Any) -> None:
    """Record a response's status; what the server or the request got wrong makes it an error."""
    status = getattr(response, "status_code", None)
    if isinstance(status, int):
        span.set_attribute("http.response.status_code", status)
        if status >= 400:
            span.set_status("error", f"HTTP {status}")


def sending(original: Any, patch: Patch) -> Any:
    """Return what stands in the place of `send(self, request, ...)`.

    What it calls is not silent: a client may call an application in this very process.
    """

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span | None:
        if not patch.on or not tracing():
            return None
        request = args[1] if len(args) > 1 else kwargs.get("request")
        try:
            method, url, headers = request.method, request.url, request.headers  # pyright: ignore[reportOptionalMemberAccess]
        except AttributeError:
            return None
        return request_span(method, url, headers)

    if inspect.iscoroutinefunction(original):

        async def send_async(*args: Any, **kwargs: Any) -> Any:
            span = begin(args, kwargs)
            if span is None:
                return await original(*args, **kwargs)
            with span:
                response = await original(*args, **kwargs)
                response_of(span, response)
                return response

        return send_async

    def send(*args: Any, **kwargs: Any) -> Any:
        span = begin(args, kwargs)
        if span is None:
            return original(*args, **kwargs)
        with span:
            response = original(*args, **kwargs)
            response_of(span, response)
            return response

    return send


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""

    def install(module: ModuleType, patches: Patches) -> None:
        for class_name in ("Client", "AsyncClient"):
            patches.replace(getattr(module, class_name), "send", sending, ("request",))

    return {f"{library}._client": install}
