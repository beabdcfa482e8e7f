"""Tokens: what a token file says, who may read it, and which token of the environment is whose.

A leaf beside the rooms: the relay reads the tokens that it takes, programs and commands the one that
they send. Both read the same kind of file, a line a token:

    # kind  token  label
    write   lumina_w_hB3...  checkout service
    read    lumina_r_pX9...  the team's dashboards

Wrong files raise `TokenFileError`; what its text says never has a token in it.

A program that only sends its token compares none: hashlib, hmac and secrets, which load OpenSSL, are
imported where they are used.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["write", "read", "both"]
KINDS: tuple[Kind, ...] = ("write", "read", "both")
"""What a token is for: sending, seeing, or both (a small team's only one)."""

LEAST_LENGTH = 16
"""Characters of a token in a file; shorter ones are guessed, or are a word in the wrong place."""
MOST_BYTES = 1 << 20
"""Of a token file: some ten thousand tokens."""

_HEADER = (
    "# kind  token  label: a line a token, several may be valid at once (lumina-stream token)\n"
)


class TokenFileError(ValueError):
    """A token file cannot be used; the text says why and what to do."""


class Token(NamedTuple):
    """One token. Comparisons go by `digest`: their time says nothing of the token, nor its length."""

    kind: Kind
    digest: bytes
    label: str

    def serves(self, role: str) -> bool:
        """Tell whether it is for `write` or `read`."""
        return self.kind in (role, "both")


class Secret(NamedTuple):
    """A line of a token file, with the token itself."""

    kind: Kind
    value: str
    label: str


def digest_of(token: str | bytes) -> bytes:
    """Return by what a token is compared and remembered."""
    from hashlib import sha256

    data = token if isinstance(token, bytes) else token.encode("utf-8", "surrogateescape")
    return sha256(data).digest()


def token_of(kind: Kind, value: str, label: str) -> Token:
    """Return a token of which the value itself need not be kept."""
    return Token(kind, digest_of(value), label)


def matching(tokens: Iterable[Token], digest: bytes) -> Token | None:
    """Return the token with a digest. All are compared, so that the time says nothing about which."""
    import hmac

    found: Token | None = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def make(kind: Kind) -> str:
    """Return a new token: 256 random bits, with a beginning that secret scanners can look for."""
    import secrets

    return f"lumina_{kind[0]}_{secrets.token_urlsafe(32)}"


def read_file(path: str | os.PathLike[str]) -> list[Secret]:
    """Return what a token file holds. Raises `TokenFileError`, also where others may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check_rights(path, os.fstat(descriptor))
            data = os.read(descriptor, MOST_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TokenFileError(
            f"the token file {path} cannot be read: {error.strerror}; "
            f"make one with `lumina-stream token write --file {path}`"
        ) from None
    if len(data) > MOST_BYTES:
        raise TokenFileError(f"{path} is larger than {MOST_BYTES:,} bytes; it is no token file")
    try:
        return parse(data.decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise TokenFileError(f"{path} is no text; it is no token file") from None


def parse(text: str, name: str) -> list[Secret]:
    """Return the tokens of a file's text; `name` is the file's in what is raised."""
    found: list[Secret] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(None, 2)
        if not words or words[0].startswith("#"):
            continue
        if words[0] not in KINDS or len(words) < 2:
            raise TokenFileError(
                f"{name}, line {number}: a line is `write TOKEN label`, or with `read` or `both` first"
            )
        if len(words[1]) < LEAST_LENGTH or not words[1].isascii():
            raise TokenFileError(
                f"{name}, line {number}: its token is shorter than {LEAST_LENGTH} characters or not ASCII; "
                "make one with `lumina-stream token`"
            )
        label = words[2].strip() if len(words) > 2 else f"line {number}"
        found.append(Secret(words[0], words[1], label))
    if not found:
        raise TokenFileError(
            f"{name} holds no token; add one with `lumina-stream token write --file {name}`"
        )
    return found


def add_to_file(path: str | os.PathLike[str], secret: Secret) -> None:
    """Append a token to a file, making it with mode 0600. Raises `TokenFileError`."""
    if any(not c.isprintable() for c in secret.label):
        raise TokenFileError("a label is one line of text")
    try:
        descriptor = os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(descriptor, "r+b") as file:
            status = os.fstat(descriptor)
            _check_rights(path, status)
            before = file.read()
            if before:
                parse(before.decode("utf-8", "replace"), str(path))
            begin = b"" if before.endswith(b"\n") else b"\n" if before else _HEADER.encode()
            line = f"{secret.kind:<5} {secret.value}  {secret.label}".rstrip()
            # One write, so that who reads meanwhile sees the line whole or not at all.
            os.write(descriptor, begin + line.encode() + b"\n")
    except OSError as error:
        raise TokenFileError(f"the token file {path} cannot be written: {error.strerror}") from None


def from_environment(role: Literal["write", "read"]) -> str | None:
    """Return the token that a program or command of this environment sends, None if there is none.

    The first there is of LUMINA_WRITE_TOKEN (or LUMINA_READ_TOKEN), LUMINA_TOKEN, and the first token of
    that kind in LUMINA_TOKEN_FILE. Raises `TokenFileError`.
    """
    said = os.environ.get(f"LUMINA_{role.upper()}_TOKEN") or os.environ.get("LUMINA_TOKEN")
    path = os.environ.get("LUMINA_TOKEN_FILE")
    if said or not path:
        return said or None
    return next((one.value for one in read_file(path) if one.kind in (role, "both")), None)


def _check_rights(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise TokenFileError(f"{path} is no regular file; it is no token file")
    if status.st_mode & 0o077:
        raise TokenFileError(
            f"other users of this machine may use the token file {path} "
            f"(mode {stat.S_IMODE(status.st_mode):04o}); mend that with: chmod 600 {path}"
        )
