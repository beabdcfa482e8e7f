"""The tree of one trace, built incrementally from events in any order.

`TraceTree.apply` is order-free and idempotent: any shuffle, duplication and late join of the same
events gives the same tree, up to the limits beyond which `truncated` counts what was left out.
Who hangs below whom is in `hierarchy`, how it takes in events in `growing`; here is what it is as a whole.
"""

from lumina_stream.model import limits
from lumina_stream.model.events import SpanEnded, SpanStarted
from lumina_stream.model.growing import NEVER_NS, Growing
from lumina_stream.model.node import (
    PARENT_CYCLE,
    Rollup,
    SpanNode,
    State,
    Touched,
    add_marks,
    flag,
    start_order,
)
from lumina_stream.model.producers import Producers
from lumina_stream.model.record import SpanRecord
from lumina_stream.model.rollup import mark, roll_up, total
from lumina_stream.model.usage import Cost


class TraceTree(Growing):
    """One trace. `apply` events; read `roots`, `span(id)`, `state`, counts and roll-ups."""

    __slots__ = ()

    def __init__(
        self,
        trace_id: str,
        producers: Producers | None = None,
        *,
        max_spans: int = limits.TREE_SPANS,
    ) -> None:
        super().__init__(trace_id, Producers() if producers is None else producers, max_spans)

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
        for path, (at, done) in record.marks.items():
            add_marks(node, {path: done}, at)
        for conflict in record.conflicts:
            if conflict != PARENT_CYCLE:  # follows from the declared parents
                flag(node, conflict)
        node.last_ns = max(node.last_ns, record.last_ns)
        self.last_ns = max(self.last_ns, node.last_ns)
        mark(node)
        return touched or (record.span_id,)

    def set_cost(self, span_id: str, cost: Cost | None) -> Touched:
        """Say what the call of a span costs, `NO_PRICE` if nobody knows; None takes it back."""
        node = self._nodes.get(span_id)
        if node is None or node.call is None or node.call.cost == cost:
            return ()
        node.call.cost = cost
        mark(node)
        return (span_id,)

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
        return 0 if self._start_ns == NEVER_NS else self._start_ns

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
        if not self.calls.spans:
            return _NOTHING
        self.calls.group()
        return total(self._roots.values())

    def rollup(self, span_id: str) -> Rollup:
        """Return the sums over a span and everything below it; KeyError if there is no such span."""
        self.calls.group()
        return roll_up(self._nodes[span_id])

    def _find_bounds(self) -> None:
        starts = (n.start_ns for n in self._order if n.start_ns is not None)
        ends = (n.end_ns for n in self._order if n.end_ns is not None)
        self._start_ns = min((ns for ns in starts if ns > 0), default=NEVER_NS)
        self._end_ns = max(0, max(ends, default=0))
        self._bounds_stale = False


_NOTHING = Rollup(0, 0, 0, 0, 0)
