"""Deleting a trace: from the log, which is the truth, and then from everything that was made of it.

A deleted trace stays deleted: what still comes of it, from a program that goes on or one that sends
again, is acknowledged and not kept, for as long as the log remembers the deletion.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lumina_stream.protocol import frames
from lumina_stream.protocol.intake import Accepted
from lumina_stream.relay.admission import admit, traces_in
from lumina_stream.relay.erasing import erase, erased_in
from lumina_stream.relay.log import Deletion, Log, LogError

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

IDS_PER_FRAME = 1_000
"""Of 34 bytes each."""


class Deleting:
    """The deletions of one relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._traces = set(relay.store.deletions())

    def is_deleted(self, trace_id: str) -> bool:
        """Tell whether a trace was deleted."""
        return trace_id in self._traces

    def without_deleted(self, accepted: Accepted) -> tuple[bytes, tuple[str, ...]]:
        """Return a batch's events without those of deleted traces, in the same number, and its traces."""
        data = accepted.events
        trace_ids = traces_in(data, accepted.count)
        gone = self._traces.intersection(trace_ids) if self._traces else None
        if not gone:
            return data, trace_ids
        data, left = erase(data, admit(data, accepted.producer_id), gone)
        self._relay.counters.deleted_events += erased_in(data)
        return data, left.trace_ids

    async def delete(self, trace_id: str) -> Deletion | None:
        """Delete a trace; None if it is not known. Raises `LogError` if the log cannot store that now."""
        relay = self._relay
        await relay.caught_up()
        if trace_id in self._traces or relay.projections.summary(trace_id) is None:
            return None
        self._traces.add(trace_id)  # what is accepted from now on is committed after the deletion
        now_ns = relay.clock.now()

        def job(log: Log) -> Deletion:
            return log.delete_trace(trace_id, now_ns)

        try:
            deletion: Deletion = await relay.committer.run(job)
        except LogError:
            self._traces.discard(trace_id)
            raise
        await relay.applied(relay.store.next_offset - 1)
        relay.projections.delete((trace_id,))
        relay.hub.removed((trace_id,))
        relay.counters.deleted_traces += 1
        relay.log.info("a trace was deleted", trace=trace_id, erased=deletion.erased)
        return deletion

    def forget_old(self) -> None:
        """Forget the deletions that the log remembers no longer."""
        self._traces.intersection_update(self._relay.store.deletions())

    def since(self, offset: int) -> Iterator[frames.Removed]:
        """Yield what a consumer must hear that has what there was up to an offset."""
        gone = [d.trace_id for d in self._relay.store.deletions().values() if d.offset >= offset]
        for at in range(0, len(gone), IDS_PER_FRAME):
            yield frames.Removed(offset, tuple(gone[at : at + IDS_PER_FRAME]))
