"""Deliver what a dead program left in its spool: under its own id and seq, and then end it truly.

Sans-I/O. The shell sends what `connected()` returns, feeds every received message to `receive()`
and sends what that returns, and says `disconnected()` when the connection is gone. `done` then tells
whether the spool may be removed; if not, another connection goes on where this one stopped.
"""

from collections.abc import Callable

from lumina_stream.model import limits
from lumina_stream.model.errors import ConnectionEnded
from lumina_stream.protocol import frames, producer
from lumina_stream.protocol.leftover import Leftover
from lumina_stream.protocol.producer import ProducerSession

MOST_RENAMES = 3
"""Ids are drawn at random: a relay that refuses more of them refuses all."""
BYE = 1000
"""The close code with which a relay answers a `bye` that it has taken."""


class Redelivery:
    """Deliver one `Leftover`, over any number of connections.

    `new_identity` returns another producer id and nonce, for the case that the relay knows this id
    as that of a different incarnation: a copied machine has the same spool.
    """

    def __init__(self, leftover: Leftover, new_identity: Callable[[], tuple[str, str]]) -> None:
        self.leftover = leftover
        self.session = ProducerSession(leftover.hello, left=True)
        self.done = False
        """Whether the relay has everything and knows how the producer ended."""
        self.renamed = False
        """Whether the connection ended because a new id was taken: connect again at once."""
        self.pause_s = 0.0
        """For how long the relay wants nothing: wait, then call `resumed`."""
        self._is_refused = False
        self._new_identity = new_identity
        self._last_ns = leftover.last_time_ns()
        self._said_bye = False
        self._offset = 0
        self._renames = 0

    @property
    def delivered(self) -> int:
        """Return how many of the events the relay has."""
        return self.session.acked + self._offset - self.leftover.first_seq + 1

    def connected(self) -> bytes:
        """Start a new connection; return the `hello` to send first."""
        self.renamed = self._said_bye = self._is_refused = False
        self.pause_s = 0.0
        return self.session.connected(self._last_ns, 0, frames.LEFT)

    def disconnected(self, code: int | None) -> None:
        """Say that the connection is gone; `code` is the WebSocket close code if there was one."""
        self.session.disconnected()
        self.done = self._said_bye and code == BYE

    def receive(self, data: bytes | str) -> list[bytes]:
        """Take in one message; return what to send now.

        Raises `RemoteProtocolError`, and `ConnectionEnded` when this connection leads no further.
        """
        for signal in self.session.receive(data):
            match signal:
                case producer.Acknowledged(upto):
                    self.leftover.skip(upto + self._offset)
                    self._is_refused = False
                case producer.IdentityTaken() if self._renames == MOST_RENAMES:
                    raise ConnectionEnded("the relay takes none of the producer ids it was offered")
                case producer.IdentityTaken():
                    self._renames += 1
                    self.session.rename(*self._new_identity())
                    self._offset = self.leftover.next_seq - 1 - self.session.last_seq
                    self.renamed = True
                    raise ConnectionEnded("the relay knows this producer id as another one's")
                case producer.Throttled(pause_s):
                    self.pause_s, self._is_refused = pause_s, True
                case producer.Refused(_, message):
                    raise ConnectionEnded(f"the relay ended the connection: {message}")
                case producer.Rewound() if self._is_refused:
                    # Not too fast: what was sent before the pause was not stored either.
                    raise ConnectionEnded("the relay stores nothing at the moment")
                case producer.Rewound():
                    self._said_bye = False
                case producer.Welcomed():
                    pass
        return [] if self.pause_s else self._following()

    def resumed(self) -> list[bytes]:
        """Say that the pause is over; return what to send now."""
        self.pause_s = 0.0
        return self._following()

    def _following(self) -> list[bytes]:
        session, found = self.session, list[bytes]()
        if not session.welcomed:
            return found
        while session.has_room:
            events = self.leftover.take(limits.FRAME_EVENTS, limits.IN_FLIGHT_BYTES)
            session.extend(events)
            if not events:
                break
        while (batch := session.next_batch()) is not None:
            found.append(batch)
        if not session.unacknowledged and not self._said_bye:
            self._said_bye = True
            found.append(session.bye(lost=not self.leftover.ended))
        return found
