"""Which attributes and events of other instrumentations hold what people and models said.

With `capture_content=False` their text must appear nowhere: each is replaced by its length. So is an
exception's message, because a provider's error quotes what it was asked. The
names are those of OpenTelemetry's GenAI conventions, of what was used before them, of OpenInference,
OpenLLMetry, pydantic-ai and the Vercel AI SDK.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAMES = frozenset(
    (
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.tool.description",
        "gen_ai.retrieval.documents",
        "gen_ai.retrieval.query.text",
        "gen_ai.evaluation.explanation",
        "all_messages_events",
        "error.message",
        "events",
        "exception.message",
        "final_result",
        "input",
        "logfire.msg",
        "model_request_parameters",
        "output",
        "pydantic_ai.all_messages",
        "request_data",
        "response_data",
        "system_instructions",
        "tool_arguments",
        "tool_response",
        "tool.description",
        "tool.parameters",
        "tool_call.function.arguments",
    )
)
_BEGINNINGS = (
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.content",
    "gen_ai.request.messages",
    "gen_ai.response.message",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompts",
    "llm.prompt_template",
    "llm.completions",
    "llm.choices",
    "llm.function_call",
    "llm.tools",
    "llm.request.functions",
    "input.value",
    "output.value",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "traceloop.prompt",
    "retrieval.documents",
    "reranker.query",
    "reranker.input_documents",
    "reranker.output_documents",
    "embedding.embeddings",
    "embedding.text",
    "message.content",
    "document.content",
    "ai.prompt",
    "ai.response.text",
    "ai.response.object",
    "ai.response.toolCalls",
    "ai.toolCall.args",
    "ai.toolCall.result",
    "ai.value",
    "mcp.request.argument",
    "mcp.response.value",
)
_EVENTS = (
    "gen_ai.system.message",
    "gen_ai.user.message",
    "gen_ai.assistant.message",
    "gen_ai.tool.message",
    "gen_ai.choice",
    "gen_ai.content.",
    "gen_ai.client.inference.operation.details",
    "llm.content.",
)
_COUNTED = ("prompt_tokens", "completion_tokens")
_STACK = "exception.stacktrace"
_PLACE = re.compile(r'^ *File "[^"\n]*", line \d+, in [^\s:]+$', re.MULTILINE)


def is_content(key: str) -> bool:
    """Tell whether an attribute of this name holds text of a conversation."""
    return (
        key in _NAMES or (key.startswith(_BEGINNINGS) and not key.endswith(_COUNTED))
    ) and not key.endswith((".role", ".finish_reason", ".mime_type", ".length"))


def withheld(attributes: Mapping[str, Any], event: str = "") -> dict[str, Any]:
    """Return attributes with lengths in the place of texts; `event`: the name of the event they are of."""
    all_of_it = event.startswith(_EVENTS)
    kept: dict[str, Any] = {}
    for key, value in attributes.items():
        if key == _STACK:
            kept[key] = places(str(value))
        elif is_content(key) or (all_of_it and type(value) in (str, bytes, tuple, list, dict)):
            kept[f"{key}.length"] = _length(value)
        else:
            kept[key] = value
    return kept


def places(stacktrace: str) -> str:
    """Return where an exception passed: what it says, and source lines, quote what was said."""
    return "\n".join(_PLACE.findall(stacktrace))


def _length(value: Any) -> int:
    try:
        return len(value)
    except Exception:
        return len(str(value))
