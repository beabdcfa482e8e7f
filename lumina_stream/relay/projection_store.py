"""The file behind the projections: trace summaries to search, and what a restart needs.

Everything in it can be had from the log again, so it is written without waiting for the disk, and
thrown away when in doubt. One connection writes and reads; a transaction runs from one `commit` to
the next, so that a crash always finds the file as of one offset, while queries see it as of now.
One thread uses it.
"""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import apsw
import msgspec

from lumina_stream.model.errors import LuminaError
from lumina_stream.model.producers import Producer, Stamp
from lumina_stream.model.record import SpanRecord
from lumina_stream.process import boot_id
from lumina_stream.protocol.frames import TraceSummary
from lumina_stream.relay import selection, summaries
from lumina_stream.relay.costs import CallRow
from lumina_stream.relay.selection import Selection, TraceQuery

FILE = "projections.db"
APPLICATION_ID = 0x6C756D70  # "lump"
LAYOUT = 4
"""Written as `user_version`; any other layout is thrown away and rebuilt from the log."""
CACHE_KIB = 16 * 1024
"""Page cache: holds the ids of a quarter of a million traces, so that looking one up touches no disk."""

SCANNED = 1_000
"""Lines looked at by one step of a query: a millisecond or two."""

Loss: TypeAlias = tuple[int, str, bool]
"""How many events, why, and whether the count is exact."""
CallPlace: TypeAlias = tuple[int, str, str]
"""A call's start, trace and span id: the order in which calls are read."""


class Line(NamedTuple):
    """A trace's summary, the offset of its last event, and the digests of its attributes."""

    summary: TraceSummary
    last_offset: int
    digests: bytes


_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE summaries (
    trace_id TEXT PRIMARY KEY, name TEXT, services TEXT, state TEXT, start_ns INTEGER,
    duration_ns INTEGER, length INTEGER, spans INTEGER, open INTEGER, errors INTEGER,
    last_ns INTEGER, last_offset INTEGER, sessions TEXT, users TEXT, data BLOB, digests BLOB
);
CREATE INDEX by_start ON summaries (start_ns, trace_id);
CREATE INDEX by_last ON summaries (last_ns, trace_id);
CREATE INDEX by_length ON summaries (length, trace_id);
CREATE INDEX running ON summaries (start_ns) WHERE open > 0;
CREATE TABLE calls (
    trace_id TEXT, span_id TEXT, time_ns INTEGER, data BLOB, PRIMARY KEY (trace_id, span_id)
);
CREATE INDEX calls_by_time ON calls (time_ns, trace_id, span_id);
CREATE TABLE kept (trace_id TEXT PRIMARY KEY, truncated BLOB) WITHOUT ROWID;
CREATE TABLE spans (
    trace_id TEXT, span_id TEXT, record BLOB, PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
CREATE TABLE unfinished (
    producer_id TEXT, trace_id TEXT, PRIMARY KEY (producer_id, trace_id)
) WITHOUT ROWID;
CREATE INDEX unfinished_by_trace ON unfinished (trace_id);
CREATE TABLE losses (
    trace_id TEXT, stamp BLOB, offset INTEGER, loss BLOB, PRIMARY KEY (trace_id, stamp)
) WITHOUT ROWID;
CREATE TABLE producers (producer_id TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {LAYOUT};
"""
# Lines and calls lie in the order in which they came, and only their ids where those sort: among so many
# lines that they fill the cache, to write one where its id sorts costs three times as much.

_encode = msgspec.msgpack.Encoder().encode
_decode_summary = msgspec.msgpack.Decoder(TraceSummary).decode
_decode_record = msgspec.msgpack.Decoder(SpanRecord).decode
_decode_producer = msgspec.msgpack.Decoder(Producer).decode
_decode_counts = msgspec.msgpack.Decoder(dict[str, int]).decode
_decode_stamp = msgspec.msgpack.Decoder(tuple[int, str, int]).decode
_decode_call = msgspec.msgpack.Decoder(CallRow).decode
_decode_loss = msgspec.msgpack.Decoder(tuple[int, str, bool]).decode


class StoreError(LuminaError):
    """The file cannot be used as it is; it may be removed, the log holds everything in it."""


class ProjectionStore:
    """Keep summaries, records, losses and producers in a file. Errors of SQLite come as they are."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        """Hold an open connection; `open` makes one."""
        self._connection = connection
        self._path = path
        self.offset: int = self._meta("offset", 0)
        self.epoch: str = self._meta("epoch", "")
        self.has_losses = self._get("SELECT 1 FROM losses LIMIT 1") is not None
        self.count: int = self._get("SELECT count(*) FROM summaries")
        """How many traces have a summary here."""

    @classmethod
    def open(cls, folder: Path) -> ProjectionStore:
        """Open the file in a folder, or make it; raise `StoreError` if it is not to be trusted."""
        path = folder / FILE
        try:
            connection = apsw.Connection(str(path))
        except apsw.Error as error:
            raise StoreError(f"{path} cannot be opened: {error}") from error
        try:
            _set_up(connection, path)
            store = cls(connection, path)
            store._begin_use()
        except apsw.Error as error:
            connection.close(True)
            raise StoreError(f"{path} cannot be read: {error}") from error
        except BaseException:
            connection.close(True)
            raise
        return store

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove the file from a folder, if it is there."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            (folder / f"{FILE}{suffix}").unlink(missing_ok=True)

    # --- summaries ---------------------------------------------------------------------------

    def contains(self, trace_id: str) -> bool:
        """Tell whether a trace has a summary."""
        return self._get("SELECT 1 FROM summaries WHERE trace_id = ?", trace_id) is not None

    def line(self, trace_id: str) -> Line | None:
        """Return a trace's line."""
        sql = "SELECT data, last_offset, digests FROM summaries WHERE trace_id = ?"
        for data, last_offset, digests in self._connection.execute(sql, (trace_id,)):
            return Line(_decode_summary(data), last_offset, digests)
        return None

    def put(self, lines: Iterable[Line]) -> None:
        """Insert or replace lines."""
        self._begin()
        self._connection.executemany(
            "INSERT OR REPLACE INTO summaries VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                (
                    s.trace_id, s.name, summaries.joined(s.services), s.state, s.start_ns,
                    s.duration_ns, summaries.length(s), s.spans, s.open, s.errors,
                    s.last_ns, last_offset, summaries.joined(s.sessions),
                    summaries.joined(s.users), _encode(s), digests,
                )
                for s, last_offset, digests in lines
            ),
        )  # fmt: skip

    def scan(self, query: TraceQuery, now_ns: int) -> Iterator[list[TraceSummary]]:
        """Yield the traces that a query asks for, in its order, however many; in steps of a millisecond.

        A step may find none. Raises `QueryError`.
        """
        condition, values = selection.where(query, now_ns)
        column, order = selection.COLUMNS[query.sort], query.order
        after = selection.read_cursor(query)
        sign = "<" if order == "desc" else ">"
        bounds, given = "1", list[Any]()
        if query.sort == "start" and query.until_ns is not None:
            bounds, given = "start_ns <= ?", [summaries.bound(query.until_ns)]
        # Only what an index orders can be read in parts without sorting it all each time.
        limit = SCANNED
        if query.sort not in selection.INDEXED:
            bounds, given, limit = condition, list(values), -1
        while True:
            places = "" if after is None else f"AND ({column}, trace_id) {sign} (?, ?) "
            rows = self._rows(
                f"SELECT {column}, trace_id, CASE WHEN {condition} THEN data END FROM summaries "
                f"WHERE {bounds} {places}"
                f"ORDER BY {column} {order}, trace_id {order} LIMIT {limit}",
                (*values, *given, *(after or ())),
            )
            found = [_decode_summary(data) for *_, data in rows if data is not None]
            yield [summary for summary in found if selection.is_listed(query, summary)]
            if limit < 0 or len(rows) < limit:
                return
            after = (rows[-1][0], rows[-1][1])

    def durations(
        self, chosen: Selection, since_ns: int, now_ns: int
    ) -> Iterator[list[tuple[int | None, int]]]:
        """Yield duration (None: it runs) and errors of the traces that started since then, in steps."""
        condition, values = selection.where(chosen, now_ns)
        after: tuple[int, str] = (since_ns, "")
        columns = "duration_ns, errors, " + ("NULL" if selection.is_exact(chosen) else "data")
        while True:
            rows = self._rows(
                f"SELECT start_ns, trace_id, {condition}, {columns} FROM summaries "
                f"WHERE (start_ns, trace_id) > (?, ?) ORDER BY start_ns, trace_id LIMIT {SCANNED}",
                (*values, *after),
            )
            yield [
                (duration_ns, errors)
                for _, _, is_meant, duration_ns, errors, data in rows
                if is_meant and (data is None or selection.is_listed(chosen, _decode_summary(data)))
            ]
            if len(rows) < SCANNED:
                return
            after = (rows[-1][0], rows[-1][1])

    def running(self, chosen: Selection, now_ns: int) -> int:
        """Return how many traces run that a selection means."""
        condition, values = selection.where(chosen, now_ns)
        sql = f"FROM summaries WHERE open > 0 AND {condition}"
        if selection.is_exact(chosen):
            return self._get(f"SELECT count(*) {sql}", *values)
        rows = self._connection.execute(f"SELECT data {sql}", values)
        return sum(selection.is_listed(chosen, _decode_summary(data)) for (data,) in rows)

    def prune(self, first_offset: int) -> list[str]:
        """Remove the closed traces whose last event lies before `first_offset`; return their ids."""
        self._begin()
        condition = "last_offset < ? AND open = 0"
        values = (first_offset,)
        rows = self._connection.execute(f"SELECT trace_id FROM summaries WHERE {condition}", values)
        trace_ids = [trace_id for (trace_id,) in rows]
        self._connection.execute(f"DELETE FROM summaries WHERE {condition}", values)
        self._connection.execute("DELETE FROM losses WHERE offset < ?", values)
        self.drop(trace_ids)
        for table in ("calls", "unfinished"):
            sql = f"DELETE FROM {table} WHERE trace_id = ?"
            self._connection.executemany(sql, ((t,) for t in trace_ids))
        return trace_ids

    def delete(self, trace_ids: Collection[str]) -> None:
        """Remove all that is known of traces; `purge` then takes it off the disk."""
        self._begin()
        self.drop(trace_ids)
        for table in ("summaries", "losses", "calls", "unfinished"):
            sql = f"DELETE FROM {table} WHERE trace_id = ?"
            self._connection.executemany(sql, ((t,) for t in trace_ids))

    def knows(self, trace_id: str) -> bool:
        """Tell whether anything here is of a trace."""
        sql = "SELECT 1 FROM kept WHERE trace_id = ?"
        return self.contains(trace_id) or self._get(sql, trace_id) is not None

    def purge(self) -> None:
        """Empty the write-ahead file, which has pages as they were before what is committed."""
        if not self._connection.in_transaction:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    # --- trees -------------------------------------------------------------------------------

    def keep(self, trace_id: str, truncated: dict[str, int], records: Iterable[SpanRecord]) -> None:
        """Insert or replace some spans of a trace."""
        self._begin()
        self._connection.execute(
            "INSERT OR REPLACE INTO kept VALUES (?, ?)", (trace_id, _encode(truncated))
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO spans VALUES (?, ?, ?)",
            ((trace_id, record.span_id, _encode(record)) for record in records),
        )

    def drop(self, trace_ids: Iterable[str]) -> None:
        """Remove the spans of traces."""
        self._begin()
        for trace_id in trace_ids:
            self._connection.execute("DELETE FROM kept WHERE trace_id = ?", (trace_id,))
            self._connection.execute("DELETE FROM spans WHERE trace_id = ?", (trace_id,))

    def kept(self) -> Iterator[tuple[str, dict[str, int]]]:
        """Iterate the traces that have spans here, with their counts of what was truncated."""
        for trace_id, truncated in self._connection.execute("SELECT * FROM kept"):
            yield trace_id, _decode_counts(truncated)

    def records(self, trace_id: str) -> Iterator[SpanRecord]:
        """Iterate the spans of a trace."""
        sql = "SELECT record FROM spans WHERE trace_id = ?"
        for (record,) in self._connection.execute(sql, (trace_id,)):
            yield _decode_record(record)

    def unfinished(self, producer_id: str) -> list[str]:
        """Return the traces, not in memory, in which a producer left spans open."""
        sql = "SELECT trace_id FROM unfinished WHERE producer_id = ?"
        return [t for (t,) in self._connection.execute(sql, (producer_id,))]

    def set_unfinished(self, trace_id: str, producer_ids: Iterable[str]) -> None:
        """Note who left spans open in a trace."""
        self._begin()
        self._connection.execute("DELETE FROM unfinished WHERE trace_id = ?", (trace_id,))
        self._connection.executemany(
            "INSERT OR IGNORE INTO unfinished VALUES (?, ?)", ((p, trace_id) for p in producer_ids)
        )

    # --- losses and producers ----------------------------------------------------------------

    def losses(self, trace_id: str) -> dict[Stamp, Loss]:
        """Return the losses of a trace, known otherwise or not."""
        if not self.has_losses:
            return {}
        sql = "SELECT stamp, loss FROM losses WHERE trace_id = ?"
        rows = self._connection.execute(sql, (trace_id,))
        return {_decode_stamp(stamp): _decode_loss(loss) for stamp, loss in rows}

    def add_loss(self, trace_id: str, stamp: Stamp, offset: int, loss: Loss) -> None:
        """Note a loss of a trace."""
        self._begin()
        self.has_losses = True
        self._connection.execute(
            "INSERT OR IGNORE INTO losses VALUES (?, ?, ?, ?)",
            (trace_id, _encode(stamp), offset, _encode(loss)),
        )

    def producer(self, producer_id: str) -> Producer | None:
        """Return what is stored of a producer."""
        data = self._get("SELECT data FROM producers WHERE producer_id = ?", producer_id)
        return None if data is None else _decode_producer(data)

    def producers(self) -> Iterator[Producer]:
        """Iterate the producers that are stored."""
        for (data,) in self._connection.execute("SELECT data FROM producers"):
            yield _decode_producer(data)

    def put_producers(self, producers: Iterable[Producer]) -> None:
        """Insert or replace producers."""
        self._begin()
        self._connection.executemany(
            "INSERT OR REPLACE INTO producers VALUES (?, ?)",
            ((p.producer_id, _encode(p)) for p in producers),
        )

    # --- calls -------------------------------------------------------------------------------

    def put_calls(self, rows: Iterable[tuple[str, str, CallRow | None]]) -> None:
        """Insert or replace calls by trace and span id; None removes one."""
        self._begin()
        for trace_id, span_id, row in rows:
            if row is None:
                sql = "DELETE FROM calls WHERE trace_id = ? AND span_id = ?"
                self._connection.execute(sql, (trace_id, span_id))
            else:
                sql = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)"
                self._connection.execute(sql, (trace_id, span_id, row.time_ns, _encode(row)))

    def calls(
        self, since_ns: int, until_ns: int, after: CallPlace | None, limit: int
    ) -> list[tuple[CallPlace, CallRow]]:
        """Return calls that began in a time, in its order, from after a place on."""
        at = (since_ns, "", "") if after is None else after
        sql = (
            "SELECT time_ns, trace_id, span_id, data FROM calls WHERE time_ns < ? "
            "AND (time_ns, trace_id, span_id) > (?, ?, ?) ORDER BY time_ns, trace_id, span_id LIMIT ?"
        )
        rows = self._connection.execute(sql, (until_ns, *at, limit))
        return [((time_ns, t, s), _decode_call(data)) for time_ns, t, s, data in rows]

    # --- transactions ------------------------------------------------------------------------

    def commit(self, offset: int, epoch: str) -> None:
        """End the transaction: the file is now as of `offset`."""
        self._begin()
        self._put_meta("offset", offset)
        self._put_meta("epoch", epoch)
        self._connection.execute("COMMIT")
        self.offset, self.epoch = offset, epoch

    def rollback(self) -> None:
        """Go back to the last commit."""
        with contextlib.suppress(apsw.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self, *, clean: bool) -> None:
        """Let go of the file; `clean`: it holds what was committed, so see it onto the disk."""
        self.rollback()
        if clean:
            with contextlib.suppress(apsw.Error):
                self._connection.execute("PRAGMA synchronous = FULL")
                self._put_meta("boot", "")
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._connection.close(True)

    def _begin_use(self) -> None:
        """Refuse a file that was in use when the machine itself went down; note our use of it.

        Nothing here waits for the disk, so that only the death of the process is harmless.
        """
        boot, before = boot_id(), self._meta("boot", "")
        if before and before != boot:
            raise StoreError(f"{self._path} was in use when the machine stopped")
        self._put_meta("boot", boot or "unknown")
        self._connection.execute("PRAGMA synchronous = OFF")

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN")

    def _meta(self, key: str, default: Any) -> Any:
        value = self._get("SELECT value FROM meta WHERE key = ?", key)
        return default if value is None else value

    def _put_meta(self, key: str, value: Any) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _rows(self, sql: str, values: Iterable[Any]) -> list[Any]:
        return cast("list[Any]", self._connection.execute(sql, tuple(values)).fetchall())

    def _get(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql, values).get


def _set_up(connection: apsw.Connection, path: Path) -> None:
    path.chmod(0o600)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "PRAGMA secure_delete = ON"
    )  # of what was deleted, nothing stays on the disk
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    if not connection.execute("SELECT count(*) FROM sqlite_master").get:
        connection.execute(f"BEGIN; {_SCHEMA} COMMIT")
        return
    layout = connection.pragma("user_version")
    if connection.pragma("application_id") != APPLICATION_ID or layout != LAYOUT:
        raise StoreError(f"{path} has layout {layout}; this version writes {LAYOUT}")
