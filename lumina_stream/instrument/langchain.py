"""Langchain and langgraph by their callbacks: chains and nodes, models, tools, retrievers.

The handler is registered as langchain's own tracers are, so that it is in every run of every chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any, cast

from lumina_stream.instrument.calls import Asked, silent
from lumina_stream.instrument.registry import Install, Patches
from lumina_stream.instrument.runs import Runs, content
from lumina_stream.llm.shape import Reading, Usage
from lumina_stream.recording.context import active

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "amazon_bedrock": "aws.bedrock",
    "xai": "x_ai",
}
_HIDDEN = ("langsmith:hidden",)


def _name(serialized: Any, kwargs: Mapping[str, Any], otherwise: str) -> str:
    name = kwargs.get("name")
    if not name and serialized:
        name = serialized.get("name") or (serialized.get("id") or [""])[-1]
    return str(name or otherwise)


def _message(message: Any) -> dict[str, Any]:
    kind = str(getattr(message, "type", "user"))
    said: dict[str, Any] = {
        "role": _ROLES.get(kind, kind),
        "content": getattr(message, "content", ""),
    }
    tool_calls: Any = getattr(message, "tool_calls", None)
    if tool_calls:
        said["tool_calls"] = [
            {
                "id": call.get("id"),
                "type": "function",
                "function": {"name": call.get("name"), "arguments": call.get("args")},
            }
            for call in tool_calls
        ]
    if getattr(message, "tool_call_id", None):
        said["tool_call_id"] = message.tool_call_id
    return said


def _asked(messages: list[dict[str, Any]], kwargs: Mapping[str, Any]) -> Asked:
    metadata: Mapping[str, Any] = kwargs.get("metadata") or {}
    given: Mapping[str, Any] = kwargs.get("invocation_params") or {}
    provider = metadata.get("ls_provider")
    model = metadata.get("ls_model_name") or given.get("model") or given.get("model_name")
    request: dict[str, Any] = {**given, "messages": messages}
    if model:
        request["model"] = model
    return Asked(
        _PROVIDERS.get(provider, provider) if isinstance(provider, str) else None,
        "chat",
        str(model) if model else None,
        request,
    )


def _text(said: Any) -> str:
    if not isinstance(said, Sequence) or isinstance(said, str):
        return said if isinstance(said, str) else ""
    parts = cast("Sequence[Any]", said)
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return "".join(str(text) for text in texts if type(text) is str)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _reading(response: Any) -> Reading:
    reading = Reading(operation="chat")
    for generations in getattr(response, "generations", None) or ():
        for generation in generations:
            _add_generation(reading, generation)
    return reading


def _add_generation(reading: Reading, generation: Any) -> None:
    message: Any = getattr(generation, "message", None)
    about: Mapping[str, Any] = getattr(message, "response_metadata", None) or (
        getattr(generation, "generation_info", None) or {}
    )
    reason = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason")
    model = about.get("model_name") or about.get("model")
    if reason:
        reading.finish_reasons = [*reading.finish_reasons, str(reason)]
    if model:
        reading.response_model = str(model)
    said_id = about.get("id") or getattr(message, "id", None)
    if isinstance(said_id, str) and not said_id.startswith(("run-", "lc_run-", "run--")):
        reading.response_id = said_id
    parts: list[dict[str, Any]] = []
    text = _text(getattr(message, "content", None) or getattr(generation, "text", ""))
    if text:
        parts.append({"type": "text", "content": text})
    tool_calls: Any = getattr(message, "tool_calls", None) or ()
    parts += [
        {"type": "tool_call", "id": c.get("id"), "name": c.get("name"), "arguments": c.get("args")}
        for c in tool_calls
    ]
    if parts:
        answer: dict[str, Any] = {"role": "assistant", "parts": parts}
        if reason:
            answer["finish_reason"] = str(reason)
        reading.messages = [*reading.messages, answer]
    usage: Any = getattr(message, "usage_metadata", None)
    if usage:
        inside: Any = usage.get("input_token_details")
        outside: Any = usage.get("output_token_details")
        said = Usage(
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            total_tokens=usage.get("total_tokens"),
            cache_read_tokens=inside and inside.get("cache_read"),
            cache_write_tokens=inside and inside.get("cache_creation"),
            reasoning_tokens=outside and outside.get("reasoning"),
        )
        reading.usage = said if reading.usage is None else reading.usage.merged(said)


def make_handler(base: type) -> Any:
    """Return a handler; `base` is langchain's class of such."""
    runs = Runs()

    def safely(function: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            if not self.on or (active.recorder is None and not active.automatic):
                return
            try:
                function(*args, **kwargs)
            except Exception as error:
                if active.recorder is not None:
                    active.recorder.fault(error)

        return call

    def chain_start(serialized: Any, inputs: Any, *, run_id: Any, **kwargs: Any) -> None:
        parent = kwargs.get("parent_run_id")
        tags: Sequence[str] = kwargs.get("tags") or ()
        if any(tag in _HIDDEN for tag in tags):
            runs.skip(run_id, parent)
            return
        metadata: Mapping[str, Any] = kwargs.get("metadata") or {}
        attributes: dict[str, Any] = {}
        if "langgraph_node" in metadata:
            attributes["langgraph.node"] = metadata["langgraph_node"]
            attributes["langgraph.step"] = metadata.get("langgraph_step")
        name = _name(serialized, kwargs, "chain")
        root = parent is None and name in ("LangGraph", "agent")
        runs.begin(run_id, parent, name, "agent" if root else "task", attributes)

    def chat_start(serialized: Any, messages: Any, *, run_id: Any, **kwargs: Any) -> None:
        flat = [_message(m) for batch in messages for m in batch]
        runs.begin_call(run_id, kwargs.get("parent_run_id"), _asked(flat, kwargs))

    def llm_start(serialized: Any, prompts: Any, *, run_id: Any, **kwargs: Any) -> None:
        said = [{"role": "user", "content": prompt} for prompt in prompts]
        runs.begin_call(run_id, kwargs.get("parent_run_id"), _asked(said, kwargs))

    def new_token(token: Any, *, run_id: Any, **kwargs: Any) -> None:
        runs.piece(run_id, _text(token))

    def llm_end(response: Any, *, run_id: Any, **kwargs: Any) -> None:
        runs.answered(run_id, _reading(response))
        runs.end(run_id)

    def tool_start(serialized: Any, input_str: Any, *, run_id: Any, **kwargs: Any) -> None:
        name = _name(serialized, kwargs, "tool")
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
        }
        if content():
            attributes["gen_ai.tool.call.arguments"] = kwargs.get("inputs") or input_str
        parent = kwargs.get("parent_run_id")
        runs.begin(run_id, parent, f"execute_tool {name}", "tool", attributes)

    def tool_end(output: Any, *, run_id: Any, **kwargs: Any) -> None:
        span = runs.find(run_id)
        if span is not None and content():
            span.set_attribute(
                "gen_ai.tool.call.result", _text(getattr(output, "content", output)) or str(output)
            )
        runs.end(run_id)

    def retriever_start(serialized: Any, query: Any, *, run_id: Any, **kwargs: Any) -> None:
        attributes = {"gen_ai.retrieval.query.text": query} if content() else {}
        name = _name(serialized, kwargs, "retriever")
        runs.begin(run_id, kwargs.get("parent_run_id"), name, "retrieval", attributes)

    def retriever_end(documents: Any, *, run_id: Any, **kwargs: Any) -> None:
        span = runs.find(run_id)
        if span is not None:
            span.set_attribute("lumina.retrieval.documents", len(documents))
        runs.end(run_id)

    def end(_: Any = None, *, run_id: Any, **kwargs: Any) -> None:
        runs.end(run_id)

    def failed(error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        if type(error).__name__ in ("GraphInterrupt", "ParentCommand", "GraphBubbleUp"):
            runs.end(run_id)  # how langgraph passes control on
        else:
            runs.end(run_id, error)

    handlers = {
        "on_chain_start": chain_start,
        "on_chain_end": end,
        "on_chain_error": failed,
        "on_chat_model_start": chat_start,
        "on_llm_start": llm_start,
        "on_llm_new_token": new_token,
        "on_llm_end": llm_end,
        "on_llm_error": failed,
        "on_tool_start": tool_start,
        "on_tool_end": tool_end,
        "on_tool_error": failed,
        "on_retriever_start": retriever_start,
        "on_retriever_end": retriever_end,
        "on_retriever_error": failed,
    }
    members: dict[str, Any] = {name: safely(function) for name, function in handlers.items()}
    members |= {"run_inline": True, "raise_error": False, "on": True}
    return type("LuminaCallbacks", (base,), members)()


def _install(module: ModuleType, patches: Patches) -> None:
    from importlib import import_module

    base = import_module("langchain_core.callbacks.base").BaseCallbackHandler
    handler = make_handler(base)
    variable: ContextVar[Any] = ContextVar("lumina_langchain", default=handler)
    module.register_configure_hook(variable, True)

    def undo() -> None:
        handler.on = False
        hooks = module._configure_hooks
        hooks[:] = [hook for hook in hooks if hook[0] is not variable]

    patches.on_undo(undo)


_LANGSMITH = ("_post_batch_ingest_runs", "_send_multipart_req", "_send_compressed_multipart_req")


def _langsmith(module: ModuleType, patches: Patches) -> None:
    # What it sends of the runs that it traces is no request of the program's. Its versions differ in
    # which of these they have.
    for name in _LANGSMITH:
        if name in vars(module.Client):
            patches.replace(module.Client, name, silent)


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"langchain_core.tracers.context": _install, "langsmith.client": _langsmith}
