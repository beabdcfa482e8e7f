"""One segment: the SQLite file that holds a run of offsets, how it is made, written and opened.

A segment is written by one connection in WAL mode and sealed when it is full; a sealed one is
never written again. Every row carries a checksum. How rows are read, and damage survived, is
`scan.py`; the other segments, locks and retention are `sqlite_log.py`.
"""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

import contextlib
import itertools
import os
import struct
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw
import msgspec

from lumina_stream.relay.log import Deletion, Entry, Epoch, LogError, trace_bytes

APPLICATION_ID = 0x4C554D53
"""SQLite's `application_id`, "LUMS": a foreign database with a segment's name is not taken."""

LAYOUT_VERSION = 1
"""SQLite's `user_version`: raised whenever an older reader would misread a file."""

PAGE_BYTES = 4096
"""A commit writes whole pages to the write-ahead file, and most live commits are small: larger
pages would multiply what a lone event costs."""

CHECKPOINT_PAGES = 1000
"""Pages in the write-ahead file before they move into the segment (SQLite's default, 4 MiB): more
makes recovery and the file longer, less makes more of the commits wait for two further syncs."""

BUSY_MS = 1000
"""How long sealing waits for readers, which take milliseconds; one that takes longer costs only
that its segment is read with locks until the next start."""

COMPRESSION = 1
"""zlib's fastest level: on frames of live events it already takes away four fifths."""

_SCHEMA = """
CREATE TABLE frames(offset INTEGER PRIMARY KEY, producer INTEGER NOT NULL,
  first_seq INTEGER NOT NULL, count INTEGER NOT NULL, time_ns INTEGER NOT NULL,
  packed INTEGER NOT NULL, checksum INTEGER NOT NULL, events BLOB NOT NULL);
CREATE TABLE trace_frames(trace_id BLOB NOT NULL, frame INTEGER NOT NULL,
  PRIMARY KEY(trace_id, frame)) WITHOUT ROWID;
CREATE TABLE producers(number INTEGER PRIMARY KEY, producer_id TEXT NOT NULL,
  last_seq INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE producer_data(number INTEGER PRIMARY KEY, checksum INTEGER NOT NULL,
  data BLOB NOT NULL);
CREATE TABLE epochs(id TEXT PRIMARY KEY, first_offset INTEGER NOT NULL,
  started_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE carried(offset INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, data BLOB NOT NULL);
"""

_DELETED = """
CREATE TABLE IF NOT EXISTS deleted(trace_id BLOB PRIMARY KEY, offset INTEGER NOT NULL,
  time_ns INTEGER NOT NULL, erased INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
"""
"""Made with the first deletion: a file without it is no older layout, and an older reader loses nothing."""

ROWS_AT_ONCE = (128, 16, 1)
"""Rows of one statement. SQLite gives the interpreter lock away in each, and a busy event loop gives it
back late: a row a statement would make a commit wait as often as it has rows."""

_TABLES = ("frames", "trace_frames", "producers", "producer_data", "epochs", "carried")
_HEADER = struct.Struct("<6q")


Frame = tuple[int, int, int, int, int, int, int, bytes]
"""A row of `frames`, in the order of its columns."""


class Segment(msgspec.Struct, frozen=True):
    """Name a segment file; `sealed` means that nothing writes it and that it needs no locks."""

    path: Path
    first_offset: int
    sealed: bool


class Batch(msgspec.Struct):
    """Collect what one transaction writes; producers go by their number.

    `producers` maps a number to (producer id, last seq). `carried`, unless None, replaces what
    was carried before.
    """

    frames: list[Frame] = []
    traces: list[tuple[bytes, int]] = []
    producers: dict[int, tuple[str, int]] = {}
    data: dict[int, bytes] = {}
    epochs: list[Epoch] = []
    carried: list[tuple[int, bytes]] | None = None
    deletions: list[Deletion] = []


def segment_path(folder: Path, first_offset: int) -> Path:
    """Return where the segment that begins at the offset lives; names sort like offsets."""
    return folder / f"segment-{first_offset:020d}.db"


def files_of(path: Path) -> tuple[Path, Path, Path]:
    """Return the files of a segment; the database comes last, so that no stray one is left."""
    return (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"), path)


def has_wal(path: Path) -> bool:
    """Tell whether the segment has commits that are not yet in the database file itself."""
    try:
        return files_of(path)[0].stat().st_size > 0
    except FileNotFoundError:
        return False


def create_segment(path: Path, batch: Batch) -> apsw.Connection:
    """Make a new segment that holds the batch; return its writer's connection.

    A crash on the way leaves a file without tables, which `identify` calls version 0. An error
    leaves nothing.
    """
    for leftover in files_of(path):
        leftover.unlink(missing_ok=True)
    try:
        # SQLite gives its further files the mode of this one.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection = open_writer(path)
        try:
            write_batch(connection, batch, schema=_SCHEMA)
            sync_path(path.parent)
        except BaseException:
            connection.close(force=True)
            raise
    except BaseException:
        for leftover in files_of(path):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
        raise
    return connection


def open_writer(path: Path) -> apsw.Connection:
    """Open an existing file as the one that writes it."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.pragma("page_size", PAGE_BYTES)
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "FULL")
        # On macOS a plain fsync leaves the bytes in the drive's cache.
        connection.pragma("fullfsync", True)
        connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        connection.pragma("journal_size_limit", CHECKPOINT_PAGES * PAGE_BYTES)
        # What a deleted trace leaves free is overwritten.
        connection.pragma("secure_delete", True)
    except BaseException:
        connection.close(force=True)
        raise
    return connection


def seal_segment(connection: apsw.Connection) -> None:
    """Move everything into the database file and close; a busy reader leaves it unsealed."""
    with contextlib.suppress(apsw.Error):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close(force=True)


def write_batch(connection: apsw.Connection, batch: Batch, *, schema: str | None = None) -> None:
    """Commit the batch; on any error nothing of it is stored."""
    _roll_back(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if schema is not None:
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", LAYOUT_VERSION)
            connection.execute(schema)
        _insert(connection, "frames", batch.frames)
        _insert(connection, "trace_frames", batch.traces)
        connection.executemany(
            "INSERT OR REPLACE INTO producers VALUES(?,?,?,?)",
            [
                (number, producer_id, last_seq, producer_checksum(number, producer_id, last_seq))
                for number, (producer_id, last_seq) in batch.producers.items()
            ],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO producer_data VALUES(?,?,?)",
            [(number, zlib.crc32(data), data) for number, data in batch.data.items()],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO epochs VALUES(?,?,?)",
            [(epoch.id, epoch.first_offset, epoch.started_ns) for epoch in batch.epochs],
        )
        if batch.carried is not None:
            connection.execute("DELETE FROM carried")
            connection.executemany(
                "INSERT INTO carried VALUES(?,?,?)",
                [(offset, zlib.crc32(data), data) for offset, data in batch.carried],
            )
        if batch.deletions:
            connection.execute(_DELETED)
            connection.executemany(
                "INSERT OR REPLACE INTO deleted VALUES(?,?,?,?,?)",
                [
                    (
                        trace_bytes(d.trace_id),
                        d.offset,
                        d.time_ns,
                        int(d.erased),
                        deletion_checksum(d),
                    )
                    for d in batch.deletions
                ],
            )
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(apsw.Error):
            _roll_back(connection)
        raise


def _insert(connection: apsw.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, many a statement."""
    at = 0
    for size in ROWS_AT_ONCE:
        while len(rows) - at >= size:
            some = rows[at : at + size]
            marks = ",".join(["(" + ",".join("?" * len(some[0])) + ")"] * size)
            connection.execute(
                f"INSERT INTO {table} VALUES {marks}", tuple(itertools.chain.from_iterable(some))
            )
            at += size


def pack_frame(entry: Entry, offset: int, number: int) -> Frame:
    """Return the entry as a row of `frames`: compressed where that is smaller."""
    compressed = zlib.compress(entry.events, COMPRESSION)
    packed = len(compressed) < len(entry.events)
    stored = compressed if packed else entry.events
    header = (offset, number, entry.first_seq, entry.count, entry.time_ns, int(packed))
    return (*header, frame_checksum(header, entry.producer_id, stored), stored)


@contextlib.contextmanager
def reading(segment: Segment) -> Generator[apsw.Connection]:
    """Open the segment for one read.

    A connection a read costs 0.1 ms, and in return no lock is held between reads, no descriptor
    is kept for the segments of a week, and a removed file is let go of.
    """
    if segment.sealed:
        name = f"file:{quote(str(segment.path))}?immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    else:
        name, flags = str(segment.path), apsw.SQLITE_OPEN_READONLY
    connection = apsw.Connection(name, flags=flags)
    try:
        connection.set_busy_timeout(BUSY_MS)
        # Lets SQLite read what there is of a file that was cut short, which it refuses otherwise.
        connection.pragma("writable_schema", True)
        yield connection
    finally:
        connection.close(force=True)


def identify(connection: apsw.Connection) -> int:
    """Return the layout version, 0 for a file whose making was cut short.

    Raises:
        apsw.Error: it is no segment, or damaged where nothing can be read without it.
        LogError: a later version wrote it.
    """
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        return 0
    if application != APPLICATION_ID:
        raise apsw.NotADBError("another program's database")
    if version > LAYOUT_VERSION:
        raise LogError(
            f"{connection.filename} has layout {version}, and this version reads up to "
            f"{LAYOUT_VERSION}; upgrade lumina-stream, or choose another data folder"
        )
    for table in _TABLES:
        connection.execute(f"SELECT 1 FROM {table} LIMIT 0")
    return version


def frame_checksum(
    header: tuple[int, int, int, int, int, int], producer_id: str, stored: bytes
) -> int:
    """Return the checksum of a row of `frames`; `header` is its columns up to `packed`."""
    return zlib.crc32(stored, zlib.crc32(producer_id.encode(), zlib.crc32(_HEADER.pack(*header))))


def producer_checksum(number: int, producer_id: str, last_seq: int) -> int:
    """Return the checksum of a row of `producers`."""
    return zlib.crc32(f"{number} {last_seq} {producer_id}".encode())


def deletion_checksum(deletion: Deletion) -> int:
    """Return the checksum of a row of `deleted`."""
    told = (deletion.trace_id, deletion.offset, deletion.time_ns, deletion.erased)
    return zlib.crc32("{} {} {} {:d}".format(*told).encode())


def _roll_back(connection: apsw.Connection) -> None:
    # Some errors end a transaction by themselves, others leave it open.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
