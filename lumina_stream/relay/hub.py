"""Fan-out: what each view sees of the facts that were stored. Pure: the shell feeds and sends.

Subscriptions with equal view, filter and encoding share one `Channel`: one encoder and one ring of
encoded frames. A subscription is a cursor into that ring, never a queue of its own; one that falls
behind the ring is told so and gets a snapshot.

A channel *covers* the traces whose beginning every subscription of it has, be it by the facts or by
a snapshot. The first fact of a trace that it does not cover is preceded by the trace's snapshot.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from lumina_stream.model import codec, limits
from lumina_stream.model.events import Event, UnknownEvent
from lumina_stream.model.forest import Forest
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import Wire
from lumina_stream.relay.ring import Ring
from lumina_stream.relay.snapshots import costs_of, snapshot
from lumina_stream.relay.summaries import TracePage, TraceQuery

TICK_S = 0.1
"""Least time between two frames of the views `traces` and `running`: ten a second read as live."""
COVERED = 100_000
"""Traces that a channel remembers as covered; past it only the open ones are, and a late fact of
another one costs its snapshot."""
SUMMARIES_PER_FRAME = 400
"""Some 300 bytes each, twice that in JSON."""
RUNNING = 200
"""Open spans listed in the view `running`; `total` counts the others."""
FIRST_SUMMARIES = 1_000
"""Traces listed when a `traces` view begins, the latest ones."""

_ALL = frames.Filter()


class Source(Protocol):
    """What a hub asks of the projections."""

    forest: Forest

    def service(self, producer_id: str) -> str: ...

    def summary(self, trace_id: str) -> frames.TraceSummary | None: ...

    def tree(self, trace_id: str) -> TraceTree | None: ...

    def running(self, limit: int) -> tuple[list[frames.OpenSpan], int]: ...

    def matches(self, selection: frames.Filter, trace_id: str) -> bool: ...

    def list(self, query: TraceQuery | None = None) -> TracePage: ...


class Publication(msgspec.Struct, frozen=True, gc=False):
    """A stored batch, applied: `changed` are the traces that it touched, `new` those it began."""

    offset: int
    producer_id: str
    first_seq: int
    raw: bytes
    events: Sequence[Event | None]
    trace_ids: Collection[str]
    changed: Collection[str]
    new: Collection[str]

    @property
    def upto(self) -> int:
        """Return the offset of its last event."""
        return self.offset + len(self.events) - 1


class Key(NamedTuple):
    """What subscriptions must have in common to share a channel."""

    view: frames.View
    filter: frames.Filter
    subprotocol: str


class Behind(msgspec.Struct, frozen=True):
    """The subscription was too slow: what it had, and where it goes on, after a snapshot."""

    from_offset: int
    to_offset: int


class Subscription:
    """A cursor into a channel. `wake` is called when there may be something new."""

    __slots__ = ("channel", "number", "offset", "wake")

    def __init__(self, channel: "Channel", wake: Callable[[], None]) -> None:
        self.channel = channel
        self.wake = wake
        self.number = channel.ring.end
        self.offset = channel.hub.offset
        """Everything up to here was handed out."""

    def next(self) -> bytes | str | Behind | None:
        """Return the next frame to send, None if there is none yet, or that it fell behind."""
        ring = self.channel.ring
        if self.number >= ring.end:
            self.offset = max(self.offset, self.channel.hub.offset)
            return None
        if self.number < ring.dropped:
            return Behind(self.offset, self.to_now())
        frame = ring.get(self.number)
        self.offset = max(self.offset, ring.offset_of(self.number))
        self.number += 1
        return frame

    def to_now(self) -> int:
        """Go on with what comes next; return the offset of now."""
        self.number = self.channel.ring.end
        self.offset = self.channel.hub.offset
        self.channel.joined()
        return self.offset

    def resume(self, offset: int) -> bool:
        """Go on after `offset` if the ring still has what follows; tell whether it has."""
        number = self.channel.ring.find(offset)
        if number is None:
            return False
        self.number, self.offset = number, offset
        return True


class Channel:
    """One view under one filter in one encoding."""

    def __init__(self, hub: "Hub", key: Key, wire: Wire) -> None:
        self.hub = hub
        self.key = key
        self.wire = wire
        self.ring = Ring(hub.offset)
        self.subscriptions: set[Subscription] = set()
        self.selected: set[str] = set()
        self._covered: set[str] = set()
        self._dirty: dict[str, None] = {}
        self._stale = False
        self._emitted = 0.0
        source = hub.source
        if self.key.filter.trace_id is None and key.view != "running":
            self.selected.update(
                tree.trace_id
                for tree in source.forest
                if tree.open_count and source.matches(key.filter, tree.trace_id)
            )

    def joined(self) -> None:
        """Note that a subscription begins with a snapshot of the open traces: no others are covered."""
        traces = self.hub.source.forest.traces
        if self.key.filter.trace_id is None:
            self._covered = {
                t for t in self.selected | self._covered if t in traces and traces[t].open_count
            }
            if self.key.filter == _ALL:
                self._covered = {t for t, tree in traces.items() if tree.open_count}
        elif self.key.filter.trace_id in traces:
            self._covered = {self.key.filter.trace_id}

    def snapshot(self) -> Iterator[frames.Snapshot]:
        """Yield the snapshot that a subscription of `events` or `trace` begins with, as of now."""
        source = self.hub.source
        return snapshot(self.hub.offset, source.forest.producers.all(), self._snapshot_trees())

    def first_frames(self) -> Iterator[frames.Summaries | frames.Running]:
        """Yield what a subscription of `traces` or `running` begins with, as of now."""
        if self.key.view == "running":
            yield self._running()
            return
        chosen, source = self.key.filter, self.hub.source
        if chosen.trace_id is not None:
            one = source.summary(chosen.trace_id)
            found = () if one is None or not source.matches(chosen, one.trace_id) else (one,)
        else:
            query = TraceQuery(
                service=chosen.service, name=chosen.name, state=chosen.state, limit=FIRST_SUMMARIES
            )
            found = source.list(query).traces
        self.selected.update(summary.trace_id for summary in found)
        yield from self._summaries(found)

    def encode(self, frame: frames.AnyFrame) -> bytes | str:
        """Encode a frame for this channel's subscriptions."""
        return self.wire.encode(frame)

    # --- events and trace --------------------------------------------------------------------

    def publish(self, publication: Publication, facts: "Facts") -> None:
        """Take in a stored batch."""
        wanted = self._wanted(publication)
        chosen = facts.all if wanted is None else facts.of(wanted)
        if self.key.view == "events" or self._touches(publication):
            chosen = facts.with_producers(chosen)
        if chosen:
            self._push(publication.upto, facts.frame(publication, chosen))

    def _wanted(self, publication: Publication) -> Collection[str] | None:
        """Return the traces whose facts are wanted, None for all; send the snapshots that are due."""
        only = self.key.filter.trace_id
        if only is not None:
            self._cover(publication, [only] if only in publication.trace_ids else [])
            return (only,)
        if self.key.filter == _ALL:
            self._cover(publication, publication.trace_ids)
            return None
        source, selected = self.hub.source, self.selected
        for trace_id in publication.changed:
            if trace_id not in selected and source.matches(self.key.filter, trace_id):
                selected.add(trace_id)
                # A trace counts from the moment it was selected, its facts may have come before.
                self._cover(publication, [trace_id])
        wanted = [t for t in publication.trace_ids if t in selected]
        self._cover(publication, wanted)
        return wanted

    def _cover(self, publication: Publication, trace_ids: Collection[str]) -> None:
        covered = self._covered
        for trace_id in trace_ids:
            if trace_id in covered:
                continue
            if len(covered) >= COVERED:
                self.joined()
                covered = self._covered
            covered.add(trace_id)
            if trace_id in publication.new:
                continue
            tree = self.hub.source.tree(trace_id)
            if tree is not None:
                for frame in snapshot(publication.offset - 1, (), (tree,)):
                    self._push(publication.upto, frame)

    def _touches(self, publication: Publication) -> bool:
        return self.key.filter.trace_id in publication.changed

    def _snapshot_trees(self) -> list[TraceTree]:
        source, only = self.hub.source, self.key.filter.trace_id
        if only is not None:
            tree = source.tree(only)
            return [] if tree is None else [tree]
        everything = self.key.filter == _ALL
        return [
            tree
            for tree in source.forest
            if tree.open_count and (everything or tree.trace_id in self.selected)
        ]

    def priced(self, tree: TraceTree, span_ids: Collection[str]) -> None:
        """Say what calls cost, if this channel has the trace."""
        if tree.trace_id in self._covered:
            for frame in costs_of(self.hub.offset, tree, span_ids):
                self._push(self.hub.offset, frame)

    # --- traces and running ------------------------------------------------------------------

    def note(self, publication: Publication) -> None:
        """Remember that traces changed, for the next tick."""
        self.note_changed(publication.changed)

    def note_changed(self, trace_ids: Collection[str]) -> None:
        """Remember that traces are to be drawn again."""
        self._stale = True
        if self.key.view == "traces":
            self._dirty.update(dict.fromkeys(trace_ids))

    def tick(self, now: float) -> None:
        """Emit what changed, at most ten times a second."""
        if not self._stale or now - self._emitted < TICK_S:
            return
        self._stale, self._emitted = False, now
        if self.key.view == "running":
            self._push(self.hub.offset, self._running())
            return
        dirty, self._dirty = self._dirty, {}
        found: list[frames.TraceSummary] = []
        removed: list[str] = []
        for trace_id in dirty:
            summary = self.hub.source.summary(trace_id)
            if summary is None:
                continue
            if self.hub.source.matches(self.key.filter, trace_id):
                self.selected.add(trace_id)
                found.append(summary)
            elif trace_id in self.selected:
                self.selected.discard(trace_id)
                removed.append(trace_id)
        if found:
            for frame in self._summaries(found):
                self._push(self.hub.offset, frame)
        if removed:
            self._push(self.hub.offset, frames.Removed(self.hub.offset, tuple(removed)))

    def removed(self, trace_ids: Collection[str]) -> None:
        """Take traces out of the view: the log no longer keeps them."""
        self._covered.difference_update(trace_ids)
        known = [t for t in trace_ids if t in self.selected or self.key.filter == _ALL]
        self.selected.difference_update(trace_ids)
        if known and self.key.view != "running":
            self._push(self.hub.offset, frames.Removed(self.hub.offset, tuple(known)))

    def _summaries(self, found: Sequence[frames.TraceSummary]) -> Iterator[frames.Summaries]:
        for at in range(0, max(1, len(found)), SUMMARIES_PER_FRAME):
            yield frames.Summaries(self.hub.offset, tuple(found[at : at + SUMMARIES_PER_FRAME]))

    def _running(self) -> frames.Running:
        source = self.hub.source
        if self.key.filter == _ALL:
            spans, total = source.running(RUNNING)
            return frames.Running(self.hub.offset, tuple(spans), total)
        every, _ = source.running(limits.TREE_SPANS)
        matching: dict[str, bool] = {}
        chosen: list[frames.OpenSpan] = []
        for span in every:
            matches = matching.get(span.trace_id)
            if matches is None:
                matches = matching[span.trace_id] = source.matches(self.key.filter, span.trace_id)
            if matches:
                chosen.append(span)
        return frames.Running(self.hub.offset, tuple(chosen[:RUNNING]), len(chosen))

    def _push(self, offset: int, frame: frames.AnyFrame) -> None:
        self.ring.append(offset, self.wire.encode(frame))
        for subscription in self.subscriptions:
            subscription.wake()


class Facts:
    """The facts of one batch, made once for all channels."""

    def __init__(self, publication: Publication, service: str) -> None:
        self.service = service
        self._by_trace: dict[str, list[int]] = {}
        self._producer: list[int] = []
        events = publication.events
        offset, seq = publication.offset, publication.first_seq
        raws = codec.split_array(publication.raw)
        self._facts = [frames.WireFact(offset + i, seq + i, raw) for i, raw in enumerate(raws)]
        self.all: list[int] = []
        for index, event in enumerate(events):
            if event is None:
                continue
            self.all.append(index)
            trace_id = getattr(event, "trace_id", None)
            if trace_id is not None:
                self._by_trace.setdefault(trace_id, []).append(index)
            elif not isinstance(event, UnknownEvent):
                self._producer.append(index)

    @property
    def of_producers(self) -> bool:
        """Tell whether any is about a producer."""
        return bool(self._producer)

    def of(self, trace_ids: Collection[str]) -> list[int]:
        """Return the places of the facts of some traces, in order."""
        found = [i for trace_id in trace_ids for i in self._by_trace.get(trace_id, ())]
        if len(trace_ids) > 1:
            found.sort()
        return found

    def with_producers(self, chosen: list[int]) -> list[int]:
        """Return the places with those of the producer events among them."""
        if not self._producer or chosen is self.all:
            return chosen
        return sorted({*chosen, *self._producer})

    def frame(self, publication: Publication, chosen: list[int]) -> frames.FactBatch:
        """Return the frame of the facts in some places."""
        facts = self._facts
        return frames.FactBatch(
            publication.upto,
            publication.producer_id,
            self.service,
            tuple(facts) if len(chosen) == len(facts) else tuple(facts[i] for i in chosen),
        )


class Hub:
    """All channels. `offset` is what was published last."""

    def __init__(self, source: Source, offset: int) -> None:
        self.source = source
        self.offset = offset
        self._channels: dict[Key, Channel] = {}
        # By how a batch finds them: the ones of one trace are not asked about any other.
        self._general: list[Channel] = []
        self._of_trace: dict[str, list[Channel]] = {}
        self._listing: list[Channel] = []

    @property
    def subscriptions(self) -> int:
        """Return how many subscriptions there are."""
        return sum(len(channel.subscriptions) for channel in self._channels.values())

    @property
    def channels(self) -> int:
        """Return how many channels there are."""
        return len(self._channels)

    @property
    def ring_bytes(self) -> int:
        """Return the bytes of all rings."""
        return sum(channel.ring.size for channel in self._channels.values())

    def subscribe(
        self, view: frames.View, filter: frames.Filter, wire: Wire, wake: Callable[[], None]
    ) -> Subscription:
        """Return a new subscription; it stands at what comes next."""
        key = Key(view, filter, wire.subprotocol)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(self, key, wire)
            self._list_of(channel).append(channel)
        subscription = Subscription(channel, wake)
        channel.subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; the last one takes its channel with it."""
        channel = subscription.channel
        channel.subscriptions.discard(subscription)
        if channel.subscriptions or self._channels.get(channel.key) is not channel:
            return
        del self._channels[channel.key]
        self._list_of(channel).remove(channel)
        only = channel.key.filter.trace_id
        if only is not None and not self._of_trace.get(only, True):
            del self._of_trace[only]

    def publish(self, publication: Publication) -> None:
        """Take in a batch that is stored and applied to the source, in the order of the log."""
        self.offset = publication.upto
        if self._general or self._of_trace:
            facts = Facts(publication, self.source.service(publication.producer_id))
            for channel in self._interested(publication, facts):
                channel.publish(publication, facts)
        for channel in self._listing:
            channel.note(publication)

    def priced(self, priced: Mapping[str, Collection[str]]) -> None:
        """Say what calls cost, by trace and span: to those that have the facts already."""
        for trace_id, span_ids in priced.items():
            tree = self.source.forest.traces.get(trace_id)
            if tree is None:
                continue
            for channel in (*self._general, *self._of_trace.get(trace_id, ())):
                channel.priced(tree, span_ids)
        for channel in self._listing:
            channel.note_changed(priced)

    def advance(self, offset: int) -> None:
        """Note that the log went on to `offset` with nothing that could be published."""
        self.offset = max(self.offset, offset)

    def tick(self, now: float) -> None:
        """Let the listing views emit what changed; `now` is any monotonic time in seconds."""
        for channel in self._listing:
            channel.tick(now)

    def removed(self, trace_ids: Collection[str]) -> None:
        """Say that the log no longer keeps some traces."""
        for channel in list(self._channels.values()):
            channel.removed(trace_ids)

    def _interested(self, publication: Publication, facts: Facts) -> list[Channel]:
        channels = list(self._general)
        if not self._of_trace:
            return channels
        touched = {*publication.trace_ids, *publication.changed}
        for trace_id in touched:
            channels += self._of_trace.get(trace_id, ())
        if facts.of_producers:  # every `events` channel wants to know of producers
            for trace_id, some in self._of_trace.items():
                if trace_id not in touched:
                    channels += [channel for channel in some if channel.key.view == "events"]
        return channels

    def _list_of(self, channel: Channel) -> list[Channel]:
        if channel.key.view in ("traces", "running"):
            return self._listing
        only = channel.key.filter.trace_id
        return self._general if only is None else self._of_trace.setdefault(only, [])
