"""OpenTelemetry's own exporters for Node.js, as their packages are, against a real relay."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.programs import environment, get_json, spans_of
from support.relay_process import RelayProcess, running_relay

FOLDER = Path(__file__).parent / "node"
NODE, NPM = shutil.which("node"), shutil.which("npm")
PATIENCE_S = 120.0

pytestmark = pytest.mark.skipif(not NODE or not NPM, reason="node and npm are not installed")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what the lock file says, in a folder of this run's own."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", ".npmrc", "spans.js"):
        shutil.copy(FOLDER / name, folder)
    node("npm", "ci", "--ignore-scripts", folder=folder)
    return folder


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with running_relay(tmp_path_factory.mktemp("relay") / "data") as process:
        yield process


def node(*command: str, folder: Path, **more: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(None, **more), capture_output=True, text=True,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_what_they_send(packages: Path, relay: RelayProcess) -> None:
    """JSON and protobuf, plain and compressed: the same tree, with all that was set."""
    for encoding in ("http", "proto"):
        for compression in ("none", "gzip"):
            trace_id = node(
                "node", "spans.js", encoding, compression,
                folder=packages, OTEL_EXPORTER_OTLP_ENDPOINT=relay.url,
            )  # fmt: skip
            check(priced(relay, trace_id), f"node-{encoding}-{compression}")


def priced(relay: RelayProcess, trace_id: str) -> Any:
    """Return a tree, once the relay knows the price of its call."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        tree = get_json(f"{relay.url}/v1/traces/{trace_id}")
        if tree["cost_usd"] is not None or time.monotonic() > deadline:
            return tree


def check(tree: Any, service: str) -> None:
    assert (tree["state"], tree["service"], tree["errors"]) == ("ok", service, 1)
    root, *children = spans_of(tree)
    # Node's clock has milliseconds: siblings that start in the same one are in the order of their ids.
    call, tool = sorted(children, key=lambda span: span["name"])
    assert [(s["name"], s["kind"], s["state"]) for s in (root, call, tool)] == [
        ("GET /ask", "http", "ok"),
        ("chat gpt-4o-mini", "llm", "ok"),
        ("tool", None, "error"),
    ]
    assert call["parent_id"] == tool["parent_id"] == root["span_id"]
    said = root["attributes"]
    assert said["flag"] is True
    assert (said["ratio"], said["count"], said["text"]) == (0.5, 3, "ä€😀")
    assert said["words"] == ["one", "two"]
    assert (said["span.kind"], call["attributes"]["span.kind"]) == ("server", "client")
    assert said["otel.scope.name"] == "node-tracer"
    assert said["otel.scope.version"] == "4.5.6"
    assert root["start_ns"] <= call["start_ns"] <= call["end_ns"] <= root["end_ns"]
    (event,) = call["events"]
    assert (event["name"], event["attributes"]) == ("first token", {"index": 0})
    (link,) = tool["links"]
    assert (link["span_id"], link["attributes"]) == (call["span_id"], {"why": "asked"})
    assert (tool["error"]["type"], tool["error"]["message"]) == ("TypeError", "no battery")
    assert "spans.js" in tool["error"]["stacktrace"]
    assert (tree["input_tokens"], tree["output_tokens"]) == (1000, 500)
    assert "flags" not in root
    # https://platform.openai.com/docs/pricing: 1000 * 0.15 + 500 * 0.60 for a million
    assert call["rollup"]["cost_usd"] == tree["cost_usd"] == 0.00045
