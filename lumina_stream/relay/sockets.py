"""One WebSocket of the relay: sends that end, whatever the peer does.

uvicorn waits without end for a peer that reads nothing, when it sends and when it closes. Here
every wait has a bound, after which the transport is aborted: what the peer still had coming is
dropped, and the peer reconnects and goes on where it stopped.
"""

import asyncio
import contextlib
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from lumina_stream.model import limits

PING_INTERVAL_S = 5.0
"""Between pings; with the time to answer below, a half-open peer is noticed within 15 s."""
PING_TIMEOUT_S = limits.HALF_OPEN_S
CLOSE_S = 2.0
"""How long a closing handshake may take."""

_KEY = "lumina_socket"


class Gone(Exception):
    """The peer's connection ended."""


class RelayLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, which does not wait a minute for a TLS handshake."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """Listen; whoever does not finish a handshake in time is dropped."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = limits.CONNECT_TIMEOUT_S
            options["ssl_shutdown_timeout"] = CLOSE_S
        return await super().create_server(*args, **options)


class RelayHttp(H11Protocol):
    """uvicorn's HTTP, which does not wait for ever for a first request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the peer a moment to say what it wants."""
        super().connection_made(transport)
        self.loop.call_later(limits.CONNECT_TIMEOUT_S, self._said_nothing)

    def _said_nothing(self) -> None:
        # Neither a request nor, by now, a WebSocket, which leaves this set.
        if self in self.connections and self.cycle is None:  # pyright: ignore[reportUnnecessaryComparison]
            self.transport.abort()


class RelayProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, with a handle on itself for the application, and an end to every wait."""

    def data_received(self, data: bytes) -> None:
        """Take in bytes; refuse a handshake that cannot be read, which uvicorn leaves open unanswered."""
        super().data_received(data)
        # The request came whole from the HTTP parser, which allows longer lines: no more of it follows.
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
            self.transport.close()

    async def run_asgi(self) -> None:
        """Run the application; afterwards let nothing hold the connection open."""
        self.close_timeout = CLOSE_S
        self.scope["state"][_KEY] = self  # pyright: ignore[reportTypedDictNotRequiredAccess]
        await super().run_asgi()
        # Closing flushes first: a peer that reads nothing would keep it open for ever.
        self.loop.call_later(CLOSE_S, self.transport.abort)

    def send_now(self, data: bytes | str) -> None:
        """Write a message to a peer that takes them: what `send` does, without what stands before it.

        Raises `Gone` once either side has closed.
        """
        if self.disconnected or self.close_sent:
            raise Gone
        try:
            if isinstance(data, bytes):
                self.conn.send_binary(data)
            else:
                self.conn.send_text(data.encode())
        except InvalidState as error:
            raise Gone from error
        self.transport.write(b"".join(self.conn.data_to_send()))

    def keepalive_timeout(self) -> None:
        """Drop a peer that does not answer: there is nobody to say goodbye to."""
        super().keepalive_timeout()
        self.transport.abort()


class Peer(Protocol):
    """An open connection to somebody who speaks the protocol; `Socket` is the usual one."""

    async def receive(self) -> bytes | str:
        """Return the next message; raise `Gone` at the end."""
        ...

    async def send(self, data: bytes | str) -> None:
        """Send a message; raise `Gone` at the end."""
        ...

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection."""
        ...

    def abort(self) -> None:
        """End the connection at once."""
        ...


class Socket:
    """A WebSocket that was accepted or is about to be."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._protocol: RelayProtocol | None = websocket.scope.get("state", {}).get(_KEY)
        self._closing = False

    async def accept(self, subprotocol: str | None) -> None:
        """Complete the handshake."""
        try:
            await self._websocket.accept(subprotocol)
        except (ClientDisconnected, RuntimeError) as error:
            raise Gone from error

    async def receive(self) -> bytes | str:
        """Return the next message; raise `Gone` at the end."""
        message: Any = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise Gone
        data = message.get("bytes")
        return message["text"] if data is None else data

    async def _receive(self) -> Any:
        try:
            return await self._websocket.receive()
        except RuntimeError as error:
            raise Gone from error

    async def send(self, data: bytes | str) -> None:
        """Send a message; raise `Gone` at the end, or if the peer takes nothing for too long."""
        protocol = self._protocol
        if protocol is not None and protocol.writable.is_set():
            protocol.send_now(data)  # on the way of every frame to every viewer
            return
        message = {"type": "websocket.send", "bytes" if isinstance(data, bytes) else "text": data}
        try:
            async with asyncio.timeout(limits.HALF_OPEN_S):
                await self._websocket.send(message)
        except TimeoutError as error:
            self.abort()
            raise Gone from error
        except (ClientDisconnected, WebSocketDisconnect, RuntimeError) as error:
            raise Gone from error

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection, with force if the peer does not take part."""
        if self._closing:
            return
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_S):
                # A close frame holds 123 bytes of reason.
                await self._websocket.close(code, reason.encode()[:120].decode(errors="ignore"))
        except TimeoutError:
            self.abort()
        except (ClientDisconnected, WebSocketDisconnect, RuntimeError):
            pass

    def abort(self) -> None:
        """End the connection at once."""
        if self._protocol is not None:
            with contextlib.suppress(Exception):
                self._protocol.transport.abort()
