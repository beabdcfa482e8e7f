"""From the call to the log and the tail: real programs, real relay, nothing lost and nothing doubled."""

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest
from support.programs import facts_of, get_json, is_span_event, only_trace, program, run, spans_of
from support.relay_process import Consumer, running_relay

from lumina_stream.model.events import AttributeSet, Fact, SpanStarted
from lumina_stream.model.forest import Forest
from lumina_stream.protocol import frames

CROWD = """
    import asyncio, sys, threading
    import lumina_stream as lumina

    lumina.init(service_name="crowd")
    per_thread, tasks, per_task = map(int, sys.argv[1:])

    def in_thread(number):
        with lumina.trace(f"thread {number}") as top:
            for n in range(per_thread - 1):
                with lumina.trace("step") as span:
                    span.set_attribute("parent", top.span_id)

    async def in_task(number):
        async with lumina.trace(f"task {number}") as top:
            for n in range(per_task - 1):
                await asyncio.sleep(0)
                async with lumina.trace("step") as span:
                    await asyncio.sleep(0)
                    span.set_attribute("parent", top.span_id)

    async def main():
        await asyncio.gather(*(in_task(n) for n in range(tasks)))

    threads = [threading.Thread(target=in_thread, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    assert lumina.flush(60)
    statistics = lumina.statistics()
    assert statistics.lost == 0 and statistics.faults == 0, statistics
    print(statistics.recorded)
"""


def assert_dense(facts: list[Fact]) -> None:
    """Every producer's seq starts at 1 and has no hole and no double."""
    by_producer: dict[str, list[int]] = defaultdict(list)
    for fact in facts:
        by_producer[fact.producer_id].append(fact.seq)
    for producer_id, seqs in by_producer.items():
        assert seqs == list(range(1, len(seqs) + 1)), producer_id


def assert_true_parents(facts: list[Fact]) -> None:
    """Every `step` hangs below the span whose id the program saw as its parent."""
    parents = {
        f.event.span_id: f.event.parent_id for f in facts if isinstance(f.event, SpanStarted)
    }
    told = [f.event for f in facts if isinstance(f.event, AttributeSet)]
    assert told
    for event in told:
        assert parents[event.span_id] == event.value


@pytest.mark.slow
def test_crowd(tmp_path: Path) -> None:
    """40,000 spans from 4 threads and 4,000 tasks at once arrive once each, under their parents."""
    per_thread, tasks, per_task = 5_000, 4_000, 5
    spans = 4 * per_thread + tasks * per_task
    assert spans == 40_000
    with running_relay(tmp_path / "data") as relay:
        out, _ = run(CROWD, relay.url, str(per_thread), str(tasks), str(per_task))
        steps = spans - 4 - tasks
        assert int(out) == 2 * spans + steps
        facts = asyncio.run(facts_of(relay.url, count=int(out), service="crowd"))
    mine = [fact for fact in facts if is_span_event(fact)]
    assert len(mine) == int(out)
    assert_dense(mine)
    assert_true_parents(mine)
    assert sum(isinstance(fact.event, SpanStarted) for fact in mine) == spans


@pytest.mark.parametrize("block", ["time.sleep(0.005)", "sum(range(20_000))"])
def test_blocked_loop(tmp_path: Path, block: str) -> None:
    """A span's start and attributes are in the tail while the program's loop is blocked in it."""
    flag = tmp_path / "seen"
    source = f"""
        import asyncio, os, sys, time
        import lumina_stream as lumina

        lumina.init(service_name="blocked")

        async def main():
            async with lumina.trace("blocking") as span:
                span.set_attribute("step", 1)
                deadline = time.monotonic() + 20
                while not os.path.exists(sys.argv[1]) and time.monotonic() < deadline:
                    {block}
                span.set_attribute("seen", os.path.exists(sys.argv[1]))

        asyncio.run(main())
    """

    async def watch(url: str) -> None:
        consumer = Consumer(url, frames.Subscribe(snapshot=True))
        async with consumer.connected():
            with program(source, url, str(flag)) as process:
                await consumer.until(
                    lambda: any(isinstance(f.event, AttributeSet) for f in consumer.facts)
                )
                flag.touch()  # only now can the block end
                _, err = await asyncio.to_thread(process.communicate, timeout=60)
                assert process.returncode == 0, err
        assert any(isinstance(f.event, SpanStarted) for f in consumer.facts)

    with running_relay(tmp_path / "data") as relay:
        asyncio.run(watch(relay.url))
        (span,) = spans_of(only_trace(relay.url))
    assert span["attributes"] == {"step": 1, "seen": True}


def test_row_4_relay_killed_and_restarted(tmp_path: Path) -> None:
    """A relay that is killed twice while a program runs has everything in the end, once."""
    source = """
        import sys
        import lumina_stream as lumina

        lumina.init(service_name="persistent")
        number = 0
        for line in sys.stdin:  # one burst a line: the test says when
            with lumina.trace("burst", number=number):
                for _ in range(500):
                    with lumina.trace("step") as span:
                        span.set_attribute("number", number)
            number += 1
            print(number, flush=True)
        print(lumina.flush(60), lumina.statistics().recorded)
    """
    with running_relay(tmp_path / "data") as relay:
        port = relay.port
        with program(source, relay.url) as process:
            assert process.stdin is not None and process.stdout is not None
            for death in range(3):
                for _ in range(4):
                    process.stdin.write("go\n")
                    process.stdin.flush()
                    process.stdout.readline()
                if death < 2:
                    relay.kill()
                    process.stdin.write("go\n")  # while there is no relay
                    process.stdin.flush()
                    process.stdout.readline()
                    relay.start(port)
            process.stdin.close()
            delivered, recorded = process.stdout.read().split()
            assert delivered == "True"
            assert process.wait(60) == 0
        facts = asyncio.run(facts_of(relay.url, count=int(recorded), service="persistent"))
    mine = [fact for fact in facts if is_span_event(fact)]
    assert len(mine) == int(recorded) == 14 * (2 + 500 * 3)
    assert_dense(mine)
    forest = Forest()
    for fact in facts:
        forest.apply(fact.event, fact.producer_id, fact.seq)
    assert {tree.state for tree in forest} == {"ok"}


def test_row_5_no_relay(tmp_path: Path) -> None:
    """Without a relay the program runs and ends as ever; one line says what was not delivered."""
    source = """
        import lumina_stream as lumina

        lumina.init(service_name="alone")
        for _ in range(100):
            with lumina.trace("step"):
                pass
        print("done")
    """
    with running_relay(tmp_path / "data") as relay:
        nobody = relay.url
    out, err = run(source, nobody)
    assert out == "done\n"
    assert err.count("\n") == 1
    assert "200 events were not delivered" in err and nobody in err


def test_short_program_is_delivered(tmp_path: Path) -> None:
    """A program that ends before the exporter has even connected is delivered at exit."""
    source = """
        import lumina_stream as lumina

        lumina.init(service_name="short")
        with lumina.trace("only"):
            pass
    """
    with running_relay(tmp_path / "data") as relay:
        _, err = run(source, relay.url)
        assert err == ""
        assert [span["name"] for span in spans_of(only_trace(relay.url))] == ["only"]


def test_environment_turns_tracing_on(tmp_path: Path) -> None:
    """A library that traces without `init` is recorded once LUMINA_ENDPOINT is set, and only then."""
    source = """
        import lumina_stream as lumina

        with lumina.trace("library"):
            pass
    """
    with running_relay(tmp_path / "data") as relay:
        run(source, None)
        run(source, relay.url, LUMINA_ENABLED="0")
        assert get_json(f"{relay.url}/v1/traces")["traces"] == []
        run(source, relay.url)
        assert len(get_json(f"{relay.url}/v1/traces")["traces"]) == 1


def test_two_runs_of_one_trace_over_headers(tmp_path: Path) -> None:
    """A trace that goes on in another process is one tree."""
    first = """
        import json
        import lumina_stream as lumina

        lumina.init(service_name="client")
        with lumina.trace("request"):
            print(json.dumps(lumina.inject()))
    """
    second = """
        import json, sys
        import lumina_stream as lumina

        lumina.init(service_name="server")
        with lumina.trace("handle", parent=lumina.extract(json.loads(sys.argv[1]))):
            with lumina.trace("work"):
                pass
    """
    with running_relay(tmp_path / "data") as relay:
        headers, _ = run(first, relay.url)
        run(second, relay.url, headers)
        trace = only_trace(relay.url)
    request, handle, work = spans_of(trace)
    assert (request["name"], request["service"]) == ("request", "client")
    assert (handle["name"], handle["service"]) == ("handle", "server")
    assert request["children"] == [handle] and handle["children"] == [work]
    assert trace["state"] == "ok"
