"""Producers that have no connection: OpenTelemetry resources, whose spans come by OTLP.

A resource is a producer whose id follows from its attributes, so that it is the same one after a
restart of either side. It sends no seq: the relay numbers its events. It has no heartbeat either: it
is taken for lost when it leaves spans open and nothing was heard of it for a long time.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from lumina_stream.formats import otlp
from lumina_stream.model import codec, limits
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol import frames
from lumina_stream.protocol.intake import Accepted
from lumina_stream.protocol.lease import Leases

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

GUEST_LEASE_S = 900.0
"""Silence after which a resource's open spans count as interrupted. Long, because a program that
exports at the end of its spans says nothing for as long as they run; it returns when it speaks."""
BATCH_BYTES = limits.FRAME_BYTES - limits.EVENT_BYTES
"""Encoded events of one row of the log: with the largest event on top it stays below a frame."""


class Batch(msgspec.Struct, gc=False):
    """Consecutive events of one resource, encoded."""

    resource: otlp.Resource
    producer_id: str
    count: int
    events: bytes


def batches_of(request: otlp.Request) -> list[Batch]:
    """Return the events of a request, encoded, in parts that fit a row of the log each."""
    found: list[Batch] = []
    for group in request.groups:
        producer_id = otlp.producer_id(group.resource)
        raw: list[bytes] = []
        size = 0
        for span in group.spans:
            for event in otlp.events_of(span, group.scope):
                encoded = codec.encode(event)
                raw.append(encoded)
                size += len(encoded)
                if size >= BATCH_BYTES or len(raw) >= limits.FRAME_EVENTS:
                    found.append(_batch(group.resource, producer_id, raw))
                    raw, size = [], 0
        if raw:
            found.append(_batch(group.resource, producer_id, raw))
    return found


class Guests:
    """Bring events of resources into the log."""

    def __init__(self, relay: "Relay", lease_s: float = GUEST_LEASE_S) -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._leases = Leases(lease_s)

    async def take(self, batches: Iterable[Batch]) -> None:
        """Store events; they are durable when this returns. Raises what the log says if it refuses."""
        relay = self._relay
        settled: list[asyncio.Future[None]] = []
        for batch in batches:
            await relay.room()
            # A batch takes the loop a few milliseconds, and a request may hold eighty.
            await asyncio.sleep(0)
            # From here to the submission nothing may come between: seq is the order of the log.
            relay.attendance.introduce(_hello(batch.resource, batch.producer_id))
            self.heard(batch.producer_id)
            first_seq = relay.attendance.intake.number(batch.producer_id, batch.count)
            one = self._loop.create_future()
            settled.append(one)
            relay.accepted(
                Accepted(batch.producer_id, first_seq, batch.count, batch.events), _settle(one)
            )
        told = await asyncio.gather(*settled, return_exceptions=True)
        for error in told:
            if error is not None:
                raise error

    def heard(self, producer_id: str) -> None:
        """Begin a resource's lease anew."""
        self._leases.restored(producer_id, self._loop.time(), watched=False)

    def tick(self) -> None:
        """Look for resources that have left spans open and fallen silent."""
        expired = self._leases.expired(self._loop.time())
        if not expired:
            return
        with_open = set(self._relay.projections.open_producers())
        for producer_id in expired:
            self._leases.ended(producer_id)
            if producer_id in with_open:
                self._relay.attendance.silent(producer_id)

    def resource(self, producer_id: str) -> otlp.Resource:
        """Return what a producer, of whatever kind, says of itself."""
        hello = self._relay.attendance.hello_of(producer_id)
        if hello is None:
            service = self._relay.projections.service(producer_id)
            return otlp.Resource({"service.name": service} if service else {})
        return otlp.Resource({"service.name": hello.service, **hello.resource})

    def groups(self, tree: TraceTree) -> list[otlp.Group]:
        """Return the started spans of a tree as OTLP has them, parents before children."""
        spans = [(tree.trace_id, node) for _, node in tree.walk()]
        return otlp.groups_of(spans, self.resource)


def _batch(resource: otlp.Resource, producer_id: str, raw: list[bytes]) -> Batch:
    return Batch(resource, producer_id, len(raw), codec.join_array(raw))


def _hello(resource: otlp.Resource, producer_id: str) -> frames.Hello:
    # Without a pid: what runs there is not known, and a process of that number here is another's.
    host = resource.attributes.get("host.name")
    return frames.Hello(
        producer_id,
        producer_id,
        1,
        resource.service,
        resource.attributes,
        host if isinstance(host, str) else "",
    )


def _settle(future: "asyncio.Future[None]") -> Callable[[Exception | None], None]:
    def settle(error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    return settle
