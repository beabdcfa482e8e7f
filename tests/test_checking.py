"""`check` finds what is wrong with a log and nothing else; `backup` copies one that is being written."""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

import json
import threading
from pathlib import Path

import apsw
import msgspec
import pytest

from lumina_stream.cli import main
from lumina_stream.model import codec
from lumina_stream.model.events import Event, EventsLost, SpanEnded, SpanStarted
from lumina_stream.relay.backup import back_up
from lumina_stream.relay.checking import Report, check
from lumina_stream.relay.log import Entry, LogError
from lumina_stream.relay.sqlite_log import SqliteLog

TRACE = "0af7651916cd43dd8448eb211c80319c"


def entry(producer_id: str, first_seq: int, *events: Event, trace: str = TRACE) -> Entry:
    """Make an entry of real events; two of a span where none are given."""
    span_id = f"{first_seq:016x}"
    said = events or (SpanStarted(trace, span_id, first_seq, "step"), SpanEnded(trace, span_id, 9))
    data = codec.join_array([codec.encode(event) for event in said])
    traces = (trace,) if not events else ()
    return Entry(producer_id, first_seq, len(said), data, traces, first_seq)


def fill(folder: Path, frames: int = 300) -> None:
    """Write a log of a few segments."""
    with SqliteLog.open(folder, segment_bytes=4_096) as log:
        for number in range(frames):
            producer_id = f"p{number % 3}"
            log.append([entry(producer_id, log.last_seq(producer_id) + 1)])


def files(folder: Path) -> list[Path]:
    """Return the segment files, oldest first."""
    return sorted(folder.glob("segment-*.db"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a sound log of several segments."""
    fill(tmp_path / "data")
    assert len(files(tmp_path / "data")) > 3
    return tmp_path / "data"


def change(path: Path, sql: str, *values: object) -> None:
    """Change a segment behind everybody's back."""
    connection = apsw.Connection(str(path))
    connection.execute(sql, values)
    connection.close()


def test_a_sound_log(folder: Path) -> None:
    """Nothing is found where nothing is wrong, and everything is counted."""
    report = check(folder)
    assert report.sound, report
    assert (report.events, report.frames, report.producers) == (600, 300, 3)
    assert (report.first_offset, report.last_offset) == (1, 600)


def test_beside_a_relay(tmp_path: Path) -> None:
    """A log that is open and written is read as it was when the check began."""
    with SqliteLog.open(tmp_path / "data") as log:
        log.append([entry("p", 1)])
        assert check(tmp_path / "data").events == 2
        log.append([entry("p", 3)])
        assert check(tmp_path / "data").sound


def test_a_flipped_bit(folder: Path) -> None:
    """A frame whose checksum is wrong is counted with its events."""
    change(files(folder)[1], "UPDATE frames SET checksum = checksum + 1 WHERE rowid % 10 = 3")
    report = check(folder)
    assert report.damaged_events > 0 and not report.sound
    assert report.damaged_events + report.events == 600
    assert report.unrecorded_holes == 0, "damage is not counted a second time as holes"


def test_a_missing_file(folder: Path) -> None:
    """A segment that somebody removed from the middle is missed, event by event."""
    gone = files(folder)[1]
    first, following = (int(path.name[8:28]) for path in files(folder)[1:3])
    gone.unlink()
    report = check(folder)
    assert report.missing_offsets == following - first and not report.sound


def test_a_wreck(folder: Path) -> None:
    """A file that cannot be read at all is named."""
    files(folder)[1].write_bytes(b"no database" * 500)
    report = check(folder)
    assert not report.sound and report.segments[1].problem
    assert report.damaged_events > 0


def test_a_hole_nobody_recorded(tmp_path: Path) -> None:
    """A producer's missing seqs are a hole, unless the relay recorded the loss."""
    with SqliteLog.open(tmp_path / "data") as log:
        log.append([entry("p", 1), entry("p", 6)])
    report = check(tmp_path / "data")
    assert report.unrecorded_holes == 1 and not report.sound
    (hole,) = report.holes
    assert (hole.first_seq, hole.last_seq, hole.recorded) == (3, 5, False)
    with SqliteLog.open(tmp_path / "data") as log:
        log.append([entry("relay-1", 1, EventsLost(9, "log_rollback", 3, subject_id="p"))])
    report = check(tmp_path / "data")
    assert report.sound and report.holes[0].recorded and report.recorded_losses == 3


def test_an_index_that_misses_a_trace(folder: Path) -> None:
    """A frame that its trace cannot be found by is counted."""
    change(files(folder)[0], "DELETE FROM trace_frames WHERE frame = 1")
    report = check(folder)
    assert report.unindexed == 1 and not report.sound


def test_retention_is_no_hole(folder: Path) -> None:
    """What retention removed is not missed."""
    with SqliteLog.open(folder) as log:
        assert log.retain(keep_s=None, max_bytes=60_000, now_ns=0)
    report = check(folder)
    assert report.sound and report.first_offset > 1


def test_backup_while_written(tmp_path: Path) -> None:
    """A copy made while events stream in, over many segments, is a sound prefix of the log."""
    data = tmp_path / "data"
    with SqliteLog.open(data, segment_bytes=8_192) as log:
        log.append([entry("p", 1)])
        acknowledged, stop = [2], threading.Event()

        def write() -> None:
            while not stop.is_set():
                log.append([entry("p", acknowledged[0] + 1)])
                acknowledged[0] += 2

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(5):
                before = acknowledged[0]
                report = back_up(data, tmp_path / f"copy{number}")
                assert report.sound, report
                assert report.events >= before and report.last_offset == report.events
        finally:
            stop.set()
            writer.join()
    with SqliteLog.open(tmp_path / "copy4") as copy:
        assert copy.last_seq("p") == report.events
        assert copy.read(0)[0].producer_id == "p"


def test_backup_refuses(folder: Path, tmp_path: Path) -> None:
    """An existing target, and a folder without a log, are named; nothing is left behind."""
    with pytest.raises(LogError, match="exists"):
        back_up(folder, tmp_path)
    with pytest.raises(LogError, match="there is no log"):
        back_up(tmp_path / "nothing", tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_on_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both commands say what they found; the exit code says whether it is sound."""
    assert main(["backup", str(tmp_path / "copy"), "--data", str(folder)]) == 0
    assert "sound" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "copy"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is True
    assert msgspec.convert({k: v for k, v in found.items() if k != "sound"}, Report).events == 600
    change(files(tmp_path / "copy")[0], "UPDATE frames SET count = count + 1 WHERE offset = 1")
    assert main(["check", str(tmp_path / "copy")]) == 1
    assert "NOT sound" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "nowhere")]) == 1
    assert "there is no log" in capsys.readouterr().err
