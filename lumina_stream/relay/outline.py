"""A tree as `outline` frames, a step of about two milliseconds each: for viewers that draw it.

Built while it is sent: nothing of a million spans is held but the numbers of what was said already.
A tree grows meanwhile; its spans keep their numbers, so the later ones come last.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from lumina_stream.model.node import SpanNode
from lumina_stream.model.producers import Stamp
from lumina_stream.model.tree import TraceTree
from lumina_stream.model.usage import CallState
from lumina_stream.protocol import frames

SPANS_PER_FRAME = 500
"""About a millisecond to build, another to encode, 50 KiB of JSON."""
TEXT_BYTES = 96 << 10
"""Encoded length of new texts in one frame: with the most that 500 spans take beside them, 256 KiB."""
TEXT_LENGTH = 8 << 10
"""Characters of a name in an outline; the whole of a longer one comes with the span's details."""
REASON_LENGTH = 256
USAGE_PER_FRAME = 2_000
"""Some 60 bytes each."""
LOSSES = 500
"""Losses named; a tree with more is beyond repair."""

_GRAIN_NS = 1 << 20
"""`base_ns` is a multiple of it, so that a double holds it exactly."""
_MOST_NS = 1 << 62
"""What hostile clocks say is cut to this, so that every encoding carries it."""
_MOST = (1 << 63) - 1

_STATUS = {status: code for code, status in enumerate(frames.STATUS_CODES)}
_encode = msgspec.json.Encoder().encode


class _Texts(dict[str, int]):
    """Number texts in the order in which they are met; `fresh` are those not sent yet."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[str] = []

    def __missing__(self, text: str) -> int:
        self.fresh.append(text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH])
        number = self[text] = len(self)
        return number

    def take_fresh(self) -> list[str]:
        fresh, self.fresh = self.fresh, []
        return fresh


def outline(offset: int, trace_id: str, tree: TraceTree | None) -> Iterator[frames.Outline]:
    """Yield the frames of a trace's outline at `offset`, the last one `done`; an empty one of no tree."""
    if tree is None:
        tree = TraceTree(trace_id)
    base_ns = (tree.start_ns or max(0, tree.last_ns)) // _GRAIN_NS * _GRAIN_NS
    texts, told, at = _Texts(), set[str](), 0
    while True:
        nodes = _fitting(tree.numbered(at, at + SPANS_PER_FRAME), texts)
        frame = _piece(tree, nodes, texts, base_ns)
        frame.offset, frame.at = offset, at
        producers = {node.start[1] for node in nodes if node.start is not None} - told
        told |= producers
        frame.producers = [p for p in map(tree.producers.get, sorted(producers)) if p is not None]
        if not at:
            frame.truncated = dict(tree.truncated)
            frame.losses = [
                frames.LossRecord(stamp, min(count, _MOST), reason[:REASON_LENGTH], exact)
                for stamp, (count, reason, exact) in list(tree.losses.items())[:LOSSES]
            ]
        at += len(nodes)
        frame.done = at >= len(tree)
        yield frame
        if frame.done:
            return


CallUsage: TypeAlias = tuple[str, int, int, int | None]
"""A call's span id, and what it adds; see `frames.Usage`."""


def usage_of(nodes: Iterable[SpanNode]) -> list[CallUsage]:
    """Return what calls add now, as far as that was worked out."""
    return [(node.span_id, *_share(node.call)) for node in nodes]


def usage_frames(upto: int, trace_id: str, usage: Sequence[CallUsage]) -> Iterator[frames.Usage]:
    """Yield the frames that say what calls of a trace add."""
    for at in range(0, len(usage), USAGE_PER_FRAME):
        yield frames.Usage(upto, trace_id, list(usage[at : at + USAGE_PER_FRAME]))


def _fitting(nodes: list[SpanNode], texts: _Texts) -> list[SpanNode]:
    """Return the first of the nodes, as many as their new texts leave room for; at least one."""
    while len(nodes) > 1:
        new = {n.name for n in nodes if n.name not in texts}
        new.update(n.kind for n in nodes if n.kind is not None and n.kind not in texts)
        if len(_encode([text[:TEXT_LENGTH] for text in new])) <= TEXT_BYTES:
            break
        nodes = nodes[: len(nodes) // 2]
    return nodes


def _piece(tree: TraceTree, nodes: list[SpanNode], texts: _Texts, base_ns: int) -> frames.Outline:
    starts, ends = [n.start for n in nodes], [n.end for n in nodes]
    return frames.Outline(
        offset=0,
        trace_id=tree.trace_id,
        base_ns=base_ns,
        total=len(tree),
        at=0,
        producers=[],
        ids="".join([n.span_id for n in nodes]),
        parents=[
            -1 if n.parent_id is None else n.parent.number if n.parent else _declared(tree, n)
            for n in nodes
        ],
        names=[texts[n.name] for n in nodes],
        kinds=[-1 if n.kind is None else texts[n.kind] for n in nodes],
        starts=_times([None if s is None else s[0] for s in starts], base_ns),
        start_by=[-1 if s is None else texts[s[1]] for s in starts],
        start_seq=[-1 if s is None else s[2] for s in starts],
        ends=_times([None if s is None else s[0] for s in ends], base_ns),
        end_by=[-1 if s is None else texts[s[1]] for s in ends],
        end_seq=[-1 if s is None else s[2] for s in ends],
        statuses=[_STATUS[n.status] for n in nodes],
        lasts=_times([n.last_ns or None for n in nodes], base_ns),
        flags=[
            (1 if n.remote_parent else 0)
            | (2 if n.held else 0)
            | (4 if n.events else 0)
            | (8 if n.texts else 0)
            | (16 if n.links else 0)
            | (32 if n.error else 0)
            for n in nodes
        ],
        named={
            n.number: _stamp(n.named, texts, base_ns)
            for n in nodes
            if n.named is not n.start and n.named is not None and n.named != n.start
        },
        conflicts={n.number: sorted(n.conflicts) for n in nodes if n.conflicts},
        usage=[
            (n.number, *_share(n.call))
            for n in nodes
            if n.call is not None and n.call.share is not None
        ],
        strings=texts.take_fresh(),
    )


def _declared(tree: TraceTree, node: SpanNode) -> int:
    """Return the number of a declared parent that the span does not hang from."""
    assert node.parent_id is not None
    parent = tree.span(node.parent_id)
    return -2 if parent is None else parent.number


def _times(times: list[int | None], base_ns: int) -> list[int | None]:
    found = [t for t in times if t is not None]
    if found and (max(found) > _MOST_NS or min(found) < -_MOST_NS):
        times = [None if t is None else max(-_MOST_NS, min(t, _MOST_NS)) for t in times]
    return [None if t is None else t - base_ns for t in times]


def _stamp(stamp: Stamp, texts: _Texts, base_ns: int) -> tuple[int, int, int]:
    time_ns = max(-_MOST_NS, min(stamp[0], _MOST_NS))
    return (time_ns - base_ns, texts[stamp[1]], stamp[2])


def _share(state: CallState | None) -> tuple[int, int, int | None]:
    share = None if state is None or state.is_duplicate else state.share
    if share is None:
        return (0, 0, 0)
    cost = None if share.cost is None else min(share.cost, _MOST)
    return (min(share.input, _MOST), min(share.output, _MOST), cost)
