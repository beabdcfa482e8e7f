"""Many traces at once, with one set of producers among them."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from support.generate import told
from support.trees import TRACE, Told, canonical, expected_of

from lumina_stream.model.events import (
    EventsLost,
    ProducerEnded,
    ProducerLost,
    SpanStarted,
    UnknownEvent,
)
from lumina_stream.model.forest import Change, Forest
from lumina_stream.model.record import record_of

OTHER = "3" * 32
A, B = "a" * 16, "b" * 16


def start(trace_id: str, span_id: str, time_ns: int = 1) -> SpanStarted:
    return SpanStarted(trace_id, span_id, time_ns, "n")


def in_trace(fact: Told, trace_id: str) -> Told:
    if not hasattr(fact.event, "trace_id"):
        return fact
    event = msgspec.structs.replace(fact.event, trace_id=trace_id)
    return Told(event, fact.producer_id, fact.seq)


@given(told(), st.randoms(use_true_random=False))
def test_each_tree_of_a_forest_is_what_it_would_be_alone(
    facts: list[Told], rng: random.Random
) -> None:
    """Shuffled, with another trace's events and both producers' fates in between."""
    mixed = [in_trace(fact, rng.choice([TRACE, OTHER])) for fact in facts]
    heard = mixed + [fact for fact in mixed if rng.random() < 0.3]
    rng.shuffle(heard)
    forest = Forest()
    for fact in heard:
        forest.apply(*fact)
        if forest.traces and rng.random() < 0.2:
            tree = rng.choice(list(forest))
            for node in tree:
                tree.rollup(node.span_id)
    mine = [fact for fact in mixed if getattr(fact.event, "trace_id", TRACE) == TRACE]
    assert canonical(forest.tree(TRACE)) == expected_of(mine)


@given(told(), st.integers(0, 30), st.randoms(use_true_random=False))
def test_a_forest_of_restored_trees_hears_its_producers_fate(
    facts: list[Told], at: int, rng: random.Random
) -> None:
    """`adopt` links the producers of a snapshot to its tree."""
    rng.shuffle(facts)
    first, late = Forest(), Forest()
    for fact in facts[:at]:
        first.apply(*fact)
    for producer in first.producers.all():
        late.producers.restore(producer)
    tree = late.tree(TRACE)
    for node in first.tree(TRACE):
        tree.restore(record_of(node))
        tree.rollup(node.span_id)
    tree.losses.update(first.tree(TRACE).losses)
    late.adopt(tree)
    for fact in facts[at:]:
        late.apply(*fact)
    assert canonical(tree) == expected_of(facts)


def test_a_producers_fate_reaches_all_its_traces_and_no_other() -> None:
    """One event, a change in each trace."""
    forest = Forest()
    assert forest.apply(start(TRACE, A), "p", 1) == (Change(TRACE, (A,)),)
    forest.apply(start(OTHER, B), "p", 2)
    forest.apply(start("4" * 32, B), "q", 1)
    changes = forest.apply(ProducerLost(9, "p", 2, 8), "relay", 1)
    assert sorted((c.trace_id, c.span_ids) for c in changes) == [(TRACE, (A,)), (OTHER, (B,))]
    assert forest.tree("4" * 32).state == "running"
    assert forest.apply(ProducerLost(9, "p", 2, 8), "relay", 1) == ()


def test_a_removed_trace_is_forgotten() -> None:
    """And comes back empty if it is spoken of again."""
    forest = Forest()
    forest.apply(start(TRACE, A), "p", 1)
    assert len(forest) == 1 and set(forest.traces_of("p")) == {TRACE}
    removed = forest.remove(TRACE)
    assert removed is not None and forest.remove(TRACE) is None
    assert forest.traces_of("p") == () and len(forest) == 0
    assert forest.apply(ProducerEnded(9, "p", 1), "relay", 1) == ()
    forest.apply(start(TRACE, B), "p", 2)
    assert [node.span_id for node in forest.tree(TRACE)] == [B]


def test_a_loss_reaches_a_trace_that_is_heard_of_later() -> None:
    """A loss of no event is no mark, whichever came first."""
    forest = Forest()
    forest.apply(EventsLost(5, "queue_full", 3, by_trace={TRACE: 3, OTHER: 0}), "p", 1)
    assert len(forest) == 0
    forest.apply(start(TRACE, A), "p", 2)
    forest.apply(start(OTHER, A), "p", 3)
    assert forest.tree(TRACE).lost_count == 3 and forest.tree(OTHER).losses == {}


def test_an_adopted_tree_that_was_removed_is_let_go() -> None:
    """Nothing raises for a trace that is not there."""
    forest = Forest()
    forest.apply(start(TRACE, A), "p", 1)
    tree = forest.remove(TRACE)
    assert tree is not None
    forest.adopt(tree)
    assert forest.apply(ProducerLost(9, "p", 1, 8), "relay", 1) == ()


def test_events_that_are_not_known_pass_by() -> None:
    """No tree is made for them."""
    forest = Forest()
    assert forest.apply(UnknownEvent("newer", b"", TRACE), "p", 1) == () and len(forest) == 0
