"""Live events and trees inside the traced process itself: no relay, no network.

The recording thread only appends bytes and, when somebody waits, wakes that loop once. Decoding and
tree building happen in the subscriber, when it asks.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError, LuminaError
from lumina_stream.model.events import Fact
from lumina_stream.model.limits import EVENT_OVERHEAD
from lumina_stream.model.live import LiveTraces, Update
from lumina_stream.model.tree import TraceTree
from lumina_stream.recording.recorder import Recorder


class Subscription:
    """What `subscribe()` returns: use it with `async with` and `async for`, or `with` and `poll()`.

    Each step yields an `Update`: the facts that came and the spans that they changed. `traces` holds
    the trees so far, by trace id. It sees what is recorded while it is open.
    """

    def __init__(self, recorder: Recorder, *, keep_finished: int = 1_000) -> None:
        self._recorder = recorder
        self._live = LiveTraces(keep_finished=keep_finished)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._seq = 0
        self._missed = 0
        self._missed_told = 0
        self._notify: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._open = False

    @property
    def traces(self) -> dict[str, TraceTree]:
        """Return the trees by trace id, as of the last update."""
        return self._live.traces

    @property
    def missed(self) -> int:
        """Return how many events this subscription was too slow for, in all."""
        return self._missed

    def poll(self) -> Update:
        """Take in what has been recorded since the last time, without waiting."""
        facts: list[Fact] = []
        recorder = self._recorder
        recorder.queue.send_due()
        while True:
            try:
                data = self._waiting.popleft()
            except IndexError:
                break
            size = len(data) + EVENT_OVERHEAD
            self._bytes -= size  # no call inside: other threads add to it
            self._seq += 1
            try:
                event = codec.decode(data)
            except DecodeError:  # a value that our own encoder wrote and our decoder refuses
                self._missed += 1
                continue
            facts.append(Fact(self._seq, recorder.producer_id, self._seq, recorder.service, event))
        update = self._live.apply(facts)
        missed, self._missed_told = self._missed - self._missed_told, self._missed
        if missed:
            update = Update(update.facts, update.changes, update.restarted, missed)
        return update

    def __enter__(self) -> Subscription:
        with self._lock:
            if not self._open:
                self._open = True
                queue = self._recorder.queue
                queue.taps = (*queue.taps, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop receiving; what has come is kept, and a waiting `async for` ends."""
        with self._lock:
            if self._open:
                self._open = False
                queue = self._recorder.queue
                queue.taps = tuple(tap for tap in queue.taps if tap != self._take)
        notify = self._notify
        if notify is not None:
            notify()

    async def __aenter__(self) -> Subscription:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        if not self._open and not self._waiting:
            raise LuminaError(
                "open the subscription first: `async with lumina.subscribe() as live:`"
            )
        return self

    async def __anext__(self) -> Update:
        import anyio  # at first use, so that importing the package stays light

        while True:
            update = self.poll()
            if update.facts or update.missed:
                return update
            if not self._open:
                raise StopAsyncIteration
            event = anyio.Event()
            self._notify = _waker(event)
            try:
                # What came between the poll and here set no event: look once more before waiting.
                if not self._waiting and self._open:
                    await event.wait()
                else:
                    await anyio.lowlevel.checkpoint()
            finally:
                self._notify = None

    def _take(self, data: bytes) -> None:
        size = len(data) + EVENT_OVERHEAD
        if self._bytes + size > self._recorder.limits.subscription_bytes:
            self._missed += 1
        else:
            self._bytes += size
            self._waiting.append(data)
        notify = self._notify
        if notify is not None:
            self._notify = None
            notify()


def _waker(event: Any) -> Callable[[], None]:
    """Return a function that sets the event from any thread, without waiting."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        token = trio.lowlevel.current_trio_token()

        def wake() -> None:
            try:
                token.run_sync_soon(event.set)
            except trio.RunFinishedError:
                pass
    else:
        import asyncio

        loop = asyncio.get_running_loop()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop is closed
                pass

    return wake
