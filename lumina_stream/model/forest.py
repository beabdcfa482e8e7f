"""Many traces at once: routes each event to its tree, and a producer's fate to all trees it is in."""

from collections.abc import Iterator

import msgspec

from lumina_stream.model.events import (
    Event,
    EventsLost,
    ProducerEnded,
    ProducerEvent,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    UnknownEvent,
)
from lumina_stream.model.producers import Producers
from lumina_stream.model.tree import TraceTree

_PRODUCER_EVENTS = (EventsLost, ProducerStarted, ProducerLost, ProducerReturned, ProducerEnded)


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one event touched in one trace."""

    trace_id: str
    span_ids: tuple[str, ...]


class Forest:
    """Trees by trace id, with one `Producers` among them. Order-free and idempotent as they are."""

    __slots__ = ("_by_producer", "_producers_of", "lost_events", "producers", "traces")

    def __init__(self) -> None:
        self.producers = Producers()
        self.traces: dict[str, TraceTree] = {}
        self.lost_events: dict[tuple[int, str, int], EventsLost] = {}
        self._by_producer: dict[str, set[str]] = {}
        self._producers_of: dict[str, set[str]] = {}

    def apply(self, event: Event, producer_id: str, seq: int) -> tuple[Change, ...]:
        """Take in one event; return what it touched, trace by trace."""
        if isinstance(event, _PRODUCER_EVENTS):
            return self._apply_producer_event(event, producer_id, seq)
        if isinstance(event, UnknownEvent):
            return ()
        trace_id = event.trace_id
        tree = self.traces.get(trace_id)
        if tree is None:
            tree = self.traces[trace_id] = self._new_tree(trace_id)
        touched = tree.apply(event, producer_id, seq)
        producers = self._producers_of.get(trace_id)
        if producers is None or producer_id not in producers:
            self.join(trace_id, producer_id)
        return (Change(trace_id, touched),) if touched else ()

    def tree(self, trace_id: str) -> TraceTree:
        """Return a trace's tree, an empty new one if it is not known."""
        tree = self.traces.get(trace_id)
        if tree is None:
            tree = self.traces[trace_id] = self._new_tree(trace_id)
        return tree

    def join(self, trace_id: str, producer_id: str) -> None:
        """Note that a producer speaks of a trace, so that its fate reaches the trace.

        Only for those who hand events to the tree themselves, to save the routing of each.
        """
        self._producers_of.setdefault(trace_id, set()).add(producer_id)
        self._by_producer.setdefault(producer_id, set()).add(trace_id)

    def traces_of(self, producer_id: str) -> tuple[str, ...]:
        """Return the ids of the traces here that a producer speaks of."""
        return tuple(self._by_producer.get(producer_id, ()))

    def adopt(self, tree: TraceTree) -> None:
        """Note which producers a restored tree has spans of, so that their fate reaches it."""
        for producer_id in tree.producer_ids:
            self.join(tree.trace_id, producer_id)

    def remove(self, trace_id: str) -> TraceTree | None:
        """Drop a trace; return its tree if it was known."""
        tree = self.traces.pop(trace_id, None)
        for producer_id in self._producers_of.pop(trace_id, ()):
            traces = self._by_producer[producer_id]
            traces.discard(trace_id)
            if not traces:
                del self._by_producer[producer_id]
        return tree

    def producer_changed(self, producer_id: str) -> tuple[Change, ...]:
        """Spread the news that `producers` changed one producer's state."""
        changes: list[Change] = []
        for trace_id in self._by_producer.get(producer_id, ()):
            tree = self.traces.get(trace_id)
            touched = () if tree is None else tree.producer_changed(producer_id)
            if touched:
                changes.append(Change(trace_id, touched))
        return tuple(changes)

    def __iter__(self) -> Iterator[TraceTree]:
        return iter(self.traces.values())

    def __len__(self) -> int:
        return len(self.traces)

    def _new_tree(self, trace_id: str) -> TraceTree:
        tree = TraceTree(trace_id, self.producers)
        for (time_ns, producer_id, seq), event in self.lost_events.items():
            if event.by_trace.get(trace_id):
                tree.losses[time_ns, producer_id, seq] = (
                    event.by_trace[trace_id],
                    event.reason,
                    event.exact,
                )
        return tree

    def _apply_producer_event(
        self, event: ProducerEvent, producer_id: str, seq: int
    ) -> tuple[Change, ...]:
        if not isinstance(event, EventsLost):
            changed = self.producers.apply(event, producer_id, seq)
            return () if changed is None else self.producer_changed(changed)
        self.lost_events[event.time_ns, producer_id, seq] = event
        changes: list[Change] = []
        for trace_id in event.by_trace:
            tree = self.traces.get(trace_id)
            touched = () if tree is None else tree.apply(event, producer_id, seq)
            if touched:
                changes.append(Change(trace_id, touched))
        return tuple(changes)
