"""Frames in both encodings, and what hostile peers may send instead."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.generate import told
from support.trees import TRACE, Told, grow

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError, RemoteProtocolError
from lumina_stream.model.events import AttributeSet, ErrorInfo, Link, SpanStarted, UnknownEvent
from lumina_stream.model.node import SpanEventRecord
from lumina_stream.model.producers import Producer
from lumina_stream.model.record import SpanRecord, Value, from_columns, record_of, to_columns
from lumina_stream.protocol import SUBPROTOCOL, SUBPROTOCOL_JSON, frames
from lumina_stream.protocol.consumer import ConsumerSession, Facts
from lumina_stream.protocol.wire import BINARY, JSON, Wire, wire_for

T, S = "a" * 32, "b" * 16
NOW = 1_790_000_000_123_456_789
STAMP = (NOW, "p", 3)
ODD = {"k": [2**60, float("inf"), b"hi", "!int 5", {"!str": None}]}
EVENTS = [
    codec.encode(SpanStarted(T, S, NOW, "!int 5", attributes=ODD)),
    codec.encode(AttributeSet(T, S, NOW, "k", ODD)),
    codec.encode({"type": "newer", "time_ns": NOW, "x": ODD}),
]
RECORD = SpanRecord(
    S,
    None,
    "!int 5",
    None,
    STAMP,
    None,
    None,
    ErrorInfo("!str x"),
    STAMP,
    False,
    NOW,
    (),
    {"k": Value(ODD, STAMP, {"k": "cut"})},
    (SpanEventRecord(STAMP, "!float nan", ODD),),
    (),
    ((STAMP, 0, Link("!int 5", S, ODD)), (STAMP, 1, Link(T, S))),
)

FROM_PRODUCER: list[frames.ProducerFrame] = [
    frames.Hello("p", "nonce", 1, "!int 5", ODD, "host", 3, 4, "boot", 5, NOW, 7),
    frames.Batch(4, msgspec.Raw(codec.join_array(EVENTS))),
    frames.Batch(1, msgspec.Raw(codec.join_array([]))),
    frames.Heartbeat(9, NOW, 8),
    frames.Bye(3),
]
TO_PRODUCER: list[frames.RelayToProducer] = [
    frames.Welcome(3, "relay", 1_000, 10, 2.5),
    frames.Ack(3),
    frames.Nack(4),
    frames.Throttle(0.5),
    frames.Inspect(S),
    frames.Error("why", "code", True),
]
SUBSCRIBES = [
    frames.Subscribe(),
    frames.Subscribe(
        "traces", frames.Filter("api", T, "n*", "ok"), frames.Cursor("e", 4), NOW, False
    ),
]
TO_CONSUMER: list[frames.RelayToConsumer] = [
    frames.Subscribed(True, "e", 4, NOW),
    frames.Snapshot(
        4, T, to_columns([RECORD]), (), {"spans": 2}, (frames.LossRecord(STAMP, 2, "!str", True),)
    ),
    frames.Snapshot(4, producers=(Producer("p", "lost", NOW, "!int 5", STAMP, STAMP),), done=True),
    frames.FactBatch(
        7,
        "p",
        "api",
        tuple(frames.WireFact(5 + i, 1 + i, msgspec.Raw(e)) for i, e in enumerate(EVENTS)),
    ),
    frames.Summaries(7, (frames.TraceSummary(T, "!int 5", "api", "ok", NOW, None, 1, 0, 0),)),
    frames.Running(7, (frames.OpenSpan(T, S, "n", None, "api", NOW, NOW),), 3),
    frames.Removed(7, (T,)),
    frames.Progress(8, NOW),
    frames.Skip(1, 9),
    frames.Error("why"),
]
WIRES = pytest.mark.parametrize("wire", [BINARY, JSON], ids=["binary", "json"])


def told_by(frame: Any) -> Any:
    """Return a frame as plain values, events decoded."""
    if isinstance(frame, frames.Batch):
        return (
            frame.first_seq,
            [msgspec.msgpack.decode(e) for e in codec.split_array(frame.events)],
        )
    if isinstance(frame, frames.FactBatch):
        facts = [(f.offset, f.seq, msgspec.msgpack.decode(f.event)) for f in frame.facts]
        return (frame.upto, frame.producer_id, frame.service, facts)
    if isinstance(frame, frames.Snapshot) and frame.spans is not None:
        return (list(from_columns(frame.spans)), msgspec.structs.replace(frame, spans=None))
    return frame


@WIRES
@pytest.mark.parametrize("frame", FROM_PRODUCER, ids=lambda f: type(f).__name__)
def test_a_producers_frames_come_back_as_they_were(wire: Wire, frame: Any) -> None:
    """In both encodings, whatever the values."""
    assert told_by(wire.producer_frame(wire.encode(frame))) == told_by(frame)


@WIRES
@pytest.mark.parametrize("frame", TO_PRODUCER, ids=lambda f: type(f).__name__)
def test_frames_to_a_producer_come_back_as_they_were(wire: Wire, frame: Any) -> None:
    """In both encodings."""
    assert wire.relay_to_producer(wire.encode(frame)) == frame


@WIRES
@pytest.mark.parametrize("frame", SUBSCRIBES)
def test_subscriptions_come_back_as_they_were(wire: Wire, frame: frames.Subscribe) -> None:
    """In both encodings."""
    assert wire.subscribe(wire.encode(frame)) == frame


@WIRES
@pytest.mark.parametrize("frame", TO_CONSUMER, ids=lambda f: type(f).__name__)
def test_frames_to_a_consumer_come_back_as_they_were(wire: Wire, frame: Any) -> None:
    """In both encodings, snapshots with every kind of value included."""
    assert told_by(wire.relay_to_consumer(wire.encode(frame))) == told_by(frame)


@WIRES
@given(facts=told(max_size=20))
def test_a_snapshot_of_any_tree_comes_back(wire: Wire, facts: list[Told]) -> None:
    """Through either encoding the records are the same."""
    records = [record_of(node) for node in grow(facts)]
    frame = frames.Snapshot(1, TRACE, to_columns(records))
    back = wire.relay_to_consumer(wire.encode(frame))
    assert isinstance(back, frames.Snapshot) and back.spans is not None
    assert list(from_columns(back.spans)) == records


def test_json_keeps_times_as_numbers_in_snapshots_too() -> None:
    """Browsers compare the stamps of snapshots with those of events."""
    data = JSON.encode(frames.Snapshot(4, T, to_columns([RECORD])))
    columns = msgspec.json.decode(data)["spans"]["columns"]
    fields = SpanRecord.__struct_fields__
    assert columns[fields.index("start")] == [[NOW, "p", 3]]
    assert columns[fields.index("last_ns")] == [NOW]
    assert columns[fields.index("name")] == ["!int 5"]
    (values,) = columns[fields.index("values")]
    assert values["k"][0]["k"][0] == f"!int {2**60}" and values["k"][1] == [NOW, "p", 3]


def test_a_stored_event_that_cannot_be_read_costs_a_json_viewer_only_itself() -> None:
    """The others of its batch arrive."""
    raws = [EVENTS[0], codec.encode({"type": "span_ended"}), b"\xc0", EVENTS[1]]
    facts = tuple(frames.WireFact(i, i, msgspec.Raw(raw)) for i, raw in enumerate(raws))
    back = JSON.relay_to_consumer(JSON.encode(frames.FactBatch(3, "p", "", facts)))
    assert isinstance(back, frames.FactBatch)
    assert [f.offset for f in back.facts] == [0, 3] and back.upto == 3


def test_unknown_fields_are_ignored() -> None:
    """A newer peer may say more."""
    ack = msgspec.msgpack.encode({"type": "ack", "upto": 3, "newer": [{}]})
    assert BINARY.relay_to_producer(ack) == frames.Ack(3)


def test_the_subprotocol_chooses_the_encoding() -> None:
    """Binary if none was asked for."""
    assert wire_for(SUBPROTOCOL) is wire_for(None) is BINARY
    assert wire_for(SUBPROTOCOL_JSON) is JSON
    assert BINARY.subprotocol == SUBPROTOCOL and JSON.subprotocol == SUBPROTOCOL_JSON


def test_text_is_refused_where_bytes_are_spoken() -> None:
    """With the close code for it."""
    with pytest.raises(RemoteProtocolError) as refused:
        BINARY.producer_frame("{}")
    assert refused.value.code == 1003


ALL: list[Any] = [*FROM_PRODUCER, *TO_PRODUCER, *SUBSCRIBES, *TO_CONSUMER]


def decoders(wire: Wire) -> list[Callable[[bytes | str], Any]]:
    return [wire.producer_frame, wire.relay_to_producer, wire.subscribe, wire.relay_to_consumer]


def feed(wire: Wire, data: bytes | str) -> None:
    for decode in decoders(wire):
        try:
            frame = decode(data)
            if isinstance(frame, frames.Snapshot) and frame.spans is not None:
                list(from_columns(frame.spans))
        except (RemoteProtocolError, DecodeError, msgspec.ValidationError):
            continue
        if isinstance(frame, frames.FactBatch | frames.Hello):
            JSON.encode(frame)


@WIRES
@given(
    frame=st.sampled_from(ALL),
    at=st.integers(0, 5_000),
    put=st.binary(max_size=4),
    cut=st.booleans(),
)
def test_hostile_bytes_raise_nothing_but_protocol_errors(
    wire: Wire, frame: Any, at: int, put: bytes, cut: bool
) -> None:
    """Real frames with bytes changed, cut off or put in, in either encoding."""
    data = wire.encode(frame)
    raw = data.encode() if isinstance(data, str) else data
    at %= len(raw)
    raw = raw[:at] + put + (b"" if cut else raw[at + len(put) :])
    feed(wire, raw)
    feed(wire, raw.decode("utf-8", "surrogateescape"))


@WIRES
@given(data=st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_raise_nothing_but_protocol_errors(wire: Wire, data: bytes | str) -> None:
    """And any text."""
    feed(wire, data)


@pytest.mark.parametrize(
    "columns",
    [
        "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]",
        "[[],[],[],[],[],[],[],[],[],[],[],[],[7],[],[],[],[]]",
        "[[],[],[],[],[],[],[],[],[],[],[],[],[],[[1]],[],[],[]]",
        "[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[[[1,2,3]]],[]]",
        '[[],[],[],[],[],[],[],[],[],[],[],[],[{"k":[]}],[],[],[],[]]',
        '[[],[],[],[],[],[],[],[],[],[],[],[],[{"k":[%s]}],[],[],[],[]]' % ("[" * 600 + "]" * 600),
    ],
)
def test_hostile_columns_raise_a_protocol_error(columns: str) -> None:
    """Shapes that no record has."""
    data = f'{{"type":"snapshot","offset":1,"spans":{{"count":1,"columns":{columns}}}}}'
    with pytest.raises(RemoteProtocolError):
        JSON.relay_to_consumer(data)


@pytest.mark.parametrize(
    "value",
    [f'"!int {"9" * 30}"', "1" + "0" * 30, "[" * 600 + "]" * 600, '{"a":1e999}'],
)
def test_a_hostile_json_event_costs_only_itself(value: str) -> None:
    """Integers beyond 64 bits, depth: it keeps its place, and is refused there."""
    form = '{"type":"attribute_set","trace_id":"t","span_id":"s","time_ns":1,"key":"k","value":%s}'
    several = f"{form % 1},{form % value},{form % 2}"
    batch = JSON.producer_frame(f'{{"type":"batch","first_seq":1,"events":[{several}]}}')
    assert isinstance(batch, frames.Batch)
    values = [getattr(event, "value", None) for event in codec.decode_array(batch.events)]
    assert values == [1, None, 2]
    fact = f"[1,1,{form % value}],[2,2,{form % 2}]"
    said = f'{{"type":"batch","upto":2,"producer_id":"p","service":"","facts":[{fact}]}}'
    session = ConsumerSession(frames.Subscribe(), JSON)
    session.receive('{"type":"subscribed","recovered":true,"epoch":"e","offset":0}')
    (facts,) = session.receive(said)
    assert isinstance(facts, Facts) and len(facts.facts) == session.undecodable == 1


def test_an_unknown_event_passes_a_json_hop_raw() -> None:
    """What a newer program says is stored."""
    batch = frames.Batch(1, msgspec.Raw(codec.join_array(EVENTS[2:])))
    back = JSON.producer_frame(JSON.encode(batch))
    assert isinstance(back, frames.Batch)
    (event,) = codec.decode_array(back.events)
    assert isinstance(event, UnknownEvent) and event.time_ns == NOW
