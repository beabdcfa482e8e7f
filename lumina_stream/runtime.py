"""init, shutdown, fork and exit: the only place that wires recording to transport."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import msgspec

from lumina_stream import leaving, process
from lumina_stream.model.clock import Clock
from lumina_stream.model.errors import LuminaError
from lumina_stream.model.limits import DEFAULT_LIMITS, EXIT_S, Limits
from lumina_stream.recording import redaction as redactions
from lumina_stream.recording.context import active, recorder_now
from lumina_stream.recording.encoding import Heads
from lumina_stream.recording.queue import EventQueue
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.redaction import DEFAULT, Redaction, Redactor
from lumina_stream.recording.settings import (
    Settings,
    asked_by_environment,
    flag,
    program_name,
    rate,
    spool_folder,
    variable,
)
from lumina_stream.recording.statistics import Statistics
from lumina_stream.recording.values import Cleaner

if TYPE_CHECKING:
    from lumina_stream.recording.subscription import Subscription
    from lumina_stream.transport.exporter import Exporter
    from lumina_stream.transport.redelivering import Redeliverer
    from lumina_stream.transport.spool import SpoolQueue


class Runtime:
    """Tracing of this process, from `init` to `shutdown`. `init` returns it; keeping it is optional."""

    def __init__(
        self,
        settings: Settings,
        heads: Heads | None = None,
        clock: Clock | None = None,
        *,
        lazily: bool = False,
    ) -> None:
        """Wire it all. `lazily`: a spool's file is made by the first event, if there ever is one."""
        self.settings = settings
        self.producer_id, self._nonce = process.new_identity()
        self.pid = os.getpid()
        self.clock = clock or Clock()
        self.link: str | None = None
        """Where a relay started by `init(serve=True)` shows the traces; None without one."""
        self._relay: Any = None
        self._exporter: Exporter | None = None
        self._redeliverer: Redeliverer | None = None
        self._closed = False
        self._spool: SpoolQueue | None = None
        self.queue = self._make_queue()
        self.recorder = Recorder(
            self.queue,
            producer_id=self.producer_id,
            service=settings.service_name,
            limits=settings.limits,
            redaction=settings.redact,
            sample_rate=settings.sample_rate,
            capture_content=settings.capture_content,
            heads=heads,
            clock=self.clock,
        )
        if settings.export:
            self._exporter = self._make_exporter()
            if self._spool is not None and not lazily:
                self._spool.open()
                self._spool.warn()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything recorded so far is stored; return whether it is. Blocks."""
        if self._exporter is None or self._closed:
            return True
        return self._exporter.flush(timeout_s)

    def shutdown(self, timeout_s: float = EXIT_S) -> bool:
        """Deliver what there is and stop recording; return whether all of it is stored. Blocks."""
        return self._shut_down(timeout_s, at_exit=False)

    def statistics(self) -> Statistics:
        """Return what became of what was recorded."""
        recorder, queue = self.recorder, self.queue
        figures: dict[str, Any] = {}
        if self._exporter is not None:
            from lumina_stream.transport.exporter import statistics_of

            figures = statistics_of(self._exporter)
        if self._spool is not None and self._redeliverer is not None:
            figures |= self._spool.figures() | self._redeliverer.figures()
        return Statistics(
            enabled=active.recorder is recorder,
            producer_id=self.producer_id,
            service_name=self.settings.service_name,
            endpoint=self.settings.endpoint if self.settings.export else "",
            queued=queue.pending,
            queued_bytes=queue.held_bytes,
            lost=queue.losses.total,
            lost_by_type=dict(queue.losses.totals),
            unsampled=recorder.unsampled,
            late_calls=recorder.late_calls,
            faults=recorder.faults + recorder.redactions.faults,
            last_fault=recorder.last_fault,
            **figures,
        )

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        where = self.settings.endpoint if self.settings.export else "nowhere"
        return f"<Runtime {self.settings.service_name!r} exporting to {where}>"

    # --- inside --------------------------------------------------------------------------------

    def _make_exporter(self) -> Exporter:
        # Both register fork hooks when imported. Imported by the exporter's thread while the program
        # forks, they would release in the parent what they never acquired, and say so on stderr.
        import concurrent.futures.thread  # pyright: ignore[reportUnusedImport]
        import logging
        import socket

        del concurrent, logging
        from lumina_stream.protocol.frames import Hello
        from lumina_stream.protocol.producer import ProducerSession
        from lumina_stream.transport.endpoint import parse_endpoint, tls_context
        from lumina_stream.transport.exporter import Exporter

        endpoint = parse_endpoint(self.settings.endpoint)
        tls_context(
            endpoint
        )  # a wrong LUMINA_CA_FILE is said here, not by a thread that nobody asks
        hello = Hello(
            self.producer_id,
            self._nonce,
            1,
            self.settings.service_name,
            self._resource(),
            socket.gethostname(),
            os.getpid(),
            process.process_start(os.getpid()),
            process.boot_id(),
            process.pid_namespace(),
        )
        beside = None
        if self._spool is not None:
            from lumina_stream.transport.redelivering import Redeliverer

            self._spool.begin(hello)
            self._redeliverer = Redeliverer(self._spool.folder)
            beside = self._redeliverer.deliver_all
        return Exporter(
            self.queue,
            ProducerSession(hello),
            endpoint,
            self.settings.token,
            self.clock,
            self._new_identity,
            self._may_start,
            _after_clone,
            beside,
        )

    def _make_queue(self) -> EventQueue:
        settings = self.settings
        if not settings.export or settings.spool_dir is None:
            return EventQueue(settings.limits.queue_bytes, reading=settings.export)
        from lumina_stream.transport.spool import SpoolQueue

        self._spool = SpoolQueue(settings.spool_dir, settings.limits.queue_bytes)
        return self._spool

    def _resource(self) -> dict[str, Any]:
        from lumina_stream.version import __version__

        resource: dict[str, Any] = {
            "service.name": self.settings.service_name,
            "telemetry.sdk.name": "lumina-stream",
            "telemetry.sdk.version": __version__,
            "process.pid": os.getpid(),
            "process.runtime.name": sys.implementation.name,
            "process.runtime.version": ".".join(map(str, sys.version_info[:3])),
        }
        if self.settings.environment:
            resource["deployment.environment.name"] = self.settings.environment
        cleaner = Cleaner(self.settings.limits)
        for key, value in self.settings.attributes.items():
            name = cleaner.key(key)
            plain = cleaner.clean(value, name)
            resource[name] = self.recorder.redactions.value(name, plain, cleaner.marks)
        return resource

    def _new_identity(self) -> tuple[str, str]:
        self.producer_id, self._nonce = process.new_identity()
        self.recorder.producer_id = self.producer_id
        return self.producer_id, self._nonce

    def _shut_down(self, timeout_s: float, *, at_exit: bool) -> bool:
        if self._closed:
            return True
        self._closed = True
        if active.recorder is self.recorder:
            active.recorder = None
            active.automatic = False
        delivered = True
        if self._exporter is not None:
            delivered = self._exporter.stop(timeout_s, at_exit=at_exit)
            kept = bool(self.queue.spool)
            self.queue.leave(delivered=delivered and self._exporter.said_bye)
            if not delivered and not kept:  # a spool keeps it for the next start
                self._report_undelivered()
        if self._relay is not None:
            self._relay.close()
        return delivered

    def _may_start(self) -> bool:
        """Tell whether the exporter may have its thread; if not, tracing is off from now on."""
        if not process.threads_are_gevents():
            leaving.call_at_exit(_at_exit)
            return True
        # Patched since `init`, as gunicorn's gevent workers are after a preload.
        self._closed = True
        self.recorder.closed = True
        self.queue.close()
        if active.recorder is self.recorder:
            active.recorder = None
        process.warn_of_gevent()
        return False

    def _report_undelivered(self) -> None:
        assert self._exporter is not None
        waiting = self._exporter.session.unacknowledged + self.queue.pending
        error = self._exporter.state.last_error
        import logging

        logging.getLogger("lumina_stream").warning(
            "lumina-stream: %d events were not delivered to %s (%s)",
            waiting,
            self.settings.endpoint,
            error or "out of time: lumina.flush() before the end waits longer",
        )

    # --- fork ----------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        if self._exporter is not None and not self._closed:
            self._exporter.park()

    def _after_in_parent(self) -> None:
        if self._exporter is not None and not self._closed:
            self._exporter.unpark()

    def _after_in_child(self) -> Runtime | None:
        """Leave what is the parent's to the parent; return the child's own runtime."""
        self.recorder.closed = True
        self.queue.close()
        self.recorder.heads.forget()
        was_active = active.recorder is self.recorder
        self._closed = True
        self._relay = None  # the parent's child, not ours
        if not was_active:
            return None
        # It may never record, or become another program.
        return Runtime(self.settings, self.recorder.heads, self.clock, lazily=True)


_runtime: Runtime | None = None
_earlier: WeakSet[Recorder] = WeakSet()
"""Recorders of runtimes before the present one: spans begun under them may still be open."""
_hooked = False
_reviving = False
_lock = threading.RLock()


def init(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    environment: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    sample_rate: float | None = None,
    redact: Redaction | Redactor | Iterable[str] | None = DEFAULT,
    capture_content: bool | None = None,
    limits: Limits | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    export: bool = True,
    serve: bool = False,
    enabled: bool | None = None,
) -> Runtime:
    """Turn tracing on in this process; called again, it takes the new settings.

    `endpoint`: the relay's URL, default `http://127.0.0.1:4318`. `sample_rate`: share of traces, 0.0
    to 1.0. `redact`: DEFAULT, None, names to hide beside the defaults, a function
    `(key, value) -> value`, or a `Redaction`. `capture_content=False`: no arguments, results and
    message texts. `spool_dir`: a folder of your own, in which what was recorded outlives a crash
    (docs/reliability.md). `export=False`: record for `subscribe()` alone. `serve=True`: start a relay as a
    child process; its address is `Runtime.link`. `enabled=False`: everything stays off.
    Each argument wins over its variable: LUMINA_SERVICE_NAME, _ENDPOINT, _TOKEN (or _WRITE_TOKEN, or the first
    write token of the file _TOKEN_FILE), _ENVIRONMENT, _SAMPLE_RATE, _CAPTURE_CONTENT, _SPOOL_DIR, _ENABLED. Raises
    `ConfigurationError` for a value that cannot be used, and never for a relay that does not answer. Where gevent
    has replaced threads it says so once, and tracing stays off.
    """
    from lumina_stream.transport.endpoint import token_for

    with _lock:
        on = flag("ENABLED", True) if enabled is None else bool(enabled)
        if on and export and process.threads_are_gevents():
            on = serve = False
            process.warn_of_gevent()
        relay: Any = None
        if serve:
            from lumina_stream.transport.child_relay import ChildRelay

            relay = ChildRelay.start()
            endpoint, token = relay.url, None
        settings = Settings(
            service_name or variable("SERVICE_NAME") or program_name(),
            endpoint or variable("ENDPOINT") or "http://127.0.0.1:4318",
            token or token_for("write"),
            environment or variable("ENVIRONMENT"),
            dict(attributes or {}),
            rate(sample_rate),
            redactions.redaction_from(redact),
            flag("CAPTURE_CONTENT", True) if capture_content is None else bool(capture_content),
            limits or DEFAULT_LIMITS,
            export,
            spool_folder(spool_dir),
        )
        runtime = _install(Runtime(settings, lazily=not on), on=on)
        runtime._relay, runtime.link = relay, relay.url if relay is not None else None  # pyright: ignore[reportPrivateUsage]
        return runtime


def shutdown(timeout_s: float = EXIT_S) -> bool:
    """Deliver what there is and turn tracing off; return whether everything is stored. Blocks."""
    runtime = _runtime
    return True if runtime is None else runtime.shutdown(timeout_s)


def flush(timeout_s: float = 5.0) -> bool:
    """Wait until everything recorded so far is stored; return whether it is. Blocks."""
    runtime = _runtime_here()
    return True if runtime is None else runtime.flush(timeout_s)


async def aflush(timeout_s: float = 5.0) -> bool:
    """Do what `flush` does without blocking the loop (asyncio and trio)."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(flush, timeout_s, abandon_on_cancel=True)


async def ashutdown(timeout_s: float = EXIT_S) -> bool:
    """Do what `shutdown` does without blocking the loop (asyncio and trio)."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(shutdown, timeout_s)


def statistics() -> Statistics:
    """Return what became of what was recorded; all zero while tracing was never on."""
    runtime = _runtime
    return Statistics() if runtime is None else runtime.statistics()


def subscribe(*, keep_finished: int = 1_000) -> Subscription:
    """Return a live subscription to what this process records (see `Subscription`).

    `keep_finished`: finished traces kept in `traces`. Raises `LuminaError` while tracing is off.
    """
    recorder = recorder_now()
    if recorder is None:
        raise LuminaError("tracing is off: call lumina.init() first (export=False needs no relay)")
    from lumina_stream.recording.subscription import Subscription

    return Subscription(recorder, keep_finished=keep_finished)


def _install(runtime: Runtime, *, on: bool) -> Runtime:
    global _runtime, _hooked
    before, _runtime = _runtime, runtime
    active.automatic = False
    active.recorder = runtime.recorder if on else None
    if before is not None:
        before._shut_down(1.0, at_exit=False)  # pyright: ignore[reportPrivateUsage]
        # Spans that are still open go on: what they record from now on leaves by the new queue.
        _earlier.add(before.recorder)
        for recorder in _earlier:
            recorder.queue = runtime.queue
        runtime.queue.taps = before.queue.taps
    if not _hooked:
        _hooked = True
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=lambda: _runtime and _runtime._before_fork(),  # pyright: ignore[reportPrivateUsage]
                after_in_parent=lambda: _runtime and _runtime._after_in_parent(),  # pyright: ignore[reportPrivateUsage]
                after_in_child=_after_in_child,
            )
    return runtime


def _after_in_child() -> None:
    global _runtime, _lock
    _lock = threading.RLock()  # another thread of the parent may have held it
    if _runtime is not None:
        runtime = _runtime._after_in_child()  # pyright: ignore[reportPrivateUsage]
        if runtime is not None:
            _runtime = runtime
            active.recorder = runtime.recorder


def _after_clone() -> None:
    """Do what the fork hooks do, found out late: what the clone has recorded meanwhile comes along."""
    before = _runtime
    if before is None:
        return
    recorded = before.queue.inherited()
    _after_in_child()
    if _runtime is not None and _runtime is not before:
        for event in recorded:
            _runtime.queue.admit(event, _runtime.queue.ends_bound)
        # What the clone began ends here, too; so does what was open in both, which nobody can tell apart.
        before.recorder.closed = False
        before.recorder.queue = _runtime.queue
        _earlier.add(before.recorder)


def _runtime_here() -> Runtime | None:
    """Return this process's runtime, also when it was cloned without Python's fork hooks."""
    if _runtime is not None and _runtime.pid != os.getpid():
        _after_clone()
    return _runtime


def _at_exit() -> None:
    runtime = _runtime_here()
    if runtime is not None:
        try:
            runtime._shut_down(EXIT_S, at_exit=True)  # pyright: ignore[reportPrivateUsage]
        except KeyboardInterrupt:  # a second Ctrl-C: leave at once, and leave no traceback
            pass
        leaving.keep_interrupted_exit()


def _revive(settings: Settings | None = None) -> None:
    """Initialise on the first recording call: from the environment, or as another process was."""
    global _reviving
    with _lock:  # another thread that records meanwhile waits here rather than lose its first span
        if active.recorder is not None or _reviving:
            return
        _reviving = True  # what this imports may record itself
        try:
            if settings is None:
                init()
            else:
                _install(Runtime(settings), on=True)
        except LuminaError as error:
            # Asked for by the environment, in a program that did not: say it once, and stay off.
            import logging

            active.automatic = False
            logging.getLogger("lumina_stream").warning("lumina-stream stays off: %s", error)
        finally:
            _reviving = False


def _settings() -> Settings | None:
    """Return the settings in force for another process; what cannot be pickled stays behind."""
    if _runtime is None:
        return None
    redact = _runtime.settings.redact
    if redact.function is not None:
        redact = Redaction(redact.keys, redact.patterns)
    cleaner = Cleaner(_runtime.settings.limits)
    attributes = {str(k): cleaner.clean(v, str(k)) for k, v in _runtime.settings.attributes.items()}
    return msgspec.structs.replace(_runtime.settings, redact=redact, attributes=attributes)


active.revive = _revive
active.settings = _settings
active.automatic = asked_by_environment()
