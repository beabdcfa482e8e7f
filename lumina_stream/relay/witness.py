"""The relay as a producer: what it says of producers, numbered and kept until it is stored.

Each start of a relay is a producer of its own, so that seq begins at 1 and nothing need be
remembered. While the log refuses, nothing is submitted: it would be refused too, out of order.
"""

import secrets
from collections import deque
from collections.abc import Callable

from lumina_stream.model import codec
from lumina_stream.model.events import ProducerEvent
from lumina_stream.relay.admission import RELAY_PREFIX
from lumina_stream.relay.committer import Submission
from lumina_stream.relay.log import Entry


class Witness:
    """Say producer events; `submit` takes each on its way into the log."""

    def __init__(self, submit: Callable[[Submission], None]) -> None:
        self.producer_id = RELAY_PREFIX + secrets.token_hex(8)
        self._submit = submit
        self._seq = 0
        self._held: deque[Submission] = deque()
        self._refused = False

    def say(
        self, time_ns: int, *events: ProducerEvent, remember: tuple[str, bytes] | None = None
    ) -> None:
        """Put events into the log, together; `time_ns` is their arrival."""
        raw = codec.join_array([codec.encode(event) for event in events])
        entry = Entry(self.producer_id, self._seq + 1, len(events), raw, (), time_ns)
        self._seq += len(events)
        submission = Submission(entry, remember)
        self._held.append(submission)
        if not self._refused:
            self._submit(submission)

    def committed(self, upto: int) -> None:
        """Say that everything up to a seq is stored."""
        while self._held and self._held[0].entry.last_seq <= upto:
            self._held.popleft()

    def refused(self) -> None:
        """Say that the log refused: hold everything back until `retry`."""
        self._refused = True

    def retry(self) -> None:
        """Submit again what is not stored."""
        if self._refused:
            self._refused = False
            for submission in self._held:
                self._submit(submission)
