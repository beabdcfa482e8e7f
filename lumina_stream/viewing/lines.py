"""A live trace as lines for logs, pipes and files: one when a span starts, one when it ends.

Pure: updates in, lines out. Plain ASCII but for the names themselves.
"""

from collections.abc import Mapping

from lumina_stream.model.live import Update
from lumina_stream.model.node import SpanNode
from lumina_stream.model.tree import TraceTree
from lumina_stream.viewing.rows import (
    Line,
    Segment,
    clock_time,
    kind_style,
    loss_text,
    outcome_text,
    state_style,
)
from lumina_stream.viewing.text import count, duration, escape

_INDENTS = 20
"""Levels that are indented; deeper ones say their depth in figures, so that lines stay lines."""


_TAG = 6
"""Digits of the trace id on each line: traces that run at the same time are told apart by them."""


class LineWriter:
    """Turn updates into lines. A span has one line for its start and one for each end that it meets."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, str]] = {}  # trace id -> span id -> the state last said
        self._losses: dict[str, str] = {}

    def take(self, update: Update, traces: Mapping[str, TraceTree]) -> list[Line]:
        """Return the lines for an update, in the order in which things happened."""
        notes: list[Line] = []
        if update.restarted:
            for trace_id in [trace_id for trace_id in self._said if trace_id not in traces]:
                del self._said[trace_id]
        if update.missed:
            notes.append((Segment(f"... {count(update.missed)} events skipped", "lost"),))
        stamped: list[tuple[int, int, Line]] = []
        for change in update.changes:
            tree = traces.get(change.trace_id)
            if tree is None:
                self._said.pop(change.trace_id, None)
                self._losses.pop(change.trace_id, None)
                continue
            said = self._said.setdefault(change.trace_id, {})
            tag = change.trace_id[:_TAG]
            for span_id in change.span_ids:
                node = tree.span(span_id)
                if node is not None:
                    stamped.extend(_news(node, tag, said))
            losses = loss_text(tree)
            if losses and self._losses.get(change.trace_id) != losses:
                self._losses[change.trace_id] = losses
                text = f"{clock_time(tree.start_ns)} {tag}  {_root_name(tree)}: {losses}"
                notes.append((Segment(text, "lost"),))
        stamped.sort(key=lambda item: item[:2])
        self._forget(traces)
        return [line for _, _, line in stamped] + notes

    def _forget(self, traces: Mapping[str, TraceTree]) -> None:
        # The view drops old finished traces without a word.
        if len(self._said) > 2 * len(traces) + 100:
            self._said = {t: said for t, said in self._said.items() if t in traces}
            self._losses = {t: said for t, said in self._losses.items() if t in traces}


def _news(node: SpanNode, tag: str, said: dict[str, str]) -> list[tuple[int, int, Line]]:
    state = node.state
    if state == "missing" or node.start_ns is None:
        return []
    before = said.get(node.span_id)
    if before == state:
        return []
    said[node.span_id] = state
    depth = _depth(node)
    news: list[tuple[int, int, Line]] = []
    if before is None:
        news.append((node.start_ns, depth, _start_line(node, tag, depth)))
    elif state == "running":
        head = _head(node.last_ns, tag, "~", depth)
        back = Segment("  runs on: its program is back", "muted")
        news.append((node.last_ns, depth, (*head, Segment(escape(node.name), "name"), back)))
    if state != "running":
        over_ns = node.end_ns if node.end_ns is not None else node.last_seen_ns
        # Of spans that ended in the same instant the innermost comes first.
        news.append((over_ns, 1_000_000 - depth, _end_line(node, tag, depth, over_ns)))
    return news


def _start_line(node: SpanNode, tag: str, depth: int) -> Line:
    line = [*_head(node.start_ns or 0, tag, "+", depth), Segment(escape(node.name), "name")]
    if node.kind:
        line.append(Segment(f"  {escape(node.kind)}", kind_style(node.kind)))
    if depth == 0 and node.service:
        line.append(Segment(f"  [{escape(node.service)}]", "muted"))
    return tuple(line)


def _end_line(node: SpanNode, tag: str, depth: int, over_ns: int) -> Line:
    state = node.state
    took = duration(max(0, over_ns - (node.start_ns or over_ns)))
    mark = {"ok": "-", "error": "x"}.get(state, "!")
    style = "error" if state == "error" else "name"
    line = [
        *_head(over_ns, tag, mark, depth),
        Segment(escape(node.name), style),
        Segment(f"  {took}"),
    ]
    outcome = outcome_text(node)
    if outcome:
        line.append(Segment(f"  {outcome}", state_style(state)))
    return tuple(line)


def _head(time_ns: int, tag: str, mark: str, depth: int) -> list[Segment]:
    millis = time_ns // 1_000_000 % 1000
    indent = "  " * depth if depth <= _INDENTS else "  " * _INDENTS + f"[{depth}] "
    style = {"x": "error", "!": "halted"}.get(mark, "muted")
    return [
        Segment(f"{clock_time(time_ns)}.{millis:03d} {tag}  ", "muted"),
        Segment(indent),
        Segment(f"{mark} ", style),
    ]


def _depth(node: SpanNode) -> int:
    depth = 0
    above = node.parent
    while above is not None:
        depth += above.start is not None
        above = above.parent
    return depth


def _root_name(tree: TraceTree) -> str:
    root = tree.root
    return escape(root.name) if root is not None and root.name else tree.trace_id
