"""The relay itself: what happens to what a producer sent, in the order in which it happens.

accepted -> pending -> committed (the writer's thread) -> acknowledged -> applied -> published.
All but the commit runs in one event loop. No decision about seq, ack, cursor or lease is made here:
the machines of `protocol` decide, this carries out.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from lumina_stream.model import limits
from lumina_stream.model.clock import Clock
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.intake import Accepted
from lumina_stream.relay import admission
from lumina_stream.relay.attendance import Attendance
from lumina_stream.relay.clients import Clients
from lumina_stream.relay.committer import Committer, Submission
from lumina_stream.relay.console import RelayLog
from lumina_stream.relay.deleting import Deleting
from lumina_stream.relay.guests import Guests
from lumina_stream.relay.hub import Hub
from lumina_stream.relay.liveness import TICK_S
from lumina_stream.relay.log import Entry, Log, LogError, Removed
from lumina_stream.relay.memory import give_back
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.projections import Projections
from lumina_stream.relay.publication import Publication
from lumina_stream.relay.read_back import admitted_of
from lumina_stream.relay.room import MOST_DESCRIPTORS, Room
from lumina_stream.relay.unstored import Unstored
from lumina_stream.relay.visited import Reading
from lumina_stream.relay.witness import Witness

PENDING_BYTES = 64 << 20
"""Event bytes that wait for the commit or for the projections; above it no producer is read. What
they still hold is safe with them."""
BURST_BYTES = 16 << 20
"""Event bytes that waited for the projections, after which freed memory is given back once they caught up."""
SLICE_S = 0.005
"""Longest time in which the loop applies and publishes before it looks at its sockets again."""
BUSY_SLICE_S = 0.001
"""The same while events wait for the log: what is acknowledged is safe, and may be shown a little later."""
REFUSED_PAUSE_S = 1.0
"""How long producers wait after the log refused: a full disk does not become empty faster."""
CAUGHT_UP_S = 1.0
"""Longest wait of a question for what was stored before it: under a load that the projections cannot
follow it is answered as of then."""
REPLAY_PAUSE_S = 0.0
"""Between two steps of a replay: whatever else waits has its turn, producers too, who need not wait for it."""
REPLAY_CHECKPOINT_S = 0.2
"""Between two checkpoints during a replay: a relay that is killed again and again before its first checkpoint would
have more to replay each time, and at last do nothing else."""
CLOSE_S = 2.0
"""Longest time in which a relay that ends catches up and checkpoints: who stops it waits, and kills it at last."""
CHECKPOINT_S = 5.0
"""Between two checkpoints of the projections: what a start after a crash replays."""
READINGS = 2
"""Traces read back at once: each may take a second or ten of one core, and a gigabyte."""
RETAIN_S = 60.0
"""Between two looks at what is too old or too much."""


class Counters(msgspec.Struct):
    """Cumulative figures since the start."""

    events: int = 0
    frames: int = 0
    bytes: int = 0
    refused_events: int = 0
    deleted_traces: int = 0
    deleted_events: int = 0
    duplicates: int = 0
    lost_reported: int = 0
    producers_met: int = 0
    producers_lost: int = 0
    log_refusals: int = 0
    throttles: int = 0
    otlp_requests: int = 0
    otlp_spans: int = 0
    otlp_spans_refused: int = 0
    otlp_requests_refused: int = 0
    otlp_ignored: int = 0
    forwarded_spans: int = 0
    forward_failures: int = 0
    forward_dropped_spans: int = 0


class Relay:
    """Everything behind the routes. Make it with `open` inside a running event loop."""

    def __init__(
        self,
        store: Log,
        folder: Path,
        *,
        keep_s: float | None = None,
        max_bytes: int | None = None,
        lease_s: float = limits.LEASE_S,
        book: PriceBook | None = None,
        clients: Clients | None = None,
        room: Room | None = None,
        log: RelayLog | None = None,
    ) -> None:
        self.log = log or RelayLog()
        self.store = store
        self.folder = folder
        self.counters = Counters()
        self.clock = Clock()
        self.started = time.monotonic()
        self.ready = asyncio.Event()
        self.degraded: str | None = None
        """Why the log refuses at the moment, None while it takes everything."""
        self.book = book or PriceBook()
        self.clients = clients or Clients()
        self.descriptors = room or Room(MOST_DESCRIPTORS)
        self.projections = Projections.open(folder, store, book=self.book)
        self.committer = Committer(store, self._committed, self._refused, self._rejected)
        self.witness = Witness(self.committer.submit)
        self.hub = Hub(self.projections, self.projections.offset)
        self.unstored = Unstored(self.hub)
        self.attendance = Attendance(self, lease_s)
        self.guests = Guests(self)
        self.deleting = Deleting(self)
        self._keep_s, self._max_bytes = keep_s, max_bytes
        self._unapplied: deque[tuple[int, Submission]] = deque()
        self._unapplied_bytes = self._most_unapplied_bytes = 0
        self._work = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._loading: asyncio.Task[None] | None = None
        self._readings: dict[str, asyncio.Task[None]] = {}
        self._reading: set[Reading] = set()
        self._may_read = asyncio.Semaphore(READINGS)

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to catch up. Producers may come at once; `ready` is set when consumers may, too."""
        self._tasks.append(asyncio.create_task(self._run()))

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the relay does; a failure of it makes the relay `degraded`."""
        self._tasks.append(asyncio.create_task(self._guard(work)))

    async def close(self) -> None:
        """Store what is pending, checkpoint, and let go of the log."""
        await asyncio.sleep(0)  # what was only just made begins, so that it can be cancelled
        for reading in self._reading:
            reading.is_abandoned = True
        tasks = [*self._tasks, *self._readings.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.attendance.liveness.close()
        await self.committer.run(lambda _: None)  # what is queued is committed and told
        await asyncio.sleep(0)
        # Whatever is left of either is the next start's, which has all of it in the log.
        until = time.monotonic() + CLOSE_S
        while self.ready.is_set() and self._unapplied and time.monotonic() < until:
            self._apply_one()
        self.projections.close(max(0.0, until - time.monotonic()))
        await self.committer.close()

    @property
    def status(self) -> str:
        """Return `catching up`, `ok` or `degraded`."""
        if not self.ready.is_set():
            return "catching up"
        return "degraded" if self.degraded else "ok"

    @property
    def lag(self) -> int:
        """Return how many stored events are not applied yet."""
        return self.store.next_offset - 1 - self.projections.offset

    @property
    def lag_s(self) -> float:
        """Return how long ago the oldest of these arrived, 0 if there are none."""
        if not self._unapplied:
            return 0.0
        return max(0.0, (self.clock.now() - self._unapplied[0][1].entry.time_ns) / 1e9)

    async def caught_up(self) -> None:
        """Wait until what is stored by now is applied: who was told that it is stored finds it."""
        try:
            async with asyncio.timeout(CAUGHT_UP_S):
                await self.applied(self.store.next_offset - 1)
        except TimeoutError:
            pass

    async def applied(self, offset: int) -> None:
        """Wait until everything up to a stored offset is applied."""
        if self.projections.offset < offset:
            applied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((offset, applied))
            await applied

    def _tell_caught_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for stored, applied in waiting:
            if self.projections.offset < stored and not applied.done():
                self._waiting.append((stored, applied))
            elif not applied.done():
                applied.set_result(None)

    async def load_prices(self) -> None:
        """Wait until calls can be priced: beside the loop, which goes on meanwhile."""
        if self.book.is_loaded:
            return
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self.book.load))
        await asyncio.shield(self._loading)
        if self.book.failure:
            self.log.warning("there are no published prices", reason=self.book.failure)

    async def tree(self, trace_id: str) -> TraceTree | None:
        """Return a trace's tree; one that left the memory is read back beside the loop.

        None if nothing of it is kept, or it was deleted. Raises `LogUnavailable`.
        """
        if self.deleting.is_deleted(trace_id):
            return None
        reading = self._readings.get(trace_id)
        if reading is None:
            found = self.projections.begin_reading(trace_id)
            if found is not None:
                reading = self._readings[trace_id] = asyncio.create_task(self._read(found))
        if reading is not None:
            await asyncio.shield(reading)
        tree = self.projections.tree(trace_id)
        if tree is not None and tree.calls.changed:
            await self.load_prices()
            tree = self.projections.tree(trace_id)
        return tree

    async def _read(self, reading: Reading) -> None:
        self._reading.add(reading)
        try:
            async with self._may_read:
                await asyncio.to_thread(reading.run)
                if reading.tree.calls.changed:
                    await self.load_prices()
                    await asyncio.to_thread(reading.price, self.book)
            if not self.deleting.is_deleted(reading.tree.trace_id):
                self.projections.finish_reading(reading)
        finally:
            self._reading.discard(reading)
            del self._readings[reading.tree.trace_id]

    async def price(self) -> None:
        """Wait until all calls so far are priced."""
        self._publish_prices()
        if self.projections.wants_prices:
            await self.load_prices()
            self._publish_prices()

    def _publish_prices(self) -> None:
        priced = self.projections.take_priced()
        if priced:
            self.hub.priced(priced)

    # --- producers ---------------------------------------------------------------------------

    async def room(self) -> None:
        """Wait while too much is pending."""
        if not self._room.is_set():
            await self._room.wait()

    def accepted(
        self,
        accepted: Accepted,
        on_settled: Callable[[Exception | None], None] | None = None,
    ) -> None:
        """Put new events on their way into the log; `on_settled` as in `Submission`."""
        admission.check_seq(accepted.first_seq + accepted.count)
        events, trace_ids = self.deleting.without_deleted(accepted)
        counters = self.counters
        counters.events += accepted.count
        counters.frames += 1
        counters.bytes += len(events)
        self.attendance.noted(accepted.producer_id, accepted.first_seq + accepted.count - 1)
        entry = Entry(
            accepted.producer_id,
            accepted.first_seq,
            accepted.count,
            events,
            trace_ids,
            self.clock.now(),
        )
        self.committer.submit(Submission(entry, on_settled=on_settled))
        self._measure()

    # --- the log's answers -------------------------------------------------------------------

    def _committed(self, group: list[Submission], offsets: list[int]) -> None:
        if self.degraded is not None:
            self.degraded = None
            self.log.info("the log takes events again")
            self.unstored.over()
            self.witness.retry()
        last: dict[str, int] = {}
        for submission, offset in zip(group, offsets, strict=True):
            entry = submission.entry
            last[entry.producer_id] = entry.first_seq + entry.count - 1
            self._unapplied.append((offset, submission))
            self._unapplied_bytes += len(entry.events)
        self._most_unapplied_bytes = max(self._most_unapplied_bytes, self._unapplied_bytes)
        for producer_id, upto in last.items():
            if producer_id == self.witness.producer_id:
                self.witness.committed(upto)
                continue
            self.attendance.committed(producer_id, upto)
        # After the acks: their senders were woken first, so they run first.
        self._work.set()

    def _refused(self, group: list[Submission], producers: set[str], error: Exception) -> None:
        self.counters.log_refusals += 1
        if self.degraded is None:
            self.log.error("the log refuses events; producers keep them", error=str(error))
        self.degraded = str(error)
        for producer_id in producers:
            if producer_id == self.witness.producer_id:
                self.witness.refused()
                asyncio.get_running_loop().call_later(REFUSED_PAUSE_S, self.witness.retry)
                continue
            self.attendance.refused(producer_id, REFUSED_PAUSE_S)
        self.unstored.show(group)
        self._measure()

    def _rejected(self, submission: Submission, error: LogError) -> None:
        producer_id = submission.entry.producer_id
        self.log.error("the log rejected a frame", producer=producer_id, error=str(error))
        if producer_id == self.witness.producer_id:
            self.witness.committed(submission.entry.last_seq)
            return
        self.attendance.rejected(producer_id, error)

    def _measure(self) -> None:
        if self.committer.pending_bytes + self._unapplied_bytes > PENDING_BYTES:
            self._room.clear()
        else:
            self._room.set()

    # --- projections and hub -----------------------------------------------------------------

    def _apply_one(self) -> None:
        offset, submission = self._unapplied.popleft()
        entry = submission.entry
        self._unapplied_bytes -= len(entry.events)
        if offset + entry.count - 1 <= self.projections.offset:
            return  # the replay had it
        admitted = admitted_of(entry)
        self.counters.refused_events += admitted.refused
        applied = self.projections.apply(
            offset,
            entry.producer_id,
            entry.first_seq,
            admitted.events,
            size=len(entry.events),
        )
        self.hub.publish(
            Publication(
                offset,
                entry.producer_id,
                entry.first_seq,
                entry.events,
                admitted.events,
                admitted.trace_ids,
                applied.changed,
                applied.new,
            )
        )

    async def _apply(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            until = time.monotonic() + self._slice_s
            while self._unapplied:
                self._apply_one()
                if time.monotonic() > until:
                    self._tell_caught_up()
                    self._measure()
                    await asyncio.sleep(0)
                    until = time.monotonic() + self._slice_s
            self._tell_caught_up()
            self._measure()

    @property
    def _slice_s(self) -> float:
        return BUSY_SLICE_S if self.committer.pending_bytes else SLICE_S

    # --- in the background -------------------------------------------------------------------

    async def _run(self) -> None:
        checkpointed = time.monotonic()
        for _ in self.projections.replay():
            await asyncio.sleep(REPLAY_PAUSE_S)
            if time.monotonic() - checkpointed >= REPLAY_CHECKPOINT_S:
                for _ in self.projections.checkpoint_steps():
                    await asyncio.sleep(0)
                checkpointed = time.monotonic()
        self.hub.advance(self.projections.offset)
        self.attendance.restore()
        self.ready.set()
        work = (self._apply(), self._tick(), self._emit(), self._keep())
        self._tasks += [asyncio.create_task(self._guard(one)) for one in work]

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except Exception:
            self.log.exception("a part of the relay failed; it goes on without it")
            self.degraded = "a part of the relay failed; see its log"
            raise

    async def _tick(self) -> None:
        while True:
            self.attendance.liveness.tick()
            self.guests.tick()
            await asyncio.sleep(TICK_S)

    async def _emit(self) -> None:
        while True:
            self._publish_prices()
            if self.projections.wants_prices and self._loading is None:
                self._tasks.append(asyncio.create_task(self.price()))
            self.hub.tick(time.monotonic())
            await asyncio.sleep(0.05)

    async def _keep(self) -> None:
        retained = 0.0
        while True:
            await asyncio.sleep(CHECKPOINT_S)
            self.projections.expire()
            if self.projections.has_changes:
                for _ in self.projections.checkpoint_steps():
                    await asyncio.sleep(0)
            if not self._unapplied and self._most_unapplied_bytes > BURST_BYTES:
                self._most_unapplied_bytes = 0
                await asyncio.to_thread(give_back)
            if time.monotonic() - retained >= RETAIN_S:
                retained = time.monotonic()
                await self.retain()

    async def retain(self) -> None:
        """Let go of what is too old or too much."""
        loop = asyncio.get_running_loop()

        def carry() -> bytes:
            # Asked for in the writer's thread, and only when something goes; trees are the loop's.
            return asyncio.run_coroutine_threadsafe(self._carry(), loop).result()

        def job(log: Log) -> list[Removed]:
            return log.retain(
                keep_s=self._keep_s, max_bytes=self._max_bytes, now_ns=time.time_ns(), carry=carry
            )

        try:
            removed: list[Removed] = await self.committer.run(job)
        except LogError as error:
            self.log.error("old events cannot be removed", error=str(error))
            return
        self.deleting.forget_old()
        if removed:
            self.log.info("old events removed", upto_offset=removed[-1].last_offset)
            self.hub.removed(self.projections.prune())

    async def _carry(self) -> bytes:
        return self.projections.carry()
