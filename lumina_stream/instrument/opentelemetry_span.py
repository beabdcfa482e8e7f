"""One OpenTelemetry span, recorded while it runs.

`Mirror` is our side of it. `go_live` gives the SDK's span a class whose calls stream to the mirror
after the SDK has done its own work, so that what is streamed is what the SDK kept. The streaming is
a convenience: what it missed, in whatever version of the SDK, comes with `Mirror.finish`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from weakref import ref

from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceState

from lumina_stream.instrument.content import places, withheld
from lumina_stream.model import opentelemetry as names
from lumina_stream.model.events import ErrorInfo, Link, Status
from lumina_stream.recording.carriers import SpanContext as Carried
from lumina_stream.recording.context import ambient
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import Span, status_of
from lumina_stream.recording.values import type_of

MIRROR = "_lumina_mirror"
"""Where an SDK span, and what it hands to `on_end`, keep their mirror."""

_INLINE = 1_000
"""Elements of a sequence that is copied into a list; a longer one is cut by the recorder."""

Reported: TypeAlias = Any
"""The SDK's span, or the read-only one that `on_end` gets: read by name, they differ by version."""

_MOST_SCOPES = 1_000
_NO_STATE = TraceState.get_default()
_NOTHING: dict[str, Any] = {}
_FROZEN = (tuple, dict)
"""Of which types the SDK's containers are; no other value needs a change before it is recorded."""
# Members of an enumeration, asked for by name, are slow.
_UNSET, _OK, _INTERNAL = StatusCode.UNSET, StatusCode.OK, SpanKind.INTERNAL

_open: dict[int, ref[Mirror]] = {}
"""Mirrors of the spans that have not ended, by span id: their OpenTelemetry span holds them."""


def mirror_of(span_id: int) -> Mirror | None:
    """Return the mirror of an open span, None if it is not recorded here."""
    found = _open.get(span_id)
    return None if found is None else found()


class Mirror(Span):
    """What is recorded of an OpenTelemetry span: the same ids, the same times."""

    __slots__ = ("_event_count", "_first_name", "_link_count", "_number", "_raised", "_sent")

    _sent: dict[str, Any]
    """The values that were streamed, by key: the very objects that the SDK's span holds."""
    _raised: int
    """The exception that was being handled when the span began: it is not the span's own."""

    def begin(self, recorder: Recorder, span: Reported) -> None:
        """Record the start, with what the span has by now."""
        context: SpanContext = span._context
        self._number = context[1]  # a tuple: its properties cost a frame each
        attributes, kind = _beside(span, context), None
        sent = self._sent = _plain_of(span._attributes).copy()
        around = ambient.get()
        if sent or around:
            attributes = {**(around or {}), **sent, **attributes}
            for key, value in sent.items():
                if type(value) in _FROZEN:
                    attributes[key] = _plain(value)
            kind = names.kind_of(attributes)
        if not recorder.capture_content:
            attributes = withheld(attributes)
        links: tuple[Any, ...] = ()
        self._event_count = 0
        self._link_count = _length(span._links)
        if self._link_count:
            links = recorder.links(_links(tuple(span._links)))
        self._first_name = span._name
        self._raised = id(sys.exception())
        parent: SpanContext | None = span._parent
        admitted, self._keys = recorder.span_started(
            self.trace_id,
            self.span_id,
            self._first_name,
            None if parent is None else parent[1].to_bytes(8, "big").hex(),
            kind,
            attributes,
            links,
            parent is not None and parent[2],
            span._start_time or 0,
        )
        state: TraceState = context[4]
        if state is not _NO_STATE and state:
            self._remote = Carried(self.trace_id, self.span_id, True, state.to_header())
        self._recorder = recorder
        self._refused = not admitted
        _open[self._number] = ref(self)

    def attribute_changed(self, span: Reported, key: str) -> None:
        """Stream the attribute of this key, if the span holds it and it was not sent."""
        held = span._attributes
        value = getattr(held, "_dict", held)[key]
        recorder, sent = self._recorder, self._sent
        if recorder is None or (key in sent and sent[key] is value):
            return
        sent[key] = value
        if recorder.capture_content:
            self.set_attribute(key, _plain(value) if type(value) in _FROZEN else value)
        else:
            self._send(recorder, {key: value})

    def attributes_changed(self, span: Reported, keys: Iterable[str]) -> None:
        """Stream the attributes of these keys that the span holds and that were not sent."""
        recorder = self._recorder
        if recorder is None:
            return
        held, sent = _plain_of(span._attributes), self._sent
        changed: dict[str, Any] = {}
        for key in keys:
            try:
                value = held[key]
            except (KeyError, TypeError):  # the SDK would not have it
                continue
            if key not in sent or sent[key] is not value:
                sent[key] = changed[key] = value
        if changed:
            self._send(recorder, changed)

    def event_came(self, event: Any) -> None:
        """Stream an event as the SDK made it."""
        recorder = self._recorder
        if recorder is None:
            return
        self._event_count += 1
        if self._refused:
            recorder.refused("event_added", self.trace_id)
            return
        name, attributes = event.name, event.attributes
        attributes = _thawed(getattr(attributes, "_dict", attributes) or {})
        if not recorder.capture_content:
            attributes = withheld(attributes, name)
        recorder.event_added(self.trace_id, self.span_id, name, attributes, event.timestamp or 0)

    def links_came(self, links: Iterable[Any]) -> None:
        """Stream further links."""
        recorder = self._recorder
        if recorder is None:
            return
        found = recorder.links(_links(links))
        if self._refused:
            recorder.refused("span_updated", self.trace_id)
        elif found:
            recorder.span_updated(self.trace_id, self.span_id, None, found)

    def link_came(self, link: Any) -> None:
        """Stream one further link."""
        self._link_count += 1
        self.links_came((link,))

    def finish(self, span: Reported) -> None:
        """Record what the stream missed, and the end; the second time does nothing."""
        recorder = self._recorder
        if recorder is None or self.ended:
            return
        _open.pop(self._number, None)
        status: Status = "ok"
        error: ErrorInfo | None = None
        name: str | None = None
        try:
            code = span._status.status_code
            if not self._refused and not self._is_told(span, code):
                try:
                    self._catch_up(recorder, span, code)
                except Exception as fault:
                    recorder.fault(fault)
            raised = sys.exception() if code is _UNSET else None
            if code is not _UNSET or raised is not None or self._status is not None:
                status, error = self._outcome(recorder, span, code, raised)
            if span._name != self._first_name:
                name = span._name
        except Exception as fault:
            recorder.fault(fault)
        self.ended = True
        self._recorder = None
        self._keys = None
        self._sent = _NOTHING
        if self._refused:
            recorder.refused("span_ended", self.trace_id)
            return
        at_ns: int = span._end_time or recorder.now()
        recorder.span_ended(self.trace_id, self.span_id, status, error, name, at_ns)

    def __del__(self) -> None:
        if self.ended:
            return
        try:
            _open.pop(self._number, None)
        except Exception:  # at interpreter exit names may be gone
            pass
        super().__del__()

    # --- inside ----------------------------------------------------------------------------------

    def _send(self, recorder: Recorder, changed: dict[str, Any]) -> None:
        if not recorder.capture_content:
            changed = withheld(changed)
        if len(changed) == 1:
            ((key, value),) = changed.items()
            self.set_attribute(key, _plain(value))
        else:
            self.set_attributes(_thawed(changed))

    def _is_told(self, span: Reported, code: StatusCode) -> bool:
        """Tell, of what the SDK holds as it usually does, whether all of it was streamed."""
        try:
            held, events, links = span._attributes, span._events, span._links
            return (
                code is not _OK
                and held._dict == self._sent
                and not (held.dropped or events.dropped or links.dropped)
                and len(events._dq) == self._event_count
                and len(links._dq) == self._link_count
            )
        except AttributeError:
            return False

    def _catch_up(self, recorder: Recorder, span: Reported, code: StatusCode) -> None:
        held, events, links = span._attributes, span._events, span._links
        # None of the three says that it dropped anything when it is a plain container.
        lost = getattr(held, "dropped", 0)
        lost_events, lost_links = getattr(events, "dropped", 0), getattr(links, "dropped", 0)
        now, sent = _plain_of(held), self._sent
        said = code is _OK
        if said or lost or lost_events or lost_links or now != sent:
            changed = {
                key: value
                for key, value in now.items()
                if key not in sent or (sent[key] is not value and sent[key] != value)
            }
            if said:
                changed[names.STATUS_CODE] = "OK"
            for name, count in (
                (names.DROPPED_ATTRIBUTES, lost),
                (names.DROPPED_EVENTS, lost_events),
                (names.DROPPED_LINKS, lost_links),
            ):
                if count:
                    changed[name] = count
            if changed:
                self._send(recorder, changed)
        missed = _length(events) + lost_events - self._event_count
        if missed > 0:  # whoever added them went round the calls; they came last, as a rule
            for event in tuple(events)[-missed:]:
                self.event_came(event)
        missed = _length(links) + lost_links - self._link_count
        if missed > 0:
            self.links_came(tuple(links)[-missed:])

    def _outcome(
        self, recorder: Recorder, span: Reported, code: StatusCode, raised: BaseException | None
    ) -> tuple[Status, ErrorInfo | None]:
        said = self._status if self._status == "cancelled" else None  # said to our side of the span
        if code is _UNSET and said is None:
            if raised is None or id(raised) == self._raised or isinstance(raised, Exception):
                return "ok", None
            # OpenTelemetry says nothing of a cancelled task: it asks about `Exception` alone.
            found = status_of(raised)
            return found, recorder.error_info(raised) if found == "error" else None
        exception: Mapping[str, Any] | None = None
        for event in reversed(tuple(span._events)):
            if event.name == names.EXCEPTION:
                exception = event.attributes
                break
        description = span._status.description or ""
        status, error = names.ending_of(code.value, description, exception, said)
        if error is not None and recorder.capture_content:
            error = recorder.error_said(error.type, error.message, error.stacktrace)
        elif error is not None:
            error = recorder.error_said(error.type, "", places(error.stacktrace))
        return status, error


def new_mirror(context: SpanContext) -> Mirror:
    """Return a mirror for the span of these ids; it has not begun."""
    # The quickest of several ways to write a number with its leading zeros.
    return Mirror(context[0].to_bytes(16, "big").hex(), context[1].to_bytes(8, "big").hex())


def _length(held: Any) -> int:
    """Return the length of the SDK's bounded list, without the frame that it takes to ask it."""
    return len(getattr(held, "_dq", held))


def _plain_of(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary: the SDK's own, quick to copy and compare, if it is there."""
    held: Any = getattr(attributes, "_dict", None)
    return held if type_of(held) is dict else dict(attributes or {})


def _thawed(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes with lists for the SDK's frozen sequences; the same object if it has none."""
    for value in attributes.values():
        if type(value) in _FROZEN:
            return {key: _plain(value) for key, value in attributes.items()}
    return attributes


_scopes: dict[int, tuple[Any, dict[str, Any]]] = {}
"""What to say of an instrumentation scope, by its identity: there is one a tracer."""


def _beside(span: Reported, context: SpanContext) -> dict[str, Any]:
    """Return what OpenTelemetry keeps beside the attributes: scope, kind, trace state. Not to be changed."""
    scope = span._instrumentation_scope
    known = _scopes.get(id(scope))
    if known is None or known[0] is not scope:
        if len(_scopes) >= _MOST_SCOPES:
            _scopes.clear()
        said = {
            names.SCOPE_NAME: getattr(scope, "name", None),
            names.SCOPE_VERSION: getattr(scope, "version", None),
        }
        known = _scopes[id(scope)] = (scope, {k: v for k, v in said.items() if v})
    beside = known[1]
    kind, state = span._kind, context[4]
    if kind is not _INTERNAL:
        beside = {**beside, names.SPAN_KIND: kind.name.lower()}
    if state is not _NO_STATE and state:
        beside = {**beside, names.TRACE_STATE: state.to_header()}
    return beside


def _links(links: Iterable[Any]) -> list[Link]:
    found: list[Link] = []
    for link in links:
        said: Mapping[str, Any] = link.attributes or {}
        attributes = {key: _plain(value) for key, value in said.items()}
        context: SpanContext = link.context
        trace_id, span_id = format(context.trace_id, "032x"), format(context.span_id, "016x")
        found.append(Link(trace_id, span_id, attributes))
    return found


def _plain(value: Any) -> Any:
    """Return the SDK's frozen sequences as lists: they are no conversion worth a mark."""
    kind = type_of(value)
    if kind is str or kind is int:
        return value
    if kind is tuple and len(value) <= _INLINE:
        return [_plain(item) for item in value]
    if kind is dict and len(value) <= _INLINE:
        return {key: _plain(item) for key, item in value.items()}
    return value


# --- the span's class -----------------------------------------------------------------------------


_live: dict[type, type] = {}
"""By its class, the class that a span gets; those classes themselves are in it as well."""
_births = 0
"""How many want the SDK's spans to be born with their live class."""


def go_live(span: Any, mirror: Mirror) -> None:
    """Let the calls on a span stream to its mirror. It stays an instance of its class."""
    span._lumina_mirror = mirror  # not by `__dict__`: asked for, it makes every later access slower
    kind = type_of(span)
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
        if mirror is not None and not mirror.ended:
            try:
                mirror.attribute_changed(self, key)
            except (KeyError, TypeError):  # the SDK would not have it
                pass
            except Exception as error:
                _fault(mirror, error)

    return set_attribute


def _set_attributes(base: Callable[..., None]) -> Callable[..., None]:
    def set_attributes(self: Any, attributes: Mapping[str, Any]) -> None:
        base(self, attributes)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None and not mirror.ended:
            try:
                mirror.attributes_changed(self, attributes)
            except Exception as error:
                _fault(mirror, error)

    return set_attributes


def _add_event(base: Callable[..., None]) -> Callable[..., None]:
    # `add_event` and `record_exception` both arrive here, with the event as the SDK keeps it.
    def _add_event(self: Any, event: Any) -> None:
        base(self, event)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None and not mirror.ended:
            try:
                mirror.event_came(event)
            except Exception as error:
                _fault(mirror, error)

    return _add_event


def _add_link(base: Callable[..., None]) -> Callable[..., None]:
    def _add_link(self: Any, link: Any) -> None:
        base(self, link)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None and not mirror.ended:
            try:
                mirror.link_came(link)
            except Exception as error:
                _fault(mirror, error)

    return _add_link


def _update_name(base: Callable[..., None]) -> Callable[..., None]:
    def update_name(self: Any, name: str) -> None:
        base(self, name)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None and not mirror.ended:
            mirror.update_name(self._name)

    return update_name


def _readable_span(base: Callable[..., Any]) -> Callable[..., Any]:
    def _readable_span(self: Any) -> Any:
        readable = base(self)
        mirror: Mirror | None = self._lumina_mirror
        if mirror is not None:
            readable._lumina_mirror = mirror
        return readable

    return _readable_span


def _fault(mirror: Mirror, error: Exception) -> None:
    recorder = mirror._recorder  # pyright: ignore[reportPrivateUsage]
    if recorder is not None:
        recorder.fault(error)


_STREAMING: dict[str, Callable[[Any], Any]] = {
    "set_attribute": _set_attribute,
    "set_attributes": _set_attributes,
    "_add_event": _add_event,
    "_add_link": _add_link,
    "update_name": _update_name,
    "_readable_span": _readable_span,
}
