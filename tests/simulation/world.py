"""A relay, some programs, some viewers, and what goes wrong among them: a run is its seed."""

import asyncio
import hashlib
import queue
import random
import secrets
import shutil
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from support.said import Said
from support.trees import canonical

from lumina_stream.model import codec
from lumina_stream.model.clock import Clock
from lumina_stream.model.events import (
    AttributeSet,
    Event,
    EventAdded,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.forest import Forest
from lumina_stream.model.record import from_columns
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import ConsumerSession, Facts, Restarted
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.protocol.wire import BINARY, JSON
from lumina_stream.relay import channel, core, following, ring, tailing
from lumina_stream.relay.admission import admit, is_relay
from lumina_stream.relay.committer import Committer
from lumina_stream.relay.log import Entry, LogFull
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.sockets import Gone
from lumina_stream.relay.sqlite_log import SqliteLog
from lumina_stream.relay.streaming import ProducerConnection
from simulation.virtual import End, VirtualLoop, connection

BUSY_S, QUIET_S = 10.0, 30.0
RING_BYTES = 6_000
"""So small that whoever reads slowly falls behind it."""


class Steps(Committer):
    """The writer's thread, as steps of the loop: a commit takes a while, in which more is submitted."""

    rng: random.Random

    def _start(self) -> None:
        self._queue: Any = self  # it is asked for what waits, and given what is to come
        self._items: deque[Any] = deque()
        self._is_due = self.is_dead = False

    def put(self, item: Any) -> None:
        self._items.append(item)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(self.rng.expovariate(100), self._step)

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def _step(self) -> None:
        self._is_due = False
        if self.is_dead:
            return
        # Only the first group: what ended it comes next.
        following = self._take(self._items.popleft())
        if isinstance(following, type(None)) or following.future is not None:
            self._items.appendleft(following)
        if self._items:
            self._is_due = True
            asyncio.get_running_loop().call_later(self.rng.expovariate(100), self._step)


class Disk:
    """The log on a disk that may be full. What it does not refuse it has."""

    def __init__(self, folder: Path) -> None:
        self.is_full = False
        self.log = SqliteLog.open(folder, segment_bytes=40_000)

    def append(self, entries: Sequence[Entry]) -> list[int]:
        if self.is_full:
            raise LogFull("there is no space")
        return self.log.append(entries)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)


class Program:
    """A traced program; it keeps what it said, and goes on where it stopped."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.rng = world, world.rng
        hello = frames.Hello(world.id(8), world.id(8), 1, service=name)
        self.session = ProducerSession(hello)
        self.events: list[bytes] = []
        self.open: list[tuple[str, str]] = []
        self.woken = asyncio.Event()
        self.is_away = False

    def record(self) -> None:
        event = self._event()
        self.events.append(codec.encode(event))
        self.session.add(self.events[-1])
        self.woken.set()

    def _event(self) -> Event:
        rng, now = self.rng, self.world.loop.now_ns() + self.rng.randrange(-(10**6), 10**6)
        if not self.open or rng.random() < 0.3:
            trace_id, parent_id = self.world.place()
            span_id = self.world.id(8)
            self.open.append((trace_id, span_id))
            self.world.spans.append((trace_id, span_id))
            return SpanStarted(trace_id, span_id, now, f"work {len(self.events)}", parent_id)
        trace_id, span_id = one = rng.choice(self.open)
        match rng.randrange(6):
            case 0:
                return AttributeSet(trace_id, span_id, now, "key", rng.randrange(100))
            case 1:
                return EventAdded(trace_id, span_id, now, "said", {"n": len(self.events)})
            case 2:
                text = "x" * rng.randrange(1, 400)
                return TextStreamed(trace_id, span_id, now, "output", len(self.events), text)
            case _:
                self.open.remove(one)
                return SpanEnded(trace_id, span_id, now, rng.choice(["ok", "error", "cancelled"]))

    async def run(self) -> None:
        session = self.session
        while True:
            await asyncio.sleep(self.rng.expovariate(5))
            end = None if self.is_away else self.world.connect("stream")
            if end is None:
                continue
            now = self.world.loop.now_ns()
            try:
                await end.send(session.connected(now, now))
                while not session.welcomed:
                    session.receive(await end.receive())
                await self._both(end)
            except Gone:
                pass
            session.disconnected()

    async def _both(self, end: End) -> None:
        async with asyncio.TaskGroup() as tasks:

            async def read() -> None:
                while True:
                    self.session.receive(await end.receive())
                    self.woken.set()

            async def write() -> None:
                while True:
                    while (batch := self.session.next_batch()) is not None:
                        await end.send(batch)
                    self.woken.clear()
                    try:
                        async with asyncio.timeout(2):
                            await self.woken.wait()
                    except TimeoutError:
                        now = self.world.loop.now_ns()
                        await end.send(self.session.heartbeat(0, now, now))

            async def until_gone(work: Coroutine[Any, Any, None]) -> None:
                try:
                    await work
                except Gone:
                    reader.cancel()
                    writer.cancel()

            reader = tasks.create_task(until_gone(read()))
            writer = tasks.create_task(until_gone(write()))


class Viewer:
    """A viewer of one view: holds what it was told, drops what it is told to drop."""

    def __init__(
        self, world: "World", asked: frames.Subscribe, *, json: bool, pause_s: float
    ) -> None:
        self.world, self.asked, self.pause_s = world, asked, pause_s
        self.session = ConsumerSession(asked, JSON if json else BINARY)
        self.forest = Forest()
        self.summaries: dict[str, frames.TraceSummary] = {}
        self.running: frames.Running | None = None
        self.skips = self.restarts = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.world.rng.expovariate(5))
            end = self.world.connect("tail", self.session._wire)
            if end is None:
                continue
            try:
                await end.send(self.session.subscribe())
                while True:
                    for update in self.session.receive(await end.receive()):
                        self.take(update)
                    if self.pause_s and not self.world.is_quiet:
                        await asyncio.sleep(self.world.rng.expovariate(1 / self.pause_s))
            except Gone:
                pass

    def take(self, update: Any) -> None:
        forest = self.forest
        match update:
            case Restarted():
                self.restarts += 1
                self.forest, self.summaries = Forest(), {}
            case Facts():
                for fact in update.facts:
                    forest.producers.heard_from(fact.producer_id, fact.service)
                    forest.apply(fact.event, fact.producer_id, fact.seq)
            case frames.Snapshot():
                for producer in update.producers:
                    changed = forest.producers.restore(producer)
                    if changed is not None:
                        list(forest.producer_changed(changed))
                if update.trace_id:
                    tree = forest.tree(update.trace_id)
                    for record in from_columns(update.spans) if update.spans is not None else ():
                        tree.restore(record)
                    for loss in update.losses:
                        tree.losses[loss.stamp] = (loss.count, loss.reason, loss.exact)
                    forest.adopt(tree)
            case frames.Removed():
                for trace_id in update.trace_ids:
                    forest.remove(trace_id)
                    self.summaries.pop(trace_id, None)
            case frames.Summaries():
                self.summaries.update((one.trace_id, one) for one in update.traces)
            case frames.Running():
                self.running = update
            case frames.Skip():
                self.skips += 1
            case _:
                pass


class World:
    """A relay, some programs, some viewers, and what goes wrong among them."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.loop = VirtualLoop(self.rng)
        self.spans: list[tuple[str, str]] = []
        self.said = Said()
        self.is_quiet = self.was_full = False
        self.starts = 0
        self.digest = ""
        self.relay: core.Relay | None = None
        self.ends: list[End] = []
        self.serving: dict[asyncio.Task[None], None] = {}

    def id(self, size: int) -> str:
        return self.rng.randbytes(size).hex()

    def place(self) -> tuple[str, str | None]:
        """Return where a new span goes: below any other one, or into a trace of its own."""
        if self.spans and self.rng.random() < 0.7:
            return self.rng.choice(self.spans[-20:])
        return self.id(16), None

    # --- the relay -----------------------------------------------------------------------------

    def start(self) -> None:
        self.starts += 1
        folder = self.folder / f"run{self.starts}"
        disk: Any = Disk(folder)
        self.relay = core.Relay(disk, folder, book=PriceBook(published=False), lease_s=3.0)
        self.relay.log = self.said
        self.relay.start()

    async def kill(self) -> None:
        """What was written is on the disk; all else goes, in the middle of whatever it was doing."""
        relay, self.relay = self.relay, None
        if relay is None:
            return
        for end in self.ends:
            end.cut(noticed_s=0)
        shutil.copytree(self.folder / f"run{self.starts}", self.folder / f"run{self.starts + 1}")
        relay.committer.is_dead = True  # type: ignore[attr-defined]
        doomed = [*self.serving, *relay._tasks, *relay._readings.values()]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        relay.attendance.liveness.close()
        relay.projections._store.close(clean=False)
        relay.store.close()

    def connect(self, route: str, wire: Any = BINARY) -> End | None:
        """Return a connection to the relay, if it takes any."""
        relay = self.relay
        if relay is None or not (route == "stream" or relay.ready.is_set()):
            return None
        near, far = connection(self.rng)
        self.ends = [end for end in self.ends if not end.closed]
        self.ends.append(near)
        serve = self._stream(relay, far) if route == "stream" else self._tail(relay, far, wire)
        task = self.task(serve)
        self.serving[task] = None
        task.add_done_callback(self.serving.pop)
        return near

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Return a new task; if it fails, so does the run."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.said.failures.append("".join(traceback.format_exception(error)))

    async def _stream(self, relay: core.Relay, end: End) -> None:
        peer = relay.attendance.intake.peer(BINARY)
        await ProducerConnection(relay, end, peer).run()

    async def _tail(self, relay: core.Relay, end: End, wire: Any) -> None:
        try:
            await tailing.serve(relay, end, wire)
        except Gone:
            pass

    # --- what goes wrong -----------------------------------------------------------------------

    async def go_wrong(self) -> None:
        rng = self.rng
        while True:
            await asyncio.sleep(rng.expovariate(1))
            match rng.randrange(8):
                case 0:
                    await self.kill()
                    await asyncio.sleep(rng.expovariate(1))
                    self.start()
                case 1 if self.relay is not None:
                    disk: Any = self.relay.store
                    disk.is_full = True
                    self.was_full = True
                    await asyncio.sleep(rng.expovariate(1))
                    disk.is_full = False
                case 2:
                    program = rng.choice(self.programs)
                    program.is_away = True
                    self.loop.call_later(rng.expovariate(0.2), setattr, program, "is_away", False)
                    self.cut()
                case _:
                    self.cut()

    def cut(self) -> None:
        alive = [end for end in self.ends if not end.closed]
        if alive:
            end = self.rng.choice(alive)
            side = end if self.rng.random() < 0.5 else end.other
            side.cut(noticed_s=self.rng.choice([0.0, 0.5, 10.0]))

    async def record(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(20))
            for _ in range(self.rng.choice([1, 1, 1, 40])):
                self.rng.choice(self.programs).record()

    # --- a run -----------------------------------------------------------------------------------

    def run(self) -> None:
        Steps.rng = self.rng
        with (
            self.loop.clock(),
            patch.object(core, "Committer", Steps),
            # A start that takes its time: programs come before everything is read.
            patch.object(core, "REPLAY_PAUSE_S", 0.2),
            patch.object(following, "REPLAY_BYTES", 4_000),
            patch.object(channel, "Ring", lambda offset: ring.Ring(offset, RING_BYTES)),
            patch.object(core, "Clock", lambda: Clock(self.loop.now_ns, self.loop.now_ns)),
            patch.object(secrets, "token_hex", self.id),
        ):
            try:
                self.loop.run_until_complete(self._run())
            finally:
                self.loop.close()

    async def _run(self) -> None:
        rng = self.rng
        self.start()
        self.programs = [Program(self, name) for name in ("alpha", "beta", "gamma")]
        Subscribe, Filter = frames.Subscribe, frames.Filter
        asked = [
            Subscribe(snapshot=True),
            Subscribe(since_ns=1),
            Subscribe("events", Filter(service="alpha"), snapshot=True),
            Subscribe("traces"),
            Subscribe("traces", Filter(state="error")),
            Subscribe("running"),
        ]
        pauses = [0.0, 0.3, 2.0]
        self.viewers = [
            Viewer(self, one, json=rng.random() < 0.3, pause_s=rng.choice(pauses)) for one in asked
        ]
        going = [self.task(one.run()) for one in (*self.programs, *self.viewers)]
        faults = [self.task(self.record()), self.task(self.go_wrong())]
        await asyncio.sleep(BUSY_S / 2)
        for _ in range(3):  # of single traces, some of them before anything of them is stored
            trace_id = rng.choice(self.spans)[0]
            viewer = Viewer(
                self,
                Subscribe("trace", Filter(trace_id=trace_id), snapshot=rng.random() < 0.5),
                json=False,
                pause_s=rng.choice(pauses),
            )
            self.viewers.append(viewer)
            going.append(self.task(viewer.run()))
        await asyncio.sleep(BUSY_S / 2)
        for task in faults:
            task.cancel()
        await asyncio.gather(*faults, return_exceptions=True)
        self.is_quiet = True
        if self.relay is None:
            self.start()
        assert self.relay is not None
        self.relay.store.is_full = False  # type: ignore[attr-defined]
        for program in self.programs:
            program.is_away = False
        await asyncio.sleep(QUIET_S)
        try:
            self.check(self.relay)
        finally:
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)
            await self.kill()

    # --- what must hold --------------------------------------------------------------------------

    def check(self, relay: core.Relay) -> None:
        assert not self.said.failures, self.said.failures[0]
        assert relay.degraded is None and relay.lag == 0
        truth, stored = self._truth(relay)
        self.digest = hashlib.sha256(repr(sorted(stored.items())).encode()).hexdigest()[:16]
        for program in self.programs:
            assert stored[program.session.producer_id] == program.events, "once each, in order"
            assert program.session.unacknowledged == 0
        expected = {tree.trace_id: canonical(tree) for tree in truth}
        for trace_id in expected:
            tree = relay.projections.tree(trace_id)
            assert tree is not None and canonical(tree) == expected[trace_id], "the relay's own"
        for viewer in self.viewers:
            self._check_viewer(relay, viewer, expected)

    def _truth(self, relay: core.Relay) -> tuple[Forest, dict[str, list[bytes]]]:
        forest, stored = Forest(), {}
        after = 0
        while rows := relay.store.read(after):
            for row in rows:
                assert row.offset == after + 1, "offsets without a hole"
                after = row.last_offset
                if not is_relay(row.producer_id):
                    events = stored.setdefault(row.producer_id, [])
                    assert row.first_seq == len(events) + 1
                    events += map(bytes, codec.split_array(row.events))
                for seq, event in enumerate(
                    admit(row.events, row.producer_id).events, row.first_seq
                ):
                    assert event is not None
                    forest.apply(event, row.producer_id, seq)
        return forest, stored

    def _check_viewer(self, relay: core.Relay, viewer: Viewer, expected: dict[str, Any]) -> None:
        asked, projections = viewer.asked, relay.projections
        what = (asked.view, asked.filter, asked.snapshot, viewer.skips, viewer.restarts)
        selected = {t for t in expected if projections.matches(asked.filter, t)}
        if asked.view == "traces":
            summaries = {t: projections.summary(t) for t in selected}
            assert viewer.summaries == summaries, what
            return
        if asked.view == "running":
            listed, total = projections.running(channel.RUNNING)
            assert viewer.running is not None, what
            assert (list(viewer.running.spans), viewer.running.total) == (listed, total), what
            return
        held = {tree.trace_id: canonical(tree) for tree in viewer.forest}
        assert held.keys() <= selected, what
        for trace_id, tree in held.items():
            assert tree == expected[trace_id], (what, trace_id)
        must = {t for t in selected if expected[t]["open_count"]}
        if (asked.since_ns is not None and not viewer.skips) or asked.filter.trace_id is not None:
            must = selected
        assert must <= held.keys(), (what, must - held.keys())


def main(seeds: Sequence[str]) -> None:
    """Run each seed; print what is left of it, fail on the first that fails."""
    for seed in map(int, seeds):
        with tempfile.TemporaryDirectory(prefix="lumina-simulation-") as folder:
            world = World(seed, Path(folder))
            try:
                world.run()
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error
            print(seed, world.digest)


if __name__ == "__main__":
    main(sys.argv[1:])
