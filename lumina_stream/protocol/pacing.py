"""How fast one client may send: bytes a second with some in advance, and the pause that is due. Pure.

What has come is never refused: who went too fast is told to pause until the mean is right again.
Seconds are any monotonic ones.
"""


class Pace:
    """The rate of one client, over all of its connections. `rate` is bytes a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at_s: float | None = None

    def took(self, size: int, now_s: float) -> float:
        """Note that bytes came; return for how many seconds nothing more should come, 0 if it may."""
        self._refill(now_s)
        self._left -= size
        return self._due()

    def due_s(self, now_s: float) -> float:
        """Return for how many seconds nothing should come, as of now."""
        self._refill(now_s)
        return self._due()

    def _refill(self, now_s: float) -> None:
        if self._at_s is not None and now_s > self._at_s:
            self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s

    def _due(self) -> float:
        return max(0.0, -self._left / self._rate)
