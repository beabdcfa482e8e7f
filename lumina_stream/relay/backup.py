"""`lumina-stream backup`: copy a log as of now, also while a relay writes it.

Only the segments are copied: they are the truth, and a relay draws everything else from them anew.
The oldest go first and the one that is written last, so that the copy is a prefix of the log.
"""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw

from lumina_stream.relay.checking import Report, check
from lumina_stream.relay.log import LogError
from lumina_stream.relay.log_folder import named
from lumina_stream.relay.scan import read_deletions
from lumina_stream.relay.segment import Segment, has_wal, identify, reading, sync_path


def back_up(
    source: Path, target: Path, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Copy the log of a folder into a new one, verify the copy, and return what was found.

    `progress` is told (segments copied, segments). The target appears whole or not at all. Raises
    `LogError` where there is no log, the target exists, or a file cannot be read or written.
    """
    if not named(source, "db"):
        raise LogError(f"there is no log in {source}: it has no segment-*.db")
    if target.exists():
        raise LogError(f"{target} exists; name a folder that does not")
    making = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        making.mkdir(mode=0o700, parents=True)
        _copy_all(source, making, progress)
        report = check(making)
        making.rename(target)
        sync_path(target.parent)
    except (OSError, apsw.Error) as error:
        raise LogError(f"the backup to {target} failed: {error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    report.folder = str(target)
    return report


def _copy_all(source: Path, making: Path, progress: Callable[[int, int], None] | None) -> None:
    whole: set[Path] = set()  # copied after their last event
    deleted: set[str] | None = None
    while True:
        paths = [path for path, _ in named(source, "db")]
        newest = paths[-1]
        before, deleted = deleted, _deleted(newest)
        if before is not None and deleted != before:
            whole.clear()  # a trace was taken out of files that were copied already
        for path in paths:
            if path not in whole and _copy(path, making / path.name) and path != newest:
                whole.add(path)
            if progress is not None:
                progress(paths.index(path) + 1, len(paths))
        # If another one was begun meanwhile, `newest` was written to after it was copied.
        if named(source, "db")[-1][0] == newest and _deleted(newest) == deleted:
            break
    sync_path(making)


def _deleted(newest: Path) -> set[str]:
    with reading(Segment(newest, 0, sealed=not has_wal(newest))) as connection:
        return {d.trace_id for d in read_deletions(connection).values() if d.erased}


def _copy(path: Path, to: Path) -> bool:
    """Copy one segment with all that is committed to it; False if there is nothing to copy (yet, or

    because retention took it away).
    """
    try:
        with reading(Segment(path, 0, sealed=not has_wal(path))) as connection:
            to.unlink(missing_ok=True)
            if not identify(connection):
                return False  # just begun: nothing was acknowledged from it
            os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            copy = apsw.Connection(str(to), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                with copy.backup("main", connection, "main") as job:
                    job.step(-1)  # one look at all pages: steps would begin anew with each commit
            finally:
                copy.close(force=True)
    except apsw.CantOpenError:
        if path.exists():
            raise
        to.unlink(missing_ok=True)
        return False
    sync_path(to)
    return True
