"""How a span begins: where it hangs, whether it is sampled, and its first event.

`enter` is what happens nearly always, in one piece; `start` is the rest, and knows every case.
"""

# A span reads the private fields of the spans around it.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from lumina_stream.model.codec import encode
from lumina_stream.recording import encoding
from lumina_stream.recording.carriers import SpanContext, is_valid
from lumina_stream.recording.context import ambient, current
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.sampling import head_is_sampled
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
_STARTED, _PARENT, _ATTRIBUTES = encoding.STARTED, encoding.PARENT, encoding.ATTRIBUTES
_TRACE_PART, _SPAN_ID, _SAMPLED_BY = encoding.TRACE_PART, encoding.SPAN_ID, encoding.SAMPLED_BY
_current, _set_current, _ambient = current.get, current.set, ambient.get


class Current:
    """The default of `parent`: the current span is the parent."""

    def __repr__(self) -> str:
        return "CURRENT"


CURRENT = Current()


class Block(Protocol):
    """What `trace` returns, as far as a span that it enters is concerned."""

    name: str
    span: Span | None


def enter(recorder: Recorder, block: Block, attributes: dict[str, Any]) -> Span | None:
    """Do at once what `start` and `_make_current` do, where all is as it mostly is.

    That is: a name that was met before, attributes that need no change, and around it a running span
    or none. Otherwise return None, with nothing done.
    """
    held = _current()
    if _ambient() is not None:
        return None
    heads = recorder.heads
    remote: SpanContext | None = None
    keys: dict[str, Any] | None = None
    fields, parent, more = 1, b"", b""
    try:
        if held is None:
            pop = heads.pop_root
            head = pop()
            if not recorder.samples_all and head[_SAMPLED_BY] >= recorder.sample_digits:
                recorder.unsampled += 1
                block.span = span = UnsampledRoot(head)
                _set_current(span)
                return span
        elif held._recorder is not None:
            previous = held._previous
            if previous is not None and previous._recorder is None:
                return None  # `resting` has something to do
            pop = heads.pop_span
            around = held._head
            head = around[_TRACE_PART] + pop()
            parent = _PARENT + around[_SPAN_ID]
            remote = held._remote
            fields = 2
        elif type(held) is UnsampledRoot and not held._over:
            return held
        else:
            return None
        name = recorder.name_fields[block.name]
        if attributes:
            if not recorder.are_plain(attributes):
                return None
            more = _ATTRIBUTES + encode(attributes)
            keys = dict.fromkeys(attributes)
            fields += 1
    except Exception:  # a pool that is empty, a name that is new or no name at all
        return None
    tick, queue = recorder.tick, recorder.queue
    time = (recorder.anchor_ns + tick()).to_bytes(8, "big")
    start = _join((_STARTED[fields], head, time, name, parent, more))
    block.span = span = RecordedSpan(head, recorder, held, remote, keys)
    if not queue.admit(start, queue.starts_bound):
        span._refused, span._usual = True, False
        recorder.refused("span_started", head)
    _set_current(span)
    return span


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
            head = heads.root()
            sampled = head_is_sampled(head, recorder.sample_digits)
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
