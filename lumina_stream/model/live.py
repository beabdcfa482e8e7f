"""What a live consumer holds: the trees so far, and what the last facts changed in them.

Shared by the in-process subscription and the view of a relay, so that both feel the same.
"""

from collections.abc import Iterable

import msgspec

from lumina_stream.model.events import Fact
from lumina_stream.model.forest import Change, Forest
from lumina_stream.model.tree import TraceTree


class Update(msgspec.Struct, frozen=True):
    """What came at once: the facts, the spans that they touched, and whether everything began anew.

    `missed` counts events that this consumer was too slow for.
    """

    facts: tuple[Fact, ...] = ()
    changes: tuple[Change, ...] = ()
    restarted: bool = False
    missed: int = 0


class LiveTraces:
    """Fold facts into trees; forget the oldest finished ones when there are too many."""

    def __init__(self, *, keep_finished: int = 1_000) -> None:
        self.forest = Forest()
        self._keep_finished = keep_finished
        self._finished: dict[str, None] = {}  # in the order in which they finished

    @property
    def traces(self) -> dict[str, TraceTree]:
        """Return the trees by trace id."""
        return self.forest.traces

    def clear(self) -> None:
        """Drop everything."""
        self.forest = Forest()
        self._finished = {}

    def apply(self, facts: Iterable[Fact]) -> Update:
        """Take in facts; return what they changed, one `Change` a trace."""
        taken: list[Fact] = []
        touched: dict[str, dict[str, None]] = {}
        for fact in facts:
            taken.append(fact)
            self.forest.producers.heard_from(fact.producer_id, fact.service)
            for change in self.forest.apply(fact.event, fact.producer_id, fact.seq):
                touched.setdefault(change.trace_id, {}).update(dict.fromkeys(change.span_ids))
        self.note(touched)
        changes = tuple(Change(trace_id, tuple(spans)) for trace_id, spans in touched.items())
        return Update(tuple(taken), changes)

    def note(self, trace_ids: Iterable[str]) -> None:
        """Look at traces that changed: remember which are finished, forget the oldest of these."""
        for trace_id in trace_ids:
            tree = self.forest.traces.get(trace_id)
            if tree is not None and tree.finished:
                self._finished[trace_id] = None
            else:
                self._finished.pop(trace_id, None)
        while len(self._finished) > self._keep_finished:
            oldest = next(iter(self._finished))
            del self._finished[oldest]
            self.forest.remove(oldest)
