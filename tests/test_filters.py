"""Which traces a filter means: the same in the list, in live views and in the rates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.projected import SECOND, START, Relay, ended, span, started, trace, whole

from lumina_stream.model.events import (
    AttributeSet,
    ProducerStarted,
)
from lumina_stream.protocol.frames import Filter
from lumina_stream.relay import backlog, held, projection_store, settling
from lumina_stream.relay.projections import drained
from lumina_stream.relay.rates import RateQuery
from lumina_stream.relay.selection import COLUMNS, QueryError, TraceQuery, selection_of

NOW = 1000  # what the clock of the projections says, in seconds after START


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    yield made
    made.close()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep next to nothing in memory."""
    monkeypatch.setattr(held, "RECENT_TRACES", 1)
    monkeypatch.setattr(held, "RECENT_FEWEST", 1)


def tell(relay: Relay) -> None:
    """Eight traces, of which no two are alike."""
    relay.say(ProducerStarted(START, "p1", "shop"), ProducerStarted(START, "p2", "bank"))
    relay.send(*whole(1, at=1, took=2, name="ask"))
    relay.send(*whole(2, at=2, took=10, name="ask [again]", attributes={"user.id": "ann"}))
    relay.send(started(3, at=3, name="ask"), ended(3, at=4, status="error"), producer="p2")
    relay.send(started(4, at=600, name="hung", attributes={"session.id": "s-1", "n": 7}))
    relay.send(started(5, at=990, name="young", attributes={"tier": "gold", "ok": True}))
    relay.send(
        *whole(6, at=6, took=1, name="deep"),
        started(6, 2, at=6, parent_id=span(1), attributes={"tier": "gold", "x": 1.5}),
        ended(6, 2, at=7, status="error"),
        AttributeSet(trace(6), span(1), START, "user.id", "ann"),
    )
    relay.send(
        *whole(7, at=7, took=1, name="re-set"),
        AttributeSet(trace(7), span(1), START, "stage", "draft"),
        AttributeSet(trace(7), span(1), START + 1, "stage", "done=yes"),
    )
    relay.send(AttributeSet(trace(8), span(1), START + 8 * SECOND, "tier", "gold"))


FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({}, {1, 2, 3, 4, 5, 6, 7, 8}),
    ({"service": "bank"}, {3}),
    ({"name": "ask*"}, {1, 2, 3}),
    ({"name": "ask [[]*"}, {2}),
    ({"state": "running"}, {4, 5}),
    ({"error": True}, {3, 6}),
    ({"error": False, "state": "ok"}, {1, 2, 7}),
    ({"user": "ann"}, {2, 6}),
    ({"session": "s-1"}, {4}),
    ({"session": "s"}, set()),
    ({"min_duration_ns": 2 * SECOND}, {1, 2, 4, 5}),
    ({"min_duration_ns": 2 * SECOND + 1}, {2, 4, 5}),
    ({"min_duration_ns": 11 * SECOND}, {4}),
    ({"max_duration_ns": 2 * SECOND}, {1, 3, 6, 7}),
    ({"max_duration_ns": 10 * SECOND}, {1, 2, 3, 5, 6, 7}),
    ({"max_duration_ns": 10 * SECOND - 1}, {1, 3, 6, 7}),
    ({"min_duration_ns": 3 * SECOND, "max_duration_ns": 300 * SECOND}, {2, 5}),
    ({"attribute": ("tier=gold",)}, {5, 6, 8}),
    ({"attribute": ("tier=gold", "x=1.5")}, {6}),
    ({"attribute": ("tier=gold",), "state": "running"}, {5}),
    ({"attribute": ("tier=gol",)}, set()),
    ({"attribute": ("n=7",)}, {4}),
    ({"attribute": ("ok=true",)}, {5}),
    ({"attribute": ("user.id=ann",), "name": "deep"}, {6}),
    ({"attribute": ("stage=done=yes",)}, {7}),
    ({"attribute": ("stage=",)}, set()),
]


def found(relay: Relay, given: dict[str, Any], **more: Any) -> set[int]:
    page = relay.projections.list(TraceQuery(**given, **more))
    assert page.next is None
    numbers = [int(summary.trace_id, 16) for summary in page.traces]
    assert len(numbers) == len(set(numbers))
    return set(numbers)


def check(relay: Relay, given: dict[str, Any], meant: set[int]) -> None:
    live = {n for n in range(1, 9) if relay.projections.matches(Filter(**given), trace(n))}
    assert live == meant
    for sort in COLUMNS:
        assert found(relay, given, sort=sort) == meant
    answer = drained(relay.projections.rates(RateQuery(since="1000s", **given)))
    assert answer["traces"] == len(meant - {8})  # of which no start is known
    assert answer["running"] == len(meant & {4, 5})
    assert selection_of(Filter(**given)) | given == selection_of(Filter(**given))


@pytest.mark.parametrize(("given", "meant"), FILTERS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("where", ["memory", "store"])
def test_filters_agree(request: Any, tmp_path: Path, where: str, given: Any, meant: Any) -> None:
    """A list, a live view and the rates mean the same traces, in the memory or not."""
    if where == "store":
        request.getfixturevalue("few")
    relay = Relay(tmp_path)
    tell(relay)
    if where == "store":
        relay.projections.list()
        assert len(relay.projections.forest.traces) == 3
    check(relay, given, meant)
    relay.restart()
    check(relay, given, meant)
    relay.crash()
    check(relay, given, meant)
    relay.close()


def test_a_crash_before_a_checkpoint_forgets_no_attribute(relay: Relay) -> None:
    """What was noted for a query and then taken back is noted again."""
    tell(relay)
    relay.projections.list()
    relay.crash()
    check(relay, {"attribute": ("tier=gold",)}, {5, 6, 8})
    relay.projections.checkpoint()
    relay.send(AttributeSet(trace(5), span(1), START + 991 * SECOND, "tier", "lead"))
    relay.projections.list()
    relay.projections._backlog.refuse(projection_store.apsw.FullError("disk is full"))  # pyright: ignore[reportPrivateUsage]
    check(relay, {"attribute": ("tier=lead",)}, {5})


def test_what_comes_back_is_found_by_all_it_ever_had(relay: Relay, few: None) -> None:
    """A late span brings a trace back into the memory."""
    tell(relay)
    for number in range(20, 25):
        relay.send(*whole(number))
    relay.projections.list()
    assert trace(6) not in relay.projections.forest.traces
    relay.send(started(6, 3, at=8, parent_id=span(1), attributes={"late": "yes"}))
    matches = relay.projections.matches
    assert matches(Filter(attribute=("tier=gold", "late=yes")), trace(6))
    assert found(relay, {"attribute": ("tier=gold", "late=yes")}) == {6}


@pytest.mark.parametrize(
    "given",
    [
        {"state": "bogus"},
        {"attribute": ("novalue",)},
        {"attribute": ("=x",)},
        {"attribute": ("k=" + "v" * 400,)},
        {"attribute": ("a=b",) * 9},
        {"name": "n" * 2_000},
        {"user": "n" * 2_000},
    ],
)
def test_what_cannot_be_meant(relay: Relay, given: dict[str, Any]) -> None:
    """It is refused before anything is looked at."""
    with pytest.raises(QueryError):
        relay.projections.list(TraceQuery(**given))
    with pytest.raises(QueryError):
        next(relay.projections.rates(RateQuery(**given)))


# --- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", list(COLUMNS))
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("given", [{}, {"error": True}, {"until_ns": START + 50 * SECOND}])
def test_a_page_looks_at_a_few_lines_at_a_time(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, sort: Any, order: Any, given: Any
) -> None:
    """However many there are, and with the same result as at once."""
    monkeypatch.setattr(projection_store, "SCANNED", 7)
    for number in range(1, 101):
        relay.send(
            started(number, at=number % 10),
            ended(number, at=20, status="error" if number % 9 == 0 else "ok"),
        )
    relay.projections.list()
    steps = relay.projections.page(TraceQuery(sort=sort, order=order, limit=60, **given))
    count = 0
    page = None
    while page is None:
        try:
            next(steps)
            count += 1
        except StopIteration as stop:
            page = stop.value
    monkeypatch.setattr(projection_store, "SCANNED", 1_000)
    assert page == relay.projections.list(TraceQuery(sort=sort, order=order, limit=60, **given))
    assert len(page.traces) == (11 if "error" in given else 60)
    if sort in ("start", "duration", "last"):
        assert count >= 8
    assert (
        relay.projections.list(
            TraceQuery(sort=sort, order=order, limit=60, cursor=page.next, **given)
        ).next
        is None
    )


def test_traces_that_change_between_the_steps(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page holds each trace once, whatever moves meanwhile."""
    monkeypatch.setattr(projection_store, "SCANNED", 3)
    for number in range(1, 31):
        relay.send(started(number, at=number))
    steps = relay.projections.page(TraceQuery(sort="last", order="asc", limit=1_000))
    for at in itertools.count(1):
        try:
            next(steps)
        except StopIteration as stop:
            found = [summary.trace_id for summary in stop.value.traces]
            break
        if at <= 30:  # moves to the end of the order
            relay.send(AttributeSet(trace(at), span(1), START + (100 + at) * SECOND, "k", at))
            relay.projections.list(TraceQuery(limit=1))
    assert len(found) == len(set(found))


def test_drawing_and_flushing_come_in_steps(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is asked for after a flood of traces does not hold up the loop with all of them."""
    monkeypatch.setattr(settling, "DRAWN_AT_ONCE", 10)
    monkeypatch.setattr(backlog, "SLICE", 10)
    for number in range(1, 101):
        relay.send(started(number))
    drawn: list[int] = []
    for _ in relay.projections.scan(TraceQuery()):
        drawn.append(len(relay.projections._memory.stale))  # pyright: ignore[reportPrivateUsage]
    assert drawn[:10] == list(range(90, -1, -10))
    assert len(drawn) >= 20


def test_open_traces_are_not_drawn_for_nothing(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load it is seen which traces are finished; their lines wait until they leave or are asked for."""
    drawn: list[str] = []
    summarise = settling.summarise

    def counting(tree: Any) -> Any:
        drawn.append(tree.trace_id)
        return summarise(tree)

    monkeypatch.setattr(settling, "summarise", counting)
    monkeypatch.setattr(held, "RECENT_TRACES", 10)
    for _ in range(3):
        for number in range(1, 251):
            relay.send(started(number, 1 + _))
    assert drawn == []
    for number in range(1000, 1200):
        relay.send(*whole(number))
    left = {trace(n) for n in range(1000, 1200)} - set(relay.projections.forest.traces)
    assert set(drawn) == left
    assert len(drawn) == len(left) >= 100
    assert relay.projections.running(1)[1] == 750
    assert len(found(relay, {"state": "running"}, limit=1_000)) == 250
