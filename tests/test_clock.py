"""One wall anchor, then a monotonic clock: time never jumps."""

import time

from lumina_stream.model.clock import Clock, suspend_counting_ns


def test_row_10_a_wall_clock_that_is_set_back_changes_nothing() -> None:
    """The wall clock is read once."""
    wall, ticks = [10**18], [500]
    clock = Clock(lambda: wall[0], lambda: ticks[0])
    assert clock.now() == 10**18 and clock.anchor_ns == 10**18 - 500
    wall[0] -= 3_600 * 10**9
    ticks[0] += 7
    assert clock.now() == 10**18 + 7


def test_the_real_clock_is_near_the_wall_clock_and_never_goes_back() -> None:
    """Between two readings of the wall clock, allowing for its slewing."""
    before = time.time_ns()
    clock = Clock()
    readings = [clock.now() for _ in range(100)]
    assert readings == sorted(readings)
    assert before - 10**9 < readings[0] < time.time_ns() + 10**9


def test_the_monotonic_clock_counts_suspend_where_the_system_can() -> None:
    """BOOTTIME on Linux; elsewhere what there is."""
    tick = suspend_counting_ns()
    first = tick()
    assert tick() >= first
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - first) < 10**9
