"""Recorded answers of the real client libraries, sync and async, by all the ways that they offer a stream.

The transport is in memory; the bytes are the providers' own framing. What each provider's answers mean
is tested in test_llm_recorded.py: here it is the client's own classes that must go on working.
"""

import asyncio
import functools
import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.recorded import Recorded

from lumina_stream.llm.call import trace_llm

httpx2 = pytest.importorskip("httpx2")
openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

MESSAGES: Any = [{"role": "user", "content": "say hello"}]
TEXTS = ("Hello", " ", "world")


def _chunk(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    names = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-x"}
    return {**names, "choices": choices, **more}


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
CHAT = [
    *(_chunk([{"index": 0, "delta": {"content": text}, "finish_reason": None}]) for text in TEXTS),
    _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    _chunk([], usage=USAGE),
]
WHOLE = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-x",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello world"},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}
ANTHROPIC: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": "claude-x",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        }
        for text in TEXTS
    ),
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
]


class Body(httpx2.SyncByteStream, httpx2.AsyncByteStream):  # type: ignore[misc, name-defined]
    """Server-sent events, one network read each."""

    def __init__(self, events: list[dict[str, Any]], ending: bytes) -> None:
        self.parts = [
            f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n".encode()
            for event in events
        ]
        self.parts.append(ending)

    def __iter__(self) -> Any:
        yield from self.parts

    async def __aiter__(self) -> Any:
        for part in self.parts:
            await asyncio.sleep(0)
            yield part


def handle(request: Any) -> Any:
    body = json.loads(request.content)
    if not body.get("stream"):
        return httpx2.Response(200, json=WHOLE)
    stream = Body(ANTHROPIC, b"") if "claude" in body["model"] else Body(CHAT, b"data: [DONE]\n\n")
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


async def handle_async(request: Any) -> Any:
    return handle(request)


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """Leave what there is already out of the collections that these tests ask for."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@functools.cache
def chat() -> Any:
    client = httpx2.Client(transport=httpx2.MockTransport(handle))
    return openai.OpenAI(api_key="x", http_client=client).chat.completions


@functools.cache
def achat() -> Any:
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle_async))
    return openai.AsyncOpenAI(api_key="x", http_client=client).chat.completions


@functools.cache
def messages() -> Any:
    client = httpx2.Client(transport=httpx2.MockTransport(handle))
    return anthropic.Anthropic(api_key="x", http_client=client).messages


@functools.cache
def amessages() -> Any:
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle_async))
    return anthropic.AsyncAnthropic(api_key="x", http_client=client).messages


GPT: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
CLAUDE: dict[str, Any] = {"model": "claude-x", "max_tokens": 9, "messages": MESSAGES}


def openai_iterated(call: Any) -> None:
    stream = chat().create(**GPT, stream=True)
    assert call.record(stream) is stream
    assert isinstance(stream, openai.Stream)
    assert stream.response.status_code == 200
    assert len(list(stream)) == 5


def openai_block(call: Any) -> None:
    with call.record(chat().create(**GPT, stream=True)) as stream:
        while next(stream, None) is not None:
            pass


def openai_helper(call: Any) -> None:
    with call.record(chat().stream(**GPT)) as stream:
        assert {event.type for event in stream} >= {"chunk", "content.delta", "content.done"}
        completion = stream.get_final_completion()
        assert completion.choices[0].message.content == "Hello world"


def openai_helper_s_stream(call: Any) -> None:
    with chat().stream(**GPT) as stream:
        assert call.record(stream) is stream
        stream.until_done()


def openai_raw(call: Any) -> None:
    response = call.record(chat().with_raw_response.create(**GPT, stream=True))
    assert response.headers["content-type"] == "text/event-stream"
    assert len(list(response.parse())) == 5


def openai_streaming_response(call: Any) -> None:
    with call.record(chat().with_streaming_response.create(**GPT, stream=True)) as response:
        assert len(list(response.parse())) == 5


def anthropic_iterated(call: Any) -> None:
    stream = messages().create(**CLAUDE, stream=True)
    assert call.record(stream) is stream
    assert isinstance(stream, anthropic.Stream)
    assert len(list(stream)) == len(ANTHROPIC)


def anthropic_text_stream(call: Any) -> None:
    with call.record(messages().stream(**CLAUDE)) as stream:
        assert isinstance(stream, anthropic.MessageStream)
        assert "".join(stream.text_stream) == "Hello world"
        assert stream.get_final_message().stop_reason == "end_turn"


def anthropic_final(call: Any) -> None:
    with call.record(messages().stream(**CLAUDE)) as stream:
        assert stream.get_final_text() == "Hello world"


async def openai_async(call: Any) -> None:
    stream = await achat().create(**GPT, stream=True)
    assert call.record(stream) is stream
    assert isinstance(stream, openai.AsyncStream)
    assert len([piece async for piece in stream]) == 5


async def openai_async_coroutine(call: Any) -> None:
    stream = await call.record(achat().create(**GPT, stream=True))
    async with stream:
        assert await anext(aiter(stream))
        assert len([piece async for piece in stream]) == 4


async def openai_async_helper(call: Any) -> None:
    async with call.record(achat().stream(**GPT)) as stream:
        completion = await stream.get_final_completion()
        assert completion.choices[0].message.content == "Hello world"


async def openai_async_streaming_response(call: Any) -> None:
    async with call.record(achat().with_streaming_response.create(**GPT, stream=True)) as response:
        assert len([piece async for piece in await response.parse()]) == 5


async def anthropic_async(call: Any) -> None:
    stream = await call.record(amessages().create(**CLAUDE, stream=True))
    assert len([piece async for piece in stream]) == len(ANTHROPIC)


async def anthropic_async_text_stream(call: Any) -> None:
    async with call.record(amessages().stream(**CLAUDE)) as stream:
        assert "".join([text async for text in stream.text_stream]) == "Hello world"
        assert (await stream.get_final_message()).stop_reason == "end_turn"


SYNC = [
    openai_iterated,
    openai_block,
    openai_helper,
    openai_helper_s_stream,
    openai_raw,
    openai_streaming_response,
    anthropic_iterated,
    anthropic_text_stream,
    anthropic_final,
]
ASYNC = [
    openai_async,
    openai_async_coroutine,
    openai_async_helper,
    openai_async_streaming_response,
    anthropic_async,
    anthropic_async_text_stream,
]


def check(recorded: Recorded) -> None:
    gc.collect()
    span = recorded.one("call")
    assert span.state == "ok"
    assert recorded.types().count("span_ended") == 1
    assert span.text("output") == "Hello world"
    attributes = span.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 5
    assert attributes["gen_ai.usage.output_tokens"] == 3
    assert attributes["gen_ai.response.finish_reasons"] in (["stop"], ["end_turn"])
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["lumina.stream.pieces"] >= 5


@pytest.mark.parametrize("program", SYNC, ids=lambda program: program.__name__)
def test_sync(recorded: Recorded, program: Callable[[Any], None]) -> None:
    with trace_llm("call") as call:
        program(call)
    check(recorded)


@pytest.mark.parametrize("program", ASYNC, ids=lambda program: program.__name__)
def test_async(recorded: Recorded, program: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with trace_llm("call") as call:
            await program(call)

    asyncio.run(main())
    check(recorded)


def test_a_raw_answer_that_is_no_stream(recorded: Recorded) -> None:
    with (
        trace_llm("call") as call,
        call.record(chat().with_streaming_response.create(**GPT)) as response,
    ):
        assert response.parse().id == "c1"
    span = recorded.one("call")
    assert span.state == "ok"
    assert span.attributes["gen_ai.usage.output_tokens"] == 3


def test_leaving_a_stream_early(recorded: Recorded) -> None:
    with trace_llm("call") as call, call.record(messages().stream(**CLAUDE)) as stream:
        for text in stream.text_stream:
            assert text == "Hello"
            break
    span = recorded.one("call")
    assert span.state == "cancelled"
    assert span.text("output") == "Hello"
    assert span.attributes["gen_ai.usage.input_tokens"] == 5


def test_a_dropped_stream(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        stream = call.record(chat().create(**GPT, stream=True))
    next(stream)
    del stream
    gc.collect()
    assert recorded.one("call").state == "abandoned"
