"""What of many trees fits a window: the longest-running spans first, errors always, the rest counted.

Pure: trees, a time and a size in, lines out.
"""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median_low
from typing import NamedTuple

from lumina_stream.model.node import SpanNode, start_order
from lumina_stream.model.tree import TraceTree
from lumina_stream.viewing.rows import UNICODE, Glyphs, Line, Segment, compose, span_line
from lumina_stream.viewing.text import count, duration, escape, ticking

FOLD_ROOMY = 9
"""Siblings of one name that become one line even when there is room: nobody compares nine lines by eye."""
FOLD_TIGHT = 3
"""The same when the trees do not fit the window."""
EXPANDED = 3
"""Members of a fold that are shown by themselves because something runs below them, longest first."""
_LOOKED_AT = 4
"""Windows' worth of spans that are considered at all: bounds the time of one frame for huge trees."""


class _Fold(NamedTuple):
    members: list[SpanNode]


class _Levels(NamedTuple):
    node: SpanNode
    skipped: int


class _More(NamedTuple):
    nodes: list[SpanNode]


_Entry = SpanNode | _Fold | _Levels | _More


def layout(
    trees: Iterable[TraceTree], now_ns: int, width: int, height: int, glyphs: Glyphs = UNICODE
) -> list[Line]:
    """Return at most `height` lines of at most `width` columns that show how the traces stand.

    Running traces come first, the longest-running at the top. Siblings of one name are folded into
    one line; a span that failed, or has one below it, is never folded, only counted when even the
    errors do not fit. Every text is escaped.
    """
    if height < 1 or width < 10:
        return []
    ordered = sorted((tree for tree in trees if len(tree)), key=_trace_order)
    shown = ordered if len(ordered) <= max(1, height // 2) else ordered[: max(1, height // 2)]
    room = height - (len(shown) < len(ordered))
    roots = [(tree, root) for tree in shown for root in _roots(tree)]
    if len(roots) > room:
        roots = [(tree, root) for tree in shown for root in _roots(tree)][: max(1, room - 1)]
    for fold_at in (FOLD_ROOMY, FOLD_TIGHT):
        view = _View(shown, roots, fold_at)
        picks = view.picks(_LOOKED_AT * height)
        entries = view.entries(picks, room)
        if entries is not None:
            break
    else:
        entries = view.fit(picks, room)
    lines = [_line(entry, now_ns, width, glyphs) for entry in entries[:room]]
    hidden = ordered[len(shown) :]
    if hidden:
        running = sum(tree.state == "running" for tree in hidden)
        text = f"+{count(len(hidden))} more traces" + (
            f", {count(running)} running" if running else ""
        )
        lines.append((Segment(text, "muted"),))
    return lines


def _roots(tree: TraceTree) -> list[SpanNode]:
    """Return the spans to start from: a parent that nothing is known of makes no line."""
    found: list[SpanNode] = []
    for root in tree.roots:
        unknown = root.start is None and root.children
        found.extend(root.sorted_children() if unknown else [root])
    return found


def _trace_order(tree: TraceTree) -> tuple[bool, int, str]:
    return (tree.state != "running", tree.start_ns, tree.trace_id)


class _Row(NamedTuple):
    tree: TraceTree
    prefix: str
    """Guides in a notation of their own: `|` goes on, a blank does not, `+` branches, `L` is the last."""
    entry: _Entry
    note: list[SpanNode]


class _View:
    """The trees of one frame, with what was found out about them."""

    def __init__(
        self, trees: Sequence[TraceTree], roots: Sequence[tuple[TraceTree, SpanNode]], fold_at: int
    ) -> None:
        self._trees = trees
        self._roots = roots
        self._fold_at = fold_at
        self._folds: dict[str, dict[str, str]] = {}  # parent's id -> child's id -> the fold's name

    # --- which spans matter most ---------------------------------------------------------------

    def picks(self, most: int) -> list[SpanNode]:
        """Return the spans worth a line, most important first, roots left out."""
        running: list[SpanNode] = []
        errors: list[SpanNode] = []
        others: list[SpanNode] = []
        for tree in self._trees:
            errors.extend(_troubled(tree, most))
            running.extend(tree.open_spans())
            others.extend(self._plain(tree, most))
        # A span with nothing running below it is where the time goes; what is above comes with it.
        running.sort(
            key=lambda node: (node.rollup is None or node.rollup.open > 1, start_order(node))
        )
        ranked = [*_interleave(self._unfolded(running, most), errors), *others]
        return list(dict.fromkeys(node for node in ranked if node.parent is not None))

    def _unfolded(self, running: list[SpanNode], most: int) -> Iterator[SpanNode]:
        """Leave out what a fold's line stands for, but a few members with something below them."""
        expanded: dict[tuple[str, str], set[str]] = {}
        for node in running[: most * 4]:
            folded = False
            step = node
            while step.parent is not None:
                name = self._fold_of(step)
                if name is not None:
                    members = expanded.setdefault((step.parent.span_id, name), set())
                    if step is node or (step.span_id not in members and len(members) >= EXPANDED):
                        folded = True
                        break
                    members.add(step.span_id)
                step = step.parent
            if not folded:
                yield node

    def _plain(self, tree: TraceTree, most: int) -> list[SpanNode]:
        """Return spans level by level, the latest of each parent first."""
        found: list[SpanNode] = []
        level = tree.roots
        while level and len(found) < most:
            below: list[SpanNode] = []
            for node in level:
                for child in reversed(node.sorted_children()[-most:]):
                    if self._fold_of(child) is None:
                        below.append(child)
                if len(below) >= most:
                    break
            found.extend(below)
            level = below
        return found[:most]

    def _fold_of(self, node: SpanNode) -> str | None:
        """Return the name of the fold that a span belongs to, None if it stands by itself."""
        parent = node.parent
        if parent is None or not parent.children or len(parent.children) < self._fold_at:
            return None
        folds = self._folds.get(parent.span_id)
        if folds is None:
            by_name: dict[str, list[SpanNode]] = {}
            for child in parent.children:
                if not _in_trouble(child):
                    by_name.setdefault(child.name, []).append(child)
            folds = self._folds[parent.span_id] = {
                child.span_id: name
                for name, members in by_name.items()
                if len(members) >= self._fold_at
                for child in members
            }
        return folds.get(node.span_id)

    # --- what is drawn -------------------------------------------------------------------------

    def fit(self, picks: Sequence[SpanNode], room: int) -> list[_Row]:
        """Return the rows of as many picks as fit."""
        low, high = 0, len(picks)
        best = self.entries((), room) or self._only_roots()[:room]
        while low < high:
            middle = (low + high + 1) // 2
            rows = self.entries(picks[:middle], room)
            if rows is None:
                high = middle - 1
            else:
                low, best = middle, rows
        return best

    def _only_roots(self) -> list[_Row]:
        return [_Row(tree, "", root, root.children or []) for tree, root in self._roots]

    def entries(self, picks: Sequence[SpanNode], room: int) -> list[_Row] | None:
        """Return the rows that show these spans, None if they are more than `room`."""
        shown: dict[str, list[_Levels]] = {root.span_id: [] for _, root in self._roots}
        on_the_way: set[str] = set()
        longest = max(6, room // 2)
        for node in picks:
            if node.span_id in shown:
                continue
            path: list[SpanNode] = []
            step: SpanNode | None = node
            while step is not None and step.span_id not in shown:
                path.append(step)
                step = step.parent
            if step is None:
                continue  # below a root that has no line itself
            skipped = len(path) - longest
            if skipped > 0:
                # A chain ten thousand deep: its first levels, then its last ones.
                lower, middle = path[: longest // 2], path[longest // 2 : longest // 2 + skipped]
                on_the_way.update(n.span_id for n in middle)
                upper = path[longest // 2 + skipped :]
                hook = upper[0].span_id if upper else step.span_id
                for above in upper:
                    shown[above.span_id] = []
                shown[hook].append(_Levels(lower[-1], skipped))
                path = lower
            for above in path:
                shown.setdefault(above.span_id, [])
            if len(shown) > room:
                return None
        rows: list[_Row] = []
        for tree, root in self._roots:
            stack: list[tuple[str, _Entry]] = [("", root)]
            while stack:
                prefix, entry = stack.pop()
                node = entry.node if isinstance(entry, _Levels) else entry
                if not isinstance(node, SpanNode):
                    rows.append(_Row(tree, prefix, entry, []))
                else:
                    below, note = self._below(node, shown, on_the_way)
                    rows.append(_Row(tree, prefix, entry, note))
                    guides = prefix[:-1] + {"+": "|", "L": " "}[prefix[-1]] if prefix else ""
                    marks = ["+"] * (len(below) - 1) + ["L"]
                    pairs = list(zip(marks, below, strict=True)) if below else []
                    stack.extend((guides + mark, child) for mark, child in reversed(pairs))
                if len(rows) > room:
                    return None
        return rows

    def _below(
        self, node: SpanNode, shown: dict[str, list[_Levels]], on_the_way: set[str]
    ) -> tuple[list[_Entry], list[SpanNode]]:
        """Return what is drawn below a span, and what is only noted on its line."""
        below: list[_Entry] = []
        folds: dict[str, _Fold] = {}
        hidden: list[SpanNode] = []
        for child in node.sorted_children():
            if child.span_id in shown:
                if not any(child is levels.node for levels in shown[node.span_id]):
                    below.append(child)
                continue
            if child.span_id in on_the_way:
                continue
            name = self._fold_of(child)
            if name is None:
                hidden.append(child)
            elif name in folds:
                folds[name].members.append(child)
            else:
                folds[name] = _Fold([child])
                below.append(folds[name])
        below.extend(shown[node.span_id])
        if hidden and below:
            below.append(_More(hidden))
            hidden = []
        return below, hidden


def _interleave(running: Iterable[SpanNode], errors: Iterable[SpanNode]) -> Iterator[SpanNode]:
    """Take two running spans for each failed one, so that neither crowds out the other."""
    left, right = iter(running), iter(errors)
    done = object()
    while True:
        taken = [next(left, done), next(left, done), next(right, done)]
        if all(item is done for item in taken):
            return
        for item in taken:
            if isinstance(item, SpanNode):
                yield item


def _in_trouble(node: SpanNode) -> bool:
    return node.state == "interrupted" or _errors(node) > 0


def _errors(node: SpanNode) -> int:
    return node.rollup.errors if node.rollup is not None else 0


def _troubled(tree: TraceTree, most: int) -> list[SpanNode]:
    """Return failed and interrupted spans, found by going down only where roll-ups count one."""
    found: list[SpanNode] = []
    stack = tree.roots
    for root in stack:
        tree.rollup(root.span_id)
    interrupted = tree.state == "interrupted"
    while stack and len(found) < most:
        node = stack.pop()
        if node.state in ("error", "interrupted"):
            found.append(node)
        if node.children:
            stack.extend(child for child in node.children if interrupted or _errors(child))
    found.sort(key=start_order, reverse=True)
    return found


# --- lines -----------------------------------------------------------------------------------


def _line(row: _Row, now_ns: int, width: int, glyphs: Glyphs) -> Line:
    prefix = _guides(row.prefix, width, glyphs)
    match row.entry:
        case _Fold(members):
            return _fold_line(prefix, members, now_ns, width, glyphs)
        case _More(nodes):
            return compose(
                prefix, Segment(""), Segment(_more_text(nodes), "muted"), (), "", "", width
            )
        case _Levels(node, skipped):
            prefix = f"{prefix}{glyphs.gap}{count(skipped)} levels {glyphs.gap}"
            return span_line(prefix, row.tree, node, _note(row.note), now_ns, width, glyphs)
        case SpanNode() as node:
            return span_line(prefix, row.tree, node, _note(row.note), now_ns, width, glyphs)


def _note(nodes: list[SpanNode]) -> str:
    return _more_text(nodes) if nodes else ""


def _more_text(nodes: list[SpanNode]) -> str:
    sums = [node.rollup for node in nodes if node.rollup is not None]
    parts = [f"+{count(max(len(nodes), sum(s.spans for s in sums)))} more"]
    running = sum(s.open for s in sums)
    errors = sum(s.errors for s in sums)
    if running:
        parts.append(f"{count(running)} running")
    if errors:
        parts.append(f"{count(errors)} error{'s' if errors > 1 else ''}")
    return ", ".join(parts)


def _fold_line(
    prefix: str, members: list[SpanNode], now_ns: int, width: int, glyphs: Glyphs
) -> Line:
    running = [node for node in members if node.state == "running"]
    took = [node.duration_ns for node in members if node.duration_ns is not None]
    parts: list[str] = []
    if running:
        parts.append(f"{count(len(running))} running")
    if took:
        parts.append(f"p50 {duration(median_low(took))}")
    state = "running" if running else members[0].state
    longest = min((n.start_ns or now_ns for n in running), default=now_ns)
    name = Segment(f"{escape(members[0].name)} {glyphs.times}{count(len(members))}", "name")
    return compose(
        prefix,
        Segment(f"{glyphs.states[state]} ", state if running else "ok"),
        name,
        [Segment(", ".join(parts), "muted")] if parts else [],
        ticking(now_ns - longest) if running else "",
        "running",
        width,
    )


def _guides(notation: str, width: int, glyphs: Glyphs) -> str:
    most = max(2, width // 9)  # three columns each, so at most a third of the line
    cut = len(notation) > most
    shape = {"|": glyphs.down, " ": " " * len(glyphs.down), "+": glyphs.branch, "L": glyphs.last}
    drawn = "".join(shape[mark] for mark in (notation[-most:] if cut else notation))
    return f"{glyphs.gap}{drawn}" if cut else drawn
