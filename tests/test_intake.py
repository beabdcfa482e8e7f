"""The relay's side of producers."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.protocol import frames
from lumina_stream.protocol.intake import (
    Accepted,
    Action,
    Alive,
    Closed,
    Ended,
    Identity,
    Intake,
    Met,
    Missing,
    ProducerPeer,
    Reply,
)


def hello(first_seq: int = 1, nonce: str = "n", producer_id: str = "p") -> frames.Hello:
    return frames.Hello(producer_id, nonce, first_seq, pid=1)


def batch(first_seq: int, count: int) -> frames.Batch:
    events = [codec.encode({"n": n}) for n in range(first_seq, first_seq + count)]
    return frames.Batch(first_seq, msgspec.Raw(codec.join_array(events)))


def feed(peer: ProducerPeer, frame: frames.ProducerFrame) -> list[Action]:
    return peer.receive(codec.encode(frame))


def greeted(intake: Intake, first_seq: int = 1, nonce: str = "n") -> ProducerPeer:
    peer = intake.peer()
    feed(peer, hello(first_seq, nonce))
    return peer


def numbers(accepted: Action) -> list[int]:
    assert isinstance(accepted, Accepted)
    found = [msgspec.msgpack.decode(raw)["n"] for raw in codec.split_array(accepted.events)]
    assert len(found) == accepted.count and found[0] == accepted.first_seq
    return found


def test_a_new_producer_is_met_and_welcomed() -> None:
    """With the last seq stored, and what the relay takes."""
    intake = Intake({"old": 7}, relay_id="r", heartbeat_s=3.0)
    welcome = frames.Welcome(0, "r", limits.FRAME_BYTES, limits.FRAME_EVENTS, 3.0)
    assert feed(intake.peer(), hello()) == [Met(hello(), False), Reply(welcome)]
    known = hello(8, producer_id="old")
    assert feed(intake.peer(), known) == [
        Met(known, True),
        Reply(msgspec.structs.replace(welcome, last_seq=7)),
    ]
    assert intake.is_connected("p") and not intake.is_connected("q") and intake.last_seq("old") == 7


def test_events_are_accepted_once_and_acknowledged_after_the_commit() -> None:
    """A resent batch is answered with what is stored, for ever."""
    intake = Intake({})
    peer = greeted(intake)
    assert numbers(feed(peer, batch(1, 3))[0]) == [1, 2, 3]
    assert feed(peer, batch(1, 3)) == [Reply(frames.Ack(0))]
    assert intake.committed("p", 3) == (peer, frames.Ack(3))
    assert feed(peer, batch(1, 3)) == [Reply(frames.Ack(3))]
    assert numbers(feed(peer, batch(2, 4))[0]) == [4, 5]
    assert intake.last_seq("p") == 3 and intake.committed("q", 1) is None


def test_a_gap_is_not_accepted() -> None:
    """The producer goes back."""
    peer = greeted(Intake({}))
    assert feed(peer, batch(3, 2)) == [Reply(frames.Nack(1))]
    assert feed(peer, batch(1, 0)) == [Reply(frames.Ack(0))]


def test_a_failed_commit_makes_the_producer_send_again() -> None:
    """What follows in flight is a gap until it does."""
    intake = Intake({"p": 2})
    peer = greeted(intake, 3)
    feed(peer, batch(3, 2))
    feed(peer, batch(5, 2))
    assert intake.failed("p") == (peer, frames.Nack(3)) and intake.failed("q") is None
    assert feed(peer, batch(7, 1)) == [Reply(frames.Nack(3))]
    assert numbers(feed(peer, batch(3, 5))[0]) == [3, 4, 5, 6, 7]


def test_what_the_producer_no_longer_has_is_given_up_once() -> None:
    """No endless rewind: neither after a failed commit, nor after a reconnect."""
    intake = Intake({"p": 2})
    peer = intake.peer()
    actions = feed(peer, hello(6))
    assert actions[1] == Missing("p", 3, 3)
    assert numbers(feed(peer, batch(6, 2))[0]) == [6, 7]
    assert intake.failed("p") == (peer, frames.Nack(6))
    again = intake.peer()
    assert [type(action) for action in feed(again, hello(6))] == [Met, Reply]
    assert numbers(feed(again, batch(6, 2))[0]) == [6, 7]
    assert intake.committed("p", 7) == (again, frames.Ack(7))
    assert intake.failed("p") == (again, frames.Nack(8))


def test_a_newer_connection_supersedes_the_older() -> None:
    """What the older one brought stays accepted; its end does not disconnect the newer."""
    intake = Intake({})
    old = greeted(intake)
    feed(old, batch(1, 3))
    new = greeted(intake)
    assert old.superseded and not new.superseded
    assert feed(old, batch(4, 1)) == [Closed(4002, "superseded")]
    old.disconnected()
    assert intake.is_connected("p")
    assert intake.committed("p", 3) == (new, frames.Ack(3))
    assert numbers(feed(new, batch(1, 4))[0]) == [4]
    new.disconnected()
    assert not intake.is_connected("p")
    assert intake.committed("p", 4) is None and intake.failed("p") is None


@pytest.mark.parametrize("restarted", [False, True])
def test_another_incarnation_is_told_to_take_a_new_id(restarted: bool) -> None:
    """Also after the relay's own restart; the first one is not disturbed."""
    intake = Intake({"p": 5}, {"p": Identity("n", 1, 0, "", 0)}) if restarted else Intake({})
    first = greeted(intake, 6 if restarted else 1)
    clone = intake.peer()
    (closed,) = feed(clone, hello(nonce="other"))
    assert isinstance(closed, Closed) and closed.code == 4001
    assert closed.frame is not None and closed.frame.new_identity
    with pytest.raises(RemoteProtocolError):
        feed(clone, batch(1, 1))
    clone.disconnected()
    assert intake.is_connected("p") and not first.superseded


def test_heartbeat_and_bye() -> None:
    """A bye that comes too early asks for the rest first."""
    intake = Intake({})
    peer = greeted(intake)
    assert feed(peer, frames.Heartbeat(9, 5, 6)) == [Alive("p", 9, 5)]
    assert feed(peer, frames.Bye(2)) == [Reply(frames.Nack(1))] and not peer.ended
    feed(peer, batch(1, 2))
    assert feed(peer, frames.Bye(2)) == [Ended("p", 2)] and peer.ended


@pytest.mark.parametrize(
    "frame",
    [
        frames.Hello("", "n", 1),
        frames.Hello("p" * 1_000, "n", 1),
        frames.Hello("p", "n", 0),
        frames.Hello("p", "n", 2**63 - 1),
        batch(1, 1),
        frames.Heartbeat(1),
        frames.Bye(0),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_what_is_not_allowed_first(frame: frames.ProducerFrame) -> None:
    """Ids and numbers that nothing could store, and anything before the hello."""
    with pytest.raises(RemoteProtocolError):
        feed(Intake({}).peer(), frame)


@pytest.mark.parametrize(
    "frame",
    [
        hello(),
        batch(0, 1),
        batch(-5, 1),
        batch(1, limits.FRAME_EVENTS + 1),
        frames.Batch(1, msgspec.Raw(b"\x80")),
        frames.Batch(1, msgspec.Raw(b"\xc0")),
    ],
    ids=["second hello", "seq 0", "seq -5", "too many", "a map", "nil"],
)
def test_what_is_not_allowed_later(frame: frames.ProducerFrame) -> None:
    """A second hello, seqs below one, batches that are none."""
    with pytest.raises(RemoteProtocolError):
        feed(greeted(Intake({})), frame)


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), st.integers(1, 12), st.integers(0, 4)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("fail"), st.just(0), st.just(0)),
        st.tuples(st.just("connect"), st.integers(1, 12), st.just(0)),
    ),
    max_size=40,
)


@given(ACTS)
def test_whatever_is_sent_the_log_is_dense(acts: list[tuple[str, int, int]]) -> None:
    """Each seq once, in order, with what the producer numbered so; holes are reported, once."""
    intake = Intake({})
    peer = greeted(intake)
    log: list[int] = []
    pending: list[int] = []
    given_up: set[int] = set()
    for act, at, count in acts:
        if act == "batch":
            (action,) = feed(peer, batch(at, count))
            if isinstance(action, Accepted):
                pending += numbers(action)
            else:
                assert isinstance(action, Reply)
        elif act == "commit" and pending:
            log += pending
            pending.clear()
            assert intake.committed("p", log[-1]) == (peer, frames.Ack(log[-1]))
        elif act == "fail":
            pending.clear()
            intake.failed("p")
        elif act == "connect":
            peer = intake.peer()
            for action in feed(peer, hello(at)):
                if isinstance(action, Missing):
                    lost = set(range(action.first_seq, action.first_seq + action.count))
                    assert not lost & given_up and lost.isdisjoint(log)
                    given_up |= lost
        assert log == sorted(set(log))
        assert set(range(1, max(log, default=0) + 1)) == set(log) | {
            seq for seq in given_up if seq < max(log, default=0)
        }
