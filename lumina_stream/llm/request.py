"""Read what a program asks of a model: parameters, messages, system instructions, tools.

One table for all providers: keyword arguments of their libraries and the JSON of their requests name
the same things in a handful of ways, and no name means two things.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lumina_stream.llm.parts import (
    MOST_PARTS,
    length_of,
    message_of,
    messages_of,
    part_of,
    parts_of,
)
from lumina_stream.llm.shape import Fields, faulty, fields, items, mapping, plain, text


class Request(msgspec.Struct):
    """What a call asked for, by OpenTelemetry's names."""

    attributes: dict[str, Any] = {}
    """`gen_ai.request.*` and `gen_ai.operation.name`, no message content."""
    messages: list[dict[str, Any]] | None = None
    """GenAI input messages."""
    system: list[dict[str, Any]] | None = None
    """System instructions, as parts."""
    tools: list[dict[str, Any]] | None = None
    """Tool definitions."""


MODEL = ("model", "model_id", "modelId", "model_name", "deployment_id")

_NUMBERS = {
    "gen_ai.request.max_tokens": (
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens_to_sample",
        "maxTokens",
        "maxOutputTokens",
        "max_new_tokens",
        "num_predict",
    ),
    "gen_ai.request.temperature": ("temperature",),
    "gen_ai.request.top_p": ("top_p", "topP", "p"),
    "gen_ai.request.top_k": ("top_k", "topK", "k"),
    "gen_ai.request.frequency_penalty": ("frequency_penalty", "frequencyPenalty"),
    "gen_ai.request.presence_penalty": ("presence_penalty", "presencePenalty"),
    "gen_ai.request.seed": ("seed", "random_seed"),
    "gen_ai.request.choice.count": ("n", "candidate_count", "candidateCount", "num_generations"),
    "gen_ai.embeddings.dimension.count": (
        "dimensions",
        "output_dimension",
        "output_dimensionality",
        "outputDimensionality",
    ),
}
_STOPS = ("stop", "stop_sequences", "stopSequences")
_NESTED = (
    "config",
    "generation_config",
    "generationConfig",
    "inferenceConfig",
    "options",
    "extra_body",
)
"""Where the parameters are one level down: Google, Bedrock, Ollama."""


def read_request(kwargs: Mapping[str, Any], provider: str | None = None) -> Request:
    """Read a call's keyword arguments, or the JSON body of its request. Never raises.

    `provider` decides nothing where the shape does; it tells what the default operation is called.
    """
    request = Request()
    try:
        _read(request, fields(kwargs), provider)
    except Exception as error:
        faulty(error)
    return request


def _read(request: Request, known: Fields, provider: str | None) -> None:
    levels = [known]
    for name in _NESTED:
        inner = known.get(name)
        if inner is not None and text(inner) is None:
            levels.append(fields(inner))
    _read_parameters(request.attributes, levels)
    _read_content(request, known, levels)
    _read_operation(request, known, provider)


def _first(levels: list[Fields], *names: str) -> Any:
    for level in levels:
        for name in names:
            value = level.get(name)
            if value is not None:
                return value
    return None


def _read_parameters(found: dict[str, Any], levels: list[Fields]) -> None:
    model = _first(levels[:1], *MODEL)
    named = text(model)
    if named:
        found["gen_ai.request.model"] = named.removeprefix("models/")
    for name, spellings in _NUMBERS.items():
        number = _first(levels, *spellings)
        if type(number) in (int, float):
            found[name] = number
    stops = _first(levels, *_STOPS)
    if isinstance(stops, str):
        found["gen_ai.request.stop_sequences"] = [stops]
    elif items(stops):
        found["gen_ai.request.stop_sequences"] = [s for s in items(stops) if isinstance(s, str)][
            :64
        ]
    stream = _first(levels[:1], "stream")
    if type(stream) is bool:
        found["gen_ai.request.stream"] = stream
    _read_choices(found, levels)


def _read_choices(found: dict[str, Any], levels: list[Fields]) -> None:
    reasoning = _first(levels, "reasoning")
    effort = text(_first(levels, "reasoning_effort")) or text(fields(reasoning).get("effort"))
    effort = effort or text(fields(_first(levels, "output_config")).get("effort"))
    thinking = fields(_first(levels, "thinking", "thinking_config", "thinkingConfig"))
    effort = effort or text(thinking.get("thinking_level")) or text(thinking.get("thinkingLevel"))
    if effort:
        found["gen_ai.request.reasoning.level"] = effort
    for name in ("budget_tokens", "thinking_budget", "thinkingBudget", "token_budget"):
        budget = thinking.get(name)
        if type(budget) is int:
            found["gen_ai.request.reasoning.budget_tokens"] = budget
    tier = text(_first(levels, "service_tier"))
    if tier:
        found["openai.request.service_tier"] = tier
    formats = _first(levels[:1], "encoding_format", "encoding_formats", "embedding_types")
    if isinstance(formats, str):
        found["gen_ai.request.encoding_formats"] = [formats]
    elif items(formats):
        found["gen_ai.request.encoding_formats"] = [f for f in items(formats) if isinstance(f, str)]
    output = _output_type(levels)
    if output:
        found["gen_ai.output.type"] = output
    conversation = _first(levels[:1], "conversation", "conversation_id")
    conversation_id = text(conversation) or text(fields(conversation).get("id"))
    if conversation_id:
        found["gen_ai.conversation.id"] = conversation_id


def _output_type(levels: list[Fields]) -> str | None:
    wanted = _first(levels, "response_format")
    if wanted is None:
        wanted = fields(_first(levels[:1], "text")).get("format")
    if wanted is None:
        wanted = _first(levels[:1], "format")  # Ollama: "json" or a schema
    kind = text(wanted)
    if kind is None and wanted is not None:
        kind = text(fields(wanted).get("type")) or "json"
    mime = text(_first(levels, "response_mime_type", "responseMimeType"))
    if kind is None and mime == "application/json":
        kind = "json"
    if not kind:
        return None
    return "json" if kind in ("json_object", "json_schema", "object", "json") else kind


def _read_content(request: Request, known: Fields, levels: list[Fields]) -> None:
    system: list[dict[str, Any]] = []
    for level in levels:
        for name in (
            "system",
            "instructions",
            "system_instruction",
            "systemInstruction",
            "preamble",
        ):
            value = level.get(name)
            if value is not None:
                inner = None if text(value) is not None else fields(value).get("parts")
                system += parts_of(value if inner is None else inner)
    messages = _conversation(known)
    if messages is not None:
        request.messages = messages
    if system:
        request.system = system
    tools = _first(levels, "tools", "functions")
    if tools is None:
        tools = fields(_first(levels, "toolConfig", "tool_config")).get("tools")
    if items(tools):
        request.tools = [tool for raw in items(tools)[:MOST_PARTS] for tool in _tools_of(raw)]


def _conversation(known: Fields) -> list[dict[str, Any]] | None:
    messages = known.get("messages")
    if messages is not None:
        return messages_of(messages)
    contents = known.get("contents")
    if contents is None:
        contents = known.get("content") if known.get("model") is not None else None
    if contents is not None:
        return _google_contents(contents)
    given = known.get("input")
    if given is None:
        given = known.get("inputs")
    if given is not None:
        return messages_of(given)
    asked = known.get("message")
    if asked is not None:  # Cohere's version 1
        before = messages_of(known.get("chat_history"))
        return [*before, message_of(asked)]
    for name in ("prompt", "query", "texts", "inputText", "input_text"):
        said = known.get(name)
        if said is not None:
            return messages_of(said)
    return None


def _google_contents(contents: Any) -> list[dict[str, Any]]:
    """Read contents: text, a part, a content, or lists of these; bare parts together are one message."""
    if not isinstance(contents, list | tuple):
        return [message_of(contents)]
    found: list[dict[str, Any]] = []
    loose: list[dict[str, Any]] | None = None
    for item in items(contents)[-MOST_PARTS:]:
        known = fields(item)
        if text(item) is None and (known.get("parts") is not None or known.get("role") is not None):
            found.append(message_of(item))
            loose = None
        else:
            if loose is None:
                loose = []
                found.append({"role": "user", "parts": loose})
            loose += part_of(item)
    return found


def _tools_of(raw: Any) -> list[dict[str, Any]]:
    """Read one tool definition; Google's hold several functions, and may be Python functions."""
    if callable(raw) and text(raw) is None and isinstance(getattr(raw, "__name__", None), str):
        return [{"type": "function", "name": raw.__name__}]
    known = fields(raw)
    declared = known.get("function_declarations") or known.get("functionDeclarations")
    if declared is not None:
        return [_tool("function", fields(item)) for item in items(declared)[:MOST_PARTS]]
    for name in ("function", "toolSpec", "custom"):
        inner = known.get(name)
        if inner is not None and text(inner) is None:
            return [_tool("function", fields(inner))]
    kind = text(known.get("type")) or "function"
    if text(known.get("name")) is None:
        return [{"type": kind, **{k: v for k, v in _mapping(raw).items() if k != "type"}}]
    return [_tool(kind, known)]


def _mapping(raw: Any) -> dict[str, Any]:
    return mapping(plain(raw)) or {"name": type(raw).__name__}


def _tool(kind: str, known: Fields) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": kind, "name": text(known.get("name"))}
    description = text(known.get("description"))
    if description is not None:
        tool["description"] = description
    for name in (
        "parameters",
        "input_schema",
        "inputSchema",
        "parameters_json_schema",
        "parametersJsonSchema",
        "parameter_definitions",
    ):
        schema = known.get(name)
        if schema is not None:
            said = plain(schema)
            tool["parameters"] = mapping(said).get("json", said)
            break
    return tool


def _read_operation(request: Request, known: Fields, provider: str | None) -> None:
    found = request.attributes
    if known.get("contents") is not None:
        is_embedding = "gen_ai.embeddings.dimension.count" in found
        found["gen_ai.operation.name"] = "embeddings" if is_embedding else "generate_content"
    elif known.get("documents") is not None and known.get("query") is not None:
        found["gen_ai.operation.name"] = "rerank"
    elif known.get("messages") is not None or known.get("message") is not None:
        found["gen_ai.operation.name"] = "chat"
    elif known.get("texts") is not None or known.get("embedding_types") is not None:
        found["gen_ai.operation.name"] = "embeddings"
    elif known.get("input") is not None or known.get("inputs") is not None:
        model = found.get("gen_ai.request.model", "")
        has_format = "gen_ai.request.encoding_formats" in found
        if has_format or "embed" in model or "gen_ai.embeddings.dimension.count" in found:
            found["gen_ai.operation.name"] = "embeddings"
        else:
            found["gen_ai.operation.name"] = "chat"
    elif known.get("prompt") is not None:
        found["gen_ai.operation.name"] = "text_completion"


def request_attributes(request: Request, *, content: bool = True) -> dict[str, Any]:
    """Return a request as OpenTelemetry attributes; with `content=False` lengths instead of text."""
    found = dict(request.attributes)
    for name, value in (
        ("gen_ai.input.messages", request.messages),
        ("gen_ai.system_instructions", request.system),
        ("gen_ai.tool.definitions", request.tools),
    ):
        if value is None:
            continue
        if content:
            found[name] = value
        else:
            found[f"{name}.length"] = length_of(value)
    stops = found.get("gen_ai.request.stop_sequences")
    if stops is not None and not content:
        del found["gen_ai.request.stop_sequences"]
        found["gen_ai.request.stop_sequences.length"] = length_of(stops)
    return found
