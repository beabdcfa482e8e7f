"""Trace ids in log lines of the standard library and of structlog."""

import io
import logging
from typing import Any

import structlog
from support.recorded import Recorded

import lumina_stream as lumina


def logged(message: str) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(trace_id)s/%(span_id)s %(message)s"))
    handler.addFilter(lumina.TraceIds())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.info(message)
    return stream.getvalue()


def test_a_log_line_names_the_current_span(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        assert logged("hello") == f"{span.trace_id}/{span.span_id} hello\n"
    assert logged("outside") == "/ outside\n"


def test_a_format_may_name_them_while_tracing_is_off() -> None:
    assert logged("off") == "/ off\n"


def test_structlog(recorded: Recorded) -> None:
    with lumina.trace("span") as span:
        assert lumina.add_trace_ids(None, "info", {"event": "e"}) == {
            "event": "e",
            "trace_id": span.trace_id,
            "span_id": span.span_id,
        }
    assert lumina.add_trace_ids(None, "info", {"event": "e"}) == {"event": "e"}


def test_structlog_as_a_processor(recorded: Recorded) -> None:
    said: list[Any] = []

    def keep(logger: Any, method: str, event: Any) -> Any:
        said.append(dict(event))
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[lumina.add_trace_ids, keep])
    with lumina.trace("span") as span:
        logger.info("hello")
    assert said == [{"event": "hello", "trace_id": span.trace_id, "span_id": span.span_id}]


def test_a_handler_that_traces_what_it_is_given(recorded: Recorded) -> None:
    class Tracing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lumina.current_span().add_event("log", message=record.getMessage())

    logger = logging.Logger("test")
    logger.addHandler(Tracing())
    with lumina.trace("span"):
        logger.warning("hello %s", "there")
    (event,) = recorded.one("span").event_list()
    assert event.attributes == {"message": "hello there"}
