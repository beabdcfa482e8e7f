"""The tree of one trace, built incrementally from events in any order.

`TraceTree.apply` is order-free and idempotent: any shuffle, duplication and late join of the same
events gives the same tree, up to the limits beyond which `truncated` counts what was left out.
The greatest stamp (time_ns, producer_id, seq) wins a conflict. It reads no clock.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, cast

from lumina_stream.model import limits
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
from lumina_stream.model.node import (
    DOUBLE_END,
    DUPLICATE_START,
    PARENT_CYCLE,
    Attribute,
    Rollup,
    SpanEventRecord,
    SpanNode,
    State,
    Text,
    start_order,
)
from lumina_stream.model.producers import Producers, Stamp, is_imported
from lumina_stream.model.record import SpanRecord
from lumina_stream.model.rollup import call_of, forget_child, roll_up, total, witness_order
from lumina_stream.model.rollup import mark as _mark
from lumina_stream.model.usage import (
    BESIDE,
    CALL_KEYS,
    FIELD_OF,
    LABELS,
    CallState,
    Cost,
    label_text,
)

_NEVER_NS = 2**63
"""Later than any time that an event may have."""

Touched = tuple[str, ...]
"""Span ids whose row, parent or children changed; empty when the event brought nothing new."""


class TraceTree:
    """One trace. `apply` events; read `roots`, `span(id)`, `state`, counts and roll-ups."""

    __slots__ = (
        "_bounds_stale",
        "_candidates",
        "_cut",
        "_end_ns",
        "_error_count",
        "_least_id",
        "_names",
        "_nodes",
        "_open",
        "_order",
        "_responses",
        "_roots",
        "_start_ns",
        "_started_by",
        "_ungrouped",
        "calls",
        "changed_calls",
        "changed_shares",
        "labels",
        "last_ns",
        "losses",
        "max_spans",
        "producers",
        "trace_id",
        "truncated",
    )

    def __init__(
        self,
        trace_id: str,
        producers: Producers | None = None,
        *,
        max_spans: int = limits.TREE_SPANS,
    ) -> None:
        self.trace_id = trace_id
        self.producers = Producers() if producers is None else producers
        self.max_spans = max_spans
        self.truncated: dict[str, int] = {}
        self.losses: dict[Stamp, tuple[int, str, bool]] = {}
        self._nodes: dict[str, SpanNode] = {}
        self._order: list[SpanNode] = []
        self._roots: dict[str, SpanNode] = {}
        self._open: dict[str, dict[str, SpanNode]] = {}  # by producer: started, not ended
        self._cut: dict[str, SpanNode] = {}
        self._names: dict[str, str] = {}
        self._started_by: dict[str, int] = {}  # producer id -> how many spans it started
        # What may stand for the trace, best first: (0, start, id) of a root, (1, start, id) of a
        # span below one that has not started. What is no longer so is dropped when it is met.
        self._candidates: list[tuple[int, int, str]] = []
        self._least_id = ""  # of the spans met before any started
        self.calls: dict[str, SpanNode] = {}
        """The spans that speak of an LLM call, by id."""
        self.changed_calls: dict[str, None] = {}
        """Calls that are new or changed, for whoever prices them: take what was dealt with out."""
        self.changed_shares: dict[str, SpanNode] = {}
        """Calls whose share of the sums changed; likewise."""
        self.labels: dict[str, dict[str, int]] = {}
        """`session` and `user` -> those that spans name, with how many do."""
        self._ungrouped: dict[str, SpanNode] = {}  # calls whose response is to be looked at
        self._responses: dict[str, dict[str, SpanNode]] = {}  # response id -> its calls
        self._error_count = 0
        self.last_ns = 0
        self._start_ns = _NEVER_NS
        self._end_ns = 0
        self._bounds_stale = False

    # --- writing -----------------------------------------------------------------------------

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
            _mark(node)
        return tuple(spans)

    # --- reading -----------------------------------------------------------------------------

    @property
    def roots(self) -> list[SpanNode]:
        """Return the spans without a parent, by start time, then span id."""
        return sorted(self._roots.values(), key=start_order)

    @property
    def root(self) -> SpanNode | None:
        """Return the span that stands for the trace: the root that started earliest, else any.

        Where no root started (the parent is in another process, or its start has not come), its
        first child stands for it.
        """
        candidates = self._candidates
        while candidates:
            tier, start_ns, span_id = candidates[0]
            node = self._nodes[span_id]
            parent = node.parent
            if node.start_ns == start_ns:
                if parent is None:
                    if tier == 0:
                        return node
                elif tier == 1 and parent.start_ns is None:
                    return node
            heapq.heappop(candidates)
        return self._nodes.get(self._least_id)

    def span(self, span_id: str) -> SpanNode | None:
        """Return a span, None if it was never mentioned."""
        return self._nodes.get(span_id)

    def __iter__(self) -> Iterator[SpanNode]:
        """Iterate all spans, the missing ones included, in the order in which they were met."""
        return iter(self._order)

    def dissolve(self) -> None:
        """Let the spans go from each other, so that they leave at once; the tree is of no use then."""
        for node in self._nodes.values():
            node.parent = node.children = node.sums = None

    def numbered(self, first: int, end: int) -> list[SpanNode]:
        """Return the spans with the numbers from `first` to before `end`, as far as there are any."""
        return self._order[first:end]

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def span_count(self) -> int:
        """Return how many spans have started."""
        return sum(self._started_by.values())

    @property
    def missing_count(self) -> int:
        """Return how many spans were mentioned and have not started."""
        return len(self._nodes) - self.span_count

    @property
    def open_count(self) -> int:
        """Return how many spans are running."""
        state = self.producers.state
        return sum(len(spans) for p, spans in self._open.items() if state(p) == "alive")

    @property
    def error_count(self) -> int:
        """Return how many spans ended in an error."""
        return self._error_count

    @property
    def lost_count(self) -> int:
        """Return how many events of this trace are known to be lost."""
        return sum(count for count, _, _ in self.losses.values())

    def open_spans(self) -> list[SpanNode]:
        """Return the running spans, longest-running first."""
        state = self.producers.state
        found = [
            n for p, spans in self._open.items() if state(p) == "alive" for n in spans.values()
        ]
        found.sort(key=start_order)
        return found

    def unfinished_producers(self) -> list[str]:
        """Return the producers that have started spans here and not ended them."""
        return [producer_id for producer_id, spans in self._open.items() if spans]

    @property
    def producer_ids(self) -> tuple[str, ...]:
        """Return the producers that started spans here."""
        return tuple(self._started_by)

    @property
    def start_ns(self) -> int:
        """Return when the first span started, 0 if none has."""
        if self._bounds_stale:
            self._find_bounds()
        return 0 if self._start_ns == _NEVER_NS else self._start_ns

    @property
    def end_ns(self) -> int:
        """Return when the last span ended, 0 if none has."""
        if self._bounds_stale:
            self._find_bounds()
        return self._end_ns

    @property
    def finished(self) -> bool:
        """Tell whether the root has ended and nothing is open; a later start makes it false again."""
        root = self.root
        return (
            root is not None
            and root.start_ns is not None
            and root.state != "running"
            and self.open_count == 0
        )

    @property
    def state(self) -> State:
        """Return `running` while anything is open, else what became of the trace.

        That is `interrupted` or `unended` if any span is, else the root's state.
        """
        if self.open_count:
            return "running"
        fates = {self.producers.state(p) for p, spans in self._open.items() if spans}
        if "lost" in fates:
            return "interrupted"
        if "ended" in fates:
            return "unended"
        root = self.root
        return "missing" if root is None else root.state

    @property
    def services(self) -> list[str]:
        """Return the service names of the producers that have spans here, the root's first."""
        root = self.root
        first = root.service if root is not None else ""
        found = {self.producers.service(producer_id) for producer_id in self._started_by}
        return [s for s in ([first] if first else []) + sorted(found - {first, ""})]

    @property
    def last_seen_ns(self) -> int:
        """Return the last sign of life: of a span, or of a lost producer that left some open."""
        last_ns = self.last_ns
        for producer_id, spans in self._open.items():
            producer = self.producers.get(producer_id) if spans else None
            if producer is not None and producer.state == "lost":
                last_ns = max(last_ns, producer.last_seen_ns)
        return last_ns

    @property
    def tokens(self) -> tuple[int, int]:
        """Return the input and output tokens of the whole trace."""
        totals = self.totals
        return (totals.input_tokens, totals.output_tokens)

    @property
    def totals(self) -> Rollup:
        """Return the usage and cost of the whole trace; all zero where no span speaks of a call."""
        if not self.calls:
            return _NOTHING
        self._group()
        return total(self._roots.values())

    def rollup(self, span_id: str) -> Rollup:
        """Return the sums over a span and everything below it; KeyError if there is no such span."""
        if self._ungrouped:
            self._group()
        return roll_up(self._nodes[span_id])

    def walk(self) -> Iterator[tuple[int, SpanNode]]:
        """Iterate (depth, span) over the whole tree, parents before children, siblings by start."""
        stack = [(0, node) for node in reversed(self.roots)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            if node.children:
                stack.extend((depth + 1, child) for child in reversed(node.sorted_children()))

    @property
    def awaits_costs(self) -> bool:
        """Tell whether there are calls of which nobody has said what they cost."""
        return any(
            node.call.cost is None and call.tokens is not None
            for node in self.calls.values()
            if node.call is not None and (call := call_of(node)) is not None
        )

    # --- costs -------------------------------------------------------------------------------

    def set_cost(self, span_id: str, cost: Cost | None) -> Touched:
        """Say what the call of a span costs, `NO_PRICE` if nobody knows; None takes it back."""
        node = self._nodes.get(span_id)
        if node is None or node.call is None or node.call.cost == cost:
            return ()
        node.call.cost = cost
        _mark(node)
        return (span_id,)

    def _said(self, node: SpanNode, key: str, known: Any, value: Any) -> None:
        """Note that a span says something of a call, or whose it is."""
        field = FIELD_OF[key][0]
        if field in LABELS:
            counts = self.labels.setdefault(field, {})
            for text, by in ((label_text(known), -1), (label_text(value), 1)):
                if text and text not in counts and len(counts) >= limits.TREE_LABELS:
                    self._truncate("labels")
                elif text:
                    counts[text] = counts.get(text, 0) + by
                    if counts[text] <= 0:
                        del counts[text]
            return
        if node.call is None:
            if field in BESIDE:
                return
            node.call = CallState(changed=self.changed_shares)
            self.calls[node.span_id] = node
        node.call.call = None
        self.changed_calls[node.span_id] = None
        self._ungrouped[node.span_id] = node

    def _group(self) -> None:
        """Find out which of the spans of one response counts: the one that says most of it."""
        again: dict[str, None] = {}
        for span_id, node in self._ungrouped.items():
            state, call = node.call, call_of(node)
            if state is None or call is None:
                continue
            response_id = call.response_id if call.tokens is not None else ""
            if state.response_id != response_id:
                if state.response_id:
                    self._responses[state.response_id].pop(span_id, None)
                    again[state.response_id] = None
                state.response_id = response_id
            if response_id:
                self._responses.setdefault(response_id, {})[span_id] = node
                again[response_id] = None
            elif state.is_duplicate:
                state.is_duplicate = False
                _mark(node)
        self._ungrouped.clear()
        for response_id in again:
            nodes = self._responses[response_id].values()
            if len(nodes) == 1:
                (counted,) = nodes
            else:
                counted = min(nodes, key=witness_order, default=None)
            for node in nodes:
                state = node.call
                if state is not None and state.is_duplicate is not (node is not counted):
                    state.is_duplicate = node is not counted
                    self.changed_shares[node.span_id] = node
                    # Its own sums stay, what it adds to the parent's does not.
                    _mark(node)

    # --- snapshots ---------------------------------------------------------------------------

    def restore(self, record: SpanRecord) -> Touched:
        """Merge a span from a snapshot: the same rules as for the events that it stands for."""
        stamp = record.start
        touched: Touched = ()
        if stamp is not None:
            touched = self._span_started(
                SpanStarted(
                    self.trace_id,
                    record.span_id,
                    stamp[0],
                    record.name,
                    record.parent_id,
                    record.kind,
                    remote_parent=record.remote_parent,
                ),
                stamp[1],
                stamp[2],
            )
        node = self._nodes.get(record.span_id) or self._add(record.span_id)
        if node is None:
            return ()
        if record.end is not None and record.status is not None:
            self._span_ended(
                SpanEnded(
                    self.trace_id, record.span_id, record.end[0], record.status, record.error
                ),
                record.end[1],
                record.end[2],
            )
        if record.named is not None:
            self._rename(node, record.name, record.named)
        for key, said in (record.values or {}).items():
            self._set_attribute(node, key, said.value, said.stamp, said.marks)
        for event in record.events:
            if node.events is None:
                node.events = {}
            node.events[event.stamp] = event
        for channel, index, text in record.texts:
            if node.texts is None:
                node.texts = {}
            known = node.texts.get((channel, index))
            if known is None or text.stamp > known.stamp:
                node.texts[channel, index] = text
        for at, index, link in record.links:
            if node.links is None:
                node.links = {}
            node.links[at, index] = link
        for path, (at, mark) in record.marks.items():
            _add_marks(node, {path: mark}, at)
        for conflict in record.conflicts:
            if conflict != PARENT_CYCLE:  # follows from the declared parents
                _flag(node, conflict)
        node.last_ns = max(node.last_ns, record.last_ns)
        self.last_ns = max(self.last_ns, node.last_ns)
        _mark(node)
        return touched or (record.span_id,)

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
                _mark(parent)
            if parent.start_ns is None:
                self._stand(node)
            touched = (span_id, parent_id)
        if event.attributes:
            self._set_attributes(node, event.attributes, (time_ns, producer_id, seq), event.marks)
        if event.links:
            self._add_links(node, event.links, (time_ns, producer_id, seq))
        if event.marks:
            _add_marks(node, event.marks, (time_ns, producer_id, seq))
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
            self._begin(node, stamp)
            if 0 < stamp[0] < self._start_ns:
                self._start_ns = stamp[0]
            touched = self._declare(node, event)
            self._stand(node)
        elif stamp == known:
            return ()
        else:
            if _differs(node, event, stamp):
                _flag(node, DUPLICATE_START)
            if stamp > known:
                if node.status is None:
                    del self._open[known[1]][span_id]
                self._moved(known[1], stamp[1])
                self._begin(node, stamp)
                self._bounds_stale = True
                touched = self._declare(node, event)
                self._stand(node)
            else:
                touched = self._mention(node, event.parent_id)
        self._rename(node, event.name, stamp)
        if event.attributes:
            self._set_attributes(node, event.attributes, stamp, event.marks)
        if event.links:
            self._add_links(node, event.links, stamp)
        if event.marks:
            _add_marks(node, event.marks, stamp)
        if stamp[0] > node.last_ns:
            node.last_ns = stamp[0]
            if stamp[0] > self.last_ns:
                self.last_ns = stamp[0]
        if node.rollup is not None:
            _mark(node)
        if node.call is not None:  # of two spans of one response the one that started first counts
            self._ungrouped[span_id] = node
            self.changed_calls[span_id] = None
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
            _mark(node)
        return (span_id,)

    def _attributes_set(self, event: AttributesSet, producer_id: str, seq: int) -> Touched:
        node = self._nodes.get(event.span_id) or self._add(event.span_id)
        if node is None:
            return ()
        stamp = (event.time_ns, producer_id, seq)
        if event.marks:
            _add_marks(node, event.marks, stamp)
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
                _flag(node, DOUBLE_END)
            if known is not None and stamp > known:
                self._bounds_stale = True
                if node.status == "error":
                    self._error_count -= 1
                self._end(node, event, producer_id, seq)
        if event.name is not None:
            self._rename(node, event.name, (time_ns, producer_id, seq))
        if event.marks:
            _add_marks(node, event.marks, (time_ns, producer_id, seq))
        if time_ns > node.last_ns:
            node.last_ns = time_ns
            if time_ns > self.last_ns:
                self.last_ns = time_ns
        if node.rollup is not None:
            _mark(node)
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

    # --- nodes and edges ---------------------------------------------------------------------

    def _add(self, span_id: str) -> SpanNode | None:
        """Return a new span that nothing is known of; None when there are too many."""
        if len(self._nodes) >= self.max_spans:
            self._truncate("spans")
            return None
        node = SpanNode(self.producers, span_id, len(self._order))
        self._nodes[span_id] = self._roots[span_id] = node
        self._order.append(node)
        if not self._started_by and (not self._least_id or span_id < self._least_id):
            self._least_id = span_id
        return node

    def _begin(self, node: SpanNode, stamp: Stamp) -> None:
        node.start_ns, node.producer_id, node.start_seq = stamp
        if node.status is None:
            spans = self._open.get(stamp[1])
            if spans is None:
                spans = self._open[stamp[1]] = {}
            spans[node.span_id] = node

    def _declare(self, node: SpanNode, event: SpanStarted) -> Touched:
        """Take over what a winning start says of the span itself, its parent included."""
        kind = event.kind
        node.kind = None if kind is None else self._names.setdefault(kind, kind)
        node.remote_parent = event.remote_parent
        parent_id = event.parent_id
        if parent_id == node.parent_id:
            return (node.span_id,)
        touched = [node.span_id]
        reopened = None
        if node.parent_id is not None:
            if self._cut:
                reopened = self._cut_above(node)
            self._detach(node, touched)
        node.parent_id = parent_id
        self._attach(node, touched)
        if reopened is not None and reopened is not node:
            touched.append(reopened.span_id)
            self._detach(reopened, touched)
            self._attach(reopened, touched)
            self._stand(reopened)
        return tuple(touched)

    def _mention(self, node: SpanNode, parent_id: str | None) -> Touched:
        """Keep the parent that a losing start named: whichever start came first, it is a span."""
        if parent_id is None or parent_id in self._nodes or self._add(parent_id) is None:
            return (node.span_id,)
        return (node.span_id, parent_id)

    def _attach(self, node: SpanNode, touched: list[str]) -> None:
        if node.parent_id is None:
            self._roots[node.span_id] = node
            return
        parent = self._nodes.get(node.parent_id) or self._add(node.parent_id)
        if parent is None:  # truncated: the span stays, as a root
            self._roots[node.span_id] = node
            return
        # Only a span that something hangs from can close a cycle.
        if node.children or parent is node:
            weakest = _weakest_of_cycle(node, parent)
            if weakest is not None:
                _flag(weakest, PARENT_CYCLE)
                self._cut[weakest.span_id] = weakest
                if weakest is node:
                    self._roots[node.span_id] = node
                    return
                touched.append(weakest.span_id)
                self._detach(weakest, touched)
                self._roots[weakest.span_id] = weakest
                self._stand(weakest)
        node.parent, node.parent_id = parent, parent.span_id
        if parent.children is None:
            parent.children = [node]
        else:
            parent.children.append(node)
        self._roots.pop(node.span_id, None)
        touched.append(parent.span_id)
        if parent.rollup is not None:
            _mark(parent)

    def _detach(self, node: SpanNode, touched: list[str]) -> None:
        parent = node.parent
        if parent is None:
            self._roots.pop(node.span_id, None)
            return
        assert parent.children is not None
        parent.children.remove(node)
        node.parent = None
        touched.append(parent.span_id)
        forget_child(parent, node)

    def _cut_above(self, node: SpanNode) -> SpanNode | None:
        """Lift the cut of the cycle that a span may be in, before its parent changes."""
        top = node
        while top.parent is not None:
            top = top.parent
        if self._cut.pop(top.span_id, None) is None:
            return None
        assert top.conflicts is not None
        top.conflicts.discard(PARENT_CYCLE)
        return top

    def _stand(self, node: SpanNode) -> None:
        """Note a span that may stand for the trace from now on; see `root`."""
        parent = node.parent
        if node.start_ns is not None and (parent is None or parent.start_ns is None):
            tier = 0 if parent is None else 1
            heapq.heappush(self._candidates, (tier, node.start_ns, node.span_id))

    def _moved(self, old: str, new: str) -> None:
        """Note that a span is now another producer's."""
        if old != new:
            self._started_by[old] -= 1
            if not self._started_by[old]:
                del self._started_by[old]
            self._started_by[new] = self._started_by.get(new, 0) + 1

    # --- small parts -------------------------------------------------------------------------

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
            _mark(node)
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
            self._said(node, key, None if known is None else known.value, value)
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

    def _truncate(self, what: str) -> Touched:
        self.truncated[what] = self.truncated.get(what, 0) + 1
        return ()

    def _find_bounds(self) -> None:
        starts = (n.start_ns for n in self._order if n.start_ns is not None)
        ends = (n.end_ns for n in self._order if n.end_ns is not None)
        self._start_ns = min((ns for ns in starts if ns > 0), default=_NEVER_NS)
        self._end_ns = max(0, max(ends, default=0))
        self._bounds_stale = False


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


def _weakest_of_cycle(node: SpanNode, parent: SpanNode) -> SpanNode | None:
    """Return the smallest span id's span of the cycle that `parent` would close, None if none."""
    weakest, step = node, parent
    while step is not node:
        if step.span_id < weakest.span_id:
            weakest = step
        if step.parent is None:
            return None
        step = step.parent
    return weakest


def _flag(node: SpanNode, conflict: str) -> None:
    if node.conflicts is None:
        node.conflicts = set()
    node.conflicts.add(conflict)


def _add_marks(node: SpanNode, marks: dict[str, str], stamp: Stamp) -> None:
    """Keep what was done to the span's own fields: paths that start with `@`."""
    for path, mark in marks.items():
        if path.startswith("@"):
            if node.marks is None:
                node.marks = {}
            known = node.marks.get(path)
            if known is None or stamp > known[0]:
                node.marks[path] = (stamp, mark)


_NOTHING = Rollup(0, 0, 0, 0, 0)

_Take = Callable[[TraceTree, Any, str, int], Touched]

_TAKE = cast(
    "dict[type, _Take]",
    {
        SpanStarted: TraceTree._span_started,  # pyright: ignore[reportPrivateUsage]
        AttributeSet: TraceTree._attribute_set,  # pyright: ignore[reportPrivateUsage]
        AttributesSet: TraceTree._attributes_set,  # pyright: ignore[reportPrivateUsage]
        EventAdded: TraceTree._event_added,  # pyright: ignore[reportPrivateUsage]
        TextStreamed: TraceTree._text_streamed,  # pyright: ignore[reportPrivateUsage]
        SpanUpdated: TraceTree._span_updated,  # pyright: ignore[reportPrivateUsage]
        SpanEnded: TraceTree._span_ended,  # pyright: ignore[reportPrivateUsage]
        EventsLost: TraceTree._events_lost,  # pyright: ignore[reportPrivateUsage]
        ProducerStarted: TraceTree._producer_event,  # pyright: ignore[reportPrivateUsage]
        ProducerLost: TraceTree._producer_event,  # pyright: ignore[reportPrivateUsage]
        ProducerReturned: TraceTree._producer_event,  # pyright: ignore[reportPrivateUsage]
        ProducerEnded: TraceTree._producer_event,  # pyright: ignore[reportPrivateUsage]
    },
)
