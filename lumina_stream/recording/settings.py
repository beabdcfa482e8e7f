"""What `init` was told: arguments, then variables, then defaults."""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.model.limits import Limits
from lumina_stream.recording.redaction import Redaction
from lumina_stream.recording.sampling import threshold

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


class Settings(msgspec.Struct, frozen=True):
    """What `init` was told, after variables and defaults: also what a child process is told."""

    service_name: str
    endpoint: str
    token: str | None
    environment: str | None
    attributes: dict[str, Any]
    sample_rate: float
    redact: Redaction
    capture_content: bool
    limits: Limits
    export: bool
    spool_dir: str | None = None


def variable(name: str) -> str | None:
    """Return a LUMINA_ variable, None where it is missing or empty."""
    return os.environ.get(f"LUMINA_{name}") or None


def flag(name: str, default: bool) -> bool:
    """Return a LUMINA_ variable that says yes or no; raises `ConfigurationError` for anything else."""
    text = os.environ.get(f"LUMINA_{name}")
    if text is None:
        return default
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise ConfigurationError(f"LUMINA_{name} is {text!r}; write 1 or 0")


def rate(given: float | None) -> float:
    """Return the sample rate, 0.0 to 1.0: the argument, else its variable, else everything."""
    text = variable("SAMPLE_RATE")
    share: float = 1.0
    if given is not None:
        share = given
    elif text is not None:
        try:
            share = float(text)
        except ValueError:
            raise ConfigurationError(
                f"LUMINA_SAMPLE_RATE is {text!r}; write a number from 0.0 to 1.0"
            ) from None
    threshold(share)
    return share


def spool_folder(given: str | os.PathLike[str] | None) -> str | None:
    """Return the folder for spools: the argument, else its variable, else none.

    As an absolute path: the program may go elsewhere.
    """
    folder = os.fspath(given) if given else variable("SPOOL_DIR")
    return os.path.abspath(os.path.expanduser(folder)) if folder else None


def program_name() -> str:
    """Return a service name for a program that gave none: its script's or module's."""
    path = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    name = os.path.splitext(os.path.basename(path))[0]
    if name == "__main__":
        name = os.path.basename(os.path.dirname(path))
    return name or "python"


def asked_by_environment() -> bool:
    """Tell whether variables alone turn tracing on: LUMINA_ENABLED=1, or an endpoint and not =0."""
    enabled = os.environ.get("LUMINA_ENABLED", "").strip().lower()
    if enabled:
        return enabled in _TRUE
    return bool(os.environ.get("LUMINA_ENDPOINT"))
