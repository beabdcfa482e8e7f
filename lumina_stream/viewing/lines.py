"""A live trace as lines for logs, pipes and files: one when a span starts, one when it ends.

The events of spans have a line each, too.

Pure: updates in, lines out. Plain ASCII but for the names themselves.
"""

from collections.abc import Mapping

from lumina_stream.model.live import Update
from lumina_stream.model.node import SpanNode
from lumina_stream.model.producers import Stamp
from lumina_stream.model.tree import TraceTree
from lumina_stream.viewing.rows import (
    Line,
    Segment,
    clock_time,
    kind_style,
    loss_text,
    outcome_text,
    shown_name,
    state_style,
)
from lumina_stream.viewing.text import clip, count, duration, escape

_INDENTS = 20
"""Levels that are indented; deeper ones say their depth in figures, so that lines stay lines."""


_TAG = 6
"""Digits of the trace id on each line: traces that run at the same time are told apart by them. A
root's line ends with the whole id."""
_EVENT_ATTRIBUTES = 100
"""Columns for the attributes of a span's event."""
_EVENT_VALUE = 40
"""Columns for the value of one of them."""


class LineWriter:
    """Turn updates into lines. A span has one line for its start, each event and each end that it meets."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, str]] = {}  # trace id -> span id -> the state last said
        self._events: dict[str, dict[str, set[Stamp]]] = {}  # those that were said, likewise
        self._losses: dict[str, str] = {}

    def take(self, update: Update, traces: Mapping[str, TraceTree]) -> list[Line]:
        """Return the lines for an update, in the order in which things happened."""
        notes: list[Line] = []
        if update.restarted:
            for trace_id in [trace_id for trace_id in self._said if trace_id not in traces]:
                del self._said[trace_id]
                self._events.pop(trace_id, None)
        if update.missed:
            notes.append((Segment(f"... {count(update.missed)} events skipped", "lost"),))
        stamped: list[tuple[int, int, Line]] = []
        for change in update.changes:
            tree = traces.get(change.trace_id)
            if tree is None:
                self._said.pop(change.trace_id, None)
                self._events.pop(change.trace_id, None)
                self._losses.pop(change.trace_id, None)
                continue
            said = self._said.setdefault(change.trace_id, {})
            tag = change.trace_id[:_TAG]
            for span_id in change.span_ids:
                node = tree.span(span_id)
                if node is not None:
                    stamped.extend(_news(node, change.trace_id, said))
                    if node.events and node.span_id in said:
                        events = self._events.setdefault(change.trace_id, {})
                        stamped.extend(_event_news(node, tag, events.setdefault(span_id, set())))
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
            self._events = {t: said for t, said in self._events.items() if t in traces}
            self._losses = {t: said for t, said in self._losses.items() if t in traces}


def _news(node: SpanNode, trace_id: str, said: dict[str, str]) -> list[tuple[int, int, Line]]:
    state = node.state
    if state == "missing" or node.start_ns is None:
        return []
    before = said.get(node.span_id)
    if before == state:
        return []
    said[node.span_id] = state
    tag = trace_id[:_TAG]
    depth = _depth(node)
    news: list[tuple[int, int, Line]] = []
    if before is None:
        news.append((node.start_ns, depth, _start_line(node, trace_id, depth)))
    elif state == "running":
        head = _head(node.last_ns, tag, "~", depth)
        back = Segment("  runs on: its program is back", "muted")
        news.append((node.last_ns, depth, (*head, Segment(shown_name(node), "name"), back)))
    if state != "running":
        over_ns = node.end_ns if node.end_ns is not None else node.last_seen_ns
        # Of spans that ended in the same instant the innermost comes first.
        news.append((over_ns, 1_000_000 - depth, _end_line(node, tag, depth, over_ns)))
    return news


def _event_news(node: SpanNode, tag: str, said: set[Stamp]) -> list[tuple[int, int, Line]]:
    news: list[tuple[int, int, Line]] = []
    for event in node.event_list():
        if event.stamp in said:
            continue
        said.add(event.stamp)
        # Of what came in the same instant the events stand between starts and ends.
        depth = _depth(node) + 1
        line = [*_head(event.time_ns, tag, ".", depth), Segment(escape(event.name), "muted")]
        shown = "  ".join(_short(key, value) for key, value in event.attributes.items())
        if shown:
            line.append(Segment(f"  {clip(shown, _EVENT_ATTRIBUTES)}", "muted"))
        news.append((event.time_ns, 500_000, tuple(line)))
    return news


def _short(key: str, value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    first = text.strip().split("\n", 1)[0][: 4 * _EVENT_VALUE]
    return f"{escape(key)}={clip(escape(first), _EVENT_VALUE)}"


def _start_line(node: SpanNode, trace_id: str, depth: int) -> Line:
    head = _head(node.start_ns or 0, trace_id[:_TAG], "+", depth)
    line = [*head, Segment(shown_name(node), "name")]
    if node.kind:
        line.append(Segment(f"  {escape(node.kind)}", kind_style(node.kind)))
    if depth == 0:
        if node.service:
            line.append(Segment(f"  [{escape(node.service)}]", "muted"))
        line.append(Segment(f"  {trace_id}", "muted"))
    return tuple(line)


def _end_line(node: SpanNode, tag: str, depth: int, over_ns: int) -> Line:
    state = node.state
    took = duration(max(0, over_ns - (node.start_ns or over_ns)))
    mark = {"ok": "-", "error": "x"}.get(state, "!")
    style = "error" if state == "error" else "name"
    line = [
        *_head(over_ns, tag, mark, depth),
        Segment(shown_name(node), style),
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
