"""With `capture_content=False` no text of a conversation leaves a program, whichever library it went through.

Looked for in every place where it could be: what the program sends, and says itself; the relay's
facts as they are in its log, its files, its answers, and its own output.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.model_server import CHUNKS, ModelServer, model_server
from support.programs import environment, get_json, spans_of
from support.relay_process import running_relay
from support.wire import wire_to

from lumina_stream.relay.sqlite_log import SqliteLog

PROGRAM = Path(__file__).parent / "programs" / "confidential.py"
LIBRARIES = {
    "clients": ("openai", "anthropic", "opentelemetry.sdk"),
    "langchain": ("langchain_openai", "langgraph"),
    "agents": ("agents", "pydantic_ai"),
}
TEXTS = (b"secret", b"21 degrees", b"Bonn", "".join(CHUNKS).encode())
"""Of the program's messages, the model's answers, and the arguments that it gives to tools."""


def run(server: ModelServer, url: str, folder: Path, library: str, capture: str) -> bytes:
    """Run the program; return what `run` and it have written."""
    command = [sys.executable, "-m", "lumina_stream", "run", "--instrument", "--", sys.executable]
    done = subprocess.run(
        [*command, str(PROGRAM), library],
        capture_output=True,
        timeout=120,
        env=environment(
            url, LUMINA_CAPTURE_CONTENT=capture, MODEL_URL=server.url, XDG_STATE_HOME=str(folder),
            OPENAI_API_KEY="", LANGSMITH_TRACING="false", LUMINA_SERVICE_NAME="confidential",
            ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE="content",
        ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"done" in done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize("library", list(LIBRARIES))
def test_no_text_anywhere(tmp_path: Path, library: str) -> None:
    for name in LIBRARIES[library]:
        pytest.importorskip(name)
    with (
        model_server() as server,
        running_relay(tmp_path / "data", allow_hosts=["127.0.0.1"]) as relay,
    ):
        with wire_to(relay.url) as wire:
            written = run(server, wire.url, tmp_path, library, "0")
            sent = wire.sent()
        traces = get_json(f"{relay.url}/v1/traces")["traces"]
        trees = [get_json(f"{relay.url}/v1/traces/{trace['trace_id']}") for trace in traces]
        relay.stop()
        log = SqliteLog.open(relay.data)
        stored = b"".join(row.events for row in log.read(0, max_bytes=1 << 30))
        log.close()
        asked = len(server.requests)
    spans = [span for tree in trees for span in spans_of(tree)]
    calls = [span for span in spans if span["kind"] in ("llm", "embedding")]
    assert len(calls) == asked > 3
    assert any(span["state"] == "error" for span in calls)
    assert not any("text" in span for span in spans)
    assert b"gpt-4o-mini" in sent
    assert b"gpt-4o-mini" in stored
    assert b"gpt-4o-mini" in written
    places = {
        "sent": sent,
        "written": written,
        "stored": stored,
        "answers": msgspec.json.encode(trees),
        "relay's output": relay.stderr().encode(),
        **{str(file): file.read_bytes() for file in relay.data.rglob("*") if file.is_file()},
    }
    found = {(place, text) for place, data in places.items() for text in TEXTS if text in data}
    assert found == set()


def test_these_texts_are_there_otherwise(tmp_path: Path) -> None:
    """The same search finds them when they are captured, or it would find nothing ever."""
    for name in LIBRARIES["clients"]:
        pytest.importorskip(name)
    with (
        model_server() as server,
        running_relay(tmp_path / "data", allow_hosts=["127.0.0.1"]) as relay,
        wire_to(relay.url) as wire,
    ):
        run(server, wire.url, tmp_path, "clients", "1")
        sent: Any = wire.sent()
    assert all(text in sent for text in TEXTS)
