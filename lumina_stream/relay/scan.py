"""Reading a segment's rows past whatever damage there is in them, and counting it.

Nothing here raises for wrong bytes: unsound rows are left out, and since offsets are dense, the
gap they leave tells how many events are gone. It does not know which segments there are.
"""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

import contextlib
import threading
import zlib
from bisect import bisect_left
from collections.abc import Generator, Mapping

import apsw

from lumina_stream.relay.log import Deletion, Epoch, Row
from lumina_stream.relay.segment import deletion_checksum, frame_checksum, producer_checksum

_UNREADABLE = {
    apsw.SQLITE_IOERR_READ,
    apsw.SQLITE_IOERR_SHORT_READ,
    apsw.SQLITE_IOERR_CORRUPTFS,
    apsw.SQLITE_IOERR_DATA,
    apsw.SQLITE_IOERR_IN_PAGE,
}
_FRAME = "offset, producer, first_seq, count, time_ns, packed, checksum, events"
_MAX_INT = (1 << 63) - 1


def is_damage(error: BaseException) -> bool:
    """Tell whether an error means that bytes of the file are wrong, or cannot be read for good.

    A flipped bit in the schema makes a table unknown (SQLError), one in a row's header makes a
    blob a text. Most I/O errors are not among them: a full disk or a lack of descriptors says
    nothing about the file.
    """
    if isinstance(error, apsw.IOError):
        return getattr(error, "extendedresult", None) in _UNREADABLE
    wrong = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.FormatError)
    return isinstance(error, (*wrong, apsw.TooBigError, UnicodeDecodeError))


@contextlib.contextmanager
def past_damage() -> Generator[None]:
    """Leave the block silently where the file is damaged."""
    try:
        yield
    except Exception as error:
        if not is_damage(error):
            raise


class Damage:
    """Count what reads found unreadable, each place once; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: set[int] = set()
        self._holes: list[tuple[int, int]] = []
        self.events = 0

    @property
    def rows(self) -> int:
        """Return the number of places where a row was damaged: at least one row each."""
        return len(self._rows)

    def row(self, offset: int) -> None:
        """Note a damaged row."""
        with self._lock:
            self._rows.add(offset)

    def hole(self, first: int, stop: int) -> None:
        """Note that the offsets from `first` up to, without, `stop` cannot be read."""
        if first >= stop:
            return
        with self._lock:
            low = bisect_left(self._holes, first, key=lambda hole: hole[1])
            high = low
            known = 0
            while high < len(self._holes) and self._holes[high][0] <= stop:
                first = min(first, self._holes[high][0])
                stop = max(stop, self._holes[high][1])
                known += self._holes[high][1] - self._holes[high][0]
                high += 1
            self._holes[low:high] = [(first, stop)]
            self.events += stop - first - known


def read_producers(connection: apsw.Connection) -> tuple[dict[int, tuple[str, int]], bool]:
    """Return number -> (producer id, last seq), and whether that is all there should be."""
    found: dict[int, tuple[str, int]] = {}
    sound = True
    try:
        for raw in connection.execute("SELECT * FROM producers"):
            match raw:
                case (int(number), str(producer_id), int(last_seq), int(checksum)) if (
                    checksum == producer_checksum(number, producer_id, last_seq)
                ):
                    found[number] = (producer_id, last_seq)
                case _:
                    sound = False
    except Exception as error:
        if not is_damage(error):
            raise
        sound = False
    return found, sound


def read_blobs(connection: apsw.Connection, table: str) -> dict[int, bytes]:
    """Return the sound rows of `producer_data` or `carried`: number or offset -> bytes."""
    found: dict[int, bytes] = {}
    with past_damage():
        for raw in connection.execute(f"SELECT * FROM {table}"):
            match raw:
                case (int(key), int(checksum), bytes(data)) if checksum == zlib.crc32(data):
                    found[key] = data
                case _:
                    pass
    return found


def read_epochs(connection: apsw.Connection) -> list[Epoch]:
    """Return the epochs, oldest first."""
    found: list[Epoch] = []
    with past_damage():
        for raw in connection.execute("SELECT * FROM epochs ORDER BY first_offset, started_ns"):
            match raw:
                case (str(name), int(first_offset), int(started_ns)):
                    found.append(Epoch(name, first_offset, started_ns))
                case _:
                    pass
    return found


def read_deletions(connection: apsw.Connection) -> dict[str, Deletion]:
    """Return the sound rows of `deleted`, by trace id; none where there is no such table."""
    found: dict[str, Deletion] = {}
    with past_damage():
        for raw in connection.execute("SELECT * FROM deleted"):
            match raw:
                case (bytes(trace), int(offset), int(time_ns), int(erased), int(checksum)):
                    deletion = Deletion(trace.hex(), offset, time_ns, bool(erased))
                    if checksum == deletion_checksum(deletion):
                        found[deletion.trace_id] = deletion
                case _:
                    pass
    return found


def scan(
    connection: apsw.Connection, names: Mapping[int, str], start: int, stop: int, damage: Damage
) -> Generator[Row]:
    """Yield the sound rows that hold an offset of `start` up to, without, `stop`, in order.

    All offsets in that range are committed, so whatever is missing is damage: rows are dense, and
    a gap between sound ones tells exactly how many events it swallowed.
    """
    position = seek = _row_holding(connection, names, start)
    while seek < stop:
        try:
            for raw in connection.execute(
                f"SELECT {_FRAME} FROM frames WHERE offset >= ? ORDER BY offset", (seek,)
            ):
                row = _sound_row(raw, names)
                if row is None:
                    damage.row(raw[0])
                elif row.offset >= stop:
                    break
                elif row.offset >= position:
                    damage.hole(position, row.offset)
                    position = seek = row.offset + row.count
                    if position > start:
                        yield row
            break
        except Exception as error:
            if not is_damage(error):
                raise
            damage.row(seek)
            seek = _next_readable(connection, seek, stop)
    damage.hole(position, stop)


def scan_trace(
    connection: apsw.Connection,
    names: Mapping[int, str],
    trace_id: bytes,
    span: range,
    damage: Damage,
) -> Generator[Row]:
    """Yield the sound rows of a trace (its 16 bytes) that hold an offset of `span`, in order."""
    position = span.start
    try:
        # The row that begins before the span may reach into it.
        for raw in connection.execute(
            f"SELECT frame, {_FRAME} FROM trace_frames LEFT JOIN frames ON offset = frame"
            " WHERE trace_id = ?1 AND frame < ?3 AND frame >= ifnull((SELECT max(frame)"
            " FROM trace_frames WHERE trace_id = ?1 AND frame <= ?2), 0) ORDER BY frame",
            (trace_id, span.start, span.stop),
        ):
            row = _sound_row(raw[1:], names)
            if row is None:
                # Only a scan up to the next sound row tells how many events are gone.
                next(scan(connection, names, raw[0], span.stop, damage), None)
            elif row.offset + row.count > position:
                position = row.offset + row.count
                yield row
        return
    except Exception as error:
        if not is_damage(error):
            raise
        damage.row(position)
    # The index is broken, the frames may not be: the ids stand in them as text.
    text = trace_id.hex().encode()
    for row in scan(connection, names, position, span.stop, damage):
        if text in row.events:
            yield row


def last_row_before(
    connection: apsw.Connection,
    names: Mapping[int, str],
    stop: int = _MAX_INT,
    time_ns: int = _MAX_INT,
) -> Row | None:
    """Return the last sound row below `stop` that arrived before `time_ns`."""
    with past_damage():
        for raw in connection.execute(
            f"SELECT {_FRAME} FROM frames WHERE offset < ? AND time_ns < ? ORDER BY offset DESC",
            (stop, time_ns),
        ):
            row = _sound_row(raw, names)
            if row is not None:
                return row
    return None


def first_time_ns(connection: apsw.Connection) -> int | None:
    """Return when the segment's first frame arrived, None if that cannot be read."""
    with past_damage():
        match connection.execute("SELECT time_ns FROM frames ORDER BY offset LIMIT 1").get:
            case int(time_ns):
                return time_ns
            case _:
                pass
    return None


def _row_holding(connection: apsw.Connection, names: Mapping[int, str], offset: int) -> int:
    """Return the first offset of a sound row that begins at or before the offset.

    It is the last such row, unless damage hides it; then one further back, from where a scan finds
    the same way into the damage as every other scan. The offset itself if there is none.
    """
    probe, stride = offset, 1
    while probe > 0:
        row = last_row_before(connection, names, probe + 1)
        if row is not None:
            return row.offset
        probe -= stride
        stride *= 2
    return offset


def _next_readable(connection: apsw.Connection, bad: int, stop: int) -> int:
    """Return an offset past `bad` from where rows can be read again, `stop` if there is none.

    Damage is local (a page, a run of missing pages), so doubling strides find its far side, and
    halving finds the edge.
    """

    def readable(offset: int) -> bool:
        with past_damage():
            connection.execute(
                f"SELECT {_FRAME} FROM frames WHERE offset >= ? ORDER BY offset LIMIT 1", (offset,)
            ).fetchall()
            return True
        return False

    stride = 1
    good = min(bad + stride, stop)
    while good < stop and not readable(good):
        bad = good
        stride *= 2
        good = min(bad + stride, max(stop - 1, bad + 1))
    while good - bad > 1:
        middle = (good + bad) // 2
        if readable(middle):
            good = middle
        else:
            bad = middle
    return good


def _sound_row(raw: tuple[object, ...], names: Mapping[int, str]) -> Row | None:
    match raw:
        case (
            int(offset),
            int(number),
            int(first_seq),
            int(count),
            int(time_ns),
            int(packed),
            int(checksum),
            bytes(stored),
        ):
            header = (offset, number, first_seq, count, time_ns, packed)
        case _:
            return None
    producer_id = names.get(number)
    if producer_id is None or checksum != frame_checksum(header, producer_id, stored):
        return None
    events = zlib.decompress(stored) if packed else stored
    return Row(offset, producer_id, first_seq, count, events, time_ns)
