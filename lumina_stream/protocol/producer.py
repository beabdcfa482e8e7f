"""The producer's side: numbers events, keeps what is not acknowledged, resends what must be.

Sans-I/O. The shell calls `connected()`, sends what it returns, feeds every received message to
`receive()`, sends what `next_batch()` gives while it gives something, and calls `disconnected()`.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, islice
from typing import TypeAlias

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import BINARY


class Welcomed(msgspec.Struct, frozen=True):
    """The relay knows us: heartbeats are due every `heartbeat_s` seconds."""

    heartbeat_s: float
    relay_id: str


class Acknowledged(msgspec.Struct, frozen=True):
    """Events up to `upto` are stored; `released_bytes` of the queue's bound are free again."""

    upto: int
    released_bytes: int


class Throttled(msgspec.Struct, frozen=True):
    """The relay asks for silence."""

    pause_s: float


class Rewound(msgspec.Struct, frozen=True):
    """The relay saw a gap: events from `expected` on go out again."""

    expected: int


class IdentityTaken(msgspec.Struct, frozen=True):
    """Another incarnation holds our producer id: take a new one (`rename`) and reconnect."""


class Refused(msgspec.Struct, frozen=True):
    """The relay ends the connection and says why."""

    code: str
    message: str


Signal: TypeAlias = Welcomed | Acknowledged | Throttled | Rewound | IdentityTaken | Refused


class _Sent(msgspec.Struct, gc=False):
    first_seq: int
    events: list[bytes]
    size: int


class ProducerSession:
    """Own seq and acknowledgement of one producer over any number of connections."""

    def __init__(self, hello: frames.Hello, *, left: bool = False) -> None:
        """Begin at `hello.first_seq`: what precedes it is stored already.

        `left`: the events are what another process left behind, added as there is room for them; a
        relay may have more of them than were added so far.
        """
        self._hello = hello
        self._left = left
        self._numbered = self._acked = hello.first_seq - 1
        self._unsent: deque[bytes] = deque()
        self._sent: deque[_Sent] = deque()
        self._in_flight = 0
        self._kept_bytes = 0
        self._frame_bytes = limits.FRAME_BYTES
        self._frame_events = limits.FRAME_EVENTS
        self.welcomed = False
        """Whether the present connection got its `welcome`."""

    @property
    def producer_id(self) -> str:
        """Return the id under which events are numbered."""
        return self._hello.producer_id

    @property
    def last_seq(self) -> int:
        """Return the seq of the last event that was numbered."""
        return self._numbered

    @property
    def acked(self) -> int:
        """Return the last seq that the relay has stored."""
        return self._acked

    @property
    def unacknowledged(self) -> int:
        """Return how many numbered events are not acknowledged."""
        return self._numbered - self._acked

    @property
    def kept_bytes(self) -> int:
        """Return the bytes of the unacknowledged events, overhead included."""
        return self._kept_bytes

    @property
    def has_room(self) -> bool:
        """Tell whether more events should be added: what can be sent soon is worth holding here."""
        return self._kept_bytes < 2 * limits.IN_FLIGHT_BYTES

    @property
    def can_send(self) -> bool:
        """Tell whether `next_batch` would give something now."""
        return self.welcomed and bool(self._unsent) and self._in_flight < limits.IN_FLIGHT_BYTES

    def add(self, event: bytes) -> int:
        """Number an encoded event and keep it until it is acknowledged; return its seq."""
        return self.extend((event,))

    def extend(self, events: Sequence[bytes]) -> int:
        """Do what `add` does for many events at once; return the seq of the last one."""
        self._unsent.extend(events)
        self._numbered += len(events)
        self._kept_bytes += sum(map(len, events)) + len(events) * limits.EVENT_OVERHEAD
        return self._numbered

    def connected(self, wall_ns: int, mono_ns: int, spool: str = "") -> bytes:
        """Start a new connection; return the `hello` to send first. `spool` as in it."""
        self._rewind()
        self.welcomed = False
        hello = msgspec.structs.replace(
            self._hello, first_seq=self._acked + 1, wall_ns=wall_ns, mono_ns=mono_ns, spool=spool
        )
        return codec.encode(hello)

    def disconnected(self) -> None:
        """Say that the connection is gone: what was sent and not acknowledged will go out again."""
        self.welcomed = False
        self._rewind()

    def receive(self, data: bytes | str) -> list[Signal]:
        """Take in one message; return what follows. Raises `RemoteProtocolError`."""
        frame = BINARY.relay_to_producer(data)
        match frame:
            case frames.Welcome():
                return self._welcome(frame)
            case frames.Ack():
                return self._acknowledge(frame.upto)
            case frames.Nack():
                return self._nack(frame.expected)
            case frames.Throttle():
                return [Throttled(_within(frame.pause_s, 0.0, 60.0))]
            case frames.Inspect():
                return []  # reserved: a relay may ask, nothing is promised
            case frames.Error():
                if frame.new_identity:
                    return [IdentityTaken()]
                return [Refused(frame.code, frame.message)]

    def next_batch(self) -> bytes | None:
        """Return the next `batch` to send; None when there is none, or enough is in flight."""
        if not self.can_send:
            return None
        unsent = self._unsent
        first_seq = self._numbered - len(unsent) + 1
        count = min(len(unsent), self._frame_events)
        sizes = list(accumulate(map(len, islice(unsent, count))))
        if sizes[-1] > self._frame_bytes:
            count = max(1, bisect_right(sizes, self._frame_bytes))
        size = sizes[count - 1]
        take = unsent.popleft
        events = [take() for _ in range(count)]
        self._sent.append(_Sent(first_seq, events, size))
        self._in_flight += size
        return codec.encode(frames.Batch(first_seq, msgspec.Raw(codec.join_array(events))))

    def heartbeat(self, queued: int, wall_ns: int, mono_ns: int) -> bytes:
        """Return a `heartbeat`; `queued` counts events admitted and not numbered yet."""
        return codec.encode(frames.Heartbeat(self._numbered + queued, wall_ns, mono_ns))

    def bye(self, *, lost: bool = False) -> bytes:
        """Return the `bye` that ends this producer; `lost`: it did not end by itself."""
        return codec.encode(frames.Bye(self._numbered, lost))

    def rename(self, producer_id: str, nonce: str) -> None:
        """Take a new identity: what is not acknowledged is numbered anew from 1."""
        self._rewind()
        self._hello = msgspec.structs.replace(self._hello, producer_id=producer_id, nonce=nonce)
        self._numbered = len(self._unsent)
        self._acked = 0
        self.welcomed = False

    def _welcome(self, frame: frames.Welcome) -> list[Signal]:
        if frame.last_seq > self._numbered and not self._left:
            raise RemoteProtocolError(
                f"the relay has seq {frame.last_seq} of us, we are at {self._numbered}"
            )
        signals: list[Signal] = []
        if frame.last_seq > self._acked:
            signals += self._acknowledge(frame.last_seq)
        self.welcomed = True
        # Room for the frame's own fields around the events.
        self._frame_bytes = max(1024, (frame.frame_bytes or limits.FRAME_BYTES) - 64)
        self._frame_events = max(1, frame.frame_events or limits.FRAME_EVENTS)
        heartbeat_s = _within(frame.heartbeat_s or limits.HEARTBEAT_S, 0.1, 60.0)
        signals.append(Welcomed(heartbeat_s, frame.relay_id))
        return signals

    def _acknowledge(self, upto: int) -> list[Signal]:
        if upto <= self._acked:
            return []
        if upto > self._numbered:
            if not self._left:
                raise RemoteProtocolError(f"an ack of seq {upto}, we are at {self._numbered}")
            return [Acknowledged(upto, self._skip(upto))]
        released = 0
        while self._acked < upto and self._sent:
            head = self._sent[0]
            stored = min(upto - self._acked, len(head.events))
            whole = stored == len(head.events)
            taken = head.size if whole else sum(map(len, head.events[:stored]))
            released += taken + stored * limits.EVENT_OVERHEAD
            self._in_flight -= taken
            self._acked += stored
            if whole:
                self._sent.popleft()
            else:
                self._sent[0] = _Sent(
                    head.first_seq + stored, head.events[stored:], head.size - taken
                )
        while self._acked < upto:  # stored over an earlier connection, its ack lost
            released += len(self._unsent.popleft()) + limits.EVENT_OVERHEAD
            self._acked += 1
        self._kept_bytes -= released
        return [Acknowledged(upto, released)]

    def _nack(self, expected: int) -> list[Signal]:
        if expected - 1 > self._numbered:
            raise RemoteProtocolError(f"a nack of seq {expected}, we are at {self._numbered}")
        # No acknowledgement: what precedes `expected` may be in the relay's memory alone. It goes
        # out again too, and is discarded there.
        self._rewind()
        return [Rewound(self._acked + 1)]

    def _skip(self, upto: int) -> int:
        """Drop all there is, which is stored, and go on after `upto`; return the bytes dropped."""
        released = self._kept_bytes
        self._sent.clear()
        self._unsent.clear()
        self._in_flight = self._kept_bytes = 0
        self._numbered = self._acked = upto
        return released

    def _rewind(self) -> None:
        while self._sent:
            self._unsent.extendleft(reversed(self._sent.pop().events))
        self._in_flight = 0


def _within(value: float, low: float, high: float) -> float:
    """Return `value` within bounds; NaN becomes the lower one."""
    return min(value, high) if value > low else low
