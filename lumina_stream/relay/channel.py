"""One view under one filter in one encoding: what it gets of each stored batch. Pure.

A channel *covers* the traces whose beginning every subscription of it has, be it by the facts or by
a snapshot. The first fact of a trace that it does not cover is preceded by the trace's snapshot.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from lumina_stream.model import limits
from lumina_stream.model.forest import Forest
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import Wire
from lumina_stream.relay.outline import CallUsage, outline, usage_frames
from lumina_stream.relay.publication import Facts, Publication
from lumina_stream.relay.ring import Ring
from lumina_stream.relay.selection import TraceQuery, selection_of
from lumina_stream.relay.snapshots import costs_of, snapshot

if TYPE_CHECKING:
    from lumina_stream.relay.hub import Hub

TICK_S = 0.1
"""Least time between two frames of the views `traces` and `running`: ten a second read as live."""
AGE_S = 1.0
"""Between two looks at which running traces have become long enough, or too long, for a filter."""
COVERED = 100_000
"""Traces that a channel remembers as covered; past it only the open ones are, and a late fact of
another one costs its snapshot."""
SUMMARIES_PER_FRAME = 100
"""Some 600 bytes each, twice that in JSON."""
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

    def matches(self, chosen: frames.Filter, trace_id: str) -> bool: ...

    def take_usage(self, trace_id: str) -> Sequence[CallUsage]: ...

    def leave_usage(self, trace_id: str) -> None: ...

    def scan(self, query: TraceQuery) -> Iterator[Sequence[frames.TraceSummary]]: ...


class Key(NamedTuple):
    """What subscriptions must have in common to share a channel."""

    view: frames.View
    filter: frames.Filter
    subprotocol: str
    outline: bool = False


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
        self.subscriptions: dict[Subscription, None] = {}
        self.selected: set[str] = set()
        self._covered: set[str] = set()
        self._dirty: dict[str, None] = {}
        self._stale = False
        self._emitted = self._aged = 0.0
        self._has_unstored = False
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

    def snapshot(self) -> Iterator[frames.Snapshot] | Iterator[frames.Outline]:
        """Yield the snapshot that a subscription of `events` or `trace` begins with, as of now."""
        source, only = self.hub.source, self.key.filter.trace_id
        if self.key.outline and only is not None:
            return outline(self.hub.offset, only, source.tree(only))
        return snapshot(self.hub.offset, source.forest.producers.all(), self._snapshot_trees())

    def first_frames(self) -> Iterator[frames.Summaries | frames.Running | None]:
        """Yield what a subscription of `traces` or `running` begins with, as of now.

        In steps: None stands for one that brought nothing. A trace that changes meanwhile comes again.
        """
        if self.key.view == "running":
            yield self._running()
            return
        chosen, source = self.key.filter, self.hub.source
        if chosen.trace_id is not None:
            one = source.summary(chosen.trace_id)
            found = () if one is None or not source.matches(chosen, one.trace_id) else (one,)
            self.selected.update(summary.trace_id for summary in found)
            yield from self._summaries(found)
            return
        room, is_empty = FIRST_SUMMARIES, True
        for scanned in source.scan(TraceQuery(**selection_of(chosen))):
            some = scanned[:room]
            room -= len(some)
            self.selected.update(summary.trace_id for summary in some)
            if some:
                is_empty = False
                yield from self._summaries(some)
            if not room:
                return
            yield None
        if is_empty:
            yield from self._summaries(())

    def encode(self, frame: frames.AnyFrame) -> bytes | str:
        """Encode a frame for this channel's subscriptions."""
        return self.wire.encode(frame)

    # --- events and trace --------------------------------------------------------------------

    def publish(self, publication: Publication, facts: Facts) -> None:
        """Take in a stored batch."""
        wanted = self._wanted(publication)
        chosen = facts.all if wanted is None else facts.of(wanted)
        if self.key.view == "events" or self._touches(publication):
            chosen = facts.with_producers(chosen)
        if chosen:
            self._push(publication.upto, facts.frame(publication, chosen))

    def show_unstored(self, publication: Publication, facts: Facts) -> None:
        """Take in a batch that the log refused."""
        only = self.key.filter.trace_id
        if only is not None:
            chosen = facts.of((only,))
        elif self.key.filter == _ALL:
            chosen = facts.all
        else:
            chosen = facts.of([t for t in publication.trace_ids if t in self.selected])
        if chosen:
            frame = facts.frame(publication, chosen)
            frame.unstored = True
            self._has_unstored = True
            self._push(self.hub.offset, frame)

    def begin_anew(self) -> None:
        """Let every subscription fall behind, if any was shown what is not stored."""
        if self._has_unstored:
            self._has_unstored = False
            self.ring.lapse(self.hub.offset)
            for subscription in self.subscriptions:
                subscription.wake()

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
        if self.key.outline:
            return  # each subscription began with the outline, or resumed after it
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

    def tell_usage(self, trace_id: str, usage: Sequence[CallUsage]) -> None:
        """Say what calls of the channel's trace add now."""
        for frame in usage_frames(self.hub.offset, trace_id, usage):
            self._push(self.hub.offset, frame)

    def priced(self, tree: TraceTree, span_ids: Collection[str]) -> None:
        """Say what calls cost, if this channel has the trace."""
        if tree.trace_id in self._covered and not self.key.outline:
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
        self._age(now)
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

    def _age(self, now: float) -> None:
        """Look again at the traces that run, where it counts how long they do."""
        chosen = self.key.filter
        if chosen.min_duration_ns is None and chosen.max_duration_ns is None:
            return
        if now - self._aged >= AGE_S:
            self._aged = now
            open_now = [tree.trace_id for tree in self.hub.source.forest if tree.open_count]
            self.note_changed(open_now)

    def removed(self, trace_ids: Collection[str]) -> None:
        """Take traces out of the view: the log no longer keeps them."""
        self._covered.difference_update(trace_ids)
        chosen, only = self.key.filter, self.key.filter.trace_id
        known = [t for t in trace_ids if t in self.selected or chosen == _ALL or t == only]
        self.selected.difference_update(trace_ids)
        for trace_id in trace_ids:
            self._dirty.pop(trace_id, None)
        if self.key.view == "running":
            self._stale = True  # drawn anew, without them
        elif known:
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
