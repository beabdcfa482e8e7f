"""Anthropic's client: messages, their beta, `.stream()`, `.parse()`, raw responses.

From 2.12 on it traces itself with OpenTelemetry, without messages, input tokens and the pieces of a
stream. Where we see that span (the bridge is on), it is enriched with them; else the span is ours.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import Asked, announcing, entering, managing, traced
from lumina_stream.instrument.enriching import bridged
from lumina_stream.instrument.registry import Install, Patches


def _provider(resource: Any) -> str:
    name = type(getattr(resource, "_client", None)).__name__
    if "Bedrock" in name or "AWS" in name:
        return "aws.bedrock"
    if "Vertex" in name:
        return "gcp.vertex_ai"
    return "anthropic"


def _describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked:
    model = kwargs.get("model")
    return Asked(_provider(args[0]), "chat", model if isinstance(model, str) else None, kwargs)


def _traces_itself(called: Any) -> bool:
    """Tell whether the client will begin a span of its own that the bridge may see."""
    if not bridged():
        return False
    asked = getattr(called, "_lumina_asked", None)
    resource = called if asked is None else asked[0][0]
    return getattr(getattr(resource, "_client", None), "_tracer", None) is not None


_NEEDS = ("messages", "model", "max_tokens")


def _messages(module: ModuleType, patches: Patches) -> None:
    for class_name in ("Messages", "AsyncMessages"):
        owner = getattr(module, class_name)
        for method in ("create", "parse"):
            patches.replace(owner, method, traced(_describe, _traces_itself), _NEEDS)
        patches.replace(owner, "stream", managing(_describe), _NEEDS)


def _managers(*classes: str) -> Install:
    def install(module: ModuleType, patches: Patches) -> None:
        for class_name in classes:
            enter = "__aenter__" if "Async" in class_name else "__enter__"
            patches.replace(getattr(module, class_name), enter, entering(_traces_itself))

    return install


def _base_client(module: ModuleType, patches: Patches) -> None:
    if hasattr(module, "start_api_call_span"):
        patches.replace(module, "start_api_call_span", announcing(lambda span: span))


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {
        "anthropic._base_client": _base_client,
        "anthropic.resources.messages.messages": _messages,
        "anthropic.resources.beta.messages.messages": _messages,
        "anthropic.lib.streaming._messages": _managers(
            "MessageStreamManager", "AsyncMessageStreamManager"
        ),
        "anthropic.lib.streaming._beta_messages": _managers(
            "BetaMessageStreamManager", "BetaAsyncMessageStreamManager"
        ),
    }
