"""The whole relay but its sockets, under structured hostile frames: a million of them in the long form."""

import asyncio
import random
import time
from pathlib import Path

import pytest
from support.faults import often
from support.hostile import Hostile
from support.said import Said
from support.sockets import FakeSocket, until

from lumina_stream.protocol.wire import BINARY, JSON
from lumina_stream.relay import core
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.sqlite_log import SqliteLog
from lumina_stream.relay.streaming import ProducerConnection
from lumina_stream.relay.tailing import serve

FRAMES = often(3_000, 1_000_000)
RSS_BACK = 64 << 20
AT_ONCE = 4


def rss() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Attack:
    """Connections to a relay, one after the other, each until the relay has enough of it."""

    def __init__(self, relay: core.Relay) -> None:
        self.relay = relay
        self.chance = random.Random(7)
        self.sent = self.connections = self.refused = 0

    async def run(self, frames: int) -> None:
        most = self.sent + frames
        while self.sent < most:
            await self._connect()

    async def _connect(self) -> None:
        enemy, relay = Hostile(self.chance), self.relay
        wire = BINARY if self.chance.random() < 0.6 else JSON
        write = enemy.binary if wire is BINARY else enemy.text
        if not self.chance.randrange(2):
            enemy.trace_ids = [f"{self.chance.getrandbits(128):032x}" for _ in range(3)]
        socket = FakeSocket()
        self.connections += 1
        if self.chance.randrange(8) == 0:
            serving = asyncio.create_task(serve(relay, socket, wire))  # type: ignore[arg-type]
            socket.to_relay.put_nowait(write(enemy.subscribe()))  # type: ignore[arg-type]
            self.sent += 1
            await asyncio.sleep(0)
        else:
            name = f"p{self.chance.randrange(500)}"
            peer = relay.attendance.intake.peer(wire)
            serving = asyncio.create_task(ProducerConnection(relay, socket, peer).run())  # type: ignore[arg-type]
            socket.to_relay.put_nowait(write(enemy.hello(name)))  # type: ignore[arg-type]
            self.sent += 1
            for _ in range(50):
                for _ in range(AT_ONCE):
                    said = enemy.of_producer(relay.attendance.intake.last_seq(name) + 1)
                    socket.to_relay.put_nowait(write(said))  # type: ignore[arg-type]
                    self.sent += 1
                await asyncio.sleep(0)
                if serving.done():
                    self.refused += 1
                    break
        socket.to_relay.put_nowait(None)
        await serving


@pytest.mark.slow
def test_hostile_frames_in_any_number(tmp_path: Path) -> None:
    """No exception that nobody foresaw, and what the frames took is given back."""

    async def go() -> None:
        store, said = SqliteLog.open(tmp_path), Said()
        relay = core.Relay(store, tmp_path, book=PriceBook(published=False), lease_s=1.0)
        relay.log = said
        relay.start()
        await relay.ready.wait()
        attack = Attack(relay)
        await attack.run(FRAMES // 20)
        before, began = rss(), time.monotonic()
        await attack.run(FRAMES)
        took_s, highest = time.monotonic() - began, rss()
        await until(lambda: not relay.committer.pending_bytes and relay.lag == 0)
        after = rss()
        assert not said.failures, said.failures[0]
        assert relay.status == "ok"
        print(
            f"{attack.sent:,} frames over {attack.connections:,} connections, {attack.refused:,} refused, "
            f"{took_s:.0f} s; {relay.counters.events:,} events taken; RSS {before >> 20} MiB before, "
            f"{highest >> 20} at the end, {after >> 20} after"
        )
        assert after - before <= RSS_BACK
        assert attack.refused > 10
        await relay.close()

    asyncio.run(go())
