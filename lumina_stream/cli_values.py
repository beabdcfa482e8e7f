"""What the values of the command's options mean: sizes, times, ports, addresses. Wrong ones say what to write."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.transport.endpoint import parse_endpoint
from lumina_stream.viewing.text import parse_seconds

T = TypeVar("T")

LEAST_KEEP_S = 60.0
"""What is kept for less is gone before anybody looks."""
LEAST_BYTES = 1 << 20
"""Below it one busy second would push out what was just stored."""
LEAST_RATE = 64 << 10
"""What may be on its way (4 MiB) then takes the minute for which a producer can be told to pause."""

_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_bytes(text: str) -> int | None:
    """Return a size in bytes from text such as `5GiB`, `500M`, `1000`; None for `unlimited`."""
    compact = text.strip().lower().replace(" ", "")
    if compact == "unlimited":
        return None
    number = compact.rstrip("bitkmg")
    unit = compact[len(number) :].removesuffix("b").removesuffix("i")
    try:
        size = int(float(number) * _BYTES[unit])
    except (ValueError, KeyError, OverflowError):
        raise ConfigurationError(f"{text!r} is no size; write for example 500MiB or 5GiB") from None
    if size <= 0:
        raise ConfigurationError(f"{text!r} is no size; write for example 500MiB or 5GiB")
    return size


def parse_keep(text: str) -> float | None:
    """Return how long to keep traces, in seconds, from text such as `7d`; None for `forever`."""
    if text.strip().lower() == "forever":
        return None
    seconds = parse_seconds(text)
    if seconds < LEAST_KEEP_S:
        raise ConfigurationError(
            f"{text!r} is less than a minute; write for example 12h, 7d or forever"
        )
    return seconds


def parse_max_bytes(text: str) -> int | None:
    """Return how much to keep, in bytes; None for `unlimited`."""
    size = parse_bytes(text)
    if size is not None and size < LEAST_BYTES:
        raise ConfigurationError(f"{text!r} is less than 1 MiB; write for example 500MiB or 5GiB")
    return size


def parse_rate(text: str) -> int | None:
    """Return how many bytes a second a client may send; None for `unlimited`."""
    rate = parse_bytes(text.strip().lower().removesuffix("/s"))
    if rate is not None and rate < LEAST_RATE:
        raise ConfigurationError(f"{text!r} is less than 64 KiB a second; write for example 20M")
    return rate


def parse_connections(text: str) -> int | None:
    """Return how many connections a client may have; None for `unlimited`."""
    if text.strip().lower() == "unlimited":
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ConfigurationError(f"{text!r} is no number of connections; write for example 1000")
    return int(text)


def parse_port(text: str) -> int:
    """Return a port to listen on, 0 for any."""
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise ConfigurationError(f"{text!r} is no port; write 1 to 65535, or 0 for any free one")
    return int(text)


def parse_root_path(text: str) -> str:
    """Return a path prefix without a final slash."""
    if text and not text.startswith("/"):
        raise ConfigurationError(f"{text!r} does not begin with a slash; write it as /{text}")
    return text.rstrip("/")


def parse_host(text: str) -> str:
    """Return a Host header to accept: a name or address, with a port or without."""
    if not text or any(c in "/?#@" or c.isspace() for c in text):
        raise ConfigurationError(f"{text!r} is no host; write it as name or name:port")
    return text


def parse_allowed_origin(text: str) -> str:
    from lumina_stream.relay.access import parse_origin

    return parse_origin(text)


def parse_url(text: str) -> str:
    parse_endpoint(text)
    return text


def checked(check: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse say what is wrong with a value: with the sub-command's usage, exit code 2."""

    def convert(text: str) -> T:
        try:
            return check(text)
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
