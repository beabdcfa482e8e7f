"""What the relay says on stderr: a banner, and a log in which no request has a line."""

import logging
import sys
from typing import Any, Literal

import structlog

LogFormat = Literal["auto", "console", "json"]


def configure_log(log_format: LogFormat = "auto") -> None:
    """Send the log to stderr: readable on a terminal, one JSON object a line elsewhere."""
    readable = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    render: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if readable
        else structlog.processors.JSONRenderer()
    )
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not readable:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = [_Forward()] if name == "uvicorn" else []
        logger.setLevel(logging.WARNING)
        logger.propagate = name not in ("uvicorn", "uvicorn.access")


class _Forward(logging.Handler):
    """Hand uvicorn's warnings to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger("lumina.server")
        log.log(record.levelno, record.getMessage().strip(), exc_info=record.exc_info or None)


def banner(url: str, folder: str, *, needs_token: bool) -> str:
    """Return the lines that greet a person."""
    token = " LUMINA_TOKEN=..." if needs_token else ""
    return (
        f"\n  lumina-stream relay\n\n"
        f"    view      {url}/\n"
        f"    data      {folder}\n"
        f"    trace     LUMINA_ENDPOINT={url} LUMINA_ENABLED=1{token} python your_program.py\n"
        f"    watch     lumina-stream tail --url {url}\n\n"
        f"  Ctrl-C stops it.\n"
    )
