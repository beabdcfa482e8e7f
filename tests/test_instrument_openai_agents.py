"""Agents of openai-agents, unchanged: their trees, and each call of a model once."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from support.model_server import INPUT, ModelServer, model_server
from support.recorded import Recorded

import lumina_stream as lumina

agents: Any = pytest.importorskip("agents")
pytestmark = pytest.mark.filterwarnings("ignore")
"""Warnings of the library are its own."""


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(autouse=True)
def instrumented(recorded: Recorded) -> Iterator[None]:
    lumina.instrument()
    yield
    lumina.uninstrument()
    gc.collect()  # clients that nobody closes: here their warnings are not of the next test


def calls(recorded: Recorded) -> list[Any]:
    return [span for span in recorded.spans() if span.kind == "llm"]


@pytest.fixture
def weather(server: ModelServer) -> Iterator[Callable[..., Any]]:
    """Give a function that makes an agent of openai-agents, over responses or chat."""
    processors = agents.tracing.get_trace_provider()._multi_processor._processors
    ours = [p for p in processors if type(p).__module__.startswith("lumina_stream")]
    agents.set_trace_processors(ours)  # nothing is sent to OpenAI

    def make(model: str = "OpenAIResponsesModel", url: str = server.url, tools: bool = True) -> Any:
        @agents.function_tool
        def temperature(city: str) -> str:
            """Return the temperature."""
            with lumina.trace("thermometer"):
                return "21"

        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
        asked = getattr(agents, model)(model="gpt-4o-mini", openai_client=client)
        return agents.Agent(name="weather", model=asked, tools=[temperature] if tools else [])

    yield make
    agents.set_trace_processors(list(processors))


RUN = [
    "  run task ok",
    "    invoke_agent weather agent ok",
    "      turn 1 task ok",
    "        chat gpt-4o-mini llm ok",
    "        execute_tool temperature tool ok",
    "          thermometer None ok",
    "      turn 2 task ok",
    "        chat gpt-4o-mini llm ok",
]


@pytest.mark.parametrize("model", ["OpenAIResponsesModel", "OpenAIChatCompletionsModel"])
def test_openai_agents(
    server: ModelServer, recorded: Recorded, weather: Callable[..., Any], model: str
) -> None:
    """Workflow, run, agent, turn, call and tool, where they ran; what follows is not below them."""

    async def main() -> None:
        with lumina.trace("mine"):
            result = await agents.Runner.run(weather(model), "How warm is it in Bonn?")
            assert "21" in result.final_output
            with lumina.trace("after"):
                pass

    asyncio.run(main())
    workflow = ["Agent workflow task ok", *RUN]
    assert recorded.lines() == [
        "mine None ok", *(f"  {line}" for line in workflow), "  after None ok",
    ]  # fmt: skip
    assert len(server.requests) == 2
    for call in calls(recorded):
        assert call.attributes["gen_ai.usage.input_tokens"] == INPUT
        assert call.attributes["gen_ai.provider.name"] == "openai"
    tool = recorded.one("execute_tool temperature")
    assert tool.attributes["gen_ai.tool.call.arguments"] == '{"city": "Bonn"}'
    assert tool.attributes["gen_ai.tool.call.result"] == "21"


def test_openai_agents_two_runs_of_a_workflow(
    recorded: Recorded, weather: Callable[..., Any]
) -> None:
    async def main() -> None:
        with agents.trace("flow", group_id="conversation 7"):
            await agents.Runner.run(weather(), "How warm is it in Bonn?")
            await agents.Runner.run(weather(), "And now?")

    asyncio.run(main())
    assert recorded.lines() == ["flow task ok", *RUN, *RUN]
    assert recorded.one("flow").attributes["gen_ai.conversation.id"] == "conversation 7"


@pytest.mark.parametrize("model", ["OpenAIResponsesModel", "OpenAIChatCompletionsModel"])
def test_openai_agents_streamed(
    recorded: Recorded, weather: Callable[..., Any], model: str
) -> None:
    async def main() -> None:
        run = agents.Runner.run_streamed(weather(model, tools=False), "q")
        assert [event async for event in run.stream_events()]

    asyncio.run(main())
    assert [line.strip() for line in recorded.lines()][-2:] == [
        "turn 1 task ok", "chat gpt-4o-mini llm ok",
    ]  # fmt: skip
    assert recorded.streamed() == "Hello!"


def test_openai_agents_error(recorded: Recorded, weather: Callable[..., Any]) -> None:
    with pytest.raises(openai.APIConnectionError):
        asyncio.run(agents.Runner.run(weather(url="http://127.0.0.1:1"), "q"))
    (call,) = calls(recorded)
    assert call.state == "error"
    assert recorded.one("invoke_agent weather").state == "error"


@pytest.mark.usefixtures("weather")
def test_what_openai_agents_sends_of_itself_is_not_of_the_program(
    server: ModelServer, recorded: Recorded
) -> None:
    from agents.tracing.processors import BackendSpanExporter

    exporter = BackendSpanExporter(api_key="k", endpoint=f"{server.url}/traces")
    with agents.trace("flow") as flow:
        pass
    exporter.export([flow])
    exporter.close()
    assert [path for path, _, _ in server.requests] == ["/traces"]
    assert recorded.lines() == ["flow task ok"]
