"""The folder of spools: make, lock, find and remove the files. What is in them is `protocol.spool`.

A leaf beside the rooms: programs write there, the relay and the commands read. Each file belongs to
one process, which holds a lock on it (flock) for as long as it lives. However it dies, the system
lets go of the lock, and whoever gets it next may deliver what is left.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from weakref import WeakSet

try:
    import fcntl
except ImportError:  # no such locks on this system, hence no spool
    fcntl = None

SUFFIX = ".spool"
ASIDE = ".spool.damaged"
_NEW = ".new"
_PIECE = 1 << 20
_STALE_S = 60.0
"""A file that is in the making for so long is one that a killed process did not finish."""

_held: WeakSet[SpoolFile] = WeakSet()


class SpoolFile:
    """One file, mapped. Its lock is ours until `close`."""

    def __init__(self, path: str, memory: mmap.mmap, lock: int) -> None:
        self.path = path
        self.memory = memory
        self._lock = lock
        _held.add(self)

    def close(self) -> None:
        """Let go of the lock. The mapping goes with its last user: another thread may be writing."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def remove(self) -> None:
        """Remove the file, then let go of it."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.close()

    def set_aside(self) -> str:
        """Rename the file so that nobody tries it again, let go of it, and return its new path."""
        aside = self.path.removesuffix(SUFFIX) + ASIDE
        with contextlib.suppress(OSError):
            os.rename(self.path, aside)
        self.close()
        return aside


def forget_all() -> None:
    """Let go of what was inherited from a parent process: the files stay locked by the parent."""
    for file in list(_held):
        file.close()


def check(folder: str) -> None:
    """Make the folder if it is not there. Raises `OSError` that says what is wrong with it."""
    if fcntl is None:
        raise OSError("this system has no file locks that end with their process")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_mode & stat.S_IWOTH:
        raise OSError("everybody may write there; name a folder of your own (mode 0700)")


def create(folder: str, name: str, size: int, begin: Callable[[mmap.mmap], None]) -> SpoolFile:
    """Make a file of `size` bytes, all of them there, and lock it; `begin` writes into it first.

    Nobody else sees it before it is whole. Raises `OSError`.
    """
    check(folder)
    path = os.path.join(folder, name + SUFFIX)
    new = os.path.join(folder, f".{name}{_NEW}")
    fd = _opened(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    lock = -1
    try:
        # Two descriptors: a mapping keeps the one that it was made of, and with it a lock.
        lock = _opened(new, os.O_RDWR)
        _lock(lock)
        # Writing to a mapped page for which the disk has no room would kill the process.
        _allocate(fd, size)
        memory = mmap.mmap(fd, size)
        begin(memory)
        os.rename(new, path)
    except BaseException:
        if lock >= 0:
            os.close(lock)
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    finally:
        os.close(fd)
    return SpoolFile(path, memory, lock)


def paths(folder: str, suffix: str = SUFFIX) -> list[str]:
    """Return the spools of a folder that are ours to read, the oldest first. Raises `OSError`."""
    found: list[tuple[int, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode) or os.geteuid() not in (0, status.st_uid):
                    continue  # what others leave there is not ours to deliver
                if entry.name.endswith(suffix):
                    found.append((status.st_ctime_ns, entry.path))
                elif entry.name.endswith(_NEW) and time.time() - status.st_mtime > _STALE_S:
                    os.unlink(entry.path)
    return [path for _, path in sorted(found)]


def left_behind(folder: str) -> Iterator[SpoolFile]:
    """Iterate the spools that nobody holds, the oldest first, each of them locked for the caller.

    Raises `OSError` if the folder cannot be read.
    """
    for path in paths(folder):
        file = take(path)
        if file is not None:
            yield file


def take(path: str) -> SpoolFile | None:
    """Lock a spool; return None while somebody else holds it, or if it is gone."""
    try:
        lock = _opened(path, os.O_RDWR)
    except OSError:
        return None
    try:
        _lock(lock)
        # Another one may have delivered and removed it between the two lines above.
        if os.stat(path).st_ino == os.fstat(lock).st_ino:
            return SpoolFile(path, _mapped(path), lock)
    except OSError:
        pass
    os.close(lock)
    return None


def look(path: str) -> tuple[mmap.mmap, bool]:
    """Return a spool's memory, to read only, and whether somebody holds it. Raises `OSError`.

    Who asks for the lock in the same moment may be refused.
    """
    memory = _mapped(path)
    file = take(path)
    if file is not None:
        file.close()
    return memory, file is None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _allocate(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    for start in range(0, size, _PIECE):
        os.pwrite(fd, bytes(min(_PIECE, size - start)), start)


def _lock(fd: int) -> None:
    if fcntl is None:
        raise OSError("this system has no file locks that end with their process")
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _mapped(path: str) -> mmap.mmap:
    """Return a file's memory, to read only; a page of zeros for an empty one, which is no spool."""
    fd = _opened(path, os.O_RDONLY)
    try:
        if not os.fstat(fd).st_size:
            return mmap.mmap(-1, mmap.PAGESIZE)
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)
