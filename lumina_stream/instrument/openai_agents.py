"""OpenAI's agents by a processor of their own tracing: agents, tools, handoffs, guardrails, models."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import Asked, silent
from lumina_stream.instrument.registry import Install, Patches
from lumina_stream.instrument.runs import Runs, content, unseen
from lumina_stream.llm.shape import Reading, Usage
from lumina_stream.llm.span import LlmSpan
from lumina_stream.recording.context import active

_KINDS = {"agent": "agent", "function": "tool", "handoff": "agent", "mcp_tools": "tool"}


class Processor:
    """Records what the library's tracing announces."""

    def __init__(self) -> None:
        self.on = True
        self._runs = Runs()

    def on_trace_start(self, trace: Any) -> None:
        """Begin a workflow."""
        if self._off():
            return
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": trace.name,
        }
        group = getattr(trace, "group_id", None)
        if group:
            attributes["gen_ai.conversation.id"] = group
        self._runs.begin(trace.trace_id, None, trace.name, "task", attributes)

    def on_trace_end(self, trace: Any) -> None:
        """End a workflow."""
        self._runs.end(trace.trace_id)

    def on_span_start(self, span: Any) -> None:
        """Begin a step."""
        if self._off():
            return
        try:
            self._begin(span)
        except Exception as error:
            _fault(error)

    def on_span_end(self, span: Any) -> None:
        """Record what a step came to, and end it."""
        try:
            self._finish(span)
        except Exception as error:
            _fault(error)
        said: Any = span.error
        message = ""
        if said:
            message = str(said.get("message") if isinstance(said, dict) else said)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        self._runs.end(span.span_id, message=message)

    def shutdown(self) -> None:
        """Do nothing: spans leave as they happen."""

    def force_flush(self) -> None:
        """Do nothing: spans leave as they happen."""

    def _off(self) -> bool:
        return not self.on or (active.recorder is None and not active.automatic)

    def _begin(self, span: Any) -> None:
        data = span.span_data
        kind = str(data.type)
        parent = span.parent_id or span.trace_id
        if kind in ("generation", "response"):
            model = getattr(data, "model", None)
            request: dict[str, Any] = {}
            if getattr(data, "input", None):
                request["messages" if kind == "generation" else "input"] = data.input
            asked = Asked(None, "chat", str(model) if model else None, request)
            if not model:
                asked.name = "chat"
            self._runs.begin_call(span.span_id, parent, asked)
            return
        name = str(getattr(data, "name", None) or kind)
        attributes: dict[str, Any] = {}
        if kind == "agent":
            attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}
            name = f"invoke_agent {name}"
        elif kind == "function":
            attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
            name = f"execute_tool {name}"
        elif kind == "task":
            name = "run"  # its own is the workflow's, of which it is one run
        elif kind == "turn":
            name = f"turn {data.turn}"
        self._runs.begin(span.span_id, parent, name, _KINDS.get(kind, "task"), attributes)

    def _finish(self, span: Any) -> None:
        data, ours = span.span_data, self._runs.find(span.span_id)
        if ours is None:
            return
        kind = str(data.type)
        if kind == "response" and isinstance(ours, LlmSpan) and unseen(ours):
            if data.input:
                ours.record_request({"input": data.input})
            if data.response is not None:
                ours.record(data.response)
        elif kind == "generation" and isinstance(ours, LlmSpan) and unseen(ours):
            self._generation(ours, data)
        elif kind == "function" and content():
            if data.input is not None:
                ours.set_attribute("gen_ai.tool.call.arguments", data.input)
            if data.output is not None:
                ours.set_attribute("gen_ai.tool.call.result", str(data.output))
        elif kind == "handoff":
            ours.update_name(f"handoff to {data.to_agent}")
        elif kind == "guardrail":
            ours.set_attribute("guardrail.triggered", bool(data.triggered))

    def _generation(self, ours: LlmSpan, data: Any) -> None:
        if data.input:
            ours.record_request({"messages": list(data.input), "model": data.model})
        usage: Any = data.usage
        ours.answered(
            Reading(
                operation="chat",
                request_model=data.model,
                usage=Usage(
                    input_tokens=usage and usage.get("input_tokens"),
                    output_tokens=usage and usage.get("output_tokens"),
                ),
                messages=[
                    {"role": m.get("role") or "assistant",
                     "parts": [{"type": "text", "content": m.get("content") or ""}]}
                    for m in data.output or ()
                ],
            )
        )  # fmt: skip


def _fault(error: Exception) -> None:
    if active.recorder is not None:
        active.recorder.fault(error)


def _sending(module: ModuleType, patches: Patches) -> None:
    # What the library itself sends to OpenAI of its runs is no request of the program's.
    patches.replace(module.BackendSpanExporter, "export", silent, ("items",))


def _install(module: ModuleType, patches: Patches) -> None:
    processor = Processor()
    module.add_trace_processor(processor)

    def undo() -> None:
        processor.on = False
        inner = getattr(module.get_trace_provider(), "_multi_processor", None)
        if inner is not None:
            kept = [p for p in inner._processors if p is not processor]
            inner.set_processors(kept)

    patches.on_undo(undo)


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"agents.tracing.processors": _sending, "agents.tracing": _install}
