"""Connecting: messages both ways, and errors that say who answers and what to do."""

import asyncio
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest
from support.relay_process import RelayProcess, running_relay

from lumina_stream.model.errors import ConfigurationError, ConnectionEnded, ConnectionFailed
from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import BINARY
from lumina_stream.transport import connection as module
from lumina_stream.transport.connection import connect
from lumina_stream.transport.endpoint import Endpoint, parse_endpoint, probe, resolve

SUBSCRIBE = BINARY.encode(frames.Subscribe())


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with running_relay(tmp_path_factory.mktemp("relay") / "data") as process:
        yield process


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that is taken and at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


class _Stranger(BaseHTTPRequestHandler):
    server_version, sys_version = "Stranger/1", ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[int]:
    """A web server that is not ours."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def gibberish() -> Iterator[int]:
    """A server that does not speak HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(1000)
                    peer.sendall(b"SSH-2.0-OpenSSH_9\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def run(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    anyio.run(main, backend=backend)


def failure(backend: str, url: str, path: str = "/v1/tail", **options: str) -> str:
    texts: list[str] = []

    async def main() -> None:
        with pytest.raises(ConnectionFailed) as caught:
            async with connect(url, path, **options):  # type: ignore[arg-type]
                pass
        texts.append(str(caught.value))

    run(backend, main)
    return texts[0]


def test_messages(backend: str, relay: RelayProcess) -> None:
    """A message goes out, others come in; when the relay closes, that is a ConnectionEnded."""

    async def main() -> None:
        async with connect(relay.url, "/v1/tail") as connection:
            await connection.send(SUBSCRIBE)
            frame = BINARY.relay_to_consumer(await connection.receive())
            assert isinstance(frame, frames.Subscribed)
        async with connect(relay.url.replace("http", "ws"), "/v1/tail") as connection:
            await connection.send(b"\xc1 no frame")
            with pytest.raises(ConnectionEnded) as caught:
                while True:
                    await connection.receive()
            assert caught.value.code == 1007

    run(backend, main)


def test_an_address_spares_resolving(backend: str, relay: RelayProcess) -> None:
    """With an address the name is only a name: nothing is looked up."""

    async def main() -> None:
        url = f"http://localhost:{relay.port}"
        async with connect(url, "/v1/tail", address=("127.0.0.1", relay.port)) as connection:
            await connection.send(SUBSCRIBE)
            await connection.receive()
        unknown = f"http://nobody.invalid:{relay.port}"
        # The relay is reached, and refuses the Host: so the name was never resolved.
        with pytest.raises(ConnectionFailed, match="refuses this connection"):
            async with connect(unknown, "/v1/tail", address=("127.0.0.1", relay.port)):
                pass

    run(backend, main)


def test_nothing_listens(backend: str, refusing: int) -> None:
    """Nobody there: how to start one."""
    for host in ("127.0.0.1", "localhost"):
        text = failure(backend, f"http://{host}:{refusing}")
        assert text.startswith(f"nothing listens at http://{host}:{refusing}; start a relay")


def test_something_else_answers(backend: str, stranger: int, gibberish: int) -> None:
    """A stranger at the port is named as far as it can be."""
    text = failure(backend, f"http://127.0.0.1:{stranger}")
    assert "no lumina-stream relay answers" in text
    assert "HTTP 200, Server: Stranger/1" in text
    assert "does not speak HTTP" in failure(backend, f"http://127.0.0.1:{gibberish}")
    assert "TLS" in failure(backend, f"https://127.0.0.1:{gibberish}")


def test_a_name_that_does_not_exist(backend: str) -> None:
    """The host name is what is wrong."""
    assert "cannot be resolved" in failure(backend, "http://nobody.invalid:1")


def test_tokens(backend: str, tmp_path: Path) -> None:
    """Without and with a wrong token; neither message repeats it."""
    with running_relay(tmp_path / "data", read_token="right", write_token="right") as relay:
        assert "wants a token (HTTP 401): pass token=" in failure(backend, relay.url)
        text = failure(backend, relay.url, token="wrong-one")
        assert "does not accept this token" in text
        assert "wrong-one" not in text

        async def main() -> None:
            async with connect(relay.url, "/v1/tail", token="right") as connection:
                await connection.send(SUBSCRIBE)
                await connection.receive()

        run(backend, main)


def test_a_peer_that_takes_nothing(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck peer blocks a send for a bounded time only; the connection is then gone."""
    monkeypatch.setattr(module.limits, "HALF_OPEN_S", 0.2)
    release = threading.Event()
    port: list[int] = []
    listening = threading.Event()

    def serve() -> None:
        import websockets.asyncio.server as server

        async def handler(peer: server.ServerConnection) -> None:
            peer.transport.pause_reading()
            await asyncio.to_thread(release.wait)
            peer.transport.abort()

        async def main() -> None:
            async with server.serve(
                handler,
                "127.0.0.1",
                0,
                subprotocols=["lumina.v1"],  # type: ignore[list-item]
            ) as running:
                port.append(running.sockets[0].getsockname()[1])
                listening.set()
                await asyncio.to_thread(release.wait)

        asyncio.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert listening.wait(10)

        async def main() -> None:
            async with connect(f"http://127.0.0.1:{port[0]}", "/v1/stream") as connection:
                with pytest.raises(ConnectionEnded, match="took nothing"):
                    while True:
                        await connection.send(bytes(1 << 20))

        run(backend, main)
    finally:
        release.set()
        thread.join()


# --- endpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url", "websocket"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318", "ws://127.0.0.1:4318/x"),
        ("localhost", "http://localhost:4318", "ws://localhost:4318/x"),
        ("relay:9", "http://relay:9", "ws://relay:9/x"),
        (
            "https://a.example/lumina/",
            "https://a.example:443/lumina",
            "wss://a.example:443/lumina/x",
        ),
        ("wss://a.example", "https://a.example:443", "wss://a.example:443/x"),
        ("ws://[::1]:7", "http://[::1]:7", "ws://[::1]:7/x"),
    ],
)
def test_parse_endpoint(text: str, url: str, websocket: str) -> None:
    """All the ways to write an endpoint."""
    endpoint = parse_endpoint(text)
    assert (endpoint.url, endpoint.websocket("/x")) == (url, websocket)


@pytest.mark.parametrize(
    "text",
    ["ftp://x", "http://", "", "http://x:port", "http://u:secret@x", "http://x/?q=1", "http://a b"],
)
def test_parse_endpoint_refuses(text: str) -> None:
    """What is no endpoint is refused, without repeating a password."""
    with pytest.raises(ConfigurationError) as caught:
        parse_endpoint(text)
    assert "secret" not in str(caught.value)


def test_loopback_and_resolve() -> None:
    """This machine is known by name and address; addresses come once each."""
    assert all(Endpoint(False, h, 1).loopback for h in ("localhost", "127.0.0.9", "::1"))
    assert not Endpoint(False, "relay.example", 1).loopback
    assert resolve(Endpoint(False, "127.0.0.1", 80)) == [("127.0.0.1", 80)]


def test_probe(relay: RelayProcess, refusing: int, stranger: int) -> None:
    """Who is there: ours, a stranger, nobody."""
    ours = probe(parse_endpoint(relay.url))
    assert (ours.who, ours.pid) == ("relay", relay.process.pid)
    assert probe(Endpoint(False, "127.0.0.1", refusing)).who == "nothing"
    assert probe(Endpoint(False, "127.0.0.1", stranger)).who == "other"


def test_a_library_too_old_for_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version 16 knows asyncio alone: that is said, with what to install."""
    monkeypatch.setitem(sys.modules, "websockets.trio.client", None)

    async def main() -> None:
        async with connect("http://127.0.0.1:1", "/v1/tail"):
            pass

    with pytest.raises(ConfigurationError, match="websockets>=17"):
        anyio.run(main, backend="trio")
