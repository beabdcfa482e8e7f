"""Litellm: its calls, whatever client or HTTP they make underneath."""

from __future__ import annotations

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


def _install(module: ModuleType, patches: Patches) -> None:
    for name, operation in _NAMES.items():
        second = "messages" if operation == "chat" else "input"
        if name in vars(module) and not hasattr(vars(module)[name], "_lumina_hook"):
            patches.replace(module, name, _marked(traced(_describe(operation, second))), ("model",))


def _marked(make: Any) -> Any:
    def marked(original: Any, patch: Any) -> Any:
        made = make(original, patch)
        made._lumina_hook = True
        return made

    return marked


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module: the package has names of its own for the same functions."""
    return {"litellm.main": _install, "litellm": _install}
