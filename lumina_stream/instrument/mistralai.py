"""Mistral's client: chat, agents, fill-in-the-middle, responses, embeddings; complete and streamed.

Told to (`MISTRAL_SDK_TELEMETRY`, `configure_telemetry`), it traces itself with OpenTelemetry: one span
a try, ended with the last byte. Where we see that span (the bridge is on), it is enriched, with the
pieces of a stream among others; else the span is ours.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import Asked, Describe, announcing, traced
from lumina_stream.instrument.enriching import bridged
from lumina_stream.instrument.registry import Install, Patches


def _describe(operation: str) -> Describe:
    def describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked:
        model = kwargs.get("model")
        return Asked("mistral_ai", operation, model if isinstance(model, str) else None, kwargs)

    return describe


def _resource(
    class_name: str, operation: str, methods: tuple[str, ...], needs: tuple[str, ...]
) -> Install:
    # Whether it begins a span of its own, it decides for each request: it says so when it is made.
    make = traced(_describe(operation), lambda resource: bridged())

    def install(module: ModuleType, patches: Patches) -> None:
        for method in methods:
            patches.replace(getattr(module, class_name), method, make, needs)

    return install


def _tracing(module: ModuleType, patches: Patches) -> None:
    patches.replace(
        module, "get_traced_request_and_span", announcing(lambda begun: begun[1]), ("request",)
    )


_COMPLETE = ("complete", "complete_async", "stream", "stream_async")
_CREATE = ("create", "create_async")


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {
        "mistralai.client._hooks.tracing": _tracing,
        "mistralai.client.chat": _resource("Chat", "chat", _COMPLETE, ("model", "messages")),
        "mistralai.client.agents": _resource("Agents", "chat", _COMPLETE, ("agent_id", "messages")),
        "mistralai.client.fim": _resource("Fim", "text_completion", _COMPLETE, ("model", "prompt")),
        "mistralai.client.responses": _resource("Responses", "chat", _CREATE, ("model", "input")),
        "mistralai.client.embeddings": _resource(
            "Embeddings", "embeddings", _CREATE, ("model", "inputs")
        ),
    }
