"""TLS of the relay's port: a certificate and its key, checked at the start and read anew when they change."""

import asyncio
import ssl
import stat
from pathlib import Path

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.relay.console import RelayLog

LOOK_S = 60.0
"""Between two looks at the files: certificates are renewed weeks before they end."""


class Tls:
    """The context that connections are accepted with. Raises `ConfigurationError` for wrong files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._changed()
        self._load(self.context)

    def look(self, log: RelayLog) -> None:
        """Take over files that changed, for connections from now on; wrong ones change nothing."""
        seen = self._changed()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            # Tried on another one first: half of a change would leave a key that does not fit.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except ConfigurationError as error:
            log.error("the certificate cannot be used; the one before it stays", reason=str(error))
        else:
            log.info("the certificate was read anew")

    async def run(self, log: RelayLog) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look(log)

    def _changed(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in self._files)
        except OSError:
            return ()

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
            try:
                with path.open("rb"):
                    pass
            except OSError as error:
                raise ConfigurationError(
                    f"{option} {path} cannot be read: {error.strerror}"
                ) from None
        if key.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise ConfigurationError(
                f"everybody on this machine may use the key {key}; mend that with: chmod 600 {key}"
            )
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except ssl.SSLError as error:
            raise ConfigurationError(_said(error, certificate, key)) from None


def _no_passphrase() -> str:
    # Without this, OpenSSL would ask on the terminal, where perhaps nobody sits.
    raise ConfigurationError(
        "the key of --tls-key is locked with a passphrase; write one without: "
        "openssl pkey -in KEY -out NEW_KEY"
    )


def _said(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {key} does not fit the certificate {certificate}; one of them is another's"
    return (
        f"{certificate} and {key} are no certificate and key that can be used "
        f"({error.reason or error}); both are PEM files, the certificate with its chain"
    )
