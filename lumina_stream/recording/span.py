"""A span: the handle that the program holds while a piece of its work runs.

Its calls never raise, never wait, and each leaves the program as one event at once. A span ends
once; what is called on it afterwards is counted and otherwise ignored.
"""

# A span reads the private fields of the spans around it.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import sys
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from lumina_stream.model.codec import encode
from lumina_stream.model.events import ErrorInfo, Status
from lumina_stream.recording import encoding
from lumina_stream.recording.awaiting import DONE
from lumina_stream.recording.carriers import SpanContext
from lumina_stream.recording.context import active, current
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.values import type_of

if TYPE_CHECKING:
    from typing import Self

    from lumina_stream.recording.recorder import Recorder

# Looked up once: these are asked for with every event.
_join = b"".join
_ATTRIBUTE_SET, _ENDED = encoding.ATTRIBUTE_SET[2], encoding.ENDED[0]
_pack_set, _pack_ended = encoding.packer(encoding.ATTRIBUTE_SET), encoding.packer(encoding.ENDED)
_current, _set_current = current.get, current.set

INVALID_TRACE_ID = "0" * 32
INVALID_SPAN_ID = "0" * 16


class Span(msgspec.Struct, eq=False, weakref=True):
    """One piece of work. Made by `trace`, `start_span` and `current_span`, not by hand.

    A Struct, because one is made in a single call however many fields it has.
    """

    _head: bytes
    """How its events go on after their type: see `encoding`."""
    _recorder: Recorder | None = None
    """What its events go to, until it has ended; None for a span that records nothing."""
    _previous: Span | None = None
    _remote: SpanContext | None = None
    _keys: dict[str, Any] | None = None
    _refused: bool = False
    _renamed: str | None = None
    _status: Status | None = None
    _error: ErrorInfo | None = None
    _passed: bool = False
    _otel: Any = None
    _usual: bool = True
    """Whether it ends `ok` and with nothing to say, if no exception leaves the block."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._recorder is None

    @property
    def trace_id(self) -> str:
        """32 lower-case hex digits; all zero when tracing is off."""
        return encoding.trace_id_of(self._head)

    @property
    def span_id(self) -> str:
        """16 lower-case hex digits; all zero when tracing is off."""
        return encoding.span_id_of(self._head)

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
        kind = type_of(value)
        try:
            field = recorder.key_fields[key]
            if (
                (kind is str and len(value) <= recorder.plain_length)
                or (kind is int and -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF)
                or kind is bool
                or (kind is float and value * 0.0 == 0.0)
            ):
                keys = self._keys
                if keys is None:
                    self._keys = {key: None}
                elif key not in keys:
                    keys[key] = None
                    if len(keys) > recorder.max_attributes:
                        del keys[key]
                        raise KeyError  # the careful way counts it
                tick, queue = recorder.tick, recorder.queue
                begun = _pack_set(_ATTRIBUTE_SET, self._head, recorder.anchor_ns + tick())
                data = _join((begun, field, encode(value)))
                if not queue.admit(data, queue.attributes_bound):
                    recorder.refused("attribute_set", self._head)
                return self
        except Exception:
            pass  # not a plain key or value: the careful way below takes anything
        keys = self._keys
        if keys is None:
            keys = self._keys = {}
        try:
            recorder.attribute_set(self._head, key, value, keys)
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
        recorder.attributes_set(self._head, given, keys)
        return self

    def add_event(self, name: str, /, **attributes: Any) -> Self:
        """Record that something happened at this moment."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("event_added")
        recorder.event_added(self._head, name, attributes)
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
        recorder.event_added(self._head, "exception", described | attributes)
        return self

    def set_status(self, status: Literal["ok", "error", "cancelled"], message: str = "") -> Self:
        """Say how the span will end, whatever leaves the block; `message` goes with an error."""
        recorder = self._recorder
        if recorder is None:
            return self._not_recorded("span_updated")
        if type_of(status) is not str or status not in ("ok", "error", "cancelled"):
            return self.add_event("invalid status", status=status)
        self._status, self._usual = status, False
        self._error = ErrorInfo("", recorder.message(message)) if status == "error" else None
        return self

    def update_name(self, name: str) -> Self:
        """Give the span another name."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("span_updated")
        self._usual = False
        self._renamed = recorder.span_updated(self._head, name, ())
        return self

    def add_link(self, target: Any, attributes: Mapping[str, Any] | None = None) -> Self:
        """Link this span to another: a `Span`, a `SpanContext`, or anything with both ids."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("span_updated")
        links = recorder.links([(target, attributes)])
        if links:
            recorder.span_updated(self._head, None, links)
        return self

    def end(self) -> None:
        """End the span; the second call and all later ones do nothing."""
        self._finish(None)

    # --- context managers ------------------------------------------------------------------------

    def __enter__(self) -> Self:
        around = held = _current()
        while around is not None:
            if around is self:  # entered twice: a second link to what is around would be a loop
                if held is not self:
                    _set_current(self)
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
        if around is None and _current() is self:
            _set_current(None)
        else:
            self._leave()
        recorder = self._recorder
        if error is not None or recorder is None or not self._usual:
            if error is not None and isinstance(error, GeneratorExit):
                # Left by a generator that is closed, perhaps in a copy of its consumer's context: the
                # consumer's own may hold this span still.
                self._passed, self._previous = True, around
            self._finish(error)
            return
        self._recorder = None
        tick, queue = recorder.tick, recorder.queue
        end = _pack_ended(_ENDED, self._head, recorder.anchor_ns + tick())
        if not queue.admit(end, queue.ends_bound):
            recorder.refused("span_ended", self._head)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        self.__exit__(kind, error, tb)
        return DONE

    def __repr__(self) -> str:
        kind = Span if type(self) is RecordedSpan else type(self)
        return f"<{kind.__name__} {self.trace_id}/{self.span_id}>"

    # --- inside ----------------------------------------------------------------------------------

    def _make_current(self) -> None:
        """Become current; only for a span that is not current anywhere around here yet."""
        self._previous = resting(_current())
        _set_current(self)

    def _leave(self) -> None:
        """Stop being current here; in a context where another span is current, do nothing."""
        if _current() is not self:
            self._passed = True
            return
        around = self._previous
        if around is None:
            _set_current(None)
        else:
            _set_current(around if around._recorder is not None else resting(around))
            self._previous = None  # so that a chain of tasks does not keep all of its past alive

    def _finish(self, error: BaseException | None) -> None:
        recorder = self._recorder
        if recorder is None:
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
        if recorder is None:
            return
        self._recorder = None
        if self._refused:
            recorder.refused("span_ended", self._head)
        else:
            recorder.span_ended(self._head, status, error, self._renamed)

    def _not_recorded(self, event_type: str) -> Self:
        recorder = self._recorder
        if recorder is not None:  # its start was refused: all it says is lost with it
            recorder.refused(event_type, self._head)
        elif active.recorder is not None:
            active.recorder.late_calls += 1
        return self


class RecordedSpan(Span):
    """A span whose events are recorded, and that ends as `abandoned` if it is collected while open."""

    def __del__(self) -> None:
        # Nobody can end it any more. At interpreter exit names may be gone.
        try:
            if self._recorder is not None:
                self._end("abandoned", None)
        except Exception:
            pass


class NonRecordingSpan(Span):
    """A span that records nothing: tracing is off, or its root was not sampled. All its children are it."""

    _over: bool = False

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._over

    def end(self) -> None:
        """Do nothing: it is shared by all that is not recorded below it."""

    def record(self, x: Any) -> Any:
        """Return `x`: where a recorded call has a `LlmSpan`, an unrecorded one has this."""
        return x

    def record_request(self, arguments: Mapping[str, Any]) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        return None

    def _make_current(self) -> None:
        return None

    def _leave(self) -> None:
        return None

    def _not_recorded(self, event_type: str) -> Self:
        return self


class UnsampledRoot(NonRecordingSpan):
    """The root of a trace that was not sampled: current while its block runs, so that its children know.

    Its head may be no more than its trace part.
    """

    _make_current = Span._make_current
    _leave = Span._leave

    @property
    def span_id(self) -> str:
        """16 lower-case hex digits; the trace's last ones, unless it was given its own."""
        return encoding.span_id_of(self._head) or self.trace_id[16:]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._previous is None and _current() is self:
            _set_current(None)
        else:
            self._leave()
        self._over = True

    def _finish(self, error: BaseException | None) -> None:
        self._over = True


class RemoteParent(NonRecordingSpan):
    """Stand in for a span of another process, where it is the current one."""


OFF = NonRecordingSpan(head_of(INVALID_TRACE_ID, INVALID_SPAN_ID))
"""The span there is when there is none: `current_span()` outside of any, and everything while off."""


def resting(span: Span | None) -> Span | None:
    """Return the span itself, or the nearest one around it that was not left elsewhere.

    A span that ended where it was current stays the parent of what its tasks do later. One that was
    left in another context (a generator closed by another task, or out of order) is nobody's
    parent any more, though the context in which it was entered still holds it.
    """
    while span is not None and span.ended and span._passed:
        span = span._previous
    if span is not None:
        # Such spans in between are cut out, so that overlapping generators, each opened before the
        # last one is closed, do not keep all of their past alive.
        previous = span._previous
        while previous is not None and previous.ended and previous._passed:
            previous = previous._previous
        span._previous = previous
    return span


def here() -> Span | None:
    """Return the span of the code that runs now, None outside of any."""
    span = _current()
    return resting(span) if span is not None and span.ended else span


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
