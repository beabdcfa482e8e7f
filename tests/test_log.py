"""The durable log: what it promises, and what it does when its files are hurt."""

# The tests reach for the writer's connection to make the disk look full, and apsw's stubs name
# collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumina_stream.relay.log import (
    Entry,
    Log,
    LogError,
    LogFull,
    LogLocked,
    LogUnavailable,
    Row,
    check_entry,
)
from lumina_stream.relay.scan import Damage
from lumina_stream.relay.sqlite_log import EPOCHS_KEPT, SqliteLog

SECOND = 1_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "b7ad6b7169203331b7ad6b7169203331"


def entry(
    producer_id: str = "p1",
    first_seq: int = 1,
    count: int = 3,
    *,
    traces: tuple[str, ...] = (TRACE,),
    time_ns: int = SECOND,
    size: int = 20,
) -> Entry:
    """Make an entry whose events name their producer, their seq and their traces."""
    noise = random.Random(f"{producer_id} {first_seq}")
    events = [
        [producer_id, seq, *traces, noise.randbytes(size)]
        for seq in range(first_seq, first_seq + count)
    ]
    return Entry(producer_id, first_seq, count, msgspec.msgpack.encode(events), traces, time_ns)


def read_all(log: Log, after: int = 0, max_bytes: int = 1 << 20) -> list[Row]:
    """Read to the end, batch by batch."""
    rows: list[Row] = []
    while batch := log.read(after, max_bytes=max_bytes):
        rows += batch
        after = batch[-1].last_offset
    return rows


def fill(log: Log, frames: int, *, producers: int = 3, size: int = 200) -> list[Row]:
    """Append frames one by one, in turn from the producers; return what must be read back."""
    rows: list[Row] = []
    for number in range(frames):
        producer_id = f"p{number % producers}"
        one = entry(
            producer_id,
            log.last_seq(producer_id) + 1,
            1 + number % 4,
            traces=(TRACE,) if number % 2 else (OTHER,),
            time_ns=number * SECOND,
            size=size,
        )
        (offset,) = log.append([one])
        rows.append(Row(offset, producer_id, one.first_seq, one.count, one.events, one.time_ns))
    return rows


def segment_files(folder: Path) -> list[Path]:
    """Return the segment files, oldest first."""
    return sorted(folder.glob("segment-*.db"))


def first_of(path: Path) -> int:
    """Return the first offset of a segment file."""
    return int(path.name[8:28])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that does not exist yet."""
    return tmp_path / "data" / "log"


@pytest.fixture
def log(folder: Path) -> Iterator[SqliteLog]:
    """Open a log that seals its segments early."""
    with SqliteLog.open(folder, segment_bytes=4_096, clock=lambda: 7) as opened:
        yield opened


# What goes in comes out.


def test_the_engine_is_a_log(log: SqliteLog) -> None:
    """The engine has every name of the interface, with its types."""
    interface: Log = log
    assert interface.first_offset == interface.next_offset == 1
    assert interface.read(0) == []
    assert interface.statistics().events == 0


def test_a_group_gets_dense_offsets_in_one_commit(log: SqliteLog) -> None:
    """Offsets number events, and a group costs one commit."""
    group = [entry("a", 1, 3), entry("b", 1, 1, traces=()), entry("a", 4, 2)]
    assert log.append(group) == [1, 4, 5]
    assert log.next_offset == 7
    assert log.statistics().commits == 1
    rows = log.read(0)
    assert [(row.producer_id, row.first_seq, row.count) for row in rows] == [
        ("a", 1, 3),
        ("b", 1, 1),
        ("a", 4, 2),
    ]
    assert [row.events for row in rows] == [one.events for one in group]
    assert log.last_seq("a") == 5
    assert log.producers() == {"a": 5, "b": 1}


def test_reading_starts_in_the_middle_of_a_row(log: SqliteLog) -> None:
    """The row that holds the first wanted offset comes whole."""
    rows = fill(log, 4)  # offsets 1, 2-3, 4-6, 7-10
    assert log.read(0) == rows
    assert log.read(1) == rows[1:]
    assert log.read(2) == rows[1:]
    assert log.read(3) == rows[2:]
    assert log.read(9) == rows[3:]
    assert log.read(10) == log.read(99) == []


def test_a_read_stops_at_its_budget_but_always_moves(log: SqliteLog) -> None:
    """One row is returned however large it is."""
    rows = fill(log, 30)
    assert log.read(0, max_bytes=1) == rows[:1]
    assert read_all(log, max_bytes=1) == rows
    assert read_all(log, max_bytes=2_000) == rows
    assert log.statistics().segments > 1


groups = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(0, 3_000)), max_size=4
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(groups=groups, after=st.integers(0, 60), max_bytes=st.integers(1, 20_000), data=st.data())
def test_whatever_is_appended_is_read_back(
    groups: list[list[tuple[str, int, int]]], after: int, max_bytes: int, data: st.DataObject
) -> None:
    """Order, bytes and seq survive groups, rotation and reopening, from any cursor."""
    with tempfile.TemporaryDirectory() as name:
        log = SqliteLog.open(Path(name), segment_bytes=8_192)
        model: list[Row] = []
        seqs: dict[str, int] = {}
        for group in groups:
            entries: list[Entry] = []
            for producer_id, count, size in group:
                first_seq = seqs.get(producer_id, 0) + 1
                seqs[producer_id] = first_seq + count - 1
                entries.append(entry(producer_id, first_seq, count, size=size))
            for offset, one in zip(log.append(entries), entries, strict=True):
                row = Row(
                    offset, one.producer_id, one.first_seq, one.count, one.events, one.time_ns
                )
                model.append(row)
            if data.draw(st.booleans()):
                log.close()
                log = SqliteLog.open(Path(name), segment_bytes=8_192)
        wanted = [row for row in model if row.last_offset > after]
        assert read_all(log, after, max_bytes) == wanted
        assert log.producers() == seqs
        assert log.next_offset == 1 + sum(row.count for row in model)
        log.close()


def test_a_trace_is_read_over_segments(log: SqliteLog) -> None:
    """The index finds a trace's rows wherever they are, and continues like any read."""
    rows = fill(log, 40)
    wanted = [row for row in rows if TRACE.encode() in row.events]
    assert log.statistics().segments > 2
    assert log.read_trace(TRACE) == wanted
    found: list[Row] = []
    while batch := log.read_trace(
        TRACE, after=found[-1].last_offset if found else 0, max_bytes=1_000
    ):
        found += batch
    assert found == wanted
    inside = wanted[3].offset  # its second event and later ones
    assert log.read_trace(TRACE, after=inside) == wanted[3:]
    assert log.read_trace("f" * 32) == []


@pytest.mark.parametrize("trace_id", ["", "../x", "0 " * 16, "g" * 32, TRACE + "00"])
def test_a_malformed_trace_id_has_no_rows(log: SqliteLog, trace_id: str) -> None:
    """What is no trace id is answered, not looked up."""
    fill(log, 2)
    assert log.read_trace(trace_id) == []


def test_time_leads_to_an_offset(log: SqliteLog) -> None:
    """`read(after=offset_at(t))` replays exactly what arrived at t or later."""
    rows = fill(log, 40)  # one a second, from 0
    assert log.statistics().segments > 2
    for second in (0, 1, 7, 20, 39, 40, 100):
        wanted = [row for row in rows if row.time_ns >= second * SECOND]
        assert read_all(log, log.offset_at(second * SECOND)) == wanted
    assert log.offset_at(0) == 0
    assert log.offset_at(1) == rows[0].last_offset


def test_row_10_a_clock_set_back_replays_too_much_never_too_little(log: SqliteLog) -> None:
    """Where time is not in order, nothing newer than asked for is left out at the end."""
    times = [*range(10, 30), *range(5, 25)]
    for seq, second in enumerate(times, 1):
        log.append([entry("a", seq, 1, time_ns=second * SECOND, size=2_000)])
    assert log.statistics().segments > 2
    after = log.offset_at(20 * SECOND)
    assert times[after:] == [*range(20, 25)]
    assert log.offset_at(5 * SECOND) == 0


# Opening and closing.


def test_reopening_draws_an_epoch_and_keeps_the_old(folder: Path) -> None:
    """Each opening has an epoch of its own that begins where the log then ended."""
    with SqliteLog.open(folder, clock=lambda: 1) as log:
        rows = fill(log, 3)
        first = log.epoch
    with SqliteLog.open(folder, clock=lambda: 2) as log:
        assert log.read(0) == rows
        assert log.epochs == (first, log.epoch)
        assert (log.epoch.first_offset, log.epoch.started_ns) == (7, 2)
        assert log.epoch.id != first.id
    assert (first.first_offset, first.started_ns) == (1, 1)


def test_epochs_survive_rotation_and_are_bounded(folder: Path) -> None:
    """A relay that restarts for ever does not grow the log."""
    ids: list[str] = []
    for _ in range(EPOCHS_KEPT + 3):
        with SqliteLog.open(folder, segment_bytes=4_096) as log:
            ids.append(log.epoch.id)
            if len(ids) % 100 == 0:
                fill(log, 5)
            assert [epoch.id for epoch in log.epochs] == ids[-EPOCHS_KEPT:]


def test_files_are_private(log: SqliteLog, folder: Path) -> None:
    """Nobody else reads what people sent to their models."""
    fill(log, 20)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.iterdir())
    assert len(files) > 4
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_second_opening_is_refused_with_the_pid(log: SqliteLog, folder: Path) -> None:
    """The message says who holds the log, and the holder is not disturbed."""
    with pytest.raises(LogLocked, match=f"process {os.getpid()}") as caught:
        SqliteLog.open(folder)
    assert caught.value.pid == os.getpid()
    fill(log, 1)
    log.close()
    SqliteLog.open(folder).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is a clear error."""
    (tmp_path / "taken").touch()
    with pytest.raises(LogUnavailable, match="taken"):
        SqliteLog.open(tmp_path / "taken")


def test_a_closed_log_says_so(folder: Path) -> None:
    """Closing twice is fine, using it afterwards is not."""
    log = SqliteLog.open(folder)
    log.close()
    log.close()
    for use in (lambda: log.append([entry()]), lambda: log.read(0), log.carried):
        with pytest.raises(LogError, match="closed"):
            use()


def test_a_layout_of_the_future_is_left_alone(folder: Path) -> None:
    """An older program says what to do, and changes nothing."""
    with SqliteLog.open(folder) as log:
        rows = fill(log, 3)
    (path,) = segment_files(folder)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 2)
    with pytest.raises(LogError, match=r"layout 2.*upgrade"):
        SqliteLog.open(folder)
    connection.pragma("user_version", 1)
    connection.close()
    with SqliteLog.open(folder) as log:
        assert log.read(0) == rows


@pytest.mark.parametrize("header", [False, True])
def test_a_segment_that_was_never_finished_is_reused(folder: Path, header: bool) -> None:
    """A crash between the new file and its first commit costs nothing."""
    with SqliteLog.open(folder) as log:
        rows = fill(log, 3)
    unfinished = folder / f"segment-{7:020d}.db"
    unfinished.touch()
    if header:
        connection = apsw.Connection(str(unfinished))
        connection.pragma("journal_mode", "WAL")
        connection.close()
    with SqliteLog.open(folder, segment_bytes=1) as log:
        assert log.statistics().quarantined == 0
        rows += fill(log, 2)
        assert read_all(log) == rows
        assert unfinished in segment_files(folder)


# Producers.


def test_last_seq_survives_rotation_retention_and_reopening(folder: Path) -> None:
    """A duplicate is known for one for ever, also when its events are long gone."""
    with SqliteLog.open(folder, segment_bytes=8_192) as log:
        log.append([entry("early", 1, 5)])
        log.remember_producer("early", b"hello of early")
        fill(log, 60)
        removed = log.retain(keep_s=None, max_bytes=1, now_ns=0)
        assert len(removed) > 2
        assert log.first_offset > 5
        before = log.producers()
    with SqliteLog.open(folder) as log:
        assert log.producers() == before
        assert log.last_seq("early") == 5
        assert log.last_seq("unknown") == 0
        assert log.producer_data() == {"early": b"hello of early"}


def test_a_record_is_stored_with_the_next_commit(folder: Path) -> None:
    """The latest record counts; a producer without events is known with seq 0."""
    with SqliteLog.open(folder) as log:
        log.remember_producer("a", b"1")
        assert log.producer_data() == {}
        log.remember_producer("a", b"2")
        assert log.append([]) == []
        assert log.producer_data() == {"a": b"2"}
        assert log.producers() == {"a": 0}
        log.append([entry("a", 1, 2)])
        log.remember_producer("a", b"3")
    with SqliteLog.open(folder) as log:
        assert log.producer_data() == {"a": b"3"}
        assert log.producers() == {"a": 2}


@pytest.mark.parametrize(
    "bad",
    [
        entry("a", 5, 1),
        entry("a", 1, 9),
        entry("b", 0, 1),
        entry("b", 1, 0),
        entry("b", 2**63 - 1, 1),
        entry("", 1, 1),
        Entry("\ud800", 1, 1, b"\x90", (), 0),
        entry("b", 1, 1, traces=("nonsense",)),
        entry("b", 1, 1, time_ns=2**63),
    ],
)
def test_misuse_is_refused_as_a_whole(log: SqliteLog, bad: Entry) -> None:
    """An entry that would store an event twice, or cannot be stored, takes nothing with it."""
    log.append([entry("a", 1, 5)])
    with pytest.raises(LogError):
        log.append([entry("a", 6, 1), bad])
    assert log.next_offset == 6
    assert log.append([entry("a", 6, 1), entry("a", 10, 1)]) == [6, 7]


def test_an_entry_within_a_group_is_checked_against_the_group(log: SqliteLog) -> None:
    """The same frame twice in one group is a duplicate too."""
    with pytest.raises(LogError, match="duplicates"):
        log.append([entry("a", 1, 2), entry("a", 2, 2)])
    assert log.read(0) == []
    assert check_entry(entry("a", 3, 2), 2) == [bytes.fromhex(TRACE)]


# Retention.


def test_retention_by_size_removes_the_oldest(log: SqliteLog) -> None:
    """What is left fits, begins at a segment, and offsets are those of before."""
    rows = fill(log, 80)
    bound = log.statistics().disk_bytes // 2
    removed = log.retain(keep_s=None, max_bytes=bound, now_ns=0)
    assert log.statistics().disk_bytes <= bound
    assert [one.first_offset for one in removed] == [
        1,
        *(one.last_offset + 1 for one in removed[:-1]),
    ]
    assert log.first_offset == removed[-1].last_offset + 1
    assert read_all(log) == [row for row in rows if row.offset >= log.first_offset]
    assert log.statistics().damaged_events == 0
    assert log.retain(keep_s=None, max_bytes=bound, now_ns=0) == []


def test_retention_by_age_keeps_a_segment_with_one_young_event(log: SqliteLog) -> None:
    """Only what is older than asked for goes, whole segments at a time."""
    rows = fill(log, 80)
    log.retain(keep_s=30.0, max_bytes=None, now_ns=80 * SECOND)
    kept = read_all(log)
    assert 30 <= len(kept) < 60
    assert kept == rows[-len(kept) :]


def test_a_quiet_log_is_sealed_by_age(folder: Path) -> None:
    """A segment that would take years to fill does not keep old events for years."""
    with SqliteLog.open(folder) as log:
        log.append([entry("a", 1, 1, time_ns=0)])
        assert log.retain(keep_s=80.0, max_bytes=None, now_ns=9 * SECOND) == []
        assert log.statistics().segments == 1
        assert log.retain(keep_s=80.0, max_bytes=None, now_ns=11 * SECOND) == []
        assert log.statistics().segments == 2
        assert log.retain(keep_s=80.0, max_bytes=None, now_ns=79 * SECOND) == []
        (removed,) = log.retain(keep_s=80.0, max_bytes=None, now_ns=81 * SECOND)
        assert (removed.first_offset, removed.last_offset) == (1, 1)
        assert log.first_offset == log.next_offset == 2
        assert log.append([entry("a", 2, 1)]) == [2]


def test_what_is_carried_outlives_removal_rotation_and_reopening(folder: Path) -> None:
    """The latest bytes are there, keyed by the first offset that survived."""
    calls: list[int] = []

    def carry() -> bytes:
        calls.append(1)
        return b"open spans %d" % len(calls)

    with SqliteLog.open(folder, segment_bytes=8_192) as log:
        assert log.carried() == []
        fill(log, 1)
        assert log.retain(keep_s=None, max_bytes=1, now_ns=0, carry=carry) == []
        assert calls == []
        for _ in range(2):
            fill(log, 40)
            assert log.retain(keep_s=None, max_bytes=1, now_ns=0, carry=carry)
        wanted = [(log.first_offset, b"open spans 2")]
        assert log.carried() == wanted
        fill(log, 40)
        assert log.carried() == wanted
    with SqliteLog.open(folder) as log:
        assert log.carried() == wanted


# The disk refuses.


def test_row_6_a_full_disk_refuses_whole_and_recovers(log: SqliteLog) -> None:
    """Nothing of a refused group is stored, and the same group is accepted when there is space."""
    rows = fill(log, 3)
    assert log._writer is not None
    log._writer.pragma("max_page_count", log._writer.pragma("page_count") + 1)
    log.remember_producer("a", b"hello")
    group = [entry("a", 1, 2), entry("b", 1, 1, size=100_000), entry("a", 3, 1)]
    for _ in range(3):
        with pytest.raises(LogFull, match=r"SQLITE_FULL.*make space"):
            log.append(group)
    assert log.read(0) == rows
    assert log.last_seq("a") == log.last_seq("b") == 0
    assert log.next_offset == 7
    assert log.statistics().refused == 3
    assert "make space" in (log.statistics().error or "")
    assert log.producer_data() == {}
    log._writer.pragma("max_page_count", 1_000_000)
    assert log.append(group) == [7, 9, 10]
    assert [row.first_seq for row in log.read(6)] == [1, 1, 3]
    assert log.statistics().error is None
    assert log.producer_data() == {"a": b"hello"}


def test_row_6_an_io_error_refuses_whole_and_recovers(folder: Path) -> None:
    """A write that the kernel refuses is no acknowledgement; after it the log is as before."""
    log = SqliteLog.open(folder)
    rows = fill(log, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = folder / f"segment-{1:020d}.db-wal"
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 5_000, hard))
    try:
        with pytest.raises(LogUnavailable, match="SQLITE_IOERR_WRITE"):
            log.append([entry("a", 1, 2, size=50_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.read(0) == rows
    assert log.append([entry("a", 1, 2, size=50_000)]) == [7]
    log.close()
    with SqliteLog.open(folder) as log:
        assert [row.offset for row in log.read(0)] == [1, 2, 4, 7]


def test_a_new_segment_that_cannot_be_made_leaves_nothing(folder: Path) -> None:
    """Rotation may fail; the group is refused, and the next attempt starts clean."""
    log = SqliteLog.open(folder, segment_bytes=4_096)
    rows = fill(log, 1, size=8_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
    try:
        with pytest.raises(LogUnavailable):
            log.append([entry("a", 1, 2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(segment_files(folder)) == 1
    assert log.append([entry("a", 1, 2)]) == [2]
    assert len(segment_files(folder)) == 2
    assert log.read(0)[:1] == rows
    log.close()


def test_retention_makes_space_on_a_full_disk(log: SqliteLog) -> None:
    """What must be carried cannot be stored before the removal, so it is stored after it."""
    fill(log, 40)
    log._segment_bytes = 1 << 30  # no new segment, which would have no bound
    assert log._writer is not None
    full = True

    def carry() -> bytes:
        assert log._writer is not None
        log._writer.pragma("max_page_count", log._writer.pragma("page_count"))
        return b"x" * 50_000

    class Folder:
        def __getattr__(self, name: str) -> object:
            return getattr(folder, name)

        def remove_wrecks(self, before: int) -> None:
            nonlocal full
            assert log._writer is not None
            assert before > 1
            full = False
            log._writer.pragma("max_page_count", 1_000_000)

    folder = log._folder
    log._folder = Folder()  # pyright: ignore[reportAttributeAccessIssue]
    removed = log.retain(keep_s=None, max_bytes=1, now_ns=0, carry=carry)
    log._folder = folder
    assert removed
    assert not full
    assert log.carried() == [(log.first_offset, b"x" * 50_000)]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_is_deleted_in_use_stops_acknowledging(folder: Path, replaced: bool) -> None:
    """Writes to a deleted file would succeed, and be gone at the next start."""
    log = SqliteLog.open(folder)
    fill(log, 3)
    (path,) = segment_files(folder)
    path.rename(folder / "elsewhere")
    if replaced:
        path.touch()
    with pytest.raises(LogUnavailable, match="removed or replaced"):
        log.append([entry("a", 1, 1)])
    (folder / "elsewhere").replace(path)
    assert log.append([entry("a", 1, 1)]) == [7]
    log.close()


# The process dies.

WRITER = """
import sys
from pathlib import Path
from lumina_stream.relay.log import Entry
from lumina_stream.relay.sqlite_log import SqliteLog
log = SqliteLog.open(Path(sys.argv[1]), segment_bytes=4_096)
seq = log.last_seq("writer")
while True:
    group = [Entry("writer", seq + 1 + n, 1, b"%d " % (seq + 1 + n) * 300, (), n) for n in range(3)]
    log.append(group)
    seq += 3
    sys.stdout.write(f"{seq}\\n")
    sys.stdout.flush()
"""


def test_everything_acknowledged_survives_sigkill(folder: Path) -> None:
    """Killed in the middle of its work, again and again: no hole, nothing twice, and no lock."""
    acknowledged = 0
    for commits in (1, 7, 40, 150, 23):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(commits):
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = int(([str(acknowledged), *child.stdout.read().split("\n")[:-1]])[-1])
        child.stdout.close()
        child.wait()
        with SqliteLog.open(folder, segment_bytes=4_096) as log:
            rows = read_all(log)
            seqs = [row.first_seq for row in rows]
            assert seqs == list(range(1, len(seqs) + 1))
            assert [row.offset for row in rows] == seqs
            assert [row.events for row in rows] == [b"%d " % seq * 300 for seq in seqs]
            assert len(seqs) >= acknowledged
            assert len(seqs) % 3 == 0
            assert log.last_seq("writer") == len(seqs)
            assert log.statistics().quarantined == log.statistics().damaged_rows == 0
            assert log.statistics().segments > 1 or commits == 1


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, 40_000))
def test_row_7_a_torn_write_ahead_file_loses_only_its_end(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """Power fails in the middle of a write: whole groups before it are there, and none after."""
    folder = tmp_path_factory.mktemp("torn") / "log"
    log = SqliteLog.open(folder)
    for seq in range(1, 21, 2):
        log.append([entry("a", seq, 1, size=300), entry("a", seq + 1, 1, size=300)])
    rows = log.read(0)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    log.close()
    wal = copy / f"segment-{1:020d}.db-wal"
    os.truncate(wal, max(0, wal.stat().st_size - cut))
    with SqliteLog.open(copy) as log:
        kept = log.read(0)
        assert kept == rows[: len(kept)]
        assert len(kept) % 2 == 0
        assert log.last_seq("a") == len(kept)
        assert cut > 0 or kept == rows
        assert log.append([entry("a", len(kept) + 1, 1)]) == [len(kept) + 1]


# The files are hurt.


class Healthy:
    """A closed log of several segments and its rows; its repr is short, for failing examples."""

    def __init__(self, folder: Path, rows: list[Row]) -> None:
        self.folder = folder
        self.rows = rows


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Healthy:
    """Make the log that the tests hurt copies of."""
    folder = tmp_path_factory.mktemp("healthy") / "log"
    with SqliteLog.open(folder, segment_bytes=40_000) as log:
        rows = fill(log, 120, size=400)
        log.remember_producer("p0", b"hello")
    assert len(segment_files(folder)) > 3
    return Healthy(folder, rows)


def check_damaged(
    healthy: Healthy, hurt: Callable[[list[Path]], None]
) -> tuple[list[Row], SqliteLog]:
    """Hurt a copy, then open, read and append; return the rows that were left, and the log."""
    rows = healthy.rows
    folder = Path(tempfile.mkdtemp(dir=healthy.folder.parent)) / "log"
    shutil.copytree(healthy.folder, folder)
    hurt(segment_files(folder))
    log = SqliteLog.open(folder, segment_bytes=40_000)
    truth = {row.offset: row for row in rows}
    found = read_all(log)
    assert all(truth[row.offset] == row for row in found)
    assert [row.offset for row in found] == sorted({row.offset for row in found})
    missing = log.next_offset - 1 - sum(row.count for row in found)
    if log.first_offset == 1:
        assert log.statistics().damaged_events == missing
        # A flipped key may hide a row from a read that begins at it; nothing is counted twice.
        again = sum(row.count for row in read_all(log, max_bytes=500))
        assert log.statistics().damaged_events <= missing + max(0, log.next_offset - 1 - again)
    in_trace = log.read_trace(TRACE, max_bytes=1 << 30)
    assert all(truth[row.offset] == row and TRACE.encode() in row.events for row in in_trace)
    for producer_id, last_seq in log.producers().items():
        assert last_seq <= max(row.last_seq for row in rows if row.producer_id == producer_id)
    end = log.next_offset
    late = entry("late", 1, 2, traces=())
    assert log.append([late, entry("late", 3, 1, traces=())]) == [end, end + 2]
    assert [row.events for row in log.read(end - 1)][:1] == [late.events]
    log.close()
    log = SqliteLog.open(folder, segment_bytes=40_000)
    assert [row.offset for row in read_all(log)] == [row.offset for row in found] + [end, end + 2]
    assert log.last_seq("late") == 3
    return found, log


@settings(max_examples=150, deadline=None)
@given(which=st.integers(0, 99), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_row_7_a_flipped_bit_anywhere_costs_what_it_hits(
    healthy: Healthy, which: int, where: float, bit: int
) -> None:
    """The log opens, never returns a wrong byte, counts the loss exactly, and goes on."""

    def flip(files: list[Path]) -> None:
        path = files[which % len(files)]
        content = bytearray(path.read_bytes())
        content[int(where * len(content))] ^= 1 << bit
        path.write_bytes(content)

    found, log = check_damaged(healthy, flip)
    with log:
        rows = healthy.rows
        if log.statistics().quarantined == 0 and log.first_offset == 1:
            assert len(found) > len(rows) * 0.5


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 99), keep=st.floats(0, 1))
def test_a_truncated_segment_keeps_what_is_left(healthy: Healthy, which: int, keep: float) -> None:
    """A file that was cut short is read as far as it goes, not thrown away."""

    def cut(files: list[Path]) -> None:
        path = files[which % len(files)]
        os.truncate(path, int(path.stat().st_size * keep))

    _, log = check_damaged(healthy, cut)
    log.close()


def test_half_a_segment_is_still_half_a_segment(healthy: Healthy) -> None:
    """Damage is counted to the event, and the rest of the segment is there."""

    def cut(files: list[Path]) -> None:
        os.truncate(files[1], files[1].stat().st_size // 2)

    found, log = check_damaged(healthy, cut)
    rows = healthy.rows
    with log:
        files = segment_files(log._folder.path)
        cut_rows = [row for row in rows if first_of(files[1]) <= row.offset < first_of(files[2])]
        left = [row for row in cut_rows if row in found]
        assert len(rows) - len(found) == len(cut_rows) - len(left)
        assert 0 < len(left) < len(cut_rows)
        assert read_all(log)
        statistics = log.statistics()
        assert statistics.damaged_events == sum(row.count for row in rows) - sum(
            row.count for row in found
        )
        assert statistics.quarantined == 0


@pytest.mark.parametrize("which", [0, 1, -1])
@pytest.mark.parametrize("content", [b"", b"this is no database" * 500])
def test_a_file_that_is_no_database_is_set_aside(
    healthy: Healthy, which: int, content: bytes
) -> None:
    """One wreck does not keep the log from opening, nor are its offsets used again."""
    rows = healthy.rows
    hurt: list[Path] = []

    def overwrite(files: list[Path]) -> None:
        hurt.append(files[which])
        files[which].write_bytes(content)

    found, log = check_damaged(healthy, overwrite)
    with log:
        first = first_of(hurt[0])
        gone = [row for row in rows if row not in found]
        assert gone[0].offset == first
        assert log.next_offset > first
        empty_newest = which == -1 and not content
        assert log.statistics().quarantined == (0 if empty_newest else 1)
        if not empty_newest:
            assert hurt[0].with_name(hurt[0].name + ".quarantined").exists()
        if which == 0:
            assert log.first_offset > 1
            assert log.last_seq("p0") == rows[-3].last_seq
            assert log.producer_data() == {"p0": b"hello"}
        if which == -1:
            assert log.last_seq("p0") < rows[-3].last_seq


def test_wrecks_go_with_the_segments_around_them(healthy: Healthy) -> None:
    """What was set aside does not stay for ever."""

    def overwrite(files: list[Path]) -> None:
        files[1].write_bytes(b"nothing")

    _, log = check_damaged(healthy, overwrite)
    with log:
        assert list(log._folder.path.glob("*.quarantined"))
        log.retain(keep_s=None, max_bytes=1, now_ns=0)
        assert not list(log._folder.path.glob("*.quarantined"))


def test_a_wrong_last_seq_is_not_believed(healthy: Healthy) -> None:
    """A last seq that is too high would discard every new event as a duplicate."""
    rows = healthy.rows

    def raise_last_seq(files: list[Path]) -> None:
        connection = apsw.Connection(str(files[-1]))
        connection.execute("UPDATE producers SET last_seq = last_seq + 64")
        connection.close()

    _, log = check_damaged(healthy, raise_last_seq)
    with log:
        for number in range(3):
            truth = max(row.last_seq for row in rows if row.producer_id == f"p{number}")
            assert log.last_seq(f"p{number}") == truth


def test_a_broken_index_still_finds_the_trace(healthy: Healthy) -> None:
    """The frames are searched where the index cannot be read."""
    rows = healthy.rows

    def break_index(files: list[Path]) -> None:
        connection = apsw.Connection(str(files[1]))
        page = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'trace_frames'"
        ).get
        connection.close()
        with files[1].open("r+b") as file:
            file.seek((page - 1) * 4_096)
            file.write(b"\xff" * 4_096)

    _, log = check_damaged(healthy, break_index)
    with log:
        wanted = [row for row in rows if TRACE.encode() in row.events]
        assert log.read_trace(TRACE, max_bytes=1 << 30) == wanted


def test_a_damaged_row_is_skipped_and_counted_once(log: SqliteLog) -> None:
    """The checksum finds what SQLite cannot."""
    rows = fill(log, 5)
    assert log._writer is not None
    log._writer.execute(
        "UPDATE frames SET events = zeroblob(9) WHERE offset = ?", (rows[3].offset,)
    )
    wanted = rows[:3] + rows[4:]
    assert log.read(0) == log.read(0) == wanted
    assert log.read(rows[3].offset) == rows[4:]
    assert log.read_trace(TRACE) == [rows[1]]
    statistics = log.statistics()
    assert (statistics.damaged_rows, statistics.damaged_events) == (1, rows[3].count)


def test_damage_met_while_writing_moves_on_to_a_new_segment(folder: Path) -> None:
    """A page that cannot be written to must not stop the log."""
    with SqliteLog.open(folder) as log:
        rows = fill(log, 40)
        assert log._writer is not None
        page = log._writer.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'trace_frames'"
        ).get
    (path,) = segment_files(folder)
    with path.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xff" * 4_096)
    with SqliteLog.open(folder) as log:
        rows += fill(log, 3)
        assert log.statistics().segments == 2
        assert log.statistics().refused == 0
        assert read_all(log) == rows


def test_a_deleted_middle_is_counted(healthy: Healthy) -> None:
    """A segment that somebody removed by hand is a hole like any other."""
    found, log = check_damaged(healthy, lambda files: files[1].unlink())
    with log:
        assert read_all(log)
        lost = sum(row.count for row in healthy.rows) - sum(row.count for row in found)
        assert log.statistics().damaged_events == lost > 0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10))))
def test_overlapping_holes_count_once(holes: list[tuple[int, int]]) -> None:
    """The ledger is a set of offsets, kept as intervals."""
    damage = Damage()
    for first, length in holes:
        damage.hole(first, first + length)
    assert damage.events == len({n for first, size in holes for n in range(first, first + size)})


# Threads.


def test_readers_run_beside_the_writer(folder: Path) -> None:
    """Readers see a growing prefix without holes while segments come and go."""
    log = SqliteLog.open(folder, segment_bytes=30_000)
    done = threading.Event()
    failures: list[BaseException] = []
    reached: list[int] = []

    def follow() -> None:
        try:
            after = 0
            while True:
                last_round = done.is_set()
                rows = log.read(after, max_bytes=4_000)
                for row in rows:
                    assert row.offset == after + 1 or log.first_offset > after + 1
                    after = row.last_offset
                log.read_trace(TRACE, after=after - 20, max_bytes=2_000)
                log.offset_at(5 * SECOND)
                log.statistics()
                if last_round and not rows:
                    reached.append(after)
                    return
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        first_seq = number * 3 + 1
        log.append([entry("a", first_seq, 3, time_ns=number * SECOND, size=300)])
        if number % 50 == 49:
            log.retain(keep_s=None, max_bytes=200_000, now_ns=0)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert reached == [900] * 3
    assert log.first_offset > 1
    assert log.statistics().damaged_rows == log.statistics().damaged_events == 0
    log.close()
