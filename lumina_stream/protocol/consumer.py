"""The consumer's two ends: a viewer's session with its cursor, and how a relay answers a subscription.

Sans-I/O. A viewer sends `subscribe()` first on every connection and feeds every message to
`receive()`; the cursor it keeps makes the next connection go on where this one stopped.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError, RemoteProtocolError
from lumina_stream.model.events import Fact
from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import BINARY, Wire


class Restarted(msgspec.Struct, frozen=True):
    """Drop all trees: the relay starts over, with a snapshot or from another point.

    `relay_ns` is the relay's clock, 0 where it was not said.
    """

    relay_ns: int = 0


class Resumed(msgspec.Struct, frozen=True):
    """The connection goes on from the cursor; keep all trees. `relay_ns` as in `Restarted`."""

    relay_ns: int = 0


class Facts(msgspec.Struct, frozen=True):
    """Facts to apply, in the order of the log."""

    facts: tuple[Fact, ...]


class Refused(msgspec.Struct, frozen=True):
    """The relay ends the subscription and says why."""

    code: str
    message: str


Update: TypeAlias = (
    Restarted
    | Resumed
    | Facts
    | Refused
    | frames.Snapshot
    | frames.Outline
    | frames.Costs
    | frames.Usage
    | frames.Summaries
    | frames.Running
    | frames.Removed
    | frames.Progress
    | frames.Skip
)


class ConsumerSession:
    """Own one consumer's cursor over any number of connections."""

    def __init__(self, subscription: frames.Subscribe, wire: Wire = BINARY) -> None:
        self._subscription = subscription
        self._wire = wire
        self._epoch: str | None = None
        self._offset = 0
        self._snapshot_open = False
        self.undecodable = 0
        """How many events could not be read: of a version or shape that is not known here."""

    @property
    def offset(self) -> int:
        """Return the offset up to which everything in the view was received."""
        return self._offset

    @property
    def cursor(self) -> frames.Cursor | None:
        """Return where to go on; None before the first answer, and until a snapshot is complete."""
        if self._epoch is None or self._snapshot_open:
            return None
        return frames.Cursor(self._epoch, self._offset)

    def subscribe(self) -> bytes | str:
        """Return the frame to send first on a connection."""
        return self._wire.encode(msgspec.structs.replace(self._subscription, cursor=self.cursor))

    def receive(self, data: bytes | str) -> list[Update]:
        """Take in one message; return what it brings. Raises `RemoteProtocolError`."""
        frame = self._wire.relay_to_consumer(data)
        match frame:
            case frames.Subscribed():
                if not frame.recovered:
                    self._offset = frame.offset
                self._epoch = frame.epoch
                self._snapshot_open = not frame.recovered and self._expects_snapshot
                return [(Resumed if frame.recovered else Restarted)(frame.relay_ns)]
            case frames.Snapshot() | frames.Outline():
                self._greeted()
                self._snapshot_open = not frame.done
                if frame.done:
                    self._offset = max(self._offset, frame.offset)
                return [frame]
            case frames.FactBatch():
                self._greeted()
                return self._facts(frame)
            case frames.Skip():
                self._greeted()
                self._offset = frame.to_offset
                self._snapshot_open = True
                return [frame, Restarted()]
            case frames.Progress():
                self._greeted()
                self._offset = max(self._offset, frame.offset)
                return [frame]
            case frames.Costs() | frames.Usage():
                self._greeted()  # its `upto` says nothing about facts: it may come between two of them
                return [frame]
            case frames.Summaries() | frames.Running() | frames.Removed():
                self._greeted()
                self._offset = max(self._offset, frame.upto)
                return [frame]
            case frames.Error():
                return [Refused(frame.code, frame.message)]

    def _facts(self, frame: frames.FactBatch) -> list[Update]:
        facts: list[Fact] = []
        for item in frame.facts:
            if item.offset <= self._offset and not frame.unstored:
                continue  # had before: a resend overlaps
            try:
                event = codec.decode(item.event)
            except DecodeError:
                self.undecodable += 1
                continue
            offset = 0 if frame.unstored else item.offset
            facts.append(Fact(offset, frame.producer_id, item.seq, frame.service, event))
        if not frame.unstored:
            self._offset = max(self._offset, frame.upto)
        return [Facts(tuple(facts))] if facts else []

    @property
    def _expects_snapshot(self) -> bool:
        asked = self._subscription
        return asked.view in ("events", "trace") and (asked.snapshot or asked.since_ns is not None)

    def _greeted(self) -> None:
        if self._epoch is None:
            raise RemoteProtocolError("the first frame must be subscribed")


class Span(msgspec.Struct, frozen=True):
    """One epoch of the log: offsets from `first_offset` to `last_offset` were written in it."""

    epoch: str
    first_offset: int
    last_offset: int


def can_resume(cursor: frames.Cursor, epochs: Sequence[Span], oldest_offset: int) -> bool:
    """Tell whether a cursor may go on: its epoch is known, its offset lies in it, its next is kept.

    A log that was restored from a backup no longer knows the epoch, or ended earlier in it.
    """
    if cursor.offset + 1 < oldest_offset:
        return False
    for span in epochs:
        if span.epoch == cursor.epoch:
            # An epoch may be left before anything was written in it: its start is then its end.
            return cursor.offset <= max(span.last_offset, span.first_offset - 1)
    return False
