"""What a line of the list shows beside figures: the question, and a tiny waterfall."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from support.generate import told
from support.trees import TRACE, Told, grow

from lumina_stream.model.events import ProducerLost, SpanEnded, SpanStarted
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.wire import BINARY, JSON
from lumina_stream.relay.glimpse import BARS, PREVIEW_LENGTH, bars, preview
from lumina_stream.relay.summaries import summarise

BASE = 1_790_000_000_000_000_000
ROOT = "f" * 16


def span(number: int) -> str:
    return f"{number:016x}"


def asked(**attributes: Any) -> str:
    tree = TraceTree(TRACE)
    tree.apply(SpanStarted(TRACE, ROOT, BASE, "root", attributes=attributes), "p", 1)
    tree.apply(SpanStarted(TRACE, span(1), BASE, "c", ROOT, None, {"query": "inner"}), "p", 2)
    return preview(tree)


def text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


CHAT = [
    {"role": "system", "parts": [text("be brief")]},
    {"role": "user", "parts": [text("first")]},
    {"role": "user", "parts": [{"type": "uri", "uri": "x"}, text("why?"), {"type": "blob"}]},
    {"role": "assistant", "parts": [text("because")]},
]


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({"gen_ai.input.messages": CHAT, "query": "other"}, "why?"),
        ({"gen_ai.input.messages": json.dumps(CHAT)}, "why?"),
        ({"gen_ai.input.messages": [{"role": "user", "content": "old style"}]}, "old style"),
        (
            {
                "gen_ai.input.messages": [
                    {"role": "user", "content": [{"type": "text", "text": "t"}]}
                ]
            },
            "t",
        ),
        ({"gen_ai.input.messages": "[{", "question": "what?"}, "what?"),
        ({"gen_ai.input.messages": CHAT[:1], "question": "what?"}, "what?"),
        ({"gen_ai.input.messages": [1, None, {"role": "user", "parts": [{}]}]}, ""),
        ({"input.value": "{}", "user_query": "q"}, "{}"),
        ({"user_query": "", "prompt": "p"}, "p"),
        ({"question": "b", "query": "a"}, "a"),
        ({"input": {"n": [1]}}, '{"n":[1]}'),
        ({"input": []}, ""),
        ({"input": 5}, "5"),
        ({"input": None}, ""),
        ({"output": "o"}, ""),
        ({}, ""),
        ({"query": "  two\n\tlines  "}, "two lines"),
        ({"query": "x" * 9_000}, "x" * PREVIEW_LENGTH),
        ({"query": "é\u202e<script>" * 900}, ("é\u202e<script>" * 900)[:PREVIEW_LENGTH]),
    ],
)
def test_a_preview_is_the_roots_question(attributes: dict[str, Any], shown: str) -> None:
    """In the order of who is most likely to mean it; never a child's, never long."""
    assert asked(**attributes) == shown


def test_a_huge_message_list_is_not_parsed() -> None:
    """It is drawn ten times a second."""
    huge = json.dumps([{"role": "user", "content": "x" * 20_000}])
    assert asked(**{"gen_ai.input.messages": huge, "query": "q"}) == "q"


class Grown:
    def __init__(self) -> None:
        self.tree = TraceTree(TRACE)
        self.seq = 0
        self.span(ROOT, 0, 1_000)

    def span(
        self,
        span_id: str,
        start: int,
        end: int | None,
        parent: str | None = None,
        status: str = "ok",
        kind: str | None = "tool",
        producer: str = "p",
    ) -> None:
        self.seq += 2
        parent = None if span_id == ROOT else parent or ROOT
        self.tree.apply(
            SpanStarted(TRACE, span_id, BASE + start, "s", parent, kind), producer, self.seq
        )
        if end is not None:
            self.tree.apply(SpanEnded(TRACE, span_id, BASE + end, status), producer, self.seq + 1)  # type: ignore[arg-type]

    def bars(self, end: int = 1_000) -> list[tuple[int, int, str | None, str]]:
        return list(bars(self.tree, BASE, BASE + end))


def test_bars_stand_where_the_spans_do() -> None:
    """In thousandths, rounded outwards, in start order, with kind and state."""
    grown = Grown()
    grown.span(span(3), 500, 1_000, status="error", kind="llm")
    grown.span(span(1), 0, 250)
    grown.span(span(2), 250, 500, kind=None)
    assert grown.bars() == [
        (0, 250, "tool", "ok"),
        (250, 250, None, "ok"),
        (500, 500, "llm", "error"),
    ]
    assert grown.bars(3_000) == [
        (0, 84, "tool", "ok"),
        (83, 84, None, "ok"),
        (166, 168, "llm", "error"),
    ]


def test_open_lost_and_strange_spans() -> None:
    """One that runs has no length; a lost one reaches to its last sign of life; nothing leaves the line."""
    grown = Grown()
    grown.span(span(1), 100, None)
    grown.span(span(2), 200, None, producer="gone")
    grown.span(span(3), 900, 5_000)
    grown.span(span(4), -500, -100)
    grown.span(span(5), 700, 600)
    grown.span(span(6), 300, 400, parent=span(99))  # below a span that never started
    grown.tree.apply(ProducerLost(BASE + 900, "gone", 1, BASE + 600), "relay", 1)
    assert grown.bars() == [
        (0, 0, "tool", "ok"),
        (100, -1, "tool", "running"),
        (200, 400, "tool", "interrupted"),
        (700, 0, "tool", "ok"),
        (900, 100, "tool", "ok"),
    ]


def test_what_starts_after_the_end_stands_at_it() -> None:
    """Clocks differ."""
    grown = Grown()
    grown.span(span(1), 900, 950)
    assert grown.bars(500) == [(1_000, 0, "tool", "ok")]


def test_an_open_span_is_as_long_as_it_runs() -> None:
    """It said nothing since its start, and is among the longest all the same."""
    grown = Grown()
    grown.span(span(99), 10, None)
    for number in range(1, 41):
        grown.span(span(number), 100, 200 + number)
    assert grown.bars()[0] == (10, -1, "tool", "running")


def test_of_few_children_their_own_are_drawn_too() -> None:
    """A trace is often one span in another; of five children the inner life is not shown."""
    grown = Grown()
    grown.span(span(1), 0, 1_000, kind="agent")
    grown.span(span(2), 100, 200, parent=span(1))
    grown.span(span(3), 100, 150, parent=span(2), kind="llm")
    assert [bar[2] for bar in grown.bars()] == ["agent", "tool"]
    for number in range(10, 14):
        grown.span(span(number), 900, 950)
    assert [bar[0] for bar in grown.bars()] == [0, 900, 900, 900, 900]


def test_the_longest_of_many() -> None:
    """Sixteen of however many, longest first, and as many looked at as a bounded line is worth."""
    grown = Grown()
    for number in range(1, 41):
        grown.span(span(number), number, number + number * 10)
    assert [start for start, *_ in grown.bars()] == list(range(25, 41))
    for number in range(100, 10_100):
        grown.span(span(number), 500, 501)
    drawn = grown.bars()
    assert len(drawn) == BARS
    assert drawn == sorted(drawn, key=lambda bar: bar[0])
    # The first and the last of them are among those that were looked at.
    assert (1, 10, "tool", "ok") in drawn
    grown.span(span(99), 990, 1_000)
    assert grown.bars()[-1] == (990, 10, "tool", "ok")


def test_a_long_kind_is_none() -> None:
    """A line of the list has no room for what somebody put there."""
    grown = Grown()
    grown.span(span(1), 0, 10, kind="k" * 100)
    assert grown.bars() == [(0, 10, None, "ok")]


@given(told(max_size=40))
def test_any_trace_has_a_line(facts: list[Told]) -> None:
    """Whatever was told: within the line, in order, and both encodings carry it."""
    tree = grow(facts)
    summary = summarise(tree)
    assert len(summary.bars) <= BARS
    starts = [left for left, *_ in summary.bars]
    assert starts == sorted(starts)
    for left, length, _, state in summary.bars:
        assert 0 <= left <= 1_000
        assert length == -1 or 0 <= left + length <= 1_000
        assert (length == -1) == (state == "running")
    from lumina_stream.protocol import frames

    for wire in (BINARY, JSON):
        frame = frames.Summaries(1, (summary,))
        assert wire.relay_to_consumer(wire.encode(frame)) == frame


def test_the_line_of_a_running_trace_reaches_to_its_last_sign_of_life() -> None:
    """The screen lets it grow from there."""
    tree = TraceTree(TRACE)
    tree.apply(SpanStarted(TRACE, ROOT, BASE, "root"), "p", 1)
    tree.apply(SpanStarted(TRACE, span(1), BASE + 100, "a", ROOT), "p", 2)
    tree.apply(SpanEnded(TRACE, span(1), BASE + 300), "p", 3)
    tree.apply(SpanStarted(TRACE, span(2), BASE + 400, "b", ROOT), "p", 4)
    summary = summarise(tree)
    assert (summary.last_ns, summary.duration_ns) == (BASE + 400, None)
    assert summary.bars == ((250, 500, None, "ok"), (1_000, -1, None, "running"))
