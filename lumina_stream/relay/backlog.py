"""What the projections know and their store does not hold yet, or not for good.

Lookups see both as one. A summary may be written early, for a query; everything else waits for the
next checkpoint, and after a failed one everything waits again. See `projection_store` for why.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import apsw
import msgspec

from lumina_stream.model.producers import Producers, Stamp
from lumina_stream.relay.costs import CallRow
from lumina_stream.relay.projection_store import Line, Loss, ProjectionStore

SLICE = 100
"""Records or summaries written at once: about a millisecond."""

_Calls = dict[tuple[str, str], CallRow | None]
"""By trace and span id; None where a call adds nothing any more."""


class Batch(msgspec.Struct, gc=False):
    """What one checkpoint writes beside summaries and spans; goes back if it fails."""

    drop: set[str] = msgspec.field(default_factory=set[str])
    """Traces whose spans the store needs no longer."""
    unfinished: dict[str, tuple[str, ...]] = msgspec.field(
        default_factory=dict[str, tuple[str, ...]]
    )
    """Who left spans open in a trace that left the memory."""
    losses: dict[str, dict[Stamp, tuple[int, Loss]]] = msgspec.field(
        default_factory=dict[str, dict[Stamp, tuple[int, Loss]]]
    )
    """Losses by trace and stamp, each with the offset of its report."""
    producers: set[str] = msgspec.field(default_factory=set[str])
    """Producers of which something was said."""


class Backlog:
    """Hold back what a checkpoint will write; look it up together with what is written."""

    def __init__(self, store: ProjectionStore) -> None:
        self._store = store
        self._unflushed: dict[str, Line] = {}
        self._uncommitted: dict[str, Line] = {}
        self._unflushed_calls: _Calls = {}
        self._uncommitted_calls: _Calls = {}
        self._deleted: dict[str, None] = {}
        self._uncommitted_deleted: dict[str, None] = {}
        self.wants_purge = False
        """Whether what was deleted is still in the store's write-ahead file."""
        self.next = Batch()
        """What the next checkpoint writes."""
        self.refused = 0
        """How many writes failed; each took back what was written since the last commit."""
        self.error: str | None = None
        """What the last failed write said, None once a commit succeeded."""

    # --- lookups -----------------------------------------------------------------------------

    def line(self, trace_id: str) -> Line | None:
        """Return what was last noted of a trace."""
        if trace_id in self._deleted:
            return None
        return self._unflushed.get(trace_id) or self._store.line(trace_id)

    def losses(self, trace_id: str) -> dict[Stamp, Loss]:
        """Return the losses of a trace, known otherwise or not."""
        losses = self._store.losses(trace_id)
        for stamp, (_, loss) in self.next.losses.get(trace_id, {}).items():
            losses[stamp] = loss
        return losses

    def unfinished(self, producer_id: str) -> list[str]:
        """Return the traces in which a producer left spans open when they left the memory."""
        waiting = self.next.unfinished
        found = [t for t in self._store.unfinished(producer_id) if t not in waiting]
        return found + [t for t, ids in waiting.items() if producer_id in ids]

    # --- notes -------------------------------------------------------------------------------

    def note(self, line: Line) -> None:
        """Note a trace's line as of now."""
        self._unflushed[line.summary.trace_id] = line

    def note_calls(self, trace_id: str, rows: Iterable[tuple[str, CallRow | None]]) -> None:
        """Note what calls of a trace add, by span id."""
        for span_id, row in rows:
            self._unflushed_calls[trace_id, span_id] = row

    def note_loss(self, trace_id: str, stamp: Stamp, offset: int, loss: Loss) -> None:
        """Note a loss of a trace."""
        self.next.losses.setdefault(trace_id, {})[stamp] = (offset, loss)

    def forget(self, trace_ids: Iterable[str]) -> None:
        """Forget traces that are no longer in the store."""
        gone = set(trace_ids)
        for calls in (self._unflushed_calls, self._uncommitted_calls):
            for key in [key for key in calls if key[0] in gone]:
                del calls[key]
        for trace_id in gone:
            self._uncommitted.pop(trace_id, None)
            self.next.unfinished.pop(trace_id, None)

    def delete(self, trace_ids: Iterable[str]) -> None:
        """Forget traces, here and in the store."""
        gone = dict.fromkeys(trace_ids)
        self.forget(gone)
        for trace_id in gone:
            self._unflushed.pop(trace_id, None)
            self.next.losses.pop(trace_id, None)
            self.next.drop.discard(trace_id)
        self._deleted.update(gone)

    def is_deleted(self, trace_id: str) -> bool:
        """Tell whether a trace was deleted since the last checkpoint."""
        return trace_id in self._deleted or trace_id in self._uncommitted_deleted

    @property
    def has_deleted(self) -> bool:
        """Tell whether a checkpoint must see to it that deleted traces stay so."""
        return bool(self._deleted or self._uncommitted_deleted)

    # --- writing -----------------------------------------------------------------------------

    def flush_steps(self) -> Iterator[None]:
        """Write lines and calls, for a query to see them, in steps of a millisecond.

        A failure is taken note of, and what it kept back is not seen.
        """
        try:
            while self.flush_some():
                yield
        except apsw.Error as error:
            self.refuse(error)

    def flush_some(self) -> bool:
        """Write some lines or calls; False if there are none. Raises what SQLite does."""
        if self._deleted:
            self._store.delete(self._deleted)
            self._uncommitted_deleted.update(self._deleted)
            self._deleted.clear()
            return True
        if self._unflushed_calls:
            calls = dict(itertools.islice(self._unflushed_calls.items(), SLICE))
            self._store.put_calls((*key, row) for key, row in calls.items())
            self._uncommitted_calls.update(calls)
            for key in calls:
                del self._unflushed_calls[key]
            return True
        some = dict(itertools.islice(self._unflushed.items(), SLICE))
        if not some:
            return False
        self._store.put(some.values())
        self._uncommitted.update(some)
        for trace_id in some:
            del self._unflushed[trace_id]
        return True

    def write_batch(self, batch: Batch, producers: Producers) -> None:
        """Write a batch, and take `next` for what comes from now on. Raises what SQLite does."""
        self.next = Batch()
        self._store.drop(batch.drop)
        for trace_id, producer_ids in batch.unfinished.items():
            self._store.set_unfinished(trace_id, producer_ids)
        for trace_id, known in batch.losses.items():
            for stamp, (offset, loss) in known.items():
                self._store.add_loss(trace_id, stamp, offset, loss)
        found = map(producers.get, batch.producers)
        self._store.put_producers([p for p in found if p is not None])

    def commit(self, offset: int, epoch: str) -> None:
        """Make everything written count. Raises what SQLite does."""
        self._store.commit(offset, epoch)
        self._uncommitted.clear()
        self._uncommitted_calls.clear()
        self.wants_purge = self.wants_purge or bool(self._uncommitted_deleted)
        self._uncommitted_deleted.clear()
        self.error = None

    def purge(self) -> None:
        """Take what was deleted off the disk, once that is committed."""
        if self.wants_purge:
            try:
                self._store.purge()
                self.wants_purge = False
            except apsw.Error as error:
                self.error = f"{type(error).__name__}: {error}"

    def take_back(self, batch: Batch) -> None:
        """Let a batch that was not committed wait again."""
        new = self.next
        losses = batch.losses
        for trace_id, known in new.losses.items():
            losses.setdefault(trace_id, {}).update(known)
        self.next = Batch(
            batch.drop | new.drop,
            {**batch.unfinished, **new.unfinished},
            losses,
            batch.producers | new.producers,
        )

    def refuse(self, error: apsw.Error) -> None:
        """Take note of a failed write: the file is as of the last commit again."""
        self._store.rollback()
        self._unflushed = {**self._uncommitted, **self._unflushed}
        self._uncommitted = {}
        self._unflushed_calls = {**self._uncommitted_calls, **self._unflushed_calls}
        self._uncommitted_calls = {}
        self._deleted = {**self._uncommitted_deleted, **self._deleted}
        self._uncommitted_deleted = {}
        self.refused += 1
        self.error = f"{type(error).__name__}: {error}"
