"""Trace ids in the program's own log lines: for the standard library and for structlog."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from lumina_stream.recording.span import INVALID_SPAN_ID, INVALID_TRACE_ID, here


class TraceIds(logging.Filter):
    """Give every log record `trace_id` and `span_id` of the current span; lets all records pass.

    Outside of any span both are empty strings, so that a format may always name them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add both ids to the record."""
        record.trace_id, record.span_id = _ids()
        return True


def add_trace_ids(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add `trace_id` and `span_id` of the current span: a structlog processor."""
    trace_id, span_id = _ids()
    if trace_id:
        event_dict["trace_id"] = trace_id
        event_dict["span_id"] = span_id
    return event_dict


def _ids() -> tuple[str, str]:
    span = here()
    if span is None or span.trace_id == INVALID_TRACE_ID or span.span_id == INVALID_SPAN_ID:
        return "", ""
    return span.trace_id, span.span_id
