"""Stand between a stream object and the program: in place where its class allows, else by a proxy.

Both are classes made once for each class of stream, with the same few methods looked at: those that
give items, and those that end the stream. All others stay, or are forwarded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from lumina_stream.llm.streams import Watch
from lumina_stream.recording.context import current
from lumina_stream.recording.values import type_of

Find: TypeAlias = Callable[[Any], "tuple[Watch, Any]"]
"""Given what the program holds: its watch, and the object that does the work."""

ATTRIBUTE = "_lumina_watch"
_HEAP_TYPE = 1 << 9


def watched(x: Any) -> Watch | None:
    """Return the watch of a stream that is recorded already."""
    kind = type_of(x)
    if getattr(kind, "_lumina_made", False):
        return object.__getattribute__(x, ATTRIBUTE)
    return None


def attach(x: Any, watch: Watch) -> Any:
    """Return the stream `x` with the watch on it: itself, or a proxy."""
    kind = type_of(x)
    made = _subclass(kind)
    if made is not None:
        try:
            x.__dict__[ATTRIBUTE] = watch
            object.__setattr__(x, "__class__", made)
            return x
        except Exception:
            try:
                x.__dict__.pop(ATTRIBUTE, None)
            except Exception:
                pass
    return proxy(x, watch)


def proxy(x: Any, watch: Watch) -> Any:
    """Return what behaves as the stream `x` does, and holds it."""
    return _proxy_class(type_of(x))(x, watch)


# --- the two classes -------------------------------------------------------------------------------

_subclasses: WeakKeyDictionary[type, type | None] = WeakKeyDictionary()
_proxies: WeakKeyDictionary[type, type] = WeakKeyDictionary()


def _subclass(kind: type) -> type | None:
    """Return the subclass that an instance can become, None if its class does not allow it."""
    try:
        return _subclasses[kind]
    except KeyError:
        pass
    made: type | None = None
    if (
        kind.__flags__ & _HEAP_TYPE
        and kind.__dictoffset__
        and kind.__setattr__ is object.__setattr__
    ):
        names = {
            "__slots__": (),
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__doc__": kind.__doc__,
            "_lumina_made": True,
        }
        try:
            made = type(kind)(kind.__name__, (kind,), names | _methods(kind, _find_in_place))
        except Exception:  # a class that may not be derived from
            made = None
    _subclasses[kind] = made
    return made


def _find_in_place(held: Any) -> tuple[Watch, Any]:
    return held.__dict__[ATTRIBUTE], held


_OWN = frozenset(
    (
        "__class__",
        "__class_getitem__",
        "__del__",
        "__delattr__",
        "__dict__",
        "__dir__",
        "__doc__",
        "__getattr__",
        "__getattribute__",
        "__getstate__",
        "__init__",
        "__init_subclass__",
        "__module__",
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__setattr__",
        "__setstate__",
        "__sizeof__",
        "__slots__",
        "__subclasshook__",
        "__weakref__",
    )
)
"""Special methods that a proxy does not forward as they are."""


def _proxy_class(kind: type) -> Any:
    made = _proxies.get(kind)
    if made is None:
        names: dict[str, Any] = {
            name: _forward(name)
            for name in dir(kind)
            if name.startswith("__")
            and name.endswith("__")
            and name not in _OWN
            and callable(getattr(kind, name, None))
        }
        names |= _methods(kind, _find_behind)
        names["_lumina_made"] = True
        names["__slots__"] = ()
        names["__doc__"] = kind.__doc__
        made = _proxies[kind] = type(kind.__name__, (_Proxy,), names)
    return made


def _find_behind(held: Any) -> tuple[Watch, Any]:
    return held._lumina_watch, held._lumina_target


def _forward(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        target = self._lumina_target
        return getattr(type_of(target), name)(target, *args, **kwargs)

    method.__name__ = name
    return method


class _Proxy:
    """Forward everything; `isinstance` takes it for what it stands for."""

    __slots__ = ("__weakref__", "_lumina_target", "_lumina_watch")
    _lumina_target: Any
    _lumina_watch: Watch

    def __init__(self, target: Any, watch: Watch) -> None:
        object.__setattr__(self, "_lumina_target", target)
        object.__setattr__(self, ATTRIBUTE, watch)

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type_of(self._lumina_target)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_lumina_target"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._lumina_target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._lumina_target, name)

    def __dir__(self) -> list[str]:
        return dir(self._lumina_target)


# --- the methods that are looked at ----------------------------------------------------------------


def _methods(kind: type, find: Find) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def take(name: str, make: Callable[[Any, Find], Any]) -> None:
        original = getattr(kind, name, None)
        if callable(original):
            method = make(original, find)
            for dress in ("__name__", "__qualname__", "__doc__"):
                try:
                    setattr(method, dress, getattr(original, dress))
                except (AttributeError, TypeError):
                    pass
            found[name] = method

    take("__iter__", _iterating)
    take("__aiter__", _iterating)
    take("__next__", _stepping)
    take("__anext__", _stepping_async)
    if hasattr(kind, "__next__") and hasattr(kind, "throw"):
        take("send", _stepping)
        take("throw", _stepping)
    if hasattr(kind, "__anext__"):
        take("asend", _stepping_async)
        take("athrow", _stepping_async)
    take("close", _closing)
    take("aclose", _closing)
    take("__enter__", _entering)
    take("__aenter__", _entering_async)
    take("__exit__", _leaving)
    take("__aexit__", _leaving_async)
    if is_raw(kind):
        take("parse", _parsing)
    return found


def _stepping(original: Callable[..., Any], find: Find) -> Any:
    # Here and below: a frame and a change of the context saved count, because there is a piece a token.
    behind = find is _find_behind

    def step(self: Any, *args: Any) -> Any:
        if behind:
            watch, target = self._lumina_watch, self._lumina_target
        else:
            watch, target = self.__dict__[ATTRIBUTE], self
        if watch.busy or watch.over:
            return original(target, *args)
        watch.busy = True
        outside = current.get()
        if outside is not watch.inside:
            current.set(watch.inside)
        try:
            item = original(target, *args)
        except BaseException as error:
            watch.inside = current.get()
            current.set(outside)
            watch.busy = False
            watch.ended(None if isinstance(error, StopIteration) else error)
            raise
        inside = watch.inside = current.get()
        if inside is not outside:
            current.set(outside)
        watch.busy = False
        for stream in watch.streams:
            stream.piece(item)
        return item

    return step


def _stepping_async(original: Callable[..., Any], find: Find) -> Any:
    behind = find is _find_behind

    def step(self: Any, *args: Any) -> Any:
        if behind:
            watch, target = self._lumina_watch, self._lumina_target
        else:
            watch, target = self.__dict__[ATTRIBUTE], self
        # Called here, not in the coroutine: an async generator meets its loop's hooks at this moment.
        step = original(target, *args)
        return step if watch.busy or watch.over else taken(watch, step)

    async def taken(watch: Watch, step: Any) -> Any:
        if watch.busy or watch.over:
            return await step
        watch.busy = True
        outside = current.get()
        if outside is not watch.inside:
            current.set(watch.inside)
        try:
            item = await step
        except BaseException as error:
            watch.back_to(outside, error)
            watch.ended(None if isinstance(error, StopAsyncIteration) else error)
            raise
        inside = watch.inside = current.get()
        if inside is not outside:
            current.set(outside)
        watch.busy = False
        for stream in watch.streams:
            stream.piece(item)
        return item

    return step


def _iterating(original: Callable[..., Any], find: Find) -> Any:
    def iterate(self: Any) -> Any:
        watch, target = find(self)
        inner = original(target)
        if inner is target:
            return self
        if watch.busy or watch.over or watched(inner) is not None:
            return inner
        return proxy(inner, watch)

    return iterate


def _closing(original: Callable[..., Any], find: Find) -> Any:
    if inspect.iscoroutinefunction(original):

        async def close_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            watch, target = find(self)
            return await _close_async(watch, original(target, *args, **kwargs))

        return close_async

    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch, target = find(self)
        outside = current.get()
        current.set(watch.inside)
        try:
            result = original(target, *args, **kwargs)
        except BaseException:
            watch.closed()
            raise
        finally:
            current.set(outside)
        if hasattr(type_of(result), "__await__"):
            return _close_async(watch, result)
        watch.closed()
        return result

    return close


async def _close_async(watch: Watch, closing: Any) -> Any:
    outside = current.get()
    current.set(watch.inside)
    try:
        result = await closing
    except BaseException as error:
        watch.back_to(outside, error)
        watch.closed()
        raise
    current.set(outside)
    watch.closed()
    return result


def _entered(self: Any, target: Any, watch: Watch, inner: Any) -> Any:
    if inner is target:
        return self
    kind = type_of(inner)
    if watch.over or watched(inner) is not None or not (is_stream(kind) or is_raw(kind)):
        return inner
    return attach(inner, watch)


def _entering(original: Callable[..., Any], find: Find) -> Any:
    def enter(self: Any) -> Any:
        watch, target = find(self)
        if watch.busy or watch.over:
            return original(target)
        outside = current.get()
        current.set(watch.inside)
        try:
            inner = original(target)
        except BaseException as error:
            watch.ended(error)
            raise
        finally:
            current.set(outside)
        return _entered(self, target, watch, inner)

    return enter


def _entering_async(original: Callable[..., Any], find: Find) -> Any:
    async def enter(self: Any) -> Any:
        watch, target = find(self)
        if watch.busy or watch.over:
            return await original(target)
        outside = current.get()
        current.set(watch.inside)
        try:
            inner = await original(target)
        except BaseException as error:
            watch.back_to(outside, error)
            watch.ended(error)
            raise
        current.set(outside)
        return _entered(self, target, watch, inner)

    return enter


def _leaving(original: Callable[..., Any], find: Find) -> Any:
    def leave(self: Any, *args: Any) -> Any:
        watch, target = find(self)
        try:
            return original(target, *args)
        finally:
            watch.closed()

    return leave


def _leaving_async(original: Callable[..., Any], find: Find) -> Any:
    async def leave(self: Any, *args: Any) -> Any:
        watch, target = find(self)
        try:
            return await original(target, *args)
        finally:
            watch.closed()

    return leave


def _parsing(original: Callable[..., Any], find: Find) -> Any:
    def parsed(watch: Watch, result: Any) -> Any:
        if watch.over or watched(result) is not None:
            return result
        if hasattr(type_of(result), "__next__") or hasattr(type_of(result), "__anext__"):
            return attach(result, watch)
        watch.whole(result)
        return result

    if inspect.iscoroutinefunction(original):

        async def parse_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            watch, target = find(self)
            return parsed(watch, await original(target, *args, **kwargs))

        return parse_async

    def parse(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch, target = find(self)
        return parsed(watch, original(target, *args, **kwargs))

    return parse


def is_raw(kind: type) -> bool:
    """Tell whether instances are responses that the program parses itself (`with_raw_response`)."""
    return hasattr(kind, "parse") and hasattr(kind, "http_request")


def is_stream(kind: type) -> bool:
    """Tell whether instances give items one after the other, or are opened to do so."""
    return any(
        hasattr(kind, name)
        for name in ("__next__", "__anext__", "__iter__", "__aiter__", "__enter__", "__aenter__")
    )
