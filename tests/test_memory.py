"""Freed memory goes back to the system, where the C library can give it."""

import asyncio
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lumina_stream.relay import core, memory
from lumina_stream.relay.log import Entry
from lumina_stream.relay.sqlite_log import SqliteLog

SCATTERED = """
from lumina_stream.relay.memory import give_back

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])

kept, freed = [], []
for _ in range(4_000):
    freed.append(bytes(17_000))
    kept.append(bytes(700))
del freed
before = resident()
give_back()
print((before - resident()) * 4096)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_what_was_freed_among_what_lives_on_is_given_back() -> None:
    if memory._trim() is None:  # pyright: ignore[reportPrivateUsage]
        pytest.skip("this C library keeps it")
    command = [sys.executable, "-c", SCATTERED]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert int(said.stdout) > 30 << 20


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_another_c_library_is_left_alone(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: Any) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    memory.give_back()


def test_a_relay_gives_back_after_a_burst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it caught up, and once a burst."""
    given: list[int] = []
    monkeypatch.setattr(core, "give_back", lambda: given.append(1))
    monkeypatch.setattr(core, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(core, "BURST_BYTES", 1_000)

    async def burst(size: int) -> None:
        relay = core.Relay(SqliteLog.open(tmp_path / str(size)), tmp_path / str(size))
        relay.start()
        await relay.ready.wait()
        entry = Entry("p", 1, 1, bytes((0x91, 0xC5, *size.to_bytes(2, "big"))) + bytes(size), (), 1)
        relay.committer.submit(core.Submission(entry))
        await relay.applied(1)
        async with asyncio.timeout(30):
            while size > core.BURST_BYTES and not given:
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        await relay.close()

    asyncio.run(burst(900))
    assert not given
    asyncio.run(burst(9_000))
    assert given == [1]
