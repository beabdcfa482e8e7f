"""A span: the handle that the program holds while a piece of its work runs.

Its calls never raise, never wait, and each leaves the program as one event at once. A span ends
once; what is called on it afterwards is counted and otherwise ignored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

from lumina_stream.model.codec import encode
from lumina_stream.model.events import AttributeSet, ErrorInfo, Link, Status
from lumina_stream.recording.carriers import SpanContext, is_valid
from lumina_stream.recording.context import ambient, current
from lumina_stream.recording.sampling import is_sampled
from lumina_stream.recording.values import type_of

if TYPE_CHECKING:
    from typing import Self

    from lumina_stream.recording.recorder import Recorder

INVALID_TRACE_ID = "0" * 32
INVALID_SPAN_ID = "0" * 16


class Current:
    """The default of `parent`: the current span is the parent."""

    def __repr__(self) -> str:
        return "CURRENT"


CURRENT = Current()


class Span:
    """One piece of work. Made by `trace`, `start_span` and `current_span`, not by hand."""

    __slots__ = (
        "__weakref__",
        "_error",
        "_keys",
        "_otel",
        "_passed",
        "_previous",
        "_recorder",
        "_refused",
        "_remote",
        "_renamed",
        "_status",
        "ended",
        "span_id",
        "trace_id",
    )

    trace_id: str
    """32 lower-case hex digits; all zero when tracing is off."""
    span_id: str
    """16 lower-case hex digits; all zero when tracing is off."""

    _recorder: Recorder | None

    def __init__(self, trace_id: str, span_id: str, remote: SpanContext | None = None) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self._recorder = None
        self._remote = remote
        self._previous: Span | None = None
        self._keys: dict[str, Any] | None = None
        self._refused = False
        self._renamed: str | None = None
        self._status: Status | None = None
        self._error: ErrorInfo | None = None
        self.ended = False

    # --- what the program calls ----------------------------------------------------------------

    @property
    def is_recording(self) -> bool:
        """Whether calls on this span are recorded: it is sampled, started and not ended."""
        recorder = self._recorder
        return recorder is not None and not self._refused and not recorder.closed

    def set_attribute(self, key: str, value: Any) -> Self:
        """Set one attribute; it is on its way when the call returns.

        `value`: str, bool, int, float, lists and string-keyed maps of these; anything else becomes
        plain data and is marked. The value is taken as it is now.
        """
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("attribute_set")
        keys = self._keys
        if keys is None:
            keys = self._keys = {}
        kind = type_of(value)
        try:
            if recorder.plain_keys[key] and (
                (kind is str and len(value) <= recorder.string_length and recorder.texts_pass)
                or (kind is int and -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF)
                or kind is bool
                or (kind is float and value * 0.0 == 0.0)
            ):
                keys[key] = None
                if len(keys) <= recorder.max_attributes:
                    trace_id = self.trace_id
                    time_ns = recorder.now()
                    data = encode(AttributeSet(trace_id, self.span_id, time_ns, key, value))
                    queue = recorder.queue
                    if not queue.admit(data, queue.attributes_bound):
                        recorder.refused("attribute_set", trace_id)
                    return self
                del keys[key]
        except Exception:
            pass  # not a plain key or value: the careful way below takes anything
        try:
            recorder.attribute_set(self.trace_id, self.span_id, key, value, keys)
        except Exception as error:
            recorder.fault(error)
        return self

    def set_attributes(self, attributes: Mapping[str, Any]) -> Self:
        """Set several attributes as one event."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("attributes_set")
        keys = self._keys
        if keys is None:
            keys = self._keys = {}
        given: Any = attributes
        if type_of(given) is dict:
            given = given.copy()  # another thread may change it meanwhile
        recorder.attributes_set(self.trace_id, self.span_id, given, keys)
        return self

    def add_event(self, name: str, /, **attributes: Any) -> Self:
        """Record that something happened at this moment."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("event_added")
        recorder.event_added(self.trace_id, self.span_id, name, attributes)
        return self

    def record_exception(self, exception: BaseException, /, **attributes: Any) -> Self:
        """Record an exception that did not end the span, as an event named `exception`."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("event_added")
        error = recorder.error_info(exception)
        described: dict[str, Any] = {
            "exception.type": error.type,
            "exception.message": error.message,
            "exception.stacktrace": error.stacktrace,
        }
        recorder.event_added(self.trace_id, self.span_id, "exception", described | attributes)
        return self

    def set_status(self, status: Literal["ok", "error", "cancelled"], message: str = "") -> Self:
        """Say how the span will end, whatever leaves the block; `message` goes with an error."""
        recorder = self._recorder
        if recorder is None:
            return self._not_recorded("span_updated")
        if type_of(status) is not str or status not in ("ok", "error", "cancelled"):
            return self.add_event("invalid status", status=status)
        self._status = status
        self._error = ErrorInfo("", recorder.message(message)) if status == "error" else None
        return self

    def update_name(self, name: str) -> Self:
        """Give the span another name."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("span_updated")
        self._renamed = recorder.span_updated(self.trace_id, self.span_id, name, ())
        return self

    def add_link(self, target: Any, attributes: Mapping[str, Any] | None = None) -> Self:
        """Link this span to another: a `Span`, a `SpanContext`, or anything with both ids."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("span_updated")
        links = recorder.links([(target, attributes)])
        if links:
            recorder.span_updated(self.trace_id, self.span_id, None, links)
        return self

    def end(self) -> None:
        """End the span; the second call and all later ones do nothing."""
        self._finish(None)

    # --- context managers ------------------------------------------------------------------------

    def __enter__(self) -> Self:
        around = held = current.get()
        while around is not None:
            if around is self:  # entered twice: a second link to what is around would be a loop
                if held is not self:
                    current.set(self)
                return self
            around = around._previous
        self._make_current()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        around = self._previous
        self._leave()
        if error is not None and isinstance(error, GeneratorExit):
            # Left by a generator that is closed, perhaps in a copy of its consumer's context: the
            # consumer's own may hold this span still.
            self._passed, self._previous = True, around
        if not self.ended:
            self._finish(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, tb)

    def __del__(self) -> None:
        # Collected while open: nobody can end it any more. At interpreter exit names may be gone.
        try:
            if self._recorder is not None and not self.ended:
                self._end("abandoned", None)
        except Exception:
            pass

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.trace_id}/{self.span_id}>"

    # --- inside ----------------------------------------------------------------------------------

    def _make_current(self) -> None:
        """Become current; only for a span that is not current anywhere around here yet."""
        self._previous = resting(current.get())
        current.set(self)

    def _leave(self) -> None:
        """Stop being current here; in a context where another span is current, do nothing."""
        if current.get() is self:
            current.set(resting(self._previous))
            self._previous = None  # so that a chain of tasks does not keep all of its past alive
        else:
            self._passed = True

    def _finish(self, error: BaseException | None) -> None:
        recorder = self._recorder
        if recorder is None or self.ended:
            return
        status, info = self._status, self._error
        if error is not None:
            found = status_of(error)
            if status is None:
                status = found
            if status == found == "error":
                info = recorder.error_info(error)
        self._end(status or "ok", info)

    def _end(self, status: Status, error: ErrorInfo | None) -> None:
        recorder = self._recorder
        if recorder is None or self.ended:
            return
        self.ended = True
        self._recorder = None
        self._keys = None
        if self._refused:
            recorder.refused("span_ended", self.trace_id)
            return
        recorder.span_ended(
            self.trace_id, self.span_id, status, error, self._renamed, recorder.now()
        )

    def _not_recorded(self, event_type: str) -> Self:
        recorder = self._recorder
        if recorder is not None:  # its start was refused: all it says is lost with it
            recorder.refused(event_type, self.trace_id)
        elif self.ended:
            from lumina_stream.recording.context import active

            if active.recorder is not None:
                active.recorder.late_calls += 1
        return self


class NonRecordingSpan(Span):
    """A span that records nothing: tracing is off, or its root was not sampled. All its children are it."""

    __slots__ = ()

    def end(self) -> None:
        """Do nothing: it is shared by all that is not recorded below it."""

    def record(self, x: Any) -> Any:
        """Return `x`: where a recorded call has a `LlmSpan`, an unrecorded one has this."""
        return x

    def record_request(self, arguments: Mapping[str, Any]) -> Self:
        """Do nothing."""
        return self

    def _make_current(self) -> None:
        return None

    def _leave(self) -> None:
        return None

    def _not_recorded(self, event_type: str) -> Self:
        return self

    def __del__(self) -> None:
        return None


class UnsampledRoot(NonRecordingSpan):
    """The root of a trace that was not sampled: current while its block runs, so that its children know."""

    __slots__ = ()

    _make_current = Span._make_current
    _leave = Span._leave

    def _finish(self, error: BaseException | None) -> None:
        self.ended = True


class RemoteParent(NonRecordingSpan):
    """Stand in for a span of another process, where it is the current one."""

    __slots__ = ()


OFF = NonRecordingSpan(INVALID_TRACE_ID, INVALID_SPAN_ID)
"""The span there is when there is none: `current_span()` outside of any, and everything while off."""


def resting(span: Span | None) -> Span | None:
    """Return the span itself, or the nearest one around it that was not left elsewhere.

    A span that ended where it was current stays the parent of what its tasks do later. One that was
    left in another context (a generator closed by another task, or out of order) is nobody's
    parent any more, though the context in which it was entered still holds it.
    """
    while span is not None and span.ended and getattr(span, "_passed", False):
        span = span._previous  # pyright: ignore[reportPrivateUsage]
    if span is not None:
        # Such spans in between are cut out, so that overlapping generators, each opened before the
        # last one is closed, do not keep all of their past alive.
        previous = span._previous  # pyright: ignore[reportPrivateUsage]
        while previous is not None and previous.ended and getattr(previous, "_passed", False):
            previous = previous._previous  # pyright: ignore[reportPrivateUsage]
        span._previous = previous  # pyright: ignore[reportPrivateUsage]
    return span


def here() -> Span | None:
    """Return the span of the code that runs now, None outside of any."""
    span = current.get()
    return resting(span) if span is not None and span.ended else span


def start(
    recorder: Recorder,
    name: str,
    kind: str | None,
    parent: Span | SpanContext | Current | None,
    root: bool,
    links: Iterable[Any],
    attributes: Mapping[str, Any] | None,
    more: Mapping[str, Any],
    made: type[Span] = Span,
) -> Span:
    """Start a span: find its parent, decide on sampling, record its start. It is not current yet.

    `made`: the class of a recorded one.
    """
    remote: SpanContext | None = None
    above: Span | None = None
    if not root:
        if isinstance(parent, SpanContext) and is_valid(parent):
            remote = parent
        else:
            held = current.get()
            if held is not None and held.ended:
                held = resting(held)
            above = parent if isinstance(parent, Span) else held
            if isinstance(above, NonRecordingSpan):
                if isinstance(above, RemoteParent):
                    remote = above._remote  # pyright: ignore[reportPrivateUsage]
                elif above.trace_id != INVALID_TRACE_ID:
                    return above if above is held else carry_on(above)
                above = None
    if above is not None:
        return _record_start(
            recorder,
            above.trace_id,
            above.span_id,
            False,
            above._remote,  # pyright: ignore[reportPrivateUsage]
            name,
            kind,
            links,
            attributes,
            more,
            made,
        )
    if remote is not None:
        trace_id, sampled = remote.trace_id, remote.sampled
    else:
        trace_id = recorder.new_trace_id()
        sampled = is_sampled(trace_id, recorder.sample_bound)
    if not sampled:
        recorder.unsampled += 1
        return UnsampledRoot(trace_id, recorder.new_span_id(), remote)
    parent_id = None if remote is None else remote.span_id
    return _record_start(
        recorder,
        trace_id,
        parent_id,
        remote is not None,
        remote,
        name,
        kind,
        links,
        attributes,
        more,
        made,
    )


def carry_on(above: NonRecordingSpan) -> UnsampledRoot:
    """Return what makes an unsampled trace current where it is not: in another thread, say."""
    return UnsampledRoot(above.trace_id, above.span_id, above._remote)  # pyright: ignore[reportPrivateUsage]


def _record_start(
    recorder: Recorder,
    trace_id: str,
    parent_id: str | None,
    remote_parent: bool,
    remote: SpanContext | None,
    name: str,
    kind: str | None,
    links: Iterable[Any],
    attributes: Mapping[str, Any] | None,
    more: Mapping[str, Any],
    made: type[Span],
) -> Span:
    span = made(trace_id, recorder.new_span_id(), remote)
    around = ambient.get()
    if around is not None or attributes is not None:
        try:
            attributes = {**(around or {}), **(attributes or {}), **more}
        except Exception as error:  # no mapping, or one that cannot be read: the span goes on
            recorder.fault(error)
            attributes = {**(around or {}), **more}
    else:
        attributes = more
    linked: tuple[Link, ...] = ()
    try:
        if links:
            linked = recorder.links(links)
    except Exception as error:
        recorder.fault(error)
    admitted, plain = recorder.span_started(
        trace_id,
        span.span_id,
        name,
        parent_id,
        kind,
        attributes,
        linked,
        remote_parent,
    )
    span._recorder = recorder  # pyright: ignore[reportPrivateUsage]
    # Not the values: they need not live as long as the span.
    span._keys = dict.fromkeys(plain) if plain else None  # pyright: ignore[reportPrivateUsage]
    span._refused = not admitted  # pyright: ignore[reportPrivateUsage]
    return span


def status_of(error: BaseException) -> Status:
    """Return what an exception that left the block makes of the span.

    A cancelled task and a generator that its consumer closed are `cancelled`; a group is, when all
    in it are. `sys.exit(0)` is no error.
    """
    if isinstance(error, GeneratorExit | KeyboardInterrupt):
        return "cancelled"
    if isinstance(error, SystemExit):
        return "ok" if error.code in (None, 0) else "error"
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        statuses = {status_of(inner) for inner in group.exceptions}
        return "cancelled" if statuses == {"cancelled"} else "error"
    # The libraries are asked only if the program has imported them.
    for module, name in (("asyncio", "CancelledError"), ("trio", "Cancelled")):
        library = sys.modules.get(module)
        cancelled = getattr(library, name, None)
        if cancelled is not None and isinstance(error, cancelled):
            return "cancelled"
    return "error"
