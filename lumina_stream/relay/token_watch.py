"""The tokens that a relay takes: those of its configuration, and those of a file, read anew when it changes.

So tokens are rotated without a restart: add a line, let programs change over, take the old line away.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.relay.console import RelayLog
from lumina_stream.tokens import Token, TokenFileError, read_file, token_of

LOOK_S = 1.0
"""Between two looks at the file: how long a token that was taken away still lets somebody in."""

_Seen = tuple[int, int, int, int] | None


class TokenWatch:
    """Keep what is valid up to date with a file. `fixed` are the tokens beside it."""

    def __init__(self, fixed: Iterable[Token], path: Path | None) -> None:
        self._fixed = tuple(fixed)
        self._path = path
        self._seen: _Seen = None

    def tokens(self) -> list[Token]:
        """Return the tokens as of now. Raises `ConfigurationError` for a file that cannot be used."""
        if self._path is None:
            return list(self._fixed)
        self._seen = _look(self._path)
        try:
            found = read_file(self._path)
        except TokenFileError as error:
            raise ConfigurationError(str(error)) from None
        return [*self._fixed, *(token_of(*secret) for secret in found)]

    def look(self, replace: Callable[[Iterable[Token]], None], log: RelayLog) -> None:
        """Hand over the tokens if the file changed; what cannot be used changes nothing, and is logged."""
        if self._path is None or _look(self._path) == self._seen:
            return
        try:
            tokens = self.tokens()
            replace(tokens)
        except ConfigurationError as error:
            log.error("the token file cannot be used; the tokens before it stay", reason=str(error))
        else:
            log.info("the tokens were read anew", tokens=len(tokens))

    async def run(self, replace: Callable[[Iterable[Token]], None], log: RelayLog) -> None:
        """Look at the file for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look(replace, log)


def fixed_tokens(write_token: str | None, read_token: str | None) -> list[Token]:
    """Return the tokens of a configuration."""
    found: list[Token] = []
    if write_token:
        found.append(token_of("write", write_token, "LUMINA_WRITE_TOKEN"))
    if read_token:
        found.append(token_of("read", read_token, "LUMINA_READ_TOKEN"))
    if write_token and write_token == read_token:
        return [token_of("both", write_token, "LUMINA_TOKEN")]
    return found


def _look(path: Path) -> _Seen:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
