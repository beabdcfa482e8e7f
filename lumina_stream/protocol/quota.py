"""How many connections one client may have at once. Pure."""

from collections import Counter


class Quota:
    """Count connections by client; `most` of None lifts the bound. Clients are any keys."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._open: Counter[bytes] = Counter()

    def enter(self, client: bytes) -> bool:
        """Count one more connection of a client, unless it has too many; tell whether it may come in."""
        if self._most is not None and self._open[client] >= self._most:
            return False
        self._open[client] += 1
        return True

    def leave(self, client: bytes) -> None:
        """Count one connection less."""
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    @property
    def open(self) -> int:
        """Return how many connections there are."""
        return self._open.total()
