"""Trees as snapshot frames: in pieces of bounded size, a huge span in several of them.

`TraceTree.restore` merges, so a span may come in parts, and a piece may be newer than the offset it
carries: the facts that follow bring nothing twice.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.producers import Producer
from lumina_stream.model.record import SpanRecord, record_of, to_columns
from lumina_stream.model.tree import TraceTree
from lumina_stream.model.usage import Cost
from lumina_stream.protocol import frames

PIECE_BYTES = limits.FRAME_BYTES - 16 * limits.KIB
"""Encoded records of one frame, with room for its other fields."""
PRODUCERS_PER_FRAME = 1_000
"""Some 150 bytes each."""
COST_BYTES = 40
"""Encoded length of what is said of the cost of one call."""
COSTS_PER_FRAME = 4_000
_MOST_COST = (1 << 63) - 1
LOSSES_PER_FRAME = 1_000
"""Some 80 bytes each; later ones of one tree are left out: a tree with so many is beyond repair."""


def snapshot(
    offset: int, producers: Iterable[Producer], trees: Iterable[TraceTree]
) -> Iterator[frames.Snapshot]:
    """Yield the frames of a snapshot at `offset`, the last one marked `done`; at least one."""
    held: frames.Snapshot | None = None
    for frame in _pieces(offset, producers, trees):
        if held is not None:
            yield held
        held = frame
    if held is None:
        held = frames.Snapshot(offset)
    held.done = True
    yield held


def names_of(producers: Iterable[Producer]) -> Iterator[Producer]:
    """Yield what producers call themselves without their fate, which any fact beats.

    For a replay: a fate from after the facts that follow would end spans whose ends are still to come.
    """
    for known in producers:
        yield Producer(known.producer_id, service=known.service, named=known.named)


def _pieces(
    offset: int, producers: Iterable[Producer], trees: Iterable[TraceTree]
) -> Iterator[frames.Snapshot]:
    known = list(producers)
    for at in range(0, len(known), PRODUCERS_PER_FRAME):
        yield frames.Snapshot(offset, producers=tuple(known[at : at + PRODUCERS_PER_FRAME]))
    for tree in trees:
        yield from _tree_pieces(offset, tree)


def _tree_pieces(offset: int, tree: TraceTree) -> Iterator[frames.Snapshot]:
    frame = frames.Snapshot(
        offset,
        tree.trace_id,
        truncated=dict(tree.truncated),
        losses=tuple(
            frames.LossRecord(stamp, count, reason, exact)
            for stamp, (count, reason, exact) in list(tree.losses.items())[:LOSSES_PER_FRAME]
        ),
    )
    records: list[SpanRecord] = []
    costs: list[frames.SpanCost] = []
    size = 0
    # Listed first: the caller may pause between pieces, and the tree grow meanwhile.
    for node in list(tree):
        if node.call is not None and node.call.cost is not None:
            costs.append(span_cost(node.span_id, node.call.cost))
            size += COST_BYTES
        for record in split(record_of(node)):
            length = len(codec.encode(record))
            if records and size + length > PIECE_BYTES:
                frame.spans, frame.costs = to_columns(records), tuple(costs)
                yield frame
                frame = frames.Snapshot(offset, tree.trace_id)
                records, costs, size = [], [], 0
            records.append(record)
            size += length
    frame.spans, frame.costs = to_columns(records), tuple(costs)
    yield frame


def costs_of(
    offset: int, tree: TraceTree, span_ids: Iterable[str] | None = None
) -> Iterator[frames.Costs]:
    """Yield what is known of the costs of a tree's calls, all of them or some."""
    nodes = tree.calls.spans.values() if span_ids is None else map(tree.span, span_ids)
    known = [
        span_cost(node.span_id, node.call.cost)
        for node in nodes
        if node is not None and node.call is not None and node.call.cost is not None
    ]
    for at in range(0, len(known), COSTS_PER_FRAME):
        yield frames.Costs(offset, tree.trace_id, tuple(known[at : at + COSTS_PER_FRAME]))


def span_cost(span_id: str, cost: Cost) -> frames.SpanCost:
    """Return a cost as it travels; more than 64 bits hold is cut."""
    return frames.SpanCost(
        span_id, min(cost.input, _MOST_COST), min(cost.output, _MOST_COST), cost.known
    )


def split(record: SpanRecord, budget: int = PIECE_BYTES // 2) -> Iterator[SpanRecord]:
    """Yield the record, in parts of about `budget` encoded bytes if it is larger than that."""
    if len(codec.encode(record)) <= budget:
        yield record
        return
    bare = msgspec.structs.replace(record, values=None, events=(), texts=(), links=(), marks={})
    yield bare
    for values in _groups((record.values or {}).items(), budget):
        yield msgspec.structs.replace(bare, values=dict(values))
    for events in _groups(record.events, budget):
        yield msgspec.structs.replace(bare, events=tuple(events))
    for texts in _groups(record.texts, budget):
        yield msgspec.structs.replace(bare, texts=tuple(texts))
    for links in _groups(record.links, budget):
        yield msgspec.structs.replace(bare, links=tuple(links))
    for marks in _groups(record.marks.items(), budget):
        yield msgspec.structs.replace(bare, marks=dict(marks))


def _groups(items: Iterable[Any], budget: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    size = 0
    for item in items:
        length = len(codec.encode(item))
        if group and size + length > budget:
            yield group
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group
