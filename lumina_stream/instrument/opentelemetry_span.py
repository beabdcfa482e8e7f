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

_open: dict[int, ref[Mirror]] = {}
"""Mirrors of the spans that have not ended, by span id: their OpenTelemetry span holds them."""


def mirror_of(span_id: int) -> Mirror | None:
    """Return the mirror of an open span, None if it is not recorded here."""
    found = _open.get(span_id)
    return None if found is None else found()


class Mirror(Span):
    """What is recorded of an OpenTelemetry span: the same ids, the same times."""

    __slots__ = ("_event_count", "_first_name", "_link_count", "_number", "_raised", "_sent")

    def __init__(self, context: SpanContext) -> None:
        # A tuple of both ids first: its properties cost a frame each.
        super().__init__(f"{context[0]:032x}", f"{context[1]:016x}")
        self._number = context[1]
        self._sent: dict[str, Any] = {}
        """The values that were streamed, by key: the very objects that the SDK's span holds."""
        self._event_count = 0
        self._link_count = 0
        self._first_name = ""
        self._raised = 0
        """The exception that was being handled when the span began: it is not the span's own."""

    def begin(self, recorder: Recorder, span: Reported) -> None:
        """Record the start, with what the span has by now."""
        sent = self._sent = _attributes(span).copy()
        around, kind, attributes = ambient.get(), None, _beside(span)
        if sent or around:
            attributes = {**(around or {}), **sent, **attributes}
            for key, value in sent.items():
                if type(value) is tuple or type(value) is dict:
                    attributes[key] = _plain(value)
            kind = names.kind_of(attributes)
        if not recorder.capture_content:
            attributes = withheld(attributes)
        self._link_count = _length(span._links)
        links: tuple[Any, ...] = tuple(span._links) if self._link_count else ()
        parent: SpanContext | None = span._parent
        self._first_name = span._name
        self._raised = id(sys.exception())
        admitted, self._keys = recorder.span_started(
            self.trace_id,
            self.span_id,
            self._first_name,
            None if parent is None else f"{parent[1]:016x}",
            kind,
            attributes,
            recorder.links(_links(links)) if links else (),
            parent is not None and parent[2],
            span._start_time or 0,
        )
        state: TraceState = span._context[4]
        if state is not _NO_STATE and state:
            self._remote = Carried(self.trace_id, self.span_id, True, state.to_header())
        self._recorder = recorder
        self._refused = not admitted
        _open[self._number] = ref(self)

    def attribute_changed(self, span: Reported, key: str) -> None:
        """Stream the attribute of this key, if the span holds it and it was not sent."""
        value = span._attributes[key]
        recorder, sent = self._recorder, self._sent
        if recorder is None or (key in sent and sent[key] is value):
            return
        sent[key] = value
        if recorder.capture_content:
            self.set_attribute(key, _plain(value))
        else:
            self._send(recorder, {key: value})

    def attributes_changed(self, span: Reported, keys: Iterable[str]) -> None:
        """Stream the attributes of these keys that the span holds and that were not sent."""
        recorder = self._recorder
        if recorder is None:
            return
        held, sent = span._attributes, self._sent
        changed: dict[str, Any] = {}
        for key in keys:
            try:
                value = held[key]
            except (KeyError, TypeError):  # the SDK would not have it
                continue
            if key not in sent or sent[key] is not value:
                sent[key] = changed[key] = value
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
        said: Mapping[str, Any] = event.attributes or {}
        attributes = {key: _plain(value) for key, value in said.items()}
        if not recorder.capture_content:
            attributes = withheld(attributes, event.name)
        recorder.event_added(
            self.trace_id, self.span_id, event.name, attributes, event.timestamp or 0
        )

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
        if not self._refused:
            try:
                self._catch_up(recorder, span)
            except Exception as fault:
                recorder.fault(fault)
        status: Status = "ok"
        error: ErrorInfo | None = None
        name: str | None = None
        try:
            status, error = self._outcome(recorder, span)
            name = span._name if span._name != self._first_name else None
        except Exception as fault:
            recorder.fault(fault)
        self.ended = True
        self._recorder = None
        self._keys = None
        self._sent = {}
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
        if not changed:
            return
        if not recorder.capture_content:
            changed = withheld(changed)
        if len(changed) == 1:
            ((key, value),) = changed.items()
            self.set_attribute(key, _plain(value))
        else:
            self.set_attributes({key: _plain(value) for key, value in changed.items()})

    def _catch_up(self, recorder: Recorder, span: Reported) -> None:
        held, events, links = span._attributes, span._events, span._links
        # None of the three says that it dropped anything when it is a plain container.
        lost = getattr(held, "dropped", 0)
        lost_events, lost_links = getattr(events, "dropped", 0), getattr(links, "dropped", 0)
        now, sent = _attributes(span), self._sent
        said = span._status.status_code is StatusCode.OK
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
            self._send(recorder, changed)
        missed = _length(events) + lost_events - self._event_count
        if missed > 0:  # whoever added them went round the calls; they came last, as a rule
            for event in tuple(events)[-missed:]:
                self.event_came(event)
        missed = _length(links) + lost_links - self._link_count
        if missed > 0:
            self.links_came(tuple(links)[-missed:])

    def _outcome(self, recorder: Recorder, span: Reported) -> tuple[Status, ErrorInfo | None]:
        code, description = span._status.status_code, span._status.description
        said = self._status if self._status == "cancelled" else None  # said to our side of the span
        if code is StatusCode.UNSET and said is None:
            raised = sys.exception()
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
        status, error = names.ending_of(code.value, description or "", exception, said)
        if error is not None and recorder.capture_content:
            error = recorder.error_said(error.type, error.message, error.stacktrace)
        elif error is not None:
            error = recorder.error_said(error.type, "", places(error.stacktrace))
        return status, error


def _length(held: Any) -> int:
    """Return the length of the SDK's bounded list, without the frame that it takes to ask it."""
    return len(getattr(held, "_dq", held))


def _attributes(span: Reported) -> dict[str, Any]:
    """Return a span's attributes: the SDK's own dictionary, which is quick to copy and compare, if it is there."""
    held: Any = getattr(span._attributes, "_dict", None)
    return held if type_of(held) is dict else dict(span._attributes or {})


_scopes: dict[int, tuple[Any, dict[str, Any]]] = {}
"""What to say of an instrumentation scope, by its identity: there is one a tracer."""


def _beside(span: Reported) -> dict[str, Any]:
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
    kind, state = span._kind, span._context[4]
    if kind is not SpanKind.INTERNAL:
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


_classes: dict[type, type] = {}


def go_live(span: Any, mirror: Mirror) -> None:
    """Let the calls on a span stream to its mirror. It stays an instance of its class."""
    span._lumina_mirror = mirror  # not by `__dict__`: asked for, it makes every later access slower
    kind = type_of(span)
    live = _classes.get(kind)
    if live is None:
        live = _classes[kind] = _live_class(kind)
    span.__class__ = live


def _live_class(kind: Any) -> type:
    """Return a subclass whose calls stream. Calls that this version of the SDK lacks are left out."""
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    for name, make in _STREAMING.items():
        base = getattr(kind, name, None)
        if base is not None:
            namespace[name] = make(base)
    return type(kind)(kind.__name__, (kind,), namespace)


def _set_attribute(base: Callable[..., None]) -> Callable[..., None]:
    def set_attribute(self: Any, key: str, value: Any) -> None:
        base(self, key, value)
        mirror: Mirror = self._lumina_mirror
        if not mirror.ended:
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
        mirror: Mirror = self._lumina_mirror
        if not mirror.ended:
            _safely(mirror, mirror.attributes_changed, self, attributes)

    return set_attributes


def _add_event(base: Callable[..., None]) -> Callable[..., None]:
    # `add_event` and `record_exception` both arrive here, with the event as the SDK keeps it.
    def _add_event(self: Any, event: Any) -> None:
        base(self, event)
        mirror: Mirror = self._lumina_mirror
        if not mirror.ended:
            _safely(mirror, mirror.event_came, event)

    return _add_event


def _add_link(base: Callable[..., None]) -> Callable[..., None]:
    def _add_link(self: Any, link: Any) -> None:
        base(self, link)
        mirror: Mirror = self._lumina_mirror
        if not mirror.ended:
            _safely(mirror, mirror.link_came, link)

    return _add_link


def _update_name(base: Callable[..., None]) -> Callable[..., None]:
    def update_name(self: Any, name: str) -> None:
        base(self, name)
        mirror: Mirror = self._lumina_mirror
        if not mirror.ended:
            mirror.update_name(self._name)

    return update_name


def _readable_span(base: Callable[..., Any]) -> Callable[..., Any]:
    def _readable_span(self: Any) -> Any:
        readable = base(self)
        readable._lumina_mirror = self._lumina_mirror
        return readable

    return _readable_span


def _safely(mirror: Mirror, call: Callable[..., None], *args: Any) -> None:
    try:
        call(*args)
    except Exception as error:
        _fault(mirror, error)


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
