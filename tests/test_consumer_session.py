"""The consumer's cursor, and whether a relay can go on from it."""

import msgspec
import pytest

from lumina_stream.model import codec
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.model.events import AttributeSet, Fact
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import (
    ConsumerSession,
    Facts,
    Refused,
    Restarted,
    Resumed,
    Span,
    can_resume,
)
from lumina_stream.protocol.wire import BINARY, JSON

EVENT = AttributeSet("a" * 32, "b" * 16, 1, "k", "v")
RAW = msgspec.Raw(codec.encode(EVENT))
EVENTS = frames.Subscribe()


def batch(*offsets: int, upto: int | None = None, raw: msgspec.Raw = RAW) -> frames.FactBatch:
    facts = tuple(frames.WireFact(offset, offset, raw) for offset in offsets)
    return frames.FactBatch(max(offsets) if upto is None else upto, "p", "api", facts)


def feed(session: ConsumerSession, *said: frames.RelayToConsumer) -> list[object]:
    return [update for frame in said for update in session.receive(codec.encode(frame))]


def cursor_sent(session: ConsumerSession) -> frames.Cursor | None:
    return BINARY.subscribe(session.subscribe()).cursor


def offsets(updates: list[object]) -> list[int]:
    return [f.offset for update in updates if isinstance(update, Facts) for f in update.facts]


def test_a_first_connection_brings_a_snapshot_and_then_facts() -> None:
    """The cursor is there once the snapshot is complete."""
    session = ConsumerSession(EVENTS)
    assert cursor_sent(session) is None
    assert feed(session, frames.Subscribed(False, "e", 5)) == [Restarted()]
    assert session.cursor is None
    piece = frames.Snapshot(5, "a" * 32)
    assert feed(session, piece) == [piece] and cursor_sent(session) is None
    feed(session, frames.Snapshot(5, done=True))
    assert cursor_sent(session) == frames.Cursor("e", 5)
    assert feed(session, batch(6, 7)) == [
        Facts((Fact(6, "p", 6, "api", EVENT), Fact(7, "p", 7, "api", EVENT)))
    ]
    assert cursor_sent(session) == frames.Cursor("e", 7) and session.offset == 7


def test_a_connection_that_ends_before_its_snapshot_asks_for_one_again() -> None:
    """A cursor at that moment would skip all that the snapshot was to bring."""
    for said in ([], [frames.Snapshot(5)], [frames.Progress(9)], [batch(6)]):
        session = ConsumerSession(EVENTS)
        feed(session, frames.Subscribed(False, "e", 5), *said)
        assert cursor_sent(session) is None


@pytest.mark.parametrize(
    "asked",
    [frames.Subscribe(snapshot=False), frames.Subscribe("traces"), frames.Subscribe("running")],
)
def test_a_view_without_a_snapshot_can_resume_at_once(asked: frames.Subscribe) -> None:
    """Nothing comes before what comes next."""
    session = ConsumerSession(asked)
    feed(session, frames.Subscribed(False, "e", 5))
    assert cursor_sent(session) == frames.Cursor("e", 5)


def test_a_resumed_connection_goes_on_where_it_was() -> None:
    """What is sent again is dropped; nothing is skipped, whatever offset the relay names."""
    session = ConsumerSession(EVENTS)
    feed(session, frames.Subscribed(False, "e", 5), frames.Snapshot(5, done=True), batch(6, 7))
    session.subscribe()
    assert feed(session, frames.Subscribed(True, "e2", 9)) == [Resumed()]
    assert offsets(feed(session, batch(6, 7, 8), batch(9))) == [8, 9]
    assert session.cursor == frames.Cursor("e2", 9)


def test_a_relay_that_starts_over_may_be_behind() -> None:
    """Its log was restored from a backup."""
    session = ConsumerSession(EVENTS)
    feed(session, frames.Subscribed(False, "e", 50), frames.Snapshot(50, done=True))
    assert feed(session, frames.Subscribed(False, "f", 3, 77)) == [Restarted(77)]
    assert offsets(feed(session, frames.Snapshot(3, done=True), batch(4))) == [4]


def test_a_skip_forgets_the_cursor_until_its_snapshot_is_there() -> None:
    """Too slow: the view starts over."""
    session = ConsumerSession(EVENTS)
    feed(session, frames.Subscribed(False, "e", 5), frames.Snapshot(5, done=True))
    skip = frames.Skip(5, 90)
    assert feed(session, skip) == [skip, Restarted()]
    assert session.cursor is None
    feed(session, frames.Snapshot(92, done=True))
    assert session.cursor == frames.Cursor("e", 92)
    assert offsets(feed(session, batch(92, 93))) == [93]


def test_quiet_frames_move_the_cursor_too() -> None:
    """A filter that selects little must not keep the cursor behind."""
    session = ConsumerSession(frames.Subscribe("traces"))
    feed(session, frames.Subscribed(False, "e", 5))
    for offset, frame in enumerate(
        (
            frames.Progress(6),
            frames.Summaries(7, ()),
            frames.Running(8, (), 0),
            frames.Removed(9, ()),
        ),
        6,
    ):
        assert feed(session, frame) == [frame]
        assert session.offset == offset
    feed(session, frames.Progress(2))
    assert session.offset == 9
    assert feed(session, batch(5, upto=12)) == [] and session.offset == 12


def test_an_event_that_cannot_be_read_is_counted() -> None:
    """The others arrive, and the cursor passes it."""
    session = ConsumerSession(EVENTS)
    bad = msgspec.Raw(codec.encode({"type": "attribute_set"}))
    assert feed(session, frames.Subscribed(False, "e", 0), batch(1, raw=bad)) == [Restarted()]
    assert session.undecodable == 1 and session.offset == 1


@pytest.mark.parametrize(
    "frame",
    [frames.Snapshot(1), batch(1), frames.Skip(0, 1), frames.Progress(1), frames.Removed(1, ())],
    ids=lambda frame: type(frame).__name__,
)
def test_the_first_frame_must_be_subscribed(frame: frames.RelayToConsumer) -> None:
    """Or be an error."""
    session = ConsumerSession(EVENTS)
    with pytest.raises(RemoteProtocolError):
        feed(session, frame)
    assert feed(session, frames.Error("no", "auth")) == [Refused("auth", "no")]


def test_the_json_encoding_keeps_the_same_cursor() -> None:
    """One machine for both."""
    session = ConsumerSession(EVENTS, JSON)
    said = [frames.Subscribed(False, "e", 0), frames.Snapshot(0, done=True), batch(1)]
    updates = [u for frame in said for u in session.receive(JSON.encode(frame))]
    assert isinstance(updates[-1], Facts) and updates[-1].facts[0].event == EVENT
    assert JSON.subscribe(session.subscribe()).cursor == frames.Cursor("e", 1)


EPOCHS = [Span("a", 1, 10), Span("b", 11, 10), Span("c", 11, 20)]


@pytest.mark.parametrize(
    ("cursor", "oldest", "expected"),
    [
        (("a", 10), 1, True),
        (("a", 11), 1, False),  # this epoch ended before: the log was rolled back
        (("a", 0), 1, True),
        (("a", 3), 5, False),  # removed by retention
        (("a", 4), 5, True),
        (("b", 10), 1, True),  # nothing was written in it
        (("b", 11), 1, False),
        (("c", 20), 1, True),
        (("c", 5), 1, True),  # learned in this epoch, while catching up on older ones
        (("c", 21), 1, False),
        (("z", 5), 1, False),  # the backup never knew it
        (("c", -1), 1, False),
    ],
)
def test_a_cursor_is_good_where_its_epoch_knows_it(
    cursor: tuple[str, int], oldest: int, expected: bool
) -> None:
    """Else the consumer starts over."""
    assert can_resume(frames.Cursor(*cursor), EPOCHS, oldest) is expected
