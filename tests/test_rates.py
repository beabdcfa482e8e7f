"""The rates of the last minutes: the table behind them, their window, and what `GET /v1/rates` answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from support.projected import SECOND, Relay, ended, started, whole
from support.relay_process import (
    Producer,
    RelayProcess,
    new_hello,
    new_span,
    new_trace,
    running_relay,
)

from lumina_stream.model.events import Event, SpanEnded, SpanStarted
from lumina_stream.relay import projection_store, routes
from lumina_stream.relay.projections import drained
from lumina_stream.relay.rates import RateQuery, Rates
from lumina_stream.relay.selection import QueryError

NOW = 1000  # what the clock of the projections says, in seconds after START


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    yield made
    made.close()


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


@given(st.integers(0, 1 << 70))
def test_a_duration_is_kept_to_a_thousandth(duration: int) -> None:
    """Whatever it is."""
    table = Rates()
    table.take(duration, 0)
    kept = table.answer(60.0, 0)["p50_ns"]
    assert kept <= duration <= kept * 1.001


def test_what_runs_has_no_duration() -> None:
    """It is a trace of the window, and may have failed already; the quantiles are of the finished ones."""
    table = Rates()
    table.take(None, 2)
    assert table.answer(60.0, 1) | {"window_s": 60.0} == {
        "window_s": 60.0,
        "traces": 1,
        "traces_per_min": 1.0,
        "errors": 1,
        "error_share": 1.0,
        "p50_ns": None,
        "p95_ns": None,
        "running": 1,
    }
    table.take(1_000, 0)
    answer = table.answer(60.0, 1)
    assert (answer["p50_ns"], answer["p95_ns"], answer["error_share"]) == (1_000, 1_000, 0.5)


# --- the route ------------------------------------------------------------------------------------


def test_an_answer_is_kept_for_who_asks_the_same(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a second: viewers ask every other one, and the figures are of minutes. Another question is another."""
    now = [100.0]
    monkeypatch.setattr(routes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = routes.Routes(SimpleNamespace(projections=relay.projections))  # type: ignore[arg-type]

    def traces(query: str) -> int:
        request = Request({"type": "http", "query_string": query.encode(), "headers": []})
        response = asyncio.run(asked.rates(request))
        assert response.status_code == 200
        return json.loads(response.body)["traces"]

    relay.send(*whole(1, at=NOW - 10))
    assert traces("since=1m") == 1
    relay.send(*whole(2, at=NOW - 5))
    now[0] += routes.RATES_S - 0.01
    assert traces("since=1m") == 1
    assert traces("since=2m") == 2
    now[0] += 0.02
    assert traces("since=1m") == 2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay that has two traces of a shop, one of them failed, and an open one of a bank."""
    with running_relay(tmp_path_factory.mktemp("rates") / "data") as made:
        now = time.time_ns()
        asyncio.run(_store(made, "shop", _ended(now, 2 * SECOND)))
        asyncio.run(_store(made, "shop", _ended(now, 4 * SECOND, "error")))
        asyncio.run(_store(made, "bank", [SpanStarted(new_trace(), new_span(), now, "open")]))
        yield made


def _ended(now_ns: int, took_ns: int, status: Any = "ok") -> list[Event]:
    trace_id, span_id = new_trace(), new_span()
    return [
        SpanStarted(trace_id, span_id, now_ns - took_ns, "ask", attributes={"tier": status}),
        SpanEnded(trace_id, span_id, now_ns, status),
    ]


async def _store(process: RelayProcess, service: str, events: list[Event]) -> None:
    async with Producer(process.url, hello=new_hello(service=service)).connected() as producer:
        await producer.store(*events)


@pytest.mark.parametrize(
    ("query", "traces", "errors", "running", "p50_s"),
    [
        ({}, 3, 1, 1, 2),
        ({"since": "1h"}, 3, 1, 1, 2),
        ({"service": "shop"}, 2, 1, 0, 2),
        ({"error": "true"}, 1, 1, 0, 4),
        ({"attribute": "tier=ok"}, 1, 0, 0, 2),
        ({"name": "open"}, 1, 0, 1, None),
        ({"service": "nobody"}, 0, 0, 0, None),
    ],
    ids=str,
)
def test_over_http(
    process: RelayProcess, query: Any, traces: int, errors: int, running: int, p50_s: int | None
) -> None:
    """The filters are the list's, the window five minutes unless another one is asked for."""
    response = httpx.get(f"{process.url}/v1/rates", params=query, timeout=20)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["traces"], answer["errors"], answer["running"]) == (traces, errors, running)
    assert answer["window_s"] == (3600 if query.get("since") else 300)
    assert answer["p50_ns"] == (p50_s and pytest.approx(p50_s * SECOND, rel=1e-3))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=8d", "since is '8d'"),
        ("since=yesterday", "is no time"),
        ("since=1m&since=2m", "since comes twice"),
        ("limit=3", "no parameter 'limit'"),
        ("error=maybe", "true or false"),
        ("state=bogus", "no state 'bogus'"),
        ("attribute=novalue", "write it as key=value"),
    ],
)
def test_what_cannot_be_asked_over_http(process: RelayProcess, query: str, said: str) -> None:
    """400, and a sentence that says what may be asked."""
    response = httpx.get(f"{process.url}/v1/rates?{query}")
    assert response.status_code == 400
    assert said in response.json()["error"]
