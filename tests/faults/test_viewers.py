"""Viewers whose connections break anywhere: each ends with the trees that the log has."""

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.faults import often
from support.relay_process import Producer, new_hello, running_relay
from support.trees import canonical

import lumina_stream as lumina
from lumina_stream.model.events import (
    AttributeSet,
    Event,
    EventAdded,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.forest import Forest
from lumina_stream.model.tree import TraceTree
from lumina_stream.relay.admission import admit
from lumina_stream.relay.sqlite_log import SqliteLog

BREAKS = often(100, 10_000)
VIEWERS = 8
LONGEST_S = often(60, 3_600)
LAST = "f" * 32
READ, WRITE = "reader-of-traces", "writer-of-traces"
"""A bearer may come by another name than the relay's own: that of the proxy."""


def events(chance: random.Random, number: int) -> list[Event]:
    """Return what a program says of one trace, in an order of its own."""
    trace = f"{number + 1:032x}"
    spans = [f"{n + 1:016x}" for n in range(chance.randrange(1, 6))]
    said: list[Event] = []
    for n, span in enumerate(spans):
        parent = None if n == 0 else spans[chance.randrange(n)]
        said.append(SpanStarted(trace, span, number * 100 + n, f"step {n}", parent, None, {"n": n}))
        said.append(
            AttributeSet(trace, span, number * 100 + n, "text", "x" * chance.randrange(300))
        )
        said.append(EventAdded(trace, span, number * 100 + n, "event", {"k": [1, {"d": None}]}))
        said += [TextStreamed(trace, span, number * 100 + n, "output", i, "ab") for i in range(3)]
        said.append(SpanEnded(trace, span, number * 100 + 50 + n))
    if chance.random() < 0.3:
        chance.shuffle(said)
    return said


def digest(tree: TraceTree) -> str:
    """Return a hash of all that a viewer could show of a tree."""
    return hashlib.sha256(repr(_plain(canonical(tree))).encode()).hexdigest()


def _plain(value: Any) -> Any:
    # In whichever order the keys of a map came.
    if isinstance(value, dict):
        return sorted((repr(key), _plain(inner)) for key, inner in value.items())
    return [_plain(inner) for inner in value] if isinstance(value, list) else repr(value)


def of_the_log(data: Path) -> dict[str, str]:
    """Return the hash of each trace's tree as the log has it."""
    forest = Forest()
    with SqliteLog.open(data) as log:
        after = 0
        while rows := log.read(after):
            for row in rows:
                for seq, event in enumerate(
                    admit(row.events, row.producer_id).events, row.first_seq
                ):
                    if event is not None:
                        forest.apply(event, row.producer_id, seq)
            after = rows[-1].last_offset
    return {tree.trace_id: digest(tree) for tree in forest if tree.trace_id != LAST}


class Breaking:
    """Say how the next connection breaks, so often; then break nothing any more."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.left = BREAKS
        self.over = asyncio.Event()

    def __call__(self) -> Fault | None:
        if not self.left:
            self.over.set()
            return None
        self.left -= 1
        # From the first byte of the handshake to some frames after it.
        at = int(self.chance.paretovariate(0.5)) % 30_000 + self.chance.randrange(400)
        if self.chance.randrange(10) == 0:
            return Fault(twice_at=at, cut_at=at + 2_000)
        return Fault(cut_at=at, delay_s=self.chance.choice([0.0, 0.0, 0.001]))


@pytest.mark.slow
def test_rows_11_and_12_disconnected_at_random_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Viewers that are cut off all the time, and come back, end with the very trees of the log."""
    # breaks: lumina_stream/relay/tailing.py
    # -   await self._catch_up(cursor.offset, resumed=True)
    # +   await self._catch_up(self._relay.hub.offset, resumed=True)
    monkeypatch.setattr("lumina_stream.model.limits.RECONNECT_FIRST_S", 0.002)
    monkeypatch.setattr("lumina_stream.model.limits.RECONNECT_MOST_S", 0.01)

    async def produce(url: str, over: asyncio.Event) -> None:
        chance, producer, number = (
            random.Random(1),
            Producer(url, hello=new_hello(), token=WRITE),
            0,
        )
        async with producer.connected():
            while not over.is_set() or number < 50:
                await producer.store(*events(chance, number % 800))
                number += 1
                await asyncio.sleep(0.005 if number < 800 else 0.05)
            await producer.store(SpanStarted(LAST, "1" * 16, 1, "last"))
            await producer.store(SpanEnded(LAST, "1" * 16, 2))
            await producer.bye()

    async def view(url: str) -> dict[str, str]:
        async with lumina.tail(url, token=READ, since=3_600, retry=True) as live:
            async for _ in live:
                if LAST in live.traces and live.traces[LAST].finished:
                    return {t: digest(tree) for t, tree in live.traces.items() if t != LAST}
        raise AssertionError("the live view ended")

    async def go(url: str) -> tuple[list[dict[str, str]], FaultProxy]:
        breaking = Breaking(2)
        proxy = FaultProxy(url, breaking)
        async with asyncio.timeout(LONGEST_S), proxy.running():
            producing = asyncio.create_task(produce(url, breaking.over))
            seen = await asyncio.gather(*(view(proxy.url) for _ in range(VIEWERS)))
            await producing
        return seen, proxy

    with running_relay(tmp_path / "data", read_token=READ, write_token=WRITE) as relay:
        seen, proxy = asyncio.run(go(relay.url))
        assert relay.stop() == 0
        assert "Traceback" not in relay.stderr()
    expected = of_the_log(tmp_path / "data")
    assert len(expected) >= 50
    for found in seen:
        assert found == expected
    assert proxy.broken >= BREAKS * 0.8
    print(
        f"{proxy.broken} connections broken of {proxy.connections}, {len(expected)} trees, {VIEWERS} viewers"
    )
