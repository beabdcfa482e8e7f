"""What the relay says on stderr: a banner, and a log in which no request has a line."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import structlog

LogFormat = Literal["auto", "console", "json"]

REFUSALS_S = 60.0
"""Between two log lines of one reason: a client that is refused asks again and again."""
REASONS = 64
"""Reasons that are told apart; there are a handful."""
ROUTE_LENGTH = 200
"""Characters of a path in the log: it is the peer's text."""


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
        if "without completing handshake" in record.getMessage():
            return  # a WebSocket that was refused: the guard says why
        log = structlog.get_logger("lumina.server")
        log.log(record.levelno, record.getMessage().strip(), exc_info=record.exc_info or None)


class Refusals:
    """Log refused requests, one a minute for each reason, with how many were not logged."""

    def __init__(self, log: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        # Reason -> when it was logged last, and how often it was not since.
        self._said: dict[str, tuple[float | None, int]] = {}

    def note(self, reason: str, route: str) -> None:
        """Note one refusal."""
        now = self._clock()
        at, suppressed = self._said.get(reason, (None, 0))
        if at is not None and now - at < REFUSALS_S:
            self._said[reason] = (at, suppressed + 1)
            return
        if reason not in self._said and len(self._said) >= REASONS:
            self._said.clear()
        self._said[reason] = (now, 0)
        more = {"suppressed": suppressed} if suppressed else {}
        self._log.warning("refused a connection", reason=reason, route=route[:ROUTE_LENGTH], **more)


def banner(url: str, folder: str, *, needs_token: bool) -> str:
    """Return the lines that greet a person."""
    token = " LUMINA_TOKEN=..." if needs_token else ""
    return (
        f"\n  lumina-stream relay\n\n"
        f"    dashboard {url}/\n"
        f"    data      {folder}\n"
        f"    trace     LUMINA_ENDPOINT={url} LUMINA_ENABLED=1{token} python your_program.py\n"
        f"    watch     lumina-stream tail --url {url}\n\n"
        f"  Ctrl-C stops it.\n"
    )
