"""The embedded log: segments of SQLite in one folder, written by one thread, read by any.

It knows which segment is written, and what retention may take. How what is stored is found and read is
`stored_log.py`, how a segment keeps its rows `segment.py`, how they are read past damage `scan.py`, locks
and file names `log_folder.py`. Group commit is the caller's: it appends what is pending when the last append
returns.
"""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import apsw
import msgspec

from lumina_stream.relay.log import (
    Deletion,
    Entry,
    Epoch,
    LogError,
    LogFull,
    LogStatistics,
    LogUnavailable,
    Removed,
    check_entry,
    check_producer,
    trace_bytes,
)
from lumina_stream.relay.log_folder import LogFolder, remove, size_of
from lumina_stream.relay.rewriting import erase_in_place, erase_sealed, erase_unsealed, remove_parts
from lumina_stream.relay.scan import (
    first_time_ns,
    is_damage,
    last_row_before,
    read_blobs,
    read_producers,
)
from lumina_stream.relay.segment import (
    PAGE_BYTES,
    Batch,
    Segment,
    create_segment,
    files_of,
    has_wal,
    open_writer,
    pack_frame,
    reading,
    seal_segment,
    segment_path,
    write_batch,
)
from lumina_stream.relay.stored_log import DELETIONS_KEPT, StoredLog

SEGMENT_BYTES = 64 << 20
"""Size at which a segment is sealed: retention removes whole segments, so this is its grain (of a
default of 5 GiB), and every start looks into each of them once."""

WAL_BYTES = 64 << 20
"""Size of the write-ahead file at which a segment is sealed too: sixteen times what it takes when
readers let it start over, so that reaching it means they do not."""

EPOCHS_KEPT = 256
"""Epochs remembered: a relay that restarts in a loop must not grow the log. A cursor of a
forgotten epoch gets a snapshot, which is what so old a cursor would get anyway."""

AGE_PARTS = 8
"""A segment is sealed once its first event is older than this part of the time to keep, so that a
quiet log outlives that time by an eighth, not by the years it takes to fill 64 MiB."""


class SqliteLog(StoredLog):
    """Keep a log in a folder; see `Log` for the promises of each method.

    Open it with `SqliteLog.open`. Files are 0600, the folder is made 0700; a lock file keeps a
    second process out. A file in which nothing can be read is renamed to `*.quarantined`; one that
    is damaged in places is read around them, and never written again.
    """

    def __init__(self, folder: LogFolder, segment_bytes: int) -> None:
        """Hold the empty state; `open` fills it."""
        super().__init__(folder)
        self._segment_bytes = segment_bytes
        self._writer: apsw.Connection | None = None
        self._written: os.stat_result | None = None
        self._carried_bytes = 0
        self._epoch_stored = False
        self._pending_data: dict[str, bytes] = {}
        self._commits = 0
        self._commit_last_s = 0.0
        self._commit_total_s = 0.0
        self._refused = 0
        self._error: str | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock: Callable[[], int] = time.time_ns,
    ) -> Self:
        """Open the log in a folder, making both if need be, and draw a new epoch.

        `clock` gives wall-clock nanoseconds. A full disk does not stop the opening, only the
        appends (`statistics().error` says so from the start).

        Raises:
            LogLocked: another process has it open.
            LogUnavailable: the folder cannot be made, read or written.
            LogError: a later version of the software wrote it.
        """
        held: LogFolder | None = None
        try:
            held = LogFolder.open(folder)
            log = cls(held, segment_bytes)
            remove_parts(held.path)
            log._load()
            log._resume()
        except BaseException as error:
            if held is not None:
                held.close()
            if isinstance(error, (apsw.Error, OSError)):
                raise LogUnavailable(f"the log in {folder} cannot be opened: {error}") from error
            raise
        log._begin(clock())
        log._finish_erasing()
        return log

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log."""
        self.close()

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """Store the entries in one transaction and return their first offsets."""
        self._check_open()
        batch = Batch()
        offsets: list[int] = []
        next_offset = self._next_offset
        last_seq: dict[str, int] = {}
        for entry in entries:
            producer_id = entry.producer_id
            stored_seq = last_seq.get(producer_id, self._last_seq.get(producer_id, 0))
            traces = check_entry(entry, stored_seq)
            number = self._number(producer_id)
            batch.frames.append(pack_frame(entry, next_offset, number))
            batch.traces += [(trace, next_offset) for trace in traces]
            batch.producers[number] = (producer_id, entry.last_seq)
            last_seq[producer_id] = entry.last_seq
            offsets.append(next_offset)
            next_offset += entry.count
        data = self._pending_data.copy()
        for producer_id, record in data.items():
            number = self._number(producer_id)
            seq = last_seq.setdefault(producer_id, self._last_seq.get(producer_id, 0))
            batch.producers[number] = (producer_id, seq)
            batch.data[number] = record
        started = time.perf_counter()
        self._commit(batch)
        self._commit_last_s = time.perf_counter() - started
        self._commit_total_s += self._commit_last_s
        self._commits += 1
        self._last_seq.update(last_seq)
        self._data.update(data)
        self._pending_data.clear()
        self._next_offset = next_offset
        return offsets

    def remember_producer(self, producer_id: str, data: bytes) -> None:
        """Keep an opaque record with the producer, from the next append on; the latest counts."""
        check_producer(producer_id)
        self._pending_data[producer_id] = data

    def retain(
        self,
        *,
        keep_s: float | None,
        max_bytes: int | None,
        now_ns: int,
        carry: Callable[[], bytes] | None = None,
    ) -> list[Removed]:
        """Remove the oldest segments that are too old or too many, and tell which."""
        self._check_open()
        self._finish_erasing()
        oldest_ns: int | None = None
        try:
            if keep_s is not None:
                oldest_ns = now_ns - int(keep_s * 1e9)
                self._seal_if_older(now_ns - int(keep_s * 1e9 / AGE_PARTS))
            going = self._going(oldest_ns, max_bytes)
        except (apsw.Error, OSError) as error:
            raise self._refusal(error) from error
        if not going:
            return []
        late: Batch | None = None
        if carry is not None:
            batch = Batch(carried=[(self._segments[len(going)].first_offset, carry())])
            try:
                self._commit(batch)
            except LogFull:
                # The space it needs is what the removal frees.
                late = batch
        removed, self._segments = self._segments[: len(going)], self._segments[len(going) :]
        try:
            for segment in removed:
                remove(segment.path)
            self._folder.remove_wrecks(self.first_offset)
        except OSError as error:
            raise self._refusal(error) from error
        if late is not None:
            self._commit(late)
        return going

    def delete_trace(self, trace_id: str, time_ns: int) -> Deletion:
        """Take a trace out of the log for good, and return what is remembered of that."""
        self._check_open()
        if trace_bytes(trace_id) is None:
            raise LogError(f"trace id {trace_id!r} is not 32 hex digits")
        known = [d for d in self._held_deletions() if d.trace_id != trace_id]
        deletion = Deletion(trace_id, self._next_offset - 1, time_ns)
        self._commit(Batch(deletions=[deletion]))
        self._deletions = {d.trace_id: d for d in (*known[1 - DELETIONS_KEPT :], deletion)}
        self._unerased |= {trace_id}
        self._finish_erasing()
        return self._deletions[trace_id]

    def statistics(self) -> LogStatistics:
        """Return the figures of now."""
        return LogStatistics(
            segments=len(self._segments),
            disk_bytes=self._folder.disk_bytes(),
            events=self._next_offset - self.first_offset,
            commits=self._commits,
            commit_last_s=self._commit_last_s,
            commit_total_s=self._commit_total_s,
            refused=self._refused,
            error=self._error,
            quarantined=self._folder.quarantined,
            damaged_rows=self._damage.rows,
            damaged_events=self._damage.events,
            deletions=len(self._deletions),
            unerased=len(self._unerased),
        )

    def close(self) -> None:
        """Store what is pending and let go of the log; calling it again does nothing."""
        if self._folder.closed:
            return
        if self._pending_data:
            with contextlib.suppress(LogUnavailable):
                self.append(())
        if self._writer is not None:
            seal_segment(self._writer)
            self._writer = None
        self._folder.close()

    # Writing.

    def _resume(self) -> None:
        """Find where offsets go on, and go on writing the newest segment if it is sound."""
        if not self._segments:
            return
        newest = self._segments[-1]
        with reading(newest) as connection:
            sound = read_producers(connection)[1] and self._find_end(connection, newest)
        if sound:
            # Where this fails (a full disk), the first append begins a new segment.
            with contextlib.suppress(apsw.Error):
                self._adopt(open_writer(newest.path), newest)

    def _begin(self, now_ns: int) -> None:
        """Draw the epoch, and store it if the disk lets us; else the first append does."""
        epoch = Epoch(secrets.token_hex(8), self._next_offset, now_ns)
        known = [old for old in self._epochs if old.first_offset <= self._next_offset]
        self._epochs = (*known[1 - EPOCHS_KEPT :], epoch)
        with contextlib.suppress(LogUnavailable):
            self._commit(Batch())

    def _number(self, producer_id: str) -> int:
        number = self._numbers.get(producer_id)
        if number is None:
            number = self._next_number
            self._next_number += 1
            self._names[number] = producer_id
            self._numbers[producer_id] = number
        return number

    def _commit(self, batch: Batch) -> None:
        if not self._epoch_stored:
            batch.epochs = [self.epoch]
        try:
            self._check_present()
            try:
                writer = self._writer
                if writer is None or self._is_full(writer):
                    writer = self._rotate()
                write_batch(writer, batch)
            except apsw.Error as error:
                if not (is_damage(error) or isinstance(error, apsw.ConstraintError)):
                    raise
                # Damage where the next row belongs must not stop the log: it goes on in a new
                # segment, and what can still be read of this one stays readable.
                write_batch(self._rotate(), batch)
        except (apsw.Error, OSError) as error:
            raise self._refusal(error) from error
        self._epoch_stored = True
        self._error = None

    def _check_present(self) -> None:
        # Commits to a file that was deleted succeed, and are gone with the process.
        if self._written is None:
            return
        path = self._segments[-1].path
        try:
            present = os.path.samestat(path.stat(), self._written)
        except FileNotFoundError:
            present = False
        if not present:
            raise FileNotFoundError(
                errno.ENOENT, "removed or replaced while in use (restart the relay)", str(path)
            )

    def _is_full(self, writer: apsw.Connection) -> bool:
        newest = self._segments[-1]
        if newest.first_offset == self._next_offset:
            return False
        if _used_bytes(writer) - self._carried_bytes >= self._segment_bytes:
            return True
        # Readers that never pause keep the write-ahead file from starting over; a new segment does.
        return size_of(files_of(newest.path)[0]) >= WAL_BYTES

    def _rotate(self) -> apsw.Connection:
        """Begin a new segment with all that must outlive the old ones, then seal the last."""
        old = self._writer
        carried: list[tuple[int, bytes]] = []
        if self._segments:
            with reading(self._segments[-1]) as connection:
                carried = list(read_blobs(connection, "carried").items())
            if self._segments[-1].first_offset == self._next_offset:
                # It holds no event and cannot be written, and the new one needs its name.
                self._writer = self._written = None
                if old is not None:
                    seal_segment(old)
                    old = None
                self._folder.quarantine(self._segments[-1].path)
                self._segments = self._segments[:-1]
        batch = Batch(
            producers={self._numbers[name]: (name, seq) for name, seq in self._last_seq.items()},
            data={self._numbers[name]: data for name, data in self._data.items()},
            epochs=list(self._epochs),
            carried=carried,
            deletions=self._held_deletions(),
        )
        path = segment_path(self._folder.path, self._next_offset)
        writer = create_segment(path, batch)
        self._adopt(writer, Segment(path, self._next_offset, sealed=False))
        self._carried_bytes = _used_bytes(writer)
        if old is not None:
            seal_segment(old)
            *before, last, newest = self._segments
            last = msgspec.structs.replace(last, sealed=not has_wal(last.path))
            self._segments = (*before, last, newest)
        return writer

    def _adopt(self, writer: apsw.Connection, newest: Segment) -> None:
        newest = msgspec.structs.replace(newest, sealed=False)
        others = [held for held in self._segments if held.path != newest.path]
        self._writer = writer
        self._written = newest.path.stat()
        self._segments = (*others, newest)

    def _refusal(self, error: apsw.Error | OSError) -> LogUnavailable:
        self._refused += 1
        reason = str(error)
        code = getattr(error, "extendedresult", None)
        if isinstance(code, int):
            names = apsw.mapping_extended_result_codes | apsw.mapping_result_codes
            reason = f"{error} ({names.get(code, code)})"
        full = isinstance(error, apsw.FullError) or (
            isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        )
        self._error = (
            f"the log in {self._folder.path} refused a commit: {reason}; nothing of it is stored, "
            + ("make space and it goes on" if full else "it may be tried again")
        )
        return LogFull(self._error) if full else LogUnavailable(self._error)

    # Deletion.

    def _finish_erasing(self) -> None:
        """Take out of the files what is deleted; what cannot be done now is left for the next time."""
        wanted = self._unerased
        if not wanted:
            return
        try:
            done = [self._erase(segment, wanted) for segment in self._segments]
        except (apsw.Error, OSError):
            return  # `statistics().unerased` says so
        if not all(done):
            return
        erased = [msgspec.structs.replace(self._deletions[t], erased=True) for t in wanted]
        with contextlib.suppress(LogUnavailable):
            self._commit(Batch(deletions=erased))
            self._deletions = self._deletions | {d.trace_id: d for d in erased}
            self._unerased = frozenset()

    def _erase(self, segment: Segment, trace_ids: frozenset[str]) -> bool:
        if segment == self._segments[-1] and self._writer is not None:
            return erase_in_place(self._writer, self._names, trace_ids)
        if segment.sealed:
            erase_sealed(segment, self._names, trace_ids)
            return True
        return erase_unsealed(segment, self._names, trace_ids)

    # Retention.

    def _going(self, oldest_ns: int | None, max_bytes: int | None) -> list[Removed]:
        total = self._folder.disk_bytes()
        going: list[Removed] = []
        for segment, stop in self._spans()[:-1]:
            too_many = max_bytes is not None and total > max_bytes
            too_old = oldest_ns is not None and self._newest_ns(segment, stop) < oldest_ns
            if not (too_many or too_old):
                break
            disk_bytes = sum(size_of(file) for file in files_of(segment.path))
            total -= disk_bytes
            going.append(Removed(segment.first_offset, stop - 1, disk_bytes))
        return going

    def _seal_if_older(self, time_ns: int) -> None:
        newest = self._segments[-1:]
        if self._writer is None or newest[0].first_offset == self._next_offset:
            return
        with reading(newest[0]) as connection:
            first = first_time_ns(connection)
        if first is not None and first < time_ns:
            self._rotate()

    def _newest_ns(self, segment: Segment, stop: int) -> int:
        with reading(segment) as connection:
            row = last_row_before(connection, self._names, stop)
        return segment.path.stat().st_mtime_ns if row is None else row.time_ns


def _used_bytes(connection: apsw.Connection) -> int:
    return int(connection.pragma("page_count")) * PAGE_BYTES
