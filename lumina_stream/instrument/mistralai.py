"""Mistral's client. It traces itself with OpenTelemetry: where the bridge sees that, it is left at that."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import Asked, traced
from lumina_stream.instrument.registry import Install, Patches


def _describe(operation: str) -> Any:
    def describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked | None:
        bridge = sys.modules.get("lumina_stream.instrument.opentelemetry")
        if bridge is not None and getattr(bridge, "_bridge", None) is not None:
            return None
        model = kwargs.get("model")
        return Asked("mistral_ai", operation, model if isinstance(model, str) else None, kwargs)

    return describe


def _resource(
    class_name: str, operation: str, methods: tuple[str, ...], needs: tuple[str, ...]
) -> Install:
    make = traced(_describe(operation))

    def install(module: ModuleType, patches: Patches) -> None:
        for method in methods:
            patches.replace(getattr(module, class_name), method, make, needs)

    return install


_CHAT = ("complete", "complete_async", "stream", "stream_async")


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {
        "mistralai.client.chat": _resource("Chat", "chat", _CHAT, ("model", "messages")),
        "mistralai.client.fim": _resource("Fim", "text_completion", _CHAT, ("model", "prompt")),
        "mistralai.client.embeddings": _resource(
            "Embeddings", "embeddings", ("create", "create_async"), ("model", "inputs")
        ),
    }
