"""Talk about secrets: through the clients, langchain, or agents, as the argument says."""

import asyncio
import contextlib
import os
import sys

SECRET = "the-secret-words"
URL = os.environ["MODEL_URL"]
REFUSED = f"please refuse {SECRET}"


def clients() -> None:
    """OpenAI's and Anthropic's, which traces itself with OpenTelemetry where that is set up."""
    import anthropic
    import openai
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())

    asked = [{"role": "system", "content": SECRET}, {"role": "user", "content": SECRET * 2000}]
    function = {"name": "temperature", "description": SECRET, "parameters": {"type": "object"}}
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="k", max_retries=0) as client:
        chat = client.chat.completions
        tools = [{"type": "function", "function": function}]
        chat.create(model="gpt-4o-mini", messages=asked, tools=tools)
        list(chat.create(model="gpt-4o-mini", messages=asked, stream=True))
        with chat.stream(model="gpt-4o-mini", messages=asked) as events:
            list(events)
        client.responses.create(model="gpt-4o-mini", input=SECRET)
        with client.responses.stream(model="gpt-4o-mini", input=SECRET) as events:
            events.until_done()
        client.embeddings.create(model="text-embedding-3-small", input=SECRET)
        with contextlib.suppress(openai.BadRequestError):
            client.responses.create(model="gpt-4o-mini", input=REFUSED)
    said = [{"role": "user", "content": SECRET}]
    tool = {"name": "temperature", "description": SECRET, "input_schema": {"type": "object"}}
    with anthropic.Anthropic(base_url=URL, api_key="k", max_retries=0) as client:
        about = {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": said}
        client.messages.create(**about, system=SECRET, tools=[tool])
        with client.messages.stream(**about) as stream:
            stream.until_done()
        refused = [{"role": "user", "content": REFUSED}]
        with contextlib.suppress(anthropic.BadRequestError):
            client.messages.create(**{**about, "messages": refused})


def langchain() -> None:
    """An agent with a tool, a tool and a chain that fail, a retriever, a stream."""
    import openai
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.prebuilt import create_react_agent

    @tool
    def temperature(city: str) -> str:
        """Return the temperature."""
        return SECRET

    @tool
    def broken(city: str) -> str:
        """Fail."""
        raise ValueError(f"{SECRET} {city}")

    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
            return [Document(page_content=SECRET)]

    def fail(question: str) -> None:
        raise ValueError(f"{SECRET} {question}")

    model = ChatOpenAI(model="gpt-4o-mini", base_url=f"{URL}/v1", api_key="k", max_retries=0)
    create_react_agent(model, [temperature]).invoke({"messages": [("user", SECRET)]})
    list(model.stream(SECRET))
    Shelf().invoke(SECRET)
    with contextlib.suppress(ValueError):
        broken.invoke({"city": SECRET})
    with contextlib.suppress(ValueError):
        RunnableLambda(fail).invoke(SECRET)
    with contextlib.suppress(openai.BadRequestError):
        model.invoke(REFUSED)


def agents() -> None:
    """Those of openai-agents and of pydantic-ai."""
    import agents
    import openai
    from pydantic_ai import Agent
    from pydantic_ai.exceptions import ModelHTTPError
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    def temperature(city: str) -> str:
        """Return the temperature."""
        return SECRET

    client = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="k", max_retries=0)
    model = agents.OpenAIResponsesModel(model="gpt-4o-mini", openai_client=client)
    tools = [agents.function_tool(temperature)]
    one = agents.Agent(name="weather", instructions=SECRET, model=model, tools=tools)
    chat = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client))
    other = Agent(chat, name="weather", instructions=SECRET, tools=[temperature])

    async def main() -> None:
        await agents.Runner.run(one, SECRET)
        with contextlib.suppress(openai.BadRequestError):
            await agents.Runner.run(one, REFUSED)
        await other.run(SECRET)
        with contextlib.suppress(ModelHTTPError):
            await other.run(REFUSED)

    asyncio.run(main())


{"clients": clients, "langchain": langchain, "agents": agents}[sys.argv[1]]()
print("done")
