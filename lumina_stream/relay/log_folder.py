"""The folder of a log: its lock, its segment files by name, and wrecks set aside.

It knows names, modes and sizes of files, and whether a file is a segment at all. It knows nothing
of what is in one, and no thread but the writer's changes the folder.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Self

import apsw

from lumina_stream.relay.log import LogLocked
from lumina_stream.relay.scan import is_damage
from lumina_stream.relay.segment import (
    Segment,
    files_of,
    has_wal,
    identify,
    open_writer,
    reading,
    seal_segment,
)


class LogFolder:
    """Hold the folder and, from `open` to `close`, its lock."""

    def __init__(self, path: Path, lock: int) -> None:
        """Take the folder and the descriptor that holds its lock."""
        self.path = path
        self.quarantined = 0
        self.highest_offset = 1
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the folder if need be, lock it, and leave our process id in the lock file.

        Raises:
            LogLocked: another process holds it.
            OSError: it cannot be made or written.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                digits = os.read(descriptor, 32).strip()
                raise LogLocked(path, int(digits) if digits.isdigit() else None) from None
            # On a full disk the lock still holds, it only cannot say whose it is.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    @property
    def closed(self) -> bool:
        """Tell whether the lock was let go."""
        return self._lock is None

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def segments(self) -> list[Segment]:
        """Return the segments, oldest first.

        Files that were never finished are removed, those that are no segments set aside. Sets
        `quarantined` to the wrecks there are, and `highest_offset` to the highest that any file
        name speaks of, readable or not.
        """
        wrecks = named(self.path, "quarantined")
        self.quarantined = len(wrecks)
        found = named(self.path, "db")
        self.highest_offset = max((offset for _, offset in [*wrecks, *found]), default=1)
        admitted = [self._admit(path, offset, path == found[-1][0]) for path, offset in found]
        return [segment for segment in admitted if segment is not None]

    def quarantine(self, path: Path) -> None:
        """Set a segment's files aside under a name that is free."""
        target = path.with_name(path.name + ".quarantined")
        attempt = 1
        while target.exists():
            attempt += 1
            target = path.with_name(f"{path.name}.{attempt}.quarantined")
        for file, to in zip(files_of(path), files_of(target), strict=True):
            with contextlib.suppress(FileNotFoundError):
                file.rename(to)
        self.quarantined += 1

    def remove_wrecks(self, before: int) -> None:
        """Remove what was set aside and began before the offset."""
        for path, first_offset in named(self.path, "quarantined"):
            if first_offset < before:
                remove(path)

    def disk_bytes(self) -> int:
        """Return the size of all segment files, those set aside included."""
        return sum(size_of(path) for path in self.path.glob("segment-*"))

    def _admit(self, path: Path, first_offset: int, newest: bool) -> Segment | None:
        """Return the segment in a file; remove one that was never finished, set aside a wreck."""
        if has_wal(path):
            # A relay that was killed leaves commits there; what cannot be moved is read in place.
            with contextlib.suppress(apsw.Error):
                seal_segment(open_writer(path))
        segment = Segment(path, first_offset, sealed=not has_wal(path))
        try:
            with reading(segment) as connection:
                version = identify(connection)
        except apsw.Error as error:
            if not is_damage(error):
                raise
            self.quarantine(path)
            return None
        if version == 0:
            # Only the newest can be one whose making was cut short.
            if newest:
                remove(path)
            else:
                self.quarantine(path)
            return None
        return segment


def named(folder: Path, ending: str) -> list[tuple[Path, int]]:
    """Return a folder's segment files with that ending and the offset in each name, in its order."""
    found: list[tuple[Path, int]] = []
    for path in sorted(folder.glob(f"segment-*.{ending}")):
        digits = path.name[8:28]
        if len(digits) == 20 and digits.isdecimal():
            found.append((path, int(digits)))
    return found


def remove(path: Path) -> None:
    """Remove the files of a segment."""
    for file in files_of(path):
        file.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Return the size of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
