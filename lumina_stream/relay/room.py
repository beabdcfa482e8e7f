"""The listening socket, and how many descriptors connections may take: the log must always find one.

Every read of the log opens a file for a moment. The system gives the lowest number that is free, so a
connection with a high one says how many are in use, whatever they are, TLS handshakes included: it is
told that there is no room, and closed before anything is read from it.
"""

import contextlib
import errno
import resource
import socket
import time
from typing import Any

BACKLOG = 2048
"""Connections waiting to be accepted: a thousand viewers that reconnect at once."""
AT_ONCE = 32
"""Connections accepted before the loop looks at those that are open; less than `RESERVED`."""
RESERVED = 128
"""Descriptors that no connection takes: the log's files, those of a dozen reads, a deletion's copy."""
MOST_DESCRIPTORS = 65_536
"""As far as the soft limit is raised to the hard one; each costs memory only when it is used."""
BACK_OFF_S = 0.5
"""Within the second for which asyncio stops accepting when no descriptor is left: it is told once."""

_NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 45\r\n\r\n"
    b'{"error": "this relay has no room for more"}\n'
)


class Room:
    """The bound on the descriptors of connections, and how many connections met it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.refused = 0

    def takes(self, descriptor: int) -> bool:
        """Tell whether a connection with a descriptor is taken; count it if not."""
        if descriptor < self.most:
            return True
        self.refused += 1
        return False


def room_for(limit: int) -> Room:
    """Return the room that so many descriptors leave for connections."""
    return Room(max(limit - RESERVED, limit // 2))


def descriptors() -> int:
    """Raise the soft limit of open files as far as that is of use; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = MOST_DESCRIPTORS if hard == unlimited else min(hard, MOST_DESCRIPTORS)
    if soft != unlimited and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return MOST_DESCRIPTORS if soft == unlimited else soft


class Listener(socket.socket):
    """A listening socket that refuses connections for which there is no room. `speaks_http`: and says so."""

    room: Room
    speaks_http = True
    _told_s = 0.0

    def listen(self, backlog: int = BACKLOG, /) -> None:
        """Listen; asyncio's number is how many it accepts at once, not how many may wait."""
        super().listen(BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection for which there is room. Raises `BlockingIOError` if there is none."""
        for _ in range(AT_ONCE):
            try:
                connection, address = super().accept()
            except OSError as error:
                now_s = time.monotonic()
                if error.errno in _NONE_LEFT and now_s - self._told_s < BACK_OFF_S:
                    # Each such error makes asyncio begin to listen once more, a second later.
                    raise BlockingIOError from error
                if error.errno in _NONE_LEFT:
                    self._told_s = now_s
                raise
            if self.room.takes(connection.fileno()):
                return connection, address
            self._refuse(connection)
        raise BlockingIOError

    def _refuse(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self.speaks_http:
                connection.setblocking(False)
                connection.send(_NO_ROOM)
                connection.shutdown(socket.SHUT_WR)
