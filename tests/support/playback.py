"""A loopback server that plays one HTTP response after the other to real client libraries."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def cut(body: bytes, seed: int | None, most: int = 24) -> list[bytes]:
    """Return the body whole (seed None), or cut at random places, anywhere in a line or a character."""
    if seed is None or len(body) < 2:
        return [body]
    chosen = random.Random(seed)
    places = sorted({chosen.randrange(1, len(body)) for _ in range(chosen.randrange(2, most))})
    return [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]


class Playback:
    """What the server plays next, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.content_type = "application/json"
        self.pieces: list[bytes] = []

    def load(self, body: bytes | str, content_type: str, seed: int | None = None) -> None:
        """Play this body to every request from now on."""
        data = body.encode() if isinstance(body, str) else body
        self.content_type, self.pieces = content_type, cut(data, seed)


@contextmanager
def playing() -> Iterator[Playback]:
    """Run the server in threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(playback.status)
            self.send_header("content-type", playback.content_type)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in playback.pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return None  # a client that goes away while it is played to

    server = Server(("127.0.0.1", 0), Handler)
    playback = Playback(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield playback
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
