"""Bring what dead processes left in a folder to a relay, over connections of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lumina_stream import spool_folder
from lumina_stream.model.errors import (
    ConnectionEnded,
    ConnectionFailed,
    DecodeError,
    RemoteProtocolError,
)
from lumina_stream.process import new_identity
from lumina_stream.protocol.leftover import Leftover
from lumina_stream.protocol.redelivery import Redelivery
from lumina_stream.spool_folder import SpoolFile
from lumina_stream.transport.endpoint import Endpoint


class Redeliverer:
    """Deliver, file by file, what is left in a folder whenever a relay is connected."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.events = 0
        """Events that this process brought to a relay."""
        self.files = 0
        """Spools that are done and gone."""
        self.last_error = ""

    def figures(self) -> dict[str, Any]:
        """Return what it adds to `statistics()`."""
        return {
            "redelivered": self.events,
            "redelivered_spools": self.files,
            "redelivery_error": self.last_error,
        }

    async def deliver_all(
        self, endpoint: Endpoint, token: str | None, address: tuple[str, int]
    ) -> None:
        """Deliver what there is now. What goes wrong is in `last_error`, and its file stays."""
        self.last_error = ""
        try:
            for file in spool_folder.left_behind(self._folder):
                await self._deliver(file, endpoint, token, address)
        except (OSError, ConnectionFailed) as error:
            self.last_error = str(error)

    async def _deliver(
        self, file: SpoolFile, endpoint: Endpoint, token: str | None, address: tuple[str, int]
    ) -> None:
        try:
            redelivery = read(file)
        except DecodeError as error:
            self.last_error = f"{file.set_aside()} cannot be read: {error}"
            return
        delivery = Delivery(redelivery, file)
        try:
            if not redelivery.done:
                await delivery.run(endpoint, token, address)
                self.files += 1
        except (ConnectionEnded, RemoteProtocolError) as error:  # the next file may do better
            self.last_error = str(error)
        finally:
            self.events += redelivery.delivered
            delivery.close()


class Delivery:
    """The delivery of one file."""

    def __init__(self, redelivery: Redelivery, file: SpoolFile) -> None:
        self.redelivery = redelivery
        self._file = file

    async def run(
        self,
        endpoint: Endpoint,
        token: str | None,
        address: tuple[str, int] | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Deliver until the relay has everything; `progress` is called as it goes on.

        Raises `ConnectionFailed`, `ConnectionEnded` and `RemoteProtocolError`.
        """
        from lumina_stream.transport.connection import connect

        redelivery = self.redelivery
        while not redelivery.done:
            code: int | None = None
            try:
                async with connect(
                    endpoint, "/v1/stream", token=token, address=address
                ) as connection:
                    await connection.send(redelivery.connected())
                    while True:
                        for frame in redelivery.receive(await connection.receive()):
                            await connection.send(frame)
                        if redelivery.pause_s:
                            import anyio  # some 50 ms of a program's start, for what is rare

                            await anyio.sleep(redelivery.pause_s)
                            for frame in redelivery.resumed():
                                await connection.send(frame)
                        progress()
            except ConnectionEnded as error:
                code = error.code
                redelivery.disconnected(code)
                if not redelivery.done and not redelivery.renamed:
                    raise

    def close(self) -> None:
        """Remove the file if it is done; otherwise let go of it, so that somebody goes on later."""
        if self.redelivery.done:
            self._file.remove()
        else:
            self._file.close()


def read(file: SpoolFile) -> Redelivery:
    """Return what is to be delivered of a file, `done` if nothing was ever recorded in it.

    Raises `DecodeError` if nobody can tell whose it is.
    """
    redelivery = Redelivery(Leftover(memoryview(file.memory), time.time_ns()), new_identity)
    redelivery.done = not redelivery.leftover.last_seq
    return redelivery
