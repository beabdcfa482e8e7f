"""Fan-out: which channels see the facts that were stored. Pure: the shell feeds and sends.

Subscriptions with equal view, filter and encoding share one `Channel`: one encoder and one ring of
encoded frames. A subscription is a cursor into that ring, never a queue of its own; one that falls
behind the ring is told so and gets a snapshot.
"""

from collections.abc import Callable, Collection, Mapping

from lumina_stream.protocol import frames
from lumina_stream.protocol.wire import Wire
from lumina_stream.relay.channel import TICK_S, Channel, Key, Source, Subscription
from lumina_stream.relay.publication import Facts, Publication


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
        self._outlines: dict[str, list[Channel]] = {}
        self._changed: set[str] = set()  # traces of these, since their usage was told
        self._told_usage = 0.0

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
        self, asked: frames.Subscribe, wire: Wire, wake: Callable[[], None]
    ) -> Subscription:
        """Return a new subscription; it stands at what comes next."""
        key = Key(asked.view, asked.filter, wire.subprotocol, asked.outline)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(self, key, wire)
            self._list_of(channel).append(channel)
            only = key.filter.trace_id
            if key.outline and only is not None:
                self._outlines.setdefault(only, []).append(channel)
                self.source.take_usage(only)  # what is told from now on is what changes from now on
        subscription = Subscription(channel, wake)
        channel.subscriptions[subscription] = None
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; the last one takes its channel with it."""
        channel = subscription.channel
        channel.subscriptions.pop(subscription, None)
        if channel.subscriptions or self._channels.get(channel.key) is not channel:
            return
        del self._channels[channel.key]
        self._list_of(channel).remove(channel)
        only = channel.key.filter.trace_id
        if only is None:
            return
        if not self._of_trace.get(only, True):
            del self._of_trace[only]
        if channel.key.outline:
            self._outlines[only].remove(channel)
            if not self._outlines[only]:
                del self._outlines[only]
                self.source.leave_usage(only)

    def publish(self, publication: Publication) -> None:
        """Take in a batch that is stored and applied to the source, in the order of the log."""
        self.offset = publication.upto
        if self._general or self._of_trace:
            facts = Facts(publication, self.source.service(publication.producer_id))
            for channel in self._interested(publication, facts):
                channel.publish(publication, facts)
        if self._outlines:
            self._changed.update(t for t in publication.changed if t in self._outlines)
        for channel in self._listing:
            channel.note(publication)

    def show_unstored(self, publication: Publication) -> None:
        """Take in a batch that the log refused: for whom it may concern, without an offset."""
        if self._general or self._of_trace:
            facts = Facts(publication, self.source.service(publication.producer_id))
            for channel in self._interested(publication, facts):
                channel.show_unstored(publication, facts)

    def begin_anew(self) -> None:
        """Give every subscription that saw unstored facts a snapshot instead of them."""
        for channel in self._channels.values():
            channel.begin_anew()

    def priced(self, priced: Mapping[str, Collection[str]]) -> None:
        """Say what calls cost, by trace and span: to those that have the facts already."""
        for trace_id, span_ids in priced.items():
            tree = self.source.forest.traces.get(trace_id)
            if tree is None:
                continue
            for channel in (*self._general, *self._of_trace.get(trace_id, ())):
                channel.priced(tree, span_ids)
        self._changed.update(t for t in priced if t in self._outlines)
        for channel in self._listing:
            channel.note_changed(priced)

    def advance(self, offset: int) -> None:
        """Note that the log went on to `offset` with nothing that could be published."""
        self.offset = max(self.offset, offset)

    def tick(self, now: float) -> None:
        """Let the listing views emit what changed, and outlines their usage; `now` is any monotonic

        time in seconds.
        """
        for channel in self._listing:
            channel.tick(now)
        if self._changed and now - self._told_usage >= TICK_S:
            changed, self._changed, self._told_usage = self._changed, set(), now
            for trace_id in changed & self._outlines.keys():
                usage = self.source.take_usage(trace_id)
                for channel in self._outlines[trace_id]:
                    channel.tell_usage(trace_id, usage)

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
