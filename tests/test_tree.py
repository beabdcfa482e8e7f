"""The tree of one trace: from any order, with any duplicates, gaps and late joins, the same tree."""

import itertools
import random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.generate import told
from support.trees import TRACE, Told, canonical, expected_of, grow, row

from lumina_stream.model import limits
from lumina_stream.model.events import (
    AttributeSet,
    EventAdded,
    EventsLost,
    Link,
    ProducerLost,
    ProducerReturned,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
    UnknownEvent,
)
from lumina_stream.model.record import Columns, SpanRecord, from_columns, record_of, to_columns
from lumina_stream.model.tree import TraceTree

A, B, C, D = (f"{n:016x}" for n in (0xA, 0xB, 0xC, 0xD))


def start(span_id: str, time_ns: int = 1, parent_id: str | None = None, **more: Any) -> SpanStarted:
    return SpanStarted(TRACE, span_id, time_ns, more.pop("name", "n"), parent_id, **more)


def end(span_id: str, time_ns: int = 9, **more: Any) -> SpanEnded:
    return SpanEnded(TRACE, span_id, time_ns, **more)


def tree_of(*events: Any) -> TraceTree:
    return grow(Told(event, "p", seq) for seq, event in enumerate(events, 1))


def snapshot(tree: TraceTree, *, shuffle: random.Random | None = None) -> TraceTree:
    """Return what a late joiner makes of a tree: over the wire and back."""
    records = [record_of(node) for node in tree]
    if shuffle is not None:
        shuffle.shuffle(records)
    data = msgspec.msgpack.encode(to_columns(records))
    late = TraceTree(tree.trace_id)
    for producer in tree.producers.all():
        late.producers.restore(producer)
    for record in from_columns(msgspec.msgpack.decode(data, type=Columns)):
        late.restore(record)
    late.losses.update(tree.losses)
    return late


# --- the tree property -----------------------------------------------------------------------


@given(told(), st.randoms(use_true_random=False))
def test_row_15_any_order_with_any_duplicates_gives_what_the_facts_say(
    facts: list[Told], rng: random.Random
) -> None:
    """The oracle sees all facts at once; the tree sees them shuffled, some of them twice."""
    heard = facts + [fact for fact in facts if rng.random() < 0.3]
    rng.shuffle(heard)
    assert canonical(grow(heard)) == expected_of(facts)


@given(told(), st.randoms(use_true_random=False))
def test_dropped_facts_leave_placeholders_exactly_where_they_must_be(
    facts: list[Told], rng: random.Random
) -> None:
    """A span that is only mentioned is `missing`; nothing else changes by a gap."""
    kept = [fact for fact in facts if rng.random() < 0.6]
    tree = grow(kept)
    mentioned = {fact.event.span_id for fact in kept if hasattr(fact.event, "span_id")}  # type: ignore[union-attr]
    started = {fact.event.span_id for fact in kept if isinstance(fact.event, SpanStarted)}
    parents = {fact.event.parent_id for fact in kept if isinstance(fact.event, SpanStarted)}
    assert {n.span_id for n in tree} == mentioned | parents - {None}
    assert {n.span_id for n in tree if n.start is None} == (mentioned | parents) - {None} - started
    assert canonical(tree) == expected_of(kept)


@given(told(), st.integers(0, 30), st.integers(0, 6), st.randoms(use_true_random=False))
def test_a_late_joiner_ends_with_the_same_tree(
    facts: list[Told], at: int, overlap: int, rng: random.Random
) -> None:
    """A snapshot at any point, then the rest (and some of what it holds already)."""
    rng.shuffle(facts)
    late = snapshot(grow(facts[:at]), shuffle=rng)
    assert canonical(late) == expected_of(facts[:at])
    rest = facts[max(0, at - overlap) :]
    rng.shuffle(rest)
    assert canonical(grow(rest, late)) == expected_of(facts)


@given(told(), st.integers(0, 30), st.integers(0, 30), st.randoms(use_true_random=False))
def test_a_snapshot_merges_into_what_is_there_already(
    facts: list[Told], at: int, have: int, rng: random.Random
) -> None:
    """Records are merged by the rules of the events that they stand for."""
    rng.shuffle(facts)
    other = grow(facts[:at])
    tree = grow(facts[have:])
    for producer in other.producers.all():
        changed = tree.producers.restore(producer)
        if changed is not None:
            tree.producer_changed(changed)
    for node in other:
        tree.restore(record_of(node))
    tree.losses.update(other.losses)
    both = {fact.stamp: fact for fact in facts[:at] + facts[have:]}
    assert canonical(tree) == expected_of(both.values())


@given(told(), st.randoms(use_true_random=False))
def test_reading_at_any_moment_gives_what_a_fresh_tree_gives(
    facts: list[Told], rng: random.Random
) -> None:
    """Cached roll-ups, bounds and counters never go stale."""
    rng.shuffle(facts)
    tree = TraceTree(TRACE)
    for count, fact in enumerate(facts, 1):
        tree.apply(*fact)
        if rng.random() < 0.5:
            nodes = list(tree)
            if nodes:
                tree.rollup(rng.choice(nodes).span_id)
        if rng.random() < 0.2:
            assert canonical(tree) == expected_of(facts[:count])
    assert canonical(tree) == expected_of(facts)


@given(told(), st.randoms(use_true_random=False))
def test_every_change_names_the_spans_that_it_touched(
    facts: list[Told], rng: random.Random
) -> None:
    """A viewer repaints only what is named: whatever reads differently afterwards is in it."""
    rng.shuffle(facts)
    tree = TraceTree(TRACE)
    before: dict[str, Any] = {}
    for fact in facts:
        touched = tree.apply(*fact)
        # A service's name belongs to its producer: `producer_started` comes before its spans.
        after = {node.span_id: row(node) | {"service": ""} for node in tree}
        changed = {s for s in after if before.get(s) != after[s]}
        assert changed <= set(touched)
        assert set(touched) <= set(after)
        assert tree.apply(*fact) == () or not isinstance(fact.event, EventAdded | EventsLost)
        before = after


@given(told())
def test_saying_it_again_changes_nothing(facts: list[Told]) -> None:
    """`apply` is idempotent, one by one and all at once."""
    tree = grow(facts)
    once = canonical(tree)
    assert canonical(grow(facts, tree)) == once


def test_columns_hold_what_records_hold() -> None:
    """Columns are records turned on their side, JSON and MessagePack alike."""
    tree = tree_of(
        start(A, attributes={"k": 1}, links=(Link("2" * 32, B),), marks={"@name": "cut"}),
        EventAdded(TRACE, A, 3, "e", {"x": [1]}),
        TextStreamed(TRACE, A, 4, "output", 0, "hi"),
        end(A, error=None, status="error"),
        start(B, 2, A),
    )
    records = [record_of(node) for node in tree]
    columns = to_columns(records)
    for codec in (msgspec.msgpack, msgspec.json):
        back = codec.decode(codec.encode(columns), type=Columns)
        assert list(from_columns(back)) == records
    assert columns.count == 2 and len(columns.columns) == len(SpanRecord.__struct_fields__)
    assert list(from_columns(to_columns([]))) == []


@pytest.mark.parametrize(
    "columns",
    [
        Columns(1, ([A],)),
        Columns(1, ([A], [None, None])),
        Columns(1, tuple([3] for _ in SpanRecord.__struct_fields__)),
        Columns(5, ()),
        Columns(1, tuple([None] for _ in range(40))),
    ],
)
def test_columns_of_a_wrong_shape_are_refused(columns: Columns) -> None:
    """Whatever a peer sends, the error is a validation error."""
    with pytest.raises(msgspec.ValidationError):
        list(from_columns(columns))


# --- the same, case by case ------------------------------------------------------------------


def test_a_child_before_its_parent_hangs_from_a_placeholder() -> None:
    """The placeholder is filled in place when the parent comes."""
    tree = tree_of(start(B, 5, A))
    placeholder = tree.span(A)
    assert placeholder is not None and placeholder.state == "missing"
    assert tree.root is tree.span(B) and tree.roots == [placeholder]
    tree.apply(start(A, 1), "p", 2)
    assert tree.span(A) is placeholder and placeholder.state == "running"
    assert [(d, n.span_id) for d, n in tree.walk()] == [(0, A), (1, B)]
    assert tree.missing_count == 0


def test_a_late_start_never_reopens_an_ended_span() -> None:
    """End without start, then the start: the span is what its end said."""
    tree = tree_of(end(A, status="cancelled"))
    assert tree.span_count == 0 and tree.missing_count == 1
    tree.apply(start(A), "p", 2)
    assert tree.open_count == 0 and tree.state == "cancelled" and tree.finished


def test_the_end_of_the_root_is_not_the_end_of_the_trace() -> None:
    """What the root left running keeps the trace running; a later start reopens it."""
    tree = tree_of(start(A), start(B, 2, A), end(A, 3))
    assert not tree.finished and tree.state == "running"
    tree.apply(end(B, 8), "p", 4)
    assert tree.finished and tree.state == "ok"
    tree.apply(start(C, 9, A), "p", 5)
    assert not tree.finished and tree.state == "running"


def test_a_self_parent_is_cut_and_flagged() -> None:
    """A span that names itself is a root."""
    tree = tree_of(start(A, 1, A))
    node = tree.span(A)
    assert node is not None and node.parent is None and node.flags() == ["parent_cycle"]
    assert tree.roots == [node]


@pytest.mark.parametrize("order", [(A, B, C), (C, B, A), (B, A, C), (B, C, A)])
def test_a_cycle_is_cut_at_its_smallest_span(order: tuple[str, ...]) -> None:
    """Whatever came first, the cut is at the same edge."""
    parents = {A: B, B: C, C: A}
    tree = tree_of(*(start(s, 1, parents[s]) for s in order))
    assert [(d, n.span_id) for d, n in tree.walk()] == [(0, A), (1, C), (2, B)]
    assert {n.span_id: n.flags() for n in tree} == {A: ["parent_cycle"], B: [], C: []}


@pytest.mark.parametrize("order", list(itertools.permutations((A, B, C, D))))
def test_closing_a_cycle_touches_all_who_lose_by_it(order: tuple[str, ...]) -> None:
    """The span that is cut, and the one that it hung from, may both be far from the new edge."""
    parents = {A: B, B: C, C: D, D: A}
    tree = TraceTree(TRACE)
    before: dict[str, Any] = {}
    for seq, span_id in enumerate(order, 1):
        touched = tree.apply(start(span_id, 1, parents[span_id]), "p", seq)
        after = {node.span_id: row(node) for node in tree}
        assert {s for s in after if before.get(s) != after[s]} <= set(touched)
        before = after
    opened = set(tree.apply(start(C, 2), "p", 9))
    after = {node.span_id: row(node) for node in tree}
    assert {s for s in after if before[s] != after[s]} <= opened


def test_a_later_start_or_end_moves_the_bounds_of_the_trace() -> None:
    """Also when the bounds were read before."""
    tree = tree_of(start(A, 1), end(A, 5))
    assert (tree.start_ns, tree.end_ns) == (1, 5)
    tree.apply(end(A, 9), "p", 3)
    assert (tree.start_ns, tree.end_ns) == (1, 9)
    tree.apply(start(A, 4), "p", 4)
    assert (tree.start_ns, tree.end_ns) == (4, 9)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_marks_that_collide_fall_to_the_later_value(order: tuple[int, int]) -> None:
    """Two values that claim the same path: the greater stamp says what was done."""
    said = [
        Told(AttributeSet(TRACE, A, 1, "key.b", 0, {"k": "redacted"}), "p", 1),
        Told(AttributeSet(TRACE, A, 2, "k", 0, {"k": "cut"}), "p", 2),
    ]
    node = grow(said[n] for n in order).span(A)
    assert node is not None and node.attribute_marks() == {"k": "cut"}


def test_an_older_snapshot_takes_nothing_back() -> None:
    """What is newer stays, piece by piece, value by value."""
    pieces = [TextStreamed(TRACE, A, n, "output", 0, str(n)) for n in (1, 2)]
    values = [AttributeSet(TRACE, A, n, "k", n) for n in (1, 2)]
    old = tree_of(pieces[0], values[0], start(A, 1, name="old"), end(A, 3, status="error"))
    new = tree_of(pieces[1], values[1], start(A, 2, name="new"), end(A, 4))
    merged = canonical(new)
    for node in old:
        new.restore(record_of(node))
    assert canonical(new)["spans"][A] == merged["spans"][A] | {
        "flags": ["double_end", "duplicate_start"]
    }


def test_a_cycle_that_was_only_passing_leaves_no_flag() -> None:
    """A later start that names another parent opens the cycle again."""
    tree = tree_of(start(A, 1, B), start(B, 1, A), start(B, 2, C))
    assert [(d, n.span_id) for d, n in tree.walk()] == [(0, C), (1, B), (2, A)]
    assert all("parent_cycle" not in n.flags() for n in tree)


def test_a_losing_start_still_names_its_parent() -> None:
    """Both parents of a quarrel are spans of the trace, in every order."""
    first, second = Told(start(A, 1, B), "p", 1), Told(start(A, 2, C), "p", 2)
    assert canonical(grow([first, second])) == canonical(grow([second, first]))
    assert {n.span_id for n in grow([second, first])} == {A, B, C}


def test_two_producers_of_one_span_the_later_stamp_wins() -> None:
    """Equal times fall to the producer id, then to seq."""
    one, two = Told(start(A, 1, kind="llm"), "p", 7), Told(start(A, 1, kind="tool"), "q", 1)
    for order in ([one, two], [two, one]):
        node = grow(order).span(A)
        assert node is not None and node.kind == "tool" and node.producer_id == "q"
        assert node.flags() == ["duplicate_start"]


def test_the_same_start_twice_is_no_conflict() -> None:
    """A span that two ways brought (an exporter and a bridge) is one span."""
    node = grow([Told(start(A), "p", 1), Told(start(A), "q", 1)]).span(A)
    assert node is not None and node.flags() == []


def test_an_event_after_the_end_is_kept_and_flagged() -> None:
    """Nothing that was said is thrown away."""
    tree = tree_of(start(A), end(A, 3), EventAdded(TRACE, A, 4, "late"))
    node = tree.span(A)
    assert node is not None and node.flags() == ["event_after_end"]
    assert [e.name for e in node.event_list()] == ["late"] and node.event_list()[0].time_ns == 4


def test_a_lost_producer_interrupts_its_open_spans_and_may_return() -> None:
    """A dead producer's spans never say `running`; ended ones keep their state."""
    tree = tree_of(start(A), start(B, 2, A), end(B, 3))
    assert tree.rollup(A).open == 1
    touched = tree.apply(ProducerLost(50, "p", 3, 40), "relay", 1)
    node = tree.span(A)
    assert node is not None
    assert touched == (A,) and node.state == "interrupted" and node.last_seen_ns == 40
    assert tree.state == "interrupted" and tree.rollup(A).open == 0 and tree.finished
    tree.apply(ProducerReturned(60, "p"), "relay", 2)
    assert tree.state == "running" and tree.rollup(A).open == 1


def test_streamed_text_reads_in_the_order_of_its_index() -> None:
    """Pieces come in any order; a piece said twice is one piece."""
    pieces = [TextStreamed(TRACE, A, 9 - i, "output", i, t) for i, t in enumerate("abc")]
    node = tree_of(*reversed(pieces), pieces[1]).span(A)
    assert node is not None and node.text("output") == "abc" and node.text("input") == ""


def test_a_new_name_wins_over_the_start_that_comes_later() -> None:
    """`span_updated` and `span_ended` may rename; the greatest stamp has the name."""
    tree = tree_of(SpanUpdated(TRACE, A, 5, "renamed"), start(A, 1, name="first"))
    node = tree.span(A)
    assert node is not None and node.name == "renamed"


def test_tokens_are_the_greater_of_own_and_children() -> None:
    """An agent's span often repeats the sum of its calls."""
    key = "gen_ai.usage.input_tokens"
    tree = tree_of(start(A), start(B, 2, A, attributes={key: 30}), start(C, 3, A))
    tree.apply(AttributeSet(TRACE, C, 4, key, 12), "p", 4)
    assert tree.rollup(A).input_tokens == 42
    tree.apply(AttributeSet(TRACE, A, 5, key, 100), "p", 5)
    assert tree.rollup(A).input_tokens == 100
    tree.apply(AttributeSet(TRACE, A, 6, key, True), "p", 6)
    assert tree.rollup(A).input_tokens == 42


def test_a_loss_is_counted_once() -> None:
    """Loss is a mark on the tree, by stamp."""
    lost = EventsLost(5, "queue_full", 9, by_trace={TRACE: 4, "other": 5})
    tree = tree_of(start(A), lost)
    tree.apply(lost, "p", 2)
    assert tree.lost_count == 4 and tree.state == "running"


def test_events_that_are_not_known_touch_nothing() -> None:
    """A newer producer's events pass by."""
    tree = TraceTree(TRACE)
    assert tree.apply(UnknownEvent("span_paused", b"", TRACE, A, 1), "p", 1) == ()
    assert len(tree) == 0 and tree.root is None and tree.state == "missing" and not tree.finished


def test_what_exceeds_a_limit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limits the tree says how much it left out."""
    monkeypatch.setattr(limits, "SPAN_EVENTS", 1)
    monkeypatch.setattr(limits, "SPAN_TEXT_PIECES", 1)
    monkeypatch.setattr(limits, "TREE_ATTRIBUTES", 1)
    monkeypatch.setattr(limits, "LINKS", 1)
    tree = TraceTree(TRACE, max_spans=1)
    said = [
        start(A, attributes={"a": 1, "b": 2}, links=(Link("2" * 32, B), Link("2" * 32, C))),
        EventAdded(TRACE, A, 2, "one"),
        EventAdded(TRACE, A, 3, "two"),
        TextStreamed(TRACE, A, 4, "output", 0, "x"),
        TextStreamed(TRACE, A, 5, "output", 1, "y"),
        start(B, 6, A),
    ]
    grow((Told(event, "p", seq) for seq, event in enumerate(said, 1)), tree)
    assert tree.truncated == {"attributes": 1, "links": 1, "events": 1, "text": 1, "spans": 1}
    assert len(tree) == 1


def test_a_span_whose_parent_was_truncated_is_a_root() -> None:
    """It is shown, not hidden."""
    tree = TraceTree(TRACE, max_spans=1)
    tree.apply(start(B, 2, A), "p", 1)
    assert [n.span_id for n in tree.roots] == [B] and tree.truncated == {"spans": 1}


@pytest.mark.parametrize("downwards", [True, False])
def test_a_tree_may_be_ten_thousand_deep(downwards: bool) -> None:
    """Nothing recurses."""
    ids = [f"{n:016x}" for n in range(1, 10_001)]
    events = [start(s, n + 1, ids[n - 1] if n else None) for n, s in enumerate(ids)]
    tree = tree_of(*(events if downwards else reversed(events)))
    assert tree.rollup(ids[0]).spans == 10_000
    assert max(depth for depth, _ in tree.walk()) == 9_999


@example(seed=0)
@given(seed=st.integers(0, 2**32))
def test_a_large_tree_with_many_re_parented_spans_stays_whole(seed: int) -> None:
    """Cycles come and go among many spans; the oracle agrees at the end."""
    rng = random.Random(seed)
    ids = [f"{n:016x}" for n in range(1, rng.randrange(3, 40))]
    facts = [
        Told(start(rng.choice(ids), rng.randrange(1, 9), rng.choice([None, *ids])), "p", seq)
        for seq in range(1, 3 * len(ids))
    ]
    assert canonical(grow(facts)) == expected_of(facts)
