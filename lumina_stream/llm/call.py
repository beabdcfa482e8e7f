"""`trace_llm`: a span around one call of a model, as a block or around a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast, overload

from lumina_stream.llm.decorating import decorate
from lumina_stream.llm.span import LlmSpan
from lumina_stream.model.opentelemetry import kind_of
from lumina_stream.recording.carriers import SpanContext
from lumina_stream.recording.context import recorder_now
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import OFF, Span
from lumina_stream.recording.starting import CURRENT, Current, start
from lumina_stream.recording.tracing import Trace, function_name
from lumina_stream.recording.values import type_of

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = frozenset(
    ("kind", "parent", "root", "links", "attributes", "capture", "provider", "model", "operation")
)
OPERATION = "gen_ai.operation.name"


class TraceLlm(Trace):
    """What `trace_llm(...)` returns: a context manager (sync and async) and a decorator."""

    def __enter__(self) -> LlmSpan:
        recorder = recorder_now()
        return cast("LlmSpan", OFF if recorder is None else self._enter(recorder))

    async def __aenter__(self) -> LlmSpan:
        return self.__enter__()

    def __call__(self, function: F) -> F:
        """Decorate a function: its keyword arguments are the request, its result is recorded."""
        return decorate(function, self)

    def start(self, recorder: Recorder) -> Span:
        """Start the span; it is not current yet."""
        try:
            options = self.options
            get = options.get
            operation = get("operation") or "chat"
            provider, model = get("provider"), get("model")
            said: dict[str, Any] = {}
            if provider is not None:
                said["gen_ai.provider.name"] = provider
            if model is not None:
                said["gen_ai.request.model"] = model
            attributes: dict[str, Any] = {
                **said,
                OPERATION: operation,
                **(get("attributes") or {}),
            }
            attributes |= {k: v for k, v in options.items() if k not in _OPTIONS}
            span = start(
                recorder,
                self.name or (f"{operation} {model}" if model else str(operation)),
                get("kind") or kind_of({OPERATION: operation}) or "llm",
                get("parent", CURRENT),
                get("root", False),
                get("links", ()),
                None,
                attributes,
                LlmSpan,
            )
            if isinstance(span, LlmSpan):
                if get("operation") is not None:
                    said[OPERATION] = operation
                span.asked(recorder.now(), frozenset(said))
            return span
        except Exception as error:  # never into the program, whatever was handed over
            recorder.fault(error)
            return OFF


@overload
def trace_llm(name: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def trace_llm(
    name: str | None = None,
    /,
    *,
    provider: str | None = None,
    model: str | None = None,
    operation: str = "chat",
    kind: str | None = None,
    parent: Span | SpanContext | Current | None = CURRENT,
    root: bool = False,
    links: Iterable[Any] = (),
    attributes: Mapping[str, Any] | None = None,
    **more: Any,
) -> TraceLlm: ...


def trace_llm(name: Any = None, /, **options: Any) -> Any:
    """Trace a call of a model: a block (`with`, `async with`) or a function.

    The block's span has `record(x)`, for what the model answered. A function's keyword arguments are
    recorded as the request and its result as the answer, also inline:
    `await trace_llm("synthesis")(client.messages.create)(...)`. A stream is recorded as it is
    consumed; the span ends no earlier than it. `provider`, `model`, `operation` (of OpenTelemetry's
    GenAI conventions: chat, embeddings, ...) win over what request and answer say of these; the rest
    is as with `trace`. Without a name: the operation and the model, or the function's name.
    """
    # A classmethod object is not callable, and still stands for a function.
    if type(name) is not str and (callable(name) or type_of(name) is classmethod):
        return decorate(name, TraceLlm(function_name(name), options))
    return TraceLlm(name or "", options)
