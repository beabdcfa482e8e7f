"""What an OpenTelemetry span is called here, wherever it comes in: by OTLP or from inside the program.

Both ways must say the same of one span, or the tree would flag it as a conflict with itself. The
names of the attributes are those that OpenTelemetry prescribes for formats without such fields, and
Jaeger's where it prescribes none.
Source: https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/
"""

from collections.abc import Mapping
from typing import Any

from lumina_stream.model.events import ErrorInfo, Status

SCOPE_NAME = "otel.scope.name"
SCOPE_VERSION = "otel.scope.version"
SCOPE_ATTRIBUTES = "otel.scope.attributes"
SCOPE_SCHEMA = "otel.scope.schema_url"
SPAN_KIND = "span.kind"
"""server, client, producer or consumer; not said of internal spans."""
SPAN_KINDS = ("", "internal", "server", "client", "producer", "consumer")
"""By their numbers in OTLP."""
TRACE_STATE = "w3c.tracestate"
STATUS_CODE = "otel.status_code"
"""`OK`, where the program said so; an error is the end's status, and unset is not said."""
STATUS_UNSET, STATUS_OK, STATUS_ERROR = 0, 1, 2
DROPPED_ATTRIBUTES = "otel.dropped_attributes_count"
DROPPED_EVENTS = "otel.dropped_events_count"
DROPPED_LINKS = "otel.dropped_links_count"

KIND = "lumina.kind"
"""Our kind of a span, where its OpenTelemetry attributes do not tell it."""
STATUS = "lumina.status"
"""How a span ended, where OpenTelemetry has no word for it: cancelled, abandoned."""
TEXT = "lumina.text."
"""Streamed text, with the channel behind."""

EXCEPTION = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"

_BY_OPERATION = {
    "chat": "llm",
    "text_completion": "llm",
    "generate_content": "llm",
    "embeddings": "embedding",
    "retrieval": "retrieval",
    "execute_tool": "tool",
    "create_agent": "agent",
    "invoke_agent": "agent",
    "invoke_workflow": "task",
}
_BY_OTHER_KIND = {  # OpenInference's and OpenLLMetry's words
    "llm": "llm",
    "embedding": "embedding",
    "retriever": "retrieval",
    "reranker": "rerank",
    "tool": "tool",
    "agent": "agent",
    "chain": "task",
    "workflow": "task",
    "task": "task",
}
_KINDS = (
    ("gen_ai.operation.name", _BY_OPERATION),
    ("openinference.span.kind", _BY_OTHER_KIND),
    ("traceloop.span.kind", _BY_OTHER_KIND),
)
_MARKS = (
    ("http.request.method", "http"),
    ("http.method", "http"),
    ("db.system.name", "db"),
    ("db.system", "db"),
)
_TELLING = frozenset((KIND, *(key for key, _ in _KINDS), *(key for key, _ in _MARKS)))


def kind_of(attributes: Mapping[str, Any], span_kind: int = 0) -> str | None:
    """Return the kind (`llm`, `tool`, `http`, ...) that a span's attributes tell, None if none does.

    `span_kind` is OTLP's number: of itself it tells nothing that the kinds here do.
    """
    if _TELLING.isdisjoint(attributes):
        return None
    own = attributes.get(KIND)
    if type(own) is str and own:
        return own
    for key, kinds in _KINDS:
        said = attributes.get(key)
        if type(said) is str:
            kind = kinds.get(said.lower())
            if kind is not None:
                return kind
    for key, kind in _MARKS:
        if key in attributes:
            return kind
    return None


def ending_of(
    code: int, description: str, exception: Mapping[str, Any] | None, own_status: Any = None
) -> tuple[Status, ErrorInfo | None]:
    """Return the status and the error of a span that ended with this status.

    `exception`: the attributes of its last exception event. It is the error if the description says
    no more than it does; else the description is. `own_status`: what `STATUS` says.
    """
    if own_status == "cancelled" or own_status == "abandoned":
        return own_status, None
    if code != STATUS_ERROR:
        return "ok", None
    if exception is not None:
        kind = str(exception.get(EXCEPTION_TYPE) or "")
        message = str(exception.get(EXCEPTION_MESSAGE) or "")
        short = kind.rpartition(".")[2]
        if description in ("", message, f"{short}: {message}", f"{kind}: {message}"):
            return "error", ErrorInfo(kind, message, str(exception.get(EXCEPTION_STACKTRACE) or ""))
    return "error", ErrorInfo("", description)
