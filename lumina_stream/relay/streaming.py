"""`/v1/stream`: one producer's connection. It moves bytes; `Intake` decides, `Relay` acts."""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, assert_never

from starlette.websockets import WebSocket

from lumina_stream.model import limits
from lumina_stream.model.errors import DecodeError, RemoteProtocolError
from lumina_stream.protocol import frames
from lumina_stream.protocol.intake import (
    Accepted,
    Action,
    Alive,
    Closed,
    Ended,
    Hold,
    Met,
    Missing,
    ProducerPeer,
    Reply,
)
from lumina_stream.protocol.pacing import Pace
from lumina_stream.protocol.wire import wire_for
from lumina_stream.relay.admission import is_reserved
from lumina_stream.relay.sockets import Gone, Peer, Socket

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

OUTBOX = 1_024
"""Frames waiting for one producer: acks are merged, so only one that provokes answers and reads
none gets there."""


class ProducerConnection:
    """A producer's connection: what came from it, and what waits to go to it."""

    def __init__(self, relay: "Relay", socket: Peer, peer: ProducerPeer) -> None:
        self._relay = relay
        self._socket = socket
        self.peer = peer
        self._outbox: deque[frames.RelayToProducer | Closed] = deque()
        self._work = asyncio.Event()
        self._hold_s = 0.0

    def reply(self, frame: frames.RelayToProducer) -> None:
        """Queue a frame for the producer."""
        outbox = self._outbox
        if outbox and isinstance(frame, frames.Ack) and isinstance(outbox[-1], frames.Ack):
            outbox[-1] = frame  # acks are cumulative
        elif len(outbox) >= OUTBOX:
            self._socket.abort()
        else:
            outbox.append(frame)
        self._work.set()

    def close(self, code: int, reason: str, frame: frames.Error | None = None) -> None:
        """Queue the end of the connection."""
        self._outbox.append(Closed(code, reason, frame))
        self._work.set()

    def abort(self) -> None:
        """End the connection at once."""
        self._socket.abort()

    async def run(self) -> None:
        """Serve the connection until it ends."""
        sender = asyncio.create_task(self._send())
        try:
            async with asyncio.timeout(limits.CONNECT_TIMEOUT_S):
                first = await self._socket.receive()
            self._take(first)
            while True:
                await self._relay.room()
                if self._hold_s:
                    hold_s, self._hold_s = self._hold_s, 0.0
                    await asyncio.sleep(hold_s)
                self._take(await self._socket.receive())
        except TimeoutError:
            self.close(1008, "no hello")
        except Gone:
            sender.cancel()
        except asyncio.CancelledError:
            sender.cancel()
            raise
        except (RemoteProtocolError, DecodeError) as error:
            code = getattr(error, "code", 1007)
            self._relay.log.warning("producer broke the protocol", error=str(error), code=code)
            self.close(code, str(error), frames.Error(str(error), "protocol"))
        finally:
            self.peer.disconnected()
            self._relay.attendance.disconnected(self)
            await asyncio.gather(sender, return_exceptions=True)

    def _take(self, data: bytes | str) -> None:
        for action in self.peer.receive(data, time.monotonic()):
            self._act(action)
        self._relay.attendance.heard(self)

    def _act(self, action: Action) -> None:
        match action:
            case Reply(frame):
                self._relay.counters.throttles += isinstance(frame, frames.Throttle)
                self.reply(frame)
            case Hold(pause_s):
                self._hold_s = pause_s
            case Accepted():
                self._relay.accepted(action)
            case Alive():
                self._relay.attendance.alive(action)
            case Met(hello):
                if is_reserved(hello.producer_id):
                    raise RemoteProtocolError("a producer id that only relays have", code=1008)
                self._relay.attendance.met(self, hello)
            case Missing():
                self._relay.attendance.missing(action)
            case Ended():
                self._relay.attendance.ending(self, action)
            case Closed():
                self._outbox.append(action)
                self._work.set()
            case _:
                assert_never(action)

    async def _send(self) -> None:
        wire, outbox = self.peer.wire, self._outbox
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                while outbox:
                    frame = outbox.popleft()
                    if isinstance(frame, Closed):
                        if frame.frame is not None:
                            await self._socket.send(wire.encode(frame.frame))
                        await self._socket.close(frame.code, frame.reason)
                        return
                    await self._socket.send(wire.encode(frame))
        except Gone:
            self._socket.abort()


async def stream(
    relay: "Relay", websocket: WebSocket, subprotocol: str | None, pace: Pace | None = None
) -> None:
    """Serve a producer's WebSocket until it ends; `pace`: how fast its client may send."""
    socket = Socket(websocket)
    try:
        await socket.accept(subprotocol)
    except Gone:
        return
    peer = relay.attendance.intake.peer(wire_for(subprotocol), pace)
    await ProducerConnection(relay, socket, peer).run()
