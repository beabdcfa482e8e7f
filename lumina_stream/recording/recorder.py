"""What all spans of a program share: ids, clock, limits, redaction, sampling and the queue.

`Recorder` turns a call's arguments into one encoded event. Nothing here raises into the program: a
fault of ours is counted, and the event that it cost is counted as lost.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from lumina_stream.model import limits as limit_values
from lumina_stream.model.clock import Clock
from lumina_stream.model.codec import encode
from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    Channel,
    ErrorInfo,
    EventAdded,
    Link,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
    Status,
    TextStreamed,
)
from lumina_stream.model.ids import IdGenerator, RandomIds, is_span_id, is_trace_id
from lumina_stream.model.limits import DEFAULT_LIMITS, Limits
from lumina_stream.recording import sampling
from lumina_stream.recording.queue import EventQueue
from lumina_stream.recording.redaction import DEFAULT, Redaction, Redactions
from lumina_stream.recording.values import (
    INT64_MAX,
    INT64_MIN,
    UNPLAIN,
    Cleaner,
    cut_text,
    encodable,
    type_name,
    type_of,
)


class Recorder:
    """Encode and admit the events of one producer."""

    __slots__ = (
        "__weakref__",
        "capture_content",
        "closed",
        "event_bytes",
        "faults",
        "ids",
        "last_fault",
        "late_calls",
        "limits",
        "max_attributes",
        "new_span_id",
        "new_trace_id",
        "now",
        "plain_keys",
        "producer_id",
        "queue",
        "redactions",
        "sample_bound",
        "service",
        "string_length",
        "texts_pass",
        "unsampled",
    )

    def __init__(
        self,
        queue: EventQueue,
        *,
        producer_id: str,
        service: str = "",
        limits: Limits = DEFAULT_LIMITS,
        redaction: Redaction = DEFAULT,
        sample_rate: float = 1.0,
        capture_content: bool = True,
        ids: IdGenerator | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.queue = queue
        self.producer_id = producer_id
        self.service = service
        self.limits = limits
        self.string_length = limits.string_length
        self.event_bytes = limits.event_bytes
        self.max_attributes = limits.attributes
        self.redactions = Redactions(redaction)
        self.plain_keys = self.redactions.plain_keys
        self.texts_pass = self.redactions.texts_pass
        self.sample_bound = sampling.threshold(sample_rate)
        self.capture_content = capture_content
        self.ids = RandomIds() if ids is None else ids
        self.new_trace_id = self.ids.trace_id
        self.new_span_id = self.ids.span_id
        self.now: Callable[[], int] = (clock or Clock()).now
        self.closed = False
        """Whether this recorder belongs to a parent process: it drops everything, uncounted."""
        self.faults = 0
        self.last_fault = ""
        self.late_calls = 0
        """Calls on spans that had ended."""
        self.unsampled = 0
        """Roots that were not sampled."""

    # --- one event each; they return whether it was admitted -----------------------------------

    def span_started(
        self,
        trace_id: str,
        span_id: str,
        name: str,
        parent_id: str | None,
        kind: str | None,
        attributes: Mapping[str, Any],
        links: tuple[Link, ...],
        remote_parent: bool,
        at_ns: int = 0,
    ) -> tuple[bool, dict[str, Any]]:
        """Record a start; return whether it was admitted, and its attributes as they were recorded.

        `attributes`: a dictionary is taken as it is, and may be what is returned. `at_ns`: when it
        was, if not now.
        """
        time_ns = at_ns or self.now()
        plain: dict[str, Any] = {}
        event: Any = None
        try:
            marks: dict[str, str] = {}
            if type(name) is not str or len(name) > 64 or not self.texts_pass or not name.isascii():
                name = self._name(name, "@name", marks)
            if kind is not None and (
                type(kind) is not str or len(kind) > 64 or not self.texts_pass or not kind.isascii()
            ):
                kind = self._name(kind, "@kind", marks)
            if attributes:
                plain = self.attributes(attributes, marks)
            event = SpanStarted(
                trace_id,
                span_id,
                time_ns,
                name,
                parent_id,
                kind,
                plain,
                links,
                remote_parent,
                marks or None,
            )
        except Exception as error:
            self._failed(error, "span_started", trace_id, time_ns)
        return self._send(event, self.queue.starts_bound), plain

    def attribute_set(
        self, trace_id: str, span_id: str, key: Any, value: Any, keys: dict[str, Any]
    ) -> None:
        """Record one attribute the careful way: any key, any value."""
        time_ns = self.now()
        event: Any = None
        try:
            marks: dict[str, str] = {}
            plain = self.attributes({key: value}, marks, keys)
            if plain:
                ((key, value),) = plain.items()
                event = AttributeSet(trace_id, span_id, time_ns, key, value, marks or None)
            else:  # beyond the limit of distinct keys
                self._lose("attribute_set", trace_id, time_ns, "attribute_limit")
                return
        except Exception as error:
            self._failed(error, "attribute_set", trace_id, time_ns)
        self._send(event, self.queue.attributes_bound)

    def attributes_set(
        self, trace_id: str, span_id: str, attributes: Mapping[str, Any], keys: dict[str, Any]
    ) -> None:
        """Record several attributes as one event; nobody may change a dictionary meanwhile."""
        time_ns = self.now()
        event: Any = None
        try:
            marks: dict[str, str] = {}
            plain = self.attributes(attributes, marks, keys)
            event = AttributesSet(trace_id, span_id, time_ns, plain, marks or None)
        except Exception as error:
            self._failed(error, "attributes_set", trace_id, time_ns)
        self._send(event, self.queue.attributes_bound)

    def event_added(
        self,
        trace_id: str,
        span_id: str,
        name: str,
        attributes: Mapping[str, Any],
        at_ns: int = 0,
    ) -> None:
        """Record an event of a span; `at_ns`: when it was, if not now.

        Nobody may change a dictionary of attributes meanwhile.
        """
        time_ns = at_ns or self.now()
        event: Any = None
        try:
            marks: dict[str, str] = {}
            if type(name) is not str or len(name) > 64 or not self.texts_pass or not name.isascii():
                name = self._name(name, "@name", marks)
            plain = self.attributes(attributes, marks) if attributes else {}
            event = EventAdded(trace_id, span_id, time_ns, name, plain, marks or None)
        except Exception as error:
            self._failed(error, "event_added", trace_id, time_ns)
        self._send(event, self.queue.attributes_bound)

    def text_streamed(
        self, trace_id: str, span_id: str, channel: Channel, index: int, text: str
    ) -> None:
        """Record one piece of streamed text: within `TEXT_PIECE`, encodable and redacted already."""
        time_ns = self.now()
        event = TextStreamed(trace_id, span_id, time_ns, channel, index, text)
        self._send(event, self.queue.text_bound)

    def span_updated(
        self, trace_id: str, span_id: str, name: str | None, links: tuple[Link, ...]
    ) -> str | None:
        """Record another name or further links; return the name as recorded."""
        time_ns = self.now()
        event: Any = None
        try:
            if name is not None:
                name = self._name(name, "@name", {})
        except Exception as error:
            self._failed(error, "span_updated", trace_id, time_ns)
        else:
            event = SpanUpdated(trace_id, span_id, time_ns, name, links)
        self._send(event, self.queue.attributes_bound)
        return name

    def span_ended(
        self,
        trace_id: str,
        span_id: str,
        status: Status,
        error: ErrorInfo | None,
        name: str | None,
        time_ns: int,
    ) -> None:
        """Record an end."""
        event = SpanEnded(trace_id, span_id, time_ns, status, error, name)
        self._send(event, self.queue.ends_bound)

    # --- parts ---------------------------------------------------------------------------------

    def attributes(
        self,
        attributes: Mapping[str, Any],
        marks: dict[str, str],
        keys: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return attributes as plain data, redacted and within the limits; their keys join `keys`.

        A dictionary that is plain already is returned itself. `keys`: those that the span has by
        now, if the limit counts them; its values mean nothing.
        """
        plain_keys, length, texts_pass = self.plain_keys, self.string_length, self.texts_pass
        known = 0 if keys is None else len(keys)
        whole: Any = attributes
        if type_of(whole) is dict and texts_pass and known + len(whole) <= self.max_attributes:
            try:
                for key, given in attributes.items():
                    kind = type_of(given)
                    if kind is str:
                        if len(given) > length or not given.isascii():
                            break
                    elif kind is int:
                        if not INT64_MIN <= given <= INT64_MAX:
                            break
                    elif kind is float:
                        if given * 0.0 != 0.0:
                            break
                    elif kind is not bool:
                        break
                    if not plain_keys[key]:
                        break
                else:
                    if keys is not None:
                        for key in attributes:
                            keys[key] = None
                    return whole
            except Exception:
                pass  # a key that is new, or none
        if keys is None:
            keys = {}
        plain: dict[str, Any] = {}
        cleaner: Cleaner | None = None
        for key, given in attributes.items():
            kind = type_of(given)
            try:
                if plain_keys[key] and type_of(key) is str:
                    if (
                        (kind is str and len(given) <= length and texts_pass and given.isascii())
                        or (kind is int and INT64_MIN <= given <= INT64_MAX)
                        or kind is bool
                        or (kind is float and given * 0.0 == 0.0)
                    ):
                        plain[key] = given
                        continue
                    if texts_pass and (kind is dict or kind is list):
                        cleaner = cleaner or Cleaner(self.limits)
                        copied = cleaner.copy(given, plain_keys)
                        if copied is not UNPLAIN:
                            plain[key] = copied
                            continue
            except Exception:
                pass  # a key that is new, or none: the careful way takes anything
            cleaner = cleaner or Cleaner(self.limits)
            own = cleaner.key(key)
            name = self.redactions.key(own)
            cleaned = cleaner.clean(given, name)
            plain[name] = self.redactions.value(own, cleaned, cleaner.marks, name)
        if len(keys) + len(plain) <= self.max_attributes:
            keys.update(dict.fromkeys(plain))
        else:
            for name in tuple(plain):
                if name not in keys:
                    if len(keys) >= self.max_attributes:
                        marks["@attributes"] = f"cut:{len(attributes)}"
                        del plain[name]
                    else:
                        keys[name] = None
        if cleaner is not None and cleaner.marks:
            marks.update({self.redactions.key(path): mark for path, mark in cleaner.marks.items()})
        return plain

    def links(self, links: Iterable[Any]) -> tuple[Link, ...]:
        """Return links to spans, span contexts or pairs of ids; what is none of these is left out."""
        found: list[Link] = []
        try:
            for given in islice(links, self.limits.links):  # it may be without end
                target: Any = given
                attributes: Mapping[str, Any] = {}
                if type_of(given) is tuple and len(given) == 2:
                    target = given[0]
                    if isinstance(given[1], Mapping):
                        attributes = given[1]
                elif isinstance(target, Link):
                    attributes = target.attributes
                trace_id: Any = getattr(target, "trace_id", None)
                span_id: Any = getattr(target, "span_id", None)
                if not (isinstance(trace_id, str) and isinstance(span_id, str)):
                    continue
                if is_trace_id(trace_id) and is_span_id(span_id):
                    found.append(Link(trace_id, span_id, self.attributes(dict(attributes), {})))
        except Exception as error:  # what was handed over may raise anything
            self.fault(error)
        return tuple(found)

    def error_info(self, error: BaseException) -> ErrorInfo:
        """Describe an exception; never raises, whatever its `__str__` does."""
        try:
            name = type_name(error)
        except Exception:
            name = "Exception"
        try:
            if not self.capture_content:
                # Messages quote what a model was asked and said, source lines may hold prompts.
                return ErrorInfo(name, "", _places(error)[-self.limits.stack_length :])
            lines = traceback.format_exception(error, limit=50)
            stack = "".join(lines)
        except Exception as fault:
            stack = f"<{type(fault).__name__} while reading the stack trace>"
        return self.error_said(name, error, stack)

    def error_said(self, name: str, message: object, stack: str) -> ErrorInfo:
        """Return an error as it was described, cut and redacted; never raises."""
        if len(stack) > self.limits.stack_length:  # its end says where it was raised
            stack = f"… {len(stack) - self.limits.stack_length} characters …\n{stack[-self.limits.stack_length :]}"
        stack, _ = cut_text(stack, len(stack))
        return ErrorInfo(
            name,
            self.message(message),
            self.redactions.text("@error.stacktrace", stack, {}),
        )

    def message(self, said: object) -> str:
        """Return an error's message, cut and redacted; never raises."""
        try:
            text, _ = cut_text(str(said), limit_values.MESSAGE_LENGTH)
        except Exception as fault:
            text = f"<{type(fault).__name__} while reading the message>"
        return self.redactions.text("@error.message", text, {})

    def fault(self, error: BaseException) -> None:
        """Count a fault of our own."""
        self.faults += 1
        try:
            self.last_fault = f"{type(error).__name__}: {error}"[:500]
        except Exception:  # an error of the program's own making, whose message raises
            self.last_fault = type(error).__name__

    def refused(self, event_type: str, trace_id: str) -> None:
        """Count a call on a span whose start was refused."""
        self._lose(event_type, trace_id, self.now(), "queue_full")

    def _name(self, name: Any, path: str, marks: dict[str, str]) -> str:
        if type(name) is not str:
            cleaner = Cleaner(self.limits)
            name = str(cleaner.clean(name, path))
            marks[path] = "converted:str"
        name, cut = cut_text(name, limit_values.NAME_LENGTH)
        if cut:
            marks[path] = cut
        return self.redactions.text(path, name, marks)

    def _send(self, event: Any, bound: int) -> bool:
        """Encode and admit an event; None is one that could not be made, and was counted."""
        if event is None:
            return False
        data = b""
        try:
            data = encode(event)
            if len(data) > self.event_bytes:
                data = self._fitted(event, len(data))
        except Exception as error:
            self.fault(error)
            data = b""
        if data and self.queue.admit(data, bound):
            return True
        kind: str = event.__struct_config__.tag
        reason = "queue_full" if data else "not_encodable"
        self._lose(kind, event.trace_id, event.time_ns, reason)
        return False

    def _failed(self, error: Exception, event_type: str, trace_id: str, time_ns: int) -> None:
        """Count an event that could not be made."""
        self.fault(error)
        self._lose(event_type, trace_id, time_ns, "not_encodable")

    def _fitted(self, event: Any, size: int) -> bytes:
        data = encode(_shrunk(event, size, self.event_bytes))
        return data if len(data) <= self.event_bytes else b""  # lost: a frame must hold it

    def _lose(self, event_type: str, trace_id: str, time_ns: int, reason: str) -> None:
        if not self.closed:
            self.queue.losses.count(event_type, trace_id, time_ns, reason)
            if self.queue.idle:
                self.queue.idle = False
                self.queue.wake()


def _shrunk(event: Any, size: int, most: int) -> Any:
    """Return an event that is too large with what is bulky left out, marked with its size."""
    mark = f"cut:{size} bytes"
    match event:
        case SpanStarted() | EventAdded() | AttributesSet():
            kept: dict[str, Any] = {}
            room = most // 2
            for key, value in event.attributes.items():
                room -= len(encode(value)) + len(key)
                if room < 0:
                    break
                kept[key] = value
            event.attributes = kept
            event.marks = {"@attributes": mark}
            if isinstance(event, SpanStarted):
                event.links = _bare(event.links)
        case SpanUpdated():
            event.links = _bare(event.links)
        case AttributeSet():
            event.value = "…"
            event.marks = {event.key: mark}
        case SpanEnded(error=ErrorInfo() as error):
            event.error = ErrorInfo(error.type, error.message[:1000], error.stacktrace[-4000:])
        case _:
            pass
    return event


def _places(error: BaseException) -> str:
    """Return where an exception was raised, and through what it came: no messages, no source."""
    found = list(traceback.walk_tb(error.__traceback__))[-50:]
    places = (f"  {f.f_code.co_filename}:{line} in {f.f_code.co_name}" for f, line in found)
    return encodable("\n".join(places))


def _bare(links: tuple[Link, ...]) -> tuple[Link, ...]:
    """Return links without their attributes."""
    return tuple(Link(link.trace_id, link.span_id) for link in links)
