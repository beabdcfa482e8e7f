"""What is worked out of a trace that changed: whether it is open, its calls' prices, its summary.

To *place* traces is quick, and lets the finished ones leave. To *draw* one takes a tenth of a
millisecond or so, and waits until somebody asks, or until it leaves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from lumina_stream.protocol.frames import TraceSummary
from lumina_stream.relay import costs
from lumina_stream.relay.attributes import MOST, add_digests
from lumina_stream.relay.backlog import Backlog
from lumina_stream.relay.held import Held, Memory
from lumina_stream.relay.outline import CallUsage, usage_of
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.projection_store import Line
from lumina_stream.relay.summaries import summarise

DRAWN_AT_ONCE = 15
"""Traces drawn before others have their turn."""
INDEXED_AT_ONCE = 500
"""Spans of one trace whose attributes are looked at before others have theirs."""


class Settler:
    """Look at the traces of a memory that changed."""

    def __init__(self, memory: Memory, backlog: Backlog, book: PriceBook) -> None:
        self._memory = memory
        self._backlog = backlog
        self._book = book
        self._unpriced: dict[str, Held] = {}  # which have calls that changed
        self._priced: dict[str, set[str]] = {}  # calls that were, since `take_priced`

    @property
    def wants_prices(self) -> bool:
        """Tell whether calls wait for `PriceBook.load`."""
        return bool(self._unpriced) and not self._book.is_loaded

    def load_prices(self) -> None:
        """Load the prices if calls wait for them, here and now."""
        if self.wants_prices:
            self._book.load()

    def forget(self, trace_id: str) -> None:
        """Forget a trace that was deleted: it is neither priced nor drawn any more."""
        self._unpriced.pop(trace_id, None)
        self._priced.pop(trace_id, None)

    def changed(self, trace_id: str, held: Held) -> None:
        """Note that something came for a trace."""
        self._memory.changed(trace_id, held)
        if held.tree.calls.changed:
            self._unpriced[trace_id] = held

    def take_priced(self) -> dict[str, set[str]]:
        """Price what changed; return the calls that were priced since the last time, by trace."""
        for trace_id, held in list(self._unpriced.items()):
            self.price(trace_id, held)
        priced, self._priced = self._priced, {}
        return priced

    def price(self, trace_id: str, held: Held) -> None:
        """Price the calls of a trace that changed, as far as that is possible now."""
        if not held.tree.calls.changed:
            self._unpriced.pop(trace_id, None)
            return
        touched, is_done = costs.price(held.tree, self._book)
        if touched:
            held.summary = None
            self._memory.stale[trace_id] = held
            self._priced.setdefault(trace_id, set()).update(touched)
        if is_done or self._memory.held.get(trace_id) is not held:
            self._unpriced.pop(trace_id, None)
        else:
            self._unpriced[trace_id] = held

    def summary(self, held: Held) -> TraceSummary:
        """Return a trace's summary as of now."""
        if held.summary is None:
            trace_id = held.tree.trace_id
            self.price(trace_id, held)
            self.index(held)
            held.summary = summarise(held.tree)
            self._backlog.note(Line(held.summary, held.last_offset, b"".join(held.digests)))
        return held.summary

    def index(self, held: Held) -> None:
        """Take in by which attributes a trace is found now."""
        self._index_some(held, len(held.tree))

    def _index_steps(self, held: Held) -> Iterator[None]:
        """Do the same in steps of about a millisecond, but for what one step may do."""
        while max(len(held.fresh), len(held.tree) - held.indexed) > INDEXED_AT_ONCE:
            self._index_some(held, INDEXED_AT_ONCE)
            yield

    def _index_some(self, held: Held, most: int) -> None:
        """Look at so many of the spans that are new, and of those that changed since."""
        tree, first = held.tree, held.indexed
        nodes = tree.numbered(first, first + most)
        if held.fresh:
            again = set(itertools.islice(held.fresh, most))
            held.fresh -= again
            found = map(tree.span, again)
            nodes += [node for node in found if node is not None and node.number < first]
        held.indexed = min(first + most, len(tree))
        if held.is_kept:
            held.dirty.update([node.span_id for node in nodes])
        if nodes and len(held.digests) < MOST:
            add_digests(held.digests, nodes)

    def take_usage(self, held: Held) -> list[CallUsage]:
        """Return what calls of a trace add, those that changed since the last time; see `leave_usage`.

        All of them, the first time.
        """
        self.price(held.tree.trace_id, held)
        self._take_shares(held)
        changed = held.tree.calls.spans if held.unsaid is None else held.unsaid
        held.unsaid = {}
        return usage_of(changed.values())

    def leave_usage(self, held: Held) -> None:
        """Note that nobody asks for what changes any more."""
        held.unsaid = None

    def _take_shares(self, held: Held) -> None:
        changed = costs.take_changed(held.tree)
        held.unwritten.update(changed)
        if held.unsaid is not None:
            held.unsaid.update(changed)

    def place(self) -> None:
        """See which of the traces that changed are open, and let finished ones leave."""
        memory = self._memory
        for trace_id, held in memory.unplaced.items():
            memory.place(trace_id, held, is_open=held.tree.open_count > 0)
        memory.unplaced.clear()
        for trace_id, held in memory.evict():
            if trace_id in memory.stale:
                self._draw(trace_id, held)
            unfinished = tuple(held.tree.unfinished_producers())
            if unfinished or held.was_stored:
                self._backlog.next.unfinished[trace_id] = unfinished
            if held.is_kept:
                self._backlog.next.drop.add(trace_id)

    def draw_steps(self) -> Iterator[None]:
        """Place and draw what changed so far, in steps of about a millisecond."""
        self.place()
        stale = list(self._memory.stale.items())
        for at, (trace_id, held) in enumerate(stale, 1):
            if self._memory.stale.get(trace_id) is held:
                yield from self._index_steps(held)
            # One that left without its prices is drawn as well, unless it is back as another.
            if self._memory.stale.get(trace_id) is held:
                if self._memory.held.get(trace_id, held) is held:
                    self._draw(trace_id, held)
                self._memory.stale.pop(trace_id, None)
            if at % DRAWN_AT_ONCE == 0:
                yield

    def _draw(self, trace_id: str, held: Held) -> None:
        self.price(trace_id, held)
        self.summary(held)
        if held.tree.calls.spans:
            self._take_shares(held)
            unwritten, held.unwritten = held.unwritten, {}
            self._backlog.note_calls(trace_id, costs.rows_of(held.tree, unwritten))
        self._memory.stale.pop(trace_id, None)
