"""Exchanges recorded with providers, played by a loopback server to the real client libraries."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lumina_stream.llm.reading import (
    Piece,
    Reading,
    accumulator_for,
    read_body,
    read_request,
    read_response,
)
from tests.support import providers
from tests.support.playback import Playback, playing

TRAFFIC = Path(__file__).parents[2] / "shared" / "data" / "provider-traffic"

pytestmark = [
    pytest.mark.skipif(not TRAFFIC.is_dir(), reason="the recorded provider traffic is not here"),
    # Libraries' own: botocore's utcnow, google's aiohttp and so on are not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Said(msgspec.Struct):
    """What an exchange said, read off the recording by hand."""

    file: str
    at: int
    finish: list[str]
    tokens: tuple[int | None, int | None]
    model: str | None
    start: str = ""
    end: str = ""
    cache: tuple[int | None, int | None] = (None, None)
    reasoning: int | None = None
    tools: list[tuple[str, str, Any]] = []


WEATHER = {"location": "San Francisco, CA", "unit": "celsius"}
SAID = [
    Said(
        "anthropic-caching-stream",
        0,
        ["end_turn"],
        (4 + 1167, 289),
        "claude-3-5-sonnet-20240620",
        start="Here are concise summaries",
        cache=(0, 1167),
    ),
    Said(
        "anthropic-caching-stream",
        1,
        ["end_turn"],
        (4 + 1167, 256),
        "claude-3-5-sonnet-20240620",
        start="Here are concise summaries",
        end="significantly in the long run.",
        cache=(1167, 0),
    ),
    Said(
        "anthropic-stream",
        0,
        ["end_turn"],
        (17, 171),
        "claude-3-haiku-20240307",
        start="Here's an OpenTelemetry-themed joke for you:\n\nWhy",
        end="any other tech-themed jokes!",
    ),
    Said(
        "anthropic-thinking-stream",
        0,
        ["end_turn"],
        (52, 216),
        "claude-3-7-sonnet-20250219",
        start="The letter 'r' appears 3 times in the word \"straw",
        end='"strawberry".',
        cache=(0, 0),
    ),
    Said(
        "anthropic-tools-stream",
        0,
        ["tool_use"],
        (506, 153),
        "claude-3-5-sonnet-20240620",
        start="Certainly! I can help you with that information. To get the weather",
        cache=(0, 0),
        tools=[
            ("toolu_014x5X91kx3fvdhpLvwXZWE2", "get_weather", WEATHER),
            ("toolu_0121kXsENLvoDZ72LCuAnCCz", "get_time", {"timezone": "America/Los_Angeles"}),
        ],
    ),
    Said(
        "bedrock-converse-stream",
        0,
        ["guardrail_intervened"],
        (54, 18),
        None,
        start="{ADDRESS} is the capital",
    ),
    Said("cohere-v2-stream", 0, ["COMPLETE"], (69, 110), None, start="Arrrr, matey!", end="humor!"),
    Said(
        "google-generate",
        0,
        ["STOP"],
        (5, 877 + 1058),
        "gemini-2.5-flash",
        start="AI stands for **Artificial Intelligence**.",
        end="the need for responsible development.",
        reasoning=1058,
    ),
    Said(
        "groq-stream",
        0,
        ["stop"],
        (18, 73),
        "llama3-8b-8192",
        start="A joke about OpenTelemetry!",
        end="on your face!)",
    ),
    Said(
        "mistral-stream",
        0,
        ["stop"],
        (11, 80),
        "mistral-tiny",
        start="Here's a light-hearted joke",
        end="to your face.)",
    ),
    Said(
        "ollama-stream",
        0,
        ["stop"],
        (17, 50),
        "llama3",
        start="Why did the OpenTelemetry agent go",
        end="a smile to your face!)",
    ),
    Said("openai-chat-stream", 0, ["stop"], (None, None), "gpt-35-turbo", end="reach new traces!"),
    Said(
        "openai-chat-stream",
        1,
        ["stop"],
        (None, None),
        "gpt-4.1-mini-2025-04-14",
        end="trace every step!",
    ),
    Said(
        "openai-chat-stream",
        2,
        ["stop"],
        (None, None),
        "gpt-4.1-mini-2025-04-14",
        end="their every move! 😄",
    ),
    Said(
        "openai-chat-stream",
        3,
        ["stop"],
        (None, None),
        "gpt-4.1-mini-2025-04-14",
        end="get full context! 😄",
    ),
    Said(
        "openai-chat-tools-stream",
        0,
        ["tool_calls"],
        (None, None),
        "gpt-3.5-turbo-0125",
        tools=[
            (
                "call_P9Ayqu3UQNYuTBVAg2sLimh9",
                "get_current_weather",
                {"location": "San Francisco"},
            )
        ],
    ),
    Said(
        "openai-chat-tools",
        0,
        ["tool_calls"],
        (68, 16),
        "gpt-3.5-turbo-0125",
        tools=[
            (
                "call_NnblzAO7oa78mQTzjUYLcouN",
                "get_current_weather",
                {"location": "San Francisco"},
            )
        ],
    ),
    Said("openai-embeddings", 0, [], (8, None), "text-embedding-ada-002"),
    Said("openai-embeddings", 3, [], (8, None), "text-embedding-ada-002-v2"),
    Said(
        "openai-prompt-caching",
        0,
        ["stop"],
        (1149, 315),
        "gpt-4o-mini-2024-07-18",
        start="**OpenLLMetry Launches to Enhance Monitoring with LLMs**",
        cache=(0, None),
        reasoning=0,
    ),
    Said(
        "openai-prompt-caching",
        1,
        ["stop"],
        (1149, 353),
        "gpt-4o-mini-2024-07-18",
        cache=(1024, None),
        reasoning=0,
    ),
    Said(
        "openai-prompt-caching",
        3,
        ["stop"],
        (1149, 339),
        "gpt-4o-mini-2024-07-18",
        cache=(0, None),
        reasoning=0,
    ),
    Said(
        "openai-responses",
        0,
        ["completed"],
        (14, 8),
        "gpt-4.1-nano-2025-04-14",
        start="The capital of France is Paris.",
        cache=(0, None),
        reasoning=0,
    ),
    Said(
        "openai-responses",
        1,
        ["completed"],
        (14, 8),
        "gpt-4.1-nano-2025-04-14",
        end="The capital of France is Paris.",
        cache=(0, None),
        reasoning=0,
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Playback]:
    with playing() as playback:
        yield playback


def exchange(said: Said) -> tuple[dict[str, Any], bytes, str]:
    recorded = json.loads((TRAFFIC / f"{said.file}.json").read_text("utf-8"))
    one = recorded["interactions"][said.at]
    response = one["response"]
    body = response["body"]
    is_base64 = response["body_encoding"] == "base64"
    data = base64.b64decode(body) if is_base64 else body.encode()
    return one["request"]["body"], data, response["content_type"]


def call(said: Said, url: str, body: dict[str, Any]) -> Any:
    """Make the recorded call with the library it is for."""
    kind = said.file.partition("-")[0]
    if kind == "anthropic":
        return providers.anthropic(url, body)
    if kind == "bedrock":
        return providers.bedrock(url, body, stream=True)
    if kind == "cohere":
        return providers.cohere(url, body)
    if kind == "google":
        return providers.google(url, {"contents": "What is ai?"})
    if kind == "mistral":
        return providers.mistral(url, body)
    if kind == "ollama":
        return providers.ollama(url, body)
    if said.file == "openai-embeddings":
        return providers.openai_embeddings(url, body)
    if said.file == "openai-responses":
        return providers.openai_responses(url, body)
    return providers.openai_chat(url, body)  # groq's answers go to the same client


def read(answer: Any) -> tuple[Reading, list[Piece] | None]:
    if not isinstance(answer, list):
        reading = read_response(answer)
        assert reading is not None
        return reading, None
    accumulator = accumulator_for(answer[0])
    pieces = [piece for item in answer for piece in accumulator.feed(item)]
    return accumulator.reading(), pieces


def text_of(reading: Reading, kind: str = "text") -> str:
    return "".join(
        part["content"]
        for message in reading.messages
        for part in message["parts"]
        if part["type"] == kind
    )


def tools_of(reading: Reading) -> list[tuple[str, str, Any]]:
    return [
        (part["id"], part["name"], part["arguments"])
        for message in reading.messages
        for part in message["parts"]
        if part["type"] == "tool_call"
    ]


def check(said: Said, reading: Reading) -> None:
    assert reading.finish_reasons == said.finish
    assert reading.response_model == said.model
    assert not reading.incomplete
    assert reading.error is None
    text = text_of(reading)
    assert text.startswith(said.start)
    assert text.endswith(said.end)
    assert tools_of(reading) == said.tools
    usage = reading.usage
    if said.tokens == (None, None):
        assert usage is None  # never asked for, never invented
        return
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens or None) == said.tokens
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == said.cache
    assert usage.reasoning_tokens == said.reasoning


@pytest.mark.parametrize("seed", [None, 1, 2], ids=["whole", "cut-1", "cut-2"])
@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said.file}-{said.at}")
def test_a_recorded_exchange(said: Said, seed: int | None, server: Playback) -> None:
    """Through the real client library, whole and cut anywhere."""
    body, data, content_type = exchange(said)
    server.load(data, content_type, seed)
    reading, pieces = read(call(said, server.url, body))
    check(said, reading)
    if pieces is not None:
        streamed = {
            c: "".join(p.text for p in pieces if p.channel == c) for c in ("output", "tool")
        }
        assert streamed["output"] == text_of(reading)
        assert [json.loads(part) for part in [streamed["tool"]] if len(said.tools) == 1] == [
            arguments for _, _, arguments in said.tools if len(said.tools) == 1
        ]


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said.file}-{said.at}")
def test_a_recorded_body_without_a_library(said: Said) -> None:
    """As plain HTTP clients get it."""
    _, data, content_type = exchange(said)
    if content_type == "application/vnd.amazon.eventstream":
        assert read_body(data, content_type) is None  # a binary framing: for its library only
        return
    reading = read_body(data, content_type)
    assert reading is not None
    check(said, reading)


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said.file}-{said.at}")
def test_a_recorded_request(said: Said) -> None:
    """Model, messages and operation of each request."""
    body, _, _ = exchange(said)
    request = read_request(body)
    if "model" in body:
        assert request.attributes["gen_ai.request.model"] == body["model"]
    assert request.messages
    assert request.messages[-1]["role"] == "user"
    assert request.messages[-1]["parts"][0]["content"]
    operation = request.attributes["gen_ai.operation.name"]
    assert operation in ("chat", "embeddings", "generate_content")
    assert len(request.tools or []) == len(body.get("tools", []))


def test_the_thoughts_of_a_stream_are_apart(server: Playback) -> None:
    """Thinking goes to its own channel and part."""
    said = next(s for s in SAID if s.file == "anthropic-thinking-stream")
    body, data, content_type = exchange(said)
    server.load(data, content_type)
    reading, pieces = read(call(said, server.url, body))
    assert text_of(reading, "reasoning").startswith("Let me count the occurrences")
    assert pieces is not None
    thoughts = "".join(p.text for p in pieces if p.channel == "reasoning")
    assert thoughts == text_of(reading, "reasoning")
    assert "ErUBCkYIARgC" not in str(reading.messages)  # the signature is no text
