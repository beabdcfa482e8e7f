"""`lumina-stream tail`: a live tree on a terminal, lines or JSON elsewhere."""

import argparse
import contextlib
import importlib.util
import os
import sys
from typing import TextIO

import anyio

from lumina_stream.model import codec
from lumina_stream.model.errors import LuminaError
from lumina_stream.model.live import Update
from lumina_stream.viewing.client import LiveView, tail
from lumina_stream.viewing.lines import LineWriter
from lumina_stream.viewing.rows import ansi, text_of
from lumina_stream.viewing.text import carried

IDLE_S = 1.0
"""With `--until-idle`: how long nothing may run before it ends."""


def run_tail(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    # Facts as the log has them begin where one joins; a tree also shows what is open already.
    live = tail(
        options.url,
        service=options.service,
        trace_id=options.trace,
        name=options.name,
        state=options.state,
        since=options.since,
        snapshot=not options.json,
    )
    if options.json:
        anyio.run(_print_json, live, options.until_idle)
    elif options.lines or not on_screen(sys.stdout):
        anyio.run(print_lines, live, options.until_idle)
    else:
        anyio.run(_show, live, options.until_idle)
    return 0


def on_screen(stream: TextIO) -> bool:
    """Tell whether a live tree can be painted there."""
    if not stream.isatty() or os.environ.get("TERM", "") in ("", "dumb"):
        return False
    if importlib.util.find_spec("rich") is None:
        hint = "a live tree needs: pip install 'lumina-stream[all]'"
        say(f"printing lines; {hint}")
        return False
    return True


def coloured(stream: TextIO) -> bool:
    """Tell whether colours are welcome there (see https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def say(text: str) -> None:
    """Write a line to stderr; where nobody listens any more that is no error."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"lumina-stream: {text}\n")
        sys.stderr.flush()


def no_such_trace(live: LiveView) -> str:
    """Say that the relay does not know the one trace that was asked for."""
    return f"no such trace at {live.endpoint.url}: {live.unknown}"


async def _show(live: LiveView, until_idle: bool) -> None:
    from rich.console import Console

    from lumina_stream.viewing.terminal import watch

    async with live:
        await watch(live, Console(), until_idle=until_idle)
        if until_idle and live.unknown:
            raise LuminaError(no_such_trace(live))


async def print_lines(live: LiveView, until_idle: bool) -> None:
    """Print a live view as lines on stdout until it ends or is idle."""
    writer = LineWriter()
    paint = ansi if coloured(sys.stdout) else text_of
    encoding = sys.stdout.encoding or "utf-8"
    async with live:
        async for update in _Updates(live, until_idle):
            lines = writer.take(update, live.traces)
            if lines:
                sys.stdout.write("".join(f"{carried(paint(line), encoding)}\n" for line in lines))
                sys.stdout.flush()


async def _print_json(live: LiveView, until_idle: bool) -> None:
    out = sys.stdout.buffer
    async with live:
        async for update in _Updates(live, until_idle):
            if update.missed:
                say(f"{update.missed} events skipped")
            if update.facts:
                out.write(b"".join(codec.encode_fact_json(fact) + b"\n" for fact in update.facts))
                out.flush()


class _Updates:
    """The updates of a live view; with `until_idle` they end when nothing has run for a moment.

    Says on stderr when the relay goes away and comes back.
    """

    def __init__(self, live: LiveView, until_idle: bool) -> None:
        self._live = live
        self._until_idle = until_idle
        self._seen = False
        self._connected = False
        self._away = False

    def __aiter__(self) -> "_Updates":
        return self

    async def __anext__(self) -> Update:
        if self._until_idle and self._live.unknown:
            raise LuminaError(no_such_trace(self._live))
        limit_s = IDLE_S if self._until_idle and self._idle() else None
        with anyio.move_on_after(limit_s):
            update = await anext(self._live)
            self._seen = self._seen or any(change.span_ids for change in update.changes)
            self._note_connection()
            return update
        raise StopAsyncIteration

    def _note_connection(self) -> None:
        live, before = self._live, self._connected
        self._connected = live.connected
        if before and not live.connected:
            self._away = True
            reason = f": {live.failure}" if live.failure else ""
            say(f"the relay at {live.endpoint.url} is away{reason}; trying again until it is back")
        elif live.connected and self._away:
            self._away = False
            say(f"the relay at {live.endpoint.url} is back")

    def _idle(self) -> bool:
        return self._seen and not any(tree.open_count for tree in self._live.traces.values())
