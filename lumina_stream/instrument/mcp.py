"""The Model Context Protocol's client: one span a request to a server."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import tracing
from lumina_stream.instrument.registry import Install, Patch, Patches
from lumina_stream.instrument.runs import content
from lumina_stream.recording.context import active
from lumina_stream.recording.span import OFF, Span
from lumina_stream.recording.tracing import start_span

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


def _traced(method: str, names: tuple[str, ...]) -> Any:
    def make(original: Any, patch: Patch) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if not patch.on or not tracing():
                return await original(*args, **kwargs)
            given = dict(zip(names, args[1:], strict=False)) | kwargs
            span = _begin(method, given)
            if span is None:
                return await original(*args, **kwargs)
            with span:
                result = await original(*args, **kwargs)
                _finish(span, method, result)
                return result

        return call

    return make


def _begin(method: str, given: dict[str, Any]) -> Span | None:
    try:
        attributes: dict[str, Any] = {"mcp.method.name": method}
        target = given.get("name")
        if method == "tools/call":
            attributes["gen_ai.operation.name"] = "execute_tool"
            attributes["gen_ai.tool.name"] = target
            if content() and given.get("arguments") is not None:
                attributes["gen_ai.tool.call.arguments"] = given["arguments"]
        elif method == "prompts/get":
            attributes["gen_ai.prompt.name"] = target
        elif method == "resources/read":
            attributes["mcp.resource.uri"] = target = str(given.get("uri"))
        kind = "tool" if method == "tools/call" else "mcp"
        span = start_span(
            f"{method} {target}" if target else method, kind=kind, attributes=attributes
        )
        return None if span is OFF else span
    except Exception as error:
        if active.recorder is not None:
            active.recorder.fault(error)
        return None


def _finish(span: Span, method: str, result: Any) -> None:
    if method != "tools/call":
        return
    try:
        texts = [str(part.text) for part in result.content if getattr(part, "text", None)]
        if content() and texts:
            span.set_attribute("gen_ai.tool.call.result", "\n".join(texts))
        if getattr(result, "isError", False) or getattr(result, "is_error", False):
            span.set_status("error", texts[0] if texts and content() else "tool error")
    except Exception as error:
        if active.recorder is not None:
            active.recorder.fault(error)


def _install(module: ModuleType, patches: Patches) -> None:
    for name, (method, needs) in _METHODS.items():
        patches.replace(module.ClientSession, name, _traced(method, needs), needs)


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"mcp.client.session": _install}
