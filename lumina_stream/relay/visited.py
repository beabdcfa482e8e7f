"""Trees of traces that left the memory, read back from the log because somebody looks at them.

Read in a thread, and kept while they are looked at: a viewer asks for one span after the other. A
trace of which something new comes goes back into the memory, and is forgotten here.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from lumina_stream.model.limits import MIB
from lumina_stream.model.producers import Producer
from lumina_stream.model.tree import TraceTree
from lumina_stream.relay import costs
from lumina_stream.relay.departed import Departed
from lumina_stream.relay.log import Log, LogUnavailable
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.read_back import read_back

VISITED_S = 60.0
"""How long nobody may look at a tree before it goes: reading a page of the screen takes as long."""
VISITED_BYTES = 64 * MIB
"""Estimated bytes of these trees together; the one looked at last stays, whatever its size."""


class Reading:
    """A tree that is being read back: begun and finished by its `Restorer`, filled in any thread."""

    def __init__(self, tree: TraceTree, log: Log, upto: int) -> None:
        self.tree = tree
        self.cost = 0
        """Estimated bytes of the tree."""
        self.met: list[str] = []
        """Producers that speak of the trace, of which nothing is known here yet."""
        self.is_abandoned = False
        """Set it to end `run` early."""
        self._log = log
        self._upto = upto

    def run(self) -> None:
        """Read the trace. Raises `LogUnavailable`, also when abandoned; the tree is of no use then."""
        for cost in read_back(self.tree, self._log, self._upto, self._meet):
            self.cost += cost
            if self.is_abandoned:
                raise LogUnavailable("the trace is no longer wanted")

    def price(self, book: PriceBook) -> None:
        """Price the calls, as far as the book has prices, and work out what each adds."""
        costs.price(self.tree, book)
        _ = self.tree.totals

    def _meet(self, producer_id: str) -> None:
        self.tree.producers.restore(Producer(producer_id))
        self.met.append(producer_id)


class _Visit(msgspec.Struct):
    tree: TraceTree
    cost: int
    looked_s: float


class Visited:
    """Hold the trees; times are any monotonic seconds. Those that go are handed to `departed`."""

    def __init__(self, departed: Departed) -> None:
        self._departed = departed
        self._visits: OrderedDict[str, _Visit] = OrderedDict()  # the longest not looked at first
        self._bytes = 0

    def __contains__(self, trace_id: str) -> bool:
        return trace_id in self._visits

    def __len__(self) -> int:
        return len(self._visits)

    def get(self, trace_id: str, now_s: float) -> TraceTree | None:
        """Return a tree, and note that it is looked at."""
        visit = self._visits.get(trace_id)
        if visit is None:
            return None
        visit.looked_s = now_s
        self._visits.move_to_end(trace_id)
        return visit.tree

    def keep(self, tree: TraceTree, cost: int, now_s: float) -> None:
        """Keep a tree; others go if they are too large together."""
        self.drop(tree.trace_id)
        self._visits[tree.trace_id] = _Visit(tree, cost, now_s)
        self._bytes += cost
        while self._bytes > VISITED_BYTES and len(self._visits) > 1:
            self.drop(next(iter(self._visits)))

    def drop(self, trace_id: str) -> None:
        """Forget a tree, if it is here."""
        visit = self._visits.pop(trace_id, None)
        if visit is not None:
            self._bytes -= visit.cost
            self._departed.add(visit.tree)

    def expire(self, now_s: float) -> None:
        """Forget the trees that nobody has looked at for a while."""
        for trace_id, visit in list(self._visits.items()):
            if now_s - visit.looked_s >= VISITED_S:
                self.drop(trace_id)
