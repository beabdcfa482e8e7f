"""Google's GenAI client: each request of `generate_content`, of its stream and of `embed_content`.

With automatic function calling one call of the program makes several: each has its span, since each
has its tokens.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import Asked, Describe, traced
from lumina_stream.instrument.registry import Install, Patches


def _describe(operation: str) -> Describe:
    def describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked:
        vertex = getattr(getattr(args[0], "_api_client", None), "vertexai", False)
        model = kwargs.get("model")
        plain = model.removeprefix("models/") if isinstance(model, str) else None
        return Asked("gcp.vertex_ai" if vertex else "gcp.gemini", operation, plain, kwargs)

    return describe


_GENERATE = ("model", "contents", "config")


def _install(module: ModuleType, patches: Patches) -> None:
    chat, embeddings = traced(_describe("chat")), traced(_describe("embeddings"))
    for owner in (module.Models, module.AsyncModels):
        patches.replace(owner, "_generate_content", chat, _GENERATE)
        patches.replace(owner, "_generate_content_stream", chat, _GENERATE)
        patches.replace(owner, "_embed_content", embeddings, ("model",))


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"google.genai.models": _install}
