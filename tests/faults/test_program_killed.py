"""A program is killed where the relay cannot see it, or while the relay stands still itself."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from support.programs import environment, get_json, only_trace, program, spans_of
from support.relay_process import PATIENCE_S, RelayProcess, running_relay

PROGRAM = """
    import sys
    import lumina_stream as lumina

    lumina.init(service_name="victim")
    with lumina.trace("outer"), lumina.trace("hanging"):
        print("ready" if lumina.flush() else "not stored", flush=True)
        for number, line in enumerate(sys.stdin):
            lumina.current_span().add_event("line", number=number)
            print("recorded", flush=True)
"""


def states(relay: RelayProcess) -> dict[str, str]:
    return {span["name"]: span["state"] for span in spans_of(only_trace(relay.url))}


def wait_until_interrupted(relay: RelayProcess) -> Any:
    """Return the trace, once the relay knows that its program is gone."""
    deadline = time.monotonic() + PATIENCE_S
    while (trace := only_trace(relay.url))["state"] != "interrupted":
        assert trace["state"] == "running" and time.monotonic() < deadline, trace["state"]
    return trace


def test_row_3_killed_in_another_pid_namespace(tmp_path: Path) -> None:
    """Its process id is another process's here, which lives on: only the lease says that it is gone."""
    # breaks: lumina_stream/relay/liveness.py
    # -   for producer_id in self._leases.expired(now):
    # +   for producer_id in ():
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a pid namespace needs root")
    command = [*inside, sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM)]
    with (
        running_relay(tmp_path / "data", lease_s=1) as relay,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(relay.url),
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            assert states(relay) == {"outer": "running", "hanging": "running"}
        finally:
            process.kill()  # `unshare` kills what it started
        assert states(relay)["outer"] == "running", "a connection that ends is no death"
        wait_until_interrupted(relay)
        assert states(relay) == {"outer": "interrupted", "hanging": "interrupted"}


def test_row_3_killed_while_the_relay_stood_still(tmp_path: Path) -> None:
    """When it goes on, what had reached it is there, and the rest is known to be gone."""
    # breaks: lumina_stream/relay/liveness.py
    # -   self._loop.add_reader(fd, self._exited, hello.producer_id)
    # +   pass
    with running_relay(tmp_path / "data") as relay, program(PROGRAM, relay.url) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with relay.standing_still():
            for _ in range(100):
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "recorded\n"
            process.kill()
            process.wait()
        trace = wait_until_interrupted(relay)
        (hanging,) = [span for span in spans_of(trace) if span["name"] == "hanging"]
        numbers = [event["attributes"]["number"] for event in hanging["events"]]
        assert numbers == list(range(len(numbers))), "in order, without a hole"
        assert get_json(f"{relay.url}/healthz")["status"] == "ok"
