"""Bounds on bytes that are not decoded yet: size, how many containers, how deep.

A decoder allocates for every container that one byte claims: 1 MiB of empty maps becomes 72 MiB.
So containers are counted first, by an upper bound that costs microseconds (bytes that could be a
container's header); only a frame above it is scanned exactly. Nothing is allocated in proportion
to what a header claims.
"""

import re

from lumina_stream.model import limits
from lumina_stream.model.errors import RemoteProtocolError

# fixmap, fixarray; array 16/32, map 16/32
_CONTAINER_BYTES = bytes(range(0x80, 0xA0)) + bytes((0xDC, 0xDD, 0xDE, 0xDF))

# Bytes after the type byte of every fixed-size element that is no container.
_FIXED = {
    **{0xC0: 0, 0xC1: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8},
    **{0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8},
    **{0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17},
}
# Type byte -> (bytes of the length field, bytes beside the payload) of strings, binaries, extensions.
_SIZED = {
    **{0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)},
    **{0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)},
}

# Text is full of brackets; only those outside strings open anything. It matches from every quote
# on, unclosed strings included, so that no text is read twice.
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)
_JSON_STRING_BYTES = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)


def check_frame(data: bytes, *, max_bytes: int = limits.FRAME_BYTES * 2) -> None:
    """Raise `RemoteProtocolError` when a MessagePack frame is too large, too full or malformed."""
    if len(data) > max_bytes:
        raise RemoteProtocolError(
            f"a frame of {len(data)} bytes; the limit is {max_bytes}", code=1009
        )
    if container_bound(data) > limits.FRAME_CONTAINERS:
        containers, _ = scan(data)
        if containers > limits.FRAME_CONTAINERS:
            raise RemoteProtocolError(
                f"a frame of {containers} maps and arrays; the limit is {limits.FRAME_CONTAINERS}",
                code=1009,
            )


def is_too_deep(event: bytes) -> bool:
    """Tell whether one encoded event nests deeper than the limit."""
    if container_bound(event) <= limits.FRAME_DEPTH:
        return False
    try:
        return scan(event)[1] > limits.FRAME_DEPTH
    except RemoteProtocolError:
        return True


def check_json(data: bytes | str, *, max_bytes: int = limits.FRAME_BYTES * 4) -> None:
    """Raise `RemoteProtocolError` when a JSON frame is too large, or holds too many containers."""
    if len(data) > max_bytes:
        raise RemoteProtocolError(
            f"a frame of {len(data)} bytes; the limit is {max_bytes}", code=1009
        )
    if json_containers(data) > limits.FRAME_CONTAINERS:
        opened = json_containers(
            _JSON_STRING.sub("", data)
            if isinstance(data, str)
            else _JSON_STRING_BYTES.sub(b"", data)
        )
        if opened > limits.FRAME_CONTAINERS:
            raise RemoteProtocolError(
                f"a frame of {opened} objects and arrays; the limit is {limits.FRAME_CONTAINERS}",
                code=1009,
            )


def json_containers(data: bytes | str) -> int:
    """Return an upper bound of the containers in JSON: brackets in strings are counted too."""
    if isinstance(data, str):
        return data.count("{") + data.count("[")
    return data.count(b"{") + data.count(b"[")


def container_bound(data: bytes) -> int:
    """Return an upper bound of the containers in MessagePack bytes."""
    return len(data) - len(data.translate(None, _CONTAINER_BYTES))


def scan(data: bytes) -> tuple[int, int]:
    """Return (containers, depth) of one MessagePack value, exactly, without building it.

    Raises `RemoteProtocolError` when a header claims more elements than there are bytes left, or
    the bytes end early.
    """
    at, end = 0, len(data)
    containers = deepest = 0
    open_elements: list[int] = []  # elements still to come, innermost last
    while True:
        if at >= end:
            raise RemoteProtocolError("a frame that ends in the middle of a value", code=1007)
        first = data[at]
        at += 1
        elements = -1
        if first < 0x80 or first >= 0xE0:
            pass
        elif first < 0x90:
            elements = 2 * (first & 0x0F)
        elif first < 0xA0:
            elements = first & 0x0F
        elif first < 0xC0:
            at += first & 0x1F
        elif first in _FIXED:
            at += _FIXED[first]
        elif first in _SIZED:
            width, beside = _SIZED[first]
            at += width + beside + int.from_bytes(data[at : at + width], "big")
        else:
            width = 2 if first in (0xDC, 0xDE) else 4
            elements = int.from_bytes(data[at : at + width], "big")
            elements *= 2 if first >= 0xDE else 1
            at += width
        if elements >= 0:
            containers += 1
            if elements > end - at:
                raise RemoteProtocolError(
                    f"a header that claims {elements} elements in {end - at} bytes", code=1007
                )
            deepest = max(deepest, len(open_elements) + 1)
            if elements:
                open_elements.append(elements)
                continue
        while open_elements:
            open_elements[-1] -= 1
            if open_elements[-1]:
                break
            open_elements.pop()
        if not open_elements:
            if at > end:
                raise RemoteProtocolError("a frame that ends in the middle of a value", code=1007)
            return containers, deepest
