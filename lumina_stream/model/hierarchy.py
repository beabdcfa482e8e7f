"""The spans of one trace and how they hang together: below whom, as a root, or cut from a cycle.

A parent that was named and has not started is a placeholder. It knows nothing of events.
"""

import heapq
from collections.abc import Iterator

from lumina_stream.model.node import PARENT_CYCLE, SpanNode, Touched, flag, start_order
from lumina_stream.model.producers import Producers
from lumina_stream.model.rollup import forget_child, mark


class Hierarchy:
    """What of a `TraceTree` is its spans, from the roots down."""

    __slots__ = (
        "_candidates",
        "_cut",
        "_least_id",
        "_nodes",
        "_order",
        "_roots",
        "max_spans",
        "producers",
        "truncated",
    )

    def __init__(self, producers: Producers, max_spans: int) -> None:
        self.producers = producers
        self.max_spans = max_spans
        self.truncated: dict[str, int] = {}
        self._nodes: dict[str, SpanNode] = {}
        self._order: list[SpanNode] = []
        self._roots: dict[str, SpanNode] = {}
        self._cut: dict[str, SpanNode] = {}
        # What may stand for the trace, best first: (0, start, id) of a root, (1, start, id) of a
        # span below one that has not started. What is no longer so is dropped when it is met.
        self._candidates: list[tuple[int, int, str]] = []
        self._least_id = ""  # of the spans met before any started

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

    def numbered(self, first: int, end: int) -> list[SpanNode]:
        """Return the spans with the numbers from `first` to before `end`, as far as there are any."""
        return self._order[first:end]

    def __len__(self) -> int:
        return len(self._nodes)

    def walk(self) -> Iterator[tuple[int, SpanNode]]:
        """Iterate (depth, span) over the whole tree, parents before children, siblings by start."""
        stack = [(0, node) for node in reversed(self.roots)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            if node.children:
                stack.extend((depth + 1, child) for child in reversed(node.sorted_children()))

    def dissolve(self) -> None:
        """Let the spans go from each other, so that they leave at once; the tree is of no use then."""
        for node in self._nodes.values():
            node.parent = node.children = node.sums = None

    # --- writing: for those who take in events -----------------------------------------------

    def _add(self, span_id: str) -> SpanNode | None:
        """Return a new span that nothing is known of; None when there are too many."""
        if len(self._nodes) >= self.max_spans:
            self._truncate("spans")
            return None
        node = SpanNode(self.producers, span_id, len(self._order))
        self._nodes[span_id] = self._roots[span_id] = node
        self._order.append(node)
        if not self._candidates and (not self._least_id or span_id < self._least_id):
            self._least_id = span_id
        return node

    def _hang(self, node: SpanNode, parent_id: str | None) -> Touched:
        """Hang a span below the parent that a winning start names."""
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
                flag(weakest, PARENT_CYCLE)
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
            mark(parent)

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

    def _truncate(self, what: str) -> Touched:
        self.truncated[what] = self.truncated.get(what, 0) + 1
        return ()


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
