"""One OpenTelemetry span, recorded while it runs: `Mirror` is our side of it.

What it is told of in between (`opentelemetry_live`) leaves at once. That is a convenience: what was
missed, in whatever version of the SDK, comes with `Mirror.finish`.
"""

from __future__ import annotations

import sys
from binascii import hexlify
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from weakref import ref

from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind, StatusCode, TraceState

from lumina_stream.instrument.content import places, withheld
from lumina_stream.model import opentelemetry as names
from lumina_stream.model.events import ErrorInfo, Link, Status
from lumina_stream.recording.carriers import SpanContext as Carried
from lumina_stream.recording.context import ambient
from lumina_stream.recording.encoding import head_of, span_id_of, trace_id_of
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import RecordedSpan, status_of
from lumina_stream.recording.values import type_of

MIRROR = "_lumina_mirror"
"""Where an SDK span keeps its mirror, and the attributes that it holds."""

_INLINE = 1_000
"""Elements of a sequence that is copied into a list; a longer one is cut by the recorder."""

Reported: TypeAlias = Any
"""The SDK's span, or the read-only one that `on_end` gets: read by name, they differ by version."""

_MOST_SCOPES = 1_000
_NO_STATE = INVALID_SPAN_CONTEXT.trace_state
"""The very object that a span without a trace state has; to ask another whether it is empty is slow."""
_NOTHING: dict[str, Any] = {}
# Members of an enumeration, asked for by name, are slow.
_UNSET, _OK, _INTERNAL = StatusCode.UNSET, StatusCode.OK, SpanKind.INTERNAL

_open: dict[int, ref[Mirror]] = {}
"""Mirrors of the spans that have not ended, by span id: their OpenTelemetry span holds them."""


def mirror_of(span_id: int) -> Mirror | None:
    """Return the mirror of an open span, None if it is not recorded here."""
    found = _open.get(span_id)
    return None if found is None else found()


class Mirror(RecordedSpan):
    """What is recorded of an OpenTelemetry span: the same ids, the same times."""

    _usual: bool = False
    _number: int = 0
    """The span id."""
    _sent: dict[str, Any] = {}
    """The values that were streamed, by key: the very objects that the SDK's span holds."""
    _raised: int = 0
    """The exception that was being handled when the span began: it is not the span's own."""
    _first_name: str = ""
    _event_count: int = 0
    _link_count: int = 0

    def attribute_changed(self, span: Reported, key: str) -> None:
        """Stream the attribute of this key, if the span holds it and it was not sent; never raises."""
        recorder, sent = self._recorder, self._sent
        if recorder is None:
            return
        try:
            held = span._attributes
            value = getattr(held, "_dict", held)[key]
            if key in sent and sent[key] is value:
                return
            sent[key] = value
            kind = type_of(value)
            if kind is tuple or kind is dict or not recorder.capture_content:
                self._send(recorder, {key: _plain(value)})
            else:
                self.set_attribute(key, value)
        except (KeyError, TypeError):  # the SDK would not have it
            pass
        except Exception as error:
            recorder.fault(error)

    def attributes_changed(self, span: Reported, keys: Iterable[str]) -> None:
        """Stream the attributes of these keys that the span holds and that were not sent; never raises."""
        recorder, sent = self._recorder, self._sent
        if recorder is None:
            return
        try:
            held = span._attributes
            held = getattr(held, "_dict", held)
            changed: dict[str, Any] = {}
            for key in keys:
                try:
                    value = held[key]
                except (KeyError, TypeError):  # the SDK would not have it
                    continue
                if key not in sent or sent[key] is not value:
                    sent[key] = value
                    kind = type_of(value)
                    changed[key] = _plain(value) if kind is tuple or kind is dict else value
            if changed:
                self._send(recorder, changed)
        except Exception as error:
            recorder.fault(error)

    def event_came(self, event: Any) -> None:
        """Stream an event as the SDK made it; never raises."""
        recorder = self._recorder
        if recorder is None:
            return
        self._event_count += 1
        if self._refused:
            recorder.refused("event_added", self._head)
            return
        try:
            try:  # what its properties return, without a frame each
                name, at_ns, attributes = event._name, event._timestamp, event._attributes._dict
            except AttributeError:
                name, at_ns, attributes = event.name, event.timestamp, dict(event.attributes or {})
            attributes = _thawed(attributes)
            if not recorder.capture_content:
                attributes = withheld(attributes, name)
            recorder.event_added(self._head, name, attributes, at_ns or 0)
        except Exception as error:
            recorder.fault(error)

    def link_came(self, link: Any) -> None:
        """Stream one further link; never raises."""
        recorder = self._recorder
        if recorder is None:
            return
        self._link_count += 1
        try:
            self._linked(recorder, (link,))
        except Exception as error:
            recorder.fault(error)

    def finish(self, span: Reported) -> None:
        """Record what the stream missed, and the end; the second time does nothing."""
        recorder = self._recorder
        if recorder is None:
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
        self._recorder = None
        self._keys = None
        self._sent = _NOTHING
        if self._refused:
            recorder.refused("span_ended", self._head)
            return
        recorder.span_ended(self._head, status, error, name, span._end_time or 0)

    def __del__(self) -> None:
        if self._recorder is None:
            return
        try:
            _open.pop(self._number, None)
        except Exception:  # at interpreter exit names may be gone
            pass
        super().__del__()

    # --- inside ----------------------------------------------------------------------------------

    def _send(self, recorder: Recorder, changed: dict[str, Any]) -> None:
        """Record attributes that are thawed already."""
        if not recorder.capture_content:
            changed = withheld(changed)
        if len(changed) == 1:
            ((key, value),) = changed.items()
            self.set_attribute(key, value)
        elif self._refused or self._keys is None:
            self.set_attributes(changed)
        else:
            recorder.attributes_set(self._head, changed, self._keys)

    def _linked(self, recorder: Recorder, links: Iterable[Any]) -> None:
        found = recorder.links(_links(links))
        if self._refused:
            recorder.refused("span_updated", self._head)
        elif found:
            recorder.span_updated(self._head, None, found)

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
                key: _plain(value)
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
            self._linked(recorder, tuple(links)[-missed:])

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


def mirrored(recorder: Recorder, span: Reported) -> Mirror:
    """Record the start of a span, with what it has by now."""
    context: SpanContext = span._context
    number = context[1]  # a tuple: its properties cost a frame each
    state: TraceState = context[4]
    # The quickest of several ways to write a number with its leading zeros.
    head = head_of(context[0].to_bytes(16, "big").hex(), number.to_bytes(8, "big").hex())
    scope = span._instrumentation_scope
    known = _scopes.get(id(scope))
    attributes = known[1] if known is not None and known[0] is scope else _of_scope(scope)
    remote: Carried | None = None
    if span._kind is not _INTERNAL:
        attributes = {**attributes, names.SPAN_KIND: span._kind.name.lower()}
    if state is not _NO_STATE and state:
        remote = Carried(trace_id_of(head), span_id_of(head), True, state.to_header())
        attributes = {**attributes, names.TRACE_STATE: remote.tracestate}
    try:  # what the SDK's own containers hold: quick to copy and to count
        held, linked = span._attributes._dict, span._links._dq
    except AttributeError:
        held, linked = dict(span._attributes or {}), span._links
    sent = held.copy()
    around, kind = ambient.get(), None
    if sent or around:
        attributes = {**around, **sent, **attributes} if around else {**sent, **attributes}
        for key, value in sent.items():
            type_ = type_of(value)
            if type_ is tuple or type_ is dict:
                attributes[key] = _plain(value)
        kind = names.kind_of(attributes)
    if not recorder.capture_content:
        attributes = withheld(attributes)
    links: tuple[Link, ...] = ()
    if linked:
        links = recorder.links(_links(tuple(linked)))
    name = span._name
    parent: SpanContext | None = span._parent
    admitted, plain = recorder.span_started(
        head,
        name,
        b"" if parent is None else hexlify(parent[1].to_bytes(8, "big")),
        kind,
        attributes,
        links,
        parent is not None and parent[2],
        span._start_time or 0,
    )
    mirror = Mirror(
        head,
        recorder,
        _remote=remote,
        # With the values, which `_sent` has as well; but never what other spans have, too.
        _keys=plain if sent or around else plain.copy(),
        _refused=not admitted,
        _number=number,
        _sent=sent,
        _raised=id(sys.exception()),
        _first_name=name,
        _link_count=len(linked),
    )
    _open[number] = ref(mirror)
    return mirror


def _length(held: Any) -> int:
    """Return the length of the SDK's bounded list, without the frame that it takes to ask it."""
    return len(getattr(held, "_dq", held))


def _plain_of(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary: the SDK's own, quick to copy and compare, if it is there."""
    held: Any = getattr(attributes, "_dict", None)
    return held if type_of(held) is dict else dict(attributes or {})


def _thawed(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes with lists for the SDK's frozen sequences; the same object if it has none.

    The SDK's containers are tuples and dictionaries: no other value needs a change.
    """
    for value in attributes.values():
        kind = type_of(value)
        if kind is tuple or kind is dict:
            return {key: _plain(value) for key, value in attributes.items()}
    return attributes


_scopes: dict[int, tuple[Any, dict[str, Any]]] = {}
"""What to say of an instrumentation scope, by its identity: there is one a tracer."""


def _of_scope(scope: Any) -> dict[str, Any]:
    """Return what to say of an instrumentation scope, and remember it. Not to be changed."""
    if len(_scopes) >= _MOST_SCOPES:
        _scopes.clear()
    said = {
        names.SCOPE_NAME: getattr(scope, "name", None),
        names.SCOPE_VERSION: getattr(scope, "version", None),
    }
    kept = {key: value for key, value in said.items() if value}
    _scopes[id(scope)] = (scope, kept)
    return kept


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
