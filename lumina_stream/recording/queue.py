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
from typing import Protocol

from lumina_stream.model import limits
from lumina_stream.model.codec import encode
from lumina_stream.model.events import EventsLost
from lumina_stream.model.limits import EVENT_OVERHEAD

OTHER = "other"


def _nobody() -> None:
    """Stand in for a reader that is not there yet."""


class Losses:
    """What was lost since the last report."""

    __slots__ = ("by_trace", "by_type", "first_ns", "last_ns", "reason")

    def __init__(self) -> None:
        self.by_type: dict[str, int] = {}
        self.by_trace: dict[str, int] = {}
        self.first_ns = self.last_ns = 0
        self.reason = "queue_full"

    def report(self, now_ns: int) -> EventsLost:
        """Return it as an event."""
        return EventsLost(
            now_ns,
            self.reason,
            sum(self.by_type.values()),
            self.by_type,
            self.by_trace,
            True,
            self.first_ns,
            self.last_ns,
        )


class LossLedger:
    """Count what was refused: since the last report, and in all.

    A signal handler or a collected span may record, and be refused, inside any call made here, on
    the same thread: hence the re-entrant lock, and no call between reading and writing a number.
    """

    __slots__ = ("_lock", "_since", "total", "totals")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._since = Losses()
        self.total = 0
        self.totals: dict[str, int] = {}

    def count(self, event_type: str, trace_id: str, time_ns: int, reason: str, n: int = 1) -> None:
        """Count `n` lost events of one type and trace."""
        with self._lock:
            since, totals = self._since, self.totals
            by_type, by_trace = since.by_type, since.by_trace
            if trace_id not in by_trace and len(by_trace) >= limits.LOSS_TRACES:
                trace_id = OTHER
            # From here on no call.
            self.total += n
            if event_type not in totals:
                totals[event_type] = 0
            totals[event_type] += n
            if event_type not in by_type:
                by_type[event_type] = 0
            by_type[event_type] += n
            if trace_id not in by_trace:
                by_trace[trace_id] = 0
            by_trace[trace_id] += n
            since.first_ns = since.first_ns or time_ns
            since.last_ns = time_ns
            since.reason = reason
            # Calls again.
            self._counted(since, event_type, trace_id)

    def _counted(self, since: Losses, event_type: str, trace_id: str) -> None:
        """Take note that a count of `since` has changed; the lock is held."""

    @property
    def pending(self) -> bool:
        """Tell whether there is a loss that was not reported yet."""
        return bool(self._since.by_type)

    def take(self, now_ns: int) -> EventsLost | None:
        """Return what was lost since the last call as an event, None if nothing was."""
        with self._lock:
            if not self._since.by_type:
                return None
            fresh = Losses()
            lost, self._since = self._since, fresh
        return lost.report(now_ns)


class Waiting(Protocol):
    """Something that holds pieces back for a moment; the queue's reader asks it to let go."""

    def send_due(self) -> None:
        """Put into the queue what has waited long enough. Called by any thread; never raises."""
        ...


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
        "waiting",
        "wake",
    )

    def __init__(self, queue_bytes: int = limits.QUEUE_BYTES, *, reading: bool = True) -> None:
        self.used = 0
        self.events: deque[bytes] = deque()
        self.losses = LossLedger()
        self.reading = reading
        """Whether somebody takes events out; False records for subscriptions alone."""
        self.taps: tuple[Callable[[bytes], None], ...] = ()
        self.waiting: set[Waiting] = set()
        """What has collected small pieces that are to leave in a moment, more or not."""
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
            size = len(event) + EVENT_OVERHEAD
            used = self.used + size
            if used > bound:
                return False
            self.used = used
            self.events.append(event)
        if self.taps:
            for tap in self.taps:
                tap(event)
        if self.idle:
            self.idle = False
            self.wake()
        return True

    def await_pieces(self, waiting: Waiting) -> None:
        """Have `send_due` called soon."""
        self.waiting.add(waiting)
        if self.reading and self.idle:
            self.idle = False
            self.wake()

    def send_due(self) -> None:
        """Ask what holds pieces back to let go of what has waited long enough."""
        for waiting in tuple(self.waiting):
            waiting.send_due()

    @property
    def pending(self) -> int:
        """Return how many events were not taken out."""
        return len(self.events)

    @property
    def reportable(self) -> bool:
        """Tell whether there are losses that were not reported yet, and room for their report."""
        return self.losses.pending

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the bound that are not free."""
        return self.used

    @property
    def spool(self) -> str:
        """Return what a `hello` says of a spool: nothing, these events are in memory alone."""
        return ""

    def release(self, upto: int, size: int) -> None:
        """Let go of the events up to a seq, which are stored: `size` bytes, overhead included."""
        self.used -= size

    def report_losses(self, now_ns: int) -> None:
        """Put a report of what was refused among the events, if there is something to report."""
        lost = self.losses.take(now_ns)
        if lost is not None:
            # From a reserve of its own: a report of loss is never itself refused.
            event = encode(lost)
            self.used += len(event) + EVENT_OVERHEAD
            self.events.append(event)

    def renamed(self, producer_id: str, nonce: str) -> None:
        """Take note that the events are another producer's from now on, numbered from 1."""

    def drain(self, most: int) -> list[bytes]:
        """Take out up to `most` events; they stay counted in `used` until they are released."""
        events = self.events
        take = events.popleft
        return [take() for _ in range(min(most, len(events)))]

    def leave(self, *, delivered: bool) -> None:
        """Take note that tracing ends; `delivered`: the relay has everything and knows of the end."""

    def inherited(self) -> list[bytes]:
        """Return what was recorded before it was noticed that this process is a clone."""
        return list(self.events)

    def close(self) -> None:
        """Refuse everything from now on, uncounted: for the child of a fork."""
        self.text_bound = self.attributes_bound = self.starts_bound = self.ends_bound = -1
        self.reading = True
        self.taps = ()
        self.events = deque()
        self.waiting = set()
