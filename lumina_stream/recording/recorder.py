"""What all spans of a program share: ids, clock, limits, redaction, sampling and the queue.

`Recorder` turns a call's arguments into one encoded event. Nothing here raises into the program: a
fault of ours is counted, and the event that it cost is counted as lost.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, cast

from lumina_stream.model import limits as limit_values
from lumina_stream.model.clock import Clock
from lumina_stream.model.codec import encode
from lumina_stream.model.events import Channel, ErrorInfo, Link, Status
from lumina_stream.model.ids import is_span_id, is_trace_id
from lumina_stream.model.limits import DEFAULT_LIMITS, Limits
from lumina_stream.recording import encoding, sampling
from lumina_stream.recording.encoding import Heads, remember
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
        "anchor_ns",
        "capture_content",
        "closed",
        "event_bytes",
        "faults",
        "heads",
        "key_fields",
        "last_fault",
        "late_calls",
        "limits",
        "max_attributes",
        "name_fields",
        "now",
        "plain_bytes",
        "plain_keys",
        "plain_length",
        "pop_span",
        "pop_trace",
        "producer_id",
        "queue",
        "redactions",
        "sample_bound",
        "samples_all",
        "service",
        "string_length",
        "texts_pass",
        "tick",
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
        heads: Heads | None = None,
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
        self.plain_bytes = limits.event_bytes - 1024
        """Encoded bytes of attributes with which an event is not too large, whatever else is in it."""
        self.plain_length = -1
        """Characters of a text of which the same is true, and that may be recorded as it is."""
        if self.texts_pass:
            self.plain_length = min(limits.string_length, self.plain_bytes // 4)
        self.name_fields: dict[str, bytes] = {}
        """Names that may be recorded as they are, as fields."""
        self.key_fields: dict[str, bytes] = {}
        """Attribute keys of which the same is true, as the fields `key` and, without it, `value`."""
        self.sample_bound = sampling.threshold(sample_rate)
        self.samples_all = sample_rate == 1.0
        self.capture_content = capture_content
        self.heads = heads or Heads()
        self.pop_trace, self.pop_span = self.heads.pop_trace, self.heads.pop_span
        clock = clock or Clock()
        self.now: Callable[[], int] = clock.now
        self.anchor_ns, self.tick = clock.anchor_ns, clock.monotonic
        """Added up they are `now()`, without the frame that it costs."""
        self.closed = False
        """Whether this recorder belongs to a parent process: it drops everything, uncounted."""
        self.faults = 0
        self.last_fault = ""
        self.late_calls = 0
        """Calls on spans that had ended."""
        self.unsampled = 0
        """Roots that were not sampled."""

    # --- one event each --------------------------------------------------------------------------

    def span_started(
        self,
        head: bytes,
        name: str,
        parent: bytes,
        kind: str | None,
        attributes: Mapping[str, Any],
        links: tuple[Link, ...],
        remote_parent: bool,
        at_ns: int = 0,
    ) -> tuple[bool, dict[str, Any]]:
        """Record a start; return whether it was admitted, and its attributes as they were recorded.

        `parent`: its span id, empty without one. `attributes`: a dictionary is taken as it is, and
        may be what is returned. `at_ns`: when it was, if not now.
        """
        time_ns = at_ns or self.now()
        plain: dict[str, Any] = {}
        data = b""
        try:
            marks: dict[str, str] = {}
            fields = [self._name_field(name, "@name", marks)]
            if parent:
                fields.append(encoding.PARENT + parent)
            if kind is not None:
                fields.append(encoding.KIND + self._name_field(kind, "@kind", marks)[_KEY:])
            if attributes:
                plain = self.attributes(attributes, marks)
                if plain:
                    fields.append(encoding.ATTRIBUTES + encode(plain))
            if links:
                fields.append(encoding.LINKS + encode(links))
            if remote_parent:
                fields.append(encoding.REMOTE_PARENT)
            data = _composed(encoding.STARTED, head, time_ns, fields, marks)
        except Exception as error:
            self.fault(error)
        bound = self.queue.starts_bound
        return self._send(data, bound, "span_started", head, time_ns), plain

    def attribute_set(self, head: bytes, key: Any, value: Any, keys: dict[str, Any]) -> None:
        """Record one attribute the careful way: any key, any value."""
        time_ns = self.now()
        data = b""
        try:
            marks: dict[str, str] = {}
            plain = self.attributes({key: value}, marks, keys)
            if not plain:  # beyond the limit of distinct keys
                self._lose("attribute_set", head, time_ns, "attribute_limit")
                return
            ((name, value),) = plain.items()
            field = encoding.KEY + encode(name)
            if name is key and type_of(key) is str and self.plain_keys.get(key):
                remember(self.key_fields, name, field + encoding.VALUE)
            fields = [field, encoding.VALUE + encode(value)]
            data = _composed(encoding.ATTRIBUTE_SET, head, time_ns, fields, marks)
        except Exception as error:
            self.fault(error)
        self._send(data, self.queue.attributes_bound, "attribute_set", head, time_ns)

    def attributes_set(
        self, head: bytes, attributes: Mapping[str, Any], keys: dict[str, Any]
    ) -> None:
        """Record several attributes as one event; nobody may change a dictionary meanwhile."""
        time_ns = self.now()
        data = b""
        try:
            marks: dict[str, str] = {}
            fields = [encoding.ATTRIBUTES + encode(self.attributes(attributes, marks, keys))]
            data = _composed(encoding.ATTRIBUTES_SET, head, time_ns, fields, marks)
        except Exception as error:
            self.fault(error)
        self._send(data, self.queue.attributes_bound, "attributes_set", head, time_ns)

    def event_added(
        self, head: bytes, name: str, attributes: Mapping[str, Any], at_ns: int = 0
    ) -> None:
        """Record an event of a span; `at_ns`: when it was, if not now.

        Nobody may change a dictionary of attributes meanwhile.
        """
        time_ns = at_ns or self.now()
        data = b""
        try:
            marks: dict[str, str] = {}
            fields = [self._name_field(name, "@name", marks)]
            if attributes:
                plain = self.attributes(attributes, marks)
                if plain:
                    fields.append(encoding.ATTRIBUTES + encode(plain))
            data = _composed(encoding.EVENT_ADDED, head, time_ns, fields, marks)
        except Exception as error:
            self.fault(error)
        self._send(data, self.queue.attributes_bound, "event_added", head, time_ns)

    def text_streamed(self, head: bytes, channel: Channel, index: int, text: str) -> None:
        """Record one piece of streamed text: within `TEXT_PIECE`, encodable and redacted already."""
        time_ns = self.now()
        fields = (
            encoding.CHANNEL + encode(channel),
            encoding.INDEX + encode(index),
            encoding.TEXT + encode(text),
        )
        data = encoding.compose(encoding.TEXT_STREAMED, head, time_ns, fields)
        self._send(data, self.queue.text_bound, "text_streamed", head, time_ns)

    def span_updated(self, head: bytes, name: str | None, links: tuple[Link, ...]) -> str | None:
        """Record another name or further links; return the name as recorded."""
        time_ns = self.now()
        data = b""
        try:
            fields: list[bytes] = []
            if name is not None:
                name = self._name(name, "@name", {})
                fields.append(encoding.NAME + encode(name))
            if links:
                fields.append(encoding.LINKS + encode(links))
            data = encoding.compose(encoding.UPDATED, head, time_ns, fields)
        except Exception as error:
            self.fault(error)
        self._send(data, self.queue.attributes_bound, "span_updated", head, time_ns)
        return name

    def span_ended(
        self,
        head: bytes,
        status: Status,
        error: ErrorInfo | None = None,
        name: str | None = None,
        at_ns: int = 0,
    ) -> None:
        """Record an end."""
        time_ns = at_ns or self.now()
        data = b""
        try:
            fields: list[bytes] = []
            if status != "ok":
                fields.append(encoding.STATUS + encode(status))
            if error is not None:
                fields.append(encoding.ERROR + encode(error))
            if name is not None:
                fields.append(encoding.NAME + encode(name))
            data = encoding.compose(encoding.ENDED, head, time_ns, fields)
        except Exception as fault:
            self.fault(fault)
        self._send(data, self.queue.ends_bound, "span_ended", head, time_ns)

    # --- parts ---------------------------------------------------------------------------------

    def are_plain(self, attributes: Mapping[str, Any], known: int = 0) -> bool:
        """Tell whether attributes are scalars that may be recorded as they are, under keys that may.

        `known`: keys that the span has by now. A value's own code is not run.
        """
        whole: Any = attributes
        if type_of(whole) is not dict or not self.texts_pass:
            return False
        if known + len(whole) > self.max_attributes:
            return False
        plain_keys, length = self.plain_keys, self.string_length
        try:
            for key, given in attributes.items():
                kind = type_of(given)
                if kind is str:
                    if len(given) > length or not given.isascii():
                        return False
                elif kind is int:
                    if not INT64_MIN <= given <= INT64_MAX:
                        return False
                elif kind is float:
                    if given * 0.0 != 0.0:
                        return False
                elif kind is not bool:
                    return False
                if not plain_keys[key]:
                    return False
        except Exception:  # a key that is new, or none
            return False
        return True

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
        if self.are_plain(attributes, 0 if keys is None else len(keys)):
            if keys is not None:
                for key in attributes:
                    keys[key] = None
            return cast("dict[str, Any]", attributes)
        plain_keys, length, texts_pass = self.plain_keys, self.string_length, self.texts_pass
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

    def refused(self, event_type: str, head: bytes) -> None:
        """Count a call on a span whose start was refused, or an event that was refused."""
        self._lose(event_type, head, self.now(), "queue_full")

    def _name_field(self, name: Any, path: str, marks: dict[str, str]) -> bytes:
        """Return a name as a field; short ones that need no change are remembered."""
        if type(name) is str:
            known = self.name_fields.get(name)
            if known is not None:
                return known
            if len(name) <= 64 and self.texts_pass and name.isascii():
                field = encoding.NAME + encode(name)
                remember(self.name_fields, name, field)
                return field
        return encoding.NAME + encode(self._name(name, path, marks))

    def _name(self, name: Any, path: str, marks: dict[str, str]) -> str:
        if type(name) is not str:
            cleaner = Cleaner(self.limits)
            name = str(cleaner.clean(name, path))
            marks[path] = "converted:str"
        name, cut = cut_text(name, limit_values.NAME_LENGTH)
        if cut:
            marks[path] = cut
        return self.redactions.text(path, name, marks)

    def _send(self, data: bytes, bound: int, event_type: str, head: bytes, time_ns: int) -> bool:
        """Admit an encoded event; an empty one could not be made, and counts as lost."""
        if len(data) > self.event_bytes:
            try:
                data = encoding.fitted(data, self.event_bytes)
            except Exception as error:
                self.fault(error)
                data = b""
        if data and self.queue.admit(data, bound):
            return True
        self._lose(event_type, head, time_ns, "queue_full" if data else "not_encodable")
        return False

    def _lose(self, event_type: str, head: bytes, time_ns: int, reason: str) -> None:
        if not self.closed:
            trace_id = encoding.trace_id_of(head)
            self.queue.losses.count(event_type, trace_id, time_ns, reason)
            if self.queue.idle:
                self.queue.idle = False
                self.queue.wake()


_KEY = len(encoding.NAME)


def _composed(
    opening: encoding.Opening,
    head: bytes,
    time_ns: int,
    fields: list[bytes],
    marks: dict[str, str],
) -> bytes:
    if marks:
        fields.append(encoding.MARKS + encode(marks))
    return encoding.compose(opening, head, time_ns, fields)


def _places(error: BaseException) -> str:
    """Return where an exception was raised, and through what it came: no messages, no source."""
    found = list(traceback.walk_tb(error.__traceback__))[-50:]
    places = (f"  {f.f_code.co_filename}:{line} in {f.f_code.co_name}" for f, line in found)
    return encodable("\n".join(places))
