"""How a tree grows: it takes in events, one by one and in any order.

The greatest stamp (time_ns, producer_id, seq) wins a conflict. It reads no clock.
"""

from collections.abc import Callable
from typing import Any, cast

from lumina_stream.model import limits
from lumina_stream.model.calls import Calls
from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    Event,
    EventAdded,
    EventsLost,
    Link,
    ProducerEnded,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
)
from lumina_stream.model.hierarchy import Hierarchy
from lumina_stream.model.node import (
    DOUBLE_END,
    DUPLICATE_START,
    Attribute,
    SpanEventRecord,
    SpanNode,
    Text,
    Touched,
    add_marks,
    flag,
)
from lumina_stream.model.producers import Producers, Stamp, is_imported
from lumina_stream.model.rollup import mark
from lumina_stream.model.usage import CALL_KEYS

NEVER_NS = 2**63
"""Later than any time that an event may have."""


class Growing(Hierarchy):
    """What of a `TraceTree` takes in events: `apply`, and word of a producer's fate."""

    __slots__ = (
        "_bounds_stale",
        "_end_ns",
        "_error_count",
        "_names",
        "_open",
        "_start_ns",
        "_started_by",
        "calls",
        "last_ns",
        "losses",
        "trace_id",
    )

    def __init__(self, trace_id: str, producers: Producers, max_spans: int) -> None:
        super().__init__(producers, max_spans)
        self.trace_id = trace_id
        self.calls = Calls(self.truncated)
        self.losses: dict[Stamp, tuple[int, str, bool]] = {}
        self.last_ns = 0
        self._open: dict[str, dict[str, SpanNode]] = {}  # by producer: started, not ended
        self._names: dict[str, str] = {}
        self._started_by: dict[str, int] = {}  # producer id -> how many spans it started
        self._error_count = 0
        self._start_ns = NEVER_NS
        self._end_ns = 0
        self._bounds_stale = False

    def apply(self, event: Event, producer_id: str, seq: int) -> Touched:
        """Take in one event of this trace (or of a producer); return the spans that it touched."""
        take = _TAKE.get(type(event))
        if take is None:
            return ()
        return take(self, event, producer_id, seq)

    def producer_changed(self, producer_id: str) -> Touched:
        """Say that a shared `producers` changed one producer's state; return its open spans."""
        spans = self._open.get(producer_id)
        if not spans:
            return ()
        for node in spans.values():
            mark(node)
        return tuple(spans)

    # --- one event type each -----------------------------------------------------------------

    # The commonest events go straight through, without a call or a tuple that they can do without:
    # these functions are most of what a relay does for an event.

    def _span_started(self, event: SpanStarted, producer_id: str, seq: int) -> Touched:
        nodes, span_id, parent_id = self._nodes, event.span_id, event.parent_id
        if span_id in nodes or parent_id == span_id:
            return self._start_known(event, (event.time_ns, producer_id, seq))
        number = len(nodes)
        if number >= self.max_spans:
            return self._truncate("spans")
        intern, time_ns, name, kind = self._names.setdefault, event.time_ns, event.name, event.kind
        # Nothing hangs from the span yet: it closes no cycle.
        node = nodes[span_id] = SpanNode(
            self.producers,
            span_id,
            number,
            parent_id,
            None,
            intern(name, name),
            None if kind is None else intern(kind, kind),
            time_ns,
            producer_id,
            seq,
            time_ns if time_ns > 0 else 0,
            event.remote_parent,
        )
        self._order.append(node)
        spans = self._open.get(producer_id)
        if spans is None:
            spans = self._open[producer_id] = {}
        spans[span_id] = node
        started_by = self._started_by
        started_by[producer_id] = started_by.get(producer_id, 0) + 1
        if time_ns > self.last_ns:
            self.last_ns = time_ns
        if 0 < time_ns < self._start_ns:
            self._start_ns = time_ns
        parent = None
        if parent_id is not None:
            parent = nodes.get(parent_id) or self._add(parent_id)
        if parent is None:
            self._roots[span_id] = node
            self._stand(node)
            touched = (span_id,)
        else:
            node.parent = parent
            # One string for an id, however many children name it.
            node.parent_id = parent_id = parent.span_id
            if parent.children is None:
                parent.children = [node]
            else:
                parent.children.append(node)
            if parent.rollup is not None:
                mark(parent)
            if parent.start_ns is None:
                self._stand(node)
            touched = (span_id, parent_id)
        if event.attributes:
            self._set_attributes(node, event.attributes, (time_ns, producer_id, seq), event.marks)
        if event.links:
            self._add_links(node, event.links, (time_ns, producer_id, seq))
        if event.marks:
            add_marks(node, event.marks, (time_ns, producer_id, seq))
        return touched

    def _start_known(self, event: SpanStarted, stamp: Stamp) -> Touched:
        """Take in the start of a span that was named or started before."""
        span_id = event.span_id
        node = self._nodes.get(span_id) or self._add(span_id)
        if node is None:
            return ()
        known = node.start
        if known is None:
            started_by = self._started_by
            started_by[stamp[1]] = started_by.get(stamp[1], 0) + 1
            self._begin(node, event, stamp)
            if 0 < stamp[0] < self._start_ns:
                self._start_ns = stamp[0]
            touched = self._hang(node, event.parent_id)
            self._stand(node)
        elif stamp == known:
            return ()
        else:
            if _differs(node, event, stamp):
                flag(node, DUPLICATE_START)
            if stamp > known:
                if node.status is None:
                    del self._open[known[1]][span_id]
                self._moved(known[1], stamp[1])
                self._begin(node, event, stamp)
                self._bounds_stale = True
                touched = self._hang(node, event.parent_id)
                self._stand(node)
            else:
                touched = self._mention(node, event.parent_id)
        if event.attributes:
            self._set_attributes(node, event.attributes, stamp, event.marks)
        if event.links:
            self._add_links(node, event.links, stamp)
        if event.marks:
            add_marks(node, event.marks, stamp)
        if stamp[0] > node.last_ns:
            node.last_ns = stamp[0]
            if stamp[0] > self.last_ns:
                self.last_ns = stamp[0]
        if node.rollup is not None:
            mark(node)
        if node.call is not None:
            self.calls.look_again(node)
        return touched

    def _attribute_set(self, event: AttributeSet, producer_id: str, seq: int) -> Touched:
        span_id, time_ns, key = event.span_id, event.time_ns, event.key
        node = self._nodes.get(span_id) or self._add(span_id)
        if node is None:
            return ()
        if node.held is None and key not in CALL_KEYS:
            key = self._names.setdefault(key, key)
            node.held = Attribute(key, event.value, time_ns, producer_id, seq, event.marks)
        elif not self._set_attribute(
            node, key, event.value, (time_ns, producer_id, seq), event.marks
        ):
            return self._finish(node, time_ns, False)
        if time_ns > node.last_ns:
            node.last_ns = time_ns
            if time_ns > self.last_ns:
                self.last_ns = time_ns
        if node.rollup is not None:
            mark(node)
        return (span_id,)

    def _attributes_set(self, event: AttributesSet, producer_id: str, seq: int) -> Touched:
        node = self._nodes.get(event.span_id) or self._add(event.span_id)
        if node is None:
            return ()
        stamp = (event.time_ns, producer_id, seq)
        if event.marks:
            add_marks(node, event.marks, stamp)
        self._set_attributes(node, event.attributes, stamp, event.marks)
        return self._finish(node, event.time_ns, True)

    def _event_added(self, event: EventAdded, producer_id: str, seq: int) -> Touched:
        node = self._nodes.get(event.span_id) or self._add(event.span_id)
        if node is None:
            return ()
        stamp = (event.time_ns, producer_id, seq)
        if node.events is None:
            node.events = {}
        if stamp in node.events:
            return ()
        if len(node.events) >= limits.SPAN_EVENTS:
            return self._truncate("events")
        name = self._names.setdefault(event.name, event.name)
        node.events[stamp] = SpanEventRecord(stamp, name, event.attributes, event.marks)
        return self._finish(node, event.time_ns, True)

    def _text_streamed(self, event: TextStreamed, producer_id: str, seq: int) -> Touched:
        node = self._nodes.get(event.span_id) or self._add(event.span_id)
        if node is None:
            return ()
        stamp = (event.time_ns, producer_id, seq)
        if node.texts is None:
            node.texts = {}
        key = (event.channel, event.index)
        known = node.texts.get(key)
        if known is None and len(node.texts) >= limits.SPAN_TEXT_PIECES:
            return self._truncate("text")
        changed = known is None or stamp > known.stamp
        if changed:
            node.texts[key] = Text(stamp, event.text)
        return self._finish(node, event.time_ns, changed)

    def _span_updated(self, event: SpanUpdated, producer_id: str, seq: int) -> Touched:
        node = self._nodes.get(event.span_id) or self._add(event.span_id)
        if node is None:
            return ()
        stamp = (event.time_ns, producer_id, seq)
        changed = bool(event.links) and self._add_links(node, event.links, stamp)
        if event.name is not None:
            changed = self._rename(node, event.name, stamp) or changed
        return self._finish(node, event.time_ns, changed)

    def _span_ended(self, event: SpanEnded, producer_id: str, seq: int) -> Touched:
        span_id, time_ns = event.span_id, event.time_ns
        node = self._nodes.get(span_id) or self._add(span_id)
        if node is None:
            return ()
        if node.end_ns is None:
            if time_ns > self._end_ns:
                self._end_ns = time_ns
            if node.producer_id is not None:
                del self._open[node.producer_id][span_id]
            self._end(node, event, producer_id, seq)
        else:
            known, stamp = node.end, (time_ns, producer_id, seq)
            if stamp == known:
                return ()
            if _ends_differ(node, event, stamp):
                flag(node, DOUBLE_END)
            if known is not None and stamp > known:
                self._bounds_stale = True
                if node.status == "error":
                    self._error_count -= 1
                self._end(node, event, producer_id, seq)
        if event.name is not None:
            self._rename(node, event.name, (time_ns, producer_id, seq))
        if event.marks:
            add_marks(node, event.marks, (time_ns, producer_id, seq))
        if time_ns > node.last_ns:
            node.last_ns = time_ns
            if time_ns > self.last_ns:
                self.last_ns = time_ns
        if node.rollup is not None:
            mark(node)
        return (span_id,)

    def _events_lost(self, event: EventsLost, producer_id: str, seq: int) -> Touched:
        count, stamp = event.by_trace.get(self.trace_id, 0), (event.time_ns, producer_id, seq)
        if not count or stamp in self.losses:
            return ()
        self.losses[stamp] = (count, event.reason, event.exact)
        return tuple(self._roots)

    def _producer_event(
        self,
        event: ProducerStarted | ProducerLost | ProducerReturned | ProducerEnded,
        producer_id: str,
        seq: int,
    ) -> Touched:
        changed = self.producers.apply(event, producer_id, seq)
        return () if changed is None else self.producer_changed(changed)

    # --- small parts -------------------------------------------------------------------------

    def _begin(self, node: SpanNode, event: SpanStarted, stamp: Stamp) -> None:
        """Take over what a winning start says of the span itself; its parent is for `_hang`."""
        kind = event.kind
        node.start_ns, node.producer_id, node.start_seq = stamp
        node.kind = None if kind is None else self._names.setdefault(kind, kind)
        node.remote_parent = event.remote_parent
        if node.renamed is None:
            node.name = self._names.setdefault(event.name, event.name)
        else:
            self._rename(node, event.name, stamp)
        if node.status is None:
            spans = self._open.get(stamp[1])
            if spans is None:
                spans = self._open[stamp[1]] = {}
            spans[node.span_id] = node

    def _moved(self, old: str, new: str) -> None:
        """Note that a span is now another producer's."""
        if old != new:
            self._started_by[old] -= 1
            if not self._started_by[old]:
                del self._started_by[old]
            self._started_by[new] = self._started_by.get(new, 0) + 1

    def _finish(self, node: SpanNode, time_ns: int, changed: bool) -> Touched:
        later = time_ns > node.last_ns
        if later:
            node.last_ns = time_ns
            if time_ns > self.last_ns:
                self.last_ns = time_ns
        if not changed:
            # A span that may be new, named at no known time, is touched as well.
            return (node.span_id,) if later or node.last_ns <= 0 else ()
        if node.rollup is not None:
            mark(node)
        return (node.span_id,)

    def _end(self, node: SpanNode, event: SpanEnded, producer_id: str, seq: int) -> None:
        node.end_ns, node.ended_by, node.end_seq = event.time_ns, producer_id, seq
        node.status, node.error = event.status, event.error
        if event.status == "error":
            self._error_count += 1

    def _rename(self, node: SpanNode, name: str, stamp: Stamp) -> bool:
        """Take over a name if nothing later gave one; return whether it was."""
        start, named = node.start, node.named
        if named is not None and (stamp < named or (stamp == named and stamp != start)):
            return False
        node.name = self._names.setdefault(name, name)
        node.renamed = None if stamp == start else stamp
        return True

    def _set_attribute(
        self, node: SpanNode, key: str, value: Any, stamp: Stamp, marks: dict[str, str] | None
    ) -> bool:
        held, known = node.held, None
        if held is None:
            key = self._names.setdefault(key, key)
            node.held = Attribute(key, value, *stamp, marks)
        else:
            if not isinstance(held, dict):
                held = node.held = {held.key: held}
            known = held.get(key)
            if known is None:
                if len(held) >= limits.TREE_ATTRIBUTES:
                    self._truncate("attributes")
                    return False
                key = self._names.setdefault(key, key)
            elif stamp <= known.stamp:
                return False
            held[key] = Attribute(key, value, *stamp, marks)
        if key in CALL_KEYS:
            self.calls.said(node, key, None if known is None else known.value, value)
        return True

    def _set_attributes(
        self, node: SpanNode, attributes: dict[str, Any], stamp: Stamp, marks: dict[str, str] | None
    ) -> None:
        for key, value in attributes.items():
            own = None
            if marks:
                below = (f"{key}.", f"{key}[")
                own = {p: m for p, m in marks.items() if p == key or p.startswith(below)} or None
            self._set_attribute(node, key, value, stamp, own)

    def _add_links(self, node: SpanNode, links: tuple[Link, ...], stamp: Stamp) -> bool:
        if node.links is None:
            node.links = {}
        before = len(node.links)
        for index, link in enumerate(links):
            if (stamp, index) in node.links:
                continue
            if len(node.links) >= limits.LINKS:
                self._truncate("links")
                break
            node.links[stamp, index] = link
        return len(node.links) > before


def _differs(node: SpanNode, event: SpanStarted, stamp: Stamp) -> bool:
    """Tell whether a second start says something else than the first: the same span may come twice."""
    assert node.producer_id is not None
    if node.parent_id != event.parent_id or node.start_ns != event.time_ns:
        return True
    # A kind follows from attributes, and the copies of a span may have been made before they were set.
    return node.kind != event.kind and not (is_imported(stamp[1]) or is_imported(node.producer_id))


def _ends_differ(node: SpanNode, event: SpanEnded, stamp: Stamp) -> bool:
    if node.end_ns != event.time_ns:
        return True
    # OpenTelemetry has no word for `cancelled`: of one end, a copy may say less than the stream.
    return node.status != event.status and is_imported(stamp[1]) == is_imported(node.ended_by)


_Take = Callable[[Growing, Any, str, int], Touched]

_TAKE = cast(
    "dict[type, _Take]",
    {
        SpanStarted: Growing._span_started,  # pyright: ignore[reportPrivateUsage]
        AttributeSet: Growing._attribute_set,  # pyright: ignore[reportPrivateUsage]
        AttributesSet: Growing._attributes_set,  # pyright: ignore[reportPrivateUsage]
        EventAdded: Growing._event_added,  # pyright: ignore[reportPrivateUsage]
        TextStreamed: Growing._text_streamed,  # pyright: ignore[reportPrivateUsage]
        SpanUpdated: Growing._span_updated,  # pyright: ignore[reportPrivateUsage]
        SpanEnded: Growing._span_ended,  # pyright: ignore[reportPrivateUsage]
        EventsLost: Growing._events_lost,  # pyright: ignore[reportPrivateUsage]
        ProducerStarted: Growing._producer_event,  # pyright: ignore[reportPrivateUsage]
        ProducerLost: Growing._producer_event,  # pyright: ignore[reportPrivateUsage]
        ProducerReturned: Growing._producer_event,  # pyright: ignore[reportPrivateUsage]
        ProducerEnded: Growing._producer_event,  # pyright: ignore[reportPrivateUsage]
    },
)
