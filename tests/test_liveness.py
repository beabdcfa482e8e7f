"""Processes of this machine, watched: killed, unreaped, reused ids, and leases for all others."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from support.relay_process import new_hello

from lumina_stream.process import process_start
from lumina_stream.relay import liveness
from lumina_stream.relay.liveness import Liveness, Watch

PATIENCE_S = 10.0


@pytest.fixture
def child():
    """A process that does nothing until it is killed; it is not reaped before the end."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


class Seen:
    """What a `Liveness` said, and a way to wait for it."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.returned: list[str] = []
        self.grace: list[str] = []
        self.changed = asyncio.Event()

    def liveness(self, **more) -> Liveness:
        return Liveness(
            self._note(self.lost), self._note(self.returned), self._note(self.grace), **more
        )

    def _note(self, where: list[str]):
        def note(producer_id: str) -> None:
            where.append(producer_id)
            self.changed.set()

        return note

    async def change(self) -> None:
        await asyncio.wait_for(self.changed.wait(), PATIENCE_S)
        self.changed.clear()


def test_a_start_time_survives_a_hostile_command_name(tmp_path) -> None:
    """Field 22 is counted after the last parenthesis: a command may be called `) 1 2 3`."""
    named = tmp_path / ") 1 (2 3"
    named.symlink_to(sys.executable)
    process = subprocess.Popen([str(named), "-c", "input()"], stdin=subprocess.PIPE)
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        assert process_start(process.pid) == int(fields[19]) > 0
    finally:
        process.communicate(b"\n")


def test_no_start_time_of_a_process_that_is_not_there() -> None:
    assert process_start(2**22 + 1) == 0


def test_a_killed_process_is_seen_though_nobody_reaps_it(child) -> None:
    """A zombie is as dead as any: its pidfd says so."""

    async def go() -> None:
        gone = asyncio.Event()
        watch = Watch(lambda _: gone.set())
        assert watch.start(new_hello(child.pid)) is True
        assert len(watch) == 1
        os.kill(child.pid, signal.SIGKILL)
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        assert child.returncode is None  # not reaped
        assert len(watch) == 0

    asyncio.run(go())


def test_a_reused_process_id_is_not_taken_for_the_producer(child) -> None:
    """A process with the right id and another start time is somebody else: ours is gone."""

    async def go() -> None:
        watch = Watch(lambda _: None)
        hello = new_hello(child.pid)
        hello.process_start += 1
        assert watch.start(hello) is False
        assert len(watch) == 0

    asyncio.run(go())


@pytest.mark.parametrize(
    "elsewhere", [{"boot_id": "another"}, {"pid_namespace": 1}, {"process_start": 0}, {"pid": 0}]
)
def test_a_process_of_elsewhere_is_left_to_its_lease(child, elsewhere) -> None:
    """Another boot or namespace numbers its processes itself."""

    async def go() -> None:
        hello = msgspec.structs.replace(new_hello(child.pid), **elsewhere)
        assert Watch(lambda _: None).start(hello) is None

    asyncio.run(go())


def test_killed_and_disconnected_is_lost_at_once(child) -> None:
    """No lease is waited for where the process can be seen."""

    async def go() -> None:
        seen = Seen()
        watched = seen.liveness(lease_s=1e9)
        hello = new_hello(child.pid)
        watched.connected(hello)
        child.kill()
        watched.disconnected(hello.producer_id)
        await seen.change()
        assert seen.lost == [hello.producer_id]
        watched.close()

    asyncio.run(go())


def test_dead_with_its_connection_open_is_cut_off_after_a_grace(child, monkeypatch) -> None:
    """A forked child may hold the socket for ever; what the dead one sent gets a moment to arrive."""
    monkeypatch.setattr(liveness, "GRACE_S", 0.0)

    async def go() -> None:
        seen = Seen()
        watched = seen.liveness(lease_s=1e9)
        hello = new_hello(child.pid)
        watched.connected(hello)
        child.kill()
        await seen.change()
        assert (seen.grace, seen.lost) == ([hello.producer_id], [])
        watched.disconnected(hello.producer_id)
        assert seen.lost == [hello.producer_id]
        watched.close()

    asyncio.run(go())


def test_alive_and_disconnected_is_not_lost(child) -> None:
    """A watched process whose connection broke comes back, however long it takes."""

    async def go() -> None:
        seen = Seen()
        watched = seen.liveness(lease_s=0.0)
        hello = new_hello(child.pid)
        watched.connected(hello)
        watched.disconnected(hello.producer_id)
        watched.tick()
        assert seen.lost == []
        watched.close()

    asyncio.run(go())


def test_a_remote_one_is_lost_when_its_lease_runs_out_and_may_return() -> None:
    async def go() -> None:
        seen = Seen()
        watched = seen.liveness(lease_s=0.0)
        hello = new_hello()
        watched.connected(hello)
        watched.tick()
        assert seen.lost == []  # connected
        watched.disconnected(hello.producer_id)
        watched.tick()
        watched.tick()
        assert seen.lost == [hello.producer_id]  # once
        watched.connected(hello)
        assert seen.returned == [hello.producer_id]

    asyncio.run(go())


def test_a_pause_of_the_relay_starts_every_lease_anew(monkeypatch) -> None:
    """A relay that was stopped for a minute does not declare everybody lost when it wakes."""
    monkeypatch.setattr(liveness, "PAUSE_S", -1.0)  # every tick but the first comes after a pause

    async def go() -> None:
        seen = Seen()
        watched = seen.liveness(lease_s=1e-9)
        hello = new_hello()
        watched.tick()
        watched.connected(hello)
        watched.disconnected(hello.producer_id)
        watched.tick()
        assert seen.lost == []
        monkeypatch.setattr(liveness, "PAUSE_S", 1e9)
        watched.tick()
        assert seen.lost == [hello.producer_id]

    asyncio.run(go())


def test_restored_after_a_restart(child) -> None:
    """Its process still there: watched again. Gone: lost at once. Not known: a new lease."""

    async def go() -> None:
        seen = Seen()
        watched = seen.liveness(lease_s=1e9)
        alive, gone = new_hello(child.pid), new_hello(child.pid)
        gone.process_start += 1
        watched.restored(alive)
        assert seen.lost == []
        watched.restored(gone)
        assert seen.lost == [gone.producer_id]
        watched.restored_unknown("somebody")
        watched.tick()
        seen.changed.clear()
        child.kill()
        await seen.change()
        assert seen.lost == [gone.producer_id, alive.producer_id]
        watched.close()

    asyncio.run(go())
