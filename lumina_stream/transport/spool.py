"""The queue of a program with a spool: what a recording call that returned has recorded outlives it.

The events are in a mapped file instead of in memory. A killed process loses nothing of it: the pages
are the system's. (A machine that loses power may lose them.) Admission and the counting of losses are
those of the memory queue, and the counts are in the file too.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from lumina_stream import spool_folder
from lumina_stream.model import limits
from lumina_stream.model.codec import encode
from lumina_stream.model.events import EventsLost
from lumina_stream.protocol import frames
from lumina_stream.protocol.spool import (
    LOST_TYPES,
    RESERVE,
    Identity,
    Ring,
    capacity_for,
    layout_for,
)
from lumina_stream.recording.queue import OTHER, EventQueue, Losses, LossLedger
from lumina_stream.spool_folder import SpoolFile

_WIPE_ON_FORK = 18
"""MADV_WIPEONFORK, which `mmap` does not name (Linux 4.14)."""
_SHUT = b"\0"
_KINDS = {event_type: kind for kind, event_type in enumerate(LOST_TYPES)}


class SpoolQueue(EventQueue):
    """An `EventQueue` in a file of `folder`. `open` makes the file, or else the first event does.

    Without one (the folder cannot be written, the disk is full) the same ring is in memory alone,
    and `problem` says why.
    """

    __slots__ = (
        "_closed",
        "_early",
        "_file",
        "_gate",
        "_hello",
        "_lock",
        "_opener",
        "_pid",
        "_queue_bytes",
        "_ring",
        "_spooled_losses",
        "folder",
        "problem",
    )

    def __init__(self, folder: str, queue_bytes: int = limits.QUEUE_BYTES) -> None:
        super().__init__(capacity_for(queue_bytes))
        self._spooled_losses = SpooledLosses(self._prepare, self._own_ring)
        self.losses = self._spooled_losses
        self.problem = ""
        """Why there is no file."""
        self.folder = folder
        self._queue_bytes = queue_bytes
        self._hello = frames.Hello("", "", 1)
        self._pid = os.getpid()
        self._ring: Ring | None = None
        self._file: SpoolFile | None = None
        self._gate: Any = _SHUT
        """Its first byte is 0 while the ring is not to be written: not yet, not any more, not by us."""
        self._lock = threading.RLock()
        self._opener = 0
        """The thread that makes the file."""
        self._closed = False
        self._early: list[bytes] = []

    # --- where events come in ------------------------------------------------------------------

    def admit(self, event: bytes, bound: int) -> bool:
        """Append an encoded event unless it would exceed `bound`; return whether it was taken."""
        if not self._gate[0]:
            return self._admit_specially(event, bound)
        ring = self._ring
        if ring is None or not ring.append(event, bound):
            return False
        for tap in self.taps:
            tap(event)
        if self.idle:
            self.idle = False
            self.wake()
        return True

    def _admit_specially(self, event: bytes, bound: int) -> bool:
        if self._closed:
            return False
        if self._pid != os.getpid():  # cloned without Python's fork hooks: the file is the parent's
            self._early.append(event)
            self.wake()
            return True
        if self._opener == threading.get_ident():  # a signal handler or a finalizer, inside `open`
            self._early.append(event)
            return True
        self.open()
        return self.admit(event, bound)

    # --- the file ------------------------------------------------------------------------------

    def begin(self, hello: frames.Hello) -> None:
        """Say whose events these are, before the first of them."""
        self._hello = hello

    def open(self) -> None:
        """Make the file. Never raises: without it the events are in memory, and `problem` says why.

        Without memory either, everything is refused.
        """
        with self._lock:  # other threads wait here for a moment, rather than lose their first event
            if self._ring is not None or self._closed:
                return
            self._opener = threading.get_ident()
            try:
                try:
                    ring, gate = self._make(), _gate()
                except OSError as error:
                    self.problem = f"no spool, and no memory for the events either: {error}"
                    self._closed = True
                    return
                while self._early:
                    ring.append(self._early.pop(0), self.ends_bound)
                # No call since it was seen to be empty: what a handler adds now goes to the ring.
                self._ring = ring
                self._gate = gate
            finally:
                self._opener = 0
        self._spooled_losses.begin(ring)

    def warn(self) -> None:
        """Say it if there is no file."""
        if self.problem:
            import logging

            logging.getLogger("lumina_stream").warning("lumina-stream: %s", self.problem)

    def _make(self) -> Ring:
        identity = Identity(self._hello, time.time_ns())
        layout = layout_for(self._queue_bytes, identity)
        made: list[Ring] = []

        def begin(memory: mmap.mmap) -> None:
            made.append(Ring(memory, layout, identity))

        try:
            name = self._hello.producer_id
            self._file = spool_folder.create(self.folder, name, layout.size, begin)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            self.problem = (
                f"no spool in {self.folder} ({reason or error}): events are in memory alone"
            )
            begin(mmap.mmap(-1, layout.size))
        return made[-1]

    def _prepare(self) -> None:
        """Make the file if it must be, for what is written to it beside the events."""
        if self._ring is not None or self._closed or self._opener == threading.get_ident():
            return
        if self._pid == os.getpid():
            self.open()

    def _own_ring(self) -> Ring | None:
        return self._ring if self._gate[0] else None

    # --- where they go out ---------------------------------------------------------------------

    @property
    def spool(self) -> str:
        """Return what a `hello` says of a spool."""
        return "" if self._file is None else frames.KEPT

    @property
    def path(self) -> str:
        """Return where the file is; empty if there is none."""
        return "" if self._file is None else self._file.path

    def figures(self) -> dict[str, Any]:
        """Return what it adds to `statistics()`."""
        size = 0 if self._ring is None else self._ring.size
        return {"spool": self.path, "spool_bytes": size, "spool_problem": self.problem}

    @property
    def pending(self) -> int:
        """Return how many events were not taken out."""
        return 0 if self._ring is None else self._ring.pending

    @property
    def reportable(self) -> bool:
        """Tell whether there are losses that were not reported yet, and room for their report."""
        ring = self._ring
        return ring is not None and self.losses.pending and ring.used <= ring.capacity

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the bound that are not free."""
        return 0 if self._ring is None else self._ring.used

    def drain(self, most: int) -> list[bytes]:
        """Take out up to `most` events; they stay in the file until they are released."""
        return [] if self._ring is None else self._ring.take(most)

    def release(self, upto: int, size: int) -> None:
        """Let go of the events up to a seq, which are stored."""
        if self._ring is not None:
            self._ring.release(upto)

    def report_losses(self, now_ns: int) -> None:
        """Put a report of what was refused among the events, as soon as there is room for it."""
        ring = self._ring
        if ring is None or not self.losses.pending or ring.used > ring.capacity:
            return  # the file has the counts meanwhile
        report, mark = self._spooled_losses.take_marked(ring, now_ns)
        ring.append(encode(report), ring.capacity + RESERVE, mark)

    def renamed(self, producer_id: str, nonce: str) -> None:
        """Take note that the events are another producer's from now on, numbered from 1."""
        identity = {"producer_id": producer_id, "nonce": nonce}
        self._hello = msgspec.structs.replace(self._hello, **identity)
        if self._ring is not None:
            self._ring.rename(self._hello)

    # --- its end -------------------------------------------------------------------------------

    def leave(self, *, delivered: bool) -> None:
        """End the file: it goes if everything in it is stored, otherwise it says that we ended."""
        with self._lock:
            self._closed = True
            if self._ring is not None:
                self._ring.close()
            if self._file is not None:
                if delivered:
                    self._file.remove()
                else:
                    self._file.close()

    def inherited(self) -> list[bytes]:
        """Return what was recorded before it was noticed that this process is a clone."""
        return self._early

    def close(self) -> None:
        """Refuse everything from now on, uncounted: for the child of a fork, whose file it is not."""
        super().close()
        self._closed = True
        self._gate = _SHUT
        self._ring = None
        spool_folder.forget_all()


class SpooledLosses(LossLedger):
    """A ledger that has its counts in the spool as well: what was refused is known after a crash."""

    __slots__ = ("_bank", "_next_place", "_own_ring", "_places", "_prepare")

    def __init__(self, prepare: Callable[[], None], own_ring: Callable[[], Ring | None]) -> None:
        super().__init__()
        self._prepare = prepare
        self._own_ring = own_ring
        self._bank = 0
        self._places: dict[str, int] = {}
        self._next_place = 0

    def count(self, event_type: str, trace_id: str, time_ns: int, reason: str, n: int = 1) -> None:
        """Count `n` lost events of one type and trace."""
        self._prepare()  # before the lock: making the file takes one too
        super().count(event_type, trace_id, time_ns, reason, n)

    def begin(self, ring: Ring) -> None:
        """Write what was counted before there was a file."""
        with self._lock:
            since = self._since
            for trace_id in tuple(since.by_trace):
                for event_type in tuple(since.by_type):
                    self._write(ring, since, event_type, trace_id)

    def take_marked(self, ring: Ring, now_ns: int) -> tuple[EventsLost, int]:
        """Return what was lost since the last call, and the mark with which to append it."""
        with self._lock:
            bank = self._bank
            ring.open_bank(1 - bank)
            fresh = Losses()
            places: dict[str, int] = {}
            # From here on no call.
            lost, self._since = self._since, fresh
            self._bank = 1 - bank
            self._places = places
            self._next_place = 0
        return lost.report(now_ns), ring.mark_of(bank)

    def _counted(self, since: Losses, event_type: str, trace_id: str) -> None:
        ring = self._own_ring()
        if ring is not None:
            self._write(ring, since, event_type, trace_id)

    def _write(self, ring: Ring, since: Losses, event_type: str, trace_id: str) -> None:
        kind = _KINDS.get(event_type, len(LOST_TYPES))
        ring.note_type(self._bank, kind, since.by_type, event_type)
        ring.note_times(self._bank, since.first_ns, since.last_ns, since.reason)
        if trace_id == OTHER:
            place = limits.LOSS_TRACES
        else:
            if trace_id not in self._places:
                self._places[trace_id] = self._next_place
                self._next_place += 1
            place = self._places[trace_id]
        ring.note_trace(self._bank, place, since.by_trace, trace_id)


def _gate() -> Any:
    """Return a byte that is 1 here, and 0 in every process that is forked from this one."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return b"\1"
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page[0] = 1
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:
        pass
    return page
