"""The relay's listening socket."""

import asyncio
import socket

from lumina_stream.relay import serve


def test_small_frames_do_not_wait_for_the_ack_of_the_last() -> None:
    """asyncio turns Nagle's algorithm off for what it takes for TCP; with it, each waits up to 40 ms."""

    class Taken(asyncio.Protocol):
        def __init__(self, accepted: "asyncio.Future[asyncio.Transport]") -> None:
            self.accepted = accepted

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self.accepted.set_result(transport)

    async def go() -> None:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[asyncio.Transport] = loop.create_future()
        with serve._listen("127.0.0.1", 0) as listener:
            server = await loop.create_server(lambda: Taken(accepted), sock=listener)
            with socket.create_connection(listener.getsockname()):
                transport = await accepted
                taken = transport.get_extra_info("socket")
                assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                transport.abort()
            server.close()

    asyncio.run(go())
