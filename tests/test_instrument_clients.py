"""Client libraries, hooked: one span a call, whatever way the call is made, and none when taken out."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from support.model_server import (
    INPUT,
    OUTPUT,
    ModelServer,
    claude_answer,
    model_answer,
    model_server,
)
from support.recorded import Recorded

import lumina_stream as lumina

ASKED: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "q"}]}
CLAUDE: Any = {
    "model": "claude-future-1",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "q"}],
}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(autouse=True)
def instrumented(recorded: Recorded) -> Iterator[None]:
    lumina.instrument("openai", "anthropic", "google-genai", "httpx", "httpx2")
    yield
    lumina.uninstrument()
    gc.collect()


def text(recorded: Recorded, place: int = 0) -> str:
    said = recorded.spans()[place].attributes["gen_ai.output.messages"]
    return said[0]["parts"][0]["content"]


def usage(recorded: Recorded) -> None:
    """Check the tokens of the calls, and that what streams says when it began to."""
    for span in recorded.spans():
        assert span.attributes["gen_ai.usage.input_tokens"] == INPUT
        assert span.attributes["gen_ai.usage.output_tokens"] == OUTPUT
        assert ("gen_ai.response.time_to_first_chunk" in span.attributes) == bool(
            span.text("output")
        )


CHAT = "chat gpt-4o-mini llm ok"


@pytest.mark.parametrize(
    "way", ["create", "parse", "raw", "streaming_response", "stream", "raw_stream", "helper"]
)
def test_openai_chat(server: ModelServer, recorded: Recorded, way: str) -> None:
    """Each way of asking is one span with request and answer, and no HTTP span below it."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        chat = client.chat.completions
        match way:
            case "create":
                chat.create(**ASKED)
            case "parse":
                chat.parse(**ASKED)
            case "raw":
                assert chat.with_raw_response.create(**ASKED).parse().choices
            case "streaming_response":
                with chat.with_streaming_response.create(**ASKED) as raw:
                    assert raw.parse().choices
            case "stream":
                stream = chat.create(**ASKED, stream=True)
                assert isinstance(stream, openai.Stream)
                assert len(list(stream)) == 4
            case "raw_stream":
                assert len(list(chat.with_raw_response.create(**ASKED, stream=True).parse())) == 4
            case _:
                with chat.stream(**ASKED) as events:
                    assert any(event.type == "content.done" for event in events)
                    assert events.get_final_completion().choices[0].message.content == "Hello!"
    assert recorded.lines() == [CHAT]
    span = recorded.spans()[0]
    assert text(recorded) == (
        "Hello!" if way in ("stream", "raw_stream", "helper") else "It is 21 degrees."
    )
    assert span.attributes["gen_ai.input.messages"][0]["parts"][0]["content"] == "q"
    assert span.attributes["gen_ai.provider.name"] == "openai"
    if way in ("create", "parse", "raw", "streaming_response"):
        assert span.attributes["gen_ai.usage.input_tokens"] == 5


@pytest.mark.parametrize("way", ["create", "stream", "helper", "raw"])
def test_openai_chat_async(server: ModelServer, recorded: Recorded, way: str) -> None:
    openai = pytest.importorskip("openai")

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
            chat = client.chat.completions
            if way == "create":
                await chat.create(**ASKED)
            elif way == "raw":
                assert (await chat.with_raw_response.create(**ASKED)).parse().choices
            elif way == "stream":
                assert len([c async for c in await chat.create(**ASKED, stream=True)]) == 4
            else:
                async with chat.stream(**ASKED) as events:
                    assert [event async for event in events]

    asyncio.run(main())
    assert recorded.lines() == [CHAT]


RESPONSE: Any = {"model": "gpt-4o-mini", "input": "q"}


@pytest.mark.parametrize("way", ["create", "parse", "raw", "stream", "helper", "unused helper"])
def test_openai_responses(server: ModelServer, recorded: Recorded, way: str) -> None:
    """As with chat; a helper whose stream is not asked for makes no call."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        responses = client.responses
        match way:
            case "create":
                responses.create(**RESPONSE)
            case "parse":
                responses.parse(**RESPONSE)
            case "raw":
                assert responses.with_raw_response.create(**RESPONSE).parse().output_text
            case "stream":
                assert list(responses.create(**RESPONSE, stream=True))[-1].type == (
                    "response.completed"
                )
            case "helper":
                with responses.stream(**RESPONSE) as events:
                    assert any(event.type == "response.output_text.delta" for event in events)
                    assert events.get_final_response().output_text == "Hello!"
            case _:
                responses.stream(**RESPONSE)
                assert recorded.lines() == []
                return
    assert recorded.lines() == [CHAT]
    assert text(recorded) == ("Hello!" if way in ("stream", "helper") else "It is 21 degrees.")
    assert recorded.streamed() == ("Hello!" if way in ("stream", "helper") else "")
    usage(recorded)


@pytest.mark.parametrize("way", ["create", "stream", "helper"])
def test_openai_responses_async(server: ModelServer, recorded: Recorded, way: str) -> None:
    openai = pytest.importorskip("openai")

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
            if way == "create":
                await client.responses.create(**RESPONSE)
            elif way == "stream":
                assert [e async for e in await client.responses.create(**RESPONSE, stream=True)]
            else:
                async with client.responses.stream(**RESPONSE) as events:
                    await events.until_done()
                    assert (await events.get_final_response()).output_text == "Hello!"

    asyncio.run(main())
    assert recorded.lines() == [CHAT]
    assert text(recorded) == ("It is 21 degrees." if way == "create" else "Hello!")
    usage(recorded)


def test_openai_embeddings(server: ModelServer, recorded: Recorded) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        client.embeddings.create(model="text-embedding-3-small", input="q")
    assert recorded.lines() == ["embeddings text-embedding-3-small embedding ok"]
    assert recorded.spans()[0].attributes["gen_ai.usage.input_tokens"] == 3


def test_whom_a_client_calls(recorded: Recorded) -> None:
    """The client's address tells a provider from its likes, also where the program made the span."""
    openai = pytest.importorskip("openai")
    httpx = pytest.importorskip("httpx2" if openai.__version__ >= "3" else "httpx")
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json=model_answer({**ASKED, "model": "gpt-4o-mini"}))
    )
    client = openai.OpenAI(
        base_url="https://api.groq.com/v1",
        api_key="k",
        http_client=httpx.Client(transport=transport),
    )
    with client:
        client.chat.completions.create(**ASKED)
        with lumina.trace_llm("mine"):
            client.chat.completions.create(**ASKED)
        with lumina.trace_llm("said", provider="house"):
            client.chat.completions.create(**ASKED)
    providers = [span.attributes["gen_ai.provider.name"] for span in recorded.spans()]
    assert providers == ["groq", "groq", "house"]


def test_an_error_is_the_programs(server: ModelServer, recorded: Recorded) -> None:
    """What a client raises comes through, and ends the span."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="k", max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(**ASKED)
        with pytest.raises(TypeError, match="messages"):
            client.chat.completions.create(model="x")
    assert [span.state for span in recorded.spans()] == ["error", "error"]


def test_a_block_of_the_programs_own_is_the_calls_span(
    server: ModelServer, recorded: Recorded
) -> None:
    """The first call inside `trace_llm` goes into that span, recorded by the program or not; a second has its own."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        with lumina.trace_llm("synthesis") as call:
            call.record(client.chat.completions.create(**ASKED))
        with lumina.trace_llm("unrecorded"):
            client.chat.completions.create(**ASKED)
            client.chat.completions.create(**ASKED)
        with (
            lumina.trace_llm("helper") as call,
            call.record(client.chat.completions.stream(**ASKED)) as events,
        ):
            list(events)
        lumina.trace_llm("inline")(client.chat.completions.create)(**ASKED)
    assert recorded.lines() == [
        "synthesis llm ok", "unrecorded llm ok", f"  {CHAT}", "helper llm ok", "inline llm ok",
    ]  # fmt: skip
    assert all("gen_ai.output.messages" in span.attributes for span in recorded.spans())


@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize("way", ["create", "stream", "helper"])
def test_anthropic(server: ModelServer, recorded: Recorded, way: str, bridged: bool) -> None:
    """It traces itself: where the bridge sees that span it is the one, with what it lacks."""
    anthropic = pytest.importorskip("anthropic")
    if bridged:
        pytest.importorskip("opentelemetry.sdk.trace")
        lumina.instrument("opentelemetry")
    with anthropic.Anthropic(base_url=server.url, api_key="k") as client:
        if way == "create":
            client.messages.create(**CLAUDE)
        elif way == "stream":
            assert list(client.messages.create(**CLAUDE, stream=True))
        else:
            with client.messages.stream(**CLAUDE) as stream:
                assert "".join(stream.text_stream) == "Hello!"
                assert stream.get_final_message().usage.output_tokens == 2
    (span,) = recorded.spans()
    assert (span.kind, span.state) == ("llm", "ok")
    assert text(recorded) == ("It is 21 degrees." if way == "create" else "Hello!")
    assert span.attributes["gen_ai.usage.input_tokens"] == 5
    assert span.attributes["gen_ai.usage.output_tokens"] == 2
    if hasattr(anthropic, "_tracing"):
        assert span.name == ("anthropic.messages.create" if bridged else "chat claude-future-1")


@pytest.mark.parametrize("bridged", [False, True])
def test_anthropic_async(server: ModelServer, recorded: Recorded, bridged: bool) -> None:
    anthropic = pytest.importorskip("anthropic")
    if bridged:
        pytest.importorskip("opentelemetry.sdk.trace")
        lumina.instrument("opentelemetry")

    async def main() -> None:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k") as client:
            await client.messages.create(**CLAUDE)
            async with client.messages.stream(**CLAUDE) as stream:
                assert "".join([piece async for piece in stream.text_stream]) == "Hello!"

    asyncio.run(main())
    assert [(s.kind, s.state, s.attributes["gen_ai.usage.input_tokens"]) for s in recorded.spans()] == [
        ("llm", "ok", 5), ("llm", "ok", 5),
    ]  # fmt: skip


@pytest.mark.parametrize("bridged", [False, True])
def test_anthropic_in_a_block_of_the_programs_own(
    server: ModelServer, recorded: Recorded, bridged: bool
) -> None:
    """The block has the call; the client's own span of it would be the same call again."""
    anthropic = pytest.importorskip("anthropic")
    if bridged:
        pytest.importorskip("opentelemetry.sdk.trace")
        lumina.instrument("opentelemetry")
    with (
        anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as client,
        lumina.trace_llm("synthesis"),
    ):
        with pytest.raises(anthropic.BadRequestError):  # a try that fails leaves room for the next
            client.messages.create(**CLAUDE, metadata={"user_id": "refuse"})
        client.messages.create(**CLAUDE)
    assert recorded.lines() == ["synthesis llm ok"]
    usage(recorded)


@pytest.mark.parametrize("bridged", [False, True])
def test_what_runs_inside_such_a_call(recorded: Recorded, bridged: bool) -> None:
    """It hangs below the block: the client's own span around it is not shown."""
    anthropic = pytest.importorskip("anthropic")
    httpx = pytest.importorskip("httpx2")
    if bridged:
        pytest.importorskip("opentelemetry.sdk.trace")
        lumina.instrument("opentelemetry")

    def answer(request: Any) -> Any:
        with lumina.trace("inside"):
            return httpx.Response(200, json=claude_answer(CLAUDE))

    connection = httpx.Client(transport=httpx.MockTransport(answer))
    with (
        anthropic.Anthropic(http_client=connection, api_key="k") as client,
        lumina.trace_llm("synthesis"),
    ):
        client.messages.create(**CLAUDE)
        with lumina.trace("after"):
            pass
    assert recorded.lines() == ["synthesis llm ok", "  inside None ok", "  after None ok"]


@pytest.mark.parametrize("bridged", [False, True])
def test_anthropic_fails(server: ModelServer, recorded: Recorded, bridged: bool) -> None:
    """Whether the client, the network or the provider says no: one span, which says so."""
    anthropic = pytest.importorskip("anthropic")
    if bridged:
        pytest.importorskip("opentelemetry.sdk.trace")
        lumina.instrument("opentelemetry")
    refused: Any = {**CLAUDE, "metadata": {"user_id": "refuse"}}
    with anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(**refused)
        with pytest.raises(anthropic.BadRequestError), client.messages.stream(**refused):
            pass
        with pytest.raises(ValueError, match="Streaming is required"):
            client.messages.create(**{**CLAUDE, "max_tokens": 1_000_000})
    assert [(span.kind, span.state) for span in recorded.spans()] == [("llm", "error")] * 3


GEMINI = "chat gemini-2.5-flash llm ok"


def google_client(server: ModelServer) -> Any:
    genai = pytest.importorskip("google.genai")
    return genai.Client(api_key="k", http_options={"base_url": server.url})


def test_google(server: ModelServer, recorded: Recorded) -> None:
    with google_client(server) as client:
        client.models.generate_content(model="gemini-2.5-flash", contents="q")
        pieces = client.models.generate_content_stream(
            model="models/gemini-2.5-flash", contents="q"
        )
        assert "".join(piece.text for piece in pieces) == "Hello!"
        client.chats.create(model="gemini-2.5-flash").send_message("q")
    assert recorded.lines() == [GEMINI] * 3
    assert [text(recorded, place) for place in range(3)] == ["hi", "Hello!", "hi"]
    assert recorded.streamed() == "Hello!"
    usage(recorded)


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
def test_google_async(server: ModelServer, recorded: Recorded) -> None:
    async def main() -> None:
        async with google_client(server).aio as client:
            await client.models.generate_content(model="gemini-2.5-flash", contents="q")
            async for _ in await client.models.generate_content_stream(
                model="gemini-2.5-flash", contents="q"
            ):
                pass

    asyncio.run(main())
    assert recorded.lines() == [GEMINI] * 2
    assert [text(recorded, place) for place in range(2)] == ["hi", "Hello!"]
    assert recorded.streamed() == "Hello!"
    usage(recorded)


def test_google_embeddings(server: ModelServer, recorded: Recorded) -> None:
    """An answer without a count of tokens is over all the same, and so is an empty one."""
    with google_client(server) as client:
        client.models.embed_content(model="gemini-embedding-001", contents="q")
        client.models.embed_content(model="nothing", contents="q")
    assert recorded.lines() == [
        "embeddings gemini-embedding-001 embedding ok", "embeddings nothing embedding ok",
    ]  # fmt: skip


def test_google_automatic_function_calling(server: ModelServer, recorded: Recorded) -> None:
    """One call of the program is two of the model: each has its tokens, and what ran between is beside them."""

    def temperature(city: str) -> str:
        """Return the temperature."""
        with lumina.trace("thermometer"):
            return "21"

    with google_client(server) as client, lumina.trace("mine"):
        client.models.generate_content(
            model="gemini-2.5-flash", contents="q", config={"tools": [temperature]}
        )
    assert recorded.lines() == [
        "mine None ok",
        f"  {GEMINI}",
        "  thermometer None ok",
        f"  {GEMINI}",
    ]
