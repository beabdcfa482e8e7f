"""One span of a tree: what its events said, merged, and what follows from that."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from lumina_stream.model.events import Attributes, ErrorInfo, Link, Status
from lumina_stream.model.producers import Producers, Stamp, is_imported
from lumina_stream.model.usage import CallState

_encode = msgspec.msgpack.Encoder(order="sorted").encode

State: TypeAlias = Literal[
    "running", "ok", "error", "cancelled", "abandoned", "interrupted", "unended", "missing"
]
"""What the tree derives. `missing`: the span was named (as a parent, or by an event) and its start never came."""
STATES: tuple[State, ...] = get_args(State)

PARENT_CYCLE = "parent_cycle"
DUPLICATE_START = "duplicate_start"
DOUBLE_END = "double_end"
EVENT_AFTER_END = "event_after_end"

Touched: TypeAlias = tuple[str, ...]
"""Span ids whose row, parent or children changed; empty when an event brought nothing new."""


class Attribute(msgspec.Struct, frozen=True, gc=False):
    """An attribute as it stands, who set it when, and what was done to it on the way (by path)."""

    key: str
    value: Any
    # Its stamp, part by part as those of the node.
    time_ns: int
    producer_id: str
    seq: int
    marks: dict[str, str] | None = None

    @property
    def stamp(self) -> Stamp:
        """Return who set it when."""
        return (self.time_ns, self.producer_id, self.seq)


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
    """A span and everything below it. Times are nanoseconds since the epoch, 0 where unknown.

    `cost` is in trillionths of a dollar (see `usage.usd`), over `priced` calls; `unpriced` calls
    are those that nobody has a price for. Both are 0 where nobody was asked.
    """

    spans: int
    open: int
    errors: int
    start_ns: int
    end_ns: int
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: int = 0
    priced: int = 0
    unpriced: int = 0
    has_calls: bool = False
    of: Rollup | None = None
    """Of a span whose own usage counts elsewhere: the sums that include it."""


class Sums(msgspec.Struct):
    """What the children of a span add up to, kept by difference; see `rollup`."""

    taken: int = 0
    """How many of the children are in it."""
    stale: dict[str, SpanNode] = {}
    """Those that changed since."""
    spans: int = 0
    open: int = 0
    errors: int = 0
    start_ns: int = 0
    end_ns: int = 0
    calls: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: int = 0
    priced: int = 0
    unpriced: int = 0


class SpanNode(msgspec.Struct, eq=False):
    """A span in a `TraceTree`. Read it; only its tree writes it.

    A Struct for the sake of its constructor: one call in C for all the defaults.
    """

    _producers: Producers
    span_id: str
    number: int = 0
    """Its place in the order in which its tree met the spans."""
    parent_id: str | None = None
    parent: SpanNode | None = None
    name: str = ""
    kind: str | None = None
    start_ns: int | None = None
    """When the span started, None while its start is missing."""
    producer_id: str | None = None
    """Who started the span, None while its start is missing."""
    start_seq: int = 0
    last_ns: int = 0
    remote_parent: bool = False
    end_ns: int | None = None
    """When the span ended, None if it has not."""
    ended_by: str = ""
    end_seq: int = 0
    status: Status | None = None
    error: ErrorInfo | None = None
    renamed: Stamp | None = None
    """Who named it, unless that was its start."""
    children: list[SpanNode] | None = None
    held: Attribute | dict[str, Attribute] | None = None
    """Its attributes by key; one that is alone as it is, since a dictionary would take 200 bytes."""
    events: dict[Stamp, SpanEventRecord] | None = None
    texts: dict[tuple[str, int], Text] | None = None
    links: dict[tuple[Stamp, int], Link] | None = None
    marks: dict[str, tuple[Stamp, str]] | None = None
    conflicts: set[str] | None = None
    rollup: Rollup | None = None
    sums: Sums | None = None
    counted: Rollup | None = None
    call: CallState | None = None

    def __repr__(self) -> str:
        return f"<SpanNode {self.name or self.span_id!r} {self.state}>"

    # The parts of these stamps are fields: a million tuples would take 64 MB each.
    @property
    def start(self) -> Stamp | None:
        """Return the stamp of the start that counts, None while it is missing."""
        if self.start_ns is None or self.producer_id is None:
            return None
        return (self.start_ns, self.producer_id, self.start_seq)

    @property
    def end(self) -> Stamp | None:
        """Return the stamp of the end that counts, None if the span has not ended."""
        return None if self.end_ns is None else (self.end_ns, self.ended_by, self.end_seq)

    @property
    def named(self) -> Stamp | None:
        """Return the stamp of what gave the span its name, None if nothing has."""
        return self.start if self.renamed is None else self.renamed

    @property
    def state(self) -> State:
        """Return what is true of the span now, its producer's fate included."""
        if self.status is not None:
            return self.status
        if self.producer_id is None:
            return "missing"
        match self._producers.state(self.producer_id):
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
    def service(self) -> str:
        """Return the service name of the span's producer, or an empty string."""
        return "" if self.producer_id is None else self._producers.service(self.producer_id)

    @property
    def duration_ns(self) -> int | None:
        """Return how long the span took, None while start or end is missing; never negative."""
        if self.start_ns is None or self.end_ns is None:
            return None
        return max(0, self.end_ns - self.start_ns)

    @property
    def last_seen_ns(self) -> int:
        """Return the last sign of life: of the producer if it is lost, else of the span itself."""
        if self.producer_id is not None and self.status is None:
            producer = self._producers.get(self.producer_id)
            if producer is not None and producer.state == "lost":
                return max(producer.last_seen_ns, self.last_ns)
        return self.last_ns

    @property
    def attributes(self) -> Attributes:
        """Return the attributes as they stand now."""
        return {held.key: held.value for held in self.attribute_list()}

    def attribute_list(self) -> Collection[Attribute]:
        """Return the attributes in the order in which their keys came, with all that is known of them."""
        held = self.held
        if held is None:
            return ()
        return held.values() if isinstance(held, dict) else (held,)

    def attribute_marks(self) -> dict[str, str]:
        """Return what was done to values, names and errors, by path: cut, converted, redacted."""
        marks = {path: mark for path, (_, mark) in (self.marks or {}).items()}
        marked = [held for held in self.attribute_list() if held.marks]
        for held in sorted(marked, key=lambda held: held.stamp):
            marks.update(held.marks or {})
        return marks

    def event_list(self) -> list[SpanEventRecord]:
        """Return the span's events in the order of their time.

        A copy is left out: of an imported span that came more than once, told by content, or that
        its program streams as well, told by time and name.
        """
        if not self.events:
            return []
        events = [self.events[stamp] for stamp in sorted(self.events)]
        if not any(is_imported(producer_id) for producer_id in {stamp[1] for stamp in self.events}):
            return events
        own = {(e.stamp[0], e.name) for e in events if not is_imported(e.stamp[1])}
        said: set[tuple[int, str, bytes]] = set()
        found: list[SpanEventRecord] = []
        for event in events:
            if is_imported(event.stamp[1]):
                content = (event.stamp[0], event.name, _encode(event.attributes))
                if content in said or content[:2] in own:
                    continue
                said.add(content)
            found.append(event)
        return found

    def link_list(self) -> list[Link]:
        """Return the span's links in the order in which they were added, copies left out."""
        if not self.links:
            return []
        keys = sorted(self.links)
        own = [self.links[key] for key in keys if not is_imported(key[0][1])]
        if len(own) == len(keys):
            return own
        found: list[Link] = []
        for key in keys:
            link = self.links[key]
            if not is_imported(key[0][1]) or (link not in own and link not in found):
                found.append(link)
        return found

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
        if self.events and self.end_ns is not None:
            end_ns = self.end_ns
            if any(stamp[0] > end_ns for stamp in self.events):
                found.add(EVENT_AFTER_END)
        return sorted(found)

    def sorted_children(self) -> list[SpanNode]:
        """Return the children by start time, then span id; those whose start is missing first."""
        return sorted(self.children, key=start_order) if self.children else []


def start_order(node: SpanNode) -> tuple[int, str]:
    """Order siblings: by start time, then span id."""
    return (node.start_ns or 0, node.span_id)


def flag(node: SpanNode, conflict: str) -> None:
    """Note that a conflict was found."""
    if node.conflicts is None:
        node.conflicts = set()
    node.conflicts.add(conflict)


def add_marks(node: SpanNode, marks: dict[str, str], stamp: Stamp) -> None:
    """Keep what was done to the span's own fields: paths that start with `@`."""
    for path, mark in marks.items():
        if path.startswith("@"):
            if node.marks is None:
                node.marks = {}
            known = node.marks.get(path)
            if known is None or stamp > known[0]:
                node.marks[path] = (stamp, mark)
