"""What is known of each producer: alive, lost or ended. Order-free, as the trees are."""

from typing import Literal, TypeAlias

import msgspec

from lumina_stream.model.events import (
    ProducerEnded,
    ProducerEvent,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
)

ProducerState: TypeAlias = Literal["alive", "lost", "ended"]
Stamp: TypeAlias = tuple[int, str, int]
"""(time_ns, producer_id, seq): the greatest one wins a conflict."""

IMPORTED_PREFIX = "+otlp-"
"""Producer ids of OpenTelemetry resources. It sorts before hex digits: where a program's own stream
and its OTLP export say the same of a span, the one whose process is watched counts."""

NEVER: Stamp = (-1, "", 0)


class Producer(msgspec.Struct, gc=False):
    """One producer: `last_seen_ns` is set while it is lost, `service` is what it called itself."""

    producer_id: str
    state: ProducerState = "alive"
    last_seen_ns: int = 0
    service: str = ""
    stamp: Stamp = NEVER
    named: Stamp = NEVER


def is_imported(producer_id: str) -> bool:
    """Tell whether a producer's spans come as copies, which may come again, rather than as a stream."""
    return producer_id.startswith(IMPORTED_PREFIX)


class Producers:
    """Fold producer events; share one among the trees of a forest."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Producer] = {}

    def apply(self, event: ProducerEvent, producer_id: str, seq: int) -> str | None:
        """Take in one event; return the id of the producer whose state changed, or None."""
        stamp = (event.time_ns, producer_id, seq)
        match event:
            case ProducerStarted():
                producer = self._producer(event.subject_id)
                if stamp > producer.named:
                    producer.named = stamp
                    producer.service = event.service
                return self._change(producer, "alive", 0, stamp)
            case ProducerLost():
                subject = self._producer(event.subject_id)
                return self._change(subject, "lost", event.last_seen_ns, stamp)
            case ProducerReturned():
                return self._change(self._producer(event.subject_id), "alive", 0, stamp)
            case ProducerEnded():
                return self._change(self._producer(event.subject_id), "ended", 0, stamp)
            case _:
                return None

    def get(self, producer_id: str) -> Producer | None:
        """Return what is known of a producer."""
        return self._known.get(producer_id)

    def state(self, producer_id: str) -> ProducerState:
        """Return a producer's state; one that nothing was said of is alive."""
        producer = self._known.get(producer_id)
        return "alive" if producer is None else producer.state

    def service(self, producer_id: str) -> str:
        """Return the service name that a producer gave, or an empty string."""
        producer = self._known.get(producer_id)
        return "" if producer is None else producer.service

    def heard_from(self, producer_id: str, service: str) -> None:
        """Take in what a producer calls itself, from facts that name it; what it said itself stays.

        A view of one trace does not hear of a producer's start that came before its first fact there.
        """
        if service and not self.service(producer_id):
            self._producer(producer_id).service = service

    def all(self) -> list[Producer]:
        """Return every producer, in no particular order."""
        return list(self._known.values())

    def restore(self, producer: Producer) -> str | None:
        """Merge a producer from a snapshot; return its id if its state changed."""
        known = self._producer(producer.producer_id)
        if producer.named > known.named:
            known.named, known.service = producer.named, producer.service
        return self._change(known, producer.state, producer.last_seen_ns, producer.stamp)

    def forget(self, producer_id: str) -> None:
        """Drop a producer that no tree mentions any more."""
        self._known.pop(producer_id, None)

    def _producer(self, producer_id: str) -> Producer:
        producer = self._known.get(producer_id)
        if producer is None:
            producer = self._known[producer_id] = Producer(producer_id)
        return producer

    def _change(
        self, producer: Producer, state: ProducerState, last_seen_ns: int, stamp: Stamp
    ) -> str | None:
        if stamp <= producer.stamp:
            return None
        changed = (producer.state, producer.last_seen_ns) != (state, last_seen_ns)
        producer.stamp, producer.state, producer.last_seen_ns = stamp, state, last_seen_ns
        return producer.producer_id if changed else None
