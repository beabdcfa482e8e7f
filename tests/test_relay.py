"""A real relay process, spoken to by the shipped machines over real sockets."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import msgspec
import pytest
from support.relay_process import (
    PATIENCE_S,
    REPOSITORY,
    Consumer,
    Producer,
    RelayProcess,
    ended,
    new_hello,
    new_span,
    new_trace,
    open_socket,
    running_relay,
    started,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lumina_stream.model import codec
from lumina_stream.model.events import (
    AttributeSet,
    EventsLost,
    ProducerEnded,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
)
from lumina_stream.model.forest import Forest
from lumina_stream.model.live import LiveTraces
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import Restarted, Resumed
from lumina_stream.protocol.wire import BINARY, JSON
from lumina_stream.relay.console import Refusals, RelayLog


@pytest.fixture
def relay(tmp_path):
    """A relay with an empty log."""
    with running_relay(tmp_path / "data") as process:
        yield process


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A relay whose log nobody asks about."""
    with running_relay(tmp_path_factory.mktemp("shared") / "data") as process:
        yield process


def span_facts(consumer: Consumer) -> list:
    return [f for f in consumer.facts if hasattr(f.event, "span_id")]


def types(consumer: Consumer) -> list[type]:
    return [type(f.event) for f in consumer.facts]


# --- the way of an event -------------------------------------------------------------------------


def test_events_are_acknowledged_and_reach_a_tail(relay) -> None:
    """The thinnest path: hello, batch, ack, facts in order with dense offsets, bye."""

    async def go() -> None:
        consumer, producer = Consumer(relay.url, frames.Subscribe()), Producer(relay.url)
        trace = new_trace()
        span = new_span()
        async with consumer.connected(), producer.connected():
            await consumer.until_type(frames.Snapshot)
            await producer.store(started(trace, span), ended(trace, span))
            await producer.bye()
            await consumer.until(lambda: len(consumer.facts) == 4)
        assert types(consumer) == [ProducerStarted, SpanStarted, SpanEnded, ProducerEnded]
        assert [f.offset for f in consumer.facts] == [1, 2, 3, 4]
        assert [(f.seq, f.service) for f in span_facts(consumer)] == [(1, "svc"), (2, "svc")]

    asyncio.run(go())


def test_json_says_the_same(relay) -> None:
    """The JSON subprotocol carries the same facts."""

    async def go() -> None:
        binary = Consumer(relay.url, frames.Subscribe())
        text = Consumer(relay.url, frames.Subscribe(), wire=JSON)
        producer = Producer(relay.url)
        trace, span = new_trace(), new_span()
        async with binary.connected(), text.connected(), producer.connected():
            await binary.until_type(frames.Snapshot)
            await text.until_type(frames.Snapshot)
            big = AttributeSet(trace, span, time.time_ns(), "big", 2**60)
            await producer.store(started(trace, span), big, ended(trace, span))
            await binary.until(lambda: len(binary.facts) == 4)
            await text.until(lambda: len(text.facts) == 4)
        assert text.facts == binary.facts

    asyncio.run(go())


def test_duplicates_are_acknowledged_and_stored_once(relay) -> None:
    """A resent batch, whole or in part, changes nothing."""

    async def go() -> None:
        producer, trace = Producer(relay.url), new_trace()
        events = [started(trace, new_span()) for _ in range(6)]
        raw = [codec.encode(event) for event in events]
        async with producer.connected():
            await producer.store(*events[:4])
            for first, last in ((1, 4), (3, 6), (1, 6)):
                batch = frames.Batch(first, msgspec.Raw(codec.join_array(raw[first - 1 : last])))
                await producer.socket.send(codec.encode(batch))
                frame = BINARY.relay_to_producer(await producer.socket.recv())
                assert frame == frames.Ack(max(4, last))
        assert httpx.get(f"{relay.url}/v1/traces/{trace}").json()["spans"] == 6
        assert httpx.get(f"{relay.url}/healthz").json()["offset"] == 7

    asyncio.run(go())


def test_a_refused_event_does_not_poison_its_batch(relay) -> None:
    """Its neighbours are shown, its seq is acknowledged, and it is counted."""

    async def go() -> None:
        consumer, producer, trace = (
            Consumer(relay.url, frames.Subscribe()),
            Producer(relay.url),
            new_trace(),
        )
        deep: list = []
        for _ in range(60):
            deep = [deep]
        async with consumer.connected(), producer.connected():
            await consumer.until_type(frames.Snapshot)
            good = started(trace, new_span())
            await producer.store(
                started("../etc", new_span()),
                started(trace, "not a span id"),
                good,
                AttributeSet(trace, new_span(), 1, "deep", deep),
                ProducerLost(1, "somebody else", 1, 1),
                EventsLost(1, "queue", 3, subject_id="somebody else"),
                ended(trace, good.span_id),
            )
            await consumer.until(lambda: len(consumer.facts) == 3)
        assert [f.seq for f in span_facts(consumer)] == [3, 7]
        assert "lumina_events_refused_total 5" in httpx.get(f"{relay.url}/metrics").text

    asyncio.run(go())


def test_a_second_incarnation_is_told_to_take_a_new_id(shared) -> None:
    """A clone with the same producer id and another nonce does not mix into its seq."""

    async def go() -> None:
        producer = Producer(shared.url)
        clone = msgspec.structs.replace(new_hello(), producer_id=producer.session.producer_id)
        async with producer.connected():
            async with open_socket(shared.url, "/v1/stream") as other:
                await other.send(codec.encode(clone))
                frame = BINARY.relay_to_producer(await other.recv())
                assert isinstance(frame, frames.Error) and frame.new_identity
                with pytest.raises(ConnectionClosed):
                    await other.recv()
            await producer.store(started(new_trace(), new_span()))

    asyncio.run(go())


def test_a_newer_connection_supersedes_the_older(shared) -> None:
    async def go() -> None:
        producer = Producer(shared.url)
        async with producer.connected():
            await producer.store(started(new_trace(), new_span()))
            older = producer.socket
            async with producer.connected():
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(older.recv(), PATIENCE_S)
                await producer.store(started(new_trace(), new_span()))

    asyncio.run(go())


def test_what_a_producer_no_longer_has_is_recorded_as_lost(relay) -> None:
    """A hello from beyond the log's end: the hole is said, and it goes on."""

    async def go() -> None:
        consumer = Consumer(relay.url, frames.Subscribe())
        hello = msgspec.structs.replace(new_hello(), first_seq=11)
        async with consumer.connected():
            await consumer.until_type(frames.Snapshot)
            async with open_socket(relay.url, "/v1/stream") as socket:
                await socket.send(codec.encode(hello))
                await consumer.until(lambda: EventsLost in types(consumer))
                event = codec.encode(started(new_trace(), new_span()))
                await socket.recv()
                await socket.send(
                    codec.encode(frames.Batch(11, msgspec.Raw(codec.join_array([event]))))
                )
                assert BINARY.relay_to_producer(await socket.recv()) == frames.Ack(11)
        (lost,) = [f.event for f in consumer.facts if isinstance(f.event, EventsLost)]
        assert (lost.reason, lost.count, lost.exact) == ("log_rollback", 10, True)
        assert lost.subject_id == hello.producer_id

    asyncio.run(go())


# --- subscriptions -------------------------------------------------------------------------------


def test_a_late_joiner_gets_the_open_traces_and_then_facts(relay) -> None:
    """A snapshot of what runs; what is finished is left out; the tree is the whole one."""

    async def go() -> None:
        producer = Producer(relay.url)
        done, running, span, child = new_trace(), new_trace(), new_span(), new_span()
        async with producer.connected():
            over = new_span()
            await producer.store(
                started(done, over), ended(done, over), started(running, span, "slow")
            )
            consumer = Consumer(relay.url, frames.Subscribe())
            async with consumer.connected():
                await consumer.until(
                    lambda: any(getattr(u, "done", False) for u in consumer.updates)
                )
                await producer.store(started(running, child, "child", span), ended(running, child))
                await consumer.until(lambda: len(consumer.facts) >= 2)
        traces = {
            u.trace_id for u in consumer.updates if isinstance(u, frames.Snapshot) and u.trace_id
        }
        assert traces == {running}
        assert [f.event.span_id for f in consumer.facts] == [child, child]

    asyncio.run(go())


def test_a_finished_trace_that_goes_on_is_sent_whole_first(relay) -> None:
    """A late fact of a trace that was finished before the consumer came is preceded by its snapshot."""

    async def go() -> None:
        producer, trace, span = Producer(relay.url), new_trace(), new_span()
        async with producer.connected():
            await producer.store(started(trace, span), ended(trace, span))
            consumer = Consumer(relay.url, frames.Subscribe())
            async with consumer.connected():
                await consumer.until_type(frames.Snapshot)
                consumer.updates.clear()
                await producer.store(AttributeSet(trace, span, time.time_ns(), "late", True))
                await consumer.until(lambda: bool(consumer.facts))
        (snapshot,) = [u for u in consumer.updates if isinstance(u, frames.Snapshot)]
        assert snapshot.trace_id == trace and snapshot.spans is not None

    asyncio.run(go())


def test_a_consumer_resumes_where_it_stopped(relay) -> None:
    """Disconnected again and again, it gets every fact once, in order."""

    async def go() -> None:
        consumer, producer = Consumer(relay.url, frames.Subscribe()), Producer(relay.url)
        trace = new_trace()
        async with producer.connected():
            async with consumer.connected():
                await consumer.until_type(frames.Snapshot)
            for round_ in range(1, 6):
                await producer.store(*(started(trace, new_span()) for _ in range(50)))
                async with consumer.connected():
                    await producer.store(*(started(trace, new_span()) for _ in range(50)))
                    await consumer.until(lambda n=round_: len(span_facts(consumer)) >= 100 * n - 30)
        async with consumer.connected():
            await consumer.take()
            await consumer.until(lambda: len(span_facts(consumer)) >= 500)
        assert [f.seq for f in span_facts(consumer)] == list(range(1, 501))
        assert sum(isinstance(u, Resumed) for u in consumer.updates) == 6
        assert sum(isinstance(u, Restarted) for u in consumer.updates) == 1

    asyncio.run(go())


def test_a_cursor_of_an_unknown_epoch_starts_over(shared) -> None:
    async def go() -> None:
        consumer = Consumer(shared.url, frames.Subscribe())
        async with open_socket(shared.url, "/v1/tail") as socket:
            asked = frames.Subscribe(cursor=frames.Cursor("0" * 16, 5))
            await socket.send(codec.encode(asked))
            updates = consumer.session.receive(await socket.recv())
            assert isinstance(updates[0], Restarted)

    asyncio.run(go())


def test_since_replays_what_arrived_since(relay) -> None:
    async def go() -> None:
        producer, trace = Producer(relay.url), new_trace()
        async with producer.connected():
            await producer.store(started(trace, new_span(), "before"))
            since = time.time_ns()
            await producer.store(started(trace, new_span(), "after"))
            consumer = Consumer(relay.url, frames.Subscribe(since_ns=since))
            async with consumer.connected():
                await consumer.until(lambda: bool(span_facts(consumer)))
                await producer.store(started(trace, new_span(), "live"))
                await consumer.until(lambda: len(span_facts(consumer)) == 2)
        assert [f.event.name for f in span_facts(consumer)] == ["after", "live"]

    asyncio.run(go())


def states_met(updates: list) -> tuple[Forest, dict[str, list[str]]]:
    """Fold what a consumer got, fact by fact; return the trees and the states each span went through."""
    forest, met = Forest(), {}

    def note() -> None:
        for tree in forest:
            for node in tree:
                states = met.setdefault(node.span_id, [])
                if states[-1:] != [node.state]:
                    states.append(node.state)

    for update in updates:
        if isinstance(update, frames.Snapshot):
            for producer in update.producers:
                if (changed := forest.producers.restore(producer)) is not None:
                    forest.producer_changed(changed)
            note()
        for fact in getattr(update, "facts", ()):
            forest.apply(fact.event, fact.producer_id, fact.seq)
            note()
    return forest, met


@pytest.mark.parametrize(
    "view", ["since", "since one", "since view", "from its beginning", "view from its beginning"]
)
def test_a_replay_tells_no_fate_before_its_time(relay, view: str) -> None:
    """What became of a producer comes after what it said: an ended span was never `unended`."""

    async def go() -> None:
        hello, trace, span, open_span = new_hello(), new_trace(), new_span(), new_span()
        producer = Producer(relay.url, hello=hello)
        async with producer.connected():
            await producer.store(started(trace, span), started(trace, open_span, parent_id=span))
            await producer.store(ended(trace, span))
            await producer.bye()
        killed = new_trace()
        child = hung_program(relay, killed)
        child.kill()
        child.wait()
        while state_of(relay, killed) == "running":
            await asyncio.sleep(0.01)
        one = frames.Filter(trace_id=trace)
        asked = {
            "since": frames.Subscribe(since_ns=0),
            "since one": frames.Subscribe(filter=one, since_ns=0),
            "since view": frames.Subscribe("trace", one, since_ns=0),
            "from its beginning": frames.Subscribe(filter=one, snapshot=False),
            "view from its beginning": frames.Subscribe("trace", one, snapshot=False),
        }[view]
        consumer = Consumer(relay.url, asked)
        async with consumer.connected():
            await consumer.until_type(frames.Progress)
        forest, met = states_met(consumer.updates)
        assert met[span] == ["running", "ok"]
        assert met[open_span][0] == "running" and met[open_span][-1] == "unended"
        assert forest.producers.service(hello.producer_id) == "svc"
        assert forest.traces[trace].state == state_of(relay, trace)
        if view == "since":
            assert forest.traces[killed].state == "interrupted"

    asyncio.run(go())


def test_a_filter_selects_traces_and_keeps_them(relay) -> None:
    """By name: the other trace never shows; the selected one shows whole."""

    async def go() -> None:
        producer, wanted, other, span = Producer(relay.url), new_trace(), new_trace(), new_span()
        asked = frames.Subscribe(filter=frames.Filter(name="rag*"))
        consumer = Consumer(relay.url, asked)
        async with producer.connected(), consumer.connected():
            await consumer.until_type(frames.Snapshot)
            await producer.store(
                started(other, new_span(), "cron"), started(wanted, span, "rag_request")
            )
            await producer.store(
                started(other, new_span()), started(wanted, new_span(), "child", span)
            )
            await producer.store(ended(wanted, span))
            await consumer.until(lambda: len(span_facts(consumer)) == 3)
        assert {f.event.trace_id for f in span_facts(consumer)} == {wanted}

    asyncio.run(go())


def test_a_trace_that_becomes_selected_comes_with_its_snapshot(relay) -> None:
    """By state: a trace that fails late is shown from its beginning."""

    async def go() -> None:
        producer, trace, span = Producer(relay.url), new_trace(), new_span()
        consumer = Consumer(relay.url, frames.Subscribe(filter=frames.Filter(state="error")))
        async with producer.connected(), consumer.connected():
            await consumer.until_type(frames.Snapshot)
            consumer.updates.clear()
            await producer.store(started(trace, span, "fails"))
            await producer.store(SpanEnded(trace, span, time.time_ns(), "error"))
            await consumer.until(lambda: bool(span_facts(consumer)))
        (snapshot,) = [u for u in consumer.updates if isinstance(u, frames.Snapshot)]
        assert snapshot.trace_id == trace
        assert [type(f.event) for f in span_facts(consumer)] == [SpanEnded]

    asyncio.run(go())


def test_the_views_of_one_trace(relay) -> None:
    """`trace` shows a finished trace whole; `events` without a snapshot replays its facts."""

    async def go() -> None:
        producer, trace, other, span = Producer(relay.url), new_trace(), new_trace(), new_span()
        async with producer.connected():
            await producer.store(
                started(trace, span), started(other, new_span()), ended(trace, span)
            )
            one = frames.Filter(trace_id=trace)
            view = Consumer(relay.url, frames.Subscribe("trace", one))
            replay = Consumer(relay.url, frames.Subscribe("events", one, snapshot=False))
            async with view.connected(), replay.connected():
                await view.until(lambda: any(getattr(u, "done", False) for u in view.updates))
                await replay.until(lambda: len(span_facts(replay)) == 2)
                await producer.store(
                    started(other, new_span()), started(trace, new_span(), "late", span)
                )
                await view.until(lambda: bool(view.facts))
                await replay.until(lambda: len(span_facts(replay)) == 3)
        assert {u.trace_id for u in view.updates if isinstance(u, frames.Snapshot)} >= {trace}
        assert [f.event.name for f in span_facts(view)] == ["late"]
        assert {f.event.trace_id for f in span_facts(replay)} == {trace}

    asyncio.run(go())


def test_lists_of_traces_and_of_running_spans(relay) -> None:
    async def go() -> None:
        producer, trace, span = Producer(relay.url), new_trace(), new_span()
        listed = Consumer(relay.url, frames.Subscribe("traces"))
        running = Consumer(relay.url, frames.Subscribe("running"))

        def total() -> int | None:
            last = running.updates[-1]
            return last.total if isinstance(last, frames.Running) else None

        async with listed.connected(), running.connected(), producer.connected():
            await listed.until_type(frames.Summaries)
            await running.until_type(frames.Running)
            await producer.store(started(trace, span, "slow"))
            await listed.until(lambda: _last(listed, trace) == "running")
            await running.until(lambda: total() == 1)
            assert running.updates[-1].spans[0].name == "slow"
            await producer.store(ended(trace, span))
            await listed.until(lambda: _last(listed, trace) == "ok")
            await running.until(lambda: total() == 0)

    asyncio.run(go())


def _last(consumer: Consumer, trace_id: str) -> str | None:
    found = None
    for update in consumer.updates:
        if isinstance(update, frames.Summaries):
            for summary in update.traces:
                if summary.trace_id == trace_id:
                    found = summary.state
    return found


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc1",
        b"",
        codec.encode(frames.Subscribe("trace")),
        codec.encode(frames.Subscribe(filter=frames.Filter(trace_id="../x"))),
        b"\x91" * 1_000_000,
        b"\xdf\xff\xff\xff\xff",
    ],
)
def test_a_malformed_subscription_is_refused(shared, frame: bytes) -> None:
    """An error frame or a close, and the shared goes on."""

    async def go() -> None:
        async with open_socket(shared.url, "/v1/tail") as socket:
            await socket.send(frame)
            with pytest.raises(ConnectionClosed):
                for _ in range(2):
                    await asyncio.wait_for(socket.recv(), PATIENCE_S)
        assert httpx.get(f"{shared.url}/healthz").json()["status"] == "ok"

    asyncio.run(go())


@pytest.mark.parametrize("path", ["/v1/stream", "/v1/tail"])
def test_row_13_garbage_closes_only_its_own_connection(shared, path: str) -> None:
    async def go() -> None:
        async with open_socket(shared.url, path) as socket:
            await socket.send("text")
            with pytest.raises(ConnectionClosed):
                for _ in range(2):
                    await asyncio.wait_for(socket.recv(), PATIENCE_S)
        producer = Producer(shared.url)
        async with producer.connected():
            await producer.store(started(new_trace(), new_span()))

    asyncio.run(go())


# --- life and death ------------------------------------------------------------------------------

_CHILD = """
import asyncio, sys, os
sys.path[:0] = [{tests!r}, {root!r}]
from support.relay_process import *
async def go():
    producer = Producer({url!r}, hello=new_hello(os.getpid()))
    async with producer.connected():
        await producer.store(started({trace!r}, "1" * 16, "hung"))
        print("stored", flush=True)
        await asyncio.Event().wait()
asyncio.run(go())
"""


def hung_program(relay: RelayProcess, trace: str) -> subprocess.Popen:
    code = _CHILD.format(
        tests=str(REPOSITORY / "tests"), root=str(REPOSITORY), url=relay.url, trace=trace
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"stored\n"
    child.stdout.close()
    return child


def state_of(relay: RelayProcess, trace: str) -> str:
    return httpx.get(f"{relay.url}/v1/traces/{trace}").json()["state"]


def test_a_killed_program_is_interrupted_and_not_reaped_for_it(relay) -> None:
    """SIGKILL: `producer_lost` follows although nobody reaps the process."""

    async def go() -> None:
        consumer, trace = Consumer(relay.url, frames.Subscribe()), new_trace()
        async with consumer.connected():
            await consumer.until_type(frames.Snapshot)
            child = hung_program(relay, trace)
            assert state_of(relay, trace) == "running"
            child.kill()
            await consumer.until(lambda: ProducerLost in types(consumer))
            assert state_of(relay, trace) == "interrupted"
            child.wait()

    asyncio.run(go())


def test_a_program_that_died_while_the_relay_was_down(tmp_path) -> None:
    """The next start looks whether the process is still there."""
    trace = new_trace()
    with running_relay(tmp_path / "data") as relay:
        child = hung_program(relay, trace)
        relay.kill()
        child.kill()
        child.wait()
        relay.start()

        async def go() -> None:
            live, consumer = LiveTraces(), Consumer(relay.url, frames.Subscribe(since_ns=0))
            async with consumer.connected():
                await consumer.until(lambda: ProducerLost in types(consumer))
            live.apply(consumer.facts)
            assert live.traces[trace].state == "interrupted"

        asyncio.run(go())


def test_a_lost_producer_returns(tmp_path) -> None:
    """A producer that was taken for lost goes on under its own seq, and what it had may be counted."""
    with running_relay(tmp_path / "data", lease_s=0.1) as relay:

        async def go() -> None:
            producer = Producer(relay.url, hello=new_hello())
            consumer = Consumer(relay.url, frames.Subscribe(since_ns=0))
            async with producer.connected():
                await producer.store(started(new_trace(), new_span()))
                await producer.socket.send(producer.session.heartbeat(4, 0, 0))
                producer.socket.transport.abort()
            async with consumer.connected():
                await consumer.until(lambda: EventsLost in types(consumer))
                lost = next(f.event for f in consumer.facts if isinstance(f.event, EventsLost))
                assert (lost.reason, lost.count, lost.exact) == ("producer_lost", 4, False)
                async with producer.connected():
                    await producer.store(started(new_trace(), new_span()))
                    await consumer.until(lambda: ProducerReturned in types(consumer))
                await consumer.until(lambda: len(span_facts(consumer)) == 2)
            assert [f.seq for f in span_facts(consumer)] == [1, 2]

        asyncio.run(go())


def test_killed_and_restarted_nothing_acknowledged_is_missing(tmp_path) -> None:
    """SIGKILL under load, five times: dense seq, nothing twice, the consumer's cursor holds."""
    with running_relay(tmp_path / "data") as relay:
        port = relay.port

        async def go() -> None:
            trace = new_trace()
            producer = Producer(relay.url)
            consumer = Consumer(relay.url, frames.Subscribe(since_ns=0))
            for _ in range(5):
                with pytest.raises((ConnectionClosed, OSError, EOFError)):
                    async with producer.connected(), consumer.connected():
                        killer = asyncio.create_task(_kill_after(relay, producer, 300))
                        while True:
                            producer.add(*(started(trace, new_span()) for _ in range(10)))
                            await producer.flush()
                            await producer.acknowledged()
                await killer
                await asyncio.to_thread(relay.start, port)
            async with producer.connected(), consumer.connected():
                await producer.flush()
                await producer.acknowledged()
                total = producer.session.last_seq
                await consumer.until(
                    lambda: bool(span_facts(consumer)) and span_facts(consumer)[-1].seq == total
                )
            assert [f.seq for f in span_facts(consumer)] == list(range(1, total + 1))

        asyncio.run(go())


async def _kill_after(relay: RelayProcess, producer: Producer, events: int) -> None:
    until = producer.session.acked + events
    while producer.session.acked < until:
        await asyncio.sleep(0)
    await asyncio.to_thread(relay.kill)


# --- routes and access ---------------------------------------------------------------------------


def test_routes(relay) -> None:
    health = httpx.get(f"{relay.url}/healthz")
    body = health.json()
    assert (body["service"], body["status"], body["pid"]) == (
        "lumina-stream",
        "ok",
        relay.process.pid,
    )
    assert set(body) == {
        "service",
        "version",
        "status",
        "relay_id",
        "epoch",
        "offset",
        "uptime_s",
        "pid",
    }
    page = httpx.get(relay.url)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert httpx.get(f"{relay.url}/v1/traces").json() == {"traces": [], "next": None}
    assert httpx.get(f"{relay.url}/v1/traces?state=ok&limit=2&sort=duration").status_code == 200
    for wrong, said in {
        "sort=nonsense": "sort is 'nonsense'; it takes start, duration, spans, errors, last",
        "limit=x": "limit is 'x'; it takes a whole number",
        "error=perhaps": "error is 'perhaps'; it takes true or false",
        "state=bogus": "no state 'bogus'; there are running, ok, ",
        "nonsense=1": "no parameter 'nonsense'; there are service, session, ",
        "state=ok&state=ok": "state comes twice",
    }.items():
        answer = httpx.get(f"{relay.url}/v1/traces?{wrong}")
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(said)
    assert httpx.get(f"{relay.url}/v1/costs?nonsense=1").json()["error"].startswith("no parameter")
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/healthz", 405)):
        answer = httpx.request(method, relay.url + path)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
    assert httpx.post(f"{relay.url}/v1/traces", content=b"x").status_code == 415
    assert "lumina_log_offset 0" in httpx.get(f"{relay.url}/metrics").text


@pytest.mark.parametrize(
    "path", ["/v1/traces/..%2f..%2fetc", "/v1/traces/..%2fx", "/v1/traces/" + "0" * 32, "/nothing"]
)
def test_row_18_what_is_not_there_is_404(shared, path: str) -> None:
    assert httpx.get(shared.url + path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/v1/traces", "/metrics", "/v1/traces/" + "1" * 32])
@pytest.mark.parametrize(
    "headers", [{"Origin": "null"}, {"Origin": "http://evil.example"}, {"Host": "evil.example"}]
)
def test_row_17_foreign_pages_are_refused_on_every_route(shared, path: str, headers: dict) -> None:
    assert httpx.get(shared.url + path, headers=headers).status_code == 403
    assert httpx.post(shared.url + path, headers=headers).status_code == 403
    assert httpx.get(shared.url + "/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/stream", "/v1/tail"])
def test_row_17_foreign_pages_are_refused_on_websockets(shared, path: str) -> None:
    async def go() -> None:
        for origin in ("null", "http://evil.example"):
            with pytest.raises(InvalidStatus) as caught:
                async with open_socket(shared.url, path, headers={"Origin": origin}):
                    pass
            assert caught.value.response.status_code == 403

    asyncio.run(go())


def test_a_refused_websocket_is_logged_once_a_minute(tmp_path) -> None:
    """One warning with reason and route, however often it comes again; nothing of uvicorn's."""

    async def go() -> None:
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                async with open_socket(relay.url, "/v1/tail", headers={"Origin": "null"}):
                    pass

    with running_relay(tmp_path / "data") as relay:
        asyncio.run(go())
    (line,) = [json.loads(line) for line in relay.stderr().splitlines() if line.startswith("{")]
    assert (line["level"], line["route"]) == ("warning", "/v1/tail")
    assert line["reason"].startswith("this origin may not use the relay")


def test_refusals_are_counted_in_between() -> None:
    """After a minute the next line says how many were not logged."""
    now, said = 0.0, []

    class Log(RelayLog):
        def log(self, level: int, text: str, **more: object) -> None:
            said.append(more)

    refusals = Refusals(Log(), clock=lambda: now)
    for _ in range(5):
        refusals.note("why", "/v1/tail")
    refusals.note("other", "/v1/tail")
    now = 61.0
    refusals.note("why", "/v1/stream")
    assert said == [
        {"reason": "why", "route": "/v1/tail"},
        {"reason": "other", "route": "/v1/tail"},
        {"reason": "why", "route": "/v1/stream", "suppressed": 4},
    ]


def test_a_line_is_written_without_structlog(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A relay that starts into a crowd may have no file descriptor left to import it with."""

    def fail(log_format: str) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("lumina_stream.relay.console._logger", fail)
    Refusals(RelayLog()).note("no connection can be accepted", "/v1/stream")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refused a connection ") and "no connection can be accepted" in line


def test_row_16_tokens_on_websockets(tmp_path) -> None:
    with running_relay(tmp_path / "data", write_token="w" * 16, read_token="r" * 16) as relay:

        async def go() -> None:
            async def status(path: str, token: str | None) -> int:
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                try:
                    async with open_socket(relay.url, path, headers=headers):
                        return 101
                except InvalidStatus as error:
                    return error.response.status_code

            assert await status("/v1/stream", None) == 401
            assert await status("/v1/stream", "wrong") == 401
            assert await status("/v1/stream", "r" * 16) == 403
            assert await status("/v1/stream", "w" * 16) == 101
            assert await status("/v1/tail", "r" * 16) == 101
            assert await status("/v1/tail", "w" * 16) == 403
            assert httpx.get(f"{relay.url}/metrics").status_code == 401

        asyncio.run(go())
        relay.stop()
        assert "wwww" not in relay.stderr() and "rrrr" not in relay.stderr()


# --- the process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(tmp_path, number: int) -> None:
    """Exit code 0 and nothing odd on stderr, with peers connected."""
    with running_relay(tmp_path / "data") as relay:

        async def go() -> None:
            producer, consumer = Producer(relay.url), Consumer(relay.url, frames.Subscribe())
            async with producer.connected(), consumer.connected():
                await consumer.until_type(frames.Snapshot)
                await producer.store(started(new_trace(), new_span()))
                relay.process.send_signal(number)
                assert await asyncio.to_thread(relay.wait) == 0

        asyncio.run(go())
        assert "Traceback" not in relay.stderr() and "error" not in relay.stderr()


def run_serve(data, port: int = 0) -> subprocess.CompletedProcess:
    code = (
        "import sys, pathlib\nfrom lumina_stream.relay.serve import RelayConfig, serve\n"
        f"sys.exit(serve(RelayConfig(port={port}, data=pathlib.Path({str(data)!r}))))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_row_9_a_second_relay_on_the_same_folder_is_refused(relay) -> None:
    """With the first one's process id."""
    done = run_serve(relay.data)
    assert done.returncode == 1 and done.stdout == ""
    assert str(relay.process.pid) in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_says_who_answers_there(relay, tmp_path) -> None:
    done = run_serve(tmp_path / "other", relay.port)
    assert done.returncode == 1
    assert f"process {relay.process.pid}" in done.stderr and "--port" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run_serve(tmp_path / "other", other.getsockname()[1])
    assert done.returncode == 1 and "no lumina-stream relay" in done.stderr


def test_another_machine_needs_a_token(tmp_path) -> None:
    code = (
        "import sys, pathlib\nfrom lumina_stream.relay.serve import RelayConfig, serve\n"
        f"sys.exit(serve(RelayConfig(host='0.0.0.0', port=0, data=pathlib.Path({str(tmp_path)!r}))))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LUMINA_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1 and "LUMINA_TOKEN" in done.stderr


# --- slow and stuck peers ------------------------------------------------------------------------


def metric(relay: RelayProcess, name: str) -> float:
    text = httpx.get(f"{relay.url}/metrics").text
    return next(
        float(line.split()[1]) for line in text.splitlines() if line.startswith(f"lumina_{name} ")
    )


@pytest.mark.slow
def test_row_12_a_stalled_viewer_costs_nobody_else_anything(relay) -> None:
    """It reads nothing: others get every fact, memory stays bounded, and it is dropped."""

    async def go() -> None:
        host, port = "127.0.0.1", relay.port
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((host, port))
        raw.sendall(
            f"GET /v1/tail HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Protocol: lumina.v1\r\n\r\n".encode()
        )
        assert raw.recv(12) == b"HTTP/1.1 101"
        asked = codec.encode(frames.Subscribe())
        raw.sendall(bytes((0x82, 0x80 | len(asked))) + bytes(4) + asked)
        producer, consumer, trace = (
            Producer(relay.url),
            Consumer(relay.url, frames.Subscribe()),
            new_trace(),
        )
        async with producer.connected(), consumer.connected():
            await consumer.until_type(frames.Snapshot)
            for n in range(40):
                await producer.store(
                    *(AttributeSet(trace, "1" * 16, n, f"k{n}", "v" * 8_000) for _ in range(64))
                )
                await consumer.until(lambda n=n: len(span_facts(consumer)) == 64 * (n + 1))
                assert metric(relay, "ring_bytes") < 9 << 20
                assert n or metric(relay, "consumers") == 2
            while metric(relay, "consumers") == 2:
                await producer.store(started(trace, new_span()))
                await consumer.until(
                    lambda: span_facts(consumer)[-1].seq == producer.session.last_seq
                )
        raw.close()

    asyncio.run(go())


@pytest.mark.slow
def test_row_11_who_says_nothing_is_dropped(shared) -> None:
    """Half a request holds no connection; nor does a WebSocket without its first frame."""

    async def go() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        async with (
            open_socket(shared.url, "/v1/stream") as stream,
            open_socket(shared.url, "/v1/tail") as tail,
        ):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
            for silent in (stream, tail):
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(silent.recv(), PATIENCE_S)
        writer.close()

    asyncio.run(go())
