"""Which traces a filter means: the same in the list, in live views and in the rates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.projected import SECOND, START, Relay, ended, span, started, trace, whole

from lumina_stream.model.events import (
    AttributeSet,
    ProducerStarted,
)
from lumina_stream.protocol.frames import Filter
from lumina_stream.relay import attributes, backlog, held, projection_store, settling
from lumina_stream.relay.attributes import LENGTH, MOST, digest_of, text_of
from lumina_stream.relay.projections import drained
from lumina_stream.relay.rates import RateQuery, Rates
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


# --- the index of attributes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        ("x" * LENGTH, "x" * LENGTH),
        ("x" * (LENGTH + 1), None),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-(1 << 63), str(-(1 << 63))),
        (1 << 64, None),
        (1.5, "1.5"),
        (1e300, "1e+300"),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
        (b"x", None),
    ],
)
def test_what_is_a_label(value: Any, text: str | None) -> None:
    """Short scalars, as a person writes them."""
    assert text_of(value) == text


def test_a_trace_is_found_by_so_many_attributes(relay: Relay) -> None:
    """Those that came first; the others are not found, and cost nothing."""
    relay.send(started(1, attributes={"first": 1, "k" * (LENGTH + 1): 1}))
    for number in range(MOST + 50):
        relay.send(AttributeSet(trace(1), span(1 + number % 4), START, f"k{number}", number))
        if number % 100 == 0 or number > 1_000:
            relay.projections.list()
    assert found(relay, {"attribute": ("first=1", "k9=9", f"k{MOST - 2}={MOST - 2}")}) == {1}
    assert found(relay, {"attribute": (f"k{MOST - 1}={MOST - 1}",)}) == set()
    assert len(relay.projections._store.digests(trace(1))) == 8 * MOST  # pyright: ignore[reportPrivateUsage]


def test_only_what_changed_is_looked_at(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span once a change, and none on the way of an event."""
    looked: list[int] = []
    add = attributes.add_digests

    def counting(digests: Any, nodes: Any) -> None:
        nodes = list(nodes)
        looked.append(len(nodes))
        add(digests, nodes)

    monkeypatch.setattr(settling, "add_digests", counting)
    relay.send(*(started(1, n, parent_id=span(1) if n > 1 else None) for n in range(1, 51)))
    assert looked == []
    relay.projections.list()
    relay.projections.list()
    relay.send(ended(1, 7))
    relay.projections.checkpoint()
    relay.projections.list()
    assert looked == [50, 1]


def test_retention_forgets_attributes_too(relay: Relay) -> None:
    """Nothing is left in the store of a trace that the log no longer holds."""
    tell(relay)
    relay.projections.list()
    relay.projections.checkpoint()
    store = relay.projections._store  # pyright: ignore[reportPrivateUsage]
    assert store.digests(trace(6))
    store.prune(relay.log.next_offset)
    assert store.digests(trace(6)) == b""
    assert store.digests(trace(5))


@given(st.text(max_size=20), st.text(max_size=20))
def test_digests_tell_pairs_apart(one: str, other: str) -> None:
    """Eight bytes each, of any text."""
    assert (digest_of(one) == digest_of(other)) == (one == other)
    assert len(digest_of(one)) == 8


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


# --- rates ----------------------------------------------------------------------------------------


def rates(relay: Relay, **given: Any) -> dict[str, Any]:
    return drained(relay.projections.rates(RateQuery(**given)))


def test_rates_of_nothing(relay: Relay) -> None:
    """No trace, no figure that would mean one."""
    assert rates(relay) == {
        "window_s": 300.0,
        "traces": 0,
        "traces_per_min": 0.0,
        "errors": 0,
        "error_share": 0.0,
        "p50_ns": None,
        "p95_ns": None,
        "running": 0,
    }


@pytest.mark.parametrize("scanned", [1, 7, 1_000])
def test_rates(relay: Relay, monkeypatch: pytest.MonkeyPatch, scanned: int) -> None:
    """Over the traces that started in the window; what runs is counted whenever it started."""
    monkeypatch.setattr(projection_store, "SCANNED", scanned)
    relay.send(started(500, at=1))
    relay.send(*whole(501, at=NOW - 301))
    for number in range(1, 21):
        relay.send(
            started(number, at=NOW - 200),
            ended(number, at=NOW - 200 + number, status="error" if number > 15 else "ok"),
        )
    relay.send(started(600, at=NOW - 100))
    answer = rates(relay)
    assert answer["window_s"] == 300.0
    assert (answer["traces"], answer["errors"], answer["running"]) == (21, 5, 2)
    assert answer["traces_per_min"] == 4.2
    assert answer["error_share"] == pytest.approx(5 / 21)
    assert answer["p50_ns"] == pytest.approx(10 * SECOND, rel=1e-3)
    assert answer["p95_ns"] == pytest.approx(19 * SECOND, rel=1e-3)
    assert rates(relay, since="1000s")["traces"] == 23
    assert rates(relay, since="150s")["traces"] == 1


@given(st.lists(st.integers(0, 1 << 62), min_size=1, max_size=60))
def test_quantiles_are_those_of_the_list(durations: list[int]) -> None:
    """To a thousandth, with a bounded table behind them."""
    table = Rates()
    for duration in durations:
        table.take(duration, 0)
    answer = table.answer(60.0, 0)
    ranked = sorted(durations)
    for percent in (50, 95):
        exact = ranked[-(-len(ranked) * percent // 100) - 1]
        assert answer[f"p{percent}_ns"] == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("since", ["0s", "8d", "nonsense", "2099-01-01", ""])
def test_windows_that_are_none(relay: Relay, since: str) -> None:
    """Too long, empty, in the future, or no time at all."""
    with pytest.raises(QueryError):
        next(relay.projections.rates(RateQuery(since=since)))
