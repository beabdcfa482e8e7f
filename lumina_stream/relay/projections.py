"""What the relay knows of all traces: trees in memory, summaries to search, kept up with the log.

`apply` is on the way of every event, so it only hands events to trees and notes which traces
changed; everything else is worked out once a changed trace, when it is asked for or checkpointed.
Open traces stay in memory, and the recent finished ones; any other is read back from the log when
a viewer or a late event wants it. One thread uses it; nothing here waits longer than a disk read.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import (
    Callable,
    Generator,
    Iterator,
    Sequence,
)
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import apsw
import msgspec

from lumina_stream.model.events import Event, ProducerEvent
from lumina_stream.model.node import SpanNode, start_order
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.frames import Filter, OpenSpan, TraceSummary
from lumina_stream.relay import costs
from lumina_stream.relay.attributes import digest_of, split
from lumina_stream.relay.backlog import Backlog
from lumina_stream.relay.checkpoint import Checkpointer
from lumina_stream.relay.costs import Adder, CostQuery
from lumina_stream.relay.following import Applied, Follower
from lumina_stream.relay.held import Memory
from lumina_stream.relay.log import Log
from lumina_stream.relay.outline import CallUsage
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.projection_store import CallPlace, ProjectionStore, StoreError
from lumina_stream.relay.rates import RateQuery, Rates
from lumina_stream.relay.read_back import (
    encode_carried,
)
from lumina_stream.relay.restoring import Restorer
from lumina_stream.relay.selection import TracePage, TraceQuery, check, cursor_after, is_selected
from lumina_stream.relay.settling import Settler
from lumina_stream.relay.visited import Reading

CALLS_AT_ONCE = 500
"""Calls added up at once by a question for costs: about two milliseconds."""
_PRODUCER_EVENTS = frozenset(ProducerEvent.__args__)


T = TypeVar("T")
TraceIds: TypeAlias = list[str]
OpenSpans: TypeAlias = list[OpenSpan]
# Named here, because `Projections.list` hides the type in the signatures beside it.


class ProjectionStatistics(msgspec.Struct, frozen=True, gc=False):
    """Hold the figures of the projections; counts are cumulative since the opening but for the first five.

    `recent_bytes` is an estimate. `lost` counts the lost events that were reported. `read_back`
    counts trees rebuilt from the log, `incomplete` those of them that could not be read whole.
    `error` is what the last failed write said, None once one succeeded.
    """

    offset: int
    traces: int
    open_traces: int
    recent_traces: int
    recent_bytes: int
    lost: int
    evicted: int
    read_back: int
    incomplete: int
    checkpoints: int
    refused: int
    error: str | None


class Projections:
    """Follow the log; see the module. Open it with `Projections.open`, then `replay`."""

    def __init__(
        self, store: ProjectionStore, log: Log, clock: Callable[[], int], book: PriceBook
    ) -> None:
        """Take over what the store has; `open` decides whether it may."""
        self._memory = Memory()
        self.forest = self._memory.forest
        """Open and recent traces."""
        self._store = store
        self._log = log
        self._clock = clock
        self._held = self._memory.held
        self._book = book
        backlog = self._backlog = Backlog(store)
        self._settler = Settler(self._memory, backlog, book)
        self._restorer = Restorer(self._memory, store, backlog, log)
        self._checkpointer = Checkpointer(self._memory, store, backlog, self._settler, log)
        self._visited = self._restorer.visited
        self._follower = Follower(self._memory, backlog, self._settler, self._restorer, log)
        self._follower.offset, self._follower.known = store.offset, store.count

    @classmethod
    def open(
        cls,
        folder: Path,
        log: Log,
        *,
        clock: Callable[[], int] = time.time_ns,
        book: PriceBook | None = None,
    ) -> Projections:
        """Load what was checkpointed in a folder, or begin anew; `replay` then does the rest.

        The file there is forgotten if it is damaged, of another layout, ahead of the log, or of an
        epoch that the log does not know. `clock` tells wall-clock nanoseconds, for queries only;
        `book` prices calls, once it is loaded.
        """
        book = book or PriceBook()
        try:
            store = ProjectionStore.open(folder)
            if store.epoch and not _is_before(log, store.epoch, store.offset):
                store.close(clean=False)
                raise StoreError("the projections are not of this log")
            projections = cls(store, log, clock, book)
            # Deleted after the last checkpoint, or while it was written.
            projections.delete([t for t in log.deletions() if store.knows(t)])
            projections._restorer.load(projections.offset)
        except (StoreError, apsw.Error, msgspec.DecodeError):
            ProjectionStore.remove(folder)
            projections = cls(ProjectionStore.open(folder), log, clock, book)
        if projections.offset + 1 < log.first_offset:
            projections._follower.known += projections._restorer.load_carried()
            projections._follower.offset = log.first_offset - 1
        return projections

    @property
    def offset(self) -> int:
        """Return the offset up to which everything is applied."""
        return self._follower.offset

    # --- following the log -------------------------------------------------------------------

    def apply(
        self,
        offset: int,
        producer_id: str,
        first_seq: int,
        events: Sequence[Event | None],
        *,
        size: int = 0,
    ) -> Applied:
        """Take in one frame of the log; its events as `admission.admit` gives them.

        Frames come in the order of the log; what was applied before is left out. `size` is the
        encoded length of the events, for the estimate of memory.
        """
        return self._follower.apply(offset, producer_id, first_seq, events, size=size)

    def replay(self) -> Iterator[int]:
        """Apply what the log has after `offset`; yield the offset now and then, so that the caller

        can go on serving. Raises `LogUnavailable` if the log cannot be read now.
        """
        return self._follower.replay()

    # --- reading -----------------------------------------------------------------------------

    def service(self, producer_id: str) -> str:
        """Return the service name that a producer gave, or an empty string."""
        producer = self.forest.producers.get(producer_id) or self._store.producer(producer_id)
        return "" if producer is None else producer.service

    def open_producers(self) -> Sequence[str]:
        """Return the producers that have spans open, alive or not: whose leases start anew."""
        found = {p for held in self._held.values() for p in held.tree.unfinished_producers()}
        return sorted(found)

    def summary(self, trace_id: str) -> TraceSummary | None:
        """Return a trace's summary as of now, None if the trace is not known."""
        held = self._held.get(trace_id)
        if held is not None:
            return self._settler.summary(held)
        stored = self._backlog.line(trace_id)
        return None if stored is None else stored.summary

    def tree(self, trace_id: str) -> TraceTree | None:
        """Return a trace's tree as of `offset`, read back from the log if it is not in memory.

        None if the trace is not known, or nothing of it is kept. Read it; do not change it.
        Raises `LogUnavailable` if the log cannot be read now. `Relay.tree` reads beside the loop.
        """
        held = self._held.get(trace_id)
        if held is not None:
            self._settler.price(trace_id, held)
            return held.tree
        visited = self._visited.get(trace_id, self._seconds())
        if visited is not None:
            if visited.calls.changed:
                costs.price(visited, self._book)
            return visited
        reading = self.begin_reading(trace_id)
        if reading is None:
            return None
        reading.run()
        reading.price(self._book)
        self.finish_reading(reading)
        return reading.tree if len(reading.tree) else None

    def begin_reading(self, trace_id: str) -> Reading | None:
        """Return what is to be read back for `tree` to have it at hand; None if there is no need."""
        if trace_id in self._held or trace_id in self._visited:
            return None
        return (
            None
            if self._backlog.line(trace_id) is None
            else self._restorer.begin_reading(trace_id, self.offset)
        )

    def finish_reading(self, reading: Reading) -> None:
        """Take over a trace that was read back, unless it came into the memory meanwhile."""
        self._restorer.finish_reading(reading)
        if reading.tree.trace_id not in self._held and len(reading.tree):
            self._visited.keep(reading.tree, reading.cost, self._seconds())

    def expire(self) -> None:
        """Let go of the trees that nobody has looked at for a while; to be called now and then."""
        self._visited.expire(self._seconds())

    def matches(self, chosen: Filter, trace_id: str) -> bool:
        """Tell whether a filter selects a trace now."""
        if chosen.trace_id is not None and chosen.trace_id != trace_id:
            return False
        if chosen == Filter(trace_id=chosen.trace_id):
            return True
        summary = self.summary(trace_id)
        return (
            summary is not None
            and is_selected(chosen, summary, self._clock())
            and (not chosen.attribute or self._has_attributes(chosen, trace_id))
        )

    def list(self, query: TraceQuery | None = None) -> TracePage:
        """Return a page of summaries, as of now; raises `QueryError` for what cannot be asked."""
        return drained(self.page(query or TraceQuery()))

    def page(self, query: TraceQuery) -> Generator[None, None, TracePage]:
        """Look for a page of summaries, in steps of a few milliseconds; return it."""
        found: dict[str, TraceSummary] = {}
        for some in self.scan(query):
            for summary in some:
                if len(found) == query.limit and summary.trace_id not in found:
                    last = found[next(reversed(found))]
                    return TracePage(tuple(found.values()), cursor_after(query, last))
                found.setdefault(summary.trace_id, summary)
            yield
        return TracePage(tuple(found.values()))

    def scan(self, query: TraceQuery) -> Iterator[Sequence[TraceSummary]]:
        """Yield the traces that a query asks for, however many, in its order and in steps.

        What changes between the steps may come twice or not at all. Raises `QueryError`.
        """
        check(query)
        for _ in self._flush_steps():
            yield ()
        yield from self._store.scan(query, self._clock())

    def rates(self, query: RateQuery) -> Generator[None, None, dict[str, Any]]:
        """Work out the rates of the last minutes, in steps; return the answer. Raises `QueryError`."""
        now_ns = self._clock()
        since_ns = query.since_ns(now_ns)
        check(query)
        yield from self._flush_steps()
        rates = Rates()
        for some in self._store.durations(query, since_ns, now_ns):
            for duration_ns, errors in some:
                rates.take(duration_ns, errors)
            yield
        return rates.answer((now_ns - since_ns) / 1e9, self._store.running(query, now_ns))

    def _flush_steps(self) -> Iterator[None]:
        yield from self._settler.draw_steps()
        yield from self._backlog.flush_steps()

    def _has_attributes(self, chosen: Filter, trace_id: str) -> bool:
        held = self._held.get(trace_id)
        if held is None:
            stored = self._backlog.line(trace_id)
            digests = set(split(b"" if stored is None else stored.digests))
            return all(digest_of(pair) in digests for pair in chosen.attribute)
        self._settler.index(held)
        return all(digest_of(pair) in held.digests for pair in chosen.attribute)

    def costs(self, query: CostQuery) -> Generator[None, None, dict[str, Any]]:
        """Add up what calls cost, in steps of a few milliseconds; return the answer.

        Raises `QueryError` for what cannot be asked.
        """
        adder = Adder(query)
        since_ns, until_ns = query.bounds(self._clock())
        yield from self._flush_steps()
        place: CallPlace | None = None
        while True:
            rows = self._store.calls(since_ns, until_ns, place, CALLS_AT_ONCE)
            for place, row in rows:
                adder.take(place[1], row)
            if len(rows) < CALLS_AT_ONCE:
                return adder.answer()
            yield

    @property
    def wants_prices(self) -> bool:
        """Tell whether calls wait for `PriceBook.load`."""
        return self._settler.wants_prices

    def take_priced(self) -> dict[str, set[str]]:
        """Price what changed; return the calls that were priced since the last time, by trace."""
        return self._settler.take_priced()

    def take_usage(self, trace_id: str) -> Sequence[CallUsage]:
        """Return what the calls of a trace in memory add, those that changed since the last time.

        All of them, the first time, and after `leave_usage`.
        """
        held = self._held.get(trace_id)
        return () if held is None else self._settler.take_usage(held)

    def leave_usage(self, trace_id: str) -> None:
        """Note that nobody wants to know any more what the calls of a trace add."""
        held = self._held.get(trace_id)
        if held is not None:
            self._settler.leave_usage(held)

    def running(self, limit: int) -> tuple[OpenSpans, int]:
        """Return the running spans of all traces, longest-running first, and how many there are."""
        self._settler.place()
        total = 0
        nodes: list[tuple[SpanNode, str]] = []
        for trace_id, held in self._memory.open.items():
            spans = held.tree.open_spans()
            total += len(spans)
            nodes.extend((node, trace_id) for node in spans[:limit])
        longest = heapq.nsmallest(limit, nodes, key=lambda item: start_order(item[0]))
        return [_open_span(node, trace_id) for node, trace_id in longest], total

    def statistics(self) -> ProjectionStatistics:
        """Return the figures of now; `open_traces` and `recent_traces` as of the last look."""
        return ProjectionStatistics(
            offset=self.offset,
            traces=self._follower.known,
            open_traces=len(self._memory.open),
            recent_traces=len(self._memory.recent),
            recent_bytes=self._memory.recent_bytes,
            lost=self._follower.lost,
            evicted=self._memory.evicted,
            read_back=self._restorer.read_back,
            incomplete=self._restorer.incomplete,
            checkpoints=self._checkpointer.count,
            refused=self._backlog.refused,
            error=self._backlog.error,
        )

    # --- keeping -----------------------------------------------------------------------------

    @property
    def has_changes(self) -> bool:
        """Tell whether a checkpoint would write anything."""
        return self._checkpointer.is_due(self.offset)

    def checkpoint(self) -> None:
        """Write what a restart needs, in one transaction; a failure is told by `statistics`."""
        for _ in self.checkpoint_steps():
            pass

    def checkpoint_steps(self) -> Iterator[None]:
        """Do the same in steps of about a millisecond, so that the caller serves between them.

        Frames may be applied between steps: what is written is then ahead of the offset it is
        written with, and the replay of the difference brings nothing twice.
        """
        return self._checkpointer.steps(self.offset)

    def prune(self) -> TraceIds:
        """Forget the closed traces of which the log holds nothing any more; return their ids.

        To be called after the log's retention.
        """
        for _ in self._flush_steps():
            pass
        first = self._log.first_offset
        try:
            trace_ids = self._store.prune(first)
        except apsw.Error as error:
            self._backlog.refuse(error)
            return []
        for trace_id in trace_ids:
            self._memory.drop(trace_id)
            self._visited.drop(trace_id)
        self._backlog.forget(trace_ids)
        self._follower.known -= len(trace_ids)
        return trace_ids

    def delete(self, trace_ids: Sequence[str]) -> None:
        """Forget traces that the log was told to delete; the next checkpoint takes them off the disk."""
        for trace_id in trace_ids:
            self._follower.known -= self._backlog.line(trace_id) is not None
            self._memory.drop(trace_id)
            self._settler.forget(trace_id)
            self._visited.drop(trace_id)
        self._backlog.delete(trace_ids)
        for _ in self._backlog.flush_steps():
            pass

    def carry(self) -> bytes:
        """Return the open traces as bytes, for `Log.retain` to keep; `open` takes them back."""
        self._settler.place()
        trees = [held.tree for held in self._memory.open.values()]
        return encode_carried(self.offset, self.forest.producers, trees)

    def close(self, within_s: float = math.inf) -> None:
        """Checkpoint, and let go of the file.

        A checkpoint that takes longer than `within_s` is left: a start then replays since the last one.
        """
        until = time.monotonic() + within_s
        for _ in self.checkpoint_steps():
            if time.monotonic() > until:
                break
        self._store.close(clean=self._backlog.error is None)

    def _seconds(self) -> float:
        return self._clock() / 1e9


def drained(steps: Generator[None, None, T]) -> T:
    """Go through all steps at once; return what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def _open_span(node: SpanNode, trace_id: str) -> OpenSpan:
    return OpenSpan(
        trace_id,
        node.span_id,
        node.name,
        node.kind,
        node.service,
        node.start_ns or 0,
        node.last_seen_ns,
    )


def _is_before(log: Log, epoch: str, offset: int) -> bool:
    """Tell whether the log, in this epoch, went at least as far as `offset`."""
    epochs = log.epochs
    for index, known in enumerate(epochs):
        if known.id == epoch:
            later = epochs[index + 1 :]
            end = later[0].first_offset if later else log.next_offset
            return offset < max(end, known.first_offset)
    return False
