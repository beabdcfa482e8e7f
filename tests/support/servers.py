"""Servers as people start them, in a process group of their own, and what became of what they traced."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from test_delivery import assert_dense

from lumina_stream.model.events import Fact, SpanStarted
from support.programs import environment, facts_of, get_json, is_span_event, spans_of
from support.relay_process import PATIENCE_S

UNWANTED = re.compile(r"lumina|multi-threaded|Traceback", re.IGNORECASE)
"""What none of these may say, with every warning shown but that servers leave sockets open."""


class Server:
    """A process whose stderr and stdout are read while it runs."""

    def __init__(self, folder: Path, url: str, *command: str, **more: str) -> None:
        variables = environment(
            url, PYTHONWARNINGS="always,ignore::ResourceWarning", PYTHONUNBUFFERED="1", **more
        )
        variables["PYTHONPATH"] += f"{os.pathsep}{folder}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=variables,
            start_new_session=True,
        )
        self.said = ""
        self._heard = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self.said += line
                self._heard.notify_all()

    def until(self, pattern: str, count: int = 1) -> str:
        """Wait until it has said something so often; return the last match's first group, or all of it."""

        def found() -> list[str]:
            return [match[match.re.groups and 1] for match in re.finditer(pattern, self.said)]

        with self._heard:
            heard = self._heard.wait_for(lambda: len(found()) >= count, PATIENCE_S)
            assert heard, f"it never said {pattern!r} {count} times, but:\n{self.said}"
            return found()[-1]

    def stop(self, *codes: int, number: int = signal.SIGTERM) -> None:
        """Send it a signal, and wait for its end."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert not self._reader.is_alive(), "a child of it is still there"
        assert code in (codes or (0,)), f"exit code {code}\n{self.said}"

    def clean(self, tolerated: str | None = None) -> None:
        """Fail if it said anything of tracing, or of a warning that tracing brings about."""
        unwanted = [line for line in self.said.splitlines() if UNWANTED.search(line)]
        unwanted = [line for line in unwanted if tolerated is None or tolerated not in line]
        assert not unwanted, self.said


@contextmanager
def server(folder: Path, url: str, *command: str, **more: str) -> Iterator[Server]:
    """Start `python -m COMMAND` in a folder; it and its children are killed if they outlive the block."""
    running = Server(folder, url, *command, **more)
    try:
        yield running
    finally:
        try:
            os.killpg(running.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        running.process.wait()
        running._reader.join(PATIENCE_S)
        assert running.process.stdout is not None
        running.process.stdout.close()


def ask(url: str, count: int, first: int = 0) -> list[int]:
    """GET `url/N` for so many N, several at a time; return the pids that answered, in that order."""
    wait_for_listening(url)

    def one(n: int) -> int:
        with urllib.request.urlopen(f"{url}/{n}", timeout=PATIENCE_S) as answer:
            return int(answer.read())

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(first, first + count)))


def wait_for_listening(url: str) -> None:
    """Wait until somebody listens: uvicorn says that it has started just before it does."""
    host, port = url.removeprefix("http://").split(":")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection((host, int(port))).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens at {url}"
            time.sleep(0.01)


def states(url: str, name: str) -> set[str]:
    """Return the states of the spans of a name, once none of their producers may still be alive."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        traces = get_json(f"{url}/v1/traces?limit=1000")["traces"]
        trees = [get_json(f"{url}/v1/traces/{trace['trace_id']}") for trace in traces]
        found = {s["state"] for tree in trees for s in spans_of(tree) if s["name"] == name}
        if "running" not in found or time.monotonic() > deadline:
            return found


class Told:
    """What a relay was told by the programs of a service."""

    def __init__(self, url: str, service: str, events: int) -> None:
        """Wait until it has so many events of spans, and no more."""
        told = asyncio.run(facts_of(url, count=events, service=service))
        self.facts: list[Fact] = [fact for fact in told if is_span_event(fact)]
        assert len(self.facts) == events
        assert_dense(self.facts)
        self.starts = [f for f in self.facts if isinstance(f.event, SpanStarted)]

    def producers(self, name: str) -> dict[str, int]:
        """Return how many spans of a name each producer has begun."""
        return dict(Counter(f.producer_id for f in self.starts if f.event.name == name))  # type: ignore[union-attr]

    def attribute(self, name: str, key: str) -> list[object]:
        """Return an attribute of all spans of a name, in order of the producers' telling."""
        events = [f.event for f in self.starts if isinstance(f.event, SpanStarted)]
        return [event.attributes[key] for event in events if event.name == name]

    def by_pid(self, name: str) -> dict[object, set[str]]:
        """Return which producers told of spans of a name in each process."""
        found: dict[object, set[str]] = {}
        for fact in self.starts:
            if isinstance(fact.event, SpanStarted) and fact.event.name == name:
                found.setdefault(fact.event.attributes["pid"], set()).add(fact.producer_id)
        return found
