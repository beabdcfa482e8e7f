"""The process that writes the log is killed at its Nth write, sync, truncation or removal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.faults import often
from support.programs import REPOSITORY

from lumina_stream.relay.checking import check

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink")
WRITER = """
import sys
from pathlib import Path
import msgspec
from lumina_stream.relay.log import Entry
from lumina_stream.relay.sqlite_log import SqliteLog

log = SqliteLog.open(Path(sys.argv[1]), segment_bytes=20_000)
print("open", flush=True)
seq = 1
for number in range(66):
    events = msgspec.msgpack.encode([[number, "x" * 200]] * 3)
    log.append([Entry("p", seq, 3, events, ("0af7651916cd43dd8448eb211c80319c",), number)])
    seq += 3
    print(seq - 1, flush=True)
    if number % 20 == 19:
        log.retain(keep_s=None, max_bytes=60_000, now_ns=0, carry=lambda: b"carried")
log.close()
"""


def write(folder: Path, *strace: str) -> int:
    """Run the writer, under strace; return the last seq that it acknowledged, -1 if it never opened."""
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", *strace, sys.executable, "-c", WRITER, folder],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
        check=False,
    )
    lines = done.stdout.split()
    return -1 if not lines else 0 if lines[-1] == "open" else int(lines[-1])


def count(folder: Path, call: str) -> int:
    """Return how often the whole run makes a system call on the log's files."""
    trace = folder.parent / "calls"
    subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            trace,
            "-e",
            f"trace={call}",
            sys.executable,
            "-c",
            WRITER,
            folder,
        ],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    return sum(call in line for line in trace.read_text().splitlines())


def points(folder: Path) -> list[tuple[str, int]]:
    """Return the crash points to try: every call of each kind, or some of them evenly spread."""
    made = {call: count(folder.parent / f"{call}", call) for call in CALLS}
    every = [(call, n + 1) for call, most in made.items() for n in range(most)]
    wanted = min(len(every), often(12, 100_000))
    return [every[int(i * len(every) / wanted)] for i in range(wanted)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_row_2_killed_at_a_system_call(tmp_path: Path) -> None:
    """Wherever the writer dies, the log opens, is sound, and has all that was acknowledged."""
    # breaks: lumina_stream/relay/segment.py
    # -   INSERT OR REPLACE INTO producers VALUES(?,?,?,?)
    # +   INSERT OR IGNORE INTO producers VALUES(?,?,?,?)
    tried = points(tmp_path / "whole")
    for call, when in tried:
        folder = tmp_path / f"{call}-{when}"
        acknowledged = write(
            folder, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}"
        )
        if acknowledged < 0:
            continue
        held = stored_after_retention(folder)
        assert held >= acknowledged, (call, when)
        assert check(folder).sound, (call, when)
        shutil.rmtree(folder)
    print(f"{len(tried)} crash points")


def stored_after_retention(folder: Path) -> int:
    """Return the last seq in a log whose oldest segments may be gone."""
    from lumina_stream.relay.sqlite_log import SqliteLog

    with SqliteLog.open(folder) as log:
        after, last = 0, 0
        while rows := log.read(after):
            for row in rows:
                assert not last or row.first_seq == last + 1
                last = row.last_seq
            after = rows[-1].last_offset
        assert log.last_seq("p") == last
        return last
