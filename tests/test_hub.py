"""Fan-out without sockets: what each view gets, in which order, and what a slow one gets instead."""

from collections.abc import Iterator, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model import codec, limits
from lumina_stream.model.events import (
    AttributeSet,
    Event,
    EventsLost,
    ProducerLost,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.forest import Forest
from lumina_stream.model.record import SpanRecord, from_columns, record_of
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import ConsumerSession, Facts, Restarted
from lumina_stream.protocol.wire import BINARY, JSON, Wire
from lumina_stream.relay.admission import admit
from lumina_stream.relay.channel import Behind, Subscription
from lumina_stream.relay.hub import Hub
from lumina_stream.relay.outline import CallUsage
from lumina_stream.relay.publication import Publication
from lumina_stream.relay.ring import Ring
from lumina_stream.relay.selection import TraceQuery, is_listed, is_selected
from lumina_stream.relay.snapshots import snapshot, split
from lumina_stream.relay.summaries import summarise

A, B = "a" * 32, "b" * 32


class Source:
    """Projections that keep everything in memory."""

    def __init__(self) -> None:
        self.forest = Forest()
        self.usage: dict[str, list[CallUsage]] = {}
        self.left: list[str] = []
        self.now_ns = 0

    def service(self, producer_id: str) -> str:
        return self.forest.producers.service(producer_id)

    def summary(self, trace_id: str) -> frames.TraceSummary | None:
        tree = self.forest.traces.get(trace_id)
        return None if tree is None else summarise(tree)

    def tree(self, trace_id: str) -> TraceTree | None:
        return self.forest.traces.get(trace_id)

    def running(self, limit: int) -> tuple[list[frames.OpenSpan], int]:
        spans = [
            frames.OpenSpan(
                t.trace_id, n.span_id, n.name, n.kind, n.service, n.start_ns or 0, n.last_ns
            )
            for t in self.forest
            for n in t.open_spans()
        ]
        return spans[:limit], len(spans)

    def matches(self, chosen: frames.Filter, trace_id: str) -> bool:
        summary = self.summary(trace_id)
        return summary is not None and is_selected(chosen, summary, self.now_ns)

    def scan(self, query: TraceQuery) -> Iterator[list[frames.TraceSummary]]:
        for tree in self.forest:
            yield [s for s in (summarise(tree),) if is_listed(query, s)]

    def take_usage(self, trace_id: str) -> Sequence[CallUsage]:
        return self.usage.pop(trace_id, ())

    def leave_usage(self, trace_id: str) -> None:
        self.left.append(trace_id)


class Relay:
    """A log and a hub in memory: `say` stores, applies and publishes."""

    def __init__(self) -> None:
        self.source = Source()
        self.hub = Hub(self.source, 0)
        self.seqs: dict[str, int] = {}

    def say(self, *events: Event, producer: str = "p") -> None:
        raw = codec.join_array([codec.encode(event) for event in events])
        admitted = admit(raw, producer)
        seq = self.seqs.get(producer, 0) + 1
        self.seqs[producer] = seq + len(events) - 1
        known = set(self.source.forest.traces)
        changed: set[str] = set()
        for at, event in enumerate(admitted.events):
            if event is not None:
                changed.update(
                    c.trace_id for c in self.source.forest.apply(event, producer, seq + at)
                )
        self.hub.publish(
            Publication(
                self.hub.offset + 1,
                producer,
                seq,
                raw,
                admitted.events,
                admitted.trace_ids,
                changed,
                changed - known,
            )
        )

    def viewer(
        self,
        view: frames.View = "events",
        wire: Wire = BINARY,
        outline: bool = False,
        **chosen: str,
    ) -> "Viewer":
        asked = frames.Subscribe(view, frames.Filter(**chosen), outline=outline)
        return Viewer(self, asked, wire)


class Viewer:
    """A subscription read by the shipped consumer session."""

    def __init__(self, relay: Relay, asked: frames.Subscribe, wire: Wire) -> None:
        self.woken = 0
        self.wire = wire
        self.subscription: Subscription = relay.hub.subscribe(asked, wire, self.wake)
        self.session = ConsumerSession(asked, wire)
        self.session.receive(wire.encode(frames.Subscribed(False, "e", self.subscription.to_now())))
        channel = self.subscription.channel
        first = (
            channel.first_frames() if asked.view in ("traces", "running") else channel.snapshot()
        )
        self.first = [
            update
            for frame in first
            if frame is not None
            for update in self.session.receive(wire.encode(frame))
        ]

    def wake(self) -> None:
        self.woken += 1

    def read(self) -> list:
        updates: list = []
        while (found := self.subscription.next()) is not None:
            if isinstance(found, Behind):
                updates.append(found)
                skip = frames.Skip(found.from_offset, found.to_offset)
                updates += self.session.receive(self.wire.encode(skip))
                for frame in self.subscription.channel.snapshot():
                    updates += self.session.receive(self.wire.encode(frame))
            else:
                updates += self.session.receive(found)
        return updates

    def facts(self) -> list:
        return [f for u in self.read() if isinstance(u, Facts) for f in u.facts]


def start(
    trace: str, span: int, name: str = "root", parent: int | None = None, at: int = 1
) -> SpanStarted:
    return SpanStarted(
        trace, f"{span:016x}", at, name, None if parent is None else f"{parent:016x}"
    )


def end(trace: str, span: int, status: str = "ok", at: int = 2) -> SpanEnded:
    return SpanEnded(trace, f"{span:016x}", at, status)  # type: ignore[arg-type]


# --- the ring ------------------------------------------------------------------------------------


def test_the_ring_drops_the_oldest_and_remembers_where_it_begins() -> None:
    ring = Ring(10, max_bytes=10)
    for offset in (12, 15, 15, 20):
        ring.append(offset, b"four")
    assert (ring.dropped, ring.end, ring.start_offset, ring.size) == (2, 4, 15, 8)
    assert ring.find(14) is None
    assert ring.find(15) == 3
    assert ring.find(20) == ring.end


def test_one_frame_larger_than_the_ring_stays() -> None:
    ring = Ring(0, max_bytes=10)
    ring.append(1, b"x" * 100)
    assert ring.get(0) == b"x" * 100
    ring.append(2, b"y")
    assert (ring.dropped, ring.get(1)) == (1, b"y")


# --- sharing -------------------------------------------------------------------------------------


def test_equal_subscriptions_share_one_channel() -> None:
    """A thousand viewers of everything cost one encoder and one ring."""
    relay = Relay()
    viewers = [relay.viewer() for _ in range(1_000)]
    other = [relay.viewer(wire=JSON), relay.viewer(service="s"), relay.viewer("traces")]
    assert (relay.hub.channels, relay.hub.subscriptions) == (4, 1_003)
    relay.say(start(A, 1), end(A, 1))
    size = relay.hub.ring_bytes
    assert size < 4_000
    assert [len(viewer.facts()) for viewer in viewers] == [2] * 1_000
    for viewer in viewers + other:
        relay.hub.unsubscribe(viewer.subscription)
    assert (relay.hub.channels, relay.hub.ring_bytes) == (0, 0)


def test_a_slow_one_is_skipped_ahead_and_nobody_else_notices(monkeypatch) -> None:
    monkeypatch.setattr("lumina_stream.relay.ring.RING_BYTES", 2_000)
    relay = Relay()
    quick, slow = relay.viewer(), relay.viewer()
    quick.subscription.channel.ring._max_bytes = 2_000
    got = []
    for n in range(1, 101):
        relay.say(start(A, n))
        got += quick.facts()
    assert [f.seq for f in got] == list(range(1, 101))
    updates = slow.read()
    assert isinstance(updates[0], Behind) and isinstance(updates[1], frames.Skip)
    assert isinstance(updates[2], Restarted)
    assert isinstance(updates[3], frames.Snapshot)
    assert slow.session.cursor == frames.Cursor("e", relay.hub.offset)
    relay.say(end(A, 1))
    assert len(slow.facts()) == 1


# --- outlines ------------------------------------------------------------------------------------


def usage_in(updates: list) -> list[CallUsage]:
    return [entry for u in updates if isinstance(u, frames.Usage) for entry in u.usage]


def test_an_outline_has_a_channel_of_its_own() -> None:
    """The same trace as a snapshot is another thing; two viewers of the outline are one channel."""
    relay = Relay()
    relay.say(start(A, 1))
    outlines = [relay.viewer("trace", outline=True, trace_id=A) for _ in range(2)]
    whole = relay.viewer("trace", trace_id=A)
    assert relay.hub.channels == 2
    assert [type(u) for u in outlines[1].first] == [frames.Outline]
    assert [type(u) for u in whole.first] == [frames.Snapshot]
    relay.say(end(A, 1))
    assert [len(viewer.facts()) for viewer in (*outlines, whole)] == [1, 1, 1]


@pytest.mark.parametrize("why", ["published", "priced"])
def test_usage_is_told_when_something_changed(why: str) -> None:
    """To viewers of that trace's outline in each encoding, ten times a second at most."""
    relay = Relay()
    relay.say(start(A, 1), start(B, 1))
    relay.source.usage[A] = [("a" * 16, 1, 2, 3)]
    viewers = [relay.viewer("trace", wire, outline=True, trace_id=A) for wire in (BINARY, JSON)]
    other = relay.viewer("trace", outline=True, trace_id=B)
    plain = relay.viewer("trace", trace_id=A)
    relay.hub.tick(1.0)
    assert [usage_in(v.read()) for v in viewers] == [[], []]  # it is in their outlines

    def change(amount: int) -> None:
        relay.source.usage[A] = [("b" * 16, amount, 0, None)]
        if why == "published":
            relay.say(AttributeSet(A, f"{1:016x}", 9, "k", amount))
        else:
            relay.hub.priced({A: ["b" * 16]})

    change(7)
    assert [usage_in(v.read()) for v in viewers] == [[], []]
    relay.hub.tick(2.0)
    change(8)
    relay.hub.tick(2.05)
    assert [usage_in(v.read()) for v in viewers] == [[("b" * 16, 7, 0, None)]] * 2
    relay.hub.tick(2.15)
    assert [usage_in(v.read()) for v in viewers] == [[("b" * 16, 8, 0, None)]] * 2
    relay.source.usage[A] = [("b" * 16, 9, 0, None)]
    relay.hub.tick(3.0)
    assert [usage_in(v.read()) for v in (*viewers, other, plain)] == [[], [], [], []]
    relay.hub.unsubscribe(viewers[0].subscription)
    assert relay.source.left == []
    relay.hub.unsubscribe(viewers[1].subscription)
    assert relay.source.left == [A]


# --- events --------------------------------------------------------------------------------------


def test_a_refused_event_is_left_out_and_keeps_its_seq() -> None:
    relay = Relay()
    viewer = relay.viewer()
    relay.say(start(A, 1), start("bad", 2), end(A, 1))
    assert [(f.offset, f.seq) for f in viewer.facts()] == [(1, 1), (3, 3)]


@pytest.mark.parametrize("wire", [BINARY, JSON])
def test_a_selected_trace_stays_selected(wire: Wire) -> None:
    """Selected while it ran; its end, and what comes later, are seen too."""
    relay = Relay()
    viewer = relay.viewer(wire=wire, state="running")
    relay.say(start(A, 1), start(B, 2), end(B, 2))
    relay.say(end(A, 1))
    relay.say(AttributeSet(A, f"{1:016x}", 3, "late", 1))
    assert [(f.event.trace_id, type(f.event)) for f in viewer.facts()] == [
        (A, SpanStarted),
        (A, SpanEnded),
        (A, AttributeSet),
    ]


def test_a_late_selection_is_preceded_by_the_snapshot_and_loses_no_other_fact() -> None:
    relay = Relay()
    viewer = relay.viewer(state="error")
    relay.say(start(A, 1), start(B, 1))
    relay.say(end(B, 1, "error"), end(A, 1, "error"))
    updates = viewer.read()
    assert [type(u) for u in updates] == [frames.Snapshot, frames.Snapshot, Facts]
    assert {u.trace_id for u in updates[:2]} == {A, B}
    assert [f.seq for f in updates[2].facts] == [3, 4]


def test_a_finished_trace_that_nobody_has_is_sent_whole_when_it_goes_on() -> None:
    relay = Relay()
    relay.say(start(A, 1), end(A, 1))
    viewer = relay.viewer()
    relay.say(start(A, 2, "late", 1))
    snapshot_, facts = viewer.read()
    assert snapshot_.trace_id == A and snapshot_.spans.count == 2
    assert len(facts.facts) == 1
    relay.say(end(A, 2))
    assert [type(u) for u in viewer.read()] == [Facts]  # once only


def test_what_another_one_has_is_sent_again_for_a_newcomer() -> None:
    """Sharing a channel with one that saw it all does not cost a newcomer the beginning."""
    relay = Relay()
    early = relay.viewer()
    relay.say(start(A, 1), end(A, 1))
    newcomer = relay.viewer()
    relay.say(AttributeSet(A, f"{1:016x}", 3, "late", 1))
    assert [type(u) for u in newcomer.read()] == [frames.Snapshot, Facts]
    assert [f.seq for f in early.facts()] == [1, 2, 3]


def test_producer_events_reach_every_events_view() -> None:
    relay = Relay()
    relay.say(start(A, 1), start(B, 2))
    everything, one, other = relay.viewer(), relay.viewer(trace_id=A), relay.viewer(service="none")
    trace = relay.viewer("trace", trace_id=A)
    elsewhere = relay.viewer("trace", trace_id=B)
    relay.say(EventsLost(3, "queue", 1, by_trace={A: 1}))
    relay.say(ProducerStarted(4, "q", "s"), producer="relay-1")
    for viewer in (everything, one, other):
        assert [type(f.event) for f in viewer.facts()] == [EventsLost, ProducerStarted]
    assert [type(f.event) for f in trace.facts()] == [EventsLost]
    assert elsewhere.facts() == []
    relay.say(ProducerLost(5, "p", 3, 4), producer="relay-1")
    assert len(trace.facts()) == len(elsewhere.facts()) == 1


def test_a_view_of_one_trace_begins_with_it_whatever_its_state() -> None:
    relay = Relay()
    relay.say(start(A, 1), end(A, 1), start(B, 1))
    viewer = relay.viewer("trace", trace_id=A)
    assert [u.trace_id for u in viewer.first if u.spans is not None] == [A]
    relay.say(end(B, 1), start(A, 2))
    assert [(f.seq, f.offset) for f in viewer.facts()] == [(5, 5)]


# --- listing views -------------------------------------------------------------------------------


def test_traces_at_most_ten_times_a_second() -> None:
    relay = Relay()
    relay.say(start(A, 1))
    viewer = relay.viewer("traces")
    assert [s.trace_id for s in viewer.first[0].traces] == [A]
    relay.say(end(A, 1))
    relay.say(start(B, 1))
    relay.hub.tick(10.0)
    relay.say(end(B, 1))
    relay.hub.tick(10.05)
    (summaries,) = viewer.read()
    assert [(s.trace_id, s.state) for s in summaries.traces] == [(A, "ok"), (B, "running")]
    relay.hub.tick(10.2)
    (summaries,) = viewer.read()
    assert [(s.trace_id, s.state) for s in summaries.traces] == [(B, "ok")]
    relay.hub.tick(20.0)
    assert viewer.read() == []


def test_a_trace_that_leaves_a_list_is_removed_from_it() -> None:
    relay = Relay()
    viewer = relay.viewer("traces", state="running")
    relay.say(start(A, 1))
    relay.hub.tick(1.0)
    relay.say(end(A, 1))
    relay.hub.tick(2.0)
    summaries, removed = viewer.read()
    assert [s.trace_id for s in summaries.traces] == [A]
    assert removed.trace_ids == (A,)


def test_running_lists_what_runs() -> None:
    relay = Relay()
    everything, none = relay.viewer("running"), relay.viewer("running", name="no such")
    assert everything.first[0].total == 0
    relay.say(start(A, 1), start(A, 2, "child", 1))
    relay.hub.tick(1.0)
    assert everything.read()[0].total == 2
    assert none.read()[0].total == 0
    relay.say(end(A, 2))
    relay.hub.tick(2.0)
    assert [s.name for s in everything.read()[0].spans] == ["root"]


def test_retention_removes_from_the_views() -> None:
    relay = Relay()
    events, traces = relay.viewer(), relay.viewer("traces")
    relay.say(start(A, 1), end(A, 1))
    relay.hub.tick(1.0)
    relay.hub.removed([A])
    assert events.read()[-1] == frames.Removed(2, (A,))
    assert traces.read()[-1] == frames.Removed(2, (A,))


# --- snapshots -----------------------------------------------------------------------------------


def test_snapshot_frames_are_bounded_and_whole() -> None:
    """A large span comes in several pieces; put together they are the tree."""
    tree = TraceTree(A)
    tree.apply(start(A, 1), "p", 1)
    for n in range(60):
        tree.apply(
            AttributeSet(A, f"{1:016x}", n, f"key{n}", "v" * limits.STRING_LENGTH), "p", n + 2
        )
        text = TextStreamed(A, f"{1:016x}", n, "output", n, "t" * 9_000)
        tree.apply(text, "p", n + 100)
    for n in range(2, 3_000):
        tree.apply(start(A, n, "child", 1), "p", n + 1_000)
    found = list(snapshot(7, tree.producers.all(), [tree]))
    assert [frame.done for frame in found] == [False] * (len(found) - 1) + [True]
    assert all(frame.offset == 7 for frame in found)
    assert max(len(codec.encode(frame)) for frame in found) <= limits.FRAME_BYTES
    copy = TraceTree(A)
    for frame in found:
        session = BINARY.relay_to_consumer(codec.encode(frame))
        if session.spans is not None:
            for record in from_columns(session.spans):
                copy.restore(record)
    assert [record_of(n) for n in copy] == [record_of(n) for n in tree]


def test_an_empty_snapshot_is_one_frame() -> None:
    assert list(snapshot(3, (), ())) == [frames.Snapshot(3, done=True)]


@given(st.integers(1, 40), st.integers(60, 2_000))
def test_split_records_merge_to_the_same(values: int, budget: int) -> None:
    tree = TraceTree(A)
    tree.apply(start(A, 1), "p", 1)
    for n in range(values):
        tree.apply(AttributeSet(A, f"{1:016x}", n, f"key{n}", "v" * n * 7), "p", n + 2)
    record = record_of(next(iter(tree)))
    copy = TraceTree(A)
    parts: list[SpanRecord] = list(split(record, budget))
    for part in reversed(parts):
        copy.restore(msgspec.convert(msgspec.to_builtins(part), SpanRecord))
    assert record_of(next(iter(copy))).values == record.values
