"""The clients of a relay, told apart by their tokens: what each may take of it at once.

Without tokens all are one client as to connections, and each connection one as to its rate. The machines
of `protocol` decide; here they are kept, by client.
"""

from lumina_stream.model import limits
from lumina_stream.protocol.pacing import Pace
from lumina_stream.protocol.quota import Quota

NOBODY = b""
"""Who comes without a token."""


class Clients:
    """Hold quota and paces; `max_rate` is bytes a second, None lifts a bound."""

    def __init__(self, max_connections: int | None = None, max_rate: int | None = None) -> None:
        self.quota = Quota(max_connections)
        self.refused = 0
        """How many connections were too many for their client."""
        self._max_rate = max_rate
        self._paces: dict[bytes, Pace] = {}

    def enter(self, client: bytes) -> bool:
        """Count a connection in, as `Quota.enter` does."""
        if self.quota.enter(client):
            return True
        self.refused += 1
        return False

    def pace(self, client: bytes, *, alone: bool) -> Pace | None:
        """Return the pace of a client, None if there is none; `alone`: of a connection without a token."""
        if self._max_rate is None:
            return None
        if client == NOBODY and alone:
            return self._new_pace(self._max_rate)
        pace = self._paces.get(client)
        if pace is None:
            pace = self._paces[client] = self._new_pace(self._max_rate)
        return pace

    @staticmethod
    def _new_pace(rate: int) -> Pace:
        # A second of it, and no less than a frame: who sends seldom is never in debt.
        return Pace(rate, max(rate, limits.FRAME_BYTES))
