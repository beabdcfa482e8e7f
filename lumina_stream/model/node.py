"""One span of a tree: what its events said, merged, and what follows from that."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from lumina_stream.model.events import Attributes, ErrorInfo, Link, Status
from lumina_stream.model.producers import Producers, Stamp

State: TypeAlias = Literal[
    "running", "ok", "error", "cancelled", "abandoned", "interrupted", "unended", "missing"
]
"""What the tree derives. `missing`: the span was named (as a parent, or by an event) and its start never came."""

PARENT_CYCLE = "parent_cycle"
DUPLICATE_START = "duplicate_start"
DOUBLE_END = "double_end"
EVENT_AFTER_END = "event_after_end"


class Value(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An attribute's value, who set it when, and what was done to it on the way (by path)."""

    value: Any
    stamp: Stamp
    marks: dict[str, str] | None = None


class SpanEventRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Something that happened at one moment in a span."""

    stamp: Stamp
    name: str
    attributes: Attributes
    marks: dict[str, str] | None = None

    @property
    def time_ns(self) -> int:
        """Return when it happened, in nanoseconds since the epoch."""
        return self.stamp[0]


class Text(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One streamed piece."""

    stamp: Stamp
    text: str


class Rollup(msgspec.Struct, frozen=True, gc=False):
    """A span and everything below it. Times are nanoseconds since the epoch, 0 where unknown."""

    spans: int
    open: int
    errors: int
    start_ns: int
    end_ns: int
    input_tokens: int
    output_tokens: int


class SpanNode(msgspec.Struct, eq=False):
    """A span in a `TraceTree`. Read it; only its tree writes it.

    A Struct for the sake of its constructor: one call in C for all the defaults.
    """

    _producers: Producers
    span_id: str
    parent_id: str | None = None
    parent: SpanNode | None = None
    children: list[SpanNode] | None = None
    name: str = ""
    named: Stamp | None = None
    kind: str | None = None
    start: Stamp | None = None
    end: Stamp | None = None
    status: Status | None = None
    error: ErrorInfo | None = None
    remote_parent: bool = False
    last_ns: int = 0
    values: dict[str, Value] | None = None
    events: dict[Stamp, SpanEventRecord] | None = None
    texts: dict[tuple[str, int], Text] | None = None
    links: dict[tuple[Stamp, int], Link] | None = None
    marks: dict[str, tuple[Stamp, str]] | None = None
    conflicts: set[str] | None = None
    rollup: Rollup | None = None

    def __repr__(self) -> str:
        return f"<SpanNode {self.name or self.span_id!r} {self.state}>"

    @property
    def state(self) -> State:
        """Return what is true of the span now, its producer's fate included."""
        if self.status is not None:
            return self.status
        if self.start is None:
            return "missing"
        match self._producers.state(self.start[1]):
            case "alive":
                return "running"
            case "lost":
                return "interrupted"
            case "ended":
                return "unended"

    @property
    def is_open(self) -> bool:
        """Tell whether the span runs: started, not ended, its producer neither lost nor ended."""
        return self.state == "running"

    @property
    def producer_id(self) -> str | None:
        """Return who started the span, None while its start is missing."""
        return None if self.start is None else self.start[1]

    @property
    def service(self) -> str:
        """Return the service name of the span's producer, or an empty string."""
        return "" if self.start is None else self._producers.service(self.start[1])

    @property
    def start_ns(self) -> int | None:
        """Return when the span started, None while its start is missing."""
        return None if self.start is None else self.start[0]

    @property
    def end_ns(self) -> int | None:
        """Return when the span ended, None if it has not."""
        return None if self.end is None else self.end[0]

    @property
    def duration_ns(self) -> int | None:
        """Return how long the span took, None while start or end is missing; never negative."""
        if self.start is None or self.end is None:
            return None
        return max(0, self.end[0] - self.start[0])

    @property
    def last_seen_ns(self) -> int:
        """Return the last sign of life: of the producer if it is lost, else of the span itself."""
        if self.start is not None and self.status is None:
            producer = self._producers.get(self.start[1])
            if producer is not None and producer.state == "lost":
                return max(producer.last_seen_ns, self.last_ns)
        return self.last_ns

    @property
    def attributes(self) -> Attributes:
        """Return the attributes as they stand now."""
        if self.values is None:
            return {}
        return {key: held.value for key, held in self.values.items()}

    def attribute_marks(self) -> dict[str, str]:
        """Return what was done to values, names and errors, by path: cut, converted, redacted."""
        marks = {path: mark for path, (_, mark) in (self.marks or {}).items()}
        held = [value for value in (self.values or {}).values() if value.marks]
        for value in sorted(held, key=lambda value: value.stamp):
            marks.update(value.marks or {})
        return marks

    def event_list(self) -> list[SpanEventRecord]:
        """Return the span's events in the order of their time."""
        return [self.events[stamp] for stamp in sorted(self.events)] if self.events else []

    def link_list(self) -> list[Link]:
        """Return the span's links in the order in which they were added."""
        return [self.links[key] for key in sorted(self.links)] if self.links else []

    def text(self, channel: str) -> str:
        """Return what was streamed on a channel so far, pieces in order of their index."""
        if not self.texts:
            return ""
        return "".join(self.texts[key].text for key in sorted(self.texts) if key[0] == channel)

    def text_channels(self) -> list[str]:
        """Return the channels that have text."""
        return sorted({channel for channel, _ in self.texts or ()})

    def flags(self) -> list[str]:
        """Return the conflicts that were found: see the constants of this module."""
        found = set(self.conflicts or ())
        if self.events and self.end is not None:
            end_ns = self.end[0]
            if any(stamp[0] > end_ns for stamp in self.events):
                found.add(EVENT_AFTER_END)
        return sorted(found)

    def sorted_children(self) -> list[SpanNode]:
        """Return the children by start time, then span id; those whose start is missing first."""
        return sorted(self.children, key=start_order) if self.children else []


def start_order(node: SpanNode) -> tuple[int, str]:
    """Order siblings: by start time, then span id."""
    return (0 if node.start is None else node.start[0], node.span_id)
