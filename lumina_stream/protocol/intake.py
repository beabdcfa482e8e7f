"""The relay's side of producers: who they are, which seq is next, what is acknowledged.

Sans-I/O. One `Intake` a relay, one `ProducerPeer` a connection. The shell feeds messages to
`ProducerPeer.receive`, appends what comes back to the log, and reports each commit to
`Intake.committed`, which says what to send to whom.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import DecodeError, RemoteProtocolError
from lumina_stream.model.events import Attributes
from lumina_stream.protocol import frames, guards
from lumina_stream.protocol.pacing import Pace
from lumina_stream.protocol.wire import BINARY, Wire


class Identity(msgspec.Struct, frozen=True):
    """What tells one incarnation of a producer from a clone of it."""

    nonce: str
    pid: int
    process_start: int
    boot_id: str
    pid_namespace: int


class Met(msgspec.Struct, frozen=True):
    """A producer introduced itself; `known` if the log has events of it."""

    hello: frames.Hello
    known: bool


class Reply(msgspec.Struct, frozen=True):
    """Send this frame to the peer."""

    frame: frames.RelayToProducer


class Accepted(msgspec.Struct, frozen=True):
    """New consecutive events: append them to the log, then report the commit."""

    producer_id: str
    first_seq: int
    count: int
    events: bytes


class Missing(msgspec.Struct, frozen=True):
    """The producer no longer has these events, and neither have we: record the loss."""

    producer_id: str
    first_seq: int
    count: int


class Alive(msgspec.Struct, frozen=True):
    """A heartbeat came."""

    producer_id: str
    admitted: int
    wall_ns: int


class Ended(msgspec.Struct, frozen=True):
    """The producer said `bye`, or (`lost`) another one said that it never will."""

    producer_id: str
    last_seq: int
    lost: bool = False


class Closed(msgspec.Struct, frozen=True):
    """End this connection, after sending `frame` if there is one."""

    code: int
    reason: str
    frame: frames.Error | None = None


class Hold(msgspec.Struct, frozen=True):
    """Read nothing from this connection for so long: it does not heed `throttle`."""

    pause_s: float


Action: TypeAlias = Met | Reply | Accepted | Missing | Alive | Ended | Closed | Hold

HEEDED_BYTES = limits.IN_FLIGHT_BYTES + 4 * limits.FRAME_BYTES
"""What may still come after a `throttle`: it was on its way. More comes from who does not heed it."""
HOLD_S = 2.0
"""Longest time for which nothing is read: less than what a peer waits for the answer to a ping."""


class _Record(msgspec.Struct):
    producer_id: str
    identity: Identity | None
    accepted: int
    stored: int
    peer: "ProducerPeer | None" = None
    given_up: int = 0
    """Up to here the producer has nothing any more: never ask for it again."""


class Intake:
    """Know every producer's seq: `accepted` (in memory), `stored` (committed)."""

    def __init__(
        self,
        stored: Mapping[str, int],
        identities: Mapping[str, Identity] | None = None,
        *,
        relay_id: str = "",
        heartbeat_s: float = limits.HEARTBEAT_S,
    ) -> None:
        known = identities or {}
        self._relay_id = relay_id
        self._heartbeat_s = heartbeat_s
        self._records = {p: _Record(p, known.get(p), seq, seq) for p, seq in stored.items()}

    def peer(self, wire: Wire = BINARY, pace: Pace | None = None) -> "ProducerPeer":
        """Return the machine for a new connection; `pace`: how fast its client may send."""
        return ProducerPeer(self, wire, pace)

    def committed(self, producer_id: str, upto: int) -> "tuple[ProducerPeer, frames.Ack] | None":
        """Say that events up to `upto` are durable; return the ack to send, and to whom."""
        record = self._records.get(producer_id)
        if record is None:
            return None
        record.stored = max(record.stored, upto)
        return None if record.peer is None else (record.peer, frames.Ack(record.stored))

    def failed(self, producer_id: str) -> "tuple[ProducerPeer, frames.Nack] | None":
        """Say that a commit failed: what was accepted and is not stored must come again."""
        record = self._records.get(producer_id)
        if record is None:
            return None
        record.accepted = max(record.stored, record.given_up)
        return None if record.peer is None else (record.peer, frames.Nack(record.accepted + 1))

    def number(self, producer_id: str, count: int) -> int:
        """Give the next seqs to events that came without any; return the first.

        For producers that the relay speaks for: their events are accepted by that, as a batch is.
        """
        record = self._record(producer_id)
        first_seq = record.accepted + 1
        record.accepted += count
        return first_seq

    def last_seq(self, producer_id: str) -> int:
        """Return the last stored seq of a producer, 0 if it is unknown."""
        record = self._records.get(producer_id)
        return 0 if record is None else record.stored

    def is_connected(self, producer_id: str) -> bool:
        """Tell whether a producer has a connection now."""
        record = self._records.get(producer_id)
        return record is not None and record.peer is not None

    def _record(self, producer_id: str) -> "_Record":
        record = self._records.get(producer_id)
        if record is None:
            record = self._records[producer_id] = _Record(producer_id, None, 0, 0)
        return record

    def _meet(self, peer: "ProducerPeer", hello: frames.Hello) -> list[Action]:
        record = self._record(hello.producer_id)
        identity = Identity(
            hello.nonce, hello.pid, hello.process_start, hello.boot_id, hello.pid_namespace
        )
        if record.identity is not None and record.identity != identity:
            message = (
                f"producer id {hello.producer_id} belongs to another incarnation; take a new one"
            )
            return [Closed(4001, "identity", frames.Error(message, "identity", new_identity=True))]
        known = record.accepted > 0
        record.identity = identity
        superseded = record.peer
        record.peer = peer
        if superseded is not None:
            superseded.superseded = True
        actions: list[Action] = [Met(hello, known)]
        # What the old connection brought is in memory and will be committed: never ask for it twice.
        if hello.first_seq > record.accepted + 1:
            actions.append(self._give_up(record, hello.first_seq))
        actions.append(
            Reply(
                frames.Welcome(
                    record.stored,
                    self._relay_id,
                    limits.FRAME_BYTES,
                    limits.FRAME_EVENTS,
                    self._heartbeat_s,
                )
            )
        )
        return actions

    def _give_up(self, record: "_Record", first_seq: int) -> Missing:
        lost = Missing(record.producer_id, record.accepted + 1, first_seq - record.accepted - 1)
        record.accepted = record.given_up = first_seq - 1
        return lost


class ProducerPeer:
    """One producer's connection."""

    def __init__(self, intake: Intake, wire: Wire, pace: Pace | None = None) -> None:
        self._intake = intake
        self._pace = pace
        self._quiet_until_s = 0.0
        self._meanwhile = 0
        self.wire = wire
        self.hello: frames.Hello | None = None
        self.superseded = False
        """Whether the same producer opened a newer connection: close this one."""
        self.ended = False

    def receive(self, data: bytes | str, now_s: float = 0.0) -> list[Action]:
        """Take in one message; return what follows, in order. Raises `RemoteProtocolError`.

        `now_s` is any monotonic time, for the pace.
        """
        frame = self.wire.producer_frame(data)
        if self.superseded:
            return [Closed(4002, "superseded")]
        match frame:
            case frames.Hello():
                if self.hello is not None:
                    raise RemoteProtocolError("a second hello on one connection")
                if not 0 < len(frame.producer_id) <= limits.KEY_LENGTH:
                    raise RemoteProtocolError("a hello without producer_id, or with a long one")
                if not 1 <= frame.first_seq <= limits.MOST_SEQ:
                    raise RemoteProtocolError(f"a hello with first_seq {frame.first_seq}")
                if not _can_be_kept(frame.resource):
                    raise RemoteProtocolError("a hello with a resource that cannot be kept")
                actions = self._intake._meet(self, frame)  # pyright: ignore[reportPrivateUsage]
                if not isinstance(actions[-1], Closed):
                    self.hello = frame
                return actions
            case frames.Batch():
                return self._batch(self._greeted(), frame) + self._paced(len(data), now_s)
            case frames.Heartbeat():
                return [Alive(self._greeted().producer_id, frame.admitted, frame.wall_ns)]
            case frames.Bye():
                return self._bye(self._greeted(), frame)

    def disconnected(self) -> None:
        """Say that this connection is gone."""
        if self.hello is None:
            return
        record = self._intake._record(self.hello.producer_id)  # pyright: ignore[reportPrivateUsage]
        if record.peer is self:
            record.peer = None

    def _greeted(self) -> frames.Hello:
        if self.hello is None:
            raise RemoteProtocolError("the first frame must be hello")
        return self.hello

    def _paced(self, size: int, now_s: float) -> list[Action]:
        """Return what follows from how much came how fast: what came is taken all the same."""
        if self._pace is None:
            return []
        self._meanwhile = self._meanwhile + size if now_s < self._quiet_until_s else 0
        pause_s = self._pace.took(size, now_s)
        if not pause_s:
            return []
        self._quiet_until_s = now_s + pause_s
        actions: list[Action] = [Reply(frames.Throttle(pause_s))]
        if self._meanwhile > HEEDED_BYTES:
            actions.append(Hold(min(pause_s, HOLD_S)))
        return actions

    def _batch(self, hello: frames.Hello, frame: frames.Batch) -> list[Action]:
        record = self._intake._record(hello.producer_id)  # pyright: ignore[reportPrivateUsage]
        try:
            count = codec.array_length(memoryview(frame.events))
        except DecodeError as error:
            raise RemoteProtocolError(str(error), code=1007) from None
        if count > limits.FRAME_EVENTS or frame.first_seq < 1:
            raise RemoteProtocolError(f"a batch of {count} events from seq {frame.first_seq}")
        expected = record.accepted + 1
        if frame.first_seq > expected:
            return [Reply(frames.Nack(expected))]
        past = expected - frame.first_seq
        if past >= count:  # all of it is known: acknowledge again what is stored, for ever
            return [Reply(frames.Ack(record.stored))]
        events = bytes(frame.events)
        if past:
            try:
                events = codec.join_array(codec.split_array(events)[past:])
            except DecodeError as error:
                raise RemoteProtocolError(str(error), code=1007) from None
        record.accepted += count - past
        return [Accepted(hello.producer_id, expected, count - past, events)]

    def _bye(self, hello: frames.Hello, frame: frames.Bye) -> list[Action]:
        record = self._intake._record(hello.producer_id)  # pyright: ignore[reportPrivateUsage]
        if frame.last_seq > record.accepted:
            return [Reply(frames.Nack(record.accepted + 1))]
        self.ended = True
        return [Ended(hello.producer_id, frame.last_seq, frame.lost)]


def _can_be_kept(resource: Attributes) -> bool:
    """Tell whether a resource may become part of an event: as deep as one may be, of numbers it can hold."""
    try:
        return not guards.is_too_deep(codec.encode(resource))
    except (OverflowError, RecursionError):
        return False
