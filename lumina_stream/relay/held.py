"""Which traces are in memory: the open ones, and the finished ones that changed last.

It decides nothing about the store or the log: who leaves is handed to the caller.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from lumina_stream.model.forest import Forest
from lumina_stream.model.limits import MIB
from lumina_stream.model.node import SpanNode
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.frames import TraceSummary
from lumina_stream.relay.attributes import Digests
from lumina_stream.relay.departed import Departed

RECENT_TRACES = 2_000
"""Finished traces kept in memory: what people look at next, and where late events go."""
RECENT_BYTES = 64 * MIB
"""Estimated bytes of these: a few huge ones must not push the relay out of a small container."""
RECENT_FEWEST = 4
"""Kept whatever their size: a long trace is finished for a moment between two of its roots, and
must not be read back from the log each time."""


class Held:
    """A trace in memory, and what is not written of it."""

    __slots__ = (
        "cost",
        "counted",
        "digests",
        "dirty",
        "fresh",
        "indexed",
        "is_kept",
        "last_offset",
        "summary",
        "tree",
        "unsaid",
        "unwritten",
        "was_stored",
    )

    def __init__(self, tree: TraceTree, last_offset: int = 0) -> None:
        self.tree = tree
        self.last_offset = last_offset
        self.summary: TraceSummary | None = None  # None: to be drawn again
        self.indexed = 0  # spans that were looked at once: those with the numbers below it
        self.fresh: set[str] = set()  # of these, or all: touched since then, and not in `dirty` yet
        self.dirty: set[str] = set()  # spans of `is_kept` touched since they were written
        self.digests: Digests = {}  # by which attributes it is found
        self.is_kept = False  # its spans are in the store
        self.was_stored = False  # the store may know who left spans open in it
        self.unwritten: dict[str, SpanNode] = {}  # calls whose rows are to be drawn again
        self.unsaid: dict[str, SpanNode] | None = None  # calls to tell of; None: nobody listens
        self.cost = 0  # estimated bytes
        self.counted = 0  # of these, in the sum over the recent ones


class Memory:
    """Hold the traces, by id; `forest` has their trees."""

    def __init__(self) -> None:
        self.forest = Forest()
        self.held: dict[str, Held] = {}
        self.open: dict[str, Held] = {}
        self.recent: OrderedDict[str, Held] = OrderedDict()  # the longest untouched first
        self.unplaced: dict[str, Held] = {}
        """Traces that changed since it was seen whether they are open."""
        self.stale: dict[str, Held] = {}
        """Traces whose summary is to be drawn again."""
        self.dirty: dict[str, Held] = {}
        """Traces that changed since the last checkpoint."""
        self.recent_bytes = 0
        self.departed = Departed()
        self.evicted = 0
        """How many finished traces had to leave."""

    def add(self, trace_id: str, last_offset: int = 0) -> Held:
        """Return a trace, with an empty tree if it is new here."""
        held = self.held.get(trace_id)
        if held is None:
            held = self.held[trace_id] = Held(self.forest.tree(trace_id), last_offset)
        return held

    def changed(self, trace_id: str, held: Held) -> None:
        """Note that something came for a trace."""
        held.summary = None
        self.unplaced[trace_id] = self.stale[trace_id] = self.dirty[trace_id] = held

    def place(self, trace_id: str, held: Held, *, is_open: bool) -> None:
        """Note that a trace changed, and whether it is open now."""
        self._leave_recent(trace_id, held)
        if is_open:
            self.open[trace_id] = held
            return
        self.open.pop(trace_id, None)
        self.recent[trace_id] = held
        held.counted = held.cost
        self.recent_bytes += held.cost

    def evict(self) -> Iterator[tuple[str, Held]]:
        """Yield the finished traces that are too many, the longest untouched first, then drop each."""
        while len(self.recent) > RECENT_TRACES or (
            self.recent_bytes > RECENT_BYTES and len(self.recent) > RECENT_FEWEST
        ):
            trace_id, held = next(iter(self.recent.items()))
            yield trace_id, held
            self.drop(trace_id)
            self.evicted += 1

    def drop(self, trace_id: str) -> None:
        """Drop a trace, if it is here."""
        held = self.held.pop(trace_id, None)
        if held is not None:
            self._leave_recent(trace_id, held)
            for traces in (self.open, self.unplaced, self.stale, self.dirty):
                traces.pop(trace_id, None)
            self.forest.remove(trace_id)
            self.departed.add(held.tree)

    def _leave_recent(self, trace_id: str, held: Held) -> None:
        if self.recent.pop(trace_id, None) is not None:
            self.recent_bytes -= held.counted
            held.counted = 0
