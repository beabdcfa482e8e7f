"""The exporter: one daemon thread with a loop of its own, so that a blocked program still streams.

It drains the queue, lets `ProducerSession` number and frame what it finds, and sends. It decides
nothing about seq and acknowledgement: that is the session's. While no relay answers, it does not
even import an event loop: a plain connect tells whether it is worth it.

The thread is started bare (`_thread`), because it may be started from inside any recording call: a
signal handler, or a collected span while some lock of `threading` is held.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lumina_stream.model import limits
from lumina_stream.model.clock import Clock
from lumina_stream.model.errors import (
    ConfigurationError,
    ConnectionEnded,
    ConnectionFailed,
    RemoteProtocolError,
)
from lumina_stream.protocol import producer as signals
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.recording.queue import EventQueue
from lumina_stream.transport.endpoint import Endpoint, plain, resolve
from lumina_stream.transport.waking import Alarm, FlushRequest, await_thread_exit

if TYPE_CHECKING:
    import asyncio

    from lumina_stream.transport.connection import Connection

_DRAIN = 10_000
"""Events taken out of the queue in one turn: bounds how long it holds the interpreter."""
_QUIET_TURNS = 8
"""Turns of `COALESCE_S` without an event before the thread sleeps until it is woken."""
_PARK_S = 1.0
"""How long a fork waits for the thread to stop; longer only if the machine stalls."""
_STALLED_S = 0.5
"""At exit: how long to wait for the next acknowledgement."""

Beside: TypeAlias = Callable[[Endpoint, str | None, tuple[str, int]], Awaitable[None]]
"""What else is done while a relay is connected: endpoint, token and address say where it is."""


class ExporterState(msgspec.Struct):
    """What the exporter has seen; read by `statistics()`."""

    connected: bool = False
    connections: int = 0
    attempts: int = 0
    answered: bool = False
    """Whether a relay ever answered."""
    last_error: str = ""


class Exporter:
    """Deliver what a queue holds, over any number of connections."""

    def __init__(
        self,
        queue: EventQueue,
        session: ProducerSession,
        endpoint: Endpoint,
        token: str | None,
        clock: Clock,
        new_identity: Callable[[], tuple[str, str]],
        may_start: Callable[[], bool] = lambda: True,
        cloned: Callable[[], None] = lambda: None,
        beside: Beside | None = None,
    ) -> None:
        self.queue = queue
        self.session = session
        self.state = ExporterState()
        self._endpoint = endpoint
        self._token = token
        self._clock = clock
        self._new_identity = new_identity
        self._may_start = may_start
        self._cloned = cloned
        self._beside = beside
        self._pid = os.getpid()
        self._addresses: list[tuple[str, int]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._alarm = Alarm()  # wakes the thread where it has no loop
        self._gate = _thread.allocate_lock()  # held by the one thread that runs
        self._thread_id = 0
        self._parked = False
        self._stopping = False
        self._said_bye = False
        self._report_seq = 0  # of the last report of losses
        self._flushes: list[FlushRequest] = []
        self._throttled_until = 0.0
        self._heartbeat_s = limits.HEARTBEAT_S
        queue.wake = self.wake

    # --- called by the program's threads ------------------------------------------------------

    def wake(self) -> None:
        """Make the thread look at the queue, starting it if it does not run. Never waits."""
        if os.getpid() != self._pid:  # cloned without Python's fork hooks: our thread is not here
            self._cloned()
            return
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None:
            try:
                loop.call_soon_threadsafe(woken.set)
                return
            except RuntimeError:  # that loop was closed just now
                pass
        self._alarm.set()
        self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was recorded before is stored; return whether it was in time."""
        if self._nothing_left:
            return True
        request = FlushRequest()
        self._flushes.append(request)
        self.wake()
        try:
            return request.wait(timeout_s)
        finally:
            with contextlib.suppress(ValueError):
                self._flushes.remove(request)

    def stop(self, timeout_s: float, *, at_exit: bool = False) -> bool:
        """Deliver what there is, say `bye` and stop; return whether everything was stored.

        Waits at most `timeout_s`, and only while acknowledgements arrive; `EXIT_UNREACHED_S` once an
        attempt has failed and no relay ever answered. `at_exit` with a spool: no longer than a `bye`
        takes, since nothing is lost.
        """
        if at_exit and self.queue.spool:
            timeout_s = min(timeout_s, self._bye_s())
        self._stopping = True
        started = time.monotonic()
        if self._gate.acquire(blocking=False):
            self._gate.release()
            # The thread rests: nothing came after a fork, say. A relay that knows us waits for a bye.
            if not self._nothing_left or self.state.answered:
                if at_exit and timeout_s <= 0:
                    return self._nothing_left
                if at_exit:
                    # No thread can be started any more: deliver from this one.
                    self._deliver_inline(started + min(timeout_s, limits.EXIT_S))
                    return self._nothing_left
                self.wake()
        else:
            self.wake()
        acked, progress = self.session.acked, started
        while not self._said_bye:
            now = time.monotonic()
            if self.session.acked != acked or not self.state.attempts:
                acked, progress = self.session.acked, now
            unreached = not self.state.answered and self.state.attempts > 0
            if now - started >= timeout_s:
                break
            if unreached and now - started >= limits.EXIT_UNREACHED_S:
                break
            if self.state.answered and now - progress >= _STALLED_S:
                break
            if self._gate.acquire(timeout=0.005):
                self._gate.release()
                break
        return self._nothing_left

    def park(self) -> None:
        """Stop the thread before a fork; the connection is dropped and taken up again afterwards."""
        self._parked = True
        if self._gate.acquire(blocking=False):
            self._gate.release()
            return
        self.wake()
        if self._gate.acquire(timeout=_PARK_S):
            self._gate.release()
            await_thread_exit(self._thread_id)

    def unpark(self) -> None:
        """Allow the thread again; the next event starts it (not here: fork would warn of it)."""
        self._parked = False
        self.queue.idle = True

    @property
    def said_bye(self) -> bool:
        """Whether the relay was told that nothing more will come."""
        return self._said_bye

    def _bye_s(self) -> float:
        """Return how long a program waits that loses nothing by not waiting."""
        left = self.queue.held_bytes
        unreached = self.state.attempts > 0 and not self.state.connected
        return 0.0 if unreached or left > limits.IN_FLIGHT_BYTES else limits.EXIT_SPOOLED_S

    @property
    def _nothing_left(self) -> bool:
        return not self.queue.pending and not self.session.unacknowledged

    def _start(self) -> None:
        if self._parked or not self._gate.acquire(blocking=False):
            return
        try:
            # Here, not in the thread: this may be the last call of a process that ends right after it.
            if self._may_start():
                _thread.start_new_thread(self._run, ())
            else:
                self._gate.release()
        except Exception:  # the interpreter is on its way out, say
            self._gate.release()

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        self._thread_id = _thread.get_native_id()
        try:
            wait_s = limits.RECONNECT_FIRST_S
            while not self._parked and not self._said_bye:
                self.queue.idle = False
                self._alarm.clear()
                address = self._reachable()
                if address is not None and self._converse_in_loop(address):
                    wait_s = limits.RECONNECT_FIRST_S
                    continue
                if self._stopping:
                    break
                # Full jitter, but never a storm: relays restart under hundreds of producers.
                self._alarm.wait(wait_s * (0.5 + random.random() / 2))
                wait_s = min(wait_s * 2, limits.RECONNECT_MOST_S)
        except Exception as error:  # nothing of ours may print a traceback into the program
            self.state.last_error = f"{type(error).__name__}: {error}"
        finally:
            self.queue.idle = True
            self._gate.release()

    def _reachable(self) -> tuple[str, int] | None:
        """Return an address that takes connections, None if none does."""
        try:
            if not self._addresses or not self._stopping:
                self._addresses = resolve(self._endpoint)
            for host, port in self._addresses:
                try:
                    socket.create_connection((plain(host), port), limits.CONNECT_TIMEOUT_S).close()
                    return host, port
                except OSError as error:
                    self.state.last_error = error.strerror or str(error)
        except OSError as error:
            self.state.last_error = f"{self._endpoint.host}: {error.strerror or error}"
        self.state.attempts += 1
        return None

    def _converse_in_loop(self, address: tuple[str, int]) -> bool:
        """Run one connection; return whether the relay welcomed us."""
        import asyncio

        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(self._connect(address))
        finally:
            self._loop = self._woken = None
            loop.close()

    def _deliver_inline(self, deadline: float) -> None:
        if not self._gate.acquire(blocking=False):
            return
        try:
            address = self._reachable()
            if address is not None:
                import asyncio

                loop = asyncio.new_event_loop()
                try:
                    delivery = self._connect(address)
                    left = max(0.05, deadline - time.monotonic())
                    loop.run_until_complete(asyncio.wait_for(delivery, left))
                except TimeoutError:
                    pass
                finally:
                    self._loop = self._woken = None
                    loop.close()
        finally:
            self._gate.release()

    async def _connect(self, address: tuple[str, int]) -> bool:
        import asyncio

        from lumina_stream.transport.connection import connect

        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        session = self.session
        try:
            async with connect(
                self._endpoint, "/v1/stream", token=self._token, address=address
            ) as connection:
                now_ns, mono_ns = self._clock.now(), self._clock.monotonic()
                await connection.send(session.connected(now_ns, mono_ns, self.queue.spool))
                async with asyncio.timeout(limits.CONNECT_TIMEOUT_S):
                    while not session.welcomed:
                        self._handle(session.receive(await connection.receive()))
                self.state.connections += 1
                self.state.connected = self.state.answered = True
                self.state.last_error = ""
                await self._converse(connection, address)
        except _Renamed:
            return True
        except (ConnectionFailed, ConnectionEnded, ConfigurationError) as error:
            self.state.last_error = str(error)
        except RemoteProtocolError as error:
            self.state.last_error = f"the relay broke the protocol: {error}"
        except TimeoutError:
            self.state.last_error = "the relay took the connection and said nothing"
        except Exception as error:  # what no rule above foresaw must not end the thread
            self.state.last_error = f"{type(error).__name__}: {error}"
        finally:
            welcomed = self.state.connected
            self.state.connected = False
            self.state.attempts += 1
            session.disconnected()
        return welcomed

    async def _converse(self, connection: Connection, address: tuple[str, int]) -> None:
        import asyncio

        reader = asyncio.ensure_future(self._read(connection))
        writer = asyncio.ensure_future(self._write(connection))
        tasks = [reader, writer]
        if self._beside is not None and not self._stopping:
            work = self._beside(self._endpoint, self._token, address)
            tasks.append(asyncio.ensure_future(work))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended[:2]:
            if isinstance(outcome, Exception):
                raise outcome

    async def _read(self, connection: Connection) -> None:
        while True:
            self._handle(self.session.receive(await connection.receive()))

    async def _write(self, connection: Connection) -> None:
        """Send while there is something; doze in turns of `COALESCE_S`; then sleep until woken."""
        import asyncio

        woken = self._woken
        assert woken is not None
        queue, session = self.queue, self.session
        monotonic = time.monotonic
        beat_at = monotonic() + self._heartbeat_s
        quiet = 0
        leaving = False
        while not self._parked:
            if queue.waiting:
                queue.send_due()
            found = self._drain()
            sent = 0
            while monotonic() >= self._throttled_until and (batch := session.next_batch()):
                await connection.send(batch)
                sent += 1
                if sent % 8 == 0:
                    self._drain()
            now = monotonic()
            if self._stopping and not leaving:
                # Should the time to exit run out, the relay then knows how many never came.
                leaving, beat_at = True, now
            if now >= beat_at:
                beat_at = now + self._heartbeat_s
                await connection.send(
                    session.heartbeat(queue.pending, self._clock.now(), self._clock.monotonic())
                )
            if self._stopping and self._nothing_left and not self._may_report:
                await connection.send(session.bye())
                self._said_bye = True
                return
            if found or sent:
                quiet = 0
            quiet += 1
            if quiet <= _QUIET_TURNS:
                busy = found >= limits.COALESCE_BUSY_EVENTS
                await asyncio.sleep(limits.COALESCE_BUSY_S if busy else limits.COALESCE_S)
                continue
            # The order matters: an append after `idle` is set wakes us, one before it is seen here.
            woken.clear()
            queue.idle = True
            if session.has_room and (queue.pending or self._may_report):
                queue.idle = False
                continue
            with contextlib.suppress(TimeoutError):
                pause = (
                    self._throttled_until - now if self._throttled_until > now else beat_at - now
                )
                if queue.waiting:
                    pause = min(pause, limits.TEXT_FLUSH_S)
                async with asyncio.timeout(max(0.0, min(pause, beat_at - now))):
                    await woken.wait()
            queue.idle = False
        if self._parked:  # a last look, so that a fork delays nothing that was recorded before it
            self._drain()
            while batch := session.next_batch():
                await connection.send(batch)

    def _drain(self) -> int:
        """Number what is in the queue, as far as there is use for it; return how many that was."""
        queue, session = self.queue, self.session
        if self._may_report:
            queue.report_losses(self._clock.now())
            self._report_seq = session.last_seq + queue.pending
        found = 0
        while session.has_room and found < _DRAIN:
            events = queue.drain(limits.FRAME_EVENTS)
            session.extend(events)
            found += len(events)
            if len(events) < limits.FRAME_EVENTS:
                break
        self._check_flushes()
        return found

    @property
    def _may_report(self) -> bool:
        """Tell whether losses should be reported: one report is under way at a time.

        A relay that stands still takes none, and reports alone would fill what it does not empty.
        """
        return self.session.acked >= self._report_seq and self.queue.reportable

    def _check_flushes(self) -> None:
        for request in list(self._flushes):
            if request.target is None and not self.queue.pending:
                request.target = self.session.last_seq
            if request.target is not None and self.session.acked >= request.target:
                request.done()

    def _handle(self, received: list[signals.Signal]) -> None:
        for signal in received:
            match signal:
                case signals.Acknowledged():
                    self.queue.release(signal.upto, signal.released_bytes)
                    self._check_flushes()
                    self._rouse()
                case signals.Welcomed():
                    self._heartbeat_s = signal.heartbeat_s
                case signals.Throttled():
                    self._throttled_until = time.monotonic() + signal.pause_s
                case signals.Rewound():
                    self._rouse()
                case signals.IdentityTaken():
                    producer_id, nonce = self._new_identity()
                    self.session.rename(producer_id, nonce)
                    self._report_seq = 0
                    self.queue.renamed(producer_id, nonce)
                    raise _Renamed
                case signals.Refused():
                    raise ConnectionEnded(f"the relay ended the connection: {signal.message}")

    def _rouse(self) -> None:
        if self._woken is not None:
            self._woken.set()


class _Renamed(Exception):
    """Another incarnation holds our id; a new one was taken: connect again at once."""


def statistics_of(exporter: Exporter) -> dict[str, Any]:
    """Return what the exporter adds to `statistics()`."""
    session, state = exporter.session, exporter.state
    return {
        "recorded": session.last_seq + exporter.queue.pending,
        "acknowledged": session.acked,
        "connected": state.connected,
        "connections": state.connections,
        "last_error": state.last_error,
    }
