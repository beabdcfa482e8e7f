"""What is published: a stored batch after the projections took it in, and its facts as frames.

Pure. Made once a batch, for all channels.
"""

from collections.abc import Collection, Sequence

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.events import Event, UnknownEvent
from lumina_stream.protocol import frames


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
        self._by_trace: dict[str, list[int]] = {}
        self._producer: list[int] = []
        events = publication.events
        offset, seq = publication.offset, publication.first_seq
        raws = codec.split_array(publication.raw)
        self._facts = [frames.WireFact(offset + i, seq + i, raw) for i, raw in enumerate(raws)]
        self.all: list[int] = []
        for index, event in enumerate(events):
            if event is None:
                continue
            self.all.append(index)
            trace_id = getattr(event, "trace_id", None)
            if trace_id is not None:
                self._by_trace.setdefault(trace_id, []).append(index)
            elif not isinstance(event, UnknownEvent):
                self._producer.append(index)

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

    def with_producers(self, chosen: list[int]) -> list[int]:
        """Return the places with those of the producer events among them."""
        if not self._producer or chosen is self.all:
            return chosen
        return sorted({*chosen, *self._producer})

    def frame(self, publication: Publication, chosen: list[int]) -> frames.FactBatch:
        """Return the frame of the facts in some places."""
        facts = self._facts
        return frames.FactBatch(
            publication.upto,
            publication.producer_id,
            self.service,
            tuple(facts) if len(chosen) == len(facts) else tuple(facts[i] for i in chosen),
        )
