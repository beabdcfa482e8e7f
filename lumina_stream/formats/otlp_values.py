"""Attribute values from elsewhere, cut to what an event may carry; what is cut is marked by path."""

import base64
import math
from collections.abc import Mapping
from typing import Any, cast

from lumina_stream.model import limits

VALUE_BYTES = 48 * limits.KIB
"""Text of one value. More than our own programs record in an attribute: an OpenTelemetry program has
no other way to carry a prompt; and less than an event, with room for the rest of it."""

_INT64 = 1 << 63


class Bounded:
    """Turn values into plain ones within one budget of bytes and elements; `used` is the estimate."""

    __slots__ = ("_elements", "_room", "_whole", "marks")

    def __init__(self, room: int = VALUE_BYTES) -> None:
        self._whole = self._room = room
        self._elements = limits.ELEMENTS
        self.marks: dict[str, str] = {}

    @property
    def used(self) -> int:
        """Return how many bytes the values take, about."""
        return self._whole - self._room

    def attributes(self, attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return attributes within the limits of one event, and the marks of what was cut."""
        found: dict[str, Any] = {}
        for key, value in attributes.items():
            if len(found) >= limits.ATTRIBUTES or self._room <= 0:
                self.marks["@attributes"] = f"cut:{len(attributes)}"
                break
            short = self.key(key)
            found[short] = self.value(value, short)
        return found, self.marks

    def key(self, key: str) -> str:
        """Return a key as a label."""
        if len(key) > limits.KEY_LENGTH:
            self.marks[key[: limits.KEY_LENGTH]] = f"cut:{len(key)}"
            key = key[: limits.KEY_LENGTH]
        self._room -= len(key) + 2
        return key

    def value(self, value: Any, path: str, depth: int = 0) -> Any:
        """Return a value as plain data."""
        self._room -= 2
        match value:
            case str():
                return self._text(value, path)
            case bool() | None:
                return value
            case int():
                self._room -= 8
                if -_INT64 <= value < _INT64:
                    return value
                self.marks[path] = "converted:int"
                return str(value)
            case float():
                self._room -= 8
                if math.isfinite(value):
                    return value
                self.marks[path] = "converted:float"
                return str(value)
            case bytes():
                most = max(0, self._room) * 3 // 4
                text = base64.b64encode(value[:most]).decode("ascii")
                self._room -= len(text)
                self.marks[path] = f"converted:bytes:{len(value)}"
                return text
            case list():
                return self._list(cast("list[Any]", value), path, depth)
            case dict():
                return self._map(cast("dict[str, Any]", value), path, depth)
            case _:
                self.marks[path] = f"converted:{type(value).__name__}"
                return self._text(str(value), path)

    def _text(self, text: str, path: str) -> str:
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size <= self._room:
            self._room -= size
            return text
        most = max(0, self._room)
        self.marks[path] = f"cut:{len(text)}"
        self._room -= most
        return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")

    def _list(self, values: list[Any], path: str, depth: int) -> Any:
        if depth >= limits.DEPTH:
            return self._too_deep(path)
        found: list[Any] = []
        for index, value in enumerate(values):
            if not self._has_room():
                self.marks[path] = f"cut:{len(values)}"
                break
            found.append(self.value(value, f"{path}[{index}]", depth + 1))
        return found

    def _map(self, values: dict[str, Any], path: str, depth: int) -> Any:
        if depth >= limits.DEPTH:
            return self._too_deep(path)
        found: dict[str, Any] = {}
        for key, value in values.items():
            if not self._has_room():
                self.marks[path] = f"cut:{len(values)}"
                break
            short = self.key(key)
            found[short] = self.value(value, f"{path}.{short}", depth + 1)
        return found

    def _has_room(self) -> bool:
        self._elements -= 1
        return self._elements >= 0 and self._room > 0

    def _too_deep(self, path: str) -> str:
        self.marks[path] = f"cut:deeper than {limits.DEPTH}"
        return "…"
