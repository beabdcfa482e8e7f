"""What a dead program left, delivered: under its own id and seq, once, and ended with the truth."""

import itertools
import mmap

import pytest
from support.spools import all_of, event, fill, left, new_ring

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import ConnectionEnded
from lumina_stream.protocol import frames
from lumina_stream.protocol.intake import Accepted, Ended, Identity, Intake, Met, Reply
from lumina_stream.protocol.redelivery import BYE, Redelivery
from lumina_stream.protocol.wire import BINARY


class Relay:
    """The relay's machine, with a log; what it accepts is stored at once unless told otherwise."""

    def __init__(self, has: int = 0, identities: dict[str, Identity] | None = None) -> None:
        self.stored: dict[str, list[bytes]] = {"producer": [b"?"] * has} if has else {}
        self.intake = Intake({p: len(e) for p, e in self.stored.items()}, identities)
        self.ended: list[Ended] = []
        self.met: list[frames.Hello] = []

    def converse(self, redelivery: Redelivery, most: int = 1_000) -> int | None:
        """Play one connection, cut after `most` messages to the relay; return its close code."""
        peer = self.intake.peer()
        up = [redelivery.connected()]
        for _ in range(most):
            if not up:
                break
            down: list[frames.RelayToProducer] = []
            for action in peer.receive(up.pop(0)):
                match action:
                    case Met(hello):
                        self.met.append(hello)
                    case Reply(frame):
                        down.append(frame)
                    case Accepted(producer_id, first_seq, count, events):
                        log = self.stored.setdefault(producer_id, [])
                        assert first_seq == len(log) + 1
                        log += map(bytes, codec.split_array(events))
                        told = self.intake.committed(producer_id, first_seq + count - 1)
                        down += [] if told is None else [told[1]]
                    case Ended():
                        self.ended.append(action)
                        redelivery.disconnected(BYE)
                        return BYE
                    case other:
                        raise AssertionError(other)
            for frame in down:
                up += redelivery.receive(codec.encode(frame))
        peer.disconnected()
        redelivery.disconnected(None)
        return None


def redelivery_of(memory: mmap.mmap) -> Redelivery:
    names = itertools.count()
    return Redelivery(left(memory), lambda: (f"other{next(names)}", "another nonce"))


def test_everything_comes_under_its_own_seq_and_the_producer_was_lost() -> None:
    ring, memory = new_ring()
    events = fill(ring, 30)
    ring.take(10)
    ring.release(7)
    relay = Relay(has=7)
    redelivery = redelivery_of(memory)
    assert relay.converse(redelivery) == BYE
    assert redelivery.done and redelivery.delivered == 23
    assert relay.stored == {"producer": [b"?"] * 7 + events[7:]}
    assert relay.ended == [Ended("producer", 30, lost=True)]
    (hello,) = relay.met
    assert (hello.spool, hello.nonce, hello.pid) == (frames.LEFT, "nonce", 42)
    assert hello.wall_ns == 30, "when it was last alive, not now"


def test_a_program_that_ended_says_bye() -> None:
    ring, memory = new_ring()
    fill(ring, 3)
    ring.close()
    relay = Relay()
    assert relay.converse(redelivery_of(memory)) == BYE
    assert relay.ended == [Ended("producer", 3, lost=False)]


@pytest.mark.parametrize("has", [0, 5, 29, 30, 33])
def test_what_the_relay_has_already_is_not_sent_again(has: int) -> None:
    """Also when it has more than can be read: the spool lost its end."""
    ring, memory = new_ring()
    events = fill(ring, 30)
    relay = Relay(has=has)
    redelivery = redelivery_of(memory)
    assert relay.converse(redelivery) == BYE and redelivery.done
    assert relay.stored["producer"] == [b"?"] * has + events[has:]
    assert relay.ended == [Ended("producer", max(has, 30), lost=True)]


def test_a_connection_cut_anywhere_is_taken_up_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """With batches of three: by the same process, or by another one that begins again."""
    monkeypatch.setattr(limits, "FRAME_EVENTS", 3)
    ring, memory = new_ring()
    events = fill(ring, 20)
    for again in (True, False):
        for most in range(9):
            relay = Relay()
            redelivery = redelivery_of(memory)
            assert relay.converse(redelivery, most) is None and not redelivery.done
            assert relay.ended == []
            if not again:
                redelivery = redelivery_of(memory)
            assert relay.converse(redelivery) == BYE and redelivery.done
            assert relay.stored["producer"] == events
            assert len(relay.ended) == 1


def test_a_bye_that_was_not_answered_is_said_again() -> None:
    ring, memory = new_ring()
    fill(ring, 2)
    relay = Relay()
    redelivery = redelivery_of(memory)
    relay.converse(redelivery, 2)
    assert redelivery.session.unacknowledged == 0 and not redelivery.done
    assert relay.converse(redelivery) == BYE and redelivery.done


def test_a_large_spool_is_read_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more of it in memory than is on its way."""
    monkeypatch.setattr(limits, "IN_FLIGHT_BYTES", 4_000)
    ring, memory = new_ring()
    events = fill(ring, 150, 200)
    most = 0
    relay = Relay()
    redelivery = redelivery_of(memory)
    receive = redelivery.receive

    def watched(data: bytes | str) -> list[bytes]:
        nonlocal most
        found = receive(data)
        most = max(most, redelivery.session.kept_bytes)
        return found

    monkeypatch.setattr(redelivery, "receive", watched)
    assert relay.converse(redelivery) == BYE
    assert relay.stored["producer"] == events
    assert most < 16_000 < sum(map(len, events))


def test_an_ack_of_what_an_earlier_connection_sent_skips_it() -> None:
    """Its commit ends late: the relay then has more than was read anew."""
    ring, memory = new_ring()
    fill(ring, 30)
    redelivery = redelivery_of(memory)
    redelivery.connected()
    redelivery.receive(codec.encode(frames.Welcome(0)))
    redelivery = redelivery_of(memory)
    redelivery.connected()
    assert redelivery.receive(codec.encode(frames.Ack(12))) == []
    (batch, *_) = redelivery.receive(codec.encode(frames.Welcome(12)))
    frame = BINARY.producer_frame(batch)
    assert isinstance(frame, frames.Batch) and frame.first_seq == 13


def test_another_ones_id_is_left_to_it() -> None:
    """A copied machine: the same spool twice, and the relay knows the id as the other's."""
    ring, memory = new_ring()
    events = fill(ring, 9)
    ring.take(9)
    ring.release(2)
    relay = Relay(identities={}, has=2)
    relay.intake = Intake({"producer": 2}, {"producer": Identity("of the other", 1, 2, "", 0)})
    redelivery = redelivery_of(memory)
    closed = relay.intake.peer().receive(redelivery.connected())
    with pytest.raises(ConnectionEnded):
        redelivery.receive(codec.encode(closed[0].frame))  # type: ignore[union-attr, arg-type]
    redelivery.disconnected(4001)
    assert redelivery.renamed and not redelivery.done
    assert relay.converse(redelivery) == BYE and redelivery.done
    assert relay.stored["other0"] == events[2:]
    assert relay.ended == [Ended("other0", 7, lost=True)] and redelivery.delivered == 7


def test_a_relay_that_refuses_every_id_is_not_asked_for_ever() -> None:
    ring, memory = new_ring()
    fill(ring, 2)
    redelivery = redelivery_of(memory)
    attempts = 0
    while True:
        attempts += 1
        redelivery.connected()
        with pytest.raises(ConnectionEnded):
            redelivery.receive(codec.encode(frames.Error("no", new_identity=True)))
        redelivery.disconnected(4001)
        if not redelivery.renamed:
            break
    assert attempts == 4 and not redelivery.done


@pytest.mark.parametrize(
    "told", [[frames.Throttle(1.0), frames.Nack(1)], [frames.Error("full", "full")]]
)
def test_a_relay_that_takes_nothing_ends_the_attempt(told: list[frames.RelayToProducer]) -> None:
    ring, memory = new_ring()
    fill(ring, 3)
    redelivery = redelivery_of(memory)
    redelivery.connected()
    redelivery.receive(codec.encode(frames.Welcome(0)))
    with pytest.raises(ConnectionEnded):
        for frame in told:
            redelivery.receive(codec.encode(frame))
    redelivery.disconnected(BYE)
    assert not redelivery.done


def test_a_relay_that_is_told_too_much_at_once_gets_the_rest_later() -> None:
    """A pause is waited for; what was stored before it says that it was no refusal."""
    ring, memory = new_ring()
    fill(ring, 3)
    redelivery = redelivery_of(memory)
    redelivery.connected()
    assert redelivery.receive(codec.encode(frames.Welcome(0)))
    assert redelivery.receive(codec.encode(frames.Throttle(0.5))) == []
    assert redelivery.pause_s == 0.5
    assert redelivery.receive(codec.encode(frames.Ack(1))) == []
    assert redelivery.resumed() == [] and redelivery.pause_s == 0
    assert redelivery.receive(codec.encode(frames.Nack(2))), "a gap later on is mended as ever"


def test_damage_is_delivered_as_what_it_is() -> None:
    ring, memory = new_ring()
    events = fill(ring, 9)
    place = memory.find(events[3][-8:], 20_000)
    memory[place] ^= 1
    relay = Relay()
    redelivery = redelivery_of(memory)
    assert relay.converse(redelivery) == BYE
    stored = relay.stored["producer"]
    assert len(stored) == 9 and stored == all_of(left(memory))
    assert [n for n in range(9) if stored[n] != events[n]] == [redelivery.leftover.damaged + 2]


def test_events_are_told_apart() -> None:
    """The tests above compare events: no two are equal."""
    assert len({event(n) for n in range(1, 50)}) == 49
