"""The class of an OpenTelemetry span whose calls stream.

A call goes to the span's mirror after the SDK has done its own work, so that what is streamed is
what the SDK kept. Other processors and exporters see the span that they would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk import trace as sdk

from lumina_stream.instrument.opentelemetry_span import MIRROR, Mirror
from lumina_stream.recording.values import type_of

_live: dict[type, type] = {}
"""By its class, the class that a span gets; those classes themselves are in it as well."""
_births = 0
"""How many want the SDK's spans to be born with their live class."""


def go_live(span: Any, mirror: Mirror) -> None:
    """Let the calls on a span stream to its mirror. It stays an instance of its class."""
    # Not by `__dict__`: asked for, it makes every later access slower.
    span._lumina_mirror = mirror
    try:  # of what the span holds, what `on_end` gets in a copy of the span is this very object
        span._attributes._lumina_mirror = mirror
    except AttributeError:
        pass
    kind = type_of(span)
    live = _live.get(kind)
    if live is None:
        live = _live_class(kind)
    if live is not kind:
        span.__class__ = live


def born_live() -> Callable[[], None]:
    """Have the SDK make its spans of the live class at once, and return what ends that.

    A span that changes its class when it is there already is slower in all that is done with it
    afterwards: its attributes move out of the object. It still works so where the SDK has no such
    name, and for spans of other classes.
    """
    global _births
    _births += 1
    kind: Any = getattr(sdk, "_Span", None)
    if isinstance(kind, type):
        sdk._Span = _live_class(kind)  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    wanted = True

    def undo() -> None:
        global _births
        nonlocal wanted
        if wanted:
            wanted = False
            _births -= 1
            live: Any = getattr(sdk, "_Span", None)
            if not _births and _live.get(live) is live:
                sdk._Span = live.__base__  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]

    return undo


def _live_class(kind: Any) -> type:
    """Return a subclass whose calls stream. Calls that this version of the SDK lacks are left out."""
    made = _live.get(kind)
    if made is not None:
        return made
    namespace: dict[str, Any] = {
        MIRROR: None,
        "__slots__": (),
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    for name, make in _STREAMING.items():
        base = getattr(kind, name, None)
        if base is not None:
            namespace[name] = make(base)
    made = _live[kind] = type(kind)(kind.__name__, (kind,), namespace)
    _live[made] = made
    return made


def _set_attribute(base: Callable[..., None]) -> Callable[..., None]:
    def set_attribute(self: Any, key: str, value: Any) -> None:
        base(self, key, value)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None:
            mirror.attribute_changed(self, key)

    return set_attribute


def _set_attributes(base: Callable[..., None]) -> Callable[..., None]:
    def set_attributes(self: Any, attributes: Mapping[str, Any]) -> None:
        base(self, attributes)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None:
            mirror.attributes_changed(self, attributes)

    return set_attributes


def _add_event(base: Callable[..., None]) -> Callable[..., None]:
    # `add_event` and `record_exception` both arrive here, with the event as the SDK keeps it.
    def _add_event(self: Any, event: Any) -> None:
        base(self, event)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None:
            mirror.event_came(event)

    return _add_event


def _add_link(base: Callable[..., None]) -> Callable[..., None]:
    def _add_link(self: Any, link: Any) -> None:
        base(self, link)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None:
            mirror.link_came(link)

    return _add_link


def _update_name(base: Callable[..., None]) -> Callable[..., None]:
    def update_name(self: Any, name: str) -> None:
        base(self, name)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None and not mirror.ended:
            mirror.update_name(self._name)

    return update_name


_STREAMING: dict[str, Callable[[Any], Any]] = {
    "set_attribute": _set_attribute,
    "set_attributes": _set_attributes,
    "_add_event": _add_event,
    "_add_link": _add_link,
    "update_name": _update_name,
}
