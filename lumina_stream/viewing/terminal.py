"""The live tree in a terminal: paints what `layout` decides, and lets finished traces scroll away."""

import time

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lumina_stream.model.errors import ConnectionFailed
from lumina_stream.model.live import Update
from lumina_stream.model.tree import TraceTree
from lumina_stream.viewing.client import LiveView
from lumina_stream.viewing.layout import layout
from lumina_stream.viewing.rows import STYLES, Glyphs, Line, Segment, glyphs_for
from lumina_stream.viewing.text import carried, count

FRAME_S = 0.1
"""Between two frames: text that changes more often is not read."""
SHARE = 4
"""A frame is followed by at least this many times its own duration of rest: huge trees cost few frames."""
SETTLE_S = 0.3
"""How long a finished trace stays before it scrolls away: what its last span started may still come."""
HISTORY_LINES = 60
"""Lines that a finished trace leaves behind at most: about a screen of a large monitor."""
HISTORY_TREES = 5
"""Finished traces printed whole in one frame; of the others only the root, or when too many, a count."""
HISTORY_ROOTS = 20
"""Roots printed in one frame: a thousand traces a second would scroll everything away unread."""
IDLE_S = 1.0
"""With `until_idle`: how long nothing may run before it ends."""


class Screen:
    """What the terminal shows of a live view, apart from painting it."""

    def __init__(self, live: LiveView) -> None:
        self._live = live
        self._settling: dict[str, float] = {}
        self._printed: set[str] = set()
        self._finished = 0
        self._failed = 0
        self._missed = 0
        self.seen = False
        """Whether any trace was seen."""
        self.failure: ConnectionFailed | None = None
        """Why the view ended, if it did not end well."""

    @property
    def running(self) -> list[TraceTree]:
        """Return the traces that have open spans."""
        return [tree for tree in self._live.traces.values() if tree.open_count]

    @property
    def unknown(self) -> bool:
        """Tell whether the relay does not know the one trace that was asked for."""
        return self._live.unknown is not None

    def take(self, update: Update, now_s: float) -> None:
        """Note what an update changed."""
        self._missed += update.missed
        traces = self._live.traces
        if update.restarted:
            self._settling = {t: at for t, at in self._settling.items() if t in traces}
        for change in update.changes:
            tree = traces.get(change.trace_id)
            if tree is None or not tree.span_count:
                self._settling.pop(change.trace_id, None)
                continue
            self.seen = True
            if not tree.finished:
                self._settling.pop(change.trace_id, None)
                self._printed.discard(change.trace_id)
            elif change.trace_id not in self._printed:
                self._settling[change.trace_id] = now_s

    def finished(self, now_s: float, *, all_of_them: bool = False) -> list[TraceTree]:
        """Return the traces that are over since a moment; each is returned once."""
        over = [t for t, at in self._settling.items() if all_of_them or now_s - at >= SETTLE_S]
        trees: list[TraceTree] = []
        for trace_id in over:
            del self._settling[trace_id]
            tree = self._live.traces.get(trace_id)
            if tree is not None:
                self._printed.add(trace_id)
                self._finished += 1
                self._failed += tree.error_count > 0
                trees.append(tree)
        if len(self._printed) > 10 * len(self._live.traces) + 1_000:
            self._printed &= self._live.traces.keys()
        return trees

    def history(self, trees: list[TraceTree], width: int, glyphs: Glyphs) -> list[Line]:
        """Return what finished traces leave behind above the live region."""
        lines: list[Line] = []
        now_ns = self._live.relay_ns()
        for tree in trees[:HISTORY_TREES]:
            lines.extend(layout([tree], now_ns, width, HISTORY_LINES, glyphs))
        rest = trees[HISTORY_TREES:]
        for tree in rest[:HISTORY_ROOTS]:
            lines.extend(layout([tree], now_ns, width, 1, glyphs))
        if len(rest) > HISTORY_ROOTS:
            failed = sum(tree.error_count > 0 for tree in rest[HISTORY_ROOTS:])
            text = (
                f"+{count(len(rest) - HISTORY_ROOTS)} more traces finished, "
                f"{count(failed)} with failed spans"
            )
            lines.extend(_words(text, "muted"))
        return lines

    def region(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        """Return the live region: what runs, and a line on how things stand."""
        trees = self.running
        shown = {tree.trace_id for tree in trees}
        for trace_id in self._settling:
            tree = self._live.traces.get(trace_id)
            if tree is not None and trace_id not in shown:
                trees.append(tree)
        lines = layout(trees, self._live.relay_ns(), width, max(1, height - 1), glyphs)
        return lines + self._status(len(shown), width, glyphs)

    def _status(self, running: int, width: int, glyphs: Glyphs) -> list[Line]:
        where = self._live.endpoint.url
        if not self._live.connected:
            reason = f": {self._live.failure}" if self._live.failure else ""
            return _words(f"reconnecting to {where}{reason}"[: width - 1], "halted")
        if not self.seen:
            return _words(f"waiting for spans at {where}  (Ctrl-C ends)"[: width - 1], "muted")
        # A root that still stands here for a moment has finished, too.
        settling = [tree for t in self._settling if (tree := self._live.traces.get(t)) is not None]
        finished = self._finished + len(settling)
        failed = self._failed + sum(tree.error_count > 0 for tree in settling)
        parts = [f"{count(running)} running", f"{count(finished)} finished"]
        if failed:
            parts.append(f"{count(failed)} with failed spans")
        if self._missed:
            parts.append(f"{count(self._missed)} events skipped")
        parts.append(where)
        return _words(f" {glyphs.dot} ".join(parts)[: width - 1], "muted")


async def watch(live: LiveView, console: Console, *, until_idle: bool = False) -> None:
    """Show a live view until it ends, is cancelled or, if asked, nothing has run for a second.

    Raises `ConnectionFailed` when the relay refuses the view for good.
    """
    screen = Screen(live)
    glyphs = glyphs_for(console.encoding)
    with Live(
        console=console, auto_refresh=False, transient=True, vertical_overflow="crop"
    ) as region:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, live, screen, tasks.cancel_scope)
            try:
                await _paint(screen, console, region, glyphs, until_idle=until_idle)
            finally:
                tasks.cancel_scope.cancel()
                last = screen.finished(0, all_of_them=True)
                _print(console, screen.history(last, console.width - 1, glyphs))
    if screen.failure is not None:
        raise screen.failure


async def _read(live: LiveView, screen: Screen, scope: anyio.CancelScope) -> None:
    try:
        async for update in live:
            screen.take(update, time.monotonic())
    except ConnectionFailed as error:
        screen.failure = error
    scope.cancel()


async def _paint(
    screen: Screen, console: Console, region: Live, glyphs: Glyphs, *, until_idle: bool
) -> None:
    shown: list[Line] = []
    idle_since: float | None = None
    while not (until_idle and screen.unknown):
        began = time.monotonic()
        width, height = console.size
        _print(console, screen.history(screen.finished(began), width, glyphs))
        # The last column and line stay free: terminals differ in what they do there.
        lines = screen.region(width - 1, height - 1, glyphs)
        if lines != shown:
            shown = lines
            region.update(_text(lines, console.encoding), refresh=True)
        if until_idle and screen.seen and not screen.running:
            idle_since = idle_since or began
            if began - idle_since >= IDLE_S:
                return
        else:
            idle_since = None
        await anyio.sleep(max(FRAME_S, SHARE * (time.monotonic() - began)))


def _print(console: Console, lines: list[Line]) -> None:
    if lines:
        console.print(
            _text(lines, console.encoding), highlight=False, overflow="crop", no_wrap=True
        )


def _text(lines: list[Line], encoding: str) -> Text:
    text = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(lines):
        if number:
            text.append("\n")
        for segment in line:
            text.append(carried(segment.text, encoding), STYLES.get(segment.style) or None)
    return text


def _words(text: str, style: str) -> list[Line]:
    return [(Segment(text, style),)]
