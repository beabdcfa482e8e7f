"""What the relay says on stderr: a banner, and a log in which no request has a line."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

LogFormat = Literal["auto", "console", "json"]

REFUSALS_S = 60.0
"""Between two log lines of one reason: a client that is refused asks again and again."""
REASONS = 64
"""Reasons that are told apart; there are a handful."""
ROUTE_LENGTH = 200
"""Characters of a path in the log: it is the peer's text."""


class RelayLog:
    """The relay's log on stderr: readable on a terminal, one JSON object a line elsewhere.

    structlog comes with `load`, or with the first line: a relay that is started again takes events a fifth earlier.
    """

    def __init__(self, log_format: LogFormat = "auto") -> None:
        self._format: LogFormat = log_format
        self._logger: Any = None

    def load(self) -> Any:
        """Return structlog's logger."""
        if self._logger is None:
            self._logger = _logger(self._format)
        return self._logger

    def log(self, level: int, said: str, **facts: object) -> None:
        """Write a line, `level` as in `logging`."""
        try:
            logger = self.load()
        except Exception as error:  # no descriptor is left to read structlog with, say
            sys.stderr.write(f"{said} {facts} (in plain text: {error})\n")
            return
        logger.log(level, said, **facts)

    def info(self, said: str, **facts: object) -> None:
        """Write what an operator may want to know."""
        self.log(logging.INFO, said, **facts)

    def warning(self, said: str, **facts: object) -> None:
        """Write what an operator should look at."""
        self.log(logging.WARNING, said, **facts)

    def error(self, said: str, **facts: object) -> None:
        """Write what does not work."""
        self.log(logging.ERROR, said, **facts)

    def exception(self, said: str, **facts: object) -> None:
        """Write what does not work, with the exception that is being handled."""
        self.log(logging.ERROR, said, exc_info=True, **facts)


def _logger(log_format: LogFormat) -> Any:
    import structlog

    readable = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if readable:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def hear_uvicorn(log: RelayLog) -> None:
    """Write uvicorn's warnings to our log."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = [_Forward(log)] if name == "uvicorn" else []
        logger.setLevel(logging.WARNING)
        logger.propagate = name not in ("uvicorn", "uvicorn.access")


class _Forward(logging.Handler):
    def __init__(self, log: RelayLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if "without completing handshake" in record.getMessage():
            return  # a WebSocket that was refused: the guard says why
        self._log.log(record.levelno, record.getMessage().strip(), exc_info=record.exc_info or None)


class Refusals:
    """Log refused requests, one a minute for each reason, with how many were not logged."""

    def __init__(self, log: RelayLog, *, clock: Callable[[], float] = time.monotonic) -> None:
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
