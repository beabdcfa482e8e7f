"""The data folder is deleted, or put back from a backup, behind what producers have been told is stored."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.programs import is_span_event, program
from support.relay_process import Consumer, RelayProcess, running_relay

from lumina_stream.model.events import EventsLost, SpanStarted
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import Restarted, Resumed
from lumina_stream.relay.backup import back_up
from lumina_stream.relay.checking import check

SPANS = 10
PRODUCER = f"""
    import sys
    import lumina_stream as lumina

    lumina.init(service_name="restored")
    for line in sys.stdin:
        for number in range({SPANS}):
            with lumina.trace(line.strip(), number=number):
                pass
        print(lumina.flush(60), lumina.statistics().acknowledged, flush=True)
"""
EVENTS = 2 * SPANS
"""Of one line: a start with its attributes and an end for each span."""


def record(process: subprocess.Popen[str], name: str) -> str:
    """Have the program record spans of a name; return what it says of their delivery."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.parametrize("backup", [True, False], ids=["restored", "deleted"])
def test_row_8_log_behind_what_was_acknowledged(tmp_path: Path, backup: bool) -> None:
    """The hole is recorded, the program goes on after it, and a viewer's cursor of the lost time is void."""
    # breaks: lumina_stream/protocol/intake.py
    # -   actions.append(self._give_up(record, hello.first_seq))
    # +   self._give_up(record, hello.first_seq)
    data = tmp_path / "data"
    with running_relay(data) as relay, program(PRODUCER, relay.url) as process:
        port = relay.port
        assert record(process, "before") == f"True {EVENTS}"
        if backup:
            back_up(data, tmp_path / "backup")
        assert record(process, "gone") == f"True {2 * EVENTS}"
        viewer = Consumer(relay.url, frames.Subscribe(since_ns=1, snapshot=True))
        asyncio.run(watch(viewer, spans(viewer, 2 * EVENTS)))
        relay.kill()
        shutil.rmtree(data)
        if backup:
            (tmp_path / "backup").rename(data)
        relay.start(port)
        assert record(process, "after") == f"True {3 * EVENTS}"
        kept = ("before", "after") if backup else ("after",)
        assert_begins_anew(viewer)
        facts = all_facts(relay, len(kept) * EVENTS)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
    names = [f.event.name for f in facts if isinstance(f.event, SpanStarted)]
    assert names == [name for name in kept for _ in range(SPANS)], "once each, in order"
    lost = [f.event for f in facts if isinstance(f.event, EventsLost)]
    assert [(one.reason, one.count, one.exact) for one in lost] == [
        ("log_rollback", (3 - len(kept)) * EVENTS, True)
    ]
    assert check(data).sound


def assert_begins_anew(viewer: Consumer) -> None:
    """A viewer that comes back with its cursor drops what it had, and gets what is there now."""
    seen = len(viewer.updates)
    viewer.facts.clear()
    asyncio.run(watch(viewer, lambda: len(viewer.updates) > seen + 1))
    assert isinstance(viewer.updates[seen], Restarted), viewer.updates[seen]
    assert not any(isinstance(update, Resumed) for update in viewer.updates[seen:])


def all_facts(relay: RelayProcess, count: int) -> list[Any]:
    """Return all that a relay has, from its beginning."""
    viewer = Consumer(relay.url, frames.Subscribe(since_ns=1))
    asyncio.run(watch(viewer, spans(viewer, count)))
    return viewer.facts


def spans(viewer: Consumer, count: int) -> Callable[[], bool]:
    return lambda: sum(map(is_span_event, viewer.facts)) >= count


async def watch(viewer: Consumer, done: Callable[[], bool]) -> None:
    async with viewer.connected():
        await viewer.until(done)
