"""What a dead program left in its spool, read back event by event. Pure; `spool` says how it is laid out.

Nothing that is read is believed: an event counts if its checksum is right for its seq and its place
is within bounds. What is damaged is reported where it was, under its own seq, so that seq stays
dense and the rest arrives as it was numbered.
"""

import zlib

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import EventsLost
from lumina_stream.protocol import frames, spool

NOTHING = b"\xc0"
"""A place without an event (MessagePack's nil): its loss is counted in an `events_lost` before it."""
OTHER = "other"
_LOOKED_AT = 100


class Leftover:
    """A spool that nobody writes any more. All numbers are seqs of `hello.producer_id`."""

    def __init__(self, data: memoryview, now_ns: int) -> None:
        """Look at a spool. Raises `DecodeError` when it cannot be told whose it is."""
        self._bytes = data
        self._counters = data[: len(data) // 8 * 8].cast("Q")
        self._marks = data[: len(data) // 4 * 4].cast("I")
        self._layout = spool.read_layout(self._counters)
        if self._layout.size > len(data):
            raise DecodeError(f"it has {len(data)} bytes of {self._layout.size}")
        identity, _ = spool.read_identity(data, self._layout)
        self._base = identity.base
        self._now_ns = now_ns
        self.created_ns = identity.created_ns
        acked, head = self._ends()
        self.first_seq = acked + 1 - self._base
        """The first event that no relay is known to have."""
        self._head = head - self._base
        self._reports = self._unreported(head)
        self.last_seq = self._head + len(self._reports)
        """The last event, reports of losses included."""
        self.hello = msgspec.structs.replace(identity.hello, first_seq=self.first_seq)
        self.next_seq = self.first_seq
        """The event that `take` goes on with."""
        self.damaged = 0
        """Events found damaged so far."""
        closed = spool.unseal(self._counters[spool.CLOSED])
        self.ended = closed is not None and closed == head + 1
        """Whether the program ended in good order: it had nothing more to say."""

    @property
    def count(self) -> int:
        """Return how many events no relay is known to have."""
        return self.last_seq - self.first_seq + 1

    def take(self, most: int, most_bytes: int = limits.IN_FLIGHT_BYTES) -> list[bytes]:
        """Return the next events, up to `most`, and no more once they are `most_bytes`.

        A run of damaged events is one `events_lost` in the place of the first, and `NOTHING` in the
        places of the others.
        """
        found: list[bytes] = []
        damaged = 0
        while self.next_seq <= self.last_seq and len(found) < most and most_bytes > 0:
            if self.next_seq > self._head:
                event: bytes | None = self._reports[self.next_seq - self._head - 1]
            else:
                event = self._read(self.next_seq + self._base)
            self.next_seq += 1
            if event is None:
                damaged += 1
                found.append(NOTHING)
                continue
            if damaged:
                found[-damaged] = self._damage(damaged)
                damaged = 0
            found.append(event)
            most_bytes -= len(event)
        if damaged:
            found[-damaged] = self._damage(damaged)
        return found

    def skip(self, seq: int) -> None:
        """Go on after a seq: a relay has everything up to it."""
        self.next_seq = max(self.next_seq, seq + 1)

    def last_time_ns(self) -> int:
        """Return when the last event was that can be read, the last sign of life; else its beginning."""
        for seq in range(self._head, max(0, self._head - _LOOKED_AT), -1):
            event = self._read(seq + self._base)
            time_ns = 0 if event is None else time_of(event)
            if time_ns:
                return time_ns
        return self.created_ns

    def _damage(self, count: int) -> bytes:
        self.damaged += count
        return codec.encode(EventsLost(self._now_ns, "spool_damaged", count))

    def _read(self, number: int) -> bytes | None:
        """Return an event by its number in the ring, None if it is damaged."""
        layout = self._layout
        slot = layout.first_slot + number % layout.slots * spool.SLOT_WORDS
        start, size, check = self._marks[slot], self._marks[slot + 1], self._marks[slot + 2]
        if start < layout.data or start + size > layout.size or not size:
            return None
        event = bytes(self._bytes[start : start + size])
        return event if zlib.crc32(event, number) == check else None

    def _ends(self) -> tuple[int, int]:
        """Return the numbers of the last event that is stored elsewhere, and of the last one at all."""
        acked = spool.unseal(self._counters[spool.ACKED])
        head = spool.unseal(self._counters[spool.HEAD])
        slots = self._layout.slots
        if head is not None and acked is not None and not 0 <= head - acked <= slots:
            acked = None  # two sound halves of different times
        if head is None:
            if acked is None:
                raise DecodeError("both of its counters are damaged")
            sound = (n for n in range(acked + slots, acked, -1) if self._read(n) is not None)
            head = next(sound, acked)
        if acked is None:
            acked = head
            while acked > max(self._base, head - slots) and self._read(acked) is not None:
                acked -= 1
        return acked, head

    def _unreported(self, head: int) -> list[bytes]:
        """Return what the banks have counted and no event up to `head` reports."""
        reports: list[bytes] = []
        for bank in (0, 1):
            start = spool.BANKS + bank * spool.BANK_WORDS
            words = self._counters[start : start + spool.BANK_WORDS].tolist()
            reported = spool.unseal(words[0])
            if reported is not None and not 0 < reported <= head:
                lost = self._lost(words)
                if lost.count:
                    reports.append(codec.encode(lost))
        return reports

    def _lost(self, words: list[int]) -> EventsLost:
        by_type: dict[str, int] = {}
        for kind, word in enumerate(words[spool.TYPES : spool.TRACES]):
            count = spool.unseal(word)
            if count:
                by_type[(*spool.LOST_TYPES, OTHER)[kind]] = count
        by_trace: dict[str, int] = {}
        for place in range(limits.LOSS_TRACES + 1):
            word, high, low = words[spool.TRACES + place * 3 : spool.TRACES + place * 3 + 3]
            count = spool.unseal(word)
            if count:
                trace_id = OTHER if place == limits.LOSS_TRACES else f"{high:016x}{low:016x}"
                by_trace[trace_id] = count
        total = sum(by_type.values())
        # Killed between the two counters of one event: the type is written first.
        missing = total - sum(by_trace.values())
        if missing > 0:
            by_trace[OTHER] = by_trace.get(OTHER, 0) + missing
        reason = spool.REASONS[words[3]] if words[3] < len(spool.REASONS) else spool.REASONS[0]
        first_ns, last_ns = words[1], words[2]
        return EventsLost(self._now_ns, reason, total, by_type, by_trace, True, first_ns, last_ns)


def time_of(event: bytes) -> int:
    """Return when an event was, 0 if it cannot be read."""
    try:
        return codec.decode(event).time_ns
    except DecodeError:
        return 0


def hello_of(leftover: Leftover) -> frames.Hello:
    """Return the hello under which what is left is delivered."""
    return msgspec.structs.replace(leftover.hello, spool=frames.LEFT)
