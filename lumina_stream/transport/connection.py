"""One WebSocket connection to a relay, on asyncio or trio: it moves messages and names what went wrong.

What a message means is the machines' business (`protocol`). The rest of the package sees none of the
WebSocket library: its errors become `ConnectionFailed` and `ConnectionEnded` here.
"""

import asyncio
import errno
import logging
import socket
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, cast

import websockets.exceptions as wse
from websockets.proxy import get_proxy
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from lumina_stream.model import limits
from lumina_stream.model.errors import ConfigurationError, ConnectionEnded, ConnectionFailed
from lumina_stream.protocol import SUBPROTOCOL
from lumina_stream.transport.endpoint import Endpoint, parse_endpoint, probe, tls_context
from lumina_stream.version import __version__

_PING_S = limits.HALF_OPEN_S / 2
"""Between two pings, and how long one may take: a peer that is gone is noticed within `HALF_OPEN_S`."""
_CLOSE_S = 1.0
"""How long the closing handshake may take before the connection is cut: nothing is at stake any more."""
_MESSAGE_BYTES = 4 * limits.FRAME_BYTES
"""Largest message taken: frames hold `FRAME_BYTES`, and JSON of the same needs more."""

# The library logs headers, and so the token, at DEBUG; and in a traced program its lines would be traced,
# sent, logged and traced again. This logger belongs to nobody's configuration and says nothing.
_SILENT = logging.Logger("lumina_stream.websockets", level=logging.CRITICAL + 1)

_OLD_FOR_TRIO = (
    "on trio, this needs a newer WebSocket library than the one installed: "
    "pip install 'websockets>=17'"
)


class Connection(Protocol):
    """An open connection. One task may receive while another one sends."""

    async def send(self, data: bytes | str) -> None:
        """Send one message; returns when the transport took it. Raises `ConnectionEnded`."""
        ...

    async def receive(self) -> bytes | str:
        """Wait for the next message; cancelling loses none. Raises `ConnectionEnded`."""
        ...


@asynccontextmanager
async def connect(
    url: str | Endpoint,
    path: str,
    *,
    token: str | None = None,
    subprotocol: str = SUBPROTOCOL,
    address: tuple[str, int] | None = None,
    timeout_s: float = limits.CONNECT_TIMEOUT_S,
) -> AsyncGenerator[Connection, None]:
    """Connect to a relay's route (`/v1/stream`, `/v1/tail`) and close on leaving.

    With `address` no name is resolved (host and TLS name stay those of `url`); otherwise it is resolved
    off the loop. Raises `ConnectionFailed`, saying who answers and what to do, and
    `ConfigurationError` for a URL that is none.
    """
    endpoint = url if isinstance(url, Endpoint) else parse_endpoint(url)
    uri = endpoint.websocket(path)
    # A proxy in the environment is meant for the world outside, never for this machine.
    proxy = None if endpoint.loopback else get_proxy(parse_uri(uri))
    options: dict[str, Any] = {
        "subprotocols": [Subprotocol(subprotocol)],
        "compression": None,
        "additional_headers": {"Authorization": f"Bearer {token}"} if token else None,
        "user_agent_header": f"lumina-stream/{__version__}",
        "proxy": proxy,
        "open_timeout": timeout_s,
        "ping_interval": _PING_S,
        "ping_timeout": _PING_S,
        "close_timeout": _CLOSE_S,
        "max_size": _MESSAGE_BYTES,
        "logger": _SILENT,
    }
    context = tls_context(endpoint)
    if context is not None:
        options["ssl"] = context
    if address is not None and proxy is None:
        options["host"], options["port"] = address
    trio = _running_trio()
    failures: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, wse.WebSocketException)
    if trio is not None:
        failures = (*failures, trio.BrokenResourceError)  # its way of saying that TLS failed
    async with AsyncExitStack() as stack:
        try:
            if trio is None:
                from websockets.asyncio.client import connect as open_asyncio

                client = await stack.enter_async_context(open_asyncio(uri, **options))
                connection: Connection = _AsyncioConnection(client)
            else:
                try:
                    from websockets.trio.client import connect as open_trio
                except ModuleNotFoundError as error:
                    raise ConfigurationError(_OLD_FOR_TRIO) from error
                client = await stack.enter_async_context(open_trio(uri, **options))
                connection = _TrioConnection(client, trio)
        except failures as error:
            raise ConnectionFailed(await _explain(error, endpoint, token, trio)) from error
        if client.subprotocol != subprotocol:
            raise ConnectionFailed(_foreign(endpoint, f"it does not speak {subprotocol}"))
        yield connection


class _AsyncioConnection:
    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(self, data: bytes | str) -> None:
        try:
            # A peer that stopped reading blocks pings as well as messages: only this notices it.
            async with asyncio.timeout(limits.HALF_OPEN_S):
                await self._client.send(data)
        except TimeoutError:
            self._client.transport.abort()
            raise _stuck() from None
        except wse.ConnectionClosed as error:
            raise _ended(error) from error

    async def receive(self) -> bytes | str:
        try:
            return await self._client.recv()
        except wse.ConnectionClosed as error:
            raise _ended(error) from error


class _TrioConnection:
    def __init__(self, client: Any, trio: Any) -> None:
        self._client = client
        self._trio = trio

    async def send(self, data: bytes | str) -> None:
        try:
            with self._trio.fail_after(limits.HALF_OPEN_S):
                await self._client.send(data)
        except self._trio.TooSlowError:
            await self._trio.aclose_forcefully(self._client.stream)
            raise _stuck() from None
        except wse.ConnectionClosed as error:
            raise _ended(error) from error

    async def receive(self) -> bytes | str:
        try:
            return cast("bytes | str", await self._client.recv())
        except wse.ConnectionClosed as error:
            raise _ended(error) from error


def _running_trio() -> Any:
    """Return the trio module if the calling task runs on it, else None."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_task() else None


def _ended(error: wse.ConnectionClosed) -> ConnectionEnded:
    closing = error.rcvd or error.sent
    if closing is None:
        return ConnectionEnded("the connection broke")
    reason = f": {closing.reason}" if closing.reason else ""
    return ConnectionEnded(f"the connection was closed ({closing.code}){reason}", code=closing.code)


def _stuck() -> ConnectionEnded:
    return ConnectionEnded(
        f"the peer took nothing for {limits.HALF_OPEN_S:g} s; connection dropped"
    )


# --- what went wrong -------------------------------------------------------------------------


async def _explain(error: Exception, endpoint: Endpoint, token: str | None, trio: Any) -> str:
    where = endpoint.url
    if isinstance(error.__cause__, ssl.SSLError):
        error = error.__cause__
    match error:
        case wse.InvalidStatus() if error.response.status_code == 401:
            if token:
                return f"the relay at {where} does not accept this token (HTTP 401)"
            return f"the relay at {where} wants a token (HTTP 401): pass token= or set LUMINA_TOKEN"
        case wse.InvalidStatus() if error.response.status_code == 403:
            body = bytes(error.response.body or b"")[:300].decode("utf-8", "replace").strip()
            return f"{where} refuses this connection (HTTP 403){': ' + _line(body) if body else ''}"
        case wse.InvalidStatus() if error.response.status_code in (429, 503):
            body = bytes(error.response.body or b"")[:300].decode("utf-8", "replace").strip()
            status = error.response.status_code
            return (
                f"{where} takes no more for now (HTTP {status}){': ' + _line(body) if body else ''}"
            )
        case wse.InvalidProxy() | wse.ProxyError():
            return f"the proxy on the way to {where} failed: {_line(str(error))}"
        case wse.WebSocketException() | EOFError():
            return await _ask_who(endpoint, trio)
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of {where} is not trusted ({error.verify_message}); "
                "name its CA in LUMINA_CA_FILE, or use the host name that it was made for"
            )
        case ssl.SSLError():
            return f"TLS with {where} failed: {error.reason or error}; is the scheme right?"
        case socket.gaierror():
            return f"the host name of {where} cannot be resolved: {error.strerror}"
        case TimeoutError():
            return (
                f"{where} did not complete the connection in time; is it the relay, and is it well?"
            )
        case OSError() if error.errno == errno.ECONNREFUSED or "refused" in _whole(error).lower():
            return f"nothing listens at {where}; start a relay with `lumina-stream serve`"
        case _:
            return f"cannot connect to {where}: {_line(_whole(error))}"


async def _ask_who(endpoint: Endpoint, trio: Any) -> str:
    try:
        if trio is None:
            health = await asyncio.to_thread(probe, endpoint)
        else:
            health = await trio.to_thread.run_sync(probe, endpoint)
    except RuntimeError:  # no thread can be started any more: the interpreter is on its way out
        return _foreign(endpoint, "the handshake failed")
    if health.who == "relay":
        detail = f"version {health.version}, {health.status}" if health.status else "not ready"
        return f"the relay at {endpoint.url} ({detail}) did not take the connection"
    return _foreign(endpoint, health.detail)


def _foreign(endpoint: Endpoint, detail: str) -> str:
    return (
        f"something that is no lumina-stream relay answers at {endpoint.url} ({_line(detail)}); "
        "start a relay on another port: `lumina-stream serve --port PORT`"
    )


def _whole(error: BaseException) -> str:
    """Return an error's text with that of its causes: trio wraps the refusals of all addresses in one error."""
    parts = [str(error)]
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        parts += [
            str(inner) for inner in cast("BaseExceptionGroup[BaseException]", cause).exceptions
        ]
    elif cause is not None:
        parts.append(str(cause))
    return "; ".join(dict.fromkeys(part for part in parts if part))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:300]
