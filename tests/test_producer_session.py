"""The producer's side: seq, acknowledgement, replay."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.protocol import frames
from lumina_stream.protocol.producer import (
    Acknowledged,
    IdentityTaken,
    ProducerSession,
    Refused,
    Rewound,
    Throttled,
    Welcomed,
)
from lumina_stream.protocol.wire import BINARY


def session(events: int = 0, *, welcome: frames.Welcome | None = None) -> ProducerSession:
    made = ProducerSession(frames.Hello("p", "nonce", 1, "api"))
    for n in range(1, events + 1):
        made.add(event(n))
    if welcome is not None:
        made.connected(0, 0)
        made.receive(codec.encode(welcome))
    return made


def event(n: int) -> bytes:
    return codec.encode({"type": "x", "n": n})


def sent(made: ProducerSession) -> list[tuple[int, list[int]]]:
    """Return (first seq, events) of all batches that the session gives now."""
    batches: list[tuple[int, list[int]]] = []
    while (data := made.next_batch()) is not None:
        frame = BINARY.producer_frame(data)
        assert isinstance(frame, frames.Batch)
        numbers = [msgspec.msgpack.decode(raw)["n"] for raw in codec.split_array(frame.events)]
        batches.append((frame.first_seq, numbers))
    return batches


def receive(made: ProducerSession, frame: frames.RelayToProducer) -> list[object]:
    return list(made.receive(codec.encode(frame)))


def hello_of(data: bytes) -> frames.Hello:
    frame = BINARY.producer_frame(data)
    assert isinstance(frame, frames.Hello)
    return frame


def test_nothing_is_sent_before_the_welcome() -> None:
    """The relay may know more than we do."""
    made = session(3)
    assert made.next_batch() is None and not made.can_send
    hello = hello_of(made.connected(7, 8))
    assert (hello.first_seq, hello.wall_ns, hello.mono_ns, hello.service) == (1, 7, 8, "api")
    assert made.next_batch() is None
    assert receive(made, frames.Welcome(0, "r", heartbeat_s=3.0)) == [Welcomed(3.0, "r")]
    assert sent(made) == [(1, [1, 2, 3])]


def test_seq_is_dense_from_the_first_event_on() -> None:
    """`add` numbers; the batches say the same."""
    made = session(welcome=frames.Welcome(0, frame_events=2))
    assert [made.add(event(n)) for n in range(1, 6)] == [1, 2, 3, 4, 5]
    assert sent(made) == [(1, [1, 2]), (3, [3, 4]), (5, [5])]
    assert (made.last_seq, made.acked, made.unacknowledged) == (5, 0, 5)


def test_an_ack_releases_what_is_stored() -> None:
    """Within a batch, over batches, and never twice."""
    made = session(5, welcome=frames.Welcome(0, frame_events=2))
    size = len(event(1)) + limits.EVENT_OVERHEAD
    assert made.kept_bytes == 5 * size
    sent(made)
    assert receive(made, frames.Ack(3)) == [Acknowledged(3, 3 * size)]
    assert receive(made, frames.Ack(2)) == [] and receive(made, frames.Ack(-5)) == []
    assert made.kept_bytes == 2 * size and made.unacknowledged == 2
    made.disconnected()
    assert hello_of(made.connected(0, 0)).first_seq == 4
    receive(made, frames.Welcome(3))
    assert sent(made) == [(4, [4, 5])]
    assert receive(made, frames.Ack(5)) == [Acknowledged(5, 2 * size)] and made.kept_bytes == 0


def test_a_welcome_acknowledges_what_was_stored_over_an_earlier_connection() -> None:
    """The ack was lost, the events were not."""
    made = session(4, welcome=frames.Welcome(0))
    sent(made)
    made.disconnected()
    assert not made.can_send
    made.connected(0, 0)
    signals = receive(made, frames.Welcome(3, "r"))
    assert isinstance(signals[0], Acknowledged) and signals[0].upto == 3
    assert sent(made) == [(4, [4])]


def test_an_ack_may_come_for_what_this_connection_has_not_sent() -> None:
    """A commit of the earlier connection's events ends late."""
    made = session(4, welcome=frames.Welcome(0))
    sent(made)
    made.connected(0, 0)
    receive(made, frames.Welcome(0))
    assert made.acked == 0
    receive(made, frames.Ack(2))
    assert sent(made) == [(3, [3, 4])]


def test_a_nack_rewinds_and_releases_nothing() -> None:
    """What precedes the gap may be in the relay's memory alone: a crash there must not lose it."""
    made = session(6, welcome=frames.Welcome(0, frame_events=2))
    sent(made)
    kept = made.kept_bytes
    receive(made, frames.Ack(1))
    assert receive(made, frames.Nack(4)) == [Rewound(2)]
    assert made.acked == 1 and made.kept_bytes == kept - len(event(1)) - limits.EVENT_OVERHEAD
    assert sent(made) == [(2, [2, 3]), (4, [4, 5]), (6, [6])]


@pytest.mark.parametrize("frame", [frames.Ack(4), frames.Nack(5), frames.Welcome(4)])
def test_a_relay_that_has_more_than_we_sent_is_wrong(frame: frames.RelayToProducer) -> None:
    """Its log is another producer's."""
    made = session(3, welcome=None if isinstance(frame, frames.Welcome) else frames.Welcome(0))
    made.connected(0, 0)
    with pytest.raises(RemoteProtocolError):
        receive(made, frame)


def test_frames_keep_to_the_relays_limits() -> None:
    """Bytes as well as events; an event larger than a frame goes alone."""
    made = session(welcome=frames.Welcome(0, frame_bytes=2_000))
    big = codec.encode({"n": 0, "pad": "x" * 900})
    huge = codec.encode({"n": 1, "pad": "x" * 5_000})
    for raw in (big, big, big, huge, big):
        made.add(raw)
    sizes: list[int] = []
    seqs: list[int] = []
    while (data := made.next_batch()) is not None:
        sizes.append(len(data))
        seqs.append(BINARY.producer_frame(data).first_seq)  # type: ignore[union-attr]
    assert seqs == [1, 3, 4, 5] and all(size <= 2_000 for size in sizes[:2])


def test_enough_in_flight_pauses_and_an_ack_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that does not acknowledge is not buried."""
    monkeypatch.setattr(limits, "IN_FLIGHT_BYTES", 3 * len(event(1)))
    made = session(9, welcome=frames.Welcome(0, frame_events=1))
    assert [seq for seq, _ in sent(made)] == [1, 2, 3]
    assert not made.can_send
    receive(made, frames.Ack(2))
    assert [seq for seq, _ in sent(made)] == [4, 5]
    made.disconnected()
    made.connected(0, 0)
    receive(made, frames.Welcome(2, frame_events=1))
    assert [seq for seq, _ in sent(made)] == [3, 4, 5]


@pytest.mark.parametrize(
    ("events", "frame_bytes"), [(-1, -1), (-(2**63), 1), (1, 0), (0, -(2**63))]
)
def test_a_relays_odd_limits_still_let_events_through(events: int, frame_bytes: int) -> None:
    """No empty batches without end."""
    made = session(3, welcome=frames.Welcome(0, "", frame_bytes, events))
    batches = [made.next_batch() for _ in range(5)]
    assert batches[-1] is None and batches[0] is not None
    assert made.next_batch() is None
    receive(made, frames.Ack(3))
    assert made.unacknowledged == 0


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf, -1.0, 1e-9, 1e9])
def test_a_relays_odd_times_are_bounded(said: float) -> None:
    """Neither a flood of heartbeats nor a pause for ever."""
    made = session(1)
    made.connected(0, 0)
    welcomed = receive(made, frames.Welcome(0, heartbeat_s=said))[-1]
    assert isinstance(welcomed, Welcomed) and 0.1 <= welcomed.heartbeat_s <= 60
    (throttled,) = receive(made, frames.Throttle(said))
    assert isinstance(throttled, Throttled) and 0 <= throttled.pause_s <= 60


def test_the_relays_other_words() -> None:
    """Throttle, inspect and errors."""
    made = session(1, welcome=frames.Welcome(0))
    assert receive(made, frames.Throttle(0.5)) == [Throttled(0.5)]
    assert receive(made, frames.Inspect("b" * 16)) == []
    assert receive(made, frames.Error("no", "full")) == [Refused("full", "no")]
    assert receive(made, frames.Error("no", new_identity=True)) == [IdentityTaken()]


def test_heartbeat_and_bye_count_what_was_admitted() -> None:
    """Numbered and still queued."""
    made = session(3)
    assert BINARY.producer_frame(made.heartbeat(2, 7, 8)) == frames.Heartbeat(5, 7, 8)
    assert BINARY.producer_frame(made.bye()) == frames.Bye(3)


def test_a_new_identity_numbers_what_is_left_from_one() -> None:
    """In the old order."""
    made = session(5, welcome=frames.Welcome(0, frame_events=2))
    sent(made)
    receive(made, frames.Ack(2))
    made.rename("q", "other")
    hello = hello_of(made.connected(0, 0))
    assert (hello.producer_id, hello.nonce, hello.first_seq) == ("q", "other", 1)
    assert made.producer_id == "q" and made.last_seq == 3
    receive(made, frames.Welcome(0))
    assert sent(made) == [(1, [3, 4, 5])] and made.add(event(6)) == 4


def test_it_begins_where_its_hello_says() -> None:
    """What precedes it is stored: the events of a spool that was delivered in part."""
    made = ProducerSession(frames.Hello("p", "nonce", 8))
    assert (made.last_seq, made.acked, made.add(event(8))) == (7, 7, 8)
    hello = hello_of(made.connected(1, 2, frames.LEFT))
    assert (hello.first_seq, hello.spool) == (8, "left")
    receive(made, frames.Welcome(7))
    assert sent(made) == [(8, [8])]
    assert BINARY.producer_frame(made.bye(lost=True)) == frames.Bye(8, lost=True)


def test_there_is_room_for_what_can_be_sent_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that keeps the rest itself is not emptied into memory."""
    monkeypatch.setattr(limits, "IN_FLIGHT_BYTES", 1_000)
    made, added = session(welcome=frames.Welcome(0)), 0
    while made.has_room:
        added = made.add(event(added + 1))
    assert 2_000 <= made.kept_bytes < 2_000 + 200
    receive(made, frames.Ack(added // 2))
    assert made.has_room


@pytest.mark.parametrize("word", ["welcome", "ack"])
def test_a_relay_may_have_more_of_what_was_left(word: str) -> None:
    """Of a spool, events are added as there is room; an earlier delivery may have got further."""
    made = ProducerSession(frames.Hello("p", "nonce", 3), left=True)
    made.add(event(3))
    made.connected(0, 0)
    signals = receive(made, frames.Welcome(9) if word == "welcome" else frames.Ack(9))
    size = len(event(3)) + limits.EVENT_OVERHEAD
    assert signals[0] == Acknowledged(9, size)
    assert (made.acked, made.last_seq, made.kept_bytes) == (9, 9, 0)
    receive(made, frames.Welcome(9))
    assert made.add(event(10)) == 10 and sent(made) == [(10, [10])]


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("send"), st.integers(1, 3)),
        st.tuples(st.just("ack"), st.integers(0, 9)),
        st.tuples(st.just("nack"), st.integers(0, 9)),
        st.tuples(st.just("reconnect"), st.integers(0, 9)),
    ),
    max_size=40,
)


@given(ACTS)
def test_whatever_the_relay_says_batches_go_on_from_what_is_not_stored(
    acts: list[tuple[str, int]],
) -> None:
    """After any history, what is sent next are consecutive events, each with its own number."""
    made = session(welcome=frames.Welcome(0, frame_events=2))
    added = acked = following = 0
    for act, amount in acts:
        if act == "add":
            for _ in range(amount):
                added += 1
                assert made.add(event(added)) == added
        elif act == "send":
            for _ in range(amount):
                data = made.next_batch()
                assert (data is None) == (following == added)
                if data is not None:
                    frame = BINARY.producer_frame(data)
                    assert isinstance(frame, frames.Batch) and frame.first_seq == following + 1
                    for raw in codec.split_array(frame.events):
                        following += 1
                        assert bytes(raw) == event(following)
        elif act == "ack":
            upto = min(amount, added)
            receive(made, frames.Ack(upto))
            acked = max(acked, upto)
            following = max(following, acked)
        elif act == "nack":
            receive(made, frames.Nack(min(amount, added) + 1))
            following = acked
        else:
            made.disconnected()
            assert hello_of(made.connected(0, 0)).first_seq == acked + 1
            acked = following = max(acked, min(amount, added))
            receive(made, frames.Welcome(acked, frame_events=2))
        assert made.acked == acked
        kept = sum(len(event(n)) + limits.EVENT_OVERHEAD for n in range(acked + 1, added + 1))
        assert made.kept_bytes == kept and made.unacknowledged == added - acked
