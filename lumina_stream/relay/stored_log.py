"""What a log has stored: found when it is opened, and read, by any thread, while one other writes it."""

# pyright: reportUnknownMemberType=false

import contextlib
from collections.abc import Generator, Mapping, Sequence

import apsw

from lumina_stream.relay.erasing import carried_without, without
from lumina_stream.relay.log import (
    READ_BYTES,
    Deletion,
    Epoch,
    LogError,
    LogUnavailable,
    Row,
    trace_bytes,
)
from lumina_stream.relay.log_folder import LogFolder
from lumina_stream.relay.scan import (
    Damage,
    first_time_ns,
    last_row_before,
    past_damage,
    read_blobs,
    read_deletions,
    read_epochs,
    read_producers,
    scan,
    scan_trace,
)
from lumina_stream.relay.segment import Segment, reading

DELETIONS_KEPT = 100_000
"""Deletions remembered: past it the oldest is forgotten, and late events of its trace begin it anew."""

_FAR = 1 << 40
"""More events than a segment can hold: where a scan stops whose end is not known."""

_TAIL = 1 << 16
"""The most events to believe of a damaged last row: a frame of 256 KiB holds fewer."""


class StoredLog:
    """The reading half of a `SqliteLog`; see `Log` for the promises of each method."""

    def __init__(self, folder: LogFolder) -> None:
        """Hold the empty state; `_load` fills it."""
        self._folder = folder
        # Replaced, never changed, so that readers take one consistent look. The last is written.
        self._segments: tuple[Segment, ...] = ()
        self._next_offset = 1
        self._epochs: tuple[Epoch, ...] = ()
        # Numbers stand for producer ids in the rows, the same in every segment. A number that was
        # drawn for a commit that failed stays drawn, so that readers may share `_names`.
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._next_number = 1
        self._last_seq: dict[str, int] = {}
        self._data: dict[str, bytes] = {}
        self._deletions: dict[str, Deletion] = {}
        # Deleted, and still in the files: replaced, never changed, so that readers may share it.
        self._unerased: frozenset[str] = frozenset()
        self._damage = Damage()

    @property
    def epoch(self) -> Epoch:
        """Return the epoch drawn when the log was opened."""
        return self._epochs[-1]

    @property
    def epochs(self) -> Sequence[Epoch]:
        """Return the known epochs, oldest first; the last is the current one."""
        return self._epochs

    @property
    def first_offset(self) -> int:
        """Return the least offset that is still held; `next_offset` if the log is empty."""
        held = self._segments
        return held[0].first_offset if held else self._next_offset

    @property
    def next_offset(self) -> int:
        """Return the offset that the next appended event gets."""
        return self._next_offset

    def read(self, after: int, *, max_bytes: int = READ_BYTES) -> list[Row]:
        """Return the rows that hold any offset greater than `after`, in order."""
        return _take(self._rows(after, None), max_bytes)

    def read_trace(
        self, trace_id: str, *, after: int = 0, max_bytes: int = READ_BYTES
    ) -> list[Row]:
        """Return the rows that hold events of the trace, under the rules of `read`."""
        raw = None if trace_id in self._deletions else trace_bytes(trace_id)
        return [] if raw is None else _take(self._rows(after, raw), max_bytes)

    def offset_at(self, time_ns: int) -> int:
        """Return the greatest offset that arrived before `time_ns`, 0 if there is none."""
        for segment, stop in reversed(self._spans()):
            with self._reading(segment) as connection:
                if connection is None:
                    continue
                first = first_time_ns(connection)
                if first is None or first >= time_ns:
                    continue
                row = last_row_before(connection, self._names, stop, time_ns)
                if row is not None:
                    return row.last_offset
        return 0

    def last_seq(self, producer_id: str) -> int:
        """Return the producer's last stored seq, 0 if it is unknown."""
        return self._last_seq.get(producer_id, 0)

    def producers(self) -> Mapping[str, int]:
        """Return the last stored seq of every producer ever known, as a copy."""
        return self._last_seq.copy()

    def producer_data(self) -> Mapping[str, bytes]:
        """Return the stored records of `remember_producer`, as a copy."""
        return self._data.copy()

    def carried(self) -> list[tuple[int, bytes]]:
        """Return what `retain` carried: (first offset that survived it, bytes)."""
        for segment, _ in self._spans()[-1:]:
            with self._reading(segment) as connection:
                if connection is not None:
                    found = read_blobs(connection, "carried").items()
                    return sorted((o, carried_without(d, self._unerased)) for o, d in found)
        return []

    def deletions(self) -> Mapping[str, Deletion]:
        """Return the deletions of which something that preceded them is still held, by trace id."""
        return {d.trace_id: d for d in self._held_deletions()}

    # Opening.

    def _load(self) -> None:
        held = self._folder.segments()
        self._next_offset = self._folder.highest_offset
        self._segments = tuple(held)
        if not held:
            return
        self._load_producers(held)
        newest = held[-1]
        with reading(newest) as connection:
            self._epochs = tuple(read_epochs(connection))
            found = sorted(read_deletions(connection).values(), key=lambda d: d.offset)
            self._deletions = {d.trace_id: d for d in found[-DELETIONS_KEPT:]}
            self._unerased = frozenset(t for t, d in self._deletions.items() if not d.erased)
            for number, data in read_blobs(connection, "producer_data").items():
                if number in self._names:
                    self._data[self._names[number]] = data

    def _load_producers(self, held: Sequence[Segment]) -> None:
        """Take each producer's number and last seq from the newest segment.

        Where its table is damaged, the sound part of it, the tables before it and the rows since
        then say the same.
        """
        unsure: list[Segment] = []
        for segment in reversed(held):
            with reading(segment) as connection:
                known, sound = read_producers(connection)
            for number, (producer_id, last_seq) in known.items():
                self._names.setdefault(number, producer_id)
                self._numbers.setdefault(producer_id, number)
                self._next_number = max(self._next_number, number + 1)
                self._raise_last_seq(producer_id, last_seq)
            if sound:
                break
            unsure.append(segment)
        for segment in unsure:
            with reading(segment) as connection:
                for row in self._scan_whole(connection, segment):
                    self._raise_last_seq(row.producer_id, row.last_seq)

    def _raise_last_seq(self, producer_id: str, last_seq: int) -> None:
        self._last_seq[producer_id] = max(self._last_seq.get(producer_id, 0), last_seq)

    def _find_end(self, connection: apsw.Connection, newest: Segment) -> bool:
        """Set the next offset; tell whether the last row is sound."""
        last = last_row_before(connection, self._names)
        with past_damage():
            stored = connection.execute("SELECT max(offset) FROM frames").get
            if stored == (None if last is None else last.offset):
                if last is not None:
                    self._next_offset = max(self._next_offset, last.last_offset + 1)
                return True
        for row in self._scan_whole(connection, newest):
            self._next_offset = max(self._next_offset, row.last_offset + 1)
        with past_damage():
            # An unsound last row still says, most likely, how many offsets it took.
            end = connection.execute("SELECT max(offset + count) FROM frames").get
            if isinstance(end, int) and 0 < end - self._next_offset <= _TAIL:
                self._next_offset = end
        return False

    def _scan_whole(self, connection: apsw.Connection, segment: Segment) -> Generator[Row]:
        # What is missing before an unknown end is counted when it is read, not here.
        first = segment.first_offset
        return scan(connection, self._names, first, first + _FAR, Damage())

    # Inside.

    def _check_open(self) -> None:
        if self._folder.closed:
            raise LogError(f"the log in {self._folder.path} is closed; open it again")

    def _held_deletions(self) -> list[Deletion]:
        """Return the deletions that retention has not passed, oldest first."""
        first = self.first_offset
        return [d for d in self._deletions.values() if d.offset >= first or not d.erased]

    def _spans(self) -> list[tuple[Segment, int]]:
        """Return the segments, each with the offset at which the next one begins."""
        self._check_open()
        # Taken first: what it says is committed to the segments that are taken next.
        next_offset = self._next_offset
        held = self._segments
        stops = [*(segment.first_offset for segment in held[1:]), next_offset]
        return list(zip(held, stops, strict=False))

    def _rows(self, after: int, trace_id: bytes | None) -> Generator[Row]:
        start = max(after + 1, 1)
        for segment, stop in self._spans():
            if stop <= start:
                continue
            with self._reading(segment) as connection:
                if connection is None:
                    continue
                names, damage = self._names, self._damage
                first = max(start, segment.first_offset)
                if trace_id is None:
                    for row in scan(connection, names, first, stop, damage):
                        yield without(row, self._unerased)
                else:
                    for row in scan_trace(connection, names, trace_id, range(first, stop), damage):
                        yield without(row, self._unerased)

    @contextlib.contextmanager
    def _reading(self, segment: Segment) -> Generator[apsw.Connection | None]:
        """Open a segment for reading; None if retention took it away meanwhile."""
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(reading(segment))
            except apsw.CantOpenError as error:
                if segment.path.exists():
                    raise LogUnavailable(f"{segment.path} cannot be read now: {error}") from error
                connection = None
            try:
                yield connection
            except apsw.Error as error:
                # A file that goes while it is being read gives any error of I/O.
                if segment.path.exists():
                    raise LogUnavailable(f"{segment.path} cannot be read now: {error}") from error


def _take(rows: Generator[Row], max_bytes: int) -> list[Row]:
    taken: list[Row] = []
    size = 0
    with contextlib.closing(rows):
        for row in rows:
            taken.append(row)
            size += len(row.events)
            if size >= max_bytes:
                break
    return taken
