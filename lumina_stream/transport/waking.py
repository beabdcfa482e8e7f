"""What threads wait on here: bare locks, because they are set from signal handlers and finalizers too."""

from __future__ import annotations

import _thread
import contextlib
import os
import time


class Alarm:
    """An event that may be set from anywhere, a signal handler included: `threading.Event` takes locks."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let the one that waits, or the next one that does, go on."""
        with contextlib.suppress(RuntimeError):
            self._lock.release()

    def clear(self) -> None:
        """Forget a `set` that nobody waited for."""
        self._lock.acquire(blocking=False)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, which it then is no longer; return whether it was in time."""
        return self._lock.acquire(timeout=max(0.0, timeout_s))


class FlushRequest:
    """A thread that waits until what it recorded is stored."""

    __slots__ = ("_alarm", "target")

    def __init__(self) -> None:
        self.target: int | None = None
        """The seq to wait for; None until what was recorded before has one."""
        self._alarm = Alarm()

    def wait(self, timeout_s: float) -> bool:
        """Wait until `done`; return whether it was in time."""
        return self._alarm.wait(timeout_s)

    def done(self) -> None:
        """Let the thread go on."""
        self._alarm.set()


def await_thread_exit(thread_id: int) -> None:
    """Wait until the system has forgotten a thread that has returned: fork counts them there."""
    path = f"/proc/self/task/{thread_id}"
    for _ in range(1000):
        if not thread_id or not os.path.exists(path):
            return
        time.sleep(0.0001)
