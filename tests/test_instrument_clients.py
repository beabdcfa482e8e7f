"""Client libraries, hooked: one span a call, whatever way the call is made, and none when taken out."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from support.model_server import ModelServer, model_server
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
    lumina.instrument("openai", "anthropic", "google-genai", "httpx", "httpx2", "requests")
    yield
    lumina.uninstrument()
    gc.collect()


def shown(recorded: Recorded) -> list[str]:
    recorded.poll()
    return [
        "  " * depth + f"{node.name} {node.kind} {node.state}"
        for trace in recorded.subscription.traces.values()
        for depth, node in trace.walk()
    ]


def text(recorded: Recorded) -> str:
    said = recorded.spans()[0].attributes["gen_ai.output.messages"]
    return said[0]["parts"][0]["content"]


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
    assert shown(recorded) == [CHAT]
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
    assert shown(recorded) == [CHAT]


def test_openai_others(server: ModelServer, recorded: Recorded) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        client.responses.create(model="gpt-4o-mini", input="q")
        client.embeddings.create(model="text-embedding-3-small", input="q")
    assert shown(recorded) == [CHAT, "embeddings text-embedding-3-small embedding ok"]
    assert [s.attributes["gen_ai.usage.input_tokens"] for s in recorded.spans()] == [5, 3]


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
    assert shown(recorded) == [
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


def test_google(server: ModelServer, recorded: Recorded) -> None:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key="k", http_options={"base_url": server.url})
    client.models.generate_content(model="gemini-2.5-flash", contents="q")
    client.close()
    assert shown(recorded) == ["chat gemini-2.5-flash llm ok"]
    assert recorded.spans()[0].attributes["gen_ai.usage.input_tokens"] == 5
    assert text(recorded) == "hi"


@pytest.mark.parametrize("library", ["httpx", "httpx2", "requests"])
def test_plain_http(server: ModelServer, recorded: Recorded, library: str) -> None:
    """A plain request is a span without query or credentials; the trace goes on in its headers."""
    module = pytest.importorskip(library)
    client: Any = module.Session() if library == "requests" else module.Client()
    with client, lumina.trace("mine") as mine:
        client.post(f"{server.url.replace('//', '//user:secret@')}/x?token=1", json={})
        client.get(f"{server.url}/missing")
        traceparent = server.requests[0][2]["traceparent"]
        assert traceparent.split("-")[1] == mine.trace_id
    where = server.url.removeprefix("http://")
    assert shown(recorded) == [
        "mine None ok",
        f"  POST {where} http ok",
        f"  GET {where} http error",
    ]
    assert recorded.spans()[1].attributes["url.full"] == f"{server.url}/x"
    assert "secret" not in str([span.attributes for span in recorded.spans()])


def test_plain_http_async(server: ModelServer, recorded: Recorded) -> None:
    httpx = pytest.importorskip("httpx")

    async def main() -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"{server.url}/x", json={})

    asyncio.run(main())
    assert [span.kind for span in recorded.spans()] == ["http"]


def test_taken_out(server: ModelServer, recorded: Recorded) -> None:
    """Nothing is recorded any more, and the classes are as they were; bound methods held before, too."""
    openai = pytest.importorskip("openai")
    from openai.resources.chat.completions.completions import Completions

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        held = client.chat.completions.create
        hooked = Completions.create
        lumina.uninstrument("openai", "httpx", "httpx2")
        assert Completions.create is not hooked
        assert Completions.create is hooked.__wrapped__
        held(**ASKED)
        client.chat.completions.create(**ASKED)
    assert shown(recorded) == []
