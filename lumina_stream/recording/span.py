"""A span: the handle that the program holds while a piece of its work runs.

Its calls never raise, never wait, and each leaves the program as one event at once. A span ends
once; what is called on it afterwards is counted and otherwise ignored.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from lumina_stream.model.codec import encode
from lumina_stream.model.events import ErrorInfo, Link, Status
from lumina_stream.recording import encoding
from lumina_stream.recording.awaiting import DONE
from lumina_stream.recording.carriers import SpanContext, is_valid
from lumina_stream.recording.context import active, ambient, current
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.sampling import digits_of, threshold
from lumina_stream.recording.values import type_of

if TYPE_CHECKING:
    from typing import Self

    from lumina_stream.recording.recorder import Recorder

_join = b"".join
_ATTRIBUTE_SET = encoding.ATTRIBUTE_SET[2]
_ENDED = encoding.ENDED[0]
_EVERYTHING = digits_of(threshold(1.0))

INVALID_TRACE_ID = "0" * 32
INVALID_SPAN_ID = "0" * 16


class Current:
    """The default of `parent`: the current span is the parent."""

    def __repr__(self) -> str:
        return "CURRENT"


CURRENT = Current()


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
    ended: bool = False

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
                time = recorder.now().to_bytes(8, "big")
                data = _join((_ATTRIBUTE_SET, self._head, time, field, encode(value)))
                queue = recorder.queue
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
        self._status = status
        self._error = ErrorInfo("", recorder.message(message)) if status == "error" else None
        return self

    def update_name(self, name: str) -> Self:
        """Give the span another name."""
        recorder = self._recorder
        if recorder is None or self._refused:
            return self._not_recorded("span_updated")
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

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        self.__exit__(kind, error, tb)
        return DONE

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
            around = self._previous
            current.set(around if around is None or not around.ended else resting(around))
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
            recorder.refused("span_ended", self._head)
        elif status != "ok" or error is not None or self._renamed is not None:
            recorder.span_ended(self._head, status, error, self._renamed)
        else:
            time = recorder.now().to_bytes(8, "big")
            queue = recorder.queue
            if not queue.admit(_join((_ENDED, self._head, time)), queue.ends_bound):
                recorder.refused("span_ended", self._head)

    def _not_recorded(self, event_type: str) -> Self:
        recorder = self._recorder
        if recorder is not None:  # its start was refused: all it says is lost with it
            recorder.refused(event_type, self._head)
        elif self.ended and active.recorder is not None:
            active.recorder.late_calls += 1
        return self


class NonRecordingSpan(Span):
    """A span that records nothing: tracing is off, or its root was not sampled. All its children are it."""

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

    _make_current = Span._make_current
    _leave = Span._leave

    def _finish(self, error: BaseException | None) -> None:
        self.ended = True


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
    while span is not None and span.ended and span._passed:  # pyright: ignore[reportPrivateUsage]
        span = span._previous  # pyright: ignore[reportPrivateUsage]
    if span is not None:
        # Such spans in between are cut out, so that overlapping generators, each opened before the
        # last one is closed, do not keep all of their past alive.
        previous = span._previous  # pyright: ignore[reportPrivateUsage]
        while previous is not None and previous.ended and previous._passed:  # pyright: ignore[reportPrivateUsage]
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
                elif above._head != OFF._head:  # pyright: ignore[reportPrivateUsage]
                    return above if above is held else carry_on(above)
                above = None
    heads = recorder.heads
    parent_id = b""
    if above is not None:
        around = above._head  # pyright: ignore[reportPrivateUsage]
        head = around[encoding.TRACE_PART] + heads.span()
        parent_id = around[encoding.SPAN_ID]
        inherited = above._remote  # pyright: ignore[reportPrivateUsage]
    else:
        inherited = remote
        if remote is None:
            head = heads.root()
            sampled = head[encoding.SAMPLED_BY] < recorder.sample_digits
        else:
            around = head_of(remote.trace_id, remote.span_id)
            head = around[encoding.TRACE_PART] + heads.span()
            parent_id = around[encoding.SPAN_ID]
            sampled = remote.sampled
        if not sampled:
            recorder.unsampled += 1
            return UnsampledRoot(head, _remote=remote)
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
        head, name, parent_id, kind, attributes, linked, remote is not None
    )
    # Not the values: they need not live as long as the span.
    keys: dict[str, Any] | None = dict.fromkeys(plain) if plain else None
    return made(head, recorder, None, inherited, keys, not admitted)


def carry_on(above: NonRecordingSpan) -> UnsampledRoot:
    """Return what makes an unsampled trace current where it is not: in another thread, say."""
    return UnsampledRoot(above._head, _remote=above._remote)  # pyright: ignore[reportPrivateUsage]


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
