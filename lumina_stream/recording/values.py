"""Any Python value to plain data: what an event may carry.

`clean` never raises and never walks without a bound. What it had to change is marked by path:
`cut:<original length>`, `converted:<type>`, `redacted`, `unreadable`. Values are frozen as they are
at the call, because the result shares nothing mutable with them.
"""

import math
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Set
from typing import Any, cast

from lumina_stream.model.limits import KEY_LENGTH, Limits

type_of: Callable[[Any], Any] = type
"""`type`, without what a checker would conclude from it: the values here may be anything."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

UNPLAIN: Any = object()
"""What `Cleaner.copy` returns where something would have to be changed."""


class Cleaner:
    """Turn one call's values into plain data within one budget of elements."""

    __slots__ = ("_budget", "_limits", "_seen", "marks")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._budget = limits.elements
        self._seen: set[int] = set()
        self.marks: dict[str, str] = {}

    def clean(self, value: Any, path: str, depth: int = 0) -> Any:
        """Return `value` as plain data; note in `marks` what had to be changed."""
        kind = type_of(value)
        if kind is bool or value is None:
            return value
        if kind is str:
            return self._text(value, path)
        if kind is int:
            return self._integer(value, path)
        if kind is float:
            return self._float(value, path)
        try:
            return self._other(value, path, depth)
        except Exception as error:  # a value's own code may raise anything
            self.marks[path] = "unreadable"
            return f"<{type_name(value)}: {type(error).__name__} while reading it>"

    def copy(self, value: Any, passing: Mapping[str, bool]) -> Any:
        """Return a copy of a list or dictionary that is plain data throughout, else `UNPLAIN`.

        The quick way for what needs no change: no paths, no marks, and the same budget. `passing`:
        keys that have been judged, true for those that may be used as they are.
        """
        budget = self._budget
        try:
            copied = self._copied(value, passing, 0)
        except Exception:  # another thread changes it meanwhile
            copied = UNPLAIN
        if copied is UNPLAIN:
            self._budget = budget
        return copied

    def key(self, key: Any, path: str = "@key") -> str:
        """Return a map's or attribute's key as a short plain string."""
        if type(key) is not str:
            try:
                key = str.__str__(key) if isinstance(key, str) else str(key)
            except Exception:
                key = f"<{type_name(key)}>"
            if type(key) is not str:
                key = str.__str__(key)
        if len(key) > KEY_LENGTH:
            self.marks[path] = f"cut:{len(key)}"
            key = key[:KEY_LENGTH]
        return encodable(key)

    def _copied(self, value: Any, passing: Mapping[str, bool], depth: int) -> Any:
        kind = type_of(value)
        if kind is dict:
            copied: Any = value.copy()
            for key in copied:
                if type_of(key) is not str or not passing.get(key):
                    return UNPLAIN
            places: Any = copied.items()
        elif kind is list:
            copied = value[:]
            places = enumerate(copied)
        else:
            return UNPLAIN
        self._budget -= len(copied)
        if self._budget < 0 or depth >= self._limits.depth:
            return UNPLAIN
        length = self._limits.string_length
        for place, item in places:
            kind = type_of(item)
            if kind is str:
                if len(item) > length or not (item.isascii() or encodable(item) is item):
                    return UNPLAIN
            elif kind is int:
                if not INT64_MIN <= item <= INT64_MAX:
                    return UNPLAIN
            elif kind is float:
                if item * 0.0 != 0.0:
                    return UNPLAIN
            elif kind is not bool and item is not None:
                inner = self._copied(item, passing, depth + 1)
                if inner is UNPLAIN:
                    return UNPLAIN
                copied[place] = inner
        return copied

    def _text(self, text: str, path: str) -> str:
        if len(text) > self._limits.string_length:
            self.marks[path] = f"cut:{len(text)}"
            text = text[: self._limits.string_length]
        plain = encodable(text)
        if plain is not text:
            self.marks.setdefault(path, "converted:str with lone surrogates")
        return plain

    def _integer(self, value: int, path: str) -> int | str:
        if INT64_MIN <= value <= INT64_MAX:
            return value
        self.marks[path] = "converted:int"
        if value.bit_length() > 10_000:  # its decimal digits would cost quadratic time
            return f"<int of {value.bit_length()} bits>"
        return str(value)

    def _float(self, value: float, path: str) -> float | str:
        if math.isfinite(value):
            return value
        self.marks[path] = "converted:float"
        return str(value)

    def _other(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, str):  # a subclass: take its characters, not its __str__
            self.marks[path] = f"converted:{type_name(value)}"
            return self._text(str.__str__(value), path)
        if isinstance(value, bool | int):
            self.marks[path] = f"converted:{type_name(value)}"
            return self._integer(int(value), path)
        if isinstance(value, float):
            self.marks[path] = f"converted:{type_name(value)}"
            return self._float(float(value), path)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(cast("Any", value), path)
        if isinstance(value, list | tuple | Mapping | Set) or _is_plain_holder(value):
            return self._container(value, path, depth)
        kind = type_of(value)  # asked of the type: an object may answer to any name, at any cost
        if hasattr(kind, "item") and hasattr(kind, "ndim") and value.ndim == 0:  # a numpy scalar
            self.marks[path] = f"converted:{type_name(value)}"
            return self.clean(value.item(), path, depth + 1) if depth < self._limits.depth else "…"
        self.marks[path] = f"converted:{type_name(value)}"
        return self._cut(_shown(value), path)

    def _bytes(self, value: Any, path: str) -> str:
        view: Any = value.cast("B") if type_of(value) is memoryview else value
        length = len(view)
        self.marks[path] = f"converted:bytes:{length}"
        most = self._limits.string_length * 3 // 4
        return b2a_base64(bytes(view[:most]), newline=False).decode("ascii")

    def _container(self, value: Any, path: str, depth: int) -> Any:
        if depth >= self._limits.depth:
            self.marks[path] = f"cut:deeper than {self._limits.depth}"
            return "…"
        identity = id(value)
        if identity in self._seen:
            self.marks[path] = "converted:cycle"
            return "<cycle>"
        self._seen.add(identity)
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, path, depth)  # pyright: ignore[reportUnknownArgumentType]
            if isinstance(value, list | tuple | Set):
                if type(value) is not list:  # pyright: ignore[reportUnknownArgumentType]
                    self.marks[path] = f"converted:{type_name(value)}"
                return self._sequence(value, path, depth)  # pyright: ignore[reportUnknownArgumentType]
            self.marks[path] = f"converted:{type_name(value)}"
            return self._mapping(_fields(value), path, depth)
        finally:
            self._seen.discard(identity)

    def _mapping(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        if type_of(value) is not dict:
            self.marks.setdefault(path, f"converted:{type_name(value)}")
        for key, item in value.items():
            if self._budget <= 0:
                self.marks[path] = f"cut:{len(value)}"
                break
            self._budget -= 1
            name = self.key(key, f"{path}.@key")
            if type_of(key) is not str:
                self.marks.setdefault(path, "converted:keys")
            plain[name] = self.clean(item, f"{path}.{name}", depth + 1)
        return plain

    def _sequence(self, value: Any, path: str, depth: int) -> list[Any]:
        plain: list[Any] = []
        for item in value:
            if self._budget <= 0:
                self.marks[path] = f"cut:{len(value)}"
                break
            self._budget -= 1
            plain.append(self.clean(item, f"{path}[{len(plain)}]", depth + 1))
        return plain

    def _cut(self, text: str, path: str) -> str:
        length = len(text)
        if length > self._limits.string_length:
            self.marks[path] = f"{self.marks.get(path, '')} cut:{length}".strip()
            text = text[: self._limits.string_length]
        return encodable(text)


def cut_text(text: str, length: int) -> tuple[str, str | None]:
    """Return text within `length` that can be encoded, and its mark if it was cut."""
    if len(text) > length:
        return encodable(text[:length]), f"cut:{len(text)}"
    return encodable(text), None


def encodable(text: str) -> str:
    """Return `text` itself when it is valid Unicode, else with lone surrogates written out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _shown(value: Any) -> str:
    shown = str(value)
    return shown if type(shown) is str else str.__str__(shown)


def _is_plain_holder(value: Any) -> bool:
    """Tell whether the value is a record whose fields say all: dataclass, attrs, Struct, pydantic."""
    kind = type_of(value)
    return not isinstance(value, type) and (
        hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "__attrs_attrs__")
        or _is_record(kind)
        or hasattr(kind, "model_fields")
        or (hasattr(kind, "tolist") and hasattr(kind, "ndim") and getattr(value, "ndim", 0) > 0)
    )


def _is_record(kind: Any) -> bool:
    """Tell whether it is a Struct that is its fields; one compared by identity is a handle, as a span is."""
    return hasattr(kind, "__struct_fields__") and kind.__struct_config__.eq


def _fields(value: Any) -> Mapping[str, Any]:
    kind = type_of(value)
    names: Any = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "model_fields", None)
    if names is None and hasattr(kind, "__attrs_attrs__"):
        names = [attribute.name for attribute in kind.__attrs_attrs__]
    if names is None:
        names = getattr(kind, "__struct_fields__", None)
    if names is None:  # an array: its shape says more than a million numbers
        shape = {
            "shape": list(getattr(value, "shape", ())),
            "dtype": str(getattr(value, "dtype", "")),
        }
        if hasattr(kind, "flat"):  # not `ravel`, which may copy all of it
            return {**shape, "head": value.flat[:16].tolist()}
        return shape
    return {name: _field(value, name) for name in names}


def _field(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception as error:  # one bad field does not cost the others
        return f"<{type(error).__name__} while reading it>"


def type_name(value: Any) -> str:
    kind = type_of(value)
    module = kind.__module__
    name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    return encodable(name[:KEY_LENGTH])
