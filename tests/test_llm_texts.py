"""Streamed text on its way out: coalesced, cut to size, and no pattern gets through in pieces."""

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorded import Recorded

from lumina_stream.llm.texts import Texts, pieces
from lumina_stream.model.codec import decode
from lumina_stream.model.events import TextStreamed
from lumina_stream.model.limits import TEXT_FLUSH_LENGTH, TEXT_FLUSH_S, TEXT_HELD_BACK, TEXT_PIECE
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.queue import EventQueue
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.redaction import (
    API_KEY,
    BEARER,
    CARD,
    EMAIL,
    JWT,
    Redaction,
)

TRACE, SPAN = "a" * 32, "b" * 16
PATTERNS = Redaction(patterns=(EMAIL, BEARER, API_KEY, JWT, CARD))


class Desk:
    """A recorder whose time stands still until it is moved."""

    def __init__(self, redaction: Redaction | None = None, *, queue_bytes: int = 2**26) -> None:
        self.now_ns = 0
        self.queue = EventQueue(queue_bytes)
        self.recorder = Recorder(self.queue, producer_id="p", redaction=redaction or Redaction())
        self.recorder.now = lambda: self.now_ns
        self.texts = Texts(self.recorder, head_of(TRACE, SPAN))

    def later(self, seconds: float = TEXT_FLUSH_S) -> None:
        self.now_ns += int(seconds * 1e9)

    def events(self) -> list[TextStreamed]:
        events = [decode(data) for data in self.queue.events]
        assert all(isinstance(event, TextStreamed) for event in events)
        return events  # type: ignore[return-value]

    def sent(self, channel: str = "output") -> list[str]:
        """Return the texts of a channel; its indexes must be dense."""
        events = [event for event in self.events() if event.channel == channel]
        assert [event.index for event in events] == list(range(len(events)))
        return [event.text for event in events]


def test_the_first_piece_leaves_at_once_and_the_next_ones_together() -> None:
    desk = Desk()
    for text in "abc":
        desk.texts.add("output", text)
    assert desk.sent() == ["a"]
    desk.later()
    desk.texts.add("output", "d")
    assert desk.sent() == ["a", "bcd"]
    desk.texts.add("output", "e")
    desk.texts.flush()
    assert desk.sent() == ["a", "bcd", "e"]
    desk.texts.flush()
    assert desk.sent() == ["a", "bcd", "e"]


def test_much_text_leaves_at_once() -> None:
    desk = Desk()
    desk.texts.add("output", "a")
    desk.texts.add("output", "b" * TEXT_FLUSH_LENGTH)
    assert len(desk.sent()) == 2


def test_channels_are_apart() -> None:
    desk = Desk()
    for channel in ("reasoning", "output", "tool", "input"):
        desk.texts.add(channel, channel)  # type: ignore[arg-type]
    desk.texts.flush()
    for channel in ("reasoning", "output", "tool", "input"):
        assert desk.sent(channel) == [channel]


def test_the_queue_s_reader_takes_what_waits() -> None:
    """A model that falls silent does not keep its last words from the viewer."""
    desk = Desk()
    woken: list[None] = []
    desk.queue.wake = lambda: woken.append(None)
    desk.texts.add("output", "a")
    desk.queue.idle = True
    woken.clear()
    desk.texts.add("output", "b")
    assert woken
    assert desk.queue.waiting == {desk.texts}
    desk.queue.send_due()
    assert desk.sent() == ["a"], "not due yet"
    desk.later()
    desk.queue.send_due()
    assert desk.sent() == ["a", "b"]
    assert not desk.queue.waiting


def test_what_is_over_does_not_wait() -> None:
    desk = Desk()
    desk.texts.add("output", "a")
    desk.texts.add("output", "b")
    desk.texts.flush()
    assert not desk.queue.waiting


def test_text_is_refused_first_and_counted() -> None:
    desk = Desk(queue_bytes=2_000)
    for _ in range(40):
        desk.later()
        desk.texts.add("output", "x" * 20)
    refused = desk.queue.losses.totals["text_streamed"]
    assert refused > 0
    assert len(desk.queue.events) + refused == 40
    assert desk.queue.used <= 1_000


@pytest.mark.parametrize("text", ["x" * 100_000, "ü" * 50_000, "😀" * 30_000, "x" * 9000 + "😀"])
def test_a_piece_fits_an_event(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(len(piece.encode()) <= TEXT_PIECE for piece in pieces(text))


def test_lone_surrogates_are_written_out() -> None:
    desk = Desk()
    desk.texts.add("output", "a\ud800b")
    assert desk.sent() == ["a\\ud800b"]


SECRETS = [
    "someone.with-a.long+name@mail.example-company.com",
    "Bearer abcdefghijklmnopqrstuvwxyz0123456789",
    "Bearer " + "t" * 700,
    "sk-" + "A1b2" * 12,
    "eyJhbGciOiJIUzI1NiJ9." + "p" * 900 + ".c2lnbmF0dXJl",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
]
WORDS = ["the", "answer", "is", "42,", "so:", "(ok)\n", "Bearer", "1234", "é😀", "x" * 90]


@given(
    before=st.lists(st.sampled_from(WORDS), max_size=30),
    secret=st.sampled_from(SECRETS),
    after=st.lists(st.sampled_from(WORDS), max_size=30),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    pauses=st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_no_pattern_gets_through_in_pieces(
    before: list[str], secret: str, after: list[str], sizes: list[int], pauses: list[bool]
) -> None:
    """Cut anywhere, with any pauses: what is sent is the whole text with the secret hidden."""
    whole = " ".join([*before, secret, *after])
    hidden = whole
    for pattern in PATTERNS.patterns:
        hidden = pattern.sub("[redacted]", hidden)
    desk = Desk(PATTERNS)
    start = turn = 0
    while start < len(whole):
        size = sizes[turn % len(sizes)]
        desk.texts.add("output", whole[start : start + size])
        start += size
        if pauses[turn % len(pauses)]:
            desk.later(10)
            desk.queue.send_due()
        turn += 1
    desk.texts.flush()
    assert "".join(desk.sent()) == hidden
    assert secret not in "".join(desk.sent())


def test_only_the_end_is_held_back() -> None:
    desk = Desk(PATTERNS)
    said = ""
    for n in range(200):
        desk.later()
        desk.texts.add("output", f"word{n} ")
        said += f"word{n} "
        assert len(said) - len("".join(desk.sent())) <= TEXT_HELD_BACK + len("wordNNN ")


def test_a_pattern_that_matches_everything_is_bounded() -> None:
    desk = Desk(Redaction(patterns=(re.compile(r"(?s).+"),)))
    for _ in range(40):
        desk.later()
        desk.texts.add("output", "word " * 200)
    desk.texts.flush()
    assert set("".join(desk.sent()).split("[redacted]")) == {""}
    assert len(desk.sent()) >= 2


def test_a_redactor_function_sees_streamed_text() -> None:
    keys: list[str] = []

    def redactor(key: str, value: Any) -> Any:
        keys.append(key)
        return value.upper() if isinstance(value, str) else value

    desk = Desk(Redaction(function=redactor))
    desk.texts.add("output", "secret")
    desk.texts.flush()
    assert desk.sent() == ["SECRET"]
    assert keys == ["@text.output"]


def test_a_redactor_that_raises_hides_the_text() -> None:
    desk = Desk(Redaction(function=lambda key, value: 1 / 0))
    desk.texts.add("output", "secret")
    desk.texts.flush()
    assert desk.sent() == ["[redacted]"]


def test_one_thread_at_a_time_sends() -> None:
    """Else two would take the same index, or send in the wrong order."""
    import threading

    desk = Desk()
    got: list[bool] = []

    def try_to_enter() -> None:
        lock = desk.texts._lock
        got.append(lock.acquire(blocking=False))
        if got[-1]:
            lock.release()

    def from_elsewhere(*_: Any) -> None:
        thread = threading.Thread(target=try_to_enter)
        thread.start()
        thread.join()

    desk.recorder = desk.texts._recorder = _Listening(desk.recorder, from_elsewhere)  # type: ignore[assignment]
    desk.texts.add("output", "a")
    desk.texts.add("output", "b")
    desk.later()
    desk.texts.send_due()
    desk.texts.add("output", "c")
    desk.texts.flush()
    assert got == [False, False, False]


class _Listening:
    """A recorder that calls back where it would record text."""

    def __init__(self, recorder: Recorder, called: Any) -> None:
        self._recorder = recorder
        self.text_streamed = called

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder, name)


def test_threads_lose_and_repeat_nothing(recorded: Recorded) -> None:
    """The queue's reader sends while the program adds."""
    import threading

    texts = Texts(recorded.recorder, head_of(TRACE, SPAN))
    queue = recorded.recorder.queue
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            texts.send_due()
            queue.send_due()

    reader = threading.Thread(target=read)
    reader.start()
    rng = random.Random(1)
    said = ""
    for n in range(3_000):
        text = f"{n}." * rng.randrange(4)
        said += text
        texts.add("output", text)
    stop.set()
    reader.join()
    texts.flush()
    events = [event for event in recorded.poll() if isinstance(event, TextStreamed)]
    assert [event.index for event in events] == list(range(len(events)))
    assert "".join(event.text for event in events) == said
