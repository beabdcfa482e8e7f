"""Who is alive: one lease a producer. Pure: the shell tells what it saw, and when.

Times are any monotonic seconds. A producer whose process is watched on this machine never runs out
of its lease: its death is seen. Any other one is lost when its connection has been gone for the
length of the lease. A connected producer that says nothing is silent, not lost.
"""

import msgspec

from lumina_stream.model import limits


class _Lease(msgspec.Struct):
    heard: float
    connected: bool = False
    watched: bool = False
    died: bool = False
    gone_since: float = 0.0
    lost: bool = False


class Leases:
    """Decide which producers are lost, returned or silent."""

    def __init__(self, lease_s: float = limits.LEASE_S, silent_s: float = limits.SILENT_S) -> None:
        self._lease_s = lease_s
        self._silent_s = silent_s
        self._leases: dict[str, _Lease] = {}

    def connected(self, producer_id: str, now: float, *, watched: bool) -> bool:
        """Note a connection; return True when the producer had been lost and now returned."""
        lease = self._leases.get(producer_id)
        returned = lease is not None and lease.lost
        self._leases[producer_id] = _Lease(now, connected=True, watched=watched)
        return returned

    def heard(self, producer_id: str, now: float) -> None:
        """Note a sign of life."""
        lease = self._leases.get(producer_id)
        if lease is not None:
            lease.heard = now

    def disconnected(self, producer_id: str, now: float) -> bool:
        """Note that the connection ended; return True when the producer is lost by that."""
        lease = self._leases.get(producer_id)
        if lease is None or not lease.connected:
            return False
        lease.connected, lease.gone_since = False, now
        return self._lose(lease) if lease.died else False

    def died(self, producer_id: str) -> bool:
        """Note that the process is gone; return True when the producer is lost by that.

        While its connection is open, what it sent may still be on its way: then the end of the
        connection decides.
        """
        lease = self._leases.get(producer_id)
        if lease is None:
            return False
        lease.died = True
        return False if lease.connected else self._lose(lease)

    def ended(self, producer_id: str) -> None:
        """Note a `bye`: there is nothing left to watch."""
        self._leases.pop(producer_id, None)

    def restored(self, producer_id: str, now: float, *, watched: bool, lost: bool = False) -> None:
        """Take over a producer after the relay was down: its lease starts anew."""
        self._leases[producer_id] = _Lease(now, watched=watched, gone_since=now, lost=lost)

    def paused(self, now: float) -> None:
        """Say that the relay itself did not run for a while: every lease starts anew."""
        for lease in self._leases.values():
            lease.heard = lease.gone_since = now

    def expired(self, now: float) -> list[str]:
        """Return the producers that are lost by now."""
        return [
            producer_id
            for producer_id, lease in self._leases.items()
            if not lease.connected
            and not lease.watched
            and now - lease.gone_since >= self._lease_s
            and self._lose(lease)
        ]

    def silent(self, now: float) -> list[str]:
        """Return the connected producers that have said nothing for a while."""
        return [
            producer_id
            for producer_id, lease in self._leases.items()
            if lease.connected and now - lease.heard >= self._silent_s
        ]

    def _lose(self, lease: _Lease) -> bool:
        if lease.lost:
            return False
        lease.lost = True
        return True
