"""Checkpoints: what a restart needs of the projections, in one transaction, a millisecond at a time."""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence

import apsw

from lumina_stream.model.record import record_of
from lumina_stream.relay.backlog import SLICE, Backlog
from lumina_stream.relay.held import Held, Memory
from lumina_stream.relay.log import Log
from lumina_stream.relay.projection_store import ProjectionStore
from lumina_stream.relay.settling import Settler


class Checkpointer:
    """Write what changed in the memory into the store."""

    def __init__(
        self, memory: Memory, store: ProjectionStore, backlog: Backlog, settler: Settler, log: Log
    ) -> None:
        self._memory = memory
        self._store = store
        self._backlog = backlog
        self._settler = settler
        self._log = log
        self._is_writing = False
        self.count = 0
        """How many succeeded."""

    def is_due(self, offset: int) -> bool:
        """Tell whether a checkpoint as of `offset` would write anything."""
        return offset != self._store.offset or bool(
            self._memory.dirty or self._backlog.next.producers or self._backlog.has_deleted
        )

    def steps(self, offset: int) -> Iterator[None]:
        """Write in steps; frames may be applied between them, and are then replayed twice."""
        if self._is_writing:
            return
        self._is_writing = True
        try:
            yield from self._write(offset)
        finally:
            self._is_writing = False

    def _write(self, offset: int) -> Iterator[None]:
        self._settler.load_prices()  # what leaves the memory without a price would never get one
        yield from self._settler.draw_steps()
        memory, backlog, refused = self._memory, self._backlog, self._backlog.refused
        dirty, memory.dirty = memory.dirty, {}
        batch = backlog.next
        undo: list[tuple[Held, set[str], bool]] = []
        try:
            # Written before the first pause: a lookup would miss it in between.
            backlog.write_batch(batch, memory.forest.producers)
            while backlog.refused == refused and backlog.flush_some():
                yield
            for trace_id, held in dirty.items():
                if backlog.refused == refused and memory.held.get(trace_id) is held:
                    yield from self._keep(trace_id, held, undo)
            if backlog.refused == refused:
                backlog.commit(offset, self._log.epoch.id)
                self.count += 1
                backlog.purge()
                self._forget_producers()
                return
        except apsw.Error as error:
            backlog.refuse(error)
        # A query's write failed meanwhile, or one of these: nothing of it is in the file.
        for held, spans, was_kept in undo:
            held.dirty |= spans
            held.is_kept = was_kept
        memory.dirty = {**dirty, **memory.dirty}
        backlog.take_back(batch)

    def _keep(
        self, trace_id: str, held: Held, undo: MutableSequence[tuple[Held, set[str], bool]]
    ) -> Iterator[None]:
        """Write the spans of a trace that changed; all of them, the first time it is open."""
        self._settler.index(held)
        if not held.is_kept and trace_id not in self._memory.open:
            # Nothing runs in it: a restart reads it back from the log, if it is wanted at all.
            held.dirty.clear()
            unfinished = held.tree.unfinished_producers()
            if unfinished or held.was_stored:
                held.was_stored = True
                self._store.set_unfinished(trace_id, unfinished)
            return
        undo.append((held, held.dirty, held.is_kept))
        tree, spans = held.tree, held.dirty
        nodes = list(map(tree.span, spans)) if held.is_kept else list(tree)
        held.dirty, held.is_kept = set(), True
        refused = self._backlog.refused
        for at in range(0, max(1, len(nodes)), SLICE):
            records = [record_of(node) for node in nodes[at : at + SLICE] if node is not None]
            self._store.keep(trace_id, tree.truncated, records)
            yield
            if self._backlog.refused != refused or self._backlog.is_deleted(trace_id):
                return

    def _forget_producers(self) -> None:
        """Forget the gone producers that no tree in memory speaks of; the store has them."""
        forest = self._memory.forest
        for producer in forest.producers.all():
            if (
                producer.state != "alive"
                and producer.producer_id not in self._backlog.next.producers
                and not forest.traces_of(producer.producer_id)
            ):
                forest.producers.forget(producer.producer_id)
