"""Costs of a running relay: in trees, lists and tails as they change, and added up by anything."""

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.relay_process import Consumer as RawConsumer
from support.relay_process import (
    Producer,
    RelayProcess,
    ended,
    new_hello,
    new_span,
    new_trace,
    running_relay,
)

from lumina_stream.model.events import AttributesSet, SpanStarted
from lumina_stream.model.rollup import cost_usd
from lumina_stream.protocol import frames
from lumina_stream.relay import costs
from lumina_stream.relay.costs import Adder, CallRow, CostQuery, parse_time
from lumina_stream.relay.selection import QueryError
from lumina_stream.viewing.client import tail
from lumina_stream.viewing.rows import cost_text
from lumina_stream.viewing.text import dollars

PRICES = """
[[prices]]
model = "cheap"
input = 1
output = 2

[[prices]]
model = "dear"
input = 100
output = 200
cache_read = 10
"""


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prices") / "prices.toml"
    path.write_text(PRICES)
    return path


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, prices: Path) -> Iterator[RelayProcess]:
    """A relay for all tests here: each asks for a service, or trace, of its own."""
    folder = tmp_path_factory.mktemp("relay")
    with running_relay(folder / "data", prices=[str(prices)]) as process:
        yield process


def call(
    trace_id: str, span_id: str, parent_id: str | None = None, **attributes: Any
) -> tuple[SpanStarted, AttributesSet]:
    """Return a call: it starts with its model, and says what it used later."""
    names = {
        "model": "gen_ai.request.model",
        "input": "gen_ai.usage.input_tokens",
        "output": "gen_ai.usage.output_tokens",
        "read": "gen_ai.usage.cache_read.input_tokens",
        "id": "gen_ai.response.id",
        "session": "session.id",
        "conversation": "gen_ai.conversation.id",
        "user": "enduser.id",
    }
    said = {names.get(key, key): value for key, value in attributes.items()}
    model = {key: said.pop(key) for key in ["gen_ai.request.model"] if key in said}
    now = time.time_ns()
    return (
        SpanStarted(trace_id, span_id, now, "call", parent_id, "llm", model),
        AttributesSet(trace_id, span_id, now + 1, said),
    )


def get(relay: RelayProcess, path: str, **query: Any) -> Any:
    response = httpx.get(relay.url + path, params=query, timeout=20)
    assert response.status_code == 200, response.text
    return response.json()


async def store(relay: RelayProcess, *events: Any, service: str = "svc", done: bool = True) -> None:
    producer = Producer(relay.url, hello=new_hello(service=service))
    async with producer.connected():
        await producer.store(*events)
        if done:
            await producer.bye()


def test_costs_everywhere(relay: RelayProcess) -> None:
    """An agent that repeats the sum of its calls: tree, list and questions give one amount."""
    trace, agent, first, second = new_trace(), new_span(), new_span(), new_span()
    events = [
        *call(trace, agent, None, model="cheap", input=3000, output=300, cost_center="red"),
        *call(trace, first, agent, model="cheap", input=1000, output=100, id="r1"),
        *call(trace, second, agent, model="dear", input=2000, read=1000, output=200, id="r2"),
        ended(trace, first),
        ended(trace, second),
        ended(trace, agent),
    ]
    asyncio.run(store(relay, *events, service="agents"))
    tree = get(relay, f"/v1/traces/{trace}")
    # 1000*1 + 100*2, and 1000*100 + 1000*10 + 200*200, of a million
    assert tree["cost_usd"] == tree["roots"][0]["rollup"]["cost_usd"] == 0.1512
    assert (tree["input_tokens"], tree["output_tokens"], tree["unpriced"]) == (3000, 300, 0)
    by_id = {child["span_id"]: child["rollup"] for child in tree["roots"][0]["children"]}
    assert by_id[first]["cost_usd"] == 0.0012
    assert by_id[second]["cache_read_tokens"] == 1000
    (listed,) = get(relay, "/v1/traces", service="agents")["traces"]
    assert listed["cost_usd"] == 0.1512
    models = get(relay, "/v1/costs", by="model", service="agents")
    assert [(g["key"], g["calls"], g["cost_usd"]) for g in models["groups"]] == [
        ("dear", 1, 0.15),
        ("cheap", 1, 0.0012),
    ]
    total = models["total"]
    assert (total["cost_usd"], total["calls"], total["unpriced"]) == (0.1512, 2, 0)
    # The calls bear what the span above them is marked with.
    (red,) = get(relay, "/v1/costs", by="attribute:cost_center", service="agents")["groups"]
    assert (red["key"], red["cost_usd"]) == ("red", 0.1512)
    (by_trace,) = get(relay, "/v1/costs", by="trace", service="agents")["groups"]
    assert (by_trace["key"], by_trace["input_tokens"]) == (trace, 3000)


def test_no_price(relay: RelayProcess) -> None:
    """A model that nobody knows: null, with a count of what is missing, never zero."""
    trace = new_trace()
    events = call(trace, new_span(), None, model="nobody-knows-it", input=10, output=1)
    asyncio.run(store(relay, *events, service="unpriced"))
    tree = get(relay, f"/v1/traces/{trace}")
    assert (tree["cost_usd"], tree["unpriced"], tree["input_tokens"]) == (None, 1, 10)
    (listed,) = get(relay, "/v1/traces", service="unpriced")["traces"]
    assert (listed["cost_usd"], listed["unpriced"]) == (None, 1)
    (group,) = get(relay, "/v1/costs", service="unpriced")["groups"]
    assert (group["cost_usd"], group["unpriced"], group["input_tokens"]) == (None, 1, 10)


def test_one_response_in_two_traces_counts_once(relay: RelayProcess) -> None:
    """An answer from a cache, recorded again: each trace shows it, the bill has it once."""
    one, two = new_trace(), new_trace()
    usage = {"model": "cheap", "input": 1000, "output": 0, "id": "chatcmpl-7", "session": "cached"}
    asyncio.run(store(relay, *call(one, new_span(), **usage), service="first"))
    asyncio.run(store(relay, *call(two, new_span(), **usage), service="second"))
    assert get(relay, f"/v1/traces/{one}")["cost_usd"] == 0.001
    assert get(relay, f"/v1/traces/{two}")["cost_usd"] == 0.001
    groups = get(relay, "/v1/costs", by="service", session="cached")["groups"]
    assert [(g["key"], g["calls"], g["cost_usd"]) for g in groups] == [("first", 1, 0.001)]


def test_sessions_and_users(relay: RelayProcess) -> None:
    """Whoever spelled them: as filters of the list, and as keys and filters of costs."""
    one, two, three = new_trace(), new_trace(), new_trace()
    asyncio.run(
        store(
            relay,
            *call(one, new_span(), model="cheap", input=1000, session="s-1", user="ann"),
            *call(two, new_span(), model="cheap", input=2000, conversation="s-1", user_id="bo"),
            *call(three, new_span(), model="cheap", input=4000, session="s-10"),
            service="people",
        )
    )

    def listed(**query: Any) -> set[str]:
        return {t["trace_id"] for t in get(relay, "/v1/traces", **query)["traces"]}

    assert listed(session="s-1") == {one, two}
    assert listed(user="ann") == listed(session="s-1", user="ann") == {one}
    assert listed(user="an") == set()
    sessions = get(relay, "/v1/costs", by="session", service="people")["groups"]
    assert [(g["key"], g["cost_usd"]) for g in sessions] == [("s-10", 0.004), ("s-1", 0.003)]
    users = get(relay, "/v1/costs", by="user", session="s-1")["groups"]
    assert [(g["key"], g["cost_usd"]) for g in users] == [("bo", 0.002), ("ann", 0.001)]
    (line,) = get(relay, "/v1/traces", user="ann")["traces"]
    assert (line["sessions"], line["users"]) == (["s-1"], ["ann"])


def test_since(relay: RelayProcess) -> None:
    """A call counts by its start."""
    trace = new_trace()
    old, new = (
        call(trace, new_span(), model="cheap", input=1000),
        call(new_trace(), new_span(), model="cheap", input=2000),
    )
    hour = 3600 * 10**9
    start = old[0]
    start.time_ns -= hour
    asyncio.run(store(relay, *old, *new, service="times"))
    assert get(relay, "/v1/costs", service="times")["total"]["cost_usd"] == 0.003
    assert get(relay, "/v1/costs", service="times", since="30m")["total"]["cost_usd"] == 0.002
    assert get(relay, "/v1/costs", service="times", until="30m")["total"]["cost_usd"] == 0.001
    assert get(relay, "/v1/costs", service="times", since_ns=time.time_ns())["groups"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"by": "colour"},
        {"by": "attribute:"},
        {"by": "model:x"},
        {"since": "yesterday"},
        {"since_ns": "soon"},
        {"what": "1"},
        [("by", "model"), ("by", "trace")],
    ],
)
def test_what_cannot_be_asked(relay: RelayProcess, query: Any) -> None:
    """A 400 that says what may be asked instead."""
    response = httpx.get(relay.url + "/v1/costs", params=query)
    assert response.status_code == 400 and response.json()["error"]


def test_costs_outlive_the_relay(tmp_path: Path, prices: Path) -> None:
    """Killed or stopped, before or after a checkpoint: the rows are there, each once."""
    with running_relay(tmp_path / "data", prices=[str(prices)]) as relay:
        _outlive(relay)


def _outlive(relay: RelayProcess) -> None:
    for kill in (True, False):
        asyncio.run(store(relay, *call(new_trace(), new_span(), model="cheap", input=1000)))
        (relay.kill if kill else relay.stop)()
        relay.start()
    assert get(relay, "/v1/costs")["total"]["cost_usd"] == 0.002
    assert [t["cost_usd"] for t in get(relay, "/v1/traces")["traces"]] == [0.001, 0.001]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_tail_hears_of_costs(relay: RelayProcess, backend: str) -> None:
    """As soon as a call says what it used; a late joiner, with the snapshot or from the log."""
    import anyio

    trace, span = new_trace(), new_span()

    async def until_priced(live: Any) -> None:
        async for _ in live:
            tree = live.traces.get(trace)
            if tree is not None and cost_usd(tree.totals) == Decimal("0.0012"):
                assert cost_text(tree.rollup(span)) == "$0.00120"
                return

    async def watch() -> None:
        with anyio.fail_after(20):
            async with tail(relay.url) as live:
                events = call(trace, span, model="cheap", input=1000, output=100)
                await anyio.to_thread.run_sync(run_store, *events)
                await until_priced(live)
            async with tail(relay.url, trace_id=trace) as live:
                await until_priced(live)
            async with tail(relay.url, since="1h") as live:
                await until_priced(live)

    def run_store(*events: Any) -> None:
        asyncio.run(store(relay, *events, done=False))

    anyio.run(watch, backend=backend)


def test_costs_follow_their_facts(relay: RelayProcess) -> None:
    """In the raw stream a cost never comes before the facts that it is of, and moves no cursor."""
    trace, span = new_trace(), new_span()

    async def go() -> None:
        consumer = RawConsumer(relay.url, frames.Subscribe())
        async with consumer.connected():
            await consumer.until_type(frames.Snapshot)
            await store(relay, *call(trace, span, model="dear", input=10), done=False)
            told = await consumer.until_type(frames.Costs)
            assert isinstance(told, frames.Costs) and told.trace_id == trace
            assert told.costs == (frames.SpanCost(span, 1_000_000_000, 0, True),)
            assert {getattr(f.event, "span_id", None) for f in consumer.facts} >= {span}
            assert consumer.session.offset == consumer.facts[-1].offset

    asyncio.run(go())


# --- adding up ---------------------------------------------------------------------------------


def row(**more: Any) -> CallRow:
    fields: dict[str, Any] = {
        "time_ns": 1,
        "service": "s",
        "provider": "p",
        "model": "m",
        "response_id": "",
        "input": 1,
        "output": 1,
        "cache_read": 0,
        "cache_write": 0,
        "reasoning": 0,
        "cost": 10,
        "labels": {},
    }
    return CallRow(**{**fields, **more})


def test_groups_and_their_total() -> None:
    """The costliest first, those without a price last, the key's type kept apart."""
    adder = Adder(CostQuery(by="attribute:tier"))
    for value, cost in ((1, 5), (True, 7), ("1", 9), (1, 5)):
        adder.take("t", row(labels={"tier": value}, cost=cost))
    adder.take("t", row(cost=None))
    answer = adder.answer()
    assert [(g.key, g.cost_usd and int(g.cost_usd * 10**12)) for g in answer["groups"]] == [
        (1, 10),
        ("1", 9),
        (True, 7),
        (None, None),
    ]
    assert answer["total"]["calls"] == 5 and answer["total"]["unpriced"] == 1


def test_too_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheap ones are one sum; the total is of all."""
    monkeypatch.setattr(costs, "GROUPS", 2)
    adder = Adder(CostQuery(by="trace"))
    for number in range(5):
        adder.take(f"t{number}", row(cost=number))
    answer = adder.answer()
    assert [g.key for g in answer["groups"]] == ["t4", "t3"]
    assert answer["others"]["calls"] == 3
    assert answer["total"]["cost_usd"] == Decimal("10e-12")


def test_times() -> None:
    """Ago, or a date, which is UTC unless it says otherwise."""
    now = 10**18
    assert parse_time("1h30m", now) == now - 5400 * 10**9
    assert parse_time("1970-01-02", now) == 86400 * 10**9
    assert parse_time("1970-01-01T02:00:00+01:00", now) == 3600 * 10**9
    for text in ("", "10x", "m", "tomorrow"):
        with pytest.raises(QueryError):
            parse_time(text, now)


def test_dollars() -> None:
    """Cents; of less than a dollar, three figures."""
    texts = [dollars(Decimal(text)) for text in ("0", "1234.5", "0.5", "0.012345", "0.0000012")]
    assert texts == ["$0.00", "$1,234.50", "$0.500", "$0.0123", "$0.00000120"]
