"""Llama-index by its own dispatcher: queries, retrievers, models, embeddings, tools."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import Asked
from lumina_stream.instrument.registry import Install, Patches
from lumina_stream.instrument.runs import Runs
from lumina_stream.recording.context import active

_CALLS = frozenset(("chat", "achat", "complete", "acomplete"))
_KINDS = (
    ("BaseRetriever", "retrieval"),
    ("BaseNodePostprocessor", "rerank"),
    ("BaseEmbedding", "embedding"),
    ("BaseTool", "tool"),
    ("BaseWorkflowAgent", "agent"),
)


def _kind(instance: Any) -> str:
    names = {c.__name__ for c in type(instance).__mro__}
    return next((kind for name, kind in _KINDS if name in names), "task")


def _is_model(instance: Any) -> bool:
    return any(c.__name__ == "BaseLLM" for c in type(instance).__mro__)


def make_handler(module: ModuleType) -> Any:
    """Return a span handler of llama-index's."""
    from importlib import import_module

    base: Any = import_module("llama_index_instrumentation.span_handlers.base").BaseSpanHandler
    runs = Runs()
    state = {"on": True}

    def new_span(
        self: Any, id_: str, bound_args: Any, instance: Any = None,
        parent_span_id: str | None = None, tags: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if not state["on"] or (active.recorder is None and not active.automatic):
            return
        try:
            name = id_.partition("-")[0]
            method = name.rpartition(".")[2]
            if _is_model(instance) and "stream" in method:
                # It returns before the request is made: the client's own hook has to record that.
                runs.skip(id_, parent_span_id)
            elif _is_model(instance) and method in _CALLS:
                model = getattr(instance, "model", None)
                arguments: dict[str, Any] = dict(bound_args.arguments)
                said: list[dict[str, Any]] = []
                for message in arguments.get("messages") or ():
                    role = getattr(message.role, "value", message.role)
                    said.append({"role": str(role), "content": message.content})
                if arguments.get("prompt"):
                    said.append({"role": "user", "content": str(arguments["prompt"])})
                asked = Asked(None, "chat", str(model) if model else None, {"messages": said})
                runs.begin_call(id_, parent_span_id, asked)
            else:
                runs.begin(id_, parent_span_id, name, _kind(instance), None)
        except Exception as error:
            _fault(error)

    def prepare_to_exit_span(
        self: Any,
        id_: str,
        bound_args: Any,
        instance: Any = None,
        result: Any = None,
        **kwargs: Any,
    ) -> None:
        runs.end(id_)

    def prepare_to_drop_span(
        self: Any, id_: str, bound_args: Any, instance: Any = None, err: Any = None, **kwargs: Any
    ) -> None:
        runs.end(id_, err)

    def class_name(cls: type) -> str:
        return "LuminaSpanHandler"

    made = type(
        "LuminaSpanHandler",
        (base,),
        {
            "__module__": __name__,
            "new_span": new_span,
            "prepare_to_exit_span": prepare_to_exit_span,
            "prepare_to_drop_span": prepare_to_drop_span,
            "class_name": classmethod(class_name),
        },
    )
    return made(), state


def _fault(error: Exception) -> None:
    if active.recorder is not None:
        active.recorder.fault(error)


def _install(module: ModuleType, patches: Patches) -> None:
    handler, state = make_handler(module)
    root = module.get_dispatcher()
    root.add_span_handler(handler)

    def undo() -> None:
        state["on"] = False
        root.span_handlers[:] = [known for known in root.span_handlers if known is not handler]

    patches.on_undo(undo)


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"llama_index_instrumentation": _install}
