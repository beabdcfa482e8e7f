"""The in-process subscription: live, bounded, told what it missed; asyncio and trio."""

import subprocess
import sys
import threading
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.model.limits import Limits
from lumina_stream.model.live import Update
from lumina_stream.recording import subscription


@pytest.mark.anyio
async def test_updates_arrive_while_spans_run(recorded: Recorded) -> None:
    async with lumina.subscribe() as live:
        span = lumina.start_span("span")
        update = await anext(live)
        assert [type(fact.event).__name__ for fact in update.facts] == ["SpanStarted"]
        assert update.changes[0].span_ids == (span.span_id,)
        assert live.traces[span.trace_id].state == "running"
        span.set_attribute("k", 1)
        span.end()
        update = await anext(live)
        assert [fact.seq for fact in update.facts] == [2, 3]
        assert live.traces[span.trace_id].state == "ok"


@pytest.mark.anyio
async def test_a_waiting_subscriber_is_woken_from_a_thread(recorded: Recorded) -> None:
    got: list[str] = []

    def work() -> None:
        for n in range(3):
            with lumina.trace(f"span {n}"):
                pass

    async def read(live: lumina.Subscription) -> None:
        async for update in live:
            got.extend(fact.event.name for fact in update.facts if hasattr(fact.event, "kind"))
            if len(got) == 3:
                return

    async with lumina.subscribe() as live, anyio.create_task_group() as group:
        group.start_soon(read, live)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(work)
    assert got == ["span 0", "span 1", "span 2"]


@pytest.mark.anyio
async def test_closing_ends_the_loop_after_what_has_come(recorded: Recorded) -> None:
    names: list[str] = []

    async def read() -> None:
        async for update in live:
            names.extend(type(fact.event).__name__ for fact in update.facts)

    async with lumina.subscribe() as live, anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        with lumina.trace("span"):
            pass
        live.close()
    assert names == ["SpanStarted", "SpanEnded"]


@pytest.mark.anyio
async def test_what_comes_just_before_it_waits_is_seen(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = subscription._waker

    def waker(event: anyio.Event) -> Callable[[], None]:
        with lumina.trace("in between"):
            pass
        return make(event)

    async with lumina.subscribe() as live:
        monkeypatch.setattr(subscription, "_waker", waker)
        with anyio.fail_after(5):
            assert len((await anext(live)).facts) == 2


@pytest.mark.anyio
async def test_cancelled_while_waiting_loses_nothing(recorded: Recorded) -> None:
    async with lumina.subscribe() as live:
        with anyio.move_on_after(0):
            await anext(live)
        with lumina.trace("span"):
            pass
        assert len((await anext(live)).facts) == 2


@pytest.mark.anyio
async def test_a_loop_that_is_gone_disturbs_nobody(recorded: Recorded, anyio_backend: str) -> None:
    """A subscriber's loop may end without closing the subscription; recording goes on."""
    live = lumina.subscribe()
    live.__enter__()

    async def wait() -> None:
        with anyio.move_on_after(0):
            await anext(live)

    def run() -> None:
        anyio.run(wait, backend=anyio_backend)

    await anyio.to_thread.run_sync(run)
    with lumina.trace("span"):
        pass
    assert len(live.poll().facts) == 2
    live.close()


def test_overflow_is_counted_and_told_once() -> None:
    with (
        lumina.init(export=False, limits=Limits(subscription_bytes=2000)),
        lumina.subscribe() as slow,
        lumina.subscribe() as other,
        lumina.trace("span") as span,
    ):
        for n in range(100):
            span.set_attribute("k", n)
            other.poll()
        update = slow.poll()
        assert 1 < len(update.facts) < 20
        assert update.missed == slow.missed == 101 - len(update.facts)
        assert other.missed == 0
        assert other.traces[span.trace_id].roots[0].attributes == {"k": 99}
        assert slow.poll() == Update()
        span.set_attribute("k", "again")
        update = slow.poll()
        assert (len(update.facts), update.missed) == (1, 0)


def test_bytes_are_counted_exactly_under_threads() -> None:
    """What is added by recording threads and taken by the reader must meet at zero."""
    with (
        lumina.init(export=False, limits=Limits(subscription_bytes=50_000)),
        lumina.subscribe() as live,
    ):
        interval, done, facts = sys.getswitchinterval(), threading.Event(), [0]

        def work() -> None:
            for _ in range(1500):
                with lumina.trace("span"):
                    pass

        def read() -> None:
            while not done.is_set():
                facts[0] += len(live.poll().facts)

        workers = [threading.Thread(target=work) for _ in range(3)]
        reader = threading.Thread(target=read)
        sys.setswitchinterval(1e-6)
        try:
            for thread in (reader, *workers):
                thread.start()
            for thread in workers:
                thread.join()
        finally:
            done.set()
            sys.setswitchinterval(interval)
        reader.join()
        facts[0] += len(live.poll().facts)
        assert facts[0] + live.missed == 9000
        assert live._bytes == 0


def test_several_subscriptions_see_the_same_and_only_while_open(recorded: Recorded) -> None:
    early = lumina.subscribe()
    with early:
        with lumina.trace("first"):
            pass
        with lumina.subscribe() as late, lumina.trace("second"):
            pass
        with lumina.trace("third"):
            pass
    with lumina.trace("fourth"):
        pass
    names = [
        [n.name for t in live.traces.values() for n in t] for live in (early, late) if live.poll()
    ]
    assert names == [["first", "second", "third"], ["second"]]


def test_traces_that_finished_are_forgotten_past_a_bound(recorded: Recorded) -> None:
    with lumina.subscribe(keep_finished=3) as live, lumina.trace("open"):
        for n in range(10):
            with lumina.trace(f"span {n}", root=True):
                pass
        live.poll()
        assert [t.roots[0].name for t in live.traces.values()] == [
            "open",
            "span 7",
            "span 8",
            "span 9",
        ]


@pytest.mark.anyio
async def test_iterating_one_that_was_never_opened_is_loud(recorded: Recorded) -> None:
    with pytest.raises(lumina.LuminaError, match="open the subscription first"):
        aiter(lumina.subscribe())


PROGRAM = """
import asyncio, sys
sys.modules["sniffio"] = sys.modules["trio"] = None  # neither is installed
import lumina_stream as lumina

async def main():
    with lumina.init(export=False):
        async with lumina.subscribe() as live:
            asyncio.get_running_loop().call_soon(lambda: lumina.start_span("x").end())
            print(len((await anext(live)).facts))

asyncio.run(main())
"""


def test_asyncio_needs_neither_trio_nor_sniffio() -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2\n", "")
