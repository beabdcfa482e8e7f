"""A loop, a clock and a network that are made up: nothing waits, and a seed decides what happens when."""

import asyncio
import random
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from lumina_stream.model import limits
from lumina_stream.relay.sockets import Gone

BUFFER = 64_000
"""Bytes under way to one end before the other has to wait, as in a socket's buffers."""
EPOCH_NS = 1_700_000_000 * 10**9


class _Selector(selectors.SelectSelector):
    """Waits by moving the clock on."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is left that could ever happen")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio, in which work of other threads is done inline, after a while, and an hour is no time."""

    def __init__(self, rng: random.Random) -> None:
        self._virtual = _Selector()
        self._rng = rng
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s

    def now_ns(self) -> int:
        return EPOCH_NS + round(self.time() * 1e9)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = self.create_future()

        def do() -> None:
            if future.done():
                return
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self._rng.expovariate(200), do)
        return future

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Have the time of this loop be everybody's."""
        with (
            patch.object(time, "monotonic", self.time),
            patch.object(time, "time_ns", self.now_ns),
            patch.object(time, "monotonic_ns", self.now_ns),
            patch.object(time, "clock_gettime_ns", lambda _: self.now_ns()),
        ):
            yield


class End:
    """One end of a connection, as the relay's `Peer` and as its peers have it."""

    def __init__(self, rng: random.Random) -> None:
        self.other: End
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[bytes | str] = deque()
        self._buffered = 0
        self._arrives = 0.0
        self._changed = asyncio.Event()
        self.closed = False
        self._is_deaf = False

    async def receive(self) -> bytes | str:
        while not self._inbox:
            if self.closed:
                raise Gone
            self._changed.clear()
            await self._changed.wait()
        data = self._inbox.popleft()
        self._buffered -= len(data)
        self.other._changed.set()
        return data

    async def send(self, data: bytes | str) -> None:
        other = self.other
        try:
            async with asyncio.timeout(limits.HALF_OPEN_S):
                while other._buffered > BUFFER and not self.closed:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self.abort()
        if self.closed:
            raise Gone
        other._buffered += len(data)
        other._later(other._arrive, data)

    async def close(self, code: int, reason: str = "") -> None:
        """Everything that was sent arrives first."""
        self._end()
        self.other._later(self.other._end)

    def abort(self) -> None:
        self.cut(noticed_s=0)

    def cut(self, *, noticed_s: float) -> None:
        """End the connection here; what is under way is lost, and the other end notices later."""
        self._end()
        self._inbox.clear()
        self.other._is_deaf = self._is_deaf = True
        self._loop.call_later(noticed_s, self.other._end)

    def _later(self, do: Callable[..., None], *args: Any) -> None:
        # A stream: nothing overtakes anything, and the loop sorts what is due at one moment as it likes.
        self._arrives = max(self._arrives + 1e-7, self._loop.time() + self._rng.expovariate(500))
        self._loop.call_at(self._arrives, do, *args)

    def _arrive(self, data: bytes | str) -> None:
        if not self._is_deaf:
            self._inbox.append(data)
            self._changed.set()

    def _end(self) -> None:
        self.closed = True
        self._changed.set()


def connection(rng: random.Random) -> tuple[End, End]:
    """Return the two ends of a new connection."""
    near, far = End(rng), End(rng)
    near.other, far.other = far, near
    return near, far
