"""OpenAI's client, and every provider that is reached with it: chat, responses, embeddings, completions.

Their helpers `.parse()` and `.stream()` and raw responses come through the same methods.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from lumina_stream.instrument.calls import Asked, Describe, entering, managing, traced
from lumina_stream.instrument.registry import Install, Patches

_PROVIDERS = (
    ("azure.com", "azure.ai.openai"),
    ("groq.com", "groq"),
    ("deepseek.com", "deepseek"),
    ("mistral.ai", "mistral_ai"),
    ("x.ai", "x_ai"),
    ("perplexity.ai", "perplexity"),
    ("googleapis.com", "gcp.gemini"),
    ("anthropic.com", "anthropic"),
    ("cohere.com", "cohere"),
    ("cohere.ai", "cohere"),
    ("amazonaws.com", "aws.bedrock"),
    ("openrouter.ai", "openrouter"),
    ("together.xyz", "together"),
    ("fireworks.ai", "fireworks"),
)
"""By the host's end; the names are those of OpenTelemetry's GenAI conventions where it has one."""


def provider_of(resource: Any, otherwise: str = "openai") -> str:
    """Return whose API a client's resource calls, by its base URL."""
    try:
        client = resource._client
        if "Azure" in type(client).__name__:
            return "azure.ai.openai"
        host = urlsplit(str(client.base_url)).hostname or ""
    except Exception:
        return otherwise
    for end, name in _PROVIDERS:
        if host == end or host.endswith(f".{end}"):
            return name
    return otherwise


def _describe(operation: str) -> Describe:
    def describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked:
        model = kwargs.get("model")
        return Asked(
            provider_of(args[0]), operation, model if isinstance(model, str) else None, kwargs
        )

    return describe


def _resource(
    operation: str, classes: tuple[str, ...], methods: dict[str, tuple[str, ...]]
) -> Install:
    describe = _describe(operation)
    making = {"stream": managing(describe)}
    other = traced(describe)

    def install(module: ModuleType, patches: Patches) -> None:
        for class_name in classes:
            owner = getattr(module, class_name, None)
            if owner is None:
                patches.complain(f"{module.__name__}.{class_name}", "it is missing")
                continue
            for method, needs in methods.items():
                patches.replace(owner, method, making.get(method, other), needs)

    return install


def _managers(*classes: str) -> Install:
    def install(module: ModuleType, patches: Patches) -> None:
        for class_name in classes:
            enter = "__aenter__" if class_name.startswith("Async") else "__enter__"
            owner = getattr(module, class_name, None)
            if owner is None:
                patches.complain(f"{module.__name__}.{class_name}", "it is missing")
                continue
            patches.replace(owner, enter, entering())

    return install


_CHAT = ("messages", "model")
_RESPONSES = ("input", "model")
_EMBEDDINGS = ("input", "model")


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {
        "openai.resources.chat.completions.completions": _resource(
            "chat",
            ("Completions", "AsyncCompletions"),
            {"create": _CHAT, "parse": _CHAT, "stream": _CHAT},
        ),
        "openai.resources.responses.responses": _resource(
            "chat",
            ("Responses", "AsyncResponses"),
            {"create": _RESPONSES, "parse": _RESPONSES, "stream": _RESPONSES},
        ),
        "openai.resources.embeddings": _resource(
            "embeddings", ("Embeddings", "AsyncEmbeddings"), {"create": _EMBEDDINGS}
        ),
        "openai.resources.completions": _resource(
            "text_completion", ("Completions", "AsyncCompletions"), {"create": ("prompt", "model")}
        ),
        "openai.lib.streaming.chat._completions": _managers(
            "ChatCompletionStreamManager", "AsyncChatCompletionStreamManager"
        ),
        "openai.lib.streaming.responses._responses": _managers(
            "ResponseStreamManager", "AsyncResponseStreamManager"
        ),
    }
