"""Wall-clock nanoseconds that never jump: one wall anchor plus a monotonic clock that counts suspend.

The anchor is read once. A wall clock that is set back an hour afterwards changes neither the order
nor the durations of what is recorded.
"""

import time
from collections.abc import Callable
from functools import partial

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def suspend_counting_ns() -> Callable[[], int]:
    """Return the monotonic clock that goes on while the machine sleeps, where there is one."""
    if _BOOTTIME is None:
        return time.monotonic_ns
    return partial(time.clock_gettime_ns, _BOOTTIME)  # no frame of Python's


class Clock:
    """Tell the time in nanoseconds since the Unix epoch, from one anchor.

    `wall` and `monotonic` are injectable for tests.
    """

    __slots__ = ("anchor_ns", "monotonic", "now")

    now: Callable[[], int]

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] | None = None,
    ) -> None:
        if monotonic is None:
            self.monotonic = suspend_counting_ns()
        else:
            self.monotonic = monotonic
        anchor = self.anchor_ns = wall() - self.monotonic()
        tick = self.monotonic

        def now() -> int:
            return anchor + tick()

        self.now = now
