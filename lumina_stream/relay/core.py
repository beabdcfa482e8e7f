"""The relay itself: what happens to what a producer sent, in the order in which it happens.

accepted -> pending -> committed (the writer's thread) -> acknowledged -> applied -> published.
All but the commit runs in one event loop. No decision about seq, ack, cursor or lease is made here:
the machines of `protocol` decide, this carries out.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from lumina_stream.model import codec, limits
from lumina_stream.model.clock import Clock
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import (
    EventsLost,
    ProducerEnded,
    ProducerEvent,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
)
from lumina_stream.protocol import frames
from lumina_stream.protocol.intake import (
    Accepted,
    Alive,
    Ended,
    Identity,
    Intake,
    Missing,
    ProducerPeer,
)
from lumina_stream.relay import admission
from lumina_stream.relay.committer import Committer, Submission
from lumina_stream.relay.guests import Guests
from lumina_stream.relay.hub import Hub
from lumina_stream.relay.liveness import TICK_S, Liveness
from lumina_stream.relay.log import Entry, Log, LogError, Removed
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.projections import Projections
from lumina_stream.relay.publication import Publication
from lumina_stream.relay.streaming import ProducerConnection
from lumina_stream.relay.witness import Witness

PENDING_BYTES = 64 << 20
"""Event bytes that wait for the commit or for the projections; above it no producer is read. What
they still hold is safe with them."""
SLICE_S = 0.005
"""Longest time in which the loop applies and publishes before it looks at its sockets again."""
REFUSED_PAUSE_S = 1.0
"""How long producers wait after the log refused: a full disk does not become empty faster."""
CHECKPOINT_S = 5.0
"""Between two checkpoints of the projections: what a start after a crash replays."""
RETAIN_S = 60.0
"""Between two looks at what is too old or too much."""

_decode_hello = msgspec.msgpack.Decoder(frames.Hello).decode


class Counters(msgspec.Struct):
    """Cumulative figures since the start."""

    events: int = 0
    frames: int = 0
    bytes: int = 0
    refused_events: int = 0
    duplicates: int = 0
    lost_reported: int = 0
    producers_met: int = 0
    producers_lost: int = 0
    log_refusals: int = 0
    otlp_requests: int = 0
    otlp_spans: int = 0
    otlp_spans_refused: int = 0
    otlp_requests_refused: int = 0
    otlp_ignored: int = 0
    forwarded_spans: int = 0
    forward_failures: int = 0
    forward_dropped_spans: int = 0


class _Heard(msgspec.Struct):
    """What was last heard of a producer, for the day it is lost."""

    last_seq: int
    wall_ns: int = 0
    admitted: int = 0
    skew_ns: int = 0


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
    ) -> None:
        self.log: Any = structlog.get_logger("lumina.relay")
        self.store = store
        self.folder = folder
        self.counters = Counters()
        self.clock = Clock()
        self.started = time.monotonic()
        self.ready = asyncio.Event()
        self.degraded: str | None = None
        """Why the log refuses at the moment, None while it takes everything."""
        self.book = book or PriceBook()
        self.projections = Projections.open(folder, store, book=self.book)
        self.committer = Committer(store, self._committed, self._refused, self._rejected)
        self.witness = Witness(self.committer.submit)
        self._hellos: dict[str, frames.Hello] = _hellos(store)
        self.intake = Intake(
            store.producers(),
            {p: _identity(hello) for p, hello in self._hellos.items()},
            relay_id=self.witness.producer_id,
        )
        self.hub = Hub(self.projections, self.projections.offset)
        self.liveness = Liveness(self._lost, self._returned, self._grace, lease_s=lease_s)
        self.guests = Guests(self)
        self._keep_s, self._max_bytes = keep_s, max_bytes
        self._connections: dict[str, ProducerConnection] = {}
        self._of_peer: dict[int, ProducerConnection] = {}
        self._ending: dict[str, tuple[ProducerConnection, int]] = {}
        self._fates: dict[str, str] = {}
        self._heard: dict[str, _Heard] = {}
        self._said_ns = 0
        self._unapplied: deque[tuple[int, Submission]] = deque()
        self._unapplied_bytes = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._loading: asyncio.Task[None] | None = None

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to catch up; `ready` is set when producers and consumers may come."""
        self._tasks.append(asyncio.create_task(self._run()))

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the relay does; a failure of it makes the relay `degraded`."""
        self._tasks.append(asyncio.create_task(self._guard(work)))

    async def close(self) -> None:
        """Store what is pending, checkpoint, and let go of the log."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.liveness.close()
        await self.committer.run(lambda _: None)  # what is queued is committed and told
        await asyncio.sleep(0)
        while self._unapplied:
            self._apply_one()
        self.projections.close()
        await self.committer.close()

    @property
    def status(self) -> str:
        """Return `starting`, `ok` or `degraded`."""
        if not self.ready.is_set():
            return "starting"
        return "degraded" if self.degraded else "ok"

    @property
    def lag(self) -> int:
        """Return how many stored events are not applied yet."""
        return self.store.next_offset - 1 - self.projections.offset

    async def load_prices(self) -> None:
        """Wait until calls can be priced: beside the loop, which goes on meanwhile."""
        if self.book.is_loaded:
            return
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self.book.load))
        await asyncio.shield(self._loading)
        if self.book.failure:
            self.log.warning("there are no published prices", reason=self.book.failure)

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

    def met(self, connection: ProducerConnection, hello: frames.Hello) -> None:
        """Take in a producer's hello that the intake accepted."""
        producer_id = hello.producer_id
        older = self._connections.get(producer_id)
        if older is not None and older is not connection:
            older.close(4002, "superseded")
        self._connections[producer_id] = connection
        now = self.clock.now()
        heard = self._heard_of(producer_id)
        heard.wall_ns = now
        heard.skew_ns = hello.wall_ns - now if hello.wall_ns else 0
        self.introduce(hello)
        self.liveness.connected(hello)

    def introduce(self, hello: frames.Hello) -> None:
        """Say who a producer is, if that is new, or that it is back."""
        producer_id = hello.producer_id
        # What changes with every connection is not worth a record.
        lasting = msgspec.structs.replace(hello, first_seq=1, wall_ns=0, mono_ns=0)
        if self._hellos.get(producer_id) != lasting:
            self._hellos[producer_id] = lasting
            self.counters.producers_met += 1
            self._fates[producer_id] = "alive"
            started = ProducerStarted(
                self._stamp_ns(producer_id),
                producer_id,
                hello.service,
                hello.resource,
                hello.pid,
                hello.host,
            )
            self._say(started, remember=(producer_id, codec.encode(lasting)))
        else:
            self._returned(producer_id)

    def hello_of(self, producer_id: str) -> frames.Hello | None:
        """Return what a producer said of itself, None if nothing is known."""
        return self._hellos.get(producer_id)

    def accepted(
        self,
        accepted: Accepted,
        on_settled: Callable[[Exception | None], None] | None = None,
    ) -> None:
        """Put new events on their way into the log; `on_settled` as in `Submission`."""
        admission.check_seq(accepted.first_seq + accepted.count)
        admitted = admission.admit(accepted.events, accepted.producer_id)
        counters = self.counters
        counters.events += accepted.count
        counters.frames += 1
        counters.bytes += len(accepted.events)
        counters.refused_events += admitted.refused
        self._heard_of(accepted.producer_id).last_seq = accepted.first_seq + accepted.count - 1
        entry = Entry(
            accepted.producer_id,
            accepted.first_seq,
            accepted.count,
            accepted.events,
            admitted.trace_ids,
            self.clock.now(),
        )
        self.committer.submit(Submission(entry, admitted.events, on_settled=on_settled))
        self._measure()

    def alive(self, alive: Alive) -> None:
        """Take in a heartbeat."""
        heard = self._heard_of(alive.producer_id)
        heard.admitted = max(heard.admitted, alive.admitted)
        if alive.wall_ns:
            heard.skew_ns = alive.wall_ns - self.clock.now()

    def heard(self, connection: ProducerConnection) -> None:
        """Note that a producer sent something."""
        hello = connection.peer.hello
        if hello is not None and not connection.peer.superseded:
            self._heard_of(hello.producer_id).wall_ns = self.clock.now()
            self.liveness.heard(hello.producer_id)

    def missing(self, missing: Missing) -> None:
        """Record events that nobody has any more."""
        self.counters.lost_reported += missing.count
        now = self._stamp_ns(missing.producer_id)
        self.log.warning(
            "events are gone from producer and log",
            producer=missing.producer_id,
            count=missing.count,
        )
        self._say(EventsLost(now, "log_rollback", missing.count, subject_id=missing.producer_id))

    def ending(self, connection: ProducerConnection, ended: Ended) -> None:
        """Take in a `bye`: the producer has ended once its last event is stored."""
        self._ending[ended.producer_id] = (connection, ended.last_seq)
        self._end(ended.producer_id)

    def disconnected(self, connection: ProducerConnection) -> None:
        """Note the end of a producer's connection."""
        hello = connection.peer.hello
        if hello is None or self._connections.get(hello.producer_id) is not connection:
            return
        del self._connections[hello.producer_id]
        if hello.producer_id not in self._ending:
            self.liveness.disconnected(hello.producer_id)

    def _end(self, producer_id: str) -> None:
        connection, last_seq = self._ending[producer_id]
        if self.intake.last_seq(producer_id) < last_seq:
            return
        del self._ending[producer_id]
        self.liveness.ended(producer_id)
        self._heard.pop(producer_id, None)
        self._fates[producer_id] = "ended"
        self._say(ProducerEnded(self._stamp_ns(producer_id), producer_id, last_seq))
        connection.close(1000, "bye")

    def silent(self, producer_id: str) -> None:
        """Take a producer for lost that nothing was heard of for too long."""
        self._lost(producer_id)

    def _lost(self, producer_id: str) -> None:
        if self._fate(producer_id) != "alive":
            return
        self._fates[producer_id] = "lost"
        self.counters.producers_lost += 1
        heard = self._heard.pop(producer_id, None) or _Heard(self.intake.last_seq(producer_id))
        now = self._stamp_ns(producer_id)
        seen_ns = (heard.wall_ns or now) + heard.skew_ns
        said: list[ProducerEvent] = [ProducerLost(now, producer_id, heard.last_seq, seen_ns)]
        unsent = heard.admitted - heard.last_seq
        if unsent > 0:
            self.counters.lost_reported += unsent
            said.append(
                EventsLost(now, "producer_lost", unsent, exact=False, subject_id=producer_id)
            )
        self._say(*said)

    def _returned(self, producer_id: str) -> None:
        if self._fate(producer_id) != "alive":
            self._fates[producer_id] = "alive"
            self._say(ProducerReturned(self._stamp_ns(producer_id), producer_id))

    def _grace(self, producer_id: str) -> None:
        connection = self._connections.get(producer_id)
        if connection is not None:
            connection.abort()

    def _heard_of(self, producer_id: str) -> _Heard:
        heard = self._heard.get(producer_id)
        if heard is None:
            heard = self._heard[producer_id] = _Heard(self.intake.last_seq(producer_id))
        return heard

    def _fate(self, producer_id: str) -> str:
        return self._fates.get(producer_id) or self.projections.forest.producers.state(producer_id)

    def _say(self, *events: ProducerEvent, remember: tuple[str, bytes] | None = None) -> None:
        self.witness.say(self.clock.now(), *events, remember=remember)

    def _stamp_ns(self, producer_id: str) -> int:
        """Return now, or just after what was last said of a producer: a clock set back hides nothing."""
        known = self.projections.forest.producers.get(producer_id)
        last = 0 if known is None else known.stamp[0]
        self._said_ns = max(self.clock.now(), self._said_ns + 1, last + 1)
        return self._said_ns

    # --- the log's answers -------------------------------------------------------------------

    def _committed(self, group: list[Submission], offsets: list[int]) -> None:
        if self.degraded is not None:
            self.degraded = None
            self.log.info("the log takes events again")
            self.witness.retry()
        last: dict[str, int] = {}
        for submission, offset in zip(group, offsets, strict=True):
            entry = submission.entry
            last[entry.producer_id] = entry.first_seq + entry.count - 1
            self._unapplied.append((offset, submission))
            self._unapplied_bytes += len(entry.events)
        for producer_id, upto in last.items():
            if producer_id == self.witness.producer_id:
                self.witness.committed(upto)
                continue
            told = self.intake.committed(producer_id, upto)
            if told is not None:
                self._tell(told[0], told[1])
            if producer_id in self._ending:
                self._end(producer_id)
        # After the acks: their senders were woken first, so they run first.
        self._work.set()

    def _refused(self, producers: set[str], error: Exception) -> None:
        self.counters.log_refusals += 1
        if self.degraded is None:
            self.log.error("the log refuses events; producers keep them", error=str(error))
        self.degraded = str(error)
        for producer_id in producers:
            if producer_id == self.witness.producer_id:
                self.witness.refused()
                asyncio.get_running_loop().call_later(REFUSED_PAUSE_S, self.witness.retry)
                continue
            told = self.intake.failed(producer_id)
            if told is not None:
                self._tell(told[0], frames.Throttle(REFUSED_PAUSE_S))
                self._tell(told[0], told[1])
        self._measure()

    def _rejected(self, submission: Submission, error: LogError) -> None:
        producer_id = submission.entry.producer_id
        self.log.error("the log rejected a frame", producer=producer_id, error=str(error))
        if producer_id == self.witness.producer_id:
            self.witness.committed(submission.entry.last_seq)
            return
        # The log knows better than we did what is stored: go on from there, with what was sent since.
        self.intake.committed(producer_id, self.store.last_seq(producer_id))
        self.intake.failed(producer_id)
        connection = self._connections.get(producer_id)
        if connection is not None:
            connection.close(1011, "rejected", frames.Error(str(error), "rejected"))

    def _tell(self, peer: ProducerPeer, frame: frames.RelayToProducer) -> None:
        hello = peer.hello
        connection = None if hello is None else self._connections.get(hello.producer_id)
        if connection is not None and connection.peer is peer:
            connection.reply(frame)

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
        applied = self.projections.apply(
            offset,
            entry.producer_id,
            entry.first_seq,
            submission.events,
            size=len(entry.events),
        )
        self.hub.publish(
            Publication(
                offset,
                entry.producer_id,
                entry.first_seq,
                entry.events,
                submission.events,
                entry.trace_ids,
                applied.touched,
                applied.new,
            )
        )

    async def _apply(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            until = time.monotonic() + SLICE_S
            while self._unapplied:
                self._apply_one()
                if time.monotonic() > until:
                    self._measure()
                    await asyncio.sleep(0)
                    until = time.monotonic() + SLICE_S
            self._measure()

    # --- in the background -------------------------------------------------------------------

    async def _run(self) -> None:
        for _ in self.projections.replay():
            await asyncio.sleep(0)
        self.hub.advance(self.projections.offset)
        self._restore()
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

    def _restore(self) -> None:
        """Take over the producers that were alive when the relay last ran."""
        producers = self.projections.forest.producers
        known = {*self.projections.open_producers(), *(p.producer_id for p in producers.all())}
        for producer_id in known:
            if producers.state(producer_id) != "alive" or admission.is_relay(producer_id):
                continue
            if admission.is_reserved(producer_id):
                self.guests.heard(producer_id)
                continue
            hello = self._hellos.get(producer_id)
            if hello is None:
                self.liveness.restored_unknown(producer_id)
            else:
                self.liveness.restored(hello)

    async def _tick(self) -> None:
        while True:
            self.liveness.tick()
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
            if self.projections.has_changes:
                for _ in self.projections.checkpoint_steps():
                    await asyncio.sleep(0)
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
        if removed:
            self.log.info("old events removed", upto_offset=removed[-1].last_offset)
            self.hub.removed(self.projections.prune())

    async def _carry(self) -> bytes:
        return self.projections.carry()


def _identity(hello: frames.Hello) -> Identity:
    return Identity(hello.nonce, hello.pid, hello.process_start, hello.boot_id, hello.pid_namespace)


def _hellos(store: Log) -> dict[str, frames.Hello]:
    found: dict[str, frames.Hello] = {}
    for producer_id, data in store.producer_data().items():
        with contextlib.suppress(msgspec.DecodeError, DecodeError):
            found[producer_id] = _decode_hello(data)
    return found
