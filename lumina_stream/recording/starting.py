"""How a span begins: where it hangs, whether it is sampled, and its first event.

`Block.__enter__` is what happens nearly always, in one piece; `start` is the rest, and knows every case.
"""

# A span reads the private fields of the spans around it.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lumina_stream.model.codec import encode
from lumina_stream.recording import encoding
from lumina_stream.recording.awaiting import DONE
from lumina_stream.recording.carriers import SpanContext, is_valid
from lumina_stream.recording.context import active, ambient, current, recorder_now
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.span import (
    OFF,
    NonRecordingSpan,
    RecordedSpan,
    RemoteParent,
    Span,
    UnsampledRoot,
    resting,
)

if TYPE_CHECKING:
    from lumina_stream.model.events import Link
    from lumina_stream.recording.recorder import Recorder

# Looked up once: these are asked for with every span.
_join = b"".join
_pack_started = encoding.packer(encoding.STARTED)
_STARTED, _PARENT = encoding.STARTED, encoding.PARENT
_KIND, _ATTRIBUTES = encoding.KIND, encoding.ATTRIBUTES
_NAME_KEY = len(encoding.NAME)
_TRACE_PART, _SPAN_ID, _SAMPLED_BY = encoding.TRACE_PART, encoding.SPAN_ID, encoding.SAMPLED_BY
_current, _set_current, _ambient = current.get, current.set, ambient.get


class Current:
    """The default of `parent`: the current span is the parent."""

    def __repr__(self) -> str:
        return "CURRENT"


CURRENT = Current()

OPTIONS = frozenset(("kind", "parent", "root", "links", "attributes", "capture"))
"""Keywords of `trace` that are no attributes."""


class Block(msgspec.Struct):
    """A block of code that has a span: entered, it starts one, and left, it ends it."""

    name: str
    options: dict[str, Any]
    """The keywords of `trace` as they came: taken apart when a span starts, so that off is nearly free."""
    span: Span | None = None
    outer: list[Span] | None = None

    def __enter__(self) -> Span:
        recorder = active.recorder
        if recorder is None:
            if not active.automatic:
                return OFF
            recorder = recorder_now()
            if recorder is None:
                return OFF
        # From here to the end: what `start` and `_make_current` do, where all is as it mostly is: a name
        # that was met before, attributes that need no change, and around it a running span or none.
        held = _current()
        options = given = self.options
        kind: str | None = None
        if self.span is not None:
            return self._enter(recorder)
        if options and not OPTIONS.isdisjoint(options):
            kind, given = options.get("kind"), options.get("attributes")
            if len(options) != (kind is not None) + (given is not None):
                return self._enter(recorder)
        try:
            if held is None:
                # Two lines: 3.11 makes a method object of what a slot holds if it is called at once.
                pop = recorder.pop_trace
                head = pop()
                if not recorder.samples_all and head[_SAMPLED_BY] >= recorder.sample_bound:
                    recorder.unsampled += 1
                    self.span = span = UnsampledRoot(head)
                    _set_current(span)
                    return span
                pop = recorder.pop_span
                head += pop()
                fields, parent, remote = 1, b"", None
            elif held._recorder is not None:
                previous = held._previous
                if previous is not None and previous._recorder is None:
                    return self._enter(recorder)  # `resting` has something to do
                pop = recorder.pop_span
                around = held._head
                head = around[_TRACE_PART] + pop()
                fields, parent, remote = 2, _PARENT + around[_SPAN_ID], held._remote
            elif type(held) is UnsampledRoot and not held._over:
                return held
            else:
                return self._enter(recorder)
            name = recorder.name_fields[self.name]
            keys: dict[str, Any] | None = None
            more = b""
            if kind is not None:
                more = _KIND + recorder.name_fields[kind][_NAME_KEY:]
                fields += 1
            if given:
                if not recorder.are_plain(given):
                    return self._enter(recorder)
                more += _ATTRIBUTES + encode(given)
                keys = dict.fromkeys(given)
                fields += 1
        except Exception:  # a pool that is empty, a name that is new or no name at all
            return self._enter(recorder)
        if _ambient() is not None or len(more) > recorder.plain_bytes:
            return self._enter(recorder)
        tick, queue = recorder.tick, recorder.queue
        begun = _pack_started(_STARTED[fields], head, recorder.anchor_ns + tick())
        self.span = span = RecordedSpan(head, recorder, held, remote, keys)
        if not queue.admit(_join((begun, name, parent, more)), queue.starts_bound):
            span._refused, span._usual = True, False
            recorder.refused("span_started", head)
        _set_current(span)
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        span = self.span
        if span is not None:
            if self.outer:  # entered more than once: leave the one that is current here
                span = self._entered_here(self.outer)
            else:
                self.span = None
            span.__exit__(kind, error, tb)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        self.__exit__(kind, error, tb)
        return DONE

    def start(self, recorder: Recorder) -> Span:
        """Start the span; it is not current yet."""
        try:
            options = self.options
            if OPTIONS.isdisjoint(options):
                return start(recorder, self.name, None, CURRENT, False, (), None, options)
            get = options.get
            return start(
                recorder,
                self.name,
                get("kind"),
                get("parent", CURRENT),
                get("root", False),
                get("links", ()),
                get("attributes"),
                {key: value for key, value in options.items() if key not in OPTIONS},
            )
        except Exception as error:  # never into the program, whatever was handed over
            recorder.fault(error)
            return OFF

    def _enter(self, recorder: Recorder) -> Span:
        """Do what `__enter__` does, whatever there is to look at."""
        span = self.start(recorder)
        if span is OFF:
            return span
        held = self.span
        if held is None:
            if span is _current():  # not sampled, as what is around it: nothing of its own to end
                return span
        else:  # the same object entered again while it is open, here or in another task
            if isinstance(span, NonRecordingSpan):
                span = carry_on(span)
            if self.outer is None:
                self.outer = []
            self.outer.append(held)
        self.span = span
        span._make_current()
        return span

    def _entered_here(self, outer: list[Span]) -> Span:
        here, last = _current(), self.span
        for index, span in enumerate(outer):
            if span is here:
                return outer.pop(index)
        self.span = outer.pop()
        return cast("Span", last)


def start(
    recorder: Recorder,
    name: str,
    kind: str | None,
    parent: Span | SpanContext | Current | None,
    root: bool,
    links: Iterable[Any],
    attributes: Mapping[str, Any] | None,
    more: Mapping[str, Any],
    made: type[RecordedSpan] = RecordedSpan,
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
            held = _current()
            if held is not None and held.ended:
                held = resting(held)
            above = parent if isinstance(parent, Span) else held
            if isinstance(above, NonRecordingSpan):
                if isinstance(above, RemoteParent):
                    remote = above._remote
                elif above._head != OFF._head:
                    return above if above is held else carry_on(above)
                above = None
    heads = recorder.heads
    parent_id = b""
    if above is not None:
        around = above._head
        head = around[encoding.TRACE_PART] + heads.span()
        parent_id = around[encoding.SPAN_ID]
        inherited = above._remote
    else:
        inherited = remote
        if remote is None:
            head = heads.trace()
            sampled = head[_SAMPLED_BY] < recorder.sample_bound
            if sampled:
                head += heads.span()
        else:
            around = head_of(remote.trace_id, remote.span_id)
            head = around[encoding.TRACE_PART] + heads.span()
            parent_id = around[encoding.SPAN_ID]
            sampled = remote.sampled
        if not sampled:
            recorder.unsampled += 1
            return UnsampledRoot(head, _remote=remote)
    around = _ambient()
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
    span = made(head, recorder, None, inherited, keys)
    if not admitted:
        span._refused, span._usual = True, False
    return span


def carry_on(above: NonRecordingSpan) -> UnsampledRoot:
    """Return what makes an unsampled trace current where it is not: in another thread, say."""
    return UnsampledRoot(above._head, _remote=above._remote)
