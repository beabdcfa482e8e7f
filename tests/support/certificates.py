"""Certificates as people make them for themselves: with the `openssl` command."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate that is its own CA, and its key."""

    certificate: Path
    key: Path


def make_certificate(
    folder: Path, name: str, names: str = "IP:127.0.0.1,DNS:localhost", passphrase: str = ""
) -> Certificate:
    """Make a self-signed certificate for some names; the key has mode 0600."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}",
            "-keyout", str(made.key), "-out", str(made.certificate),
            *(["-passout", f"pass:{passphrase}"] if passphrase else ["-nodes"]),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    made.key.chmod(0o600)
    return made
