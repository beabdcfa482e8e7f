"""Agents and chains of other libraries, unchanged: their trees, and each call of a model once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.model_server import ModelServer, model_server
from support.recorded import Recorded

import lumina_stream as lumina

pytestmark = pytest.mark.filterwarnings("ignore")
"""Warnings of these libraries are theirs."""


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(autouse=True)
def instrumented(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    lumina.instrument()
    yield
    lumina.uninstrument()


def tree(recorded: Recorded) -> list[str]:
    recorded.poll()
    return [
        "  " * depth + f"{node.name} {node.kind} {node.state}"
        for trace in recorded.subscription.traces.values()
        for depth, node in trace.walk()
    ]


def calls(recorded: Recorded) -> list[Any]:
    return [span for span in recorded.spans() if span.kind == "llm"]


def test_langgraph_agent(server: ModelServer, recorded: Recorded) -> None:
    """Nodes, tools and calls of the model hang where they ran; each request is one call."""
    pytest.importorskip("langgraph.prebuilt")
    pytest.importorskip("langchain_openai")
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.prebuilt import create_react_agent

    @tool
    def temperature(city: str) -> str:
        """Return the temperature."""
        with lumina.trace("thermometer"):
            return "21"

    model = ChatOpenAI(model="gpt-4o-mini", base_url=f"{server.url}/v1", api_key="k")
    agent = create_react_agent(model, [temperature])
    agent.invoke({"messages": [("user", "How warm is it in Bonn?")]})
    lines = tree(recorded)
    assert len(calls(recorded)) == len(server.requests) == 2, lines
    assert [c.attributes["gen_ai.usage.input_tokens"] for c in calls(recorded)] == [5, 5]
    (tool_line,) = (i for i, line in enumerate(lines) if "execute_tool temperature tool ok" in line)
    assert lines[tool_line + 1].strip().startswith("thermometer")
    assert lines[0].startswith("LangGraph agent ok")
    assert sum(not line.startswith(" ") for line in lines) == 1, lines


def test_langchain_stream_without_a_client_hook(recorded: Recorded) -> None:
    """A model whose client has no hook is recorded by what langchain says of it."""
    pytest.importorskip("langchain_core")
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    model = GenericFakeChatModel(messages=iter([AIMessage(content="one two")]))
    assert "".join(str(piece.content) for piece in model.stream("q")) == "one two"
    (call,) = calls(recorded)
    assert call.state == "ok"
    assert call.attributes["gen_ai.output.messages"][0]["parts"][0]["content"] == "one two"
    streamed = [e for e in recorded.poll() if type(e).__name__ == "TextStreamed"]
    assert "".join(e.text for e in streamed) == "one two"  # type: ignore[union-attr]


def test_langchain_error(recorded: Recorded) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.runnables import RunnableLambda

    def fail(_: Any) -> None:
        raise ValueError("nope")

    with pytest.raises(ValueError, match="nope"):
        RunnableLambda(fail).invoke("x")
    assert recorded.one("fail").state == "error"


def test_langchain_async_under_a_span(server: ModelServer, recorded: Recorded) -> None:
    pytest.importorskip("langchain_openai")
    from langchain_openai import ChatOpenAI

    async def main() -> None:
        model = ChatOpenAI(model="gpt-4o-mini", base_url=f"{server.url}/v1", api_key="k")
        async with lumina.trace("mine"):
            async for _ in model.astream("q"):
                pass
            with lumina.trace("after"):
                pass

    asyncio.run(main())
    assert tree(recorded) == [
        "mine None ok",
        "  chat gpt-4o-mini llm ok",
        "  after None ok",
    ]
    streamed = [e for e in recorded.poll() if type(e).__name__ == "TextStreamed"]
    assert "".join(e.text for e in streamed) == "Hello!"  # type: ignore[union-attr]


def test_openai_agents(server: ModelServer, recorded: Recorded) -> None:
    agents = pytest.importorskip("agents")
    import openai

    try:
        agents.Usage()
    except ValueError:
        pytest.skip("this openai-agents does not work with this openai")

    agents.set_trace_processors([])  # nothing is sent to OpenAI
    lumina.uninstrument()
    lumina.instrument()

    @agents.function_tool
    def temperature(city: str) -> str:
        """Return the temperature."""
        return "21"

    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k")
    model = agents.OpenAIResponsesModel(model="gpt-4o-mini", openai_client=client)
    agent = agents.Agent(name="weather", model=model, tools=[temperature])
    result = asyncio.run(agents.Runner.run(agent, "How warm is it in Bonn?"))
    assert "21" in result.final_output
    lines = tree(recorded)
    assert len(calls(recorded)) == len(server.requests) == 2, lines
    assert any("invoke_agent weather agent ok" in line for line in lines), lines
    assert any("execute_tool temperature tool ok" in line for line in lines), lines
    assert [c.attributes["gen_ai.usage.input_tokens"] for c in calls(recorded)] == [5, 5]
    assert sum(not line.startswith(" ") for line in lines) == 1, lines


def test_pydantic_ai(server: ModelServer, recorded: Recorded) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    pytest.importorskip("opentelemetry.sdk")
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{server.url}/v1", api_key="k")
    agent = pydantic_ai.Agent(OpenAIChatModel("gpt-4o-mini", provider=provider), name="weather")

    @agent.tool_plain
    def temperature(city: str) -> str:
        """Return the temperature."""
        with lumina.trace("thermometer"):
            return "21"

    assert "21" in asyncio.run(agent.run("How warm is it in Bonn?")).output
    lines = tree(recorded)
    assert len(calls(recorded)) == len(server.requests) == 2, lines
    assert sum(not line.startswith(" ") for line in lines) == 1, lines
    assert any(line.strip().startswith("thermometer") for line in lines)
    first = calls(recorded)[0].attributes
    assert first["gen_ai.usage.input_tokens"] == 5
    assert first["gen_ai.response.finish_reasons"]


def test_llama_index(server: ModelServer, recorded: Recorded) -> None:
    pytest.importorskip("llama_index.llms.openai")
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAI

    model = OpenAI(model="gpt-4o-mini", api_base=f"{server.url}/v1", api_key="k")
    model.chat([ChatMessage(role="user", content="q")])
    (call,) = calls(recorded)
    assert call.state == "ok"
    assert call.attributes["gen_ai.usage.input_tokens"] == 5
    pieces = model.stream_chat([ChatMessage(role="user", content="q")])
    assert "".join(piece.delta or "" for piece in pieces) == "Hello!"
    assert [c.state for c in calls(recorded)] == ["ok", "ok"], tree(recorded)
    assert len(server.requests) == 2


def test_litellm(server: ModelServer, recorded: Recorded) -> None:
    """Litellm over openai over HTTP is one call."""
    litellm = pytest.importorskip("litellm")
    asked: dict[str, Any] = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "q"}],
                             "api_base": f"{server.url}/v1", "api_key": "k"}  # fmt: skip
    litellm.completion(**asked)
    assert (
        "".join(p.choices[0].delta.content or "" for p in litellm.completion(**asked, stream=True))
        == "Hello!"
    )
    asyncio.run(litellm.acompletion(**asked))
    assert tree(recorded) == ["chat gpt-4o-mini llm ok"] * 3
    assert calls(recorded)[0].attributes["gen_ai.usage.input_tokens"] == 5
    assert "k" not in str([c.attributes for c in calls(recorded)]).split("'")
