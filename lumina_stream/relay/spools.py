"""What dead programs left in their spools: who they are to the relay, and how it fetches it itself.

A spool is delivered over a connection as any producer's events are, under the id and seq of the
program that is gone. So the relay may do it too, from a folder of its own machine: the connection is
then a pair of queues.
"""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lumina_stream import spool_folder
from lumina_stream.model.errors import ConnectionEnded, DecodeError, RemoteProtocolError
from lumina_stream.process import new_identity
from lumina_stream.protocol import frames
from lumina_stream.protocol.leftover import Leftover
from lumina_stream.protocol.redelivery import Redelivery
from lumina_stream.relay.sockets import Gone
from lumina_stream.relay.streaming import ProducerConnection
from lumina_stream.spool_folder import SpoolFile

if TYPE_CHECKING:
    from lumina_stream.relay.attendance import Attendance
    from lumina_stream.relay.core import Relay

LOOK_S = 1.0
"""Between two looks into the folder: how soon what a killed program had not sent is to be seen."""


def is_left(hello: frames.Hello) -> bool:
    """Tell whether this is what a producer left behind, not the producer."""
    return hello.spool == frames.LEFT


def is_kept(hello: frames.Hello | None) -> bool:
    """Tell whether what a producer has not sent is in its spool: then it is not lost with it."""
    return hello is not None and bool(hello.spool)


def lasting(hello: frames.Hello) -> frames.Hello:
    """Return a hello without what changes from one connection to the next: that is not worth a record."""
    spool = frames.KEPT if hello.spool else ""
    return msgspec.structs.replace(hello, first_seq=1, wall_ns=0, mono_ns=0, spool=spool)


def met(attendance: "Attendance", hello: frames.Hello) -> None:
    """Take in the hello of what a producer left: it is dead, whoever speaks for it."""
    attendance.introduce(hello)
    attendance.liveness.ended(hello.producer_id)


class Spools:
    """Deliver into this relay what is left in a folder, for as long as the relay runs."""

    def __init__(self, relay: "Relay", folder: Path) -> None:
        self._relay = relay
        self._folder = str(folder)
        self._complained = ""

    async def run(self) -> None:
        """Look again and again."""
        await self._relay.ready.wait()
        while True:
            try:
                for file in spool_folder.left_behind(self._folder):
                    await self._deliver(file)
                self._complained = ""
            except FileNotFoundError:  # no program has made it yet
                pass
            except OSError as error:
                self._complain(f"the spool folder cannot be read: {error}")
            await asyncio.sleep(LOOK_S)

    async def _deliver(self, file: SpoolFile) -> None:
        log = self._relay.log
        try:
            leftover = Leftover(memoryview(file.memory), time.time_ns())
        except DecodeError as error:
            log.error("a spool cannot be read", file=file.set_aside(), error=str(error))
            return
        if not leftover.last_seq:  # nothing was recorded: nobody knows of it
            file.remove()
            return
        redelivery = Redelivery(leftover, new_identity)
        try:
            while not redelivery.done:
                await self._converse(redelivery)
                if not redelivery.done and not redelivery.renamed:
                    return  # the log refuses, say: it is looked at again
        finally:
            if redelivery.done:
                file.remove()
            else:
                file.close()
        log.info(
            "a spool was delivered",
            producer=leftover.hello.producer_id,
            service=leftover.hello.service,
            events=redelivery.delivered,
            damaged=leftover.damaged,
        )

    async def _converse(self, redelivery: Redelivery) -> None:
        pipe = _Pipe()
        connection = ProducerConnection(self._relay, pipe, self._relay.attendance.intake.peer())
        serving = asyncio.create_task(connection.run())
        code: int | None = None
        try:
            pipe.up.put_nowait(redelivery.connected())
            while isinstance(message := await pipe.down.get(), bytes):
                for frame in redelivery.receive(message):
                    pipe.up.put_nowait(frame)
                if redelivery.pause_s:
                    await asyncio.sleep(redelivery.pause_s)
                    for frame in redelivery.resumed():
                        pipe.up.put_nowait(frame)
            code = message
        except (ConnectionEnded, RemoteProtocolError) as error:
            self._complain(f"a spool could not be delivered: {error}")
        finally:
            redelivery.disconnected(code)
            pipe.up.put_nowait(None)
            await asyncio.gather(serving, return_exceptions=True)

    def _complain(self, message: str) -> None:
        if message != self._complained:  # once, not every second
            self._complained = message
            self._relay.log.error(message)


class _Pipe:
    """A connection within the process; see `Socket`."""

    def __init__(self) -> None:
        self.up: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.down: asyncio.Queue[bytes | int | None] = asyncio.Queue()

    async def receive(self) -> bytes | str:
        message = await self.up.get()
        if message is None:
            raise Gone
        return message

    async def send(self, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self.down.put_nowait(data)

    async def close(self, code: int, reason: str = "") -> None:
        self.down.put_nowait(code)

    def abort(self) -> None:
        self.down.put_nowait(None)
