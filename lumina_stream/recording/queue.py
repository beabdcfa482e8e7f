"""The queue between the program and its exporter: bounded in bytes, and never in the way.

Appending neither waits nor locks. Admission is decided by thresholds, so that under pressure the
bulky goes first and the end of an admitted span goes last; every refusal is counted by type and by
trace, and reported as an `events_lost` event.

Why `used` needs no lock: between reading and writing it there is no call, no backward jump and no
allocation of a container, so the interpreter does not switch threads there.
"""

import threading
from collections import deque
from collections.abc import Callable

from lumina_stream.model import limits
from lumina_stream.model.events import EventsLost

OTHER = "other"


def _nobody() -> None:
    """Stand in for a reader that is not there yet."""


class LossLedger:
    """Count what was refused: since the last report, and in all."""

    __slots__ = (
        "_by_trace",
        "_by_type",
        "_first_ns",
        "_last_ns",
        "_lock",
        "_reason",
        "total",
        "totals",
    )

    def __init__(self) -> None:
        # Re-entrant: a signal handler or a collected span may record inside `count`.
        self._lock = threading.RLock()
        self.total = 0
        self.totals: dict[str, int] = {}
        self._clear()

    def count(self, event_type: str, trace_id: str, time_ns: int, reason: str, n: int = 1) -> None:
        """Count `n` lost events of one type and trace."""
        with self._lock:
            self.total += n
            self.totals[event_type] = self.totals.get(event_type, 0) + n
            self._by_type[event_type] = self._by_type.get(event_type, 0) + n
            if trace_id not in self._by_trace and len(self._by_trace) >= limits.LOSS_TRACES:
                trace_id = OTHER
            self._by_trace[trace_id] = self._by_trace.get(trace_id, 0) + n
            self._first_ns = self._first_ns or time_ns
            self._last_ns = time_ns
            self._reason = reason

    @property
    def pending(self) -> bool:
        """Tell whether there is a loss that was not reported yet."""
        return bool(self._by_type)

    def take(self, now_ns: int) -> EventsLost | None:
        """Return what was lost since the last call as an event, None if nothing was."""
        with self._lock:
            if not self._by_type:
                return None
            lost = EventsLost(
                now_ns,
                self._reason,
                sum(self._by_type.values()),
                self._by_type,
                self._by_trace,
                True,
                self._first_ns,
                self._last_ns,
            )
            self._clear()
            return lost

    def _clear(self) -> None:
        self._by_type: dict[str, int] = {}
        self._by_trace: dict[str, int] = {}
        self._first_ns = self._last_ns = 0
        self._reason = "queue_full"


class EventQueue:
    """Hold encoded events until the exporter has taken them and the relay has stored them.

    `used` counts bytes, overhead and unacknowledged events included. The bounds are bytes above
    which `admit` refuses.
    """

    __slots__ = (
        "attributes_bound",
        "ends_bound",
        "events",
        "idle",
        "losses",
        "reading",
        "starts_bound",
        "taps",
        "text_bound",
        "used",
        "wake",
    )

    def __init__(self, queue_bytes: int = limits.QUEUE_BYTES, *, reading: bool = True) -> None:
        self.used = 0
        self.events: deque[bytes] = deque()
        self.losses = LossLedger()
        self.reading = reading
        """Whether somebody takes events out; False records for subscriptions alone."""
        self.taps: tuple[Callable[[bytes], None], ...] = ()
        self.idle = True
        """Whether the reader sleeps and wants `wake` to be called, once."""
        self.wake: Callable[[], None] = _nobody
        self.text_bound = int(queue_bytes * limits.THRESHOLD_TEXT)
        self.attributes_bound = int(queue_bytes * limits.THRESHOLD_ATTRIBUTES)
        self.starts_bound = int(queue_bytes * limits.THRESHOLD_STARTS)
        self.ends_bound = queue_bytes

    def admit(self, event: bytes, bound: int) -> bool:
        """Append an encoded event unless it would exceed `bound`; return whether it was taken."""
        if self.reading:
            size = len(event) + limits.EVENT_OVERHEAD
            used = self.used + size
            if used > bound:
                return False
            self.used = used
            self.events.append(event)
        for tap in self.taps:
            tap(event)
        if self.idle:
            self.idle = False
            self.wake()
        return True

    def release(self, size: int) -> None:
        """Give back the bytes of events that are stored (overhead included)."""
        self.used -= size

    def drain(self, most: int) -> list[bytes]:
        """Take out up to `most` events; they stay counted in `used` until they are released."""
        taken: list[bytes] = []
        take, keep = self.events.popleft, taken.append
        try:
            for _ in range(most):
                keep(take())
        except IndexError:
            pass
        return taken

    def close(self) -> None:
        """Refuse everything from now on, uncounted: for the child of a fork."""
        self.text_bound = self.attributes_bound = self.starts_bound = self.ends_bound = -1
        self.reading = True
        self.taps = ()
        self.events = deque()
