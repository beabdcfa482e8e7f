"""Traces as lines: starts, ends, failures and interruptions, in order."""

import re

from lumina_stream.model.events import (
    AttributeSet,
    ErrorInfo,
    Event,
    EventAdded,
    EventsLost,
    Fact,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
)
from lumina_stream.model.live import LiveTraces, Update
from lumina_stream.viewing.lines import LineWriter
from lumina_stream.viewing.rows import text_of

S = 10**9
T0 = 1_700_000_000 * S
TRACE = "ab" * 16


class Lines:
    """Feed events, get lines without their time of day."""

    def __init__(self) -> None:
        self.live = LiveTraces()
        self.writer = LineWriter()
        self.seq = 0

    def __call__(self, *events: Event, producer: str = "p1") -> list[str]:
        facts: list[Fact] = []
        for event in events:
            self.seq += 1
            facts.append(Fact(self.seq, producer, self.seq, "", event))
        update = self.live.apply(facts)
        lines = map(text_of, self.writer.take(update, self.live.traces))
        return [re.sub(r"^\d\d:\d\d:\d\d(\.\d+)? ", "", line) for line in lines]


def started(span_id: str, parent: str | None, name: str, at: float) -> SpanStarted:
    return SpanStarted(TRACE, span_id, T0 + int(at * S), name, parent)


def test_starts_and_ends() -> None:
    """One line each, indented by depth, in the order of their times."""
    lines = Lines()
    assert lines(ProducerStarted(T0, "p1", "rag-app")) == []
    assert lines(started("r", None, "request", 0)) == [f"ababab  + request  [rag-app]  {TRACE}"]
    error = ErrorInfo("x.Boom", "bad \x1b]0;title\x07\nsecond line")
    assert lines(
        started("a", "r", "call\x1b[2J", 1),
        SpanEnded(TRACE, "a", T0 + 2 * S, "error", error),
        SpanEnded(TRACE, "r", T0 + 2 * S),
    ) == [
        "ababab    + call\\x1b[2J",
        "ababab    x call\\x1b[2J  1.00 s  Boom: bad \\x1b]0;title\\x07",
        "ababab  - request  2.00 s",
    ]


def test_events_of_spans() -> None:
    """One line each, where they happened, their attributes short; nothing of them acts."""
    lines = Lines()
    lines(started("r", None, "request", 0), started("a", "r", "retrieve", 1))
    event = EventAdded(TRACE, "a", T0 + 2 * S, "found\x1b", {"count": 8, "text": "x\ny" * 90})
    assert lines(event, SpanEnded(TRACE, "a", T0 + 2 * S)) == [
        "ababab      . found\\x1b  count=8  text=x",
        "ababab    - retrieve  1.00 s",
    ]
    assert lines(AttributeSet(TRACE, "a", T0 + 2 * S, "k", 1)) == []
    (line,) = lines(EventAdded(TRACE, "r", T0 + 3 * S, "long", {"text": "y" * 500}))
    assert line == "ababab    . long  text=" + "y" * 39 + "…"


def test_a_span_without_a_name() -> None:
    """It is called by its id, as in the tree."""
    lines = Lines()
    assert lines(started("0123456789abcdef", None, "", 0)) == [f"ababab  + span 01234567  {TRACE}"]


def test_nothing_is_said_twice() -> None:
    """Attributes and duplicates make no lines."""
    lines = Lines()
    start = started("r", None, "request", 0)
    assert len(lines(start)) == 1
    assert lines(start) == []


def test_interrupted_and_back() -> None:
    """A lost program's spans say so, and that they run on when it returns."""
    lines = Lines()
    lines(started("r", None, "request", 0))
    lost = lines(ProducerLost(T0 + 9 * S, "p1", 1, T0 + 3 * S), producer="relay")
    assert len(lost) == 1
    assert re.fullmatch(
        r"ababab  ! request  3.00 s  interrupted, last seen \d\d:\d\d:\d\d", lost[0]
    )
    back = lines(ProducerReturned(T0 + 10 * S, "p1"), producer="relay")
    assert back == ["ababab  ~ request  runs on: its program is back"]


def test_losses_and_skips() -> None:
    """What is missing has a line of its own."""
    lines = Lines()
    lines(started("r", None, "request", 0))
    assert lines(EventsLost(T0 + S, "queue_full", 5, by_trace={TRACE: 5})) == [
        "ababab  request: 5 events lost"
    ]
    skipped = lines.writer.take(Update(missed=1204), lines.live.traces)
    assert [text_of(line) for line in skipped] == ["... 1,204 events skipped"]


def test_very_deep_spans_stay_on_their_lines() -> None:
    """Past a depth the indentation stands still and says the depth."""
    lines = Lines()
    lines(started("0", None, "level", 0))
    for level in range(1, 60):
        last = lines(started(str(level), str(level - 1), "level", level))
    assert last[0].endswith("[59] + level")
