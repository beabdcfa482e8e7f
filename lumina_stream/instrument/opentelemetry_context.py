"""One current span for both: what is current here is OpenTelemetry's parent, and the reverse.

Our ContextVar says what is innermost. OpenTelemetry's runtime context keeps its own values as ever
and is made to ask that variable: a span that it attaches becomes current here (`Attached`), and a
span of ours that is current stands in its context as `LuminaSpan`. Two variables that each knew only
their own spans could not tell which of two spans is the inner one.

Only OpenTelemetry's side is changed, when `share` is called, so that it costs nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any, Literal, TypeAlias, cast

from opentelemetry import baggage, context, trace
from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import propagation as trace_propagation

from lumina_stream.instrument import overlap
from lumina_stream.instrument.opentelemetry_ours import LuminaSpan, otel_context
from lumina_stream.instrument.opentelemetry_span import MIRROR, Mirror, mirror_of
from lumina_stream.model.limits import DEFAULT_LIMITS
from lumina_stream.recording.carriers import SpanContext
from lumina_stream.recording.context import active, current
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.span import (
    INVALID_TRACE_ID,
    OFF,
    NonRecordingSpan,
    RemoteParent,
    Span,
    resting,
)
from lumina_stream.recording.values import Cleaner, type_of

_SPAN_KEY: str = trace_propagation._SPAN_KEY  # pyright: ignore[reportPrivateUsage]
"""Under which OpenTelemetry's context holds its current span: it has no public name."""

_LOOKED_BACK = 64
"""Spans that are searched for the one to detach: deeper, it was detached far out of order."""

Known: TypeAlias = "tuple[Context, Context, trace.Span]"
"""What a span of ours has in `_otel`: for this context of OpenTelemetry, that one with this span in it."""


# --- OpenTelemetry's spans, current here -----------------------------------------------------------


class Attached(Span):
    """A recorded OpenTelemetry span where it is the current one: its calls go to that span.

    One object each time it is attached, because each has its own span around it.
    """

    token: Token[Context] = cast("Token[Context]", None)

    _over: bool = False

    @property
    def ended(self) -> bool:
        """Whether it was detached; the OpenTelemetry span may go on."""
        return self._over

    @property
    def is_recording(self) -> bool:
        """Whether the OpenTelemetry span records."""
        return self._other.is_recording()

    def set_attribute(self, key: str, value: Any) -> Attached:
        """Set an attribute of the OpenTelemetry span."""
        return self._call("set_attribute", str(key), _acceptable(value))

    def set_attributes(self, attributes: Mapping[str, Any]) -> Attached:
        """Set attributes of the OpenTelemetry span."""
        try:
            cleaned = {str(key): _acceptable(value) for key, value in attributes.items()}
        except Exception as error:
            return self._fault(error)
        return self._call("set_attributes", cleaned)

    def add_event(self, name: str, /, **attributes: Any) -> Attached:
        """Add an event to the OpenTelemetry span."""
        cleaned = {key: _acceptable(value) for key, value in attributes.items()}
        return self._call("add_event", name, cleaned)

    def record_exception(self, exception: BaseException, /, **attributes: Any) -> Attached:
        """Record an exception on the OpenTelemetry span."""
        cleaned = {key: _acceptable(value) for key, value in attributes.items()}
        return self._call("record_exception", exception, cleaned)

    def set_status(
        self, status: Literal["ok", "error", "cancelled"], message: str = ""
    ) -> Attached:
        """Set the status of the OpenTelemetry span; `cancelled`, which it does not know, is kept here."""
        if status == "error":
            return self._call("set_status", trace.StatusCode.ERROR, message)
        if status == "ok":
            return self._call("set_status", trace.StatusCode.OK)
        mirror = mirror_of(int(self.span_id, 16))
        if mirror is not None:
            mirror.set_status(status, message)
        return self

    def update_name(self, name: str) -> Attached:
        """Give the OpenTelemetry span another name."""
        return self._call("update_name", name)

    def add_link(self, target: Any, attributes: Mapping[str, Any] | None = None) -> Attached:
        """Link the OpenTelemetry span to a `Span`, a `SpanContext`, or anything with both ids."""
        try:
            linked = otel_context(target.trace_id, target.span_id, True, None, remote=False)
        except Exception as error:
            return self._fault(error)
        return self._call("add_link", linked, dict(attributes or {}))

    def end(self) -> None:
        """End the OpenTelemetry span."""
        self._call("end")

    def _finish(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._call("record_exception", error)
            self.set_status("error", f"{type(error).__name__}: {error}")
        self._call("end")

    @property
    def _other(self) -> trace.Span:
        return self._otel[2]

    def _call(self, name: str, *args: Any) -> Attached:
        try:
            getattr(self._other, name)(*args)
        except Exception as error:
            self._fault(error)
        return self

    def _fault(self, error: Exception) -> Attached:
        if active.recorder is not None:
            active.recorder.fault(error)
        return self


class Elsewhere(RemoteParent):
    """An OpenTelemetry span that is not recorded here, where it is current.

    It came from another process, was not sampled, or says that there is no span (its ids are zero).
    """

    token: Token[Context] = cast("Token[Context]", None)


_ENTRIES = (Attached, Elsewhere)


# --- the shared context ----------------------------------------------------------------------------


class SharedContext:
    """OpenTelemetry's runtime context, asked together with our current span."""

    def __init__(self, runtime_context: Any) -> None:
        self._runtime_context = runtime_context
        get, attach, detach = (
            runtime_context.get_current,
            runtime_context.attach,
            runtime_context.detach,
        )
        if type_of(runtime_context) is ContextVarsRuntimeContext:
            # What its three calls do, without a frame each: they are asked four times a span.
            variable: Any = runtime_context._current_context  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
            get, attach, detach = variable.get, variable.set, variable.reset
        self._get: Callable[[], Context] = get
        self._attach: Callable[[Context], Token[Context]] = attach
        self._detach: Callable[[Token[Context]], None] = detach

    def install(self) -> None:
        """Take the place of the three calls, in the object itself: some hold it by another name."""
        self._runtime_context.get_current = self.get_current
        self._runtime_context.attach = self.attach
        self._runtime_context.detach = self.detach

    def remove(self) -> None:
        """Give the calls back, but for `detach`: what is attached now must still be left."""
        for name in ("get_current", "attach"):
            self._runtime_context.__dict__.pop(name, None)

    def get_current(self) -> Context:
        """Return OpenTelemetry's context, with the span that is current here as its span."""
        base: Context = self._get()
        held = current.get()
        if held is None:
            return base
        known: Known | None = held._otel  # pyright: ignore[reportPrivateUsage]
        if known is not None and known[0] is base and not held.ended:
            return known[1]
        try:
            return _merged(held, base)
        except Exception as error:
            _fault(error)
            return base

    def attach(self, given: Context) -> Token[Context]:
        """Attach a context; its span becomes current here unless it is already."""
        token = self._attach(given)
        try:
            held = current.get()
            if held is not None and held.ended:
                held = resting(held)
            other: Any = given.get(_SPAN_KEY)
            mirror: Mirror | None = getattr(other, MIRROR, None)
            if (
                mirror is not None
                and not mirror.ended
                and len(given) == 1
                and (held is None or held._head != mirror._head)  # pyright: ignore[reportPrivateUsage]
            ):  # the commonest
                entry: Attached | Elsewhere | None = Attached(
                    mirror._head,  # pyright: ignore[reportPrivateUsage]
                    _remote=mirror._remote,  # pyright: ignore[reportPrivateUsage]
                    _otel=(given, given, other),
                )
            else:
                entry = _entry(given, other, held)
            if entry is not None:
                entry.token = token
                entry._previous = held  # pyright: ignore[reportPrivateUsage]
                current.set(entry)
        except Exception as error:
            _fault(error)
        return token

    def detach(self, token: Token[Context]) -> None:
        """Detach a context; where its span is current, the one around it becomes current again."""
        try:
            held = current.get()
            if isinstance(held, _ENTRIES) and held.token is token:
                around = held._previous  # pyright: ignore[reportPrivateUsage]
                current.set(around if around is None else resting(around))
                held._previous = None  # pyright: ignore[reportPrivateUsage]
            else:
                _leave(held, token)
        except Exception as error:
            _fault(error)
        self._detach(token)


_shared: SharedContext | None = None
_sharing = False


def share() -> Callable[[], None]:
    """Share the current span from now on; return what ends it. Again, it does nothing."""
    global _shared, _sharing
    if _sharing:
        return _nothing
    if _shared is None:
        _shared = SharedContext(context._RUNTIME_CONTEXT)  # pyright: ignore[reportPrivateUsage]
    _sharing = True
    _shared.install()
    return _unshare


def _unshare() -> None:
    global _sharing
    if _sharing and _shared is not None:
        _sharing = False
        _shared.remove()


def _merged(held: Span, base: Context) -> Context:
    """Return OpenTelemetry's context with our current span in it, and remember it with the span."""
    span = resting(held) if held.ended else held
    if span is None:
        return base
    known = _known(span)
    other: trace.Span = LuminaSpan(span) if known is None else known[2]
    if base.get(_SPAN_KEY) is other:
        merged = base
    elif isinstance(span, _ENTRIES) and known is not None and not base:
        merged = known[1]  # carried into another thread by our own means: all of its context is
    else:
        merged = Context({**base, _SPAN_KEY: other})
        remote = span._remote  # pyright: ignore[reportPrivateUsage]
        if remote is not None and remote.baggage and not baggage.get_all(merged):
            for key, value in remote.baggage.items():
                merged = baggage.set_baggage(key, value, merged)
    span._otel = (base, merged, other)  # pyright: ignore[reportPrivateUsage]
    return merged


def _entry(given: Context, other: Any, held: Span | None) -> Attached | Elsewhere | None:
    """Return what becomes current with a context, instead of `held`; None if nothing changes."""
    if held is None:
        if other is None:
            return None
    else:
        known = _known(held)
        if known is not None and known[2] is other:
            return None
    said = other.get_span_context() if isinstance(other, trace.Span) else None
    if said is None or not said.is_valid:
        if held is None or held.trace_id == INVALID_TRACE_ID:
            return None
        return Elsewhere(OFF._head, _otel=(given, given, trace.INVALID_SPAN))  # pyright: ignore[reportPrivateUsage]
    span_id = format(said.span_id, "016x")
    if held is not None and (held.span_id == span_id or overlap.is_open(said.span_id)):
        return None
    return _stand_in(other, said, span_id, given)


def _stand_in(
    other: trace.Span, said: trace.SpanContext, span_id: str, given: Context
) -> Attached | Elsewhere:
    trace_id = format(said.trace_id, "032x")
    carried: dict[str, str] = {}
    if len(given) > 1:
        carried = {key: str(value) for key, value in baggage.get_all(given).items()}
    ours = other._span() if isinstance(other, LuminaSpan) else mirror_of(said.span_id)  # pyright: ignore[reportPrivateUsage]
    if ours is not None and not isinstance(ours, NonRecordingSpan):
        remote = None
        if carried or said.trace_state:
            state = said.trace_state.to_header() if said.trace_state else ""
            remote = SpanContext(trace_id, span_id, True, state, carried)
        return Attached(head_of(trace_id, span_id), _remote=remote, _otel=(given, given, other))
    sampled = bool(said.trace_flags.sampled) and not _left_out(other)
    state = said.trace_state.to_header() if said.trace_state else ""
    remote = SpanContext(trace_id, span_id, sampled, state, carried)
    return Elsewhere(head_of(trace_id, span_id), _remote=remote, _otel=(given, given, other))


def _left_out(other: trace.Span) -> bool:
    """Tell whether a running span of this process was left out by our own sample rate."""
    return getattr(other, LEFT_OUT, False)


LEFT_OUT = "_lumina_left_out"
"""Set on an OpenTelemetry span that our sample rate left out: what is below it is, too."""


def _leave(held: Span | None, token: Token[Context]) -> None:
    """Have what was attached with this token be nobody's parent once the spans inside it end."""
    for _ in range(_LOOKED_BACK):
        if held is None:
            return
        if isinstance(held, _ENTRIES) and held.token is token:
            held._over = held._passed = True  # pyright: ignore[reportPrivateUsage]
            return
        held = held._previous  # pyright: ignore[reportPrivateUsage]


def _known(span: Span) -> Known | None:
    return span._otel  # pyright: ignore[reportPrivateUsage]


def _acceptable(value: Any) -> Any:
    """Return a value that OpenTelemetry takes without a warning."""
    kind = type_of(value)
    if kind is str or kind is bool or kind is int or kind is float:
        return value
    return Cleaner(DEFAULT_LIMITS).clean(value, "")


def _fault(error: Exception) -> None:
    recorder = active.recorder
    if recorder is not None:
        recorder.fault(error)


def _nothing() -> None:
    return None
