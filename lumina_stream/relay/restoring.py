"""Traces come back into the memory: from the store at a start, from the log when they are wanted."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lumina_stream.model.producers import Producer, Producers, Stamp
from lumina_stream.model.record import SpanRecord
from lumina_stream.model.tree import TraceTree
from lumina_stream.relay.attributes import split
from lumina_stream.relay.backlog import Backlog
from lumina_stream.relay.held import Held, Memory
from lumina_stream.relay.log import Log, LogUnavailable
from lumina_stream.relay.projection_store import Loss, ProjectionStore
from lumina_stream.relay.read_back import EVENT_BYTES, EVENT_COST, decode_carried, read_back
from lumina_stream.relay.visited import Reading, Visited


class Restorer:
    """Fill the memory from store, backlog and log. Counts are cumulative."""

    def __init__(self, memory: Memory, store: ProjectionStore, backlog: Backlog, log: Log) -> None:
        self._memory = memory
        self._store = store
        self._backlog = backlog
        self._log = log
        self.visited = Visited(memory.departed)
        self.read_back = 0
        """Trees rebuilt from the log."""
        self.incomplete = 0
        """Those of them that could not be read whole."""

    def load(self, offset: int) -> None:
        """Take over the traces whose spans are in the store, as of `offset`."""
        for trace_id, truncated in list(self._store.kept()):
            records = list(self._store.records(trace_id))
            stored = self._store.line(trace_id)
            held = self._restore(trace_id, truncated, self._store.losses(trace_id).items(), records)
            held.last_offset = offset
            held.is_kept = held.was_stored = True
            if stored is not None:
                held.last_offset = stored.last_offset
                held.indexed = len(held.tree)
                held.digests = dict.fromkeys(split(stored.digests))
        # Who is alive may speak at any time, and a viewer that is here before must know of whom that is.
        producers = self._memory.forest.producers
        for producer in self._store.producers():
            if producer.state == "alive" and producers.get(producer.producer_id) is None:
                producers.restore(producer)

    def load_carried(self) -> int:
        """Take over the open traces whose beginning the log holds no longer; return how many are new."""
        forest, new = self._memory.forest, 0
        for _, blob in self._log.carried():
            try:
                carried = decode_carried(blob)
            except msgspec.DecodeError:
                self.incomplete += 1
                continue
            for producer in carried.producers:
                forest.producers.restore(producer)
                self._backlog.next.producers.add(producer.producer_id)
            for trace in carried.traces:
                trace_id = trace.trace_id
                if trace_id not in self._memory.held and self._backlog.line(trace_id) is None:
                    new += 1
                held = self._restore(trace_id, trace.truncated, trace.losses, trace.records)
                held.last_offset = max(held.last_offset, carried.offset)
                held.indexed = 0
                self._memory.changed(trace_id, held)
                for stamp, loss in trace.losses:
                    self._backlog.note_loss(trace_id, stamp, carried.offset, loss)
        return new

    def bring_back(self, trace_id: str, last_offset: int, upto: int) -> Held:
        """Return a trace that left the memory, read back from the log up to an offset."""
        self.visited.drop(trace_id)
        held = self._memory.add(trace_id, last_offset)
        held.was_stored = True
        tree = held.tree
        self.read_back += 1
        tree.losses.update(self._backlog.losses(trace_id))
        try:
            for cost in read_back(tree, self._log, upto, lambda p: self.recall(tree.producers, p)):
                held.cost += cost
        except LogUnavailable:
            self.incomplete += 1
        self._memory.forest.adopt(tree)
        if trace_id in self._backlog.next.drop:
            self._backlog.next.drop.discard(trace_id)
            held.is_kept = True
        self._memory.changed(trace_id, held)
        return held

    def begin_reading(self, trace_id: str, upto: int) -> Reading:
        """Return a trace, as of an offset, that is still to be read back for somebody to look at."""
        self.read_back += 1
        # Producers of its own: those of the forest may be forgotten while it is looked at.
        tree = TraceTree(trace_id, Producers())
        tree.losses.update(self._backlog.losses(trace_id))
        return Reading(tree, self._log, upto)

    def finish_reading(self, reading: Reading) -> None:
        """Take over what is known of the producers that were met."""
        for producer_id in reading.met:
            self.recall(reading.tree.producers, producer_id)
            reading.tree.producer_changed(producer_id)

    def recall(self, producers: Producers, producer_id: str) -> None:
        """Bring back what is known of a producer; one that is not known is alive."""
        known = self._memory.forest.producers.get(producer_id) or self._store.producer(producer_id)
        producers.restore(known or Producer(producer_id))

    def _restore(
        self,
        trace_id: str,
        truncated: dict[str, int],
        losses: Iterable[tuple[Stamp, Loss]],
        records: Iterable[SpanRecord],
    ) -> Held:
        forest = self._memory.forest
        held = self._memory.add(trace_id)
        tree = held.tree
        for record in records:
            tree.restore(record)
            held.cost += 3 * (EVENT_COST + EVENT_BYTES)
        for what, count in truncated.items():
            tree.truncated[what] = max(count, tree.truncated.get(what, 0))
        tree.losses.update(losses)
        for node in tree:
            if node.start is not None and forest.producers.get(node.start[1]) is None:
                self.recall(forest.producers, node.start[1])
        forest.adopt(tree)
        self._memory.unplaced[trace_id] = self._memory.stale[trace_id] = held
        return held
