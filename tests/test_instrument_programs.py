"""Programs that know nothing of us, under `run --instrument`: seen while they run, each call once, with its cost.

Each is a file of `programs/`, in a process of its own, against a relay in another one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.model_server import INPUT, OUTPUT, ModelServer, model_server
from support.programs import environment, get_json, spans_of
from support.relay_process import RelayProcess, running_relay

IMPORTS_S = 90.0
"""How long a program may take to import its libraries on a busy machine."""
PROGRAMS = Path(__file__).parent / "programs"

ANSWER = "It is 21 degrees.\n"
GPT_4O_MINI = round((INPUT * 0.15 + OUTPUT * 0.60) / 1e6, 12)
"""One call, in dollars: https://platform.openai.com/docs/pricing"""
CLAUDE_SONNET_4_5 = round((INPUT * 3.0 + OUTPUT * 15.0) / 1e6, 12)
"""One call, in dollars: https://www.anthropic.com/pricing"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with running_relay(tmp_path_factory.mktemp("relay") / "data") as process:
        yield process


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        running.gate.clear()
        yield running


class Run:
    """One program under `run --instrument`, and what the relay has of it."""

    def __init__(
        self, relay: RelayProcess, server: ModelServer, folder: Path, *command: str
    ) -> None:
        self.relay = relay
        self.server = server
        self.service = folder.name
        arguments = [sys.executable, "-m", "lumina_stream", "run", "--instrument", "--", *command]
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(
                relay.url, XDG_STATE_HOME=str(folder), MODEL_URL=server.url, LUMINA_SERVICE_NAME=self.service,
                OPENAI_API_KEY="", LANGSMITH_TRACING="false",
            ),
            start_new_session=True,
        )  # fmt: skip

    def traces(self) -> list[Any]:
        """Return the trees of its traces, as the relay has them now, the oldest first."""
        known = get_json(f"{self.relay.url}/v1/traces?service={self.service}")["traces"]
        known.sort(key=lambda trace: trace["start_ns"])
        return [get_json(f"{self.relay.url}/v1/traces/{t['trace_id']}") for t in known]

    def outline(self) -> list[str]:
        """Return name, kind and state of every span, indented below its parent."""
        lines: list[str] = []

        def walk(span: Any, depth: int) -> None:
            lines.append(f"{'  ' * depth}{span['name']} | {span['kind']} | {span['state']}")
            for child in span["children"]:
                walk(child, depth + 1)

        for trace in self.traces():
            for root in trace["roots"]:
                walk(root, 0)
        return lines

    def live(self) -> list[str]:
        """Return the outline when a call of the model is seen to run: its answer is still held back."""
        deadline = time.monotonic() + IMPORTS_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if not self.server.asked.wait(0.2):
                continue
            lines = self.outline()
            if any(line.endswith("| llm | running") for line in lines):
                assert not self.server.gate.is_set()
                return lines
        raise AssertionError(f"no call is seen to run: {self.outline()}\n{self.kill()}")

    def end(self, code: int = 0) -> str:
        """Let the model answer; return what the program wrote, once it has ended as it should."""
        self.server.gate.set()
        out, err = self.process.communicate(timeout=IMPORTS_S)
        assert self.process.returncode == code, err
        return out

    def kill(self) -> str:
        """End it, and what it has started; return what it wrote to stderr."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.communicate()[1]

    def calls(self, cost_usd: float) -> list[Any]:
        """Return the calls of the model, once the relay knows their prices: each cost this much."""
        deadline = time.monotonic() + IMPORTS_S
        while True:
            spans = [span for trace in self.traces() for span in spans_of(trace)]
            found = [span for span in spans if span["kind"] == "llm"]
            if all(call["rollup"]["cost_usd"] is not None for call in found):
                break
            assert time.monotonic() < deadline, found
        assert [call["rollup"]["cost_usd"] for call in found] == [cost_usd] * len(found)
        usage = [(c["rollup"]["input_tokens"], c["rollup"]["output_tokens"]) for c in found]
        assert usage == [(INPUT, OUTPUT)] * len(self.server.requests)
        traces = self.traces()
        assert sum(t["cost_usd"] for t in traces) == pytest.approx(cost_usd * len(found), rel=1e-9)
        assert sum(t["input_tokens"] for t in traces) == INPUT * len(found)
        return found


Start = Callable[..., Run]


@pytest.fixture
def start(relay: RelayProcess, server: ModelServer, tmp_path: Path) -> Iterator[Start]:
    started: list[Run] = []

    def start(program: str, *arguments: str, before: tuple[str, ...] = ()) -> Run:
        command = (*before, sys.executable, str(PROGRAMS / program), *arguments)
        started.append(Run(relay, server, tmp_path, *command))
        return started[-1]

    yield start
    server.gate.set()
    for run in started:
        run.kill()


def test_openai_stream(start: Start) -> None:
    pytest.importorskip("openai")
    run = start("openai_stream.py")
    assert run.live() == ["chat gpt-4o-mini | llm | running"]
    assert run.end() == "Hello!\n"
    assert run.outline() == ["chat gpt-4o-mini | llm | ok"]
    (call,) = run.calls(GPT_4O_MINI)
    assert call["attributes"]["gen_ai.output.messages"][0]["parts"][0]["content"] == "Hello!"
    assert call["text"] == {"output": "Hello!"}


def test_anthropic_tool_loop(start: Start) -> None:
    pytest.importorskip("anthropic")
    run = start("anthropic_tools.py")
    assert run.live() == ["chat claude-sonnet-4-5 | llm | running"]
    assert run.end() == ANSWER
    assert run.outline() == ["chat claude-sonnet-4-5 | llm | ok"] * 2
    tool_use, answer = run.calls(CLAUDE_SONNET_4_5)
    assert tool_use["attributes"]["gen_ai.response.finish_reasons"] == ["tool_use"]
    assert answer["attributes"]["gen_ai.input.messages"][-1]["parts"][0]["type"] == (
        "tool_call_response"
    )


def test_langgraph_agent(start: Start) -> None:
    pytest.importorskip("langgraph.prebuilt")
    pytest.importorskip("langchain_openai")
    run = start("langgraph_agent.py")
    step = [
        "  agent | task | ok",
        "    call_model | task | ok",
        "    RunnableSequence | task | ok",
        "      Prompt | task | ok",
        "      chat gpt-4o-mini | llm | ok",
        "    should_continue | task | ok",
    ]
    assert run.live() == [
        "LangGraph | agent | running",
        *(line.replace("| ok", "| running") for line in step[:3]),
        "      Prompt | task | ok",
        "      chat gpt-4o-mini | llm | running",
    ]
    assert run.end() == ANSWER
    assert run.outline() == [
        "LangGraph | agent | ok",
        *step,
        "  tools | task | ok",
        "    execute_tool temperature | tool | ok",
        *step,
    ]
    run.calls(GPT_4O_MINI)


def test_openai_agents(start: Start) -> None:
    pytest.importorskip("agents")
    run = start("openai_agent.py")
    assert run.live() == [
        "Agent workflow | task | running",
        "  run | task | running",
        "    invoke_agent weather | agent | running",
        "      turn 1 | task | running",
        "        chat gpt-4o-mini | llm | running",
    ]
    assert run.end() == ANSWER
    assert run.outline() == [
        "Agent workflow | task | ok",
        "  run | task | ok",
        "    invoke_agent weather | agent | ok",
        "      turn 1 | task | ok",
        "        chat gpt-4o-mini | llm | ok",
        "        execute_tool temperature | tool | ok",
        "      turn 2 | task | ok",
        "        chat gpt-4o-mini | llm | ok",
    ]
    run.calls(GPT_4O_MINI)


def test_pydantic_ai_agent(start: Start) -> None:
    pytest.importorskip("pydantic_ai")
    run = start("pydantic_ai_agent.py")
    assert run.live() == [
        "invoke_agent weather | agent | running",
        "  chat gpt-4o-mini | llm | running",
    ]
    assert run.end() == ANSWER
    assert run.outline() == [
        "invoke_agent weather | agent | ok",
        "  chat gpt-4o-mini | llm | ok",
        "  execute_tool temperature | tool | ok",
        "  chat gpt-4o-mini | llm | ok",
    ]
    run.calls(GPT_4O_MINI)


@pytest.mark.parametrize("way", ["of its own", "opentelemetry-instrument"])
def test_fastapi_with_opentelemetry(start: Start, way: str) -> None:
    """A request's span is OpenTelemetry's, the call of the model inside it is ours."""
    pytest.importorskip("opentelemetry.instrumentation.fastapi")
    pytest.importorskip("opentelemetry.distro")
    if way == "of its own":
        run = start("fastapi_service.py", "instrument")
    else:
        command = Path(sys.executable).with_name("opentelemetry-instrument")
        run = start("fastapi_service.py", before=(str(command),))
    assert run.process.stdout is not None
    port = int(run.process.stdout.readline())
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(get_json, f"http://127.0.0.1:{port}/ask")
        assert run.live() == [
            "GET /ask | http | running",
            "  chat gpt-4o-mini | llm | running",
        ]
        run.server.gate.set()
        assert asking.result() == ANSWER.strip()
    run.process.send_signal(signal.SIGTERM)
    run.end(128 + signal.SIGTERM)
    assert run.outline() == [
        "GET /ask | http | ok",
        "  chat gpt-4o-mini | llm | ok",
        "  GET /ask http send | None | ok",
        "  GET /ask http send | None | ok",
    ]
    run.calls(GPT_4O_MINI)
