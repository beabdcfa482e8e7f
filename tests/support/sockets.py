"""A producer's connection to a relay of the same process, of which the test holds the other end."""

import asyncio
from collections.abc import Callable

from lumina_stream.relay.sockets import Gone


class FakeSocket:
    """A socket in memory, of which the test holds the other end."""

    def __init__(self) -> None:
        self.to_relay: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.to_peer: asyncio.Queue[bytes | str] = asyncio.Queue()

    async def receive(self) -> bytes:
        data = await self.to_relay.get()
        if data is None:
            raise Gone
        return data

    async def send(self, data: bytes | str) -> None:
        self.to_peer.put_nowait(data)

    async def close(self, code: int, reason: str = "") -> None:
        self.to_relay.put_nowait(None)

    def abort(self) -> None:
        self.to_relay.put_nowait(None)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.001)
