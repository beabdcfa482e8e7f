"""Taking deleted traces out of a segment's file, so that nothing of them is left on the disk.

A segment that is written is changed where it is, under SQLite's locks. A sealed one is read without
locks, so it is copied, changed and put in the place of the old one: who still reads that has it to the
end. Both overwrite what they free (`secure_delete`), and leave no write-ahead file behind.
"""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

import os
import shutil
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import apsw

from lumina_stream.relay.erasing import carried_without, without
from lumina_stream.relay.log import Entry, trace_bytes
from lumina_stream.relay.scan import Damage, is_damage, past_damage, read_blobs, scan
from lumina_stream.relay.segment import (
    BUSY_MS,
    Segment,
    open_writer,
    pack_frame,
    reading,
    sync_path,
)

PART = "erasing-*.part"
"""What a crash leaves of a copy: removed at the next opening."""

_FAR = 1 << 40
_FREE_PART = 8
"""A copy is compacted if more than this part of its pages came free."""


def erase_in_place(
    connection: apsw.Connection, names: Mapping[int, str], trace_ids: Collection[str]
) -> bool:
    """Take traces out of a segment over its writer's connection; tell whether nothing of them is left.

    False if readers keep the write-ahead file, which has the pages as they were: try again later.
    """
    _erase(connection, names, trace_ids)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    return True


def erase_unsealed(segment: Segment, names: Mapping[int, str], trace_ids: Collection[str]) -> bool:
    """Do the same in a segment that nothing writes and that could not be sealed."""
    connection = open_writer(segment.path)
    try:
        return erase_in_place(connection, names, trace_ids)
    finally:
        connection.close(force=True)


def erase_sealed(segment: Segment, names: Mapping[int, str], trace_ids: Collection[str]) -> None:
    """Put a copy without the traces in a sealed segment's place; leave it alone if it has none."""
    if not _has_any(segment, names, trace_ids):
        return
    part = segment.path.with_name(f"erasing-{segment.first_offset:020d}.part")
    _remove(part)
    try:
        shutil.copyfile(segment.path, part)
        part.chmod(0o600)
        connection = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            for name, value in (("journal_mode", "DELETE"), ("temp_store", "MEMORY")):
                connection.pragma(name, value)
            connection.pragma("secure_delete", True)
            connection.pragma("synchronous", "OFF")  # it does not count before it is synced below
            _erase(connection, names, trace_ids)
            free, pages = connection.pragma("freelist_count"), connection.pragma("page_count")
            if free * _FREE_PART > pages:
                with past_damage():
                    connection.execute("VACUUM")
        finally:
            connection.close(force=True)
        sync_path(part)
        os.replace(part, segment.path)
        sync_path(segment.path.parent)
    finally:
        _remove(part)


def remove_parts(folder: Path) -> None:
    """Remove what a crash left."""
    for part in folder.glob(PART):
        _remove(part)


def _remove(part: Path) -> None:
    for path in (part, part.with_name(part.name + "-journal")):
        path.unlink(missing_ok=True)


def _has_any(segment: Segment, names: Mapping[int, str], trace_ids: Collection[str]) -> bool:
    with reading(segment) as connection:
        if any(_frames(connection, names, trace_id) for trace_id in trace_ids):
            return True
        return any(
            carried_without(data, trace_ids) != data
            for data in read_blobs(connection, "carried").values()
        )


def _frames(connection: apsw.Connection, names: Mapping[int, str], trace_id: str) -> list[int]:
    """Return the offsets of the rows that the index has of a trace."""
    try:
        rows = connection.execute(
            "SELECT frame FROM trace_frames WHERE trace_id = ?", (trace_bytes(trace_id),)
        )
        return [frame for (frame,) in rows]
    except Exception as error:
        if not is_damage(error):
            raise
    # The index is broken, the frames may not be: the ids stand in them as text.
    text = trace_id.encode()
    return [r.offset for r in scan(connection, names, 1, _FAR, Damage()) if text in r.events]


def _erase(
    connection: apsw.Connection, names: Mapping[int, str], trace_ids: Collection[str]
) -> None:
    numbers = {producer_id: number for number, producer_id in names.items()}
    connection.execute("BEGIN IMMEDIATE")
    try:
        for trace_id in trace_ids:
            for offset in _frames(connection, names, trace_id):
                _erase_row(connection, names, numbers, offset, trace_ids)
            with past_damage():
                raw = trace_bytes(trace_id)
                connection.execute("DELETE FROM trace_frames WHERE trace_id = ?", (raw,))
        for offset, data in read_blobs(connection, "carried").items():
            left = carried_without(data, trace_ids)
            if left != data:
                connection.execute(
                    "UPDATE carried SET checksum = ?, data = ? WHERE offset = ?",
                    (zlib.crc32(left), left, offset),
                )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _erase_row(
    connection: apsw.Connection,
    names: Mapping[int, str],
    numbers: Mapping[str, int],
    offset: int,
    trace_ids: Collection[str],
) -> None:
    row = next(scan(connection, names, offset, offset + 1, Damage()), None)
    if row is None or row.offset != offset:
        # Damaged: nobody reads it any more, and what is in it goes whole. It stays damaged.
        connection.execute(
            "UPDATE frames SET events = zeroblob(length(events)) WHERE offset = ?", (offset,)
        )
        return
    left = without(row, trace_ids)
    entry = Entry(row.producer_id, row.first_seq, row.count, left.events, (), row.time_ns)
    *_, packed, checksum, stored = pack_frame(entry, offset, numbers[row.producer_id])
    connection.execute(
        "UPDATE frames SET packed = ?, checksum = ?, events = ? WHERE offset = ?",
        (packed, checksum, stored, offset),
    )
