"""`lumina-stream run`: one program with tracing on, and its tree at the end.

The program keeps its terminal: same process group, stdin, stdout and stderr untouched, so that Ctrl-C
reaches it once, from the terminal. What is said here goes to stderr.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType

import anyio

from lumina_stream.model.errors import ConfigurationError, LuminaError
from lumina_stream.model.events import ProducerEnded, ProducerLost, ProducerStarted
from lumina_stream.model.live import Update
from lumina_stream.model.producers import is_imported
from lumina_stream.model.tree import TraceTree
from lumina_stream.transport.child_relay import ChildRelay
from lumina_stream.transport.endpoint import DEFAULT_ENDPOINT, parse_endpoint, probe, token_for
from lumina_stream.viewing.client import LiveView, tail
from lumina_stream.viewing.layout import layout
from lumina_stream.viewing.rows import ansi, glyphs_for, text_of
from lumina_stream.viewing.tailing import coloured, say
from lumina_stream.viewing.text import carried, count

SETTLE_S = 2.0
"""How long after the program the relay may take to hear that it ended: its lease is longer, but its
process is watched where it runs on this machine."""
PRICES_S = 1.5
"""How long the relay may then take to say what calls cost: the first time it loads its prices."""
UNTRACED_S = 0.3
"""The same when nothing has been heard of the program at all."""
TREE_LINES = 200
"""Lines of the trees that are printed at the end."""

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells have it


def run_command(command: list[str], *, url: str | None = None, instrument: bool = False) -> int:
    """Run a program with tracing on; return its exit code, 128 + n if signal n ended it.

    `instrument`: trace the calls of the libraries that it uses, too.
    """
    wrong = _unfit(command[0])
    if wrong:
        return wrong
    with relay_for(url) as endpoint:
        environment = os.environ | {"LUMINA_ENDPOINT": endpoint, "LUMINA_ENABLED": "1"}
        environment.setdefault("LUMINA_SERVICE_NAME", service_name(command))
        _point_opentelemetry(environment, endpoint)
        if instrument:
            environment = instrumented(environment)
        watcher = _Watcher(endpoint, environment["LUMINA_SERVICE_NAME"])
        say(f"live at {endpoint}/")
        try:
            code = _run(command, environment, watcher)
        finally:
            trees = watcher.finish()
        if trees is not None and watcher.pid:
            _print_trees(trees)
        return code


def _unfit(program: str) -> int:
    """Say why a program cannot be run, before anything is started for it; return the exit code."""
    if shutil.which(program) is not None:
        return 0
    if not os.path.dirname(program) or not os.path.exists(program):
        say(f"command not found: {program}")
        return _NOT_FOUND
    say(f"cannot run {program}: {'it is a folder' if os.path.isdir(program) else 'not executable'}")
    return _NOT_EXECUTABLE


def _point_opentelemetry(environment: dict[str, str], endpoint: str) -> None:
    """Let an OpenTelemetry exporter in the program find the relay, unless it was told where to send."""
    told = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if any(environment.get(name) for name in told):
        return
    environment[told[0]] = endpoint
    # The distribution's default is gRPC, which no relay speaks.
    environment["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    environment.setdefault("OTEL_SERVICE_NAME", environment["LUMINA_SERVICE_NAME"])
    token = token_for("write")
    if token:
        environment.setdefault("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {token}")


@contextlib.contextmanager
def relay_for(url: str | None) -> Generator[str]:
    """Give the URL of a relay: the one that answers, else one that lives as long as this block."""
    endpoint = parse_endpoint(url or os.environ.get("LUMINA_ENDPOINT") or DEFAULT_ENDPOINT)
    found = probe(endpoint)
    if found.who == "relay":
        yield endpoint.url
        return
    if url is not None:
        raise ConfigurationError(
            f"no relay answers at {endpoint.url}; leave out --url to start one"
        )
    if os.environ.get("LUMINA_ENDPOINT"):
        what = "nothing answers" if found.who == "nothing" else "no lumina-stream relay answers"
        say(f"LUMINA_ENDPOINT is not used: {what} at {endpoint.url} ({found.detail})")
    with contextlib.ExitStack() as stack:
        try:
            relay = ChildRelay.start()
        except ConfigurationError:
            # The data folder is in use by a relay on another port, or cannot be written.
            need_relay()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lumina-stream-"))
            relay = ChildRelay.start("--data", folder)
            say("the data folder is in use; these traces are not kept")
        try:
            yield relay.url
        finally:
            relay.close()


def need_relay() -> None:
    """Raise `ModuleNotFoundError` if what a relay needs is not installed: its process only fails."""
    for name in ("uvicorn", "starlette", "apsw"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)


def service_name(command: list[str]) -> str:
    """Return what to call a program: its script or module rather than its interpreter."""
    program = Path(command[0]).name
    if program.startswith(("python", "pypy")):
        rest = iter(command[1:])
        for argument in rest:
            if argument == "-m":
                return next(rest, program)
            if argument in ("-c", "-"):
                return program
            if argument in ("-W", "-X"):
                next(rest, None)
            elif not argument.startswith("-"):
                return Path(argument).stem
    return program


STARTUP = Path(__file__).parents[1] / "instrument" / "startup"
"""A folder whose `sitecustomize` instruments the program before it begins."""


def instrumented(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment in which every Python program is instrumented (see `instrument`)."""
    path = [str(STARTUP)]
    path += [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p and p != path[0]]
    more = {"PYTHONPATH": os.pathsep.join(path)}
    if not environment.get("LUMINA_INSTRUMENT"):
        more["LUMINA_INSTRUMENT"] = "all"
    return environment | more


def _run(command: list[str], environment: dict[str, str], watcher: "_Watcher") -> int:
    with _signals_are_the_programs() as forward:
        try:
            process = subprocess.Popen(command, env=environment)
        except FileNotFoundError:
            say(f"command not found: {command[0]}")
            return _NOT_FOUND
        except OSError as error:
            say(f"cannot run {command[0]}: {error.strerror}")
            return _NOT_EXECUTABLE
        forward.append(process)
        watcher.pid = process.pid
        code = process.wait()
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _signals_are_the_programs() -> Generator[list[subprocess.Popen[bytes]]]:
    """While the program runs, Ctrl-C is its own business, and what ends us is passed on to it."""
    processes: list[subprocess.Popen[bytes]] = []

    def leave_it(number: int, frame: FrameType | None) -> None:
        pass  # the terminal has sent it to the program as well; a handler, unlike SIG_IGN, is not inherited

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    handlers = {signal.SIGINT: leave_it, signal.SIGTERM: pass_on}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = pass_on
        handlers[signal.SIGQUIT] = leave_it
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield processes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watcher:
    """Follow a relay in a thread, and pick out the traces of one program and its children."""

    def __init__(self, endpoint: str, service: str) -> None:
        self.pid = 0
        self._service = service
        self._live: LiveView | None = None
        self._ours: dict[str, bool] = {}  # producer id -> whether it is over
        self._strangers: set[str] = set()
        self._traces: dict[str, dict[str, None]] = {}  # producer id -> trace ids
        self._ready = threading.Event()
        self._changed = threading.Condition()
        self._end: Callable[[], object] | None = None
        self._failure: str | None = None
        self._thread = threading.Thread(
            target=self._follow, args=(endpoint,), name="lumina-run", daemon=True
        )
        self._thread.start()
        self._ready.wait(10.0)

    def finish(self) -> list[TraceTree] | None:
        """Wait until the program's producers are over, a moment at most; return its trees.

        None if the relay could not be followed.
        """
        deadline = time.monotonic() + SETTLE_S
        untraced = time.monotonic() + UNTRACED_S
        with self._changed:
            while self._failure is None:
                # Nobody hears that a producer which comes by OTLP is over: it flushed before it exited.
                streaming = [over for p, over in self._ours.items() if not is_imported(p)]
                until = deadline if streaming else untraced
                if (streaming and all(streaming)) or time.monotonic() >= until:
                    break
                self._changed.wait(max(0.0, until - time.monotonic()))
            until = time.monotonic() + PRICES_S
            while self._failure is None and time.monotonic() < until and self._awaits_costs():
                self._changed.wait(max(0.0, until - time.monotonic()))
        if self._end is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it failed
                self._end()
        self._thread.join(5.0)
        if self._failure is not None or self._live is None:
            say(f"its traces could not be followed: {self._failure}")
            return None
        return self._wanted(self._live)

    def _wanted(self, live: LiveView) -> list[TraceTree]:
        wanted = dict.fromkeys(t for p in self._ours for t in self._traces.get(p, ()))
        return [live.traces[trace_id] for trace_id in wanted if trace_id in live.traces]

    def _awaits_costs(self) -> bool:
        """Tell whether the relay has not said yet what a call costs."""
        trees = [] if self._live is None else self._wanted(self._live)
        return any(tree.calls.awaits_costs for tree in trees)

    def _follow(self, endpoint: str) -> None:
        try:
            anyio.run(self._watch, endpoint)
        except (LuminaError, OSError) as error:
            self._failure = str(error)
        finally:
            self._ready.set()
            with self._changed:
                self._changed.notify_all()

    async def _watch(self, endpoint: str) -> None:
        loop = asyncio.get_running_loop()
        async with tail(endpoint, snapshot=False) as live:
            self._live = live
            with anyio.CancelScope() as scope:
                self._end = lambda: loop.call_soon_threadsafe(scope.cancel)
                await self._gather(live)

    async def _gather(self, live: LiveView) -> None:
        async for update in live:
            # The first one answers the subscription: whatever starts from now on is seen.
            with self._changed:
                self._note(update)
                self._changed.notify_all()
            self._ready.set()

    def _note(self, update: Update) -> None:
        for fact in update.facts:
            event = fact.event
            match event:
                case ProducerStarted():
                    if event.pid == self.pid or _descends(event.pid, self.pid):
                        self._ours.setdefault(event.subject_id, False)
                    elif _alive(event.pid) or event.service != self._service:
                        self._strangers.add(event.subject_id)
                    else:
                        self._ours.setdefault(event.subject_id, False)
                case ProducerEnded() | ProducerLost():
                    if event.subject_id in self._ours:
                        self._ours[event.subject_id] = True
                case _:
                    trace_id = getattr(event, "trace_id", None)
                    if trace_id is not None and fact.producer_id not in self._strangers:
                        self._traces.setdefault(fact.producer_id, {})[trace_id] = None


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _descends(pid: int, ancestor: int) -> bool:
    """Tell whether a process comes from another one: what starts programs is often a chain of them."""
    for _ in range(64):
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return False
        pid = int(stat.rpartition(b")")[2].split()[1])
        if pid == ancestor:
            return True
        if pid <= 1:
            return False
    return False


def _print_trees(trees: list[TraceTree]) -> None:
    if not trees:
        say("it recorded no trace; does it call lumina_stream?")
        return
    width = _stderr_width()
    paint = ansi if coloured(sys.stderr) else text_of
    glyphs = glyphs_for(sys.stderr.encoding)
    last_ns = max(tree.end_ns for tree in trees)
    lines = layout(trees, max(last_ns, time.time_ns()), width, TREE_LINES, glyphs)
    spans = sum(tree.span_count for tree in trees)
    say(
        f"{count(len(trees))} trace{'s' * (len(trees) != 1)}, {count(spans)} span{'s' * (spans != 1)}"
    )
    encoding = sys.stderr.encoding
    sys.stderr.write("".join(f"{carried(paint(line), encoding)}\n" for line in lines))
    sys.stderr.flush()


def _stderr_width() -> int:
    with contextlib.suppress(OSError, ValueError):
        return max(40, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
    return shutil.get_terminal_size((100, 24)).columns
