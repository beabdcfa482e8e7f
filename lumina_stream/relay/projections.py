"""What the relay knows of all traces: trees in memory, summaries to search, kept up with the log.

`apply` is on the way of every event, so it only hands events to trees and notes which traces
changed; everything else is worked out once a changed trace, when it is asked for or checkpointed.
Open traces stay in memory, and the recent finished ones; any other is read back from the log when
a viewer or a late event wants it. One thread uses it; nothing here waits longer than a disk read.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import msgspec

from lumina_stream.model.events import Event, EventsLost, ProducerEvent
from lumina_stream.model.ids import is_trace_id
from lumina_stream.model.limits import KIB
from lumina_stream.model.node import SpanNode, start_order
from lumina_stream.model.producers import Stamp
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.frames import Filter, OpenSpan, TraceSummary
from lumina_stream.relay import costs
from lumina_stream.relay.backlog import Backlog
from lumina_stream.relay.checkpoint import Checkpointer
from lumina_stream.relay.costs import Adder, CostQuery
from lumina_stream.relay.held import Held, Memory
from lumina_stream.relay.log import Log
from lumina_stream.relay.outline import CallUsage
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.projection_store import CallPlace, ProjectionStore, StoreError
from lumina_stream.relay.read_back import (
    EVENT_BYTES,
    EVENT_COST,
    SPAN_EVENTS,
    encode_carried,
    events_of,
)
from lumina_stream.relay.restoring import Restorer
from lumina_stream.relay.selection import TracePage, TraceQuery, is_selected
from lumina_stream.relay.settling import Settler
from lumina_stream.relay.visited import Reading, Visited

SETTLE_TRACES = 1_000
"""Changed traces after which they are looked at without being asked for, so that finished ones
leave the memory under load too; some 10 ms of work."""
REPLAY_BYTES = 128 * KIB
"""Read at once by a replay: a few milliseconds of work between two signs of life of the relay."""
CALLS_AT_ONCE = 500
"""Calls added up at once by a question for costs: about two milliseconds."""
_PRODUCER_EVENTS = frozenset(ProducerEvent.__args__)


TraceIds: TypeAlias = list[str]
OpenSpans: TypeAlias = list[OpenSpan]
# Named here, because `Projections.list` hides the type in the signatures beside it.


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What a frame changed: touched span ids by trace, which traces were never seen before, and

    the offset up to which everything is applied now.
    """

    touched: dict[str, Collection[str]]
    new: tuple[str, ...]
    offset: int


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
        self.offset = store.offset
        """Everything up to here is applied."""
        self._store = store
        self._log = log
        self._clock = clock
        self._held = self._memory.held
        self._book = book
        backlog = self._backlog = Backlog(store)
        self._settler = Settler(self._memory, backlog, book)
        self._restorer = Restorer(self._memory, store, backlog, log)
        self._checkpointer = Checkpointer(self._memory, store, backlog, self._settler, log)
        self._visited = Visited()
        self._known = store.count
        self._lost = 0

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
            projections._restorer.load(projections.offset)
        except (StoreError, apsw.Error, msgspec.DecodeError):
            ProjectionStore.remove(folder)
            projections = cls(ProjectionStore.open(folder), log, clock, book)
        if projections.offset + 1 < log.first_offset:
            projections._known += projections._restorer.load_carried()
            projections.offset = log.first_offset - 1
        return projections

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
        if offset <= self.offset:
            known = self.offset + 1 - offset
            offset, first_seq, events = offset + known, first_seq + known, events[known:]
        touched: dict[str, set[str]] = {}
        new: list[str] = []
        if self.forest.producers.get(producer_id) is None:
            self._restorer.recall(self.forest.producers, producer_id)
        here: dict[str, tuple[Callable[[Event, str, int], tuple[str, ...]], set[str]]] = {}
        trace_id = ""
        take: Callable[[Event, str, int], tuple[str, ...]] = _take_nothing
        spans: set[str] = set()
        frame: Sequence[Any] = (
            events  # the sets of types below say more than the checker can follow
        )
        for seq, event in enumerate(frame, first_seq):
            if type(event) in SPAN_EVENTS:
                if event.trace_id != trace_id:
                    trace_id = event.trace_id
                    known_here = here.get(trace_id)
                    if known_here is None:
                        held = self._enter(trace_id, producer_id, new)
                        known_here = here[trace_id] = (held.tree.apply, set())
                    take, spans = known_here
                found = take(event, producer_id, seq)
                if found:
                    spans.update(found)
            elif type(event) in _PRODUCER_EVENTS:
                at = offset + seq - first_seq
                self._apply_producer_event(event, producer_id, seq, at, touched)
        self.offset = max(self.offset, offset + len(events) - 1)
        if here:
            cost = ((size or EVENT_BYTES * len(events)) + EVENT_COST * len(events)) // len(here)
            for trace_id, (_, spans) in here.items():
                held = self._held[trace_id]
                held.cost += cost
                held.last_offset = self.offset
                self._note(trace_id, held, spans, touched)
        if len(self._memory.stale) >= SETTLE_TRACES:
            self._settler.settle()
        return Applied(touched, tuple(new), self.offset)  # pyright: ignore[reportArgumentType]

    def replay(self) -> Iterator[int]:
        """Apply what the log has after `offset`; yield the offset now and then, so that the caller

        can go on serving. Raises `LogUnavailable` if the log cannot be read now.
        """
        while True:
            end = self._log.next_offset - 1
            rows = self._log.read(self.offset, max_bytes=REPLAY_BYTES) if self.offset < end else []
            for row in rows:
                size = len(row.events)
                self.apply(row.offset, row.producer_id, row.first_seq, events_of(row), size=size)
            if not rows:
                self.offset = max(self.offset, end)  # what is damaged up to there is not coming
                return
            yield self.offset

    # --- reading -----------------------------------------------------------------------------

    def service(self, producer_id: str) -> str:
        """Return the service name that a producer gave, or an empty string."""
        producer = self.forest.producers.get(producer_id) or self._store.producer(producer_id)
        return "" if producer is None else producer.service

    def open_producers(self) -> Sequence[str]:
        """Return the producers that have spans open, alive or not: whose leases start anew."""
        self._settler.settle()
        found = {p for held in self._held.values() for p in held.tree.unfinished_producers()}
        return sorted(found)

    def summary(self, trace_id: str) -> TraceSummary | None:
        """Return a trace's summary as of now, None if the trace is not known."""
        held = self._held.get(trace_id)
        if held is not None:
            return self._settler.summary(held)
        stored = self._backlog.line(trace_id)
        return None if stored is None else stored[0]

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
            if visited.changed_calls:
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

    def matches(self, selection: Filter, trace_id: str) -> bool:
        """Tell whether a filter selects a trace now: by service, id, state, and its root's name."""
        if selection.trace_id is not None and selection.trace_id != trace_id:
            return False
        if selection.service is None and selection.name is None and selection.state is None:
            return True
        summary = self.summary(trace_id)
        return summary is not None and is_selected(selection, summary)

    def list(self, query: TraceQuery | None = None) -> TracePage:
        """Return a page of summaries, as of now; raises `QueryError` for what cannot be asked."""
        self._settler.settle()
        self._backlog.flush()
        return self._store.page(query or TraceQuery(), self._clock())

    def costs(self, query: CostQuery) -> Generator[None, None, dict[str, Any]]:
        """Add up what calls cost, in steps of a few milliseconds; return the answer.

        Raises `QueryError` for what cannot be asked.
        """
        adder = Adder(query)
        since_ns, until_ns = query.bounds(self._clock())
        self._settler.settle()
        self._backlog.flush()
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
        self._settler.settle()
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
            traces=self._known,
            open_traces=len(self._memory.open),
            recent_traces=len(self._memory.recent),
            recent_bytes=self._memory.recent_bytes,
            lost=self._lost,
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
        self._settler.settle()
        self._backlog.flush()
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
        self._known -= len(trace_ids)
        return trace_ids

    def carry(self) -> bytes:
        """Return the open traces as bytes, for `Log.retain` to keep; `open` takes them back."""
        self._settler.settle()
        trees = [held.tree for held in self._memory.open.values()]
        return encode_carried(self.offset, self.forest.producers, trees)

    def close(self) -> None:
        """Checkpoint, and let go of the file."""
        self.checkpoint()
        self._store.close(clean=self._backlog.error is None)

    # --- one frame ---------------------------------------------------------------------------

    def _enter(self, trace_id: str, producer_id: str, new: TraceIds) -> Held:
        """Return the trace, in memory; the whole of it, if it had left the memory."""
        held = self._held.get(trace_id)
        if held is None:
            stored = self._backlog.line(trace_id)
            if stored is None:
                held = self._memory.add(trace_id)
                held.tree.losses.update(self._backlog.losses(trace_id))
                new.append(trace_id)
                self._known += 1
            else:
                held = self._bring_back(trace_id, stored[1])
        self.forest.join(trace_id, producer_id)
        return held

    def _bring_back(self, trace_id: str, last_offset: int) -> Held:
        self._visited.drop(trace_id)
        return self._restorer.bring_back(trace_id, last_offset, self.offset)

    def _seconds(self) -> float:
        return self._clock() / 1e9

    def _note(
        self, trace_id: str, held: Held, spans: Iterable[str], touched: dict[str, set[str]]
    ) -> None:
        """Note that a frame brought something for a trace, and what it touched there."""
        self._settler.changed(trace_id, held)
        if spans:
            held.dirty.update(spans)
            if trace_id in touched:
                touched[trace_id].update(spans)
            else:
                touched[trace_id] = spans if isinstance(spans, set) else set(spans)

    def _apply_producer_event(
        self,
        event: ProducerEvent,
        producer_id: str,
        seq: int,
        offset: int,
        touched: dict[str, set[str]],
    ) -> None:
        if isinstance(event, EventsLost):
            self._apply_loss(event, (event.time_ns, producer_id, seq), offset, touched)
            return
        producers, subject_id = self.forest.producers, event.subject_id
        if producers.get(subject_id) is None:
            self._restorer.recall(producers, subject_id)
        service = producers.service(subject_id)
        changed = producers.apply(event, producer_id, seq)
        self._backlog.next.producers.add(subject_id)
        if changed is not None:
            for trace_id in self._backlog.unfinished(subject_id):
                stored = None if trace_id in self._held else self._backlog.line(trace_id)
                if stored is not None:
                    self._bring_back(trace_id, stored[1])
            for change in self.forest.producer_changed(subject_id):
                held = self._held[change.trace_id]
                held.last_offset = offset
                self._note(change.trace_id, held, change.span_ids, touched)
        if producers.service(subject_id) != service:
            for trace_id in self.forest.traces_of(subject_id):
                self._note(trace_id, self._held[trace_id], (), touched)

    def _apply_loss(
        self, event: EventsLost, stamp: Stamp, offset: int, touched: dict[str, set[str]]
    ) -> None:
        self._lost += max(0, event.count)
        for trace_id, count in event.by_trace.items():
            if not is_trace_id(trace_id):
                continue  # the sum of those that have no name there
            loss = (count, event.reason, event.exact)
            self._backlog.note_loss(trace_id, stamp, offset, loss)
            held = self._held.get(trace_id)
            if held is not None:
                held.last_offset = offset
                self._note(trace_id, held, held.tree.apply(event, stamp[1], stamp[2]), touched)
                continue
            stored = self._backlog.line(trace_id)
            if stored is not None:
                # Its tree is not needed to know this of it.
                lost = sum(known[0] for known in self._backlog.losses(trace_id).values())
                summary = msgspec.structs.replace(stored[0], lost=lost)
                self._backlog.note(summary, offset)
                self._visited.drop(trace_id)
                touched.setdefault(trace_id, set())


def _take_nothing(event: Event, producer_id: str, seq: int) -> tuple[str, ...]:
    return ()


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
