"""`/v1/tail`: one consumer's connection, from its first frame to facts as they are stored.

Catching up and live meet without a gap: the channel's ring begins before the log is read, the log
is read up to what was published, and the ring goes on from there.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from starlette.websockets import WebSocket

from lumina_stream.model import limits
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.model.events import Event, SpanStarted
from lumina_stream.model.ids import is_trace_id
from lumina_stream.model.producers import Producer
from lumina_stream.protocol import frames
from lumina_stream.protocol.consumer import Span, can_resume
from lumina_stream.protocol.wire import Wire, wire_for
from lumina_stream.relay.admission import admit
from lumina_stream.relay.channel import Behind, Subscription
from lumina_stream.relay.log import Log, LogError, Row
from lumina_stream.relay.outline import CallUsage, usage_frames, usage_of
from lumina_stream.relay.publication import Facts, Publication
from lumina_stream.relay.selection import QueryError, check
from lumina_stream.relay.snapshots import costs_of, names_of, snapshot
from lumina_stream.relay.sockets import Gone, Peer, Socket

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

PROGRESS_S = 1.0
"""Silence after which a consumer is told how far the log is, and what time it is here."""

SLICE_S = 0.002
"""Longest time in which frames are made and sent before the loop looks at its sockets again."""

_ALL = frames.Filter()


def spans_of(store: Log) -> list[Span]:
    """Return the log's epochs with the offsets that were written in each."""
    epochs = store.epochs
    ends = [epoch.first_offset - 1 for epoch in epochs[1:]] + [store.next_offset - 1]
    return [
        Span(epoch.id, epoch.first_offset, end) for epoch, end in zip(epochs, ends, strict=True)
    ]


class Consumer:
    """A consumer's connection."""

    def __init__(self, relay: "Relay", socket: Peer, wire: Wire, asked: frames.Subscribe) -> None:
        self._relay = relay
        self._socket = socket
        self._wire = wire
        self._asked = asked
        self._wake = asyncio.Event()
        self._subscription: Subscription
        self._sent: dict[str, None] = {}  # traces of which facts came from the log

    async def run(self) -> None:
        """Send what the subscription asks for, until the connection ends."""
        hub = self._relay.hub
        asked = self._asked
        self._subscription = hub.subscribe(asked, self._wire, self._wake.set)
        try:
            if asked.view in ("traces", "running"):
                await self._begin_listing()
            else:
                await self._begin_events()
            await self._live()
        finally:
            hub.unsubscribe(self._subscription)

    # --- beginnings --------------------------------------------------------------------------

    async def _begin_listing(self) -> None:
        offset = self._subscription.to_now()
        await self._subscribed(offset, recovered=False)
        await self._send_all(self._subscription.channel.first_frames())

    async def _begin_events(self) -> None:
        store, asked = self._relay.store, self._asked
        cursor = asked.cursor
        if cursor is not None and can_resume(cursor, spans_of(store), store.first_offset):
            await self._subscribed(cursor.offset, recovered=True)
            await self._send_all(self._relay.deleting.since(cursor.offset))
            await self._catch_up(cursor.offset, resumed=True)
        elif asked.since_ns is not None:
            offset = await asyncio.to_thread(store.offset_at, asked.since_ns)
            offset = min(offset, self._relay.hub.offset)
            await self._subscribed(offset, recovered=False)
            await self._send_all(snapshot(offset, names_of(self._producers()), ()))
            await self._catch_up(offset, resumed=False)
        elif asked.snapshot:
            await self._fetch()
            offset = self._subscription.to_now()
            frames_now = self._subscription.channel.snapshot()
            await self._subscribed(offset, recovered=False)
            await self._send_all(frames_now)
        elif asked.filter.trace_id is not None:
            await self._replay_trace(asked.filter.trace_id)
        else:
            await self._subscribed(self._subscription.to_now(), recovered=False)

    async def _subscribed(self, offset: int, *, recovered: bool) -> None:
        epoch = self._relay.store.epoch.id
        now = self._relay.clock.now()
        await self._send(frames.Subscribed(recovered, epoch, offset, now))

    async def _fetch(self) -> None:
        """See to it that the tree of the one trace that was asked for is at hand."""
        if self._asked.filter.trace_id is not None:
            await self._relay.tree(self._asked.filter.trace_id)

    async def _replay_trace(self, trace_id: str) -> None:
        until = self._subscription.to_now()
        fates = [msgspec.structs.replace(producer) for producer in self._producers()]
        await self._subscribed(0, recovered=False)
        await self._send_all(snapshot(0, names_of(fates), ()))
        after = 0
        while after < until:
            rows = await asyncio.to_thread(self._relay.store.read_trace, trace_id, after=after)
            if not rows:
                break
            for row in rows:
                if row.offset <= until:
                    await self._send_row(row, {trace_id})
            after = rows[-1].last_offset
        # The log finds a trace's own facts; what became of its producers stands among others.
        await self._send_all(snapshot(until, fates, ()))
        await self._tell_costs()
        await self._progress()

    async def _catch_up(self, offset: int, *, resumed: bool) -> None:
        """Send what the log has after `offset`, until the ring has what follows."""
        subscription, store, hub = self._subscription, self._relay.store, self._relay.hub
        known: dict[str, bool] = {}
        while not subscription.resume(offset):
            rows = await asyncio.to_thread(store.read, offset)
            rows = [row for row in rows if row.offset <= hub.offset]
            if not rows:
                # Removed or damaged: the ring begins where the log can tell nothing any more.
                offset = subscription.channel.ring.start_offset
                continue
            for row in rows:
                await self._catch_up_row(row, known, resumed=resumed)
            offset = rows[-1].last_offset
        await self._tell_costs()

    async def _tell_costs(self) -> None:
        """Send what the calls of the traces that were sent from the log cost."""
        sent, self._sent = self._sent, {}
        only = self._asked.filter.trace_id
        if sent or self._asked.outline:
            await self._fetch()
        if self._asked.outline and only is not None:
            await self._send_all(
                usage_frames(self._subscription.offset, only, self._all_usage(only))
            )
            return
        for trace_id in sent:
            tree = self._relay.projections.forest.traces.get(trace_id)
            if tree is None and trace_id == only:
                tree = self._relay.projections.tree(trace_id)
            if tree is not None and tree.calls.spans:
                await self._send_all(costs_of(self._subscription.offset, tree))

    async def _catch_up_row(self, row: Row, known: dict[str, bool], *, resumed: bool) -> None:
        wanted_filter = self._asked.filter
        everything = wanted_filter == _ALL
        if everything and not resumed:
            await self._send_row(row, None)
            return
        if wanted_filter.trace_id is not None:
            await self._send_row(row, {wanted_filter.trace_id})
            return
        channel, projections = self._subscription.channel, self._relay.projections
        for event in admit(row.events, row.producer_id).events:
            trace_id = getattr(event, "trace_id", None)
            if trace_id is None or trace_id in known:
                continue
            wanted = (
                everything
                or trace_id in channel.selected
                or projections.matches(wanted_filter, trace_id)
            )
            known[trace_id] = wanted
            if not wanted:
                continue
            if not everything:
                channel.selected.add(trace_id)
            if resumed and await self._went_on(trace_id, event, row):
                # It may have come into the view while the consumer was away; or it was over when the
                # consumer began, which therefore has nothing of it.
                tree = await self._relay.tree(trace_id)
                if tree is not None:
                    await self._send_all(snapshot(row.offset - 1, (), (tree,)))
        await self._send_row(
            row, None if everything else {t for t, wanted in known.items() if wanted}
        )

    async def _went_on(self, trace_id: str, event: Event | None, row: Row) -> bool:
        """Tell whether anything of a trace was stored before a row with `event` of it."""
        if not isinstance(event, SpanStarted) or event.parent_id is not None:
            return True
        first = await asyncio.to_thread(self._relay.store.read_trace, trace_id, max_bytes=1)
        return bool(first) and first[0].offset < row.offset

    async def _send_row(self, row: Row, trace_ids: set[str] | None) -> None:
        admitted = admit(row.events, row.producer_id)
        publication = Publication(
            row.offset,
            row.producer_id,
            row.first_seq,
            row.events,
            admitted.events,
            admitted.trace_ids,
            (),
            (),
        )
        facts = Facts(publication, self._relay.projections.service(row.producer_id))
        chosen = facts.all
        if trace_ids is not None:
            chosen = facts.of(trace_ids.intersection(admitted.trace_ids))
        chosen = facts.with_producers(chosen)
        if chosen:
            sent = admitted.trace_ids if trace_ids is None else trace_ids
            self._sent.update(dict.fromkeys(sent))
            await self._send(facts.frame(publication, chosen))

    # --- live --------------------------------------------------------------------------------

    async def _live(self) -> None:
        subscription = self._subscription
        while True:
            found = subscription.next()
            if found is None:
                await self._wait()
            elif isinstance(found, Behind):
                await self._skip(found)
            else:
                await self._socket.send(found)

    async def _wait(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(PROGRESS_S):
                await self._wake.wait()
        except TimeoutError:
            await self._progress()

    async def _progress(self) -> None:
        await self._send(frames.Progress(self._subscription.offset, self._relay.clock.now()))

    async def _skip(self, behind: Behind) -> None:
        channel = self._subscription.channel
        if self._asked.view == "running":
            await self._send_all(channel.first_frames())  # each frame says all of it
            return
        await self._fetch()
        listing = self._asked.view == "traces"
        following = channel.first_frames() if listing else channel.snapshot()
        await self._send(frames.Skip(behind.from_offset, behind.to_offset))
        await self._send_all(following)

    # --- small parts -------------------------------------------------------------------------

    def _all_usage(self, trace_id: str) -> list[CallUsage]:
        tree = self._relay.projections.tree(trace_id)
        return [] if tree is None else usage_of(tree.calls.spans.values())

    def _producers(self) -> list[Producer]:
        return self._relay.projections.forest.producers.all()

    async def _send(self, frame: frames.AnyFrame) -> None:
        await self._socket.send(self._wire.encode(frame))

    async def _send_all(self, several: Iterable[frames.AnyFrame | None]) -> None:
        """Send frames as they are made; None stands for a step that made none."""
        until = time.monotonic() + SLICE_S
        for frame in several:
            if frame is not None:
                await self._send(frame)
            if time.monotonic() > until:
                await asyncio.sleep(0)  # a large snapshot leaves the loop to others
                until = time.monotonic() + SLICE_S


async def tail(relay: "Relay", websocket: WebSocket, subprotocol: str | None) -> None:
    """Serve a consumer's WebSocket until it ends."""
    socket = Socket(websocket)
    wire = wire_for(subprotocol)
    try:
        await socket.accept(subprotocol)
        await serve(relay, socket, wire)
    except Gone:
        return


async def serve(relay: "Relay", socket: Peer, wire: Wire) -> None:
    """Serve an open connection of a consumer until it ends. Raises `Gone`."""
    try:
        async with asyncio.timeout(limits.CONNECT_TIMEOUT_S):
            asked = wire.subscribe(await socket.receive())
        _check(asked)
    except TimeoutError:
        await socket.close(1008, "no subscribe")
        return
    except RemoteProtocolError as error:
        await socket.send(wire.encode(frames.Error(str(error), "protocol")))
        await socket.close(error.code, str(error))
        return
    consumer = Consumer(relay, socket, wire, asked)
    sending = asyncio.create_task(consumer.run())
    listening = asyncio.create_task(_listen(socket))
    try:
        await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            try:
                sending.result()
            except Gone:
                pass
            except LogError as error:
                relay.log.error("a consumer cannot be served", error=str(error))
                await socket.close(1011, "the log cannot be read now")
        elif not listening.cancelled() and listening.exception() is None:
            await socket.close(1002, "a consumer sends one frame only")
    finally:
        for task in (sending, listening):
            task.cancel()
        await asyncio.gather(sending, listening, return_exceptions=True)


async def _listen(socket: Peer) -> None:
    await socket.receive()


def _check(asked: frames.Subscribe) -> None:
    trace_id = asked.filter.trace_id
    if trace_id is not None and not is_trace_id(trace_id):
        raise RemoteProtocolError(f"{trace_id!r} is not a trace id: 32 lower-case hex digits")
    if asked.view == "trace" and trace_id is None:
        raise RemoteProtocolError("the view `trace` needs a filter with a trace_id")
    if asked.outline and (
        asked.view != "trace" or not asked.snapshot or asked.since_ns is not None
    ):
        raise RemoteProtocolError("an outline is a snapshot of the view `trace`")
    try:
        check(asked.filter)
    except QueryError as error:
        raise RemoteProtocolError(str(error)) from None
