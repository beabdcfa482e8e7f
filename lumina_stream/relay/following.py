"""Following the log: events go to the trees that they are of, and what changed is noted.

On the way of every event, so everything else is worked out later, once a changed trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from lumina_stream.model.events import Event, EventsLost, ProducerEvent
from lumina_stream.model.ids import is_trace_id
from lumina_stream.model.limits import KIB
from lumina_stream.model.node import Touched
from lumina_stream.model.producers import Stamp
from lumina_stream.relay.backlog import Backlog
from lumina_stream.relay.held import Held, Memory
from lumina_stream.relay.log import Log
from lumina_stream.relay.projection_store import Line
from lumina_stream.relay.read_back import EVENT_BYTES, EVENT_COST, SPAN_EVENTS, events_of
from lumina_stream.relay.restoring import Restorer
from lumina_stream.relay.settling import Settler

PLACE_TRACES = 100
"""Traces touched after which it is seen which ones are finished, so that these leave the memory under
load too; each that leaves is some 100 us of work."""
REPLAY_BYTES = 128 * KIB
"""Read at once by a replay: a few milliseconds of work between two signs of life of the relay."""
_PRODUCER_EVENTS = frozenset(ProducerEvent.__args__)
_Take: TypeAlias = Callable[[Event, str, int], Touched]


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What a frame did: which traces it changed, which of them were never seen before, and

    the offset up to which everything is applied now.
    """

    changed: Collection[str]
    new: tuple[str, ...]
    offset: int


class Follower:
    """Take in the frames of the log, in its order."""

    def __init__(
        self, memory: Memory, backlog: Backlog, settler: Settler, restorer: Restorer, log: Log
    ) -> None:
        self._memory = memory
        self._forest = memory.forest
        self._held = memory.held
        self._backlog = backlog
        self._settler = settler
        self._restorer = restorer
        self._log = log
        self.offset = 0
        """Everything up to here is applied."""
        self.known = 0
        """How many traces were ever seen and are not forgotten."""
        self.lost = 0
        """How many lost events were reported."""

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
        changed: dict[str, None] = {}
        new: list[str] = []
        if self._forest.producers.get(producer_id) is None:
            self._restorer.recall(self._forest.producers, producer_id)
        here: dict[str, tuple[_Take, list[Touched]]] = {}
        trace_id = ""
        take: _Take = _take_nothing
        found: list[Touched] = []
        # The sets of types say more than the checker can follow.
        frame: Sequence[Any] = events
        is_mixed = not SPAN_EVENTS.issuperset(map(type, events))
        for seq, event in enumerate(frame, first_seq):
            if is_mixed and type(event) not in SPAN_EVENTS:
                if type(event) in _PRODUCER_EVENTS:
                    at = offset + seq - first_seq
                    self._apply_producer_event(event, producer_id, seq, at, changed)
                continue
            if event.trace_id != trace_id:
                trace_id = event.trace_id
                known_here = here.get(trace_id)
                if known_here is None:
                    held = self._enter(trace_id, producer_id, new)
                    known_here = here[trace_id] = (held.tree.apply, [])
                take, found = known_here
            found.append(take(event, producer_id, seq))
        self.offset = max(self.offset, offset + len(events) - 1)
        if here:
            cost = ((size or EVENT_BYTES * len(events)) + EVENT_COST * len(events)) // len(here)
            for trace_id, (_, found) in here.items():
                held = self._held[trace_id]
                held.cost += cost
                held.last_offset = self.offset
                self._note(trace_id, held, found, changed)
        if len(self._memory.unplaced) >= PLACE_TRACES:
            self._settler.place()
        return Applied(changed.keys(), tuple(new), self.offset)

    def replay(self) -> Iterator[int]:
        """Apply what the log has by now after `offset`; yield the offset now and then, so that the caller

        can go on serving. Raises `LogUnavailable` if the log cannot be read now.
        """
        end = self._log.next_offset - 1  # what comes meanwhile is applied as it comes
        while True:
            rows = self._log.read(self.offset, max_bytes=REPLAY_BYTES) if self.offset < end else []
            for row in rows:
                size = len(row.events)
                self.apply(row.offset, row.producer_id, row.first_seq, events_of(row), size=size)
            if not rows:
                self.offset = max(self.offset, end)  # what is damaged up to there is not coming
                return
            yield self.offset

    def _enter(self, trace_id: str, producer_id: str, new: list[str]) -> Held:
        """Return the trace, in memory; the whole of it, if it had left the memory."""
        held = self._held.get(trace_id)
        if held is None:
            stored = self._backlog.line(trace_id)
            if stored is None:
                held = self._memory.add(trace_id)
                held.tree.losses.update(self._backlog.losses(trace_id))
                new.append(trace_id)
                self.known += 1
            else:
                held = self._restorer.bring_back(trace_id, stored.last_offset, self.offset)
        self._forest.join(trace_id, producer_id)
        return held

    def _note(
        self, trace_id: str, held: Held, found: Sequence[Touched], changed: dict[str, None]
    ) -> None:
        """Note that a frame brought something for a trace, and which spans it touched there."""
        self._settler.changed(trace_id, held)
        if any(found):
            changed[trace_id] = None
            if held.indexed:  # until then all of its spans are to be looked at
                held.fresh.update(*found)

    def _apply_producer_event(
        self,
        event: ProducerEvent,
        producer_id: str,
        seq: int,
        offset: int,
        changed: dict[str, None],
    ) -> None:
        if isinstance(event, EventsLost):
            self._apply_loss(event, (event.time_ns, producer_id, seq), offset, changed)
            return
        producers, subject_id = self._forest.producers, event.subject_id
        if producers.get(subject_id) is None:
            self._restorer.recall(producers, subject_id)
        service = producers.service(subject_id)
        is_new = producers.apply(event, producer_id, seq) is not None
        self._backlog.next.producers.add(subject_id)
        if is_new:
            for trace_id in self._backlog.unfinished(subject_id):
                stored = None if trace_id in self._held else self._backlog.line(trace_id)
                if stored is not None:
                    self._restorer.bring_back(trace_id, stored.last_offset, self.offset)
            for change in self._forest.producer_changed(subject_id):
                held = self._held[change.trace_id]
                held.last_offset = offset
                self._note(change.trace_id, held, (change.span_ids,), changed)
        if producers.service(subject_id) != service:
            for trace_id in self._forest.traces_of(subject_id):
                self._note(trace_id, self._held[trace_id], (), changed)
                changed[trace_id] = None

    def _apply_loss(
        self, event: EventsLost, stamp: Stamp, offset: int, changed: dict[str, None]
    ) -> None:
        self.lost += max(0, event.count)
        for trace_id, count in event.by_trace.items():
            if not is_trace_id(trace_id):
                continue  # the sum of those that have no name there
            loss = (count, event.reason, event.exact)
            self._backlog.note_loss(trace_id, stamp, offset, loss)
            held = self._held.get(trace_id)
            if held is not None:
                held.last_offset = offset
                found = held.tree.apply(event, stamp[1], stamp[2])
                self._note(trace_id, held, (found,), changed)
                continue
            stored = self._backlog.line(trace_id)
            if stored is not None:
                # Its tree is not needed to know this of it.
                lost = sum(known[0] for known in self._backlog.losses(trace_id).values())
                summary = msgspec.structs.replace(stored.summary, lost=lost)
                self._backlog.note(Line(summary, offset, stored.digests))
                self._restorer.visited.drop(trace_id)
                changed[trace_id] = None


def _take_nothing(event: Event, producer_id: str, seq: int) -> Touched:
    return ()
