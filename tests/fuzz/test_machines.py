"""Whole conversations with an enemy, through the guards, the sessions and the trees that ship."""

import random
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile import REST, Hostile, pack

from lumina_stream.formats.span_json import span_json
from lumina_stream.formats.tree_json import tree_json
from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError, RemoteProtocolError
from lumina_stream.model.forest import Forest
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import ConsumerSession, Facts
from lumina_stream.protocol.intake import Accepted, Closed, Intake
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.protocol.wire import BINARY, JSON, Wire
from lumina_stream.relay.admission import admit
from lumina_stream.relay.outline import outline
from lumina_stream.relay.selection import QueryError, check
from lumina_stream.relay.snapshots import snapshot

WIRES = pytest.mark.parametrize("wire", [BINARY, JSON], ids=["binary", "json"])
FEW = settings(max_examples=settings.default.max_examples // 4)  # type: ignore[union-attr]
MEMORY = 24 << 20
"""What one frame of any content may take while it is decoded: 16,384 containers, each a dict at most."""


def written(enemy: Hostile, wire: Wire, frame: Any) -> bytes | str:
    return enemy.binary(frame) if wire is BINARY else enemy.text(frame)


def look_at(forest: Forest) -> None:
    """Do to trees what viewers make a relay do."""
    for tree in forest:
        for frame in (*snapshot(1, (), (tree,)), *outline(1, tree.trace_id, tree)):
            for wire in (BINARY, JSON):
                wire.relay_to_consumer(wire.encode(frame))
        b"".join(tree_json(tree))
        for _, node in tree.walk():
            b"".join(span_json(tree, node, 1))


@WIRES
@given(chance=st.randoms(use_true_random=False))
@FEW
def test_a_hostile_producer(wire: Wire, chance: random.Random) -> None:
    """It is told that it breaks the protocol, or what it said is in trees that can be shown."""
    enemy, intake, forest = Hostile(chance), Intake({}), Forest()
    for connection in range(3):
        peer = intake.peer(wire)
        try:
            peer.receive(written(enemy, wire, enemy.hello("p1")))
            for _ in range(12):
                for action in peer.receive(
                    written(enemy, wire, enemy.of_producer(intake.last_seq("p1") + 1))
                ):
                    if isinstance(action, Closed):
                        raise RemoteProtocolError(action.reason)
                    if isinstance(action, Accepted):
                        admitted = admit(action.events, action.producer_id)
                        for seq, event in enumerate(admitted.events, action.first_seq):
                            if event is not None:
                                forest.apply(event, action.producer_id, seq)
                        intake.committed(action.producer_id, action.first_seq + action.count - 1)
        except (RemoteProtocolError, DecodeError):
            pass
        peer.disconnected()
        del connection
    look_at(forest)


@WIRES
@given(chance=st.randoms(use_true_random=False))
@FEW
def test_a_hostile_viewer(wire: Wire, chance: random.Random) -> None:
    """What it asks for is understood, or refused."""
    enemy = Hostile(chance)
    for _ in range(12):
        try:
            asked = wire.subscribe(written(enemy, wire, enemy.subscribe()))
            check(asked.filter)
        except (RemoteProtocolError, QueryError):
            continue
        hash((asked.view, asked.filter))  # what channels are found by


@given(chance=st.randoms(use_true_random=False))
@FEW
def test_a_producer_and_a_hostile_relay(chance: random.Random) -> None:
    """A false relay can make a producer's session neither raise nor lose an event that it holds."""
    enemy = Hostile(chance)
    session = ProducerSession(frames.Hello("p", "n", 1))
    for n in range(30):
        session.add(codec.encode({"type": "x", "n": n}))
    for _ in range(3):
        session.connected(1, 1)
        try:
            for _ in range(12):
                session.receive(enemy.binary(enemy.to_producer()))
                batch = session.next_batch()
                assert batch is None or BINARY.producer_frame(batch)
                assert 0 <= session.acked <= session.last_seq == 30
        except RemoteProtocolError:
            pass
        session.disconnected()
    last = session.acked
    session.connected(1, 1)
    session.receive(BINARY.encode(frames.Welcome(last)))
    while (batch := session.next_batch()) is not None:
        frame = BINARY.producer_frame(batch)
        assert isinstance(frame, frames.Batch) and frame.first_seq == last + 1
        last += codec.array_length(memoryview(frame.events))
    assert last == 30


@WIRES
@given(chance=st.randoms(use_true_random=False))
@FEW
def test_a_viewer_and_a_hostile_relay(wire: Wire, chance: random.Random) -> None:
    """A false relay gets a protocol error, or its facts go into trees."""
    enemy, forest = Hostile(chance), Forest()
    session = ConsumerSession(frames.Subscribe(), wire)
    for _ in range(3):
        session.subscribe()
        try:
            for _ in range(12):
                for update in session.receive(written(enemy, wire, enemy.to_consumer())):
                    if isinstance(update, Facts):
                        for fact in update.facts:
                            codec.encode_fact_json(fact)
        except RemoteProtocolError:
            pass
    del forest


@WIRES
def test_memory_is_not_that_of_the_claim(wire: Wire) -> None:
    """Frames that claim the most, in every place where something can be claimed."""
    enemy = Hostile(random.Random(7))
    claims = [REST, [{}] * 20_000, [[]] * 16_000, enemy.deep(), {"a": REST}, [REST] * 500]
    producer = [{"type": "batch", "first_seq": 1, "events": claim} for claim in claims]
    producer += [
        {"type": "hello", "producer_id": "p", "nonce": "n", "first_seq": 1, "resource": claim}
        for claim in claims
    ]
    consumer = [
        {"type": "batch", "upto": 1, "producer_id": "p", "service": "", "facts": claim}
        for claim in claims
    ]
    consumer += [
        {"type": "snapshot", "offset": 1, "spans": {"count": 2**40, "columns": claim}}
        for claim in claims
    ]
    tracemalloc.start()
    try:
        for decode, said in ((wire.producer_frame, producer), (wire.relay_to_consumer, consumer)):
            for frame in said:
                data = pack(frame) if wire is BINARY else enemy.text(frame)
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                try:
                    decode(data)
                except (RemoteProtocolError, DecodeError):
                    pass
                _, peak = tracemalloc.get_traced_memory()
                assert peak - before < MEMORY, (str(frame)[:80], peak - before)
    finally:
        tracemalloc.stop()


@given(chance=st.randoms(use_true_random=False))
@FEW
def test_events_of_all_shapes(chance: random.Random) -> None:
    """One event, in either encoding: an event or a decode error, and what was read can be written."""
    enemy = Hostile(chance)
    for _ in range(10):
        event = enemy.event()
        for decode, data in (
            (codec.decode, enemy.binary(event)),
            (codec.decode_json, enemy.text(event)),
        ):
            try:
                read = decode(data)  # type: ignore[operator]
            except DecodeError:
                continue
            codec.encode_json(read)


def test_the_enemy_is_nearly_right() -> None:
    """It gets through often enough to reach what lies behind, and is refused often enough as well."""
    enemy = Hostile(random.Random(1))
    through = 0
    for _ in range(400):
        try:
            msgspec.msgpack.decode(enemy.binary(enemy.of_producer(1)), type=frames.ProducerFrame)
            through += 1
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            pass
    assert 100 < through < 380
