"""Who is alive, as this machine sees it: watched processes, leases, and the relay's own pauses.

`Leases` decides; here is what it cannot see: pidfds, /proc, the clock. A process id means something
only together with the boot, the pid namespace and the start time of its process: all four must be
ours, or the producer is left to its lease.
"""

import asyncio
import os
from collections.abc import Callable

from lumina_stream.model import limits
from lumina_stream.process import boot_id, pid_namespace, process_start
from lumina_stream.protocol import frames
from lumina_stream.protocol.lease import Leases

TICK_S = 1.0
"""How often leases are looked at."""
PAUSE_S = 3 * TICK_S
"""A tick that comes later than this means that the relay did not run (a stopped process, a laptop's
lid): what it missed meanwhile says nothing about the producers."""
GRACE_S = 0.5
"""After a process ended with its connection still open (a child holds the socket), how long what it
sent may still arrive."""


class Watch:
    """Watch processes of this machine through pidfds, in the running event loop.

    `on_exit(producer_id)` is called once when the process of a producer is gone, be it reaped or not.
    """

    def __init__(self, on_exit: Callable[[str], None]) -> None:
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._fds: dict[str, int] = {}
        self._boot_id = boot_id()
        self._pid_namespace = pid_namespace()

    def is_local(self, hello: frames.Hello) -> bool:
        """Tell whether a producer's process id means something here."""
        return (
            hello.pid > 0
            and hello.process_start > 0
            and bool(self._boot_id)
            and hello.boot_id == self._boot_id
            and hello.pid_namespace == self._pid_namespace
        )

    def start(self, hello: frames.Hello) -> bool | None:
        """Watch a producer's process; return True if it is watched, False if it is gone already,

        and None if it cannot be watched: of another machine, or no pidfd to be had.
        """
        if hello.producer_id in self._fds:
            return True
        if not self.is_local(hello) or not hasattr(os, "pidfd_open"):
            return None
        try:
            fd = os.pidfd_open(hello.pid)
        except ProcessLookupError:
            return False
        except OSError:
            return None
        # Only now is the id pinned to one process: is it the one that said hello?
        if process_start(hello.pid) != hello.process_start:
            os.close(fd)
            return False
        self._fds[hello.producer_id] = fd
        self._loop.add_reader(fd, self._exited, hello.producer_id)
        return True

    def stop(self, producer_id: str) -> None:
        """Watch no longer."""
        fd = self._fds.pop(producer_id, None)
        if fd is not None:
            self._loop.remove_reader(fd)
            os.close(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        for producer_id in list(self._fds):
            self.stop(producer_id)

    def __len__(self) -> int:
        return len(self._fds)

    def _exited(self, producer_id: str) -> None:
        self.stop(producer_id)
        self._on_exit(producer_id)


class Liveness:
    """Turn what is seen of producers into `lost(producer_id)` and `returned(producer_id)`.

    `grace(producer_id)` is called when a process ended and its connection did not.
    """

    def __init__(
        self,
        lost: Callable[[str], None],
        returned: Callable[[str], None],
        grace: Callable[[str], None],
        *,
        lease_s: float = limits.LEASE_S,
    ) -> None:
        self._lost = lost
        self._returned = returned
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._leases = Leases(lease_s)
        self._connected: set[str] = set()
        self._ticked: float | None = None
        self.watch = Watch(self._died)

    def connected(self, hello: frames.Hello) -> None:
        """Note a producer's connection."""
        producer_id = hello.producer_id
        watched = self.watch.start(hello)
        self._connected.add(producer_id)
        if self._leases.connected(producer_id, self._loop.time(), watched=watched is not None):
            self._returned(producer_id)
        if watched is False:
            self._died(producer_id)

    def heard(self, producer_id: str) -> None:
        """Note a sign of life."""
        self._leases.heard(producer_id, self._loop.time())

    def disconnected(self, producer_id: str) -> None:
        """Note the end of a producer's connection."""
        self._connected.discard(producer_id)
        if self._leases.disconnected(producer_id, self._loop.time()):
            self._lost(producer_id)

    def ended(self, producer_id: str) -> None:
        """Note a `bye`."""
        self._connected.discard(producer_id)
        self.watch.stop(producer_id)
        self._leases.ended(producer_id)

    def restored(self, hello: frames.Hello) -> None:
        """Take over a producer that was alive when the relay last ran."""
        watched = self.watch.start(hello)
        now = self._loop.time()
        self._leases.restored(hello.producer_id, now, watched=watched is not None)
        if watched is False:
            self._died(hello.producer_id)

    def restored_unknown(self, producer_id: str) -> None:
        """Take over a producer of which nothing but its id is known: its lease starts anew."""
        self._leases.restored(producer_id, self._loop.time(), watched=False)

    def tick(self) -> None:
        """Look at the leases; call it every `TICK_S`."""
        now = self._loop.time()
        if self._ticked is not None and now - self._ticked > PAUSE_S:
            self._leases.paused(now)
        self._ticked = now
        for producer_id in self._leases.expired(now):
            self._lost(producer_id)

    def silent(self) -> list[str]:
        """Return the connected producers that have said nothing for a while."""
        return self._leases.silent(self._loop.time())

    @property
    def connections(self) -> int:
        """Return how many producers are connected."""
        return len(self._connected)

    def close(self) -> None:
        """Watch nothing any more."""
        self.watch.close()

    def _died(self, producer_id: str) -> None:
        if self._leases.died(producer_id):
            self._lost(producer_id)
        elif producer_id in self._connected:
            self._loop.call_later(GRACE_S, self._held, producer_id)

    def _held(self, producer_id: str) -> None:
        if producer_id in self._connected:
            self._grace(producer_id)
