"""Trees out of the log: one trace by its index, or the open ones that retention carried over.

What is read back is exactly what `apply` made of the same frames: `admission` judges them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import Event, SpanEvent
from lumina_stream.model.producers import Producer, Producers, Stamp
from lumina_stream.model.record import SpanRecord, record_of
from lumina_stream.model.tree import TraceTree
from lumina_stream.relay.admission import Admitted, admit
from lumina_stream.relay.log import Entry, Log, Row
from lumina_stream.relay.projection_store import Loss

EVENT_COST = 250
"""Estimated bytes of memory that one event costs beside its encoded length (measured: 265)."""
EVENT_BYTES = 150
"""Encoded length of an event where nobody says."""

SPAN_EVENTS = frozenset(SpanEvent.__args__)


class CarriedTrace(msgspec.Struct, array_like=True, gc=False):
    """An open trace as plain data."""

    trace_id: str
    truncated: dict[str, int]
    losses: list[tuple[Stamp, Loss]]
    records: list[SpanRecord]


class Carried(msgspec.Struct, array_like=True, gc=False):
    """The open traces as of an offset."""

    offset: int
    producers: list[Producer]
    traces: list[CarriedTrace]


decode_carried = msgspec.msgpack.Decoder(Carried).decode


def encode_carried(offset: int, producers: Producers, trees: Iterable[TraceTree]) -> bytes:
    """Return open traces as bytes that outlive the log's segments."""
    traces = [
        CarriedTrace(
            tree.trace_id,
            tree.truncated,
            list(tree.losses.items()),
            [record_of(node) for node in tree],
        )
        for tree in trees
    ]
    return codec.encode(Carried(offset, producers.all(), traces))  # pyright: ignore[reportArgumentType]


def admitted_of(row: Row | Entry) -> Admitted:
    """Return the events of a row, None for each refused one."""
    try:
        return admit(row.events, row.producer_id)
    except DecodeError:
        return Admitted([None] * row.count, (), row.count)


def events_of(row: Row) -> Sequence[Event | None]:
    """Return the events of a row, None for each refused one."""
    return admitted_of(row).events


def read_back(tree: TraceTree, log: Log, upto: int, recall: Callable[[str], None]) -> Iterator[int]:
    """Apply a trace's events up to an offset, a read of the log at a time.

    Yields an estimate of the bytes in memory that each read added. `recall` is called with each
    producer that the tree does not know yet. Raises `LogUnavailable`; the tree is incomplete then.
    """
    after = 0
    while after < upto:
        rows = log.read_trace(tree.trace_id, after=after)
        if not rows:
            return
        cost = 0
        for row in rows:
            after = row.last_offset
            if row.offset > upto:
                break
            if tree.producers.get(row.producer_id) is None:
                recall(row.producer_id)
            taken = 0
            for seq, event in enumerate(events_of(row), row.first_seq):
                if type(event) in SPAN_EVENTS and event.trace_id == tree.trace_id:  # type: ignore[union-attr]
                    tree.apply(event, row.producer_id, seq)  # type: ignore[arg-type]
                    taken += 1
            cost += taken * (EVENT_COST + len(row.events) // row.count)
        yield cost
