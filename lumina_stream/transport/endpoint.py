"""Where a relay is: URLs, names and addresses, and the question who answers there.

Standard library only and blocking: callers on an event loop use a thread.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from lumina_stream import tokens
from lumina_stream.model.errors import ConfigurationError

if TYPE_CHECKING:
    import http.client
    import ssl

DEFAULT_PORT = 4318
"""The OTLP/HTTP port, where OpenTelemetry programs look by themselves."""
DEFAULT_ENDPOINT = f"http://127.0.0.1:{DEFAULT_PORT}"
PROBE_TIMEOUT_S = 2.0
"""How long `probe` waits: a relay under load answers within it, a port that swallows bytes does not stall a command."""

_SCHEMES = {"http": False, "https": True, "ws": False, "wss": True}
_PROBE_BYTES = 64 * 1024


class Endpoint(msgspec.Struct, frozen=True):
    """A relay's URL, taken apart. `path` is the prefix under which it is mounted, without a final slash."""

    secure: bool
    host: str
    port: int
    path: str = ""

    @property
    def url(self) -> str:
        """Return it as people and HTTP clients write it."""
        return f"{'https' if self.secure else 'http'}://{self._netloc}{self.path}"

    @property
    def loopback(self) -> bool:
        """Tell whether it is this machine's loopback interface, by its name alone."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def websocket(self, path: str) -> str:
        """Return the WebSocket URI of a route."""
        return f"{'wss' if self.secure else 'ws'}://{self._netloc}{self.path}{path}"

    @property
    def _netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Health(msgspec.Struct, frozen=True):
    """What answers at an endpoint.

    `who` is `relay` (ours; the other fields are its `/healthz`), `other` (something else speaks
    HTTP there; `detail` says what is known of it), or `nothing` (`detail` says why).
    """

    who: Literal["relay", "other", "nothing"]
    detail: str = ""
    version: str = ""
    status: str = ""
    pid: int = 0


def parse_endpoint(url: str) -> Endpoint:
    """Take a URL apart: http(s) and ws(s), or just `host:port`. Raises `ConfigurationError`."""
    text = url.strip()
    bare = "://" not in text
    try:
        parts = urlsplit(f"http://{text}" if bare else text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"endpoint {url!r} is not a URL: {error}") from None
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(
            f"endpoint {url!r} has scheme {parts.scheme!r}; use http://, https://, ws:// or wss://"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"the endpoint at {host!r} carries a user name or password; pass token= or set LUMINA_TOKEN"
        )
    if not host or any(c.isspace() for c in host):
        raise ConfigurationError(f"endpoint {url!r} names no host; write http://HOST:PORT")
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"endpoint {url!r} has a query or fragment; write http://HOST:PORT"
        )
    secure = _SCHEMES[parts.scheme]
    if port is None:
        port = DEFAULT_PORT if bare else (443 if secure else 80)
    return Endpoint(secure, host, port, parts.path.rstrip("/"))


def token_for(role: Literal["write", "read"]) -> str | None:
    """Return the token that the environment has for sending or reading; see `tokens.from_environment`."""
    try:
        return tokens.from_environment(role)
    except tokens.TokenFileError as error:
        raise ConfigurationError(str(error)) from None


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """Return with what to check the certificate of an endpoint, None for one without TLS.

    The system's CAs count, SSL_CERT_FILE as ever, and beside them those of LUMINA_CA_FILE, which concerns
    nothing but the way to a relay. Raises `ConfigurationError` for a file that holds none.
    """
    if not endpoint.secure:
        return None
    import ssl

    context = ssl.create_default_context()
    path = os.environ.get("LUMINA_CA_FILE")
    if path:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"LUMINA_CA_FILE {path} holds no certificates ({error.reason or error}); it is a PEM file"
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"LUMINA_CA_FILE {path} cannot be read: {error.strerror}"
            ) from None
    return context


def http_connection(endpoint: Endpoint, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection for HTTP requests to an endpoint; raises `ConfigurationError` like `tls_context`."""
    import http.client  # 30 ms

    context = tls_context(endpoint)
    if context is None:
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    return http.client.HTTPSConnection(
        endpoint.host, endpoint.port, timeout=timeout_s, context=context
    )


def resolve(endpoint: Endpoint) -> list[tuple[str, int]]:
    """Return the addresses of an endpoint, in the order to try; raises `OSError`. Blocks."""
    found = socket.getaddrinfo(plain(endpoint.host), endpoint.port, type=socket.SOCK_STREAM)
    addresses = [(str(address[0]), endpoint.port) for *_, address in found]
    return list(dict.fromkeys(addresses))


def plain(host: str) -> Any:
    """Return a host as `getaddrinfo` takes it without the IDNA codec, whose tables take 10 ms to import."""
    return host.encode() if host.isascii() else host


def probe(endpoint: Endpoint, *, timeout_s: float = PROBE_TIMEOUT_S) -> Health:
    """Ask `GET /healthz` who is there. Never raises for what a peer does. Blocks.

    No token is sent: whatever answers there need not be ours. No proxy is used.
    """
    import http.client

    try:
        connection = http_connection(endpoint, timeout_s)
        try:
            connection.request("GET", f"{endpoint.path}/healthz")
            response = connection.getresponse()
            body = response.read(_PROBE_BYTES)
        finally:
            connection.close()
    except ConnectionRefusedError:
        return Health("nothing", "connection refused")
    except TimeoutError:
        return Health("nothing", f"no answer within {timeout_s:g} s")
    except http.client.HTTPException as error:
        scheme = "" if endpoint.secure else "; or is it https://?"
        return Health("other", f"it does not speak HTTP ({type(error).__name__}){scheme}")
    except ConfigurationError as error:
        return Health("nothing", str(error))
    except OSError as error:
        return Health("nothing", error.strerror or str(error))
    return _judge(response.status, response.getheader("Server") or "", body)


def _judge(status: int, server: str, body: bytes) -> Health:
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    if isinstance(said, dict) and said.get("service") == "lumina-stream":  # pyright: ignore[reportUnknownMemberType]
        fields: dict[str, Any] = said  # pyright: ignore[reportUnknownVariableType]
        pid = fields.get("pid")
        return Health(
            "relay",
            version=str(fields.get("version", "")),
            status=str(fields.get("status", "")),
            pid=pid if isinstance(pid, int) else 0,
        )
    named = f", Server: {server[:80]}" if server else ""
    return Health("other", f"GET /healthz gives HTTP {status}{named}")
