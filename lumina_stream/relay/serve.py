"""`lumina-stream serve`: one process, one port, one data folder."""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn

from lumina_stream.model import limits
from lumina_stream.model.errors import ConfigurationError
from lumina_stream.relay.access import Access, is_loopback
from lumina_stream.relay.app import make_app
from lumina_stream.relay.clients import Clients
from lumina_stream.relay.console import LogFormat, Refusals, RelayLog, banner, hear_uvicorn
from lumina_stream.relay.core import Relay
from lumina_stream.relay.log import LogError
from lumina_stream.relay.prices import PriceBook, read_prices
from lumina_stream.relay.room import AT_ONCE, Listener, descriptors, room_for
from lumina_stream.relay.sockets import (
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    RelayHttp,
    RelayLoop,
    RelayProtocol,
)
from lumina_stream.relay.spools import Spools
from lumina_stream.relay.sqlite_log import SqliteLog
from lumina_stream.relay.tls import Tls
from lumina_stream.relay.token_watch import TokenWatch, fixed_tokens

if TYPE_CHECKING:
    from lumina_stream.relay.forward import Forwarder

DEFAULT_PORT = 4318
"""OTLP/HTTP's port, where OpenTelemetry programs look by themselves."""
SWITCH_INTERVAL_S = 0.0005
"""How long one thread of the relay may keep the interpreter from another: its writer must get back
to the disk while the loop decodes. Ours to set, as the process is."""
GC_THRESHOLD = (50_000, 20, 100)
"""Trees are reference-counted but for parent and child, and live long: looking at all of them every
700 new objects would cost a third of the loop's time."""
SHUTDOWN_S = 3
"""How long connections may take to end."""
MAX_CONNECTIONS = 10_000
"""WebSockets of one client: ten times the viewers that a relay was measured with."""
MAX_RATE = 256 << 20
"""Bytes a second of one client: several times what a relay stores, so that who meets it was told to set it."""


class RelayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How a relay runs. `data=None` takes the user's state folder; tokens guard the two roles.

    `token_file`: more tokens, any number, read anew when the file changes (see `tokens`).
    `tls_cert`, `tls_key`: PEM files; both or neither.
    `max_connections`, `max_rate` (bytes a second): what one client may have at once (see `clients`).
    `prices` are price files (see `prices.FilePrice`), the first one that has a model counts.

    `forward`: an OTLP backend that gets the finished spans, with `forward_headers` in each request.
    `spool`: a folder of this machine where programs leave what they could not send.
    `lease_s`: how long a producer of another machine may be gone before it counts as lost.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    data: Path | None = None
    write_token: str | None = None
    read_token: str | None = None
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_connections: int | None = MAX_CONNECTIONS
    max_rate: int | None = MAX_RATE
    keep_s: float | None = 7 * 24 * 3600.0
    max_bytes: int | None = 5 << 30
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    root_path: str = ""
    trust_proxy: bool = False
    lease_s: float = limits.LEASE_S
    prices: tuple[Path, ...] = ()
    log_format: LogFormat = "auto"
    forward: str | None = None
    forward_headers: dict[str, str] = {}
    spool: Path | None = None


def default_data_folder() -> Path:
    """Return the folder of the XDG base directories in which a relay keeps its data."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "lumina-stream"


def with_environment(config: RelayConfig) -> RelayConfig:
    """Return the configuration with what it lacks from the environment: tokens, where to forward.

    Raises `ConfigurationError` for an address or headers that nothing can be forwarded with.
    """
    both = os.environ.get("LUMINA_TOKEN") or None
    token_file = os.environ.get("LUMINA_TOKEN_FILE")
    forward = config.forward or os.environ.get("LUMINA_FORWARD") or None
    headers = config.forward_headers
    if forward is not None:
        from lumina_stream.relay.forward import forward_headers, forward_url  # HTTP: 50 ms

        forward_url(forward)
        headers = headers or forward_headers(os.environ.get("LUMINA_FORWARD_HEADERS", ""))
    return msgspec.structs.replace(
        config,
        write_token=config.write_token or os.environ.get("LUMINA_WRITE_TOKEN") or both,
        read_token=config.read_token or os.environ.get("LUMINA_READ_TOKEN") or both,
        token_file=config.token_file or (Path(token_file) if token_file else None),
        forward=forward,
        forward_headers=headers,
    )


def serve(
    config: RelayConfig | None = None, *, on_ready: Callable[[str], object] | None = None
) -> int:
    """Run a relay until it is interrupted; return the exit code. `on_ready` is told its URL.

    Its URL is the one line it writes to stdout, once it is ready; nothing if that is a terminal.
    0 after Ctrl-C or SIGTERM; 1, with a message on stderr, when the port or the data folder is in
    use or an address is refused.
    """
    try:
        config = with_environment(config or RelayConfig())
        tls = _tls(config)
    except ConfigurationError as error:
        _complain(str(error))
        return 1
    log = RelayLog(config.log_format)
    hear_uvicorn(log)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    watch = TokenWatch(fixed_tokens(config.write_token, config.read_token), config.token_file)
    try:
        listener = _listen(config.host, config.port)
        port = listener.getsockname()[1]
        with contextlib.closing(listener):
            listener.speaks_http = tls is None
            access = Access(
                config.host,
                port,
                tokens=watch.tokens(),
                allow_hosts=config.allow_hosts,
                allow_origins=config.allow_origins,
                secure=tls is not None,
            )
            book = PriceBook([read_prices(path) for path in config.prices])
            folder = config.data or default_data_folder()
            store = SqliteLog.open(folder)
            # What is there now lives for ever: no collection shall look at it.
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
            gc.enable()
            with asyncio.Runner(loop_factory=RelayLoop) as runner:
                runner.run(
                    _serve(config, log, access, watch, tls, listener, store, folder, book, on_ready)
                )
    except (LogError, ConfigurationError) as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        pass
    return 0


async def _serve(
    config: RelayConfig,
    log: RelayLog,
    access: Access,
    watch: TokenWatch,
    tls: Tls | None,
    listener: Listener,
    store: SqliteLog,
    folder: Path,
    book: PriceBook,
    on_ready: Callable[[str], object] | None,
) -> None:
    relay = Relay(
        store,
        folder,
        keep_s=config.keep_s,
        max_bytes=config.max_bytes,
        lease_s=config.lease_s,
        book=book,
        clients=Clients(config.max_connections, config.max_rate),
        room=listener.room,
        log=log,
    )
    _complain_of_accepting(relay)
    settings = uvicorn.Config(
        make_app(relay, access),
        loop="asyncio",
        http=RelayHttp,
        ws=RelayProtocol,
        ws_max_size=limits.FRAME_BYTES * 4,
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=PING_TIMEOUT_S,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=config.trust_proxy,
        root_path=config.root_path,
        backlog=AT_ONCE,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    if tls is not None:
        settings.load()
        settings.ssl = tls.context
    url = _url(config.host, listener.getsockname()[1], secure=tls is not None) + config.root_path
    server = _Server(settings)
    forwarder = None
    if config.forward is not None:
        from lumina_stream.relay.forward import Forwarder

        forwarder = Forwarder(relay, config.forward, config.forward_headers)
    spools = Spools(relay, config.spool) if config.spool is not None else None
    async with _running(relay, forwarder, spools):
        relay.run_beside(watch.run(access.replace_tokens, relay.log))
        if tls is not None:
            relay.run_beside(tls.run(relay.log))
        announcing = asyncio.create_task(_announce(relay, server, url, folder, access, on_ready))
        await server.serve(sockets=[listener])
        announcing.cancel()


def _complain_of_accepting(relay: Relay) -> None:
    """Say it in our log, and not each second, when no descriptor is left: asyncio waits and tries again."""
    refusals = Refusals(relay.log)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        said = str(context.get("message"))
        if "accept() out of system resource" in said:
            refusals.note(f"no connection can be accepted: {context.get('exception')}", "")
        elif "_start_serving" not in said:  # asyncio's next try, after the relay has ended
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(handle)


@contextlib.asynccontextmanager
async def _running(
    relay: Relay, forwarder: "Forwarder | None", spools: Spools | None
) -> AsyncGenerator[None]:
    relay.start()
    for beside in (forwarder, spools):
        if beside is not None:
            relay.run_beside(beside.run())
    try:
        yield
    finally:
        await relay.close()


async def _announce(
    relay: Relay,
    server: "_Server",
    url: str,
    folder: Path,
    access: Access,
    on_ready: Callable[[str], object] | None,
) -> None:
    await relay.ready.wait()
    await server.is_up.wait()
    # Programs need not wait for it, and a relay that is out of file descriptors could not.
    await asyncio.to_thread(relay.log.load)
    sys.stderr.write(banner(url, str(folder), needs_token=access.needs_token))
    sys.stderr.flush()
    if not sys.stdout.isatty():  # there the banner has said it
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
    if on_ready is not None:
        await asyncio.to_thread(on_ready, url)


class _Health(msgspec.Struct):
    service: str = ""
    pid: int = 0
    status: str = ""


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is up, and ends on a signal instead of passing it on."""

    def __init__(self, settings: uvicorn.Config) -> None:
        super().__init__(settings)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        def handle(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        originals = {
            number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, original in originals.items():
                signal.signal(number, original)


def _listen(host: str, port: int) -> Listener:
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    # Said to be TCP, or asyncio leaves Nagle's algorithm on: a small frame then waits 40 ms for the peer's ack.
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.room = room_for(descriptors())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((bare, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(_in_use(host, port)) from error
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error}") from error
    except OverflowError as error:
        listener.close()
        raise ConfigurationError(f"{port} is not a port") from error
    listener.setblocking(False)
    return listener


def _in_use(host: str, port: int) -> str:
    """Say what answers at an address that is in use."""
    import http.client
    import urllib.request

    reachable = host if is_loopback(host) else "127.0.0.1"
    found = "something that is no lumina-stream relay"
    here = ssl.create_default_context()
    here.check_hostname, here.verify_mode = False, ssl.CERT_NONE  # nothing is told but the question
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=here))
    opener = urllib.request.build_opener(*handlers)
    for secure in (False, True):
        url = _url(reachable, port, secure=secure) + "/healthz"
        try:
            with opener.open(url, timeout=1.0) as response:
                body = msgspec.json.decode(response.read(65536), type=_Health)
        except (OSError, ValueError, msgspec.DecodeError, http.client.HTTPException):
            continue
        if body.service == "lumina-stream":
            found = f"a lumina-stream relay (process {body.pid}, status {body.status})"
            break
    return (
        f"port {port} is in use by {found}; choose another one with --port, "
        "or any free one with --port 0"
    )


def _tls(config: RelayConfig) -> Tls | None:
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise ConfigurationError("--tls-cert and --tls-key go together: a certificate and its key")
    return Tls(config.tls_cert, config.tls_key)


def _url(host: str, port: int, *, secure: bool = False) -> str:
    bare = host.strip("[]")
    if bare in ("0.0.0.0", "::"):
        bare = "127.0.0.1"
    scheme = "https" if secure else "http"
    return f"{scheme}://[{bare}]:{port}" if ":" in bare else f"{scheme}://{bare}:{port}"


def _complain(message: str) -> None:
    sys.stderr.write(f"lumina-stream serve: {message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(serve())
