"""The log and the projections of it in this process, and events to feed them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lumina_stream.model import codec
from lumina_stream.model.events import Event, SpanEnded, SpanStarted
from lumina_stream.model.forest import Forest
from lumina_stream.relay import costs
from lumina_stream.relay.admission import admit
from lumina_stream.relay.following import Applied
from lumina_stream.relay.log import Entry
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.projections import Projections
from lumina_stream.relay.sqlite_log import SqliteLog

RELAY = "relay-1"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def trace(number: int) -> str:
    return f"{number:032x}"


def span(number: int) -> str:
    return f"{number:016x}"


BOOK = PriceBook(published=False)


class Relay:
    """The log and the projections of it, fed as the relay feeds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SqliteLog.open(folder / "log")
        self.projections = self.opened()
        self.seqs: dict[str, int] = {}

    def opened(self) -> Projections:
        opened = Projections.open(
            self.folder, self.log, clock=lambda: START + 1000 * SECOND, book=BOOK
        )
        self.replayed = list(opened.replay())
        return opened

    def append(self, *events: Event, producer: str = "p1") -> int:
        data = codec.join_array([codec.encode(event) for event in events])
        seq = self.seqs.get(producer, 0) + 1
        self.seqs[producer] = seq + len(events) - 1
        trace_ids = admit(data, producer).trace_ids
        (offset,) = self.log.append([Entry(producer, seq, len(events), data, trace_ids, 0)])
        return offset

    def send(self, *events: Event, producer: str = "p1") -> Applied:
        offset = self.append(*events, producer=producer)
        data = codec.join_array([codec.encode(event) for event in events])
        decoded = admit(data, producer).events
        return self.projections.apply(
            offset, producer, self.seqs[producer] - len(events) + 1, decoded
        )

    def say(self, *events: Event) -> Applied:
        return self.send(*events, producer=RELAY)

    def crash(self) -> None:
        """Go on with what a killed relay leaves behind."""
        self.projections._store.close(clean=False)  # the open transaction is rolled back
        self.projections = self.opened()

    def restart(self) -> None:
        """End and come back, the log too."""
        self.projections.close()
        self.log.close()
        self.log = SqliteLog.open(self.folder / "log")
        self.projections = self.opened()

    def close(self) -> None:
        self.projections.close()
        self.log.close()

    def truth(self) -> Forest:
        """Return the trees that the whole log makes."""
        forest = Forest()
        for row in self.log.read(0, max_bytes=1 << 30):
            for seq, event in enumerate(codec.decode_array(row.events), row.first_seq):
                assert event is not None
                forest.apply(event, row.producer_id, seq)
        for tree in forest:
            costs.price(tree, BOOK)
        return forest


def started(number: int, span_number: int = 1, **more: Any) -> SpanStarted:
    at = more.pop("at", 0)
    name = more.pop("name", f"name-{span_number}")
    return SpanStarted(trace(number), span(span_number), START + at * SECOND, name, **more)


def ended(number: int, span_number: int = 1, at: int = 1, **more: Any) -> SpanEnded:
    return SpanEnded(trace(number), span(span_number), START + at * SECOND, **more)


def whole(number: int, **more: Any) -> tuple[SpanStarted, SpanEnded]:
    at = more.pop("at", 0)
    took = more.pop("took", 1)
    return started(number, at=at, **more), ended(number, at=at + took)
