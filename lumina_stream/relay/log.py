"""What a log is: the durable, ordered truth of which everything a relay shows is a projection.

A log stores frames: one producer's consecutive events, as the raw MessagePack array in which they
arrived. Offsets number events, densely over the whole log and from 1: a row whose first event has
offset O and that holds n events covers O to O+n-1.

Here are the values and the promises. This module knows neither files nor SQLite (`sqlite_log.py`
is the embedded engine) nor what an event means; a distributed engine fits behind `Log` as well.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from lumina_stream.model.errors import LuminaError

READ_BYTES = 1 << 20
"""Default budget of one read, in event bytes: some 7,000 events, a few milliseconds of work. A
reader that wants more asks again, so nobody holds a snapshot for long and no write-ahead file
grows behind it."""


_MAX_INT = (1 << 63) - 1


class LogError(LuminaError):
    """The log was misused, or cannot be opened as it is."""


class LogLocked(LogError):
    """Another process has the log open; `pid` is its process id, None if it did not say."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"the log in {folder} is in use by {holder}; stop it, or choose another data folder"
        )
        self.pid = pid


class LogUnavailable(LogError):
    """The storage refused; what was to be stored is not, and may be tried again."""


class LogFull(LogUnavailable):
    """The storage refused because there is no space left."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Hold one frame that is to be appended.

    `first_seq` is the seq of its first event, `count` the number of events in `events` (a raw
    MessagePack array), `trace_ids` the distinct 32-digit hex trace ids in it (may be empty),
    `time_ns` its arrival on the relay's wall clock.
    """

    producer_id: str
    first_seq: int
    count: int
    events: bytes
    trace_ids: tuple[str, ...]
    time_ns: int

    @property
    def last_seq(self) -> int:
        """Return the seq of the last event."""
        return self.first_seq + self.count - 1


class Row(msgspec.Struct, frozen=True, gc=False):
    """Hold one frame as it was read; `offset` is that of its first event."""

    offset: int
    producer_id: str
    first_seq: int
    count: int
    events: bytes
    time_ns: int

    @property
    def last_seq(self) -> int:
        """Return the seq of the last event."""
        return self.first_seq + self.count - 1

    @property
    def last_offset(self) -> int:
        """Return the offset of the last event: what to hand to the next read as `after`."""
        return self.offset + self.count - 1


class Epoch(msgspec.Struct, frozen=True, gc=False):
    """Name one opening of the log; it covers `first_offset` up to the next epoch's."""

    id: str
    first_offset: int
    started_ns: int


class Removed(msgspec.Struct, frozen=True, gc=False):
    """Tell what retention took away: the events of these offsets, both ends included."""

    first_offset: int
    last_offset: int
    disk_bytes: int


class Deletion(msgspec.Struct, frozen=True, gc=False):
    """Tell that a trace was deleted, when the log stood at `offset`.

    `erased`: nothing of it is left in the files; until then reads leave it out.
    """

    trace_id: str
    offset: int
    time_ns: int
    erased: bool = False


class LogStatistics(msgspec.Struct, frozen=True, gc=False):
    """Hold the figures of a log; counts are cumulative since it was opened, except where noted.

    `events` is what the log holds now, damaged events included. `damaged_events` counts those that
    a read could not return, each once however often it was missed; `damaged_rows` the places where
    that was noticed. `quarantined` counts the files set aside, those of earlier openings
    included. `deletions` are those that are remembered, `unerased` those of them whose events are still in
    the files. `refused` counts failed commits; `error` is what the last one said, None once a
    commit succeeded.
    """

    segments: int
    disk_bytes: int
    events: int
    commits: int
    commit_last_s: float
    commit_total_s: float
    refused: int
    error: str | None
    quarantined: int
    damaged_rows: int
    damaged_events: int
    deletions: int = 0
    unerased: int = 0


class Log(Protocol):
    """Store frames durably and give them back in order.

    Two kinds of threads use a log. `append`, `remember_producer`, `delete_trace`, `retain` and `close` belong to
    one writer: never two of them at a time. Everything else may be called from any thread at any
    time, and never waits for a commit.
    """

    @property
    def epoch(self) -> Epoch:
        """Return the epoch drawn when the log was opened."""
        ...

    @property
    def epochs(self) -> Sequence[Epoch]:
        """Return the known epochs, oldest first; the last is the current one."""
        ...

    @property
    def first_offset(self) -> int:
        """Return the least offset that is still held; `next_offset` if the log is empty."""
        ...

    @property
    def next_offset(self) -> int:
        """Return the offset that the next appended event gets."""
        ...

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """Store the entries in one transaction and return their first offsets.

        They are durable when this returns. Data given to `remember_producer` goes with them; an
        empty sequence commits only that.

        Raises:
            LogUnavailable: the commit failed, and nothing of it is stored (`LogFull`: no space).
            LogError: an entry is malformed, or begins at or before its producer's last seq, which
                would store an event twice; nothing is stored. Gaps in seq are allowed.
        """
        ...

    def read(self, after: int, *, max_bytes: int = READ_BYTES) -> list[Row]:
        """Return the rows that hold any offset greater than `after`, in order.

        The first may begin at or before `after`. Reading stops with the row that reaches
        `max_bytes` of events; an empty list means that nothing readable follows. Damaged rows are
        left out and counted, removed ones are left out: compare offsets to notice either.

        Raises:
            LogUnavailable: the storage cannot be opened now.
        """
        ...

    def read_trace(
        self, trace_id: str, *, after: int = 0, max_bytes: int = READ_BYTES
    ) -> list[Row]:
        """Return the rows that hold events of the trace, under the rules of `read`.

        A row holds whatever arrived in one frame: other traces' events too. An unknown or
        malformed trace id has no rows.
        """
        ...

    def offset_at(self, time_ns: int) -> int:
        """Return the greatest offset that arrived before `time_ns`, 0 if there is none.

        `read(after=offset_at(t))` replays what arrived since t. Where the wall clock was set back
        the answer may be smaller: too much is replayed then, never too little.
        """
        ...

    def last_seq(self, producer_id: str) -> int:
        """Return the producer's last stored seq, 0 if it is unknown."""
        ...

    def producers(self) -> Mapping[str, int]:
        """Return the last stored seq of every producer ever known, as a copy."""
        ...

    def remember_producer(self, producer_id: str, data: bytes) -> None:
        """Keep an opaque record with the producer, from the next append on; the latest counts."""
        ...

    def producer_data(self) -> Mapping[str, bytes]:
        """Return the stored records of `remember_producer`, as a copy."""
        ...

    def retain(
        self,
        *,
        keep_s: float | None,
        max_bytes: int | None,
        now_ns: int,
        carry: Callable[[], bytes] | None = None,
    ) -> list[Removed]:
        """Remove whole oldest parts of the log, and tell which.

        A part goes when its newest event is older than `keep_s`, or while the log takes more than
        `max_bytes` of disk; None lifts a bound. The part being written is never removed. `carry`
        is called once, before a removal, for what must outlive it (the state of open traces); its
        bytes replace those of the time before and come back from `carried`.

        Raises:
            LogUnavailable: the carried bytes cannot be stored; nothing was removed, unless the
                reason was missing space.
        """
        ...

    def carried(self) -> list[tuple[int, bytes]]:
        """Return what `retain` carried: (first offset that survived it, bytes)."""
        ...

    def delete_trace(self, trace_id: str, time_ns: int) -> Deletion:
        """Take a trace out of the log for good, and return what is remembered of that.

        When this returns it is durable, and no read returns an event of the trace; each is left as one
        byte that is no event, so that offsets and seqs stay. Other traces' events stay, those that share a
        frame with it included. If files cannot be rewritten now, the rest is tried again by `retain` and
        when the log is opened.

        Raises:
            LogError: it is no trace id.
            LogUnavailable: the deletion cannot be stored; nothing was deleted.
        """
        ...

    def deletions(self) -> Mapping[str, Deletion]:
        """Return the deletions of which something that preceded them is still held, by trace id."""
        ...

    def statistics(self) -> LogStatistics:
        """Return the figures of now."""
        ...

    def close(self) -> None:
        """Store what is pending and let go of the log; calling it again does nothing."""
        ...


def check_entry(entry: Entry, stored_seq: int) -> list[bytes]:
    """Return the entry's distinct trace ids, 16 bytes each.

    `stored_seq` is what its producer has stored. Every engine owes its caller these checks.

    Raises:
        LogError: a field is out of its range, or events of it are stored already.
    """
    check_producer(entry.producer_id)
    if entry.count < 1 or not 1 <= entry.first_seq <= _MAX_INT - entry.count:
        raise LogError(
            f"an entry of producer {entry.producer_id} has first_seq {entry.first_seq} and count "
            f"{entry.count}; both are at least 1 and fit in 63 bits"
        )
    if entry.first_seq <= stored_seq:
        raise LogError(
            f"an entry of producer {entry.producer_id} begins at seq {entry.first_seq}, and its "
            f"events up to {stored_seq} are stored; leave duplicates out"
        )
    if abs(entry.time_ns) > _MAX_INT:
        raise LogError(f"time_ns {entry.time_ns} does not fit in 64 bits")
    traces: list[bytes] = []
    for trace_id in dict.fromkeys(entry.trace_ids):
        raw = trace_bytes(trace_id)
        if raw is None:
            raise LogError(f"trace id {trace_id!r} is not 32 hex digits")
        traces.append(raw)
    return traces


def check_producer(producer_id: str) -> None:
    """Raise `LogError` for an id that is empty or no valid text."""
    try:
        producer_id.encode()
    except UnicodeEncodeError as error:
        raise LogError(f"producer id {producer_id!r} is not valid text") from error
    if not producer_id:
        raise LogError("a producer id is empty; every entry needs one")


def trace_bytes(trace_id: str) -> bytes | None:
    """Return the 16 bytes of a trace id, None if it is not 32 hex digits."""
    if len(trace_id) != 32:
        return None
    try:
        raw = bytes.fromhex(trace_id)
    except ValueError:
        return None
    # fromhex skips blanks.
    return raw if len(raw) == 16 else None
