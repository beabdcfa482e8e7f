"""The LLM calls of one trace: which spans speak of one, which of those counts, and what it costs.

The same response counts once: of the spans that report it the one that says most, see `witness_order`.
"""

from typing import Any

from lumina_stream.model import limits
from lumina_stream.model.node import SpanNode
from lumina_stream.model.rollup import call_of, mark, witness_order
from lumina_stream.model.usage import BESIDE, FIELD_OF, LABELS, CallState, label_text


class Calls:
    """The calls of a `TraceTree`, which says what changes. Read `spans`, `labels`; price what is `changed`."""

    __slots__ = (
        "_responses",
        "_truncated",
        "_ungrouped",
        "changed",
        "changed_shares",
        "labels",
        "spans",
    )

    def __init__(self, truncated: dict[str, int]) -> None:
        self.spans: dict[str, SpanNode] = {}
        """The spans that speak of a call, by id."""
        self.changed: dict[str, None] = {}
        """Calls that are new or changed, for whoever prices them: take what was dealt with out."""
        self.changed_shares: dict[str, SpanNode] = {}
        """Calls whose share of the sums changed; likewise."""
        self.labels: dict[str, dict[str, int]] = {}
        """`session` and `user` -> those that spans name, with how many do."""
        self._truncated = truncated  # the tree's
        self._ungrouped: dict[str, SpanNode] = {}  # calls whose response is to be looked at
        self._responses: dict[str, dict[str, SpanNode]] = {}  # response id -> its calls

    @property
    def awaits_costs(self) -> bool:
        """Tell whether there are calls of which nobody has said what they cost."""
        return any(
            node.call.cost is None and call.tokens is not None
            for node in self.spans.values()
            if node.call is not None and (call := call_of(node)) is not None
        )

    def said(self, node: SpanNode, key: str, known: Any, value: Any) -> None:
        """Note that a span says something of a call, or whose it is, and what it said before."""
        field = FIELD_OF[key][0]
        if field in LABELS:
            counts = self.labels.setdefault(field, {})
            for text, by in ((label_text(known), -1), (label_text(value), 1)):
                if text and text not in counts and len(counts) >= limits.TREE_LABELS:
                    self._truncated["labels"] = self._truncated.get("labels", 0) + 1
                elif text:
                    counts[text] = counts.get(text, 0) + by
                    if counts[text] <= 0:
                        del counts[text]
            return
        if node.call is None:
            if field in BESIDE:
                return
            node.call = CallState(changed=self.changed_shares)
            self.spans[node.span_id] = node
        node.call.call = None
        self.look_again(node)

    def look_again(self, node: SpanNode) -> None:
        """Look at a call again: of two spans of one response the one that started first may count."""
        self.changed[node.span_id] = None
        self._ungrouped[node.span_id] = node

    def group(self) -> None:
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
                mark(node)
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
                    mark(node)
