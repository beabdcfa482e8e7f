"""A tree in canonical form, and the same form worked out naively from a set of facts.

`expected_of` is the oracle: it looks at all facts at once and shares no code with `TraceTree`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    Event,
    EventAdded,
    EventsLost,
    ProducerEnded,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
)
from lumina_stream.model.node import SpanNode
from lumina_stream.model.producers import Stamp
from lumina_stream.model.tree import TraceTree

TRACE = "1" * 32

Canonical = dict[str, Any]


class Told(NamedTuple):
    """An event and who said it."""

    event: Event
    producer_id: str
    seq: int

    @property
    def stamp(self) -> Stamp:
        return (self.event.time_ns, self.producer_id, self.seq)


def grow(told: Iterable[Told], tree: TraceTree | None = None) -> TraceTree:
    """Apply everything that was told, in the order given."""
    tree = TraceTree(TRACE) if tree is None else tree
    for event, producer_id, seq in told:
        tree.apply(event, producer_id, seq)
    return tree


def canonical(tree: TraceTree) -> Canonical:
    """Return everything that can be read of a tree, free of the order in which it was built."""
    return {
        "spans": {node.span_id: row(node) for node in tree},
        "walk": [(depth, node.span_id) for depth, node in tree.walk()],
        "roots": [node.span_id for node in tree.roots],
        "root": None if tree.root is None else tree.root.span_id,
        "rollups": {node.span_id: _astuple(tree, node.span_id) for node in tree},
        "state": tree.state,
        "finished": tree.finished,
        "span_count": tree.span_count,
        "missing_count": tree.missing_count,
        "open_count": tree.open_count,
        "error_count": tree.error_count,
        "lost_count": tree.lost_count,
        "losses": dict(tree.losses),
        "open_spans": [node.span_id for node in tree.open_spans()],
        "unfinished_producers": sorted(tree.unfinished_producers()),
        "start_ns": tree.start_ns,
        "end_ns": tree.end_ns,
        "services": tree.services,
        "last_seen_ns": tree.last_seen_ns,
        "tokens": tree.tokens,
        "truncated": dict(tree.truncated),
    }


def row(node: SpanNode) -> dict[str, Any]:
    """Return all that a viewer could show of one span."""
    return {
        "parent_id": node.parent_id,
        "parent": None if node.parent is None else node.parent.span_id,
        "children": [child.span_id for child in node.sorted_children()],
        "name": node.name,
        "kind": node.kind,
        "remote_parent": node.remote_parent,
        "state": node.state,
        "is_open": node.is_open,
        "producer_id": node.producer_id,
        "service": node.service,
        "start": node.start,
        "end": node.end,
        "duration_ns": node.duration_ns,
        "error": node.error,
        "last_seen_ns": node.last_seen_ns,
        "attributes": node.attributes,
        "attribute_stamps": {held.key: held.stamp for held in node.attribute_list()},
        "marks": node.attribute_marks(),
        "events": [(e.stamp, e.name, e.attributes, e.marks) for e in node.event_list()],
        "texts": {channel: node.text(channel) for channel in node.text_channels()},
        "links": [(link.trace_id, link.span_id, link.attributes) for link in node.link_list()],
        "flags": node.flags(),
    }


def _astuple(tree: TraceTree, span_id: str) -> tuple[int, ...]:
    sums = tree.rollup(span_id)
    return (
        sums.spans,
        sums.open,
        sums.errors,
        sums.start_ns,
        sums.end_ns,
        sums.input_tokens,
        sums.output_tokens,
    )


# --- the oracle ------------------------------------------------------------------------------


def expected_of(told: Iterable[Told]) -> Canonical:
    """Work out what the tree must be after these facts, whatever their order."""
    facts = {fact.stamp: fact for fact in told}
    ordered = [facts[stamp] for stamp in sorted(facts)]
    producers = _producers(ordered)
    spans: dict[str, dict[str, Any]] = {}
    parents: dict[str, str | None] = {}
    for fact in ordered:
        span_id = getattr(fact.event, "span_id", None)
        if span_id is not None:
            spans.setdefault(span_id, {})
        if isinstance(fact.event, SpanStarted) and fact.event.parent_id is not None:
            spans.setdefault(fact.event.parent_id, {})
    for span_id in spans:
        mine = [fact for fact in ordered if getattr(fact.event, "span_id", None) == span_id]
        spans[span_id] = _row(mine, producers)
        parents[span_id] = spans[span_id]["parent_id"]
    cut = {min(cycle) for cycle in _cycles(parents)}
    for span_id, span in spans.items():
        span["parent"] = None if span_id in cut else parents[span_id]
        span["flags"] = sorted([*span["flags"], *(["parent_cycle"] if span_id in cut else [])])

    def order(span_id: str) -> tuple[int, str]:
        start = spans[span_id]["start"]
        return (0 if start is None else start[0], span_id)

    for span_id, span in spans.items():
        span["children"] = sorted((s for s in spans if spans[s]["parent"] == span_id), key=order)
    roots = sorted((s for s in spans if spans[s]["parent"] is None), key=order)
    walk: list[tuple[int, str]] = []

    def visit(span_id: str, depth: int) -> None:
        walk.append((depth, span_id))
        for child in spans[span_id]["children"]:
            visit(child, depth + 1)

    for span_id in roots:
        visit(span_id, 0)

    def below(span_id: str) -> list[str]:
        return [span_id, *(s for child in spans[span_id]["children"] for s in below(child))]

    def tokens(span_id: str, key: str) -> int:
        own = spans[span_id]["attributes"].get(key, 0)
        own = own if type(own) is int and own > 0 else 0
        return max(own, sum(tokens(child, key) for child in spans[span_id]["children"]))

    def sums(span_ids: list[str]) -> tuple[int, int, int, int, int]:
        chosen = [spans[s] for s in span_ids]
        starts = [s["start"][0] for s in chosen if s["start"] is not None and s["start"][0] > 0]
        ends = [s["end"][0] for s in chosen if s["end"] is not None]
        return (
            sum(s["start"] is not None for s in chosen),
            sum(s["is_open"] for s in chosen),
            sum(s["state"] == "error" for s in chosen),
            min(starts, default=0),
            max([0, *ends]),
        )

    losses = {
        fact.stamp: (fact.event.by_trace[TRACE], fact.event.reason, fact.event.exact)
        for fact in ordered
        if isinstance(fact.event, EventsLost) and fact.event.by_trace.get(TRACE)
    }
    started = [s for s in roots if spans[s]["start"] is not None]
    children = [c for s in roots for c in spans[s]["children"] if spans[c]["start"] is not None]
    root = min(started or children or roots, key=order, default=None)
    whole = sums(list(spans))
    states = {s["state"] for s in spans.values()}
    state = "missing" if root is None else spans[root]["state"]
    for fate in ("unended", "interrupted", "running"):
        state = fate if fate in states else state
    service = "" if root is None else spans[root]["service"]
    others = {s["service"] for s in spans.values() if s["start"] is not None} - {"", service}
    return {
        "spans": spans,
        "walk": walk,
        "roots": roots,
        "root": root,
        "rollups": {
            s: (
                *sums(below(s)),
                tokens(s, "gen_ai.usage.input_tokens"),
                tokens(s, "gen_ai.usage.output_tokens"),
            )
            for s in spans
        },
        "state": state,
        "finished": root is not None
        and spans[root]["start"] is not None
        and spans[root]["state"] != "running"
        and whole[1] == 0,
        "span_count": whole[0],
        "missing_count": len(spans) - whole[0],
        "open_count": whole[1],
        "error_count": whole[2],
        "lost_count": sum(count for count, _, _ in losses.values()),
        "losses": losses,
        "open_spans": sorted((s for s in spans if spans[s]["is_open"]), key=order),
        "unfinished_producers": sorted(
            {
                s["producer_id"]
                for s in spans.values()
                if s["state"] in ("running", "interrupted", "unended")
            }
        ),
        "start_ns": whole[3],
        "end_ns": whole[4],
        "services": ([service] if service else []) + sorted(others),
        "last_seen_ns": max([0, *(s["last_seen_ns"] for s in spans.values())]),
        "tokens": tuple(
            sum(tokens(s, f"gen_ai.usage.{way}_tokens") for s in roots)
            for way in ("input", "output")
        ),
        "truncated": {},
    }


def _producers(ordered: list[Told]) -> dict[str, tuple[str, int, str]]:
    """Return (state, last seen, service) by producer."""
    known: dict[str, tuple[str, int, str]] = {}
    for fact in ordered:
        event = fact.event
        if isinstance(event, ProducerStarted):
            known[event.subject_id] = ("alive", 0, event.service)
        elif isinstance(event, ProducerLost | ProducerReturned | ProducerEnded):
            _, _, service = known.get(event.subject_id, ("alive", 0, ""))
            state, seen = "alive", 0
            if isinstance(event, ProducerLost):
                state, seen = "lost", event.last_seen_ns
            elif isinstance(event, ProducerEnded):
                state = "ended"
            known[event.subject_id] = (state, seen, service)
    return known


def _row(mine: list[Told], producers: dict[str, tuple[str, int, str]]) -> dict[str, Any]:
    """Return one span's row but for its place; `mine` is in the order of the stamps."""
    start: Told | None = None
    end: Told | None = None
    name, flags = "", set[str]()
    values: dict[str, tuple[Any, Stamp, dict[str, str]]] = {}
    own_marks: dict[str, str] = {}
    events: list[Any] = []
    pieces: dict[tuple[str, int], str] = {}
    links: list[Any] = []
    for fact in mine:
        event = fact.event
        match event:
            case SpanStarted():
                if start is not None and _says(start.event) != _says(event):
                    flags.add("duplicate_start")
                start = fact
            case SpanEnded():
                if end is not None and _says(end.event) != _says(event):
                    flags.add("double_end")
                end = fact
            case AttributeSet():
                values[event.key] = (event.value, fact.stamp, event.marks or {})
            case EventAdded():
                events.append((fact.stamp, event.name, event.attributes, event.marks))
            case TextStreamed():
                pieces[event.channel, event.index] = event.text
            case _:
                pass
        if isinstance(event, SpanStarted | AttributesSet):
            for key, value in event.attributes.items():
                marks = {p: m for p, m in (event.marks or {}).items() if p == key}
                values[key] = (value, fact.stamp, marks)
        if isinstance(event, SpanStarted | AttributesSet | SpanEnded):
            own_marks |= {p: m for p, m in (event.marks or {}).items() if p.startswith("@")}
        if isinstance(event, SpanStarted | SpanUpdated):
            links += [(link.trace_id, link.span_id, link.attributes) for link in event.links]
        if isinstance(event, SpanStarted | SpanUpdated | SpanEnded) and event.name is not None:
            name = event.name
    if end is not None and any(stamp[0] > end.stamp[0] for stamp, *_ in events):
        flags.add("event_after_end")
    begun = start.event if start is not None else None
    ended = end.event if end is not None else None
    assert begun is None or isinstance(begun, SpanStarted)
    assert ended is None or isinstance(ended, SpanEnded)
    producer_id = None if start is None else start.producer_id
    fate, seen, service = producers.get(producer_id or "", ("alive", 0, ""))
    if ended is not None:
        state = ended.status
    elif producer_id is None:
        state = "missing"
    else:
        state = {"alive": "running", "lost": "interrupted", "ended": "unended"}[fate]
    last_ns = max([0, *(fact.event.time_ns for fact in mine)])
    marks = dict(own_marks)
    for _, _, mark in sorted(values.values(), key=lambda held: held[1]):
        marks |= mark
    return {
        "parent_id": None if begun is None else begun.parent_id,
        "name": name,
        "kind": None if begun is None else begun.kind,
        "remote_parent": begun is not None and begun.remote_parent,
        "state": state,
        "is_open": state == "running",
        "producer_id": producer_id,
        "service": service,
        "start": None if start is None else start.stamp,
        "end": None if end is None else end.stamp,
        "duration_ns": None
        if start is None or end is None
        else max(0, end.stamp[0] - start.stamp[0]),
        "error": None if ended is None else ended.error,
        "last_seen_ns": max(last_ns, seen) if state == "interrupted" else last_ns,
        "attributes": {key: value for key, (value, _, _) in values.items()},
        "attribute_stamps": {key: stamp for key, (_, stamp, _) in values.items()},
        "marks": marks,
        "events": events,
        "texts": {
            channel: "".join(pieces[key] for key in sorted(pieces) if key[0] == channel)
            for channel in sorted({channel for channel, _ in pieces})
        },
        "links": links,
        "flags": flags,
    }


def _says(event: Event) -> tuple[Any, ...]:
    """Return what two starts, or two ends, must agree on to be no conflict."""
    if isinstance(event, SpanStarted):
        return (event.parent_id, event.kind, event.time_ns)
    assert isinstance(event, SpanEnded)
    return (event.status, event.time_ns)


def _cycles(parents: dict[str, str | None]) -> list[set[str]]:
    found: list[set[str]] = []
    for span_id in parents:
        path: list[str] = []
        step: str | None = span_id
        while step is not None and step not in path:
            path.append(step)
            step = parents[step]
        if step == span_id and set(path) not in found:
            found.append(set(path))
    return found
