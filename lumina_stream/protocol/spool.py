"""The spool: a ring of events in mapped memory that outlives the program which fills it.

Sans-I/O: a spool is any writable memory (a mapped file, or just memory). `Ring` is the living
program's side, `Leftover` (leftover.py) reads what a dead one left. One spool holds one producer:

    0      what the rest looks like, and its checksum; then `head`, `acked` and `closed`
    4096   two banks of loss counters
    8192   two places for the identity (hello); the sound one with the greater generation counts
    ...    slots: event n has slot n % slots, where it says where the event is, how long, its checksum
    ...    data: the events, one behind the other; one that does not fit at the end goes to the start

The order of writing is what makes it hold: first the event, then its slot, then `head`. A program
killed at any instruction leaves every event up to `head` whole. What is read back is checked all
the same: a machine that loses power writes pages in any order.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import DecodeError
from lumina_stream.protocol import frames

if TYPE_CHECKING:
    from mmap import mmap

MAGIC = int.from_bytes(b"LUMSPOOL", "little")
VERSION = 1

PAGE = 4096
HEAD, ACKED, CLOSED = 8, 16, 17
"""Words of the first page: last event written, last one that a relay has stored, how it ended."""
BANKS = PAGE // 8
BANK_WORDS = 240
IDENTITIES = 2 * PAGE

SLOT_WORDS = 3
EVENT_COST = 16
"""Bytes that an event costs beside its own: its slot, and room for the loss of space at the end."""
LEAST_COST = 64
"""What an event costs at least: there is one slot for so many bytes of data."""
RESERVE = 4 * PAGE
"""Data kept free for the report of what was refused: one of its largest, and where it may not fit."""
LEAST_DATA, MOST_DATA = 16 * PAGE, 3 << 30
"""Data of a spool: room for a few of the largest events, and places that fit in four bytes."""
_CLOSED_USED = 1 << 62

_SEAL = 65_537
"""A counter is stored times this prime: no flipped bit turns one into another."""


def seal(number: int) -> int:
    """Return a counter as it is stored."""
    return number * _SEAL


def unseal(word: int) -> int | None:
    """Return a stored counter, None if it is damaged."""
    number, rest = divmod(word, _SEAL)
    return None if rest else number


class Identity(msgspec.Struct, frozen=True):
    """Whose events a spool holds. Event n of the ring is seq n - `base` of this producer."""

    hello: frames.Hello
    created_ns: int
    base: int = 0


_decode_identity = msgspec.msgpack.Decoder(Identity).decode


class Layout(msgspec.Struct, frozen=True):
    """Where what is, in bytes."""

    identity_bytes: int
    slots: int
    data_bytes: int

    @property
    def first_slot(self) -> int:
        """Return where the slots begin, counted in words of four bytes."""
        return (IDENTITIES + 2 * self.identity_bytes) // 4

    @property
    def data(self) -> int:
        """Return where the data begins."""
        end = self.first_slot * 4 + self.slots * SLOT_WORDS * 4
        return -(-end // PAGE) * PAGE

    @property
    def size(self) -> int:
        """Return the size of it all."""
        return self.data + self.data_bytes


def capacity_for(queue_bytes: int) -> int:
    """Return the bytes that events may take of a spool of about `queue_bytes` in all."""
    return min(MOST_DATA, max(LEAST_DATA, queue_bytes * 5 // 6 // PAGE * PAGE)) - RESERVE


def layout_for(queue_bytes: int, identity: Identity) -> Layout:
    """Return the layout of a spool of about `queue_bytes` in all."""
    # With room for another id, and one that is longer.
    identity_bytes = -(-(len(codec.encode(identity)) + 512) // PAGE) * PAGE
    data = capacity_for(queue_bytes) + RESERVE
    return Layout(identity_bytes, data // LEAST_COST + 2, data)


def read_layout(counters: memoryview) -> Layout:
    """Return the layout that a spool says it has; raise `DecodeError` for none, or another version."""
    if len(counters) < IDENTITIES // 8 or counters[0] != MAGIC:
        raise DecodeError("it is not a spool, or its first page is damaged")
    if counters[1] != VERSION:
        raise DecodeError(f"it is a spool of version {counters[1]}, this is {VERSION}")
    if counters[5] != zlib.crc32(counters[:5].tobytes()):
        raise DecodeError("its first page is damaged")
    return Layout(counters[2], counters[3], counters[4])


def read_identity(memory: memoryview, layout: Layout) -> tuple[Identity, int]:
    """Return a spool's identity and its generation; raise `DecodeError` if no copy is sound."""
    found: tuple[Identity, int] | None = None
    for place in (0, 1):
        start = IDENTITIES + place * layout.identity_bytes
        words = memory[start : start + 16].cast("Q")
        generation, length, check = words[0], words[1] >> 32, words[1] & 0xFFFFFFFF
        data = memory[start + 16 : start + 16 + length]
        if not generation or length > layout.identity_bytes or len(data) != length:
            continue
        if zlib.crc32(data, generation) == check and (found is None or generation > found[1]):
            try:
                found = _decode_identity(data), generation
            except msgspec.DecodeError:
                continue
    if found is None:
        raise DecodeError("both copies of its identity are damaged")
    return found


class Ring:
    """The living side of a spool: append events, hand them out, let go of what is stored.

    Appending takes no lock: a signal handler, or a span collected in the middle of a call, may append
    inside an append. It prepares, then looks whether anything was appended meanwhile, and if not,
    writes. From that look to the last store there is no call, no backward jump and no allocation of a
    container, so that neither another thread nor a handler runs there.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_counters",
        "_data",
        "_data_bytes",
        "_data_end",
        "_first_slot",
        "_generation",
        "_identity",
        "_layout",
        "_marks",
        "_memory",
        "_slots",
        "acked",
        "seq",
        "taken",
        "used",
    )

    def __init__(self, buffer: mmap, layout: Layout, identity: Identity) -> None:
        """Begin a spool in zeroed memory of `layout.size` bytes."""
        self._buffer = buffer
        self._memory = memoryview(buffer)
        self._counters = self._memory[: layout.size // 8 * 8].cast("Q")
        self._marks = self._memory[: layout.size // 4 * 4].cast("I")
        self._layout = layout
        self._first_slot, self._slots = layout.first_slot, layout.slots
        self._data, self._data_bytes = layout.data, layout.data_bytes
        self._data_end = layout.size
        self._at = layout.data
        self._generation = 0
        self.seq = 0
        """The last event that was appended. All numbers here are the ring's own: see `Identity`."""
        self.taken = 0
        """The last event that was handed out."""
        self.acked = 0
        """The last event that a relay has stored."""
        self.used = 0
        """Bytes that are not free, of `capacity`."""
        counters = self._counters
        counters[1], counters[2], counters[3] = VERSION, layout.identity_bytes, layout.slots
        counters[4] = layout.data_bytes
        self._write_identity(identity)
        counters[0] = MAGIC
        counters[5] = zlib.crc32(counters[:5].tobytes())

    @property
    def capacity(self) -> int:
        """Return the bytes above which only the report of a loss is taken."""
        return self._data_bytes - RESERVE

    @property
    def size(self) -> int:
        """Return the bytes of the whole spool."""
        return self._layout.size

    @property
    def pending(self) -> int:
        """Return how many events were not handed out."""
        return self.seq - self.taken

    @property
    def identity(self) -> Identity:
        """Return whose spool it is."""
        return self._identity

    def append(self, event: bytes, bound: int, mark: int = 0) -> bool:
        """Append an event unless it would exceed `bound`; return whether it was taken.

        When this returns, the event survives the process. `mark`: a further word that gets the
        event's number in the same moment.
        """
        size = len(event)
        cost = size + EVENT_COST if size > LEAST_COST - EVENT_COST else LEAST_COST
        while True:
            seq, at = self.seq + 1, self._at
            room = cost
            if not self.used:
                at = self._data  # where it was before: pages that are in memory already
            elif at + size > self._data_end:
                room += self._data_end - at
                at = self._data
            end = at + size
            where = slice(
                at, end
            )  # made here: making one may run the collector, and that a span's end
            check = zlib.crc32(event, seq)
            buffer, marks, counters = self._buffer, self._marks, self._counters
            slot = self._first_slot + seq % self._slots * SLOT_WORDS
            head = seq * _SEAL
            # From here on no call.
            used = self.used + room
            if used > bound:
                return False
            if self.seq + 1 == seq:
                buffer[where] = event
                marks[slot] = at
                marks[slot + 1] = size
                marks[slot + 2] = check
                if mark:
                    counters[mark] = head
                counters[HEAD] = head
                self.seq = seq
                self._at = end
                self.used = used
                return True

    def take(self, most: int, most_bytes: int = limits.IN_FLIGHT_BYTES) -> list[bytes]:
        """Hand out the next events, up to `most`, and no more once they are `most_bytes`."""
        found: list[bytes] = []
        buffer, marks = self._buffer, self._marks
        last = min(self.seq, self.taken + most)
        first = self.taken + 1
        while self.taken < last and most_bytes > 0:
            index = (self.taken + 1) % self._slots
            count = min(last - self.taken, self._slots - index)
            slot = self._first_slot + index * SLOT_WORDS
            places = marks[slot : slot + count * SLOT_WORDS].tolist()
            for start, size in zip(places[::SLOT_WORDS], places[1::SLOT_WORDS], strict=True):
                found.append(buffer[start : start + size])
                most_bytes -= size
                if most_bytes <= 0:
                    break
            self.taken = first + len(found) - 1
        return found

    def release(self, seq: int) -> None:
        """Let go of the events up to a seq of this producer: a relay has stored them."""
        upto = seq + self._identity.base
        marks, counters = self._marks, self._counters
        slot = self._first_slot + (upto + 1) % self._slots * SLOT_WORDS
        # From here on no call.
        count = self.seq - upto
        used = 0
        if count > 0:
            used = self._at - marks[slot]
            if used <= 0:
                used += self._data_bytes
            used += count * EVENT_COST
            if used < count * LEAST_COST:
                used = count * LEAST_COST
        if self.used < _CLOSED_USED:
            self.used = used
        self.acked = upto
        counters[ACKED] = upto * _SEAL

    def rename(self, hello: frames.Hello) -> None:
        """Take another identity: what is not stored is numbered from 1 under it."""
        self._write_identity(Identity(hello, self._identity.created_ns, self.acked))

    def close(self) -> None:
        """Take nothing more: the program has ended in good order."""
        # No call: nothing may come between.
        seq = self.seq
        self.used = _CLOSED_USED
        self._counters[CLOSED] = (seq + 1) * _SEAL

    def _write_identity(self, identity: Identity) -> None:
        data = codec.encode(identity)
        generation = self._generation + 1
        start = IDENTITIES + generation % 2 * self._layout.identity_bytes
        if len(data) + 16 > self._layout.identity_bytes:
            raise ValueError("the identity does not fit in its place")
        self._buffer[start + 16 : start + 16 + len(data)] = data
        self._counters[start // 8 + 1] = len(data) << 32 | zlib.crc32(data, generation)
        self._counters[start // 8] = generation
        self._generation, self._identity = generation, identity

    # --- losses --------------------------------------------------------------------------------

    def open_bank(self, bank: int) -> None:
        """Set a bank of loss counters to zero. What it counted before must have been reported."""
        counters, start = self._counters, BANKS + bank * BANK_WORDS
        # The mark, the first word, goes last: without it the counters would count again.
        for word in range(start + BANK_WORDS - 1, start - 1, -1):
            counters[word] = 0

    def mark_of(self, bank: int) -> int:
        """Return the `mark` of `append` for the event that reports what a bank has counted."""
        return BANKS + bank * BANK_WORDS

    def note_type(self, bank: int, kind: int, counts: dict[str, int], event_type: str) -> None:
        """Write how many events of a type (its index in `LOST_TYPES`) were lost: `counts[event_type]`."""
        counters, word = self._counters, BANKS + bank * BANK_WORDS + TYPES + kind
        # Read and written without a call between: a handler's count in between is not undone.
        counters[word] = counts[event_type] * _SEAL

    def note_trace(self, bank: int, place: int, counts: dict[str, int], trace_id: str) -> None:
        """Write how many events of a trace were lost; `place` is its own, `LOSS_TRACES` is the rest's."""
        try:
            number = 0 if place == limits.LOSS_TRACES else int(trace_id, 16)
        except ValueError:  # no trace id: it is among the rest
            return
        counters, word = self._counters, BANKS + bank * BANK_WORDS + TRACES + place * 3
        counters[word + 1] = number >> 64
        counters[word + 2] = number & 0xFFFFFFFFFFFFFFFF
        counters[word] = counts[trace_id] * _SEAL

    def note_times(self, bank: int, first_ns: int, last_ns: int, reason: str) -> None:
        """Write when a bank's first and last loss were, and why the last one was."""
        start = BANKS + bank * BANK_WORDS
        self._counters[start + 1] = first_ns
        self._counters[start + 2] = last_ns
        self._counters[start + 3] = REASONS.index(reason) if reason in REASONS else 0


LOST_TYPES = (
    "span_started",
    "attribute_set",
    "attributes_set",
    "event_added",
    "text_streamed",
    "span_updated",
    "span_ended",
)
"""Types of events that are counted one by one when they are lost."""
REASONS = ("queue_full", "not_encodable", "attribute_limit")

TYPES = 4
TRACES = TYPES + len(LOST_TYPES) + 1
assert TRACES + 3 * (limits.LOSS_TRACES + 1) <= BANK_WORDS
assert BANKS * 8 + 2 * BANK_WORDS * 8 <= IDENTITIES
