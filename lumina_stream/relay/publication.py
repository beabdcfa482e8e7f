"""What is published: a stored batch after the projections took it in, and its facts as frames.

Pure. Made once a batch, for all channels.
"""

from collections.abc import Collection, Sequence
from functools import cached_property

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.events import Event, ProducerEvent
from lumina_stream.protocol import frames

_OF_PRODUCERS = frozenset(ProducerEvent.__args__)


class Publication(msgspec.Struct, frozen=True, gc=False):
    """A stored batch, applied: `changed` are the traces that it touched, `new` those it began."""

    offset: int
    producer_id: str
    first_seq: int
    raw: bytes
    events: Sequence[Event | None]
    trace_ids: Collection[str]
    changed: Collection[str]
    new: Collection[str]

    @property
    def upto(self) -> int:
        """Return the offset of its last event."""
        return self.offset + len(self.events) - 1


class Facts:
    """The facts of one batch, made once for all channels."""

    def __init__(self, publication: Publication, service: str) -> None:
        self.service = service
        self._publication = publication
        events = publication.events
        refused = events.count(None)
        self.all: Sequence[int] = (
            range(len(events))
            if not refused
            else [index for index, event in enumerate(events) if event is not None]
        )

    @cached_property
    def _facts(self) -> list[frames.WireFact]:
        offset, seq = self._publication.offset, self._publication.first_seq
        raws = codec.split_array(self._publication.raw)
        return [frames.WireFact(offset + i, seq + i, raw) for i, raw in enumerate(raws)]

    @cached_property
    def _by_trace(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index in self.all:
            trace_id = getattr(self._publication.events[index], "trace_id", None)
            if trace_id is not None:
                found.setdefault(trace_id, []).append(index)
        return found

    @cached_property
    def _producer(self) -> list[int]:
        events = self._publication.events
        return [index for index in self.all if type(events[index]) in _OF_PRODUCERS]

    @property
    def of_producers(self) -> bool:
        """Tell whether any is about a producer."""
        return bool(self._producer)

    def of(self, trace_ids: Collection[str]) -> list[int]:
        """Return the places of the facts of some traces, in order."""
        found = [i for trace_id in trace_ids for i in self._by_trace.get(trace_id, ())]
        if len(trace_ids) > 1:
            found.sort()
        return found

    def with_producers(self, chosen: Sequence[int]) -> Sequence[int]:
        """Return the places with those of the producer events among them."""
        if chosen is self.all or not self._producer:
            return chosen
        return sorted({*chosen, *self._producer})

    def frame(self, publication: Publication, chosen: Sequence[int]) -> frames.FactBatch:
        """Return the frame of the facts in some places."""
        facts = self._facts
        return frames.FactBatch(
            publication.upto,
            publication.producer_id,
            self.service,
            tuple(facts) if len(chosen) == len(facts) else tuple(facts[i] for i in chosen),
        )
