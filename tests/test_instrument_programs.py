"""Programs that know nothing of us, under `run --instrument`: seen while they run, each call once."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from support.model_server import ModelServer, model_server
from support.relay_process import RelayProcess, running_relay

IMPORTS_S = 90.0
"""How long a program may take to import its libraries on a busy machine."""
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with running_relay(tmp_path_factory.mktemp("relay") / "data") as process:
        yield process


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


def spans(relay: RelayProcess, service: str) -> list[dict[str, Any]]:
    """Return the spans of a service's traces as the relay has them now."""
    with urlopen(f"{relay.url}/v1/traces") as response:
        known = [t for t in json.load(response)["traces"] if t["service"] == service]
    found: list[dict[str, Any]] = []
    for trace in known:
        with urlopen(f"{relay.url}/v1/traces/{trace['trace_id']}") as response:
            waiting = json.load(response)["roots"]
        while waiting:
            found.append(waiting.pop(0))
            waiting = found[-1]["children"] + waiting
    return found


def run_live(
    relay: RelayProcess, server: ModelServer, tmp_path: Path, service: str, source: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run a program; return its spans while the model still holds its answer back, and at the end."""
    path = tmp_path / f"{service}.py"
    path.write_text(textwrap.dedent(source))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LUMINA_")}
    environment = clean | {
        "PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(tmp_path), "LUMINA_ENDPOINT": relay.url,
        "MODEL_URL": server.url, "OPENAI_API_KEY": "k", "LANGSMITH_TRACING": "false",
    }  # fmt: skip
    server.gate.clear()
    command = [
        sys.executable,
        "-m",
        "lumina_stream",
        "run",
        "--instrument",
        "--",
        sys.executable,
        str(path),
    ]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + IMPORTS_S
        live: list[dict[str, Any]] = []
        while time.monotonic() < deadline and process.poll() is None:
            live = spans(relay, service)
            if any(span["kind"] == "llm" and span["state"] == "running" for span in live):
                break
        server.gate.set()
        out, err = process.communicate(timeout=IMPORTS_S)
    assert process.returncode == 0, err
    assert "done" in out, err
    return live, spans(relay, service)


def names(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(span["name"], span["kind"], span["state"]) for span in found]


OPENAI = """
    import os, openai
    client = openai.OpenAI(base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")
    asked = [{"role": "user", "content": "q"}]
    print("".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(
        model="gpt-4o-mini", messages=asked, stream=True)))
    print("done")
"""

ANTHROPIC = """
    import os, anthropic
    client = anthropic.Anthropic(base_url=os.environ["MODEL_URL"], api_key="k")
    tools = [{"name": "temperature", "description": "t", "input_schema": {"type": "object", "properties": {}}}]
    messages = [{"role": "user", "content": "please wait"}]
    while True:
        answer = client.messages.create(model="claude-future-1", max_tokens=99, messages=messages, tools=tools)
        if answer.stop_reason != "tool_use":
            break
        messages.append({"role": "assistant", "content": [b.model_dump() for b in answer.content]})
        messages.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": answer.content[0].id, "content": "21"}]})
    print("done")
"""

LANGGRAPH = """
    import os, warnings
    warnings.simplefilter("ignore")
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.prebuilt import create_react_agent

    @tool
    def temperature(city: str) -> str:
        "Return the temperature."
        return "21"

    model = ChatOpenAI(model="gpt-4o-mini", base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")
    create_react_agent(model, [temperature]).invoke({"messages": [("user", "please wait")]})
    print("done")
"""

PYDANTIC_AI = """
    import os
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")
    agent = Agent(OpenAIChatModel("gpt-4o-mini", provider=provider), name="weather")

    @agent.tool_plain
    def temperature(city: str) -> str:
        "Return the temperature."
        return "21"

    agent.run_sync("please wait")
    print("done")
"""

FASTAPI = """
    import os, openai
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from opentelemetry import trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    app = FastAPI()
    client = openai.OpenAI(base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")

    @app.get("/ask")
    def ask():
        return client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "please wait"}]).id

    FastAPIInstrumentor.instrument_app(app)
    assert TestClient(app).get("/ask").status_code == 200
    print("done")
"""


def test_openai_stream(relay: RelayProcess, server: ModelServer, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    live, after = run_live(relay, server, tmp_path, "openai_stream", OPENAI)
    assert names(live) == [("chat gpt-4o-mini", "llm", "running")]
    assert names(after) == [("chat gpt-4o-mini", "llm", "ok")]
    assert after[0]["attributes"]["gen_ai.output.messages"][0]["parts"][0]["content"] == "Hello!"


def test_anthropic_tool_loop(relay: RelayProcess, server: ModelServer, tmp_path: Path) -> None:
    pytest.importorskip("anthropic")
    live, after = run_live(relay, server, tmp_path, "anthropic_tools", ANTHROPIC)
    assert names(live) == [("chat claude-future-1", "llm", "running")]
    assert names(after) == [("chat claude-future-1", "llm", "ok")] * 2


def test_langgraph_agent(relay: RelayProcess, server: ModelServer, tmp_path: Path) -> None:
    pytest.importorskip("langgraph.prebuilt")
    pytest.importorskip("langchain_openai")
    live, after = run_live(relay, server, tmp_path, "langgraph_agent", LANGGRAPH)
    assert ("LangGraph", "agent", "running") in names(live)
    assert [name for name, kind, _ in names(after) if kind == "llm"] == ["chat gpt-4o-mini"] * 2
    assert ("execute_tool temperature", "tool", "ok") in names(after)


def test_pydantic_ai_agent(relay: RelayProcess, server: ModelServer, tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai")
    pytest.importorskip("openai")
    pytest.importorskip("opentelemetry.sdk")
    live, after = run_live(relay, server, tmp_path, "pydantic_ai_agent", PYDANTIC_AI)
    assert "running" in {state for _, kind, state in names(live) if kind == "agent"}
    assert [name for name, kind, _ in names(after) if kind == "llm"] == ["chat gpt-4o-mini"] * 2
    assert "tool" in {kind for _, kind, _ in names(after)}


def test_fastapi_with_opentelemetry(
    relay: RelayProcess, server: ModelServer, tmp_path: Path
) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("opentelemetry.instrumentation.fastapi")
    live, after = run_live(relay, server, tmp_path, "fastapi_service", FASTAPI)
    assert ("GET /ask", "running") in {(name, state) for name, _, state in names(live)}
    assert [name for name, kind, _ in names(after) if kind == "llm"] == ["chat gpt-4o-mini"]
    (request,) = (span for span in after if span["name"] == "GET /ask")
    assert "chat gpt-4o-mini" in str(request["children"])
