"""A proxy in front of a relay that breaks connections, each in its own way, on asyncio."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

CHUNK = 1 << 16


class Fault(NamedTuple):
    """What happens to one connection; bytes are counted from the relay's side."""

    cut_at: int | None = None
    """Both sides are dropped after so many bytes."""
    hang_at: int | None = None
    """Nothing more comes through after so many bytes, and nobody is told: half-open."""
    twice_at: int | None = None
    """The chunk in which this byte is comes twice, which breaks any framing."""
    delay_s: float = 0.0
    """Every chunk comes so much later."""


class FaultProxy:
    """Pass connections on to a relay. `url` is where viewers or producers are to connect."""

    def __init__(self, target: str, next_fault: Callable[[], Fault | None]) -> None:
        """`next_fault` says what happens to the next connection; None: nothing."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._next_fault = next_fault
        self._serving: set[asyncio.Task[None]] = set()
        self.url = ""
        self.connections = 0
        self.broken = 0
        """Connections that the proxy has broken."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FaultProxy"]:
        """Listen, until the block ends."""
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _accepted(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio logs the cancelling of those that it makes of coroutines.
        task = asyncio.create_task(self._serve(near_in, near_out))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self.connections += 1
        fault = self._next_fault() or Fault()
        far_out: asyncio.StreamWriter | None = None
        try:
            far_in, far_out = await asyncio.open_connection(*self._target)
            up = asyncio.create_task(_pass_on(near_in, far_out))
            down = asyncio.create_task(self._bring(far_in, near_out, fault))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in (up, down):
                    one.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            pass  # no relay there
        finally:
            for writer in (near_out, far_out):
                if writer is not None:
                    writer.transport.abort()

    async def _bring(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, fault: Fault
    ) -> None:
        passed = 0
        while data := await source.read(CHUNK):
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            before, passed = passed, passed + len(data)
            for at, what in ((fault.cut_at, "cut"), (fault.hang_at, "hang")):
                if at is not None and passed >= at:
                    sink.write(data[: at - before])
                    await sink.drain()
                    self.broken += 1
                    if what == "hang":
                        await asyncio.Event().wait()
                    return
            sink.write(data)
            if fault.twice_at is not None and before <= fault.twice_at < passed:
                self.broken += 1
                sink.write(data)
            await sink.drain()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
