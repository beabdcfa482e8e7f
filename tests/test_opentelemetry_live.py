"""OpenTelemetry's spans of a running program, through a real relay, into the tail: while they are open."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.programs import environment, program
from support.relay_process import PATIENCE_S, running_relay

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

STEP_BY_STEP = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import lumina_stream as lumina

trace.set_tracer_provider(TracerProvider())
lumina.instrument_opentelemetry()
tracer = trace.get_tracer("shop")
steps = [
    lambda span: span.set_attribute("cart.items", 3),
    lambda span: span.add_event("paid", {"currency": "EUR"}),
    lambda span: span.set_attributes({"a": 1, "b": "two"}),
    lambda span: span.update_name("order 7"),
]
with tracer.start_as_current_span("order") as span:
    for step in steps:
        input()  # until the test has seen what was done so far
        step(span)
    input()
"""


def test_each_call_is_in_the_tail_before_the_next_one(tmp_path: Path) -> None:
    """The start while the span is open, and so on: the program goes on when its last call was seen."""
    with (
        running_relay(tmp_path / "data") as relay,
        program(STEP_BY_STEP, relay.url) as running,
    ):
        seen = asyncio.run(watched(relay.url, running))
        _, errors = running.communicate(timeout=PATIENCE_S)
        assert (running.returncode, errors) == (0, "")
    assert [fact["type"] for fact in seen] == [
        "span_started",
        "attribute_set",
        "event_added",
        "attributes_set",
        "span_updated",
        "span_ended",
    ]
    assert seen[0]["name"] == "order"
    assert (seen[1]["key"], seen[1]["value"]) == ("cart.items", 3)
    assert (seen[2]["name"], seen[2]["attributes"]) == ("paid", {"currency": "EUR"})
    assert seen[3]["attributes"] == {"a": 1, "b": "two"}
    assert seen[4]["name"] == "order 7"
    assert len({fact["span_id"] for fact in seen}) == 1


async def watched(url: str, running: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Return what the tail says of the program's span; the program does a step after each line."""
    assert running.stdin is not None
    tail = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lumina_stream", "tail", "--json", "--url", url, "--since", "10m"),
        stdout=asyncio.subprocess.PIPE,
        env=environment(None),
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            seen = [await next_of_span(tail)]
            while seen[-1]["type"] != "span_ended":
                print(file=running.stdin, flush=True)
                seen.append(await next_of_span(tail))
            return seen
    finally:
        tail.terminate()
        await tail.wait()


async def next_of_span(tail: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return the next line about a span."""
    assert tail.stdout is not None
    while True:
        line = await tail.stdout.readline()
        assert line, "the tail has ended"
        fact: dict[str, Any] = json.loads(line)
        if "span_id" in fact:
            return fact
