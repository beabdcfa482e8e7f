"""A proxy in front of a relay that keeps what a program sends it, as it was before it was masked."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Wire:
    """What went through. `url` is where the program is to send."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sent: list[bytearray] = []
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def sent(self) -> bytes:
        """Return all that was sent so far: WebSocket payloads unmasked, HTTP as it is."""
        return b"\n".join(_unmasked(bytes(data)) for data in self._sent)

    def close(self) -> None:
        """Let go of every connection."""
        self._listening.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._open += [near, far]
            kept = bytearray()
            self._sent.append(kept)
            for source, sink, keep in ((near, far, kept), (far, near, bytearray())):
                threading.Thread(target=_pass_on, args=(source, sink, keep), daemon=True).start()


@contextmanager
def wire_to(target: str) -> Iterator[Wire]:
    """Run such a proxy in threads of this process."""
    wire = Wire(target)
    try:
        yield wire
    finally:
        wire.close()


def _pass_on(source: socket.socket, sink: socket.socket, keep: bytearray) -> None:
    try:
        while data := source.recv(65_536):
            keep += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either side has left


def _unmasked(data: bytes) -> bytes:
    """Return what a client sent: after a WebSocket handshake, the payloads of its frames."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found or b"sec-websocket-key" not in head.lower():
        return data
    payloads = bytearray()
    while len(rest) >= 6:
        length, at = rest[1] & 127, 2
        if length >= 126:
            width = 2 if length == 126 else 8
            length, at = int.from_bytes(rest[2 : 2 + width], "big"), 2 + width
        assert rest[1] & 128, "a client masks what it sends"
        mask, body = rest[at : at + 4], rest[at + 4 : at + 4 + length]
        payloads += bytes(byte ^ mask[place % 4] for place, byte in enumerate(body))
        rest = rest[at + 4 + length :]
    return head + bytes(payloads)
