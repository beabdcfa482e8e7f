"""Litellm: its calls, whatever client or HTTP they make underneath."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import Asked, Describe, traced
from lumina_stream.instrument.registry import Install, Patches

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
_NAMES = {
    "completion": "chat",
    "acompletion": "chat",
    "embedding": "embeddings",
    "aembedding": "embeddings",
}


def _describe(operation: str, second: str) -> Describe:
    def describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked:
        given = dict(zip(("model", second), args, strict=False)) | kwargs
        said = str(given.get("model") or "")
        prefix, slash, rest = said.partition("/")
        provider = given.get("custom_llm_provider") or (prefix if slash else None)
        model = rest if slash else said
        if slash:
            given["model"] = model
        return Asked(_PROVIDERS.get(str(provider), provider), operation, model or None, given)

    return describe


def _main(module: ModuleType, patches: Patches) -> None:
    for name in _NAMES:
        _replace(module, name, patches)


def _package(module: ModuleType, patches: Patches) -> None:
    main = vars(sys.modules.get("litellm.main", module))
    for name in _NAMES:
        held = vars(module).get(name)
        if held is None:
            continue
        original = patches.original_of(held)
        if original is not held:  # imported from there when the hook was in it already
            setattr(module, name, original)
        elif held is main.get(name):  # it stayed out there, and that was said
            continue
        _replace(module, name, patches)


def _replace(module: ModuleType, name: str, patches: Patches) -> None:
    operation = _NAMES[name]
    second = "messages" if operation == "chat" else "input"
    patches.replace(module, name, traced(_describe(operation, second)), ("model", second))


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module: the package has names of its own for the same functions."""
    return {"litellm.main": _main, "litellm": _package}
