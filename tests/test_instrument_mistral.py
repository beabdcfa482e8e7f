"""Mistral's client: one span a call, its own where it traces itself and we see it, else ours."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from support.model_server import INPUT, OUTPUT, ModelServer, model_answer, model_server
from support.recorded import Recorded

import lumina_stream as lumina

ASKED: Any = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "q"}]}
CHAT = "chat mistral-small-latest llm ok"
TRACED = ("alone", "bridge", "global provider", "its own")
"""By us alone; with the bridge on; with a provider that it does not use; told to trace itself."""


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(params=TRACED)
def traced(request: pytest.FixtureRequest, recorded: Recorded) -> Iterator[str]:
    pytest.importorskip("mistralai.client")
    lumina.instrument("mistralai", "httpx2", "httpx")
    if request.param != "alone":
        pytest.importorskip("opentelemetry.sdk.trace")
        lumina.instrument("opentelemetry")
    yield request.param
    lumina.uninstrument()
    gc.collect()


@pytest.fixture
def provider(traced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a global provider, where the case has one."""
    if traced == "global provider":
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider

        monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())


def client_of(url: str, traced: str, **options: Any) -> Any:
    from mistralai.client import Mistral

    client = Mistral(server_url=url, api_key="none", **options)
    if traced == "its own":
        from mistralai.extra.observability import set_tracer_provider
        from opentelemetry.sdk.trace import TracerProvider

        set_tracer_provider(client, TracerProvider(shutdown_on_exit=False))
    return client


def check(recorded: Recorded, traced: str, *texts: str) -> None:
    """Each call once, with request, answer and tokens, on the right span."""
    assert recorded.lines() == [CHAT] * len(texts)
    for span, text in zip(recorded.spans(), texts, strict=True):
        said = span.attributes
        assert said["gen_ai.output.messages"][0]["parts"][0]["content"] == text
        assert said["gen_ai.input.messages"][0]["parts"][0]["content"] == "q"
        assert said["gen_ai.provider.name"] == "mistral_ai"
        assert said["gen_ai.usage.input_tokens"] == INPUT
        assert said["gen_ai.usage.output_tokens"] == OUTPUT
        assert (said.get("otel.scope.name") == "mistralai_sdk_tracer") == (traced == "its own")
        assert not span.flags()


@pytest.mark.usefixtures("provider")
def test_chat(server: ModelServer, recorded: Recorded, traced: str) -> None:
    with client_of(server.url, traced) as client:
        client.chat.complete(**ASKED)
        with client.chat.stream(**ASKED) as events:
            assert len(list(events)) == 4
    check(recorded, traced, "It is 21 degrees.", "Hello!")
    assert recorded.streamed() == "Hello!"
    assert "gen_ai.response.time_to_first_chunk" in recorded.spans()[1].attributes


@pytest.mark.usefixtures("provider")
def test_chat_async(server: ModelServer, recorded: Recorded, traced: str) -> None:
    async def main() -> None:
        async with client_of(server.url, traced) as client:
            await client.chat.complete_async(**ASKED)
            async with await client.chat.stream_async(**ASKED) as events:
                assert len([event async for event in events]) == 4

    asyncio.run(main())
    check(recorded, traced, "It is 21 degrees.", "Hello!")


def test_it_is_a_call_from_its_start(server: ModelServer, recorded: Recorded, traced: str) -> None:
    """Kind and model are in the very first event: the library itself says them only later."""
    with client_of(server.url, traced) as client:
        client.chat.complete(**ASKED)
    started: Any = recorded.poll()[0]
    assert started.kind == "llm"
    assert started.attributes["gen_ai.request.model"] == "mistral-small-latest"


def test_embeddings(server: ModelServer, recorded: Recorded, traced: str) -> None:
    with client_of(server.url, traced) as client:
        client.embeddings.create(model="mistral-embed", inputs="q")
    assert recorded.lines() == ["embeddings mistral-embed embedding ok"]
    assert recorded.spans()[0].attributes["gen_ai.usage.input_tokens"] == 3


def test_a_block_of_the_programs_own(server: ModelServer, recorded: Recorded, traced: str) -> None:
    """The call is the block's span; what the library says of it by itself would be the same call again."""
    with client_of(server.url, traced) as client, lumina.trace_llm("synthesis") as call:
        call.record(client.chat.complete(**ASKED))
    assert recorded.lines() == ["synthesis llm ok"]
    assert recorded.one("synthesis").attributes["gen_ai.usage.input_tokens"] == INPUT


def test_nobody_there(recorded: Recorded, traced: str) -> None:
    httpx = pytest.importorskip("httpx2")
    with client_of("http://127.0.0.1:1", traced) as client, pytest.raises(httpx.ConnectError):
        client.chat.complete(**ASKED)
    assert recorded.lines() == ["chat mistral-small-latest llm error"]


def test_a_call_that_is_never_sent(server: ModelServer, recorded: Recorded, traced: str) -> None:
    """It fails before the library would begin a span, and is seen all the same."""
    with client_of(server.url, traced) as client, pytest.raises(ValueError, match="model"):
        client.chat.complete(model=object(), messages=ASKED["messages"])
    assert recorded.lines() == ["chat llm error"]
    assert server.requests == []


def test_tries(recorded: Recorded, traced: str) -> None:
    """Its own spans are one a try: the last has the answer. Ours is the call, with all of them."""
    httpx = pytest.importorskip("httpx2")
    from mistralai.client.utils.retries import BackoffStrategy, RetryConfig

    answers = iter([httpx.Response(503), httpx.Response(200, json=model_answer(ASKED))])
    transport = httpx.MockTransport(lambda request: next(answers))
    retries = RetryConfig("backoff", BackoffStrategy(1, 1, 1.0, 10_000), False)
    with (
        httpx.Client(transport=transport) as connection,
        client_of("http://model", traced, client=connection, retry_config=retries) as client,
    ):
        client.chat.complete(**ASKED)
    answered = [s for s in recorded.spans() if "gen_ai.usage.input_tokens" in s.attributes]
    assert len(answered) == 1
    assert answered[0].state == "ok"
    assert len(recorded.spans()) == (2 if traced == "its own" else 1)
