"""Agents and chains of other libraries, unchanged: their trees, and each call of a model once."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from support.model_server import INPUT, ModelServer, model_server
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
    gc.collect()  # clients that nobody closes: here their warnings are not of the next test


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
    lines = recorded.lines()
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
    assert recorded.streamed() == "one two"


def test_langchain_over_plain_http(server: ModelServer, recorded: Recorded) -> None:
    """The requests of a model whose client has no hook are its call; a tool's are requests."""
    pytest.importorskip("langchain_core")
    import httpx
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool

    class Model(GenericFakeChatModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            httpx.get(f"{server.url}/model")
            return super()._generate(*args, **kwargs)

    @tool
    def look_up(city: str) -> str:
        """Look it up."""
        return httpx.get(f"{server.url}/city").text

    Model(messages=iter([AIMessage(content="one")])).invoke("q")
    look_up.invoke({"city": "Bonn"})
    lines = [line.replace(server.url.removeprefix("http://"), "HOST") for line in recorded.lines()]
    assert lines == ["chat llm ok", "execute_tool look_up tool ok", "  GET HOST http ok"]
    assert [path for path, _, _ in server.requests] == ["/model", "/city"]


def test_what_langsmith_sends_is_not_of_the_program(
    server: ModelServer, recorded: Recorded
) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tracers.langchain import LangChainTracer
    from langsmith import Client

    client = Client(api_url=server.url, api_key="k", info={})
    tracer = LangChainTracer(client=client)
    RunnableLambda(lambda q: q).with_config(run_name="mine").invoke("q", {"callbacks": [tracer]})
    tracer.wait_for_futures()
    client.flush()
    client.close()
    assert server.requests
    assert recorded.lines() == ["mine task ok"]


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
    assert recorded.lines() == [
        "mine None ok",
        "  chat gpt-4o-mini llm ok",
        "  after None ok",
    ]
    assert recorded.streamed() == "Hello!"


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
    lines = recorded.lines()
    assert len(calls(recorded)) == len(server.requests) == 2, lines
    assert sum(not line.startswith(" ") for line in lines) == 1, lines
    assert any(line.strip().startswith("thermometer") for line in lines)
    first = calls(recorded)[0].attributes
    assert first["gen_ai.usage.input_tokens"] == 5
    assert first["gen_ai.response.finish_reasons"]


def test_pydantic_ai_over_a_client_that_traces_itself(
    server: ModelServer, recorded: Recorded
) -> None:
    """The framework's span has the call; the client's own span of it would be the same call again."""
    pydantic_ai = pytest.importorskip("pydantic_ai")
    pytest.importorskip("anthropic")
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    provider = AnthropicProvider(base_url=server.url, api_key="k")
    agent = pydantic_ai.Agent(
        AnthropicModel("claude-sonnet-4-5", provider=provider), name="weather"
    )
    agent.run_sync("q")
    assert recorded.lines() == ["invoke_agent weather agent ok", "  chat claude-sonnet-4-5 llm ok"]
    (call,) = calls(recorded)
    assert call.attributes["gen_ai.usage.input_tokens"] == INPUT
    assert recorded.streamed() == "Hello!"  # which is how it asks when no timeout would fit


def test_pydantic_ai_streamed(server: ModelServer, recorded: Recorded) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{server.url}/v1", api_key="k")
    agent = pydantic_ai.Agent(OpenAIChatModel("gpt-4o-mini", provider=provider), name="weather")

    async def main() -> None:
        async with agent.run_stream("q") as run:
            assert [text async for text in run.stream_text()][-1] == "Hello!"

    asyncio.run(main())
    assert recorded.lines() == ["invoke_agent weather agent ok", "  chat gpt-4o-mini llm ok"]
    assert recorded.streamed() == "Hello!"
    assert calls(recorded)[0].attributes["gen_ai.usage.input_tokens"] == INPUT


def llama_index_model(server: ModelServer) -> Any:
    """Return a model of llama-index's over OpenAI's client: those it ships do not work with these clients."""
    import openai
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
    from llama_index.core.llms.callbacks import llm_completion_callback

    asked: Any = {"model": "gpt-4o-mini", "stream_options": {"include_usage": True}}
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="k")

    class Model(CustomLLM):
        model: str = "gpt-4o-mini"

        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata(model_name=self.model)

        @llm_completion_callback()
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            messages: Any = [{"role": "user", "content": prompt}]
            answer = client.chat.completions.create(model=self.model, messages=messages)
            return CompletionResponse(text=answer.choices[0].message.content)

        @llm_completion_callback()
        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            messages: Any = [{"role": "user", "content": prompt}]
            said = ""
            for piece in client.chat.completions.create(messages=messages, stream=True, **asked):
                delta = (piece.choices[0].delta.content or "") if piece.choices else ""
                said += delta
                yield CompletionResponse(text=said, delta=delta)

    return Model()


def test_llama_index_query(server: ModelServer, recorded: Recorded) -> None:
    """Retrieval, embeddings, synthesis and the model's call hang below the query, each once."""
    core = pytest.importorskip("llama_index.core")
    embedding = core.MockEmbedding(embed_dim=2)
    documents = [core.Document(text="It is 21 degrees in Bonn.")]
    index = core.VectorStoreIndex.from_documents(documents, embed_model=embedding)
    recorded.poll()
    before = len(recorded.spans())
    engine = index.as_query_engine(llm=llama_index_model(server))
    assert "21" in str(engine.query("How warm is it in Bonn?"))
    (query,) = (s for s in recorded.spans() if s.name == "RetrieverQueryEngine.query")
    below = [span for span in recorded.spans()[before:] if span is not query]
    for span in below:
        top = span
        while top.parent is not None:
            top = top.parent
        assert top is query, recorded.lines()
    kinds = {span.name: span.kind for span in below}
    assert kinds["VectorIndexRetriever.retrieve"] == "retrieval"
    assert kinds["MockEmbedding.get_query_embedding"] == "embedding"
    (call,) = calls(recorded)
    assert call.attributes["gen_ai.usage.input_tokens"] == INPUT
    assert len(server.requests) == 1


def test_llama_index_streamed(server: ModelServer, recorded: Recorded) -> None:
    """The generator is consumed after the framework said that it was over: the call lasts as long as it."""
    pytest.importorskip("llama_index.core")
    pieces = llama_index_model(server).stream_complete("q")
    assert "".join(piece.delta for piece in pieces) == "Hello!"
    (call,) = calls(recorded)
    assert (call.name, call.state) == ("chat gpt-4o-mini", "ok")
    assert recorded.streamed() == "Hello!"
    assert call.attributes["gen_ai.usage.input_tokens"] == INPUT
    assert len(server.requests) == 1


def test_llama_index_error(recorded: Recorded) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.tools import FunctionTool

    def broken() -> str:
        raise ValueError("no battery")

    tool = FunctionTool.from_defaults(fn=broken)
    with pytest.raises(ValueError, match="no battery"):
        tool.call()
    (span,) = recorded.spans()
    assert (span.kind, span.state) == ("tool", "error")


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
    assert recorded.lines() == ["chat gpt-4o-mini llm ok"] * 3
    assert calls(recorded)[0].attributes["gen_ai.usage.input_tokens"] == 5
    assert "k" not in str([c.attributes for c in calls(recorded)]).split("'")


def test_litellm_async_and_embeddings(server: ModelServer, recorded: Recorded) -> None:
    litellm = pytest.importorskip("litellm")
    where: dict[str, Any] = {"api_base": f"{server.url}/v1", "api_key": "k"}
    messages = [{"role": "user", "content": "q"}]

    async def main() -> None:
        pieces = await litellm.acompletion(
            "openai/gpt-4o-mini", messages, stream=True,
            stream_options={"include_usage": True}, **where,
        )  # fmt: skip
        text = [piece.choices[0].delta.content or "" async for piece in pieces if piece.choices]
        assert "".join(text) == "Hello!"
        await litellm.aembedding("openai/text-embedding-3-small", input=["q"], **where)

    litellm.embedding("openai/text-embedding-3-small", ["q"], **where)
    asyncio.run(main())
    embedding = "embeddings text-embedding-3-small embedding ok"
    assert recorded.lines() == [embedding, "chat gpt-4o-mini llm ok", embedding]
    assert recorded.streamed() == "Hello!"
    usage = [span.attributes["gen_ai.usage.input_tokens"] for span in recorded.spans()]
    assert usage == [3, INPUT, 3]


def test_litellm_router(server: ModelServer, recorded: Recorded) -> None:
    """It calls by other names of the same functions."""
    litellm = pytest.importorskip("litellm")
    where = {"model": "openai/gpt-4o-mini", "api_base": f"{server.url}/v1", "api_key": "k"}
    router = litellm.Router(model_list=[{"model_name": "weather", "litellm_params": where}])
    router.completion("weather", [{"role": "user", "content": "q"}])
    assert [span.name for span in calls(recorded)] == ["chat gpt-4o-mini"]


def test_langchain_over_responses_and_embeddings(server: ModelServer, recorded: Recorded) -> None:
    pytest.importorskip("langchain_openai")
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    where: Any = {"base_url": f"{server.url}/v1", "api_key": "k"}
    model = ChatOpenAI(model="gpt-4o-mini", use_responses_api=True, **where)
    model.invoke("q")
    assert "".join(piece.text for piece in model.stream("q")) == "Hello!"
    vectors = OpenAIEmbeddings(
        model="text-embedding-3-small", check_embedding_ctx_length=False, **where
    )
    vectors.embed_query("q")
    assert recorded.lines() == [
        "chat gpt-4o-mini llm ok", "chat gpt-4o-mini llm ok",
        "embeddings text-embedding-3-small embedding ok",
    ]  # fmt: skip
    assert recorded.streamed() == "Hello!"
    usage = [span.attributes["gen_ai.usage.input_tokens"] for span in recorded.spans()]
    assert usage == [INPUT, INPUT, 3]


def test_langchain_retriever_and_hidden_runs(recorded: Recorded) -> None:
    """A retriever has its kind and its question; what langchain hides is not shown, what is inside it is."""
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableLambda

    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return [Document(page_content="21 degrees")]

    hidden = RunnableLambda(lambda q: Shelf().invoke(q)).with_config(tags=["langsmith:hidden"])
    with lumina.trace("mine"):
        hidden.invoke("How warm?")
    assert recorded.lines() == ["mine None ok", "  Shelf retrieval ok"]
    assert recorded.one("Shelf").attributes == {
        "gen_ai.retrieval.query.text": "How warm?",
        "lumina.retrieval.documents": 1,
    }
