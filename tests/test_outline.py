"""Outlines: they say what the tree says, in small pieces, while the tree grows; and the calls' usage."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from support.generate import told
from support.relay_process import (
    Consumer,
    Producer,
    ended,
    new_span,
    new_trace,
    running_relay,
    started,
)
from support.trees import TRACE, Told, grow

from lumina_stream.model import limits
from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    Event,
    EventsLost,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
)
from lumina_stream.model.tree import TraceTree
from lumina_stream.model.usage import Cost
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import ConsumerSession, Facts, Refused, Restarted, Resumed
from lumina_stream.protocol.wire import BINARY, JSON, Wire
from lumina_stream.relay.outline import outline, usage_of

WIRES = pytest.mark.parametrize("wire", [BINARY, JSON], ids=["binary", "json"])
BASE = 1_790_000_000_123_456_789


def span(number: int) -> str:
    return f"{number:016x}"


class Reader:
    """Put the pieces together, as any viewer would: by what the protocol's document says."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.producers: dict[str, Any] = {}
        self.usage: dict[int, tuple[int, int, int | None]] = {}
        self.losses: list[frames.LossRecord] = []
        self.truncated: dict[str, int] = {}
        self.total = 0
        self.done = False

    def take(self, piece: frames.Outline) -> None:
        assert not self.done
        assert piece.at == len(self.rows)
        assert piece.total >= self.total
        self.total, self.done = piece.total, piece.done
        self.texts += piece.strings
        self.producers |= {producer.producer_id: producer for producer in piece.producers}
        self.usage |= {n: (a, b, c) for n, a, b, c in piece.usage}
        self.losses += piece.losses
        self.truncated |= piece.truncated
        ids = [piece.ids[i : i + 16] for i in range(0, len(piece.ids), 16)]
        count = len(ids)
        columns = [piece.parents, piece.names, piece.kinds, piece.starts, piece.start_by]
        columns += [piece.start_seq, piece.ends, piece.end_by, piece.end_seq, piece.statuses]
        columns += [piece.lasts, piece.flags]
        assert all(len(column) == count for column in columns)
        for i, span_id in enumerate(ids):
            number = piece.at + i
            start = self._stamp(piece.base_ns, piece.starts[i], piece.start_by[i])
            end = self._stamp(piece.base_ns, piece.ends[i], piece.end_by[i])
            last = piece.lasts[i]
            named = piece.named.get(number)
            self.rows.append(
                {
                    "span_id": span_id,
                    "parent": piece.parents[i],
                    "name": self.texts[piece.names[i]],
                    "kind": None if piece.kinds[i] < 0 else self.texts[piece.kinds[i]],
                    "start": start and (*start, piece.start_seq[i]),
                    "end": end and (*end, piece.end_seq[i]),
                    "status": frames.STATUS_CODES[piece.statuses[i]],
                    "last_ns": 0 if last is None else piece.base_ns + last,
                    "flags": piece.flags[i],
                    "named": start and (*start, piece.start_seq[i])
                    if named is None
                    else (piece.base_ns + named[0], self.texts[named[1]], named[2]),
                    "conflicts": piece.conflicts.get(number, []),
                }
            )

    def _stamp(self, base_ns: int, time: int | None, by: int) -> tuple[int, str] | None:
        return None if time is None else (base_ns + time, self.texts[by])


def said(tree: TraceTree) -> list[dict[str, Any]]:
    """Return what an outline must say of a tree's spans."""
    spans = list(tree)
    numbers = {node.span_id: number for number, node in enumerate(spans)}
    rows: list[dict[str, Any]] = []
    for node in spans:
        flags = 1 * node.remote_parent + 2 * bool(node.attributes) + 4 * bool(node.events)
        flags += 8 * bool(node.texts) + 16 * bool(node.links) + 32 * (node.error is not None)
        parent = -1 if node.parent_id is None else numbers.get(node.parent_id, -2)
        rows.append(
            {
                "span_id": node.span_id,
                "parent": parent,
                "name": node.name,
                "kind": node.kind,
                "start": node.start,
                "end": node.end,
                "status": node.status,
                "last_ns": node.last_ns,
                "flags": flags,
                "named": node.named,
                "conflicts": sorted(node.conflicts or ()),
            }
        )
    return rows


def read(tree: TraceTree, wire: Wire = BINARY) -> Reader:
    reader = Reader()
    for frame in outline(7, tree.trace_id, tree):
        sent = wire.relay_to_consumer(wire.encode(frame))
        assert isinstance(sent, frames.Outline)
        assert (sent.offset, sent.trace_id) == (7, tree.trace_id)
        reader.take(sent)
    assert reader.done
    return reader


@WIRES
@settings(max_examples=150)
@given(facts=told(max_size=40))
def test_an_outline_says_what_the_tree_says(wire: Wire, facts: list[Told]) -> None:
    """Whatever was told: every span, with the stamps that decide later quarrels."""
    tree = grow(facts)
    _ = tree.totals
    reader = read(tree, wire)
    assert reader.rows == said(tree)
    assert reader.total == len(tree)
    started_by = {node.start[1] for node in tree if node.start is not None}
    known = {p: tree.producers.get(p) for p in started_by}
    assert reader.producers == {p: found for p, found in known.items() if found is not None}
    assert {r.stamp: (r.count, r.reason, r.exact) for r in reader.losses} == tree.losses


@WIRES
def test_usage_adds_up_to_the_totals(wire: Wire) -> None:
    """What each call adds beyond its children, a repeated response once, no price as None."""
    tree = TraceTree(TRACE)

    def call(number: int, parent: int | None, **usage: Any) -> None:
        tree.apply(
            SpanStarted(TRACE, span(number), BASE, "c", None if parent is None else span(parent)),
            "p",
            2 * number,
        )
        attributes = {f"gen_ai.usage.{key}_tokens": n for key, n in usage.items() if key != "id"}
        if "id" in usage:
            attributes["gen_ai.response.id"] = usage["id"]
        if attributes:
            tree.apply(AttributesSet(TRACE, span(number), BASE, attributes), "p", 2 * number + 1)

    call(1, None, input=130, output=20)
    call(2, 1, input=100, output=10, id="r")
    call(3, 1, input=25, output=10)
    call(4, 1)
    call(5, 3, input=100, output=10, id="r")
    tree.set_cost(span(2), Cost(1_000, 50))
    tree.set_cost(span(3), Cost(known=False))
    tree.set_cost(span(5), Cost(1_000, 50))
    totals = tree.totals
    reader = read(tree, wire)
    assert reader.usage == {
        0: (5, 0, None),
        1: (100, 10, 1_050),
        2: (25, 10, None),
        4: (0, 0, 0),
    }
    assert sum(given for given, _, _ in reader.usage.values()) == totals.input_tokens == 130
    assert sum(got for _, got, _ in reader.usage.values()) == totals.output_tokens == 20
    assert dict((s, u) for s, *u in usage_of(tree.calls.spans.values()))[span(2)] == [
        100,
        10,
        1_050,
    ]


def test_a_tree_that_grows_meanwhile_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans keep their numbers; what starts later comes last, and is the parent of whom it is."""
    monkeypatch.setattr("lumina_stream.relay.outline.SPANS_PER_FRAME", 3)
    tree = TraceTree(TRACE)
    for number in range(1, 8):
        tree.apply(AttributeSet(TRACE, span(number), BASE, "k", 1), "p", number)
    reader = Reader()
    pieces = outline(7, TRACE, tree)
    reader.take(next(pieces))
    # A span that is still to come starts below one that nobody has heard of.
    tree.apply(SpanStarted(TRACE, span(6), BASE + 5, "late", span(99)), "p", 50)
    tree.apply(SpanStarted(TRACE, span(98), BASE + 6, "later"), "q", 1)
    for piece in pieces:
        reader.take(piece)
    rows = {row["span_id"]: row for row in reader.rows}
    assert reader.done
    assert reader.total == len(reader.rows) == 9
    assert reader.rows[rows[span(6)]["parent"]]["span_id"] == span(99)
    assert rows[span(98)]["start"] == (BASE + 6, "q", 1)


def test_an_outline_of_nothing() -> None:
    """Of a trace that nobody knows there is one piece, and it says so."""
    (piece,) = outline(3, "a" * 32, None)
    assert (piece.offset, piece.trace_id, piece.total, piece.done) == (3, "a" * 32, 0, True)


def test_a_parent_that_is_not_kept() -> None:
    """It is named as missing, not as none: such a span is no root."""
    tree = TraceTree(TRACE, max_spans=2)
    tree.apply(SpanStarted(TRACE, span(1), BASE, "root"), "p", 1)
    tree.apply(SpanStarted(TRACE, span(2), BASE, "child", span(3)), "p", 2)
    reader = read(tree)
    assert [row["parent"] for row in reader.rows] == [-1, -2]
    assert reader.truncated == {"spans": 1}


def test_the_same_in_both_encodings() -> None:
    """JSON has every field by name, also the empty ones: a reader in a browser need not ask."""
    tree = grow([Told(SpanStarted(TRACE, span(1), BASE, "root"), "p", 1)])
    (piece,) = outline(7, TRACE, tree)
    plain = json.loads(JSON.encode(piece))
    assert set(plain) == {"type", *frames.Outline.__struct_fields__}
    assert plain == {
        **msgspec.msgpack.decode(BINARY.encode(piece)),
        "strings": ["root", "p"],
        "ids": span(1),
        "parents": [-1],
        "starts": [BASE - plain["base_ns"]],
        "named": {},
    }
    assert plain["base_ns"] % 256 == 0  # exact in a double
    assert 0 <= BASE - plain["base_ns"] < 2_000_000


HOSTILE = [
    *(f"{n:x}" + "\x00" * 9_000 for n in range(40)),
    *("\u20ac" * 60_000 + f"{n}" for n in range(40)),
    *("n" * 500 + f"{n}" for n in range(600)),
]


@WIRES
def test_every_piece_fits_a_frame(wire: Wire) -> None:
    """Names that fill an event, of characters that JSON writes with six; clocks that make no sense."""
    tree = TraceTree(TRACE)
    for number, name in enumerate(HOSTILE, 1):
        time_ns = [BASE, (1 << 63) - 1, -(1 << 63), 0][number % 4]
        start = SpanStarted(TRACE, span(number), time_ns, name, kind=f"kind{number}" * 40)
        tree.apply(start, f"producer{number}" * 10, (1 << 63) - 1)
        tree.apply(SpanUpdated(TRACE, span(number), BASE, name), "other", number)
        tree.apply(SpanEnded(TRACE, span(number), -time_ns, "error"), "p", number)
        usage = {"gen_ai.usage.input_tokens": (1 << 62) + number}
        tree.apply(AttributesSet(TRACE, span(number), BASE, usage), "p", number)
    lost = {TRACE: (1 << 70)}
    for seq in range(700):
        tree.apply(EventsLost(BASE, "why" * 5_000, 9, by_trace=lost), "p", seq)
    for number in range(1, len(HOSTILE)):
        tree.set_cost(span(number), Cost(1 << 80, 1 << 80))
    _ = tree.totals
    sizes: list[int] = []
    reader = Reader()
    for frame in outline(1, TRACE, tree):
        data = wire.encode(frame)
        sizes.append(len(data.encode() if isinstance(data, str) else data))
        sent = wire.relay_to_consumer(data)
        assert isinstance(sent, frames.Outline)
        reader.take(sent)
    assert max(sizes) <= limits.FRAME_BYTES
    assert [row["name"] for row in reader.rows] == [name[:8192] for name in HOSTILE]


def test_steps_are_small() -> None:
    """No piece speaks of more than some hundred spans, however many there are."""
    tree = TraceTree(TRACE)
    for number in range(1, 2_002):
        tree.apply(SpanStarted(TRACE, span(number), BASE + number, "same"), "p", number)
    tree.apply(ProducerStarted(BASE, "p", "svc"), "relay", 1)
    pieces = list(outline(1, TRACE, tree))
    assert [len(piece.ids) // 16 for piece in pieces] == [500, 500, 500, 500, 1]
    assert [piece.strings for piece in pieces[1:]] == [[]] * 4  # said once
    assert [len(piece.producers) for piece in pieces] == [1, 0, 0, 0, 0]
    assert [piece.done for piece in pieces] == [False] * 4 + [True]


# --- the consumer's cursor ------------------------------------------------------------------------


def test_the_cursor_waits_for_the_last_piece() -> None:
    """A connection that ends half-way through an outline asks for it again."""
    asked = frames.Subscribe("trace", frames.Filter(trace_id=TRACE), outline=True)
    session = ConsumerSession(asked)
    tree = grow([Told(SpanStarted(TRACE, span(1), BASE, "root"), "p", 1)])
    (piece,) = outline(5, TRACE, tree)
    session.receive(BINARY.encode(frames.Subscribed(False, "e", 5)))
    half = msgspec.structs.replace(piece, done=False)
    assert session.receive(BINARY.encode(half)) == [half]
    assert session.cursor is None
    session.receive(BINARY.encode(piece))
    assert session.cursor == frames.Cursor("e", 5)
    usage = frames.Usage(9, TRACE, [(span(1), 1, 2, None)])
    assert session.receive(BINARY.encode(usage)) == [usage]
    assert session.cursor == frames.Cursor("e", 5)  # between two facts, and says nothing of them
    assert BINARY.subscribe(session.subscribe()).outline


# --- over a relay ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory):
    """A relay that prices the model `cheap` at a dollar and two dollars a million tokens."""
    folder = tmp_path_factory.mktemp("outline")
    prices = folder / "prices.toml"
    prices.write_text('[[prices]]\nmodel = "cheap"\ninput = 1\noutput = 2\n')
    with running_relay(folder / "data", prices=[str(prices)]) as process:
        yield process


def ask(trace_id: str, **more: Any) -> frames.Subscribe:
    return frames.Subscribe("trace", frames.Filter(trace_id=trace_id), outline=True, **more)


def usage_told(consumer: Consumer) -> dict[str, tuple[int, int, int | None]]:
    found: dict[str, tuple[int, int, int | None]] = {}
    for update in consumer.updates:
        if isinstance(update, frames.Usage):
            found |= {span_id: (a, b, c) for span_id, a, b, c in update.usage}
    return found


def call(trace_id: str, span_id: str, parent: str | None, tokens: int) -> list[Event]:
    attributes = {
        "gen_ai.request.model": "cheap",
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": 10,
    }
    return [
        started(trace_id, span_id, parent_id=parent, name="call"),
        AttributesSet(trace_id, span_id, BASE, attributes),
    ]


@WIRES
def test_an_outline_and_what_follows(relay, wire: Wire) -> None:
    """The tree in one piece, then facts and usage of that trace, and no snapshot and no costs."""

    async def go() -> None:
        trace, root, first, second = new_trace(), new_span(), new_span(), new_span()
        producer = Producer(relay.url)
        async with producer.connected():
            await producer.store(started(trace, root), *call(trace, first, root, 1_000))
            consumer = Consumer(relay.url, ask(trace), wire=wire)
            async with consumer.connected():
                piece = await consumer.until_type(frames.Outline)
                assert isinstance(piece, frames.Outline)
                assert piece.done and piece.total == 2
                assert {p.service for p in piece.producers} == {"svc"}
                await producer.store(*call(trace, second, root, 500), ended(trace, first))
                await consumer.until(lambda: second in usage_told(consumer))
            assert usage_told(consumer)[second] == (500, 10, 520_000_000)
            assert [type(f.event) for f in consumer.facts] == [
                SpanStarted,
                AttributesSet,
                SpanEnded,
            ]
            kinds = {type(update) for update in consumer.updates}
            assert kinds <= {Restarted, frames.Outline, Facts, frames.Usage, frames.Progress}
            # It resumes with what came meanwhile, and with all usage: some may have been missed.
            await producer.store(*call(trace, root, None, 4_000))
            async with consumer.connected():
                consumer.updates.clear()
                consumer.facts.clear()
                await consumer.until(lambda: root in usage_told(consumer))
                await producer.store(ended(trace, root))
                await consumer.until(lambda: len(consumer.facts) == 3)
            kinds = {type(update) for update in consumer.updates}
            assert kinds <= {Resumed, Facts, frames.Usage, frames.Progress}
            said = [type(fact.event) for fact in consumer.facts]
            assert said == [SpanStarted, AttributesSet, SpanEnded]
            assert usage_told(consumer)[first] == (1_000, 10, 1_020_000_000)
            assert usage_told(consumer)[root] == (2_500, 0, 2_500_000_000)

    asyncio.run(go())


def test_a_trace_that_is_not_there_yet(relay) -> None:
    """An empty outline, and everything from its first fact on."""

    async def go() -> None:
        trace, root = new_trace(), new_span()
        consumer, producer = Consumer(relay.url, ask(trace)), Producer(relay.url)
        async with consumer.connected(), producer.connected():
            piece = await consumer.until_type(frames.Outline)
            assert isinstance(piece, frames.Outline)
            assert (piece.total, piece.done) == (0, True)
            await producer.store(started(trace, root), ended(trace, root))
            await consumer.until(lambda: len(consumer.facts) >= 2)
        assert [u for u in consumer.updates if isinstance(u, frames.Outline)] == [piece]

    asyncio.run(go())


@pytest.mark.parametrize(
    "asked",
    [
        frames.Subscribe("events", outline=True),
        frames.Subscribe("traces", outline=True),
        ask("a" * 32, snapshot=False),
        ask("a" * 32, since_ns=1),
    ],
)
def test_an_outline_of_something_else_is_refused(relay, asked: frames.Subscribe) -> None:
    """It is the snapshot of one trace."""

    async def go() -> None:
        consumer = Consumer(relay.url, asked)
        async with consumer.connected():
            refused = await consumer.until_type(Refused)
            assert isinstance(refused, Refused)
            assert (refused.code, "outline" in refused.message) == ("protocol", True)

    asyncio.run(go())
