"""Sums over trees: kept by difference, the same as if they were added up anew."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trees import TRACE

from lumina_stream.model import rollup
from lumina_stream.model.events import AttributesSet, Event, SpanEnded, SpanStarted
from lumina_stream.model.node import SpanNode
from lumina_stream.model.tree import TraceTree
from lumina_stream.model.usage import NO_PRICE, Cost

IN, OUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
READ = "gen_ai.usage.cache_read.input_tokens"
ID, MODEL = "gen_ai.response.id", "gen_ai.request.model"


def sid(number: int) -> str:
    return f"{number:016x}"


class Grown:
    """A tree under construction; each thing said is one nanosecond later than the one before."""

    def __init__(self) -> None:
        self.tree = TraceTree(TRACE)
        self.now = 0

    def tell(self, event: Event) -> None:
        self.tree.apply(event, "p", self.now)

    def start(self, number: int, parent: int | None = None, **attributes: Any) -> None:
        self.now += 1
        above = None if parent is None else sid(parent)
        self.tell(SpanStarted(TRACE, sid(number), self.now, f"s{number}", above))
        if attributes:
            self.set(number, **attributes)

    def set(self, number: int, **given: Any) -> None:
        self.now += 1
        names = {"input": IN, "output": OUT, "read": READ, "id": ID, "model": MODEL}
        attributes = {names.get(key, key): value for key, value in given.items()}
        self.tell(AttributesSet(TRACE, sid(number), self.now, attributes))

    def end(self, number: int) -> None:
        self.now += 1
        self.tell(SpanEnded(TRACE, sid(number), self.now, "ok"))

    def cost(self, number: int, cost: Cost | None) -> None:
        self.tree.set_cost(sid(number), cost)

    def sums(self, number: int) -> tuple[int, int, int, int, int]:
        found = self.tree.rollup(sid(number))
        return (
            found.input_tokens,
            found.output_tokens,
            found.cost,
            found.priced,
            found.unpriced,
        )


def test_an_agent_that_repeats_the_sum() -> None:
    """The agent's own figures, and what they would cost, add nothing to its calls'."""
    grown = Grown()
    grown.start(1, input=300, output=30, model="m")
    for number in (2, 3):
        grown.start(number, 1, input=150, output=15, model="m", id=f"r{number}")
        grown.cost(number, Cost(1000, 100))
    grown.cost(1, Cost(5000, 500))  # a tier above: of the sum, which is no call
    assert grown.sums(1) == (300, 30, 2200, 2, 0)


def test_an_agent_that_knows_of_more() -> None:
    """What an agent's span has beyond its calls counts, at its own price and in proportion."""
    grown = Grown()
    grown.start(1, input=400, output=30, model="m")
    grown.start(2, 1, input=100, output=30, model="m")
    grown.cost(1, Cost(4000, 300))
    grown.cost(2, Cost(1000, 300))
    assert grown.sums(1) == (400, 30, 1300 + 3000, 2, 0)


def test_details_that_only_the_agent_has_cost_nothing() -> None:
    """A cache that the calls do not mention is no further usage."""
    grown = Grown()
    grown.start(1, input=100, output=10, read=80, model="m")
    grown.start(2, 1, input=100, output=10, model="m")
    grown.cost(1, Cost(500, 100))
    grown.cost(2, Cost(1000, 100))
    assert grown.sums(1) == (100, 10, 1100, 1, 0)
    assert grown.tree.rollup(sid(1)).cache_read_tokens == 80


def test_the_same_response_counts_once() -> None:
    """Recorded by two instrumentations: once above, still shown on each."""
    grown = Grown()
    grown.start(1)
    for number in (2, 3):
        grown.start(number, 1, input=100, output=10, model="m", id="chatcmpl-1")
        grown.cost(number, Cost(1000, 100))
    assert grown.sums(1) == (100, 10, 1100, 1, 0)
    assert grown.sums(2) == grown.sums(3) == (100, 10, 1100, 1, 0)
    assert grown.tree.tokens == (100, 10)


def test_of_one_response_the_better_witness_counts() -> None:
    """A span that names the model, and the cache, is the one that is paid for."""
    grown = Grown()
    grown.start(1)
    grown.start(2, 1, input=100, output=10, id="r")
    grown.start(3, 1, input=100, output=10, read=50, model="m", id="r")
    grown.cost(2, NO_PRICE)
    grown.cost(3, Cost(600, 100))
    assert grown.sums(1) == (100, 10, 700, 1, 0)
    grown.set(3, id="another")
    assert grown.sums(1) == (200, 20, 700, 1, 1)


def test_nested_spans_of_one_response() -> None:
    """A wrapper and the call below it: one call, wherever the id is."""
    grown = Grown()
    grown.start(1)
    grown.start(2, 1, input=100, output=10, model="m", id="r")
    grown.start(3, 2, input=100, output=10, model="m", id="r")
    grown.cost(2, Cost(1000, 100))
    grown.cost(3, Cost(1000, 100))
    assert grown.sums(1) == grown.sums(2) == (100, 10, 1100, 1, 0)


def test_an_empty_id_is_none() -> None:
    """Calls without an id are different calls."""
    grown = Grown()
    grown.start(1)
    for number in (2, 3):
        grown.start(number, 1, input=1, output=1, id="")
    assert grown.tree.tokens == (2, 2)


def test_no_price_is_not_zero() -> None:
    """A call without a price makes a gap, which is counted; free is a price."""
    grown = Grown()
    grown.start(1)
    grown.start(2, 1, input=1, output=1)
    assert rollup.cost_usd(grown.tree.rollup(sid(1))) is None
    assert grown.tree.calls.awaits_costs
    grown.cost(2, NO_PRICE)
    assert grown.sums(1) == (1, 1, 0, 0, 1)
    assert rollup.cost_usd(grown.tree.rollup(sid(1))) is None
    assert not grown.tree.calls.awaits_costs
    grown.start(3, 1, input=1, output=1)
    grown.cost(3, Cost(0, 0))
    assert rollup.cost_usd(grown.tree.totals) == 0


def test_labels_are_counted() -> None:
    """A session is named as long as a span names it, whatever the order of what was said."""
    grown = Grown()
    grown.start(1, **{"session.id": "a"})
    grown.start(2, 1, **{"session.id": "a", "enduser.id": 7})
    grown.set(1, **{"session.id": "b"})
    assert grown.tree.calls.labels == {"session": {"a": 1, "b": 1}, "user": {"7": 1}}


def test_a_change_costs_its_depth_not_its_width(monkeypatch: Any) -> None:
    """Of ten thousand children only the one that changed is added up again."""
    grown = Grown()
    grown.start(0)
    for number in range(1, 10_001):
        grown.start(number, 0, input=1, output=1)
    assert grown.tree.tokens == (10_000, 10_000)
    touched: list[str] = []
    sum_of = rollup._sum  # pyright: ignore[reportPrivateUsage]

    def counting(node: SpanNode) -> None:
        touched.append(node.span_id)
        sum_of(node)

    upward = rollup._upward  # pyright: ignore[reportPrivateUsage]
    looked_at: list[str] = []

    def counting_looks(node: SpanNode) -> Any:
        looked_at.append(node.span_id)
        return upward(node)

    monkeypatch.setattr(rollup, "_sum", counting)
    monkeypatch.setattr(rollup, "_upward", counting_looks)
    grown.set(77, input=5)
    grown.start(10_001, 0, input=3)
    assert grown.tree.rollup(sid(0)).input_tokens == 10_007
    assert sorted(touched) == [sid(0), sid(77), sid(10_001)]
    assert sorted(looked_at) == [sid(77), sid(10_001)]


@pytest.mark.parametrize("shape", ["flat", "deep", "bushy"])
def test_steps_are_small_whatever_the_shape(monkeypatch: Any, shape: str) -> None:
    """Neither a span of many children nor a deep tree is one long piece of work."""
    grown = Grown()
    grown.start(0)
    for number in range(1, 3_001):
        grown.start(number, {"flat": 0, "deep": number - 1, "bushy": (number - 1) // 7}[shape])
        grown.set(number, input=1)
    work = 0
    upward, sum_of = rollup._upward, rollup._sum  # pyright: ignore[reportPrivateUsage]

    def counting(node: SpanNode) -> Any:
        nonlocal work
        work += 1
        return upward(node)

    def counting_sums(node: SpanNode) -> None:
        nonlocal work
        work += 1
        sum_of(node)

    monkeypatch.setattr(rollup, "_upward", counting)
    monkeypatch.setattr(rollup, "_sum", counting_sums)
    top = grown.tree.span(sid(0))
    assert top is not None
    steps, longest = 0, 0
    for _ in rollup.roll_up_steps(top, 100):
        longest, work, steps = max(longest, work), 0, steps + 1
    longest, work = max(longest, work), 0
    assert grown.tree.rollup(sid(0)).spans == 3_001
    assert max(longest, work) <= 300
    assert steps >= 60


@pytest.mark.parametrize("pause", range(40))
def test_the_tree_may_change_between_two_steps(pause: int) -> None:
    """Wherever the work stands when spans start, change and end: in the end the sums are right."""

    def grow(*, in_steps: bool) -> Grown:
        grown = Grown()
        for number in range(16):
            grown.start(number, (number - 1) // 3 if number else None, input=1)
        top = grown.tree.span(sid(0))
        assert top is not None
        working = rollup.roll_up_steps(top, 2) if in_steps else iter(())
        for _ in range(pause):
            next(working, None)
        for number in range(16):
            grown.start(number + 20, number, input=2)
            grown.set(number, input=3)
        grown.end(3)
        for _ in working:
            pass
        return grown

    paused, whole = grow(in_steps=True), grow(in_steps=False)
    for node in whole.tree:
        assert _plain(paused.tree.rollup(node.span_id)) == _plain(whole.tree.rollup(node.span_id))


# --- any history -------------------------------------------------------------------------------

numbers = st.integers(0, 7)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), numbers, st.none() | numbers),
        st.tuples(st.just("set"), numbers, st.sampled_from([IN, OUT, READ]), st.integers(0, 9)),
        st.tuples(st.just("set"), numbers, st.just(ID), st.sampled_from(["", "r1", "r2"])),
        st.tuples(st.just("set"), numbers, st.just(MODEL), st.sampled_from(["m", ""])),
        st.tuples(st.just("cost"), numbers, st.sampled_from([(3, 2), (10, 0), None])),
        st.tuples(st.just("end"), numbers, st.none()),
        st.tuples(st.just("read"), numbers, st.none()),
        st.tuples(st.just("step"), numbers, st.integers(1, 3)),
    ),
    max_size=40,
)


def play(grown: Grown, steps: list[Any], *, reading: bool) -> None:
    costs: dict[int, Cost] = {}
    working: Iterator[None] = iter(())
    for what, number, *rest in steps:
        match what:
            case "start":
                grown.start(number, rest[0])
            case "set":
                grown.now += 1
                key, value = rest
                grown.tell(AttributesSet(TRACE, sid(number), grown.now, {key: value}))
            case "cost":
                costs[number] = NO_PRICE if rest[0] is None else Cost(*rest[0])
                if reading:
                    grown.cost(number, costs[number])
            case "end":
                grown.end(number)
            case "step":
                # One that pauses while the tree changes; a new one once it is done.
                node = grown.tree.span(sid(number))
                if reading and next(working, working) is working and node is not None:
                    working = rollup.roll_up_steps(node, rest[0])
                    next(working, None)
            case _:
                if reading and grown.tree.span(sid(number)) is not None:
                    grown.tree.rollup(sid(number))
                    _ = grown.tree.totals
    for number, cost in costs.items():
        grown.cost(number, cost)
    for _ in working:
        pass


@settings(max_examples=300)
@given(steps)
def test_differences_and_sums_agree(steps: list[Any]) -> None:
    """Read after every step or once at the end: the same sums, in every span and over all."""
    often, once = Grown(), Grown()
    play(often, steps, reading=True)
    play(once, steps, reading=False)
    for node in once.tree:
        span_id = node.span_id
        for tree in (often.tree, once.tree):
            found = tree.rollup(span_id)
            assert (found.of is None) or found.has_calls
        assert _plain(often.tree.rollup(span_id)) == _plain(once.tree.rollup(span_id))
    assert _plain(often.tree.totals) == _plain(once.tree.totals)
    shares = [
        {
            n.span_id: n.call.share
            for n in tree.calls.spans.values()
            if n.call and not n.call.is_duplicate
        }
        for tree in (often.tree, once.tree)
    ]
    assert shares[0] == shares[1]
    added = [share for share in shares[0].values() if share is not None]
    if not any(node.parent_id == node.span_id for node in once.tree):
        assert sum(s.input for s in added) == once.tree.totals.input_tokens
        assert sum(s.output for s in added) == once.tree.totals.output_tokens
        assert sum(s.cost or 0 for s in added) == once.tree.totals.cost


def _plain(found: Any) -> tuple[Any, ...]:
    return tuple(getattr(found, f) for f in found.__struct_fields__ if f != "of")
