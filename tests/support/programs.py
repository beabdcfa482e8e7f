"""Traced programs in processes of their own, and what a relay has of them afterwards."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lumina_stream.model.events import Fact
from lumina_stream.protocol import frames
from support.relay_process import PATIENCE_S, Consumer

REPOSITORY = Path(__file__).parents[2]


def environment(url: str | None, **more: str) -> dict[str, str]:
    """Return an environment in which only `url` says where the relay is."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LUMINA_")}
    clean["PYTHONPATH"] = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests")))
    if url is not None:
        clean["LUMINA_ENDPOINT"] = url
    return {**clean, **more}


@contextmanager
def program(
    source: str, url: str | None, *arguments: str, **more: str
) -> Iterator[subprocess.Popen[str]]:
    """Start a program; it is killed if it outlives the block. Every warning of it is an error."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(url, **more),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def run(
    source: str, url: str | None, *arguments: str, code: int = 0, **more: str
) -> tuple[str, str]:
    """Run a program to its end; return what it wrote to stdout and stderr."""
    with program(source, url, *arguments, **more) as process:
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    return out, err


async def facts_of(url: str, *, count: int, service: str | None = None) -> list[Fact]:
    """Return the facts that a relay has, from the beginning, once there are `count` span events."""
    consumer = Consumer(url, frames.Subscribe(filter=frames.Filter(service=service), since_ns=1))
    looked_at = found = 0

    def enough() -> bool:
        # Only what is new is looked at: small frames must not make this quadratic.
        nonlocal looked_at, found
        found += sum(map(is_span_event, consumer.facts[looked_at:]))
        looked_at = len(consumer.facts)
        return found >= count

    async with consumer.connected():
        await consumer.until(enough)
    return consumer.facts


def is_span_event(fact: Fact) -> bool:
    """Tell whether a fact is about a span, not about a producer."""
    return getattr(fact.event, "span_id", None) is not None


def get_json(url: str) -> Any:
    """GET a route of a relay."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
        return json.load(response)


def only_trace(url: str) -> Any:
    """Return the tree of the only trace that a relay has."""
    (summary,) = get_json(f"{url}/v1/traces")["traces"]
    return get_json(f"{url}/v1/traces/{summary['trace_id']}")


def spans_of(trace: Any) -> list[Any]:
    """Return all spans of a tree, parents first."""
    found: list[Any] = []
    rest = list(trace["roots"])
    while rest:
        span = rest.pop(0)
        found.append(span)
        rest = span["children"] + rest
    return found
