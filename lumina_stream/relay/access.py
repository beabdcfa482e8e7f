"""Who may do what: tokens, Host and Origin, decided before any route runs. Pure.

Without tokens a relay answers this machine only, and a web page of another origin must not reach it
through the user's browser: so every request's Host must be a name of ours (a rebinding attack comes
with its own), and an Origin, if there is one, must be exactly one of ours. A request with a valid
bearer token was not made by a foreign page, so it needs no Host match; one with a browser's session
needs both, since a browser adds the cookie by itself.
"""

import ipaddress
from collections.abc import Iterable
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.tokens import Token, digest_of, matching

Role: TypeAlias = Literal["write", "read", "page"]
"""What a request wants: to send, to see, or no more than the dashboard's own files, which hold nothing
of the user's and must come before a token can be asked for."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Denied(msgspec.Struct, frozen=True):
    """Why a request is refused: 401 (who are you), 403 (not you, or not from there)."""

    status: int
    reason: str


class Asked(msgspec.Struct, frozen=True):
    """What decides about a request; header values as they came, None where there is none."""

    role: Role
    host: str | None
    origin: str | None
    authorization: str | None
    repeated: bool = False
    """Whether one of these headers came twice."""
    session: Token | None = None
    """The token that the browser's session was begun with, if the request has one that is still valid."""


class Access:
    """Decide on requests to a relay that listens on `host`:`port`; `secure`: with TLS of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tokens: Iterable[Token] = (),
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        secure: bool = False,
    ) -> None:
        scheme, usual = ("https", 443) if secure else ("http", 80)
        self.port = port
        self._is_local = is_loopback(host)
        self._host = host
        self._tokens: tuple[Token, ...] = ()
        self.replace_tokens(tokens)
        names = {name.lower() for name in allow_hosts}
        own = {*LOOPBACK_NAMES} if self._is_local else set[str]()
        if not _is_any(host):
            own.add(_bracketed(host.lower()))
        self._hosts = names | {f"{name}:{port}" for name in own}
        if port in (80, 443):
            self._hosts |= own
        self._origins = {parse_origin(origin) for origin in allow_origins}
        self._origins |= {f"{scheme}://{name}:{port}" for name in own}
        if port == usual:
            self._origins |= {f"{scheme}://{name}" for name in own}

    def replace_tokens(self, tokens: Iterable[Token]) -> None:
        """Take these tokens from now on, and no others; raise `ConfigurationError` if they are too few."""
        given = tuple(tokens)
        guarded = {role for role in ("write", "read") if any(t.serves(role) for t in given)}
        if not self._is_local and len(guarded) < 2:
            raise ConfigurationError(
                f"refusing to listen on {self._host}, which other machines can reach, without tokens for "
                "sending and reading: set LUMINA_TOKEN (or LUMINA_WRITE_TOKEN and LUMINA_READ_TOKEN), name a "
                "file of them with --token-file, or listen on 127.0.0.1"
            )
        self._tokens, self._guarded = given, guarded

    @property
    def needs_token(self) -> bool:
        """Tell whether any role is guarded by a token."""
        return bool(self._tokens)

    def decide(self, asked: Asked) -> Denied | None:
        """Return why a request is refused, None if it may pass."""
        if asked.repeated:
            return Denied(403, "a header that must come once came twice")
        # A page of another origin is refused whatever it knows: the browser may add what it likes.
        if asked.origin is not None and not self._is_own_origin(asked.origin):
            return Denied(403, "this origin may not use the relay; see --allow-origin")
        bearer = _bearer(asked.authorization)
        if bearer is not None and self.needs_token:
            return self._by_token(asked.role, bearer)
        allowed = asked.session is not None and asked.session.serves(asked.role)
        if asked.role in self._guarded and not allowed:
            if asked.session is not None:
                return _wrong_kind(asked.role)
            return Denied(401, "a token is needed: Authorization: Bearer ...")
        if asked.host is None or not self._is_own_host(asked.host):
            return Denied(403, "this Host is not one of the relay's; see --allow-host")
        return None

    def token(self, asked: Asked) -> Token | None:
        """Return the valid token that a request comes with, None if there is none."""
        bearer = _bearer(asked.authorization)
        return asked.session if bearer is None else self.find(digest_of(bearer))

    def find(self, digest: bytes) -> Token | None:
        """Return the valid token of a digest, None if there is none."""
        return matching(self._tokens, digest)

    def _by_token(self, role: Role, bearer: bytes) -> Denied | None:
        token = self.find(digest_of(bearer))
        if token is None:
            return Denied(401, "the token is wrong")
        if role in self._guarded and not token.serves(role):
            return _wrong_kind(role)
        return None

    def _is_own_host(self, host: str) -> bool:
        host = host.strip().lower()
        if host in self._hosts:
            return True
        # `--allow-host name` allows it on every port, as a proxy may answer on another one.
        name, _, port = host.rpartition(":")
        return bool(name) and port.isascii() and port.isdigit() and name in self._hosts

    def _is_own_origin(self, origin: str) -> bool:
        return origin.strip().lower() in self._origins


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _wrong_kind(role: Role) -> Denied:
    other = "read" if role == "write" else "write"
    return Denied(403, f"a {other} token may not {role}")


def _bearer(authorization: str | None) -> bytes | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip().encode("utf-8", "surrogateescape")


def parse_origin(text: str) -> str:
    """Return an allowed origin as browsers write it; raise `ConfigurationError` if it is none."""
    parts = urlsplit(text.strip().lower())
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
        raise ConfigurationError(
            f"{text!r} is not an origin; write it as https://name or https://name:port"
        )
    return f"{parts.scheme}://{parts.netloc}"
