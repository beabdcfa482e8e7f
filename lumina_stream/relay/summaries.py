"""One line a trace: how it is drawn from a tree. Pure: `projection_store` keeps the lines, in SQLite."""

from __future__ import annotations

from lumina_stream.model.rollup import cost_usd
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.frames import TraceSummary
from lumina_stream.relay.glimpse import bars, preview

_MIN_INT, _MAX_INT = -(1 << 63), (1 << 63) - 1
_LONGER_THAN_ANY = 1 << 62


def summarise(tree: TraceTree) -> TraceSummary:
    """Return the line of a trace.

    Its duration goes from the first start to the last end, or (interrupted, unended) to the last
    sign of life; it is None while the trace runs or no start is known.
    """
    root, state = tree.root, tree.state
    start_ns, end_ns, last_ns = tree.start_ns, tree.end_ns, tree.last_seen_ns
    duration_ns: int | None = None
    if state != "running" and start_ns and (end_ns or state != "missing"):
        if state in ("interrupted", "unended"):
            end_ns = max(end_ns, last_ns)
        duration_ns = bound(max(0, end_ns - start_ns))
    services = tuple(tree.services)
    totals = tree.totals
    cost = cost_usd(totals)
    return TraceSummary(
        tree.trace_id,
        "" if root is None else root.name,
        services[0] if services else "",
        state,
        bound(start_ns),
        duration_ns,
        tree.span_count,
        tree.open_count,
        tree.error_count,
        None if root is None else root.kind,
        services,
        tree.missing_count,
        bound(tree.lost_count),
        sum(tree.truncated.values()),
        bound(totals.input_tokens),
        bound(totals.output_tokens),
        bound(last_ns),
        None if cost is None else float(cost),
        totals.unpriced,
        tuple(sorted(tree.calls.labels.get("session", ()))),
        tuple(sorted(tree.calls.labels.get("user", ()))),
        preview(tree),
        bars(tree, start_ns, last_ns if duration_ns is None else start_ns + duration_ns),
    )


def length(summary: TraceSummary) -> int:
    """Return what a trace is sorted by when sorted by duration: one that runs is the longest.

    It needs no clock, so that it can be indexed, and a page's cursor stays true.
    """
    if summary.duration_ns is not None:
        return min(summary.duration_ns, _LONGER_THAN_ANY)
    return bound(_LONGER_THAN_ANY - summary.start_ns) if summary.open else -1


def joined(names: tuple[str, ...]) -> str:
    """Return names as one text in which each can be found whole; empty if there are none."""
    return "\x1f" + "\x1f".join(names) + "\x1f" if names else ""


def bound(number: int) -> int:
    """Return the number, or what 64 bits hold of it: a hostile event may carry any."""
    return number if _MIN_INT <= number <= _MAX_INT else _MAX_INT if number > 0 else _MIN_INT
