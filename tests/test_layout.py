"""The live tree: what is shown of many spans, and that it always fits."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumina_stream.model.events import (
    ErrorInfo,
    EventsLost,
    ProducerLost,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.tree import TraceTree
from lumina_stream.viewing.layout import layout
from lumina_stream.viewing.rows import ASCII, STYLES, ansi, text_of
from lumina_stream.viewing.text import cells

S = 10**9
T0 = 1_700_000_000 * S
NOW = T0 + 10 * S
TRACE = "ab" * 16

Spec = tuple[str, str | None, str, float, float | None, str | None]


def tree_of(specs: Iterable[Spec], trace_id: str = TRACE) -> TraceTree:
    """Build a tree from (id, parent, name, start, end, error message); times in seconds."""
    tree = TraceTree(trace_id)
    tree.apply(ProducerStarted(T0, "p1", "rag-app"), "relay", 1)
    seq = 0
    for span_id, parent, name, start, end, error in specs:
        seq += 1
        at = T0 + int(start * S)
        tree.apply(SpanStarted(trace_id, span_id, at, name, parent), "p1", seq)
        if end is not None:
            seq += 1
            at = T0 + int(end * S)
            info = ErrorInfo("app.errors.Boom", error) if error else None
            status = "error" if error else "ok"
            tree.apply(SpanEnded(trace_id, span_id, at, status, info), "p1", seq)
    return tree


def shown(trees: Iterable[TraceTree], width: int = 80, height: int = 24) -> list[str]:
    """Return the lines of a layout as text, checked against the window."""
    lines = layout(trees, NOW, width, height)
    assert len(lines) <= height
    for line in lines:
        assert cells(text_of(line)) <= width
        assert all(segment.style in STYLES for segment in line if segment.style)
    return [text_of(line) for line in lines]


def test_a_small_tree_is_shown_whole() -> None:
    """Names, guides, states and durations, flush right."""
    tree = tree_of(
        [
            ("r", None, "rag_request", 0, None, None),
            ("a", "r", "retrieval", 1, 1.512, None),
            ("b", "r", "synthesis", 2, None, None),
            ("c", "a", "db", 1.1, 1.2, None),
        ]
    )
    assert shown([tree], 50) == [
        "● rag_request  rag-app                      10.0 s",
        "├─ ✓ retrieval                              512 ms",
        "│  └─ ✓ db                                  100 ms",
        "└─ ● synthesis                               8.0 s",
    ]
    assert text_of(layout([tree], NOW, 50, 4, ASCII)[1]).startswith("|- + retrieval ")


def test_errors_say_what_was_raised() -> None:
    """An error's type and first line stand beside its span, in one line whatever it holds."""
    tree = tree_of(
        [("r", None, "root", 0, None, None), ("a", "r", "call", 1, 2, "no\x1b[2J room\nmore")]
    )
    assert "× call  Boom: no\\x1b[2J room  " in shown([tree])[1]
    assert "\x1b[31m" in ansi(layout([tree], NOW, 80, 24)[1])


def test_a_lost_producer_interrupts() -> None:
    """Open spans of a dead program say so and stand still."""
    tree = tree_of([("r", None, "root", 0, None, None)])
    tree.apply(ProducerLost(NOW, "p1", 1, T0 + 3 * S), "relay", 2)
    line = shown([tree])[0]
    assert line.startswith("╳ root  interrupted, last seen ")
    assert line.endswith("3.00 s")


def test_losses_are_on_the_root() -> None:
    """A trace says what is known to be missing, and whether that is all."""
    tree = tree_of([("r", None, "root", 0, None, None)])
    tree.apply(EventsLost(NOW, "queue_full", 37, by_trace={TRACE: 37}, exact=False), "p1", 9)
    assert "at least 37 events lost" in shown([tree])[0]


def test_streamed_text_shows_its_end() -> None:
    """Of a streaming answer the latest words are shown."""
    tree = tree_of([("r", None, "answer", 0, None, None)])
    for index in range(100):
        tree.apply(TextStreamed(TRACE, "r", NOW, "output", index, f"word{index} "), "p1", index + 9)
    assert "word99  " in shown([tree])[0]


def test_siblings_of_one_name_fold() -> None:
    """A thousand spans of one name are one line with their number, what runs and the median."""
    specs: list[Spec] = [("r", None, "root", 0, None, None)]
    for n in range(1000):
        end = 1.12 if n < 188 else None
        specs.append((f"e{n}", "r", "embed", 1, end, None))
    lines = shown([tree_of(specs)])
    assert len(lines) == 2
    assert "embed ×1,000  812 running, p50 120 ms" in lines[1]


def test_errors_are_never_folded() -> None:
    """Failed members leave the fold and stand by themselves, as does one with a failure below it."""
    specs: list[Spec] = [("r", None, "root", 0, None, None)]
    specs += [(f"e{n}", "r", "embed", 1, 2, "bad" if n == 500 else None) for n in range(1000)]
    specs += [("below", "e7", "http", 1, 1.5, "refused")]
    lines = shown([tree_of(specs)])
    assert any("embed ×998" in line for line in lines)
    assert any("embed  Boom: bad" in line for line in lines)
    assert any("http  Boom: refused" in line for line in lines)


def test_errors_that_do_not_fit_are_counted() -> None:
    """When even the errors are too many, the rest of them is a number, not a part of a fold."""
    specs: list[Spec] = [("r", None, "root", 0, None, None)]
    specs += [(f"e{n}", "r", "embed", 1, 2, "bad") for n in range(40)]
    lines = shown([tree_of(specs)], height=5)
    assert all("Boom: bad" in line for line in lines[1:4])
    assert lines[4] == "└─ +37 more, 37 errors"


def test_the_longest_running_come_first() -> None:
    """When not all fits, what has been running longest is there, and the rest is counted."""
    specs: list[Spec] = [("r", None, "root", 0, None, None)]
    specs += [
        (f"s{n}", "r", f"step {n}", n * 0.01, None if n > 89 else 5, None) for n in range(100)
    ]
    lines = shown([tree_of(specs)], height=5)
    assert len(lines) == 5
    assert [line.split("step ")[1].split()[0] for line in lines[1:4]] == ["90", "91", "92"]
    assert "+97 more, 7 running" in lines[4]


def test_a_failure_is_seen_among_many_that_run() -> None:
    """Running spans do not crowd out the errors."""
    specs: list[Spec] = [("r", None, "root", 0, None, None)]
    specs += [(f"s{n}", "r", f"step {n}", 1, None, None) for n in range(100)]
    specs += [("bad", "r", "last", 9, 9.5, "boom")]
    assert any("Boom: boom" in line for line in shown([tree_of(specs)], height=6))


def test_many_traces() -> None:
    """Traces that do not fit are counted; the longest-running one is at the top."""
    trees = [
        tree_of([("r", None, f"job {n}", n * 0.01, None, None)], f"{n:032x}")
        for n in reversed(range(100))
    ]
    lines = shown(trees, height=10)
    assert lines[0].startswith("● job 0 ")
    assert "more traces" in lines[-1]
    assert "running" in lines[-1]


def test_ten_thousand_levels() -> None:
    """A very deep tree shows its top and its innermost span, and says how much lies between."""
    specs: list[Spec] = [("0", None, "level 0", 0, None, None)]
    specs += [(f"{n}", f"{n - 1}", f"level {n}", n * 1e-5, None, None) for n in range(1, 10_000)]
    lines = shown([tree_of(specs)], height=20)
    assert lines[0].startswith("● level 0 ")
    assert any("level 9999" in line for line in lines)
    assert any(" levels " in line for line in lines)


def test_a_parent_that_is_elsewhere_makes_no_line() -> None:
    """A trace that another process began starts with what is known of it."""
    tree = tree_of([("a", "elsewhere", "handler", 0, None, None), ("b", "a", "db", 1, 2, None)])
    assert [line.split()[1] for line in shown([tree])] == ["handler", "✓"]


def test_nothing_fits_nothing() -> None:
    """No trees or no room: no lines."""
    assert layout([], NOW, 80, 24) == []
    assert layout([tree_of([("r", None, "x", 0, None, None)])], NOW, 80, 0) == []


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 200), st.sampled_from(["embed", "step", "检索", "e\u0301\x1b", ""]),
            st.integers(0, 9), st.none() | st.integers(0, 9), st.booleans(),
        ),
        max_size=60,
    ),
    st.integers(10, 120),
    st.integers(1, 30),
)  # fmt: skip
def test_it_always_fits(
    spans: list[tuple[int, str, int, int | None, bool]], width: int, height: int
) -> None:
    """Whatever the tree and the window, no line is too wide and none too many; the root is there."""
    specs: list[Spec] = [("r", None, "root", 0, None, None)]
    for number, (parent, name, start, end, failed) in enumerate(spans):
        above = f"s{parent % number}" if number and parent % 3 else "r"
        specs.append((f"s{number}", above, name, start, end, "bad" if failed else None))
    lines = shown([tree_of(specs)], width, height)
    assert lines
    assert lines[0].startswith("●")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_a_wide_tree_fills_the_window_and_no_more(width: int, height: int) -> None:
    """The room there is is used."""
    specs: list[Spec] = [("r", None, "root", 0, None, None)]
    specs += [(f"s{n}", "r", f"step {n}", 1, None, None) for n in range(200)]
    assert len(shown([tree_of(specs)], width, height)) == height
