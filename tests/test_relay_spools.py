"""A relay and what dead programs left: who is lost, since when, and what it takes from a folder itself."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from support.logs import logged
from support.programs import get_json
from support.relay_process import (
    PATIENCE_S,
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
from support.spools import event, fill

from lumina_stream import spool_folder
from lumina_stream.model import codec
from lumina_stream.model.events import Event
from lumina_stream.protocol import frames
from lumina_stream.protocol.spool import Identity, Ring, layout_for
from lumina_stream.spool_folder import SpoolFile


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with running_relay(tmp_path / "data", lease_s=0.1) as process:
        yield process


def new_file(folder: Path, hello: frames.Hello) -> tuple[SpoolFile, Ring]:
    """Return a spool of which nobody else knows that it is not a living program's."""
    identity = Identity(hello, time.time_ns())
    layout = layout_for(1 << 20, identity)
    rings: list[Ring] = []
    file = spool_folder.create(
        str(folder),
        hello.producer_id,
        layout.size,
        lambda memory: rings.append(Ring(memory, layout, identity)),
    )
    return file, rings[0]


def append(ring: Ring, *events: Event) -> None:
    for one in events:
        assert ring.append(codec.encode(one), ring.capacity)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what


def said_of(data: Path, producer_id: str) -> list[str]:
    """Return what the relay said of a producer, in order."""
    relays = logged(data)["relay"]
    return [said["type"] for said in relays if said["subject_id"] == producer_id]


async def leave(relay: RelayProcess, hello: frames.Hello, *events: Event, bye: bool) -> None:
    """Deliver what a producer left, as another process does; `bye`: to the end."""
    producer = Producer(relay.url, hello=hello)
    session = producer.session
    async with open_socket(relay.url, "/v1/stream") as producer.socket:
        await producer.socket.send(session.connected(hello.wall_ns, 0, frames.LEFT))
        while not session.welcomed:
            session.receive(await producer._receive())
        await producer.store(*events)
        if bye:
            await producer.socket.send(session.bye(lost=True))
            await asyncio.wait_for(producer.socket.wait_closed(), PATIENCE_S)


@pytest.mark.parametrize("spool", ["", frames.KEPT])
def test_what_a_lost_producer_keeps_in_a_spool_is_not_called_lost(
    relay: RelayProcess, spool: str
) -> None:
    """Its last heartbeat counted more than came: without a spool at least so many are gone."""
    hello, trace = new_hello(), new_trace()

    async def go() -> None:
        producer = Producer(relay.url, hello=hello)
        session = producer.session
        async with open_socket(relay.url, "/v1/stream") as producer.socket:
            await producer.socket.send(session.connected(time.time_ns(), 0, spool))
            while not session.welcomed:
                session.receive(await producer._receive())
            await producer.store(started(trace, new_span()))
            await producer.socket.send(session.heartbeat(41, time.time_ns(), 0))
            await producer.store(started(trace, new_span()))

    asyncio.run(go())
    state = f"{relay.url}/v1/traces/{trace}"
    wait_for(lambda: get_json(state)["state"] == "interrupted", "it is not lost")
    relay.stop()
    lost = ["producer_started", "producer_lost"]
    assert said_of(relay.data, hello.producer_id) == [*lost, *([] if spool else ["events_lost"])]


@pytest.mark.parametrize("bye", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_what_is_left_of_a_producer_does_not_bring_it_back(
    relay: RelayProcess, known: bool, bye: bool
) -> None:
    """It was lost and stays it, or it is met and lost; also if the delivery breaks off."""
    hello, trace, span = new_hello(), new_trace(), new_span()
    state = f"{relay.url}/v1/traces/{trace}"
    seen_ns = time.time_ns() - 3_600_000_000_000
    begun = msgspec.structs.replace(started(trace, span), time_ns=seen_ns - 5_000_000_000)

    async def go() -> None:
        if known:
            producer = Producer(relay.url, hello=hello)
            async with open_socket(relay.url, "/v1/stream") as producer.socket:
                first = producer.session.connected(time.time_ns(), 0, frames.KEPT)
                await producer.socket.send(first)
                while not producer.session.welcomed:
                    producer.session.receive(await producer._receive())
                await producer.store(begun)
            while get_json(state)["state"] != "interrupted":
                await asyncio.sleep(0.01)
        left = msgspec.structs.replace(hello, wall_ns=seen_ns, first_seq=1 + known)
        await leave(relay, left, *([] if known else [begun]), started(trace, new_span()), bye=bye)

    asyncio.run(go())
    wait_for(lambda: get_json(state)["state"] == "interrupted", "it is not lost")
    wait_for(lambda: len(get_json(state)["roots"]) == 2, "the second span is missing")
    relay.stop()
    assert said_of(relay.data, hello.producer_id) == ["producer_started", "producer_lost"]
    (lost,) = (e for e in logged(relay.data)["relay"] if e["type"] == "producer_lost")
    assert known or lost["last_seen_ns"] == seen_ns, "when it was last alive, not now"


def test_a_folder_is_looked_at_again_and_again(tmp_path: Path) -> None:
    """What a living program holds is left to it; an unreadable one is set aside; the rest comes in."""
    folder, trace, span = tmp_path / "spool", new_trace(), new_span()
    with running_relay(tmp_path / "data", spool=str(folder)) as relay:
        folder.mkdir(0o700)
        (folder / "junk.spool").write_bytes(b"junk" * 5_000)
        hello = new_hello()
        file, ring = new_file(folder, hello)
        append(ring, started(trace, span, "left"), ended(trace, span))
        wait_for(lambda: (folder / "junk.spool.damaged").exists(), "it is still there")
        assert Path(file.path).exists()
        empty, _ = new_file(folder, new_hello())
        file.close()
        empty.close()
        wait_for(lambda: len(list(folder.iterdir())) == 1, "they are still there")
        (root,) = get_json(f"{relay.url}/v1/traces/{trace}")["roots"]
        assert (root["name"], root["state"]) == ("left", "ok")
        relay.stop()
        lines = [json.loads(line) for line in relay.stderr().splitlines() if line[:1] == "{"]
    (delivered,) = [line for line in lines if "delivered" in line["event"]]
    assert (delivered["producer"], delivered["events"]) == (hello.producer_id, 2)
    (aside,) = [line for line in lines if line["level"] == "error"]
    assert aside["file"].endswith("junk.spool.damaged") and "not a spool" in aside["error"]
    assert said_of(tmp_path / "data", hello.producer_id) == ["producer_started", "producer_lost"]


def test_a_relay_that_stops_half_way_leaves_the_file(tmp_path: Path) -> None:
    """Killed while it takes a large spool: the next one goes on, nothing twice."""
    folder, hello = tmp_path / "spool", new_hello()
    with running_relay(tmp_path / "data") as relay:
        file, ring = new_file(folder, hello)
        events = fill(ring, 300, 20)
        file.close()
        relay.kill()
        relay.config["spool"] = str(folder)
        for _ in range(3):
            relay.start()
            relay.kill()
        relay.start()
        wait_for(lambda: not list(folder.iterdir()), "it is still there")
        relay.stop()
    found = logged(tmp_path / "data")
    assert [msgspec.msgpack.encode(e) for e in found[hello.producer_id]] == events
    assert events[0] == event(1, 20)


def test_a_folder_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "spool"
    with running_relay(tmp_path / "data", spool=str(tmp_path / "file")) as relay:
        wait_for(lambda: "cannot be read" in relay.stderr(), "nothing is said")
        # It goes on: once the file has become a folder, it is read.
        (tmp_path / "file").unlink()
        folder.mkdir(0o700)
        file, ring = new_file(folder, new_hello())
        fill(ring, 1)
        file.close()
        folder.rename(tmp_path / "file")
        wait_for(lambda: not list((tmp_path / "file").iterdir()), "it is still there")
        relay.stop()
        assert relay.stderr().count("cannot be read") == 1
