"""A live view of a relay: the trees so far, and what changes in them. For asyncio and trio.

The connection lives in a task of its own, which only moves messages; trees change when the caller
asks for the next update, so that what it sees stands still in between. A slow caller slows the
connection, never the memory: past what the sockets hold the relay skips, and says how much.
"""

import os
import random
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeAlias

import anyio
import anyio.abc
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from lumina_stream.model import limits
from lumina_stream.model.errors import (
    ConnectionEnded,
    ConnectionFailed,
    LuminaError,
    RemoteProtocolError,
)
from lumina_stream.model.events import Fact
from lumina_stream.model.forest import Change
from lumina_stream.model.live import LiveTraces, Update
from lumina_stream.model.record import from_columns
from lumina_stream.model.tree import TraceTree
from lumina_stream.model.usage import Cost
from lumina_stream.protocol import consumer, frames
from lumina_stream.transport.connection import Connection, connect
from lumina_stream.transport.endpoint import (
    DEFAULT_ENDPOINT,
    Endpoint,
    parse_endpoint,
    token_for,
)
from lumina_stream.viewing.asking import name_of, since_of, state_of, trace_id_of

_INBOX = 32
"""Updates between the connection and the caller, of at most a frame each: bounds the memory at 8 MiB."""
_FINAL = frozenset({"bad_request", "forbidden", "protocol", "unauthorized", "unsupported"})
"""Codes of an `error` frame after which asking again is of no use."""

_Item: TypeAlias = consumer.Update | ConnectionFailed | ConnectionEnded


class TailOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to tail: whom, which traces, from where. See `tail`."""

    endpoint: Endpoint
    token: str | None = None
    filter: frames.Filter = frames.Filter()
    since_s: float | None = None
    snapshot: bool = True
    retry: bool = False


def tail(
    url: str | None = None,
    *,
    token: str | None = None,
    service: str | None = None,
    trace_id: str | None = None,
    name: str | None = None,
    state: str | None = None,
    since: float | timedelta | str | None = None,
    snapshot: bool = True,
    retry: bool = False,
) -> "LiveView":
    """Watch a relay: `async with tail() as live: async for update in live: ...`.

    `url` defaults to LUMINA_ENDPOINT (else the default endpoint), `token` to what `token_for("read")` finds.
    `service`, `trace_id`, `name` (a glob over the root's name) and `state` select traces. It starts
    with the open traces as they stand, with `since` (seconds, a timedelta, or text such as
    `"10m"`) with what arrived since then, or with `snapshot=False` with what comes next. Entering
    raises `ConnectionFailed` when there is no relay, unless `retry`; later it reconnects by
    itself and goes on where it was. Raises `ConfigurationError` for a value that cannot be used.
    """
    options = TailOptions(
        endpoint=parse_endpoint(url or os.environ.get("LUMINA_ENDPOINT") or DEFAULT_ENDPOINT),
        token=token or token_for("read"),
        filter=frames.Filter(
            None if service is None else name_of(service),
            None if trace_id is None else trace_id_of(trace_id),
            None if name is None else name_of(name),
            None if state is None else state_of(state),
        ),
        since_s=None if since is None else since_of(since),
        snapshot=snapshot,
        retry=retry,
    )
    return LiveView(options)


class LiveView:
    """What `tail` returns: iterate it for updates, read `traces` in between. One reader at a time."""

    def __init__(self, options: TailOptions) -> None:
        self.endpoint = options.endpoint
        self.connected = False
        """Whether the connection stands now; while it does not, it is being tried again."""
        self.failure: str | None = None
        """Why the connection does not stand, None while it does."""
        self.caught_up = False
        """Whether everything has arrived that the relay had when it was asked."""
        self._options = options
        since_ns = None
        if options.since_s is not None:
            since_ns = max(0, time.time_ns() - int(options.since_s * 1e9))
        self._session = consumer.ConsumerSession(
            frames.Subscribe("events", options.filter, None, since_ns, options.snapshot)
        )
        self._live = LiveTraces()
        self._ahead_ns: int | None = None
        self._inbox: MemoryObjectReceiveStream[_Item] | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._pumping: anyio.CancelScope | None = None
        self._stopping = False

    # --- reading -----------------------------------------------------------------------------

    @property
    def traces(self) -> dict[str, TraceTree]:
        """Return the trees so far, by trace id; they change only in `async for`."""
        return self._live.traces

    @property
    def unknown(self) -> str | None:
        """Return the id of the one trace that was asked for if the relay knows no such trace."""
        trace_id = self._options.filter.trace_id
        if trace_id is None or not self.caught_up or self.traces.get(trace_id):
            return None
        return trace_id

    @property
    def offset(self) -> int:
        """Return the offset of the relay's log up to which everything selected has arrived."""
        return self._session.offset

    @property
    def undecodable(self) -> int:
        """Return how many events could not be read: of a version or shape not known here."""
        return self._session.undecodable

    def relay_ns(self) -> int:
        """Return the relay's clock, as well as it is known: nanoseconds since the epoch."""
        return time.time_ns() + (self._ahead_ns or 0)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        """Wait for the next change; what arrived in the meantime comes as one update.

        An empty one says that `connected` or `caught_up` changed.

        Raises `ConnectionFailed` when the relay refuses the subscription for good.
        """
        if self._inbox is None:
            raise LuminaError("a live view is entered before it is read: async with tail() as live")
        while True:
            try:
                items: list[_Item] = [await self._inbox.receive()]
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                raise StopAsyncIteration from None
            while len(items) < _INBOX:
                try:
                    items.append(self._inbox.receive_nowait())
                except (anyio.WouldBlock, anyio.EndOfStream):
                    break
            update = self._fold(items)
            if update is not None:
                return update

    # --- the connection ----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise LuminaError("a live view is entered once; call tail() again")
        outbox, self._inbox = anyio.create_memory_object_stream[_Item](_INBOX)
        tasks = self._tasks = anyio.create_task_group()
        await tasks.__aenter__()
        try:
            failure: ConnectionFailed | None = await tasks.start(self._run, outbox)
        except BaseException:
            await self._stop(tasks)
            raise
        if failure is not None:
            await self._stop(tasks)
            raise failure
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tasks is not None:
            await self._stop(self._tasks)

    async def _stop(self, tasks: anyio.abc.TaskGroup) -> None:
        # The body's exception is not shown to the group, which would wrap it in another one.
        self._stopping = True
        if self._pumping is None:
            tasks.cancel_scope.cancel()
        else:
            self._pumping.cancel()  # the connection is then closed in good order
        try:
            await tasks.__aexit__(None, None, None)
        finally:
            self.connected = False
            if self._inbox is not None:
                self._inbox.close()

    async def _run(
        self,
        outbox: MemoryObjectSendStream[_Item],
        *,
        task_status: anyio.abc.TaskStatus[ConnectionFailed | None],
    ) -> None:
        options = self._options
        started = options.retry
        if started:
            task_status.started(None)
        attempt = 0
        with outbox:
            while not self._stopping:
                try:
                    async with connect(
                        options.endpoint, "/v1/tail", token=options.token
                    ) as connection:
                        await connection.send(self._session.subscribe())
                        if not started:
                            started = True
                            task_status.started(None)
                        attempt = 0
                        with anyio.CancelScope() as self._pumping:
                            await self._pump(connection, outbox)
                        return
                except _FinalRefusal as refusal:
                    self._disconnected(refusal)
                    await outbox.send(ConnectionFailed(str(refusal)))
                    return
                except (ConnectionFailed, ConnectionEnded, RemoteProtocolError) as error:
                    was_connected = self.connected
                    self._disconnected(error)
                    if was_connected:
                        await outbox.send(ConnectionEnded(str(error)))
                    if not started:
                        failed = error if isinstance(error, ConnectionFailed) else None
                        task_status.started(failed or ConnectionFailed(str(error)))
                        return
                longest = min(limits.RECONNECT_MOST_S, limits.RECONNECT_FIRST_S * 2**attempt)
                attempt = min(attempt + 1, 16)
                await anyio.sleep(random.uniform(0, longest))

    async def _pump(self, connection: Connection, outbox: MemoryObjectSendStream[_Item]) -> None:
        progressed = False
        while True:
            for update in self._session.receive(await connection.receive()):
                match update:
                    case consumer.Resumed() | consumer.Restarted():
                        if update.relay_ns or not self.connected:
                            self._ahead_ns = None
                        self.connected, self.failure = True, None
                        self._learn_clock(update.relay_ns)
                    case frames.Progress():
                        self._learn_clock(update.relay_ns)
                        if progressed:
                            continue
                        progressed = True
                    case consumer.Refused():
                        if update.code in _FINAL:
                            raise _FinalRefusal(f"the relay refused: {update.message}")
                        raise ConnectionEnded(f"the relay ended the view: {update.message}")
                    case _:
                        pass
                await outbox.send(update)

    def _disconnected(self, error: Exception) -> None:
        self._pumping = None
        self.connected = False
        self.failure = str(error)

    def _learn_clock(self, relay_ns: int) -> None:
        # A reading is late by its way here, never early: the greatest difference is the nearest.
        if relay_ns:
            ahead_ns = relay_ns - time.time_ns()
            if self._ahead_ns is None or ahead_ns > self._ahead_ns:
                self._ahead_ns = ahead_ns

    # --- folding -----------------------------------------------------------------------------

    def _fold(self, items: list[_Item]) -> Update | None:
        facts: list[Fact] = []
        touched: dict[str, dict[str, None]] = {}
        restarted, missed, news = False, 0, False
        for item in items:
            match item:
                case ConnectionFailed():
                    raise item
                case consumer.Facts():
                    changes = self._live.apply(item.facts).changes
                    facts.extend(item.facts)
                case frames.Snapshot():
                    changes = self._restore(item)
                case frames.Costs():
                    changes = self._take_costs(item)
                case frames.Removed():
                    for trace_id in item.trace_ids:
                        self._live.forest.remove(trace_id)
                    changes = [Change(trace_id, ()) for trace_id in item.trace_ids]
                case consumer.Restarted():
                    self.caught_up = False
                    self._live.clear()
                    touched, changes, restarted = {}, (), True
                case frames.Progress():
                    self.caught_up, changes = True, ()
                case consumer.Resumed() | ConnectionEnded():
                    changes = ()
                case frames.Skip():
                    missed += max(0, item.to_offset - item.from_offset)
                    changes = ()
                case _:
                    continue
            news = True
            for change in changes:
                touched.setdefault(change.trace_id, {}).update(dict.fromkeys(change.span_ids))
        if not news:
            return None
        merged = tuple(Change(trace_id, tuple(spans)) for trace_id, spans in touched.items())
        return Update(tuple(facts), merged, restarted, missed)

    def _take_costs(self, told: frames.Costs) -> list[Change]:
        tree = self._live.traces.get(told.trace_id)
        touched = () if tree is None else tuple(_set_costs(tree, told.costs))
        return [Change(told.trace_id, touched)] if touched else []

    def _restore(self, piece: frames.Snapshot) -> list[Change]:
        forest = self._live.forest
        changes: list[Change] = []
        for producer in piece.producers:
            changed = forest.producers.restore(producer)
            if changed is not None:
                changes.extend(forest.producer_changed(changed))
        if piece.trace_id:
            tree = forest.tree(piece.trace_id)
            touched: dict[str, None] = {}
            if piece.spans is not None:
                for record in from_columns(piece.spans):
                    touched.update(dict.fromkeys(tree.restore(record)))
            for what, count in piece.truncated.items():
                tree.truncated[what] = max(count, tree.truncated.get(what, 0))
            for loss in piece.losses:
                tree.losses[loss.stamp] = (loss.count, loss.reason, loss.exact)
            forest.adopt(tree)
            touched.update(dict.fromkeys(_set_costs(tree, piece.costs)))
            changes.append(Change(piece.trace_id, tuple(touched)))
        self._live.note(change.trace_id for change in changes)
        return changes


def _set_costs(tree: TraceTree, costs: Iterable[frames.SpanCost]) -> Iterator[str]:
    for one in costs:
        yield from tree.set_cost(one.span_id, Cost(one.input, one.output, one.known))


class _FinalRefusal(Exception):
    """The relay said no in a way that asking again does not change."""
