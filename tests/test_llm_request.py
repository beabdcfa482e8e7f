"""What a call asks for, in every provider's words."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumina_stream.llm.request import read_request, request_attributes

R = "gen_ai.request."


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA}
CALLED = {"type": "tool_call", "id": "a", "name": "f", "arguments": {"x": 1}}
ANSWERED = {"type": "tool_call_response", "id": "a", "response": "42"}

OPENAI = {
    "model": "gpt-5",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "42"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
    ],
    "max_completion_tokens": 50,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": "END",
    "seed": 7,
    "n": 2,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.2,
    "stream": True,
    "reasoning_effort": "low",
    "service_tier": "flex",
    "response_format": {"type": "json_schema", "json_schema": {}},
}
CONVERSATION = [
    user("Hi"),
    {"role": "assistant", "parts": [CALLED]},
    {"role": "tool", "parts": [ANSWERED]},
]


def test_openai_chat() -> None:
    """Every parameter under its convention's name."""
    request = read_request(OPENAI)
    assert request.attributes == {
        "gen_ai.operation.name": "chat",
        R + "model": "gpt-5",
        R + "max_tokens": 50,
        R + "temperature": 0.5,
        R + "top_p": 0.9,
        R + "stop_sequences": ["END"],
        R + "seed": 7,
        R + "choice.count": 2,
        R + "frequency_penalty": 0.1,
        R + "presence_penalty": 0.2,
        R + "stream": True,
        R + "reasoning.level": "low",
        "openai.request.service_tier": "flex",
        "gen_ai.output.type": "json",
    }
    system = {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}
    assert request.messages == [system, *CONVERSATION]
    assert request.tools == [TOOL]


def test_openai_responses() -> None:
    """Input items, instructions, flat tools."""
    request = read_request(
        {
            "model": "gpt-5",
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": "Hi"},
                {
                    "type": "function_call",
                    "call_id": "a",
                    "name": "f",
                    "arguments": '{"x":1}',
                },
                {"type": "function_call_output", "call_id": "a", "output": "42"},
            ],
            "tools": [TOOL, {"type": "web_search"}],
            "reasoning": {"effort": "high"},
            "max_output_tokens": 9,
            "conversation": "conv_1",
        }
    )
    assert request.messages == CONVERSATION
    assert request.system == [{"type": "text", "content": "Be brief."}]
    assert request.tools == [TOOL, {"type": "web_search"}]
    assert request.attributes[R + "reasoning.level"] == "high"
    assert request.attributes[R + "max_tokens"] == 9
    assert request.attributes["gen_ai.conversation.id"] == "conv_1"


def test_anthropic() -> None:
    """System apart, tool results inside a user's message."""
    request = read_request(
        {
            "model": "claude-x",
            "max_tokens": 50,
            "system": [
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
            ],
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": "42"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
                        },
                        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
                    ],
                },
            ],
            "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "stop_sequences": ["A", "B"],
        }
    )
    assert request.system == [{"type": "text", "content": "Be brief."}]
    assert request.tools == [TOOL]
    assert request.messages is not None
    assert request.messages[:2] == CONVERSATION[:2]
    assert request.messages[2]["parts"] == [
        ANSWERED,
        {"type": "blob", "modality": "image", "mime_type": "image/png", "length": 4},
        {"type": "uri", "modality": "document", "uri": "https://x/y.pdf"},
    ]
    assert request.attributes[R + "reasoning.budget_tokens"] == 1024
    assert request.attributes[R + "stop_sequences"] == ["A", "B"]


@pytest.mark.parametrize("kind", ["json", "dictionary", "types"])
def test_google(kind: str) -> None:
    """The JSON's camelCase, the library's dictionaries and its types."""
    contents: Any = [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {
            "role": "model",
            "parts": [{"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}],
        },
    ]
    declared = {"name": "f", "description": "d", "parameters": SCHEMA}
    if kind == "json":
        body: dict[str, Any] = {
            "contents": contents,
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {
                "maxOutputTokens": 50,
                "topK": 3,
                "responseMimeType": "application/json",
                "thinkingConfig": {"thinkingBudget": 8},
            },
            "tools": [{"functionDeclarations": [declared]}],
        }
    else:
        config: Any = {
            "max_output_tokens": 50,
            "top_k": 3,
            "system_instruction": "Be brief.",
            "response_mime_type": "application/json",
            "thinking_config": {"thinking_budget": 8},
            "tools": [{"function_declarations": [declared]}],
        }
        if kind == "types":
            types = pytest.importorskip("google.genai.types")
            config = types.GenerateContentConfig(**config)
            contents = [types.Content.model_validate(c) for c in contents]
        body = {"model": "models/gemini-x", "contents": contents, "config": config}
    request = read_request(body)
    assert request.messages == CONVERSATION[:2]
    assert request.system == [{"type": "text", "content": "Be brief."}]
    assert request.attributes[R + "max_tokens"] == 50
    assert request.attributes[R + "top_k"] == 3
    assert request.attributes[R + "reasoning.budget_tokens"] == 8
    assert request.attributes["gen_ai.output.type"] == "json"
    assert request.attributes["gen_ai.operation.name"] == "generate_content"
    assert request.tools is not None
    assert (request.tools[0]["name"], request.tools[0]["description"]) == ("f", "d")
    if kind != "json":
        assert request.attributes[R + "model"] == "gemini-x"


def test_google_loose_contents_and_functions() -> None:
    """Text and parts together are one message; a Python function is a tool."""

    def f() -> None:
        """Do nothing."""

    request = read_request(
        {"model": "g", "contents": ["Hi", {"text": "you"}], "config": {"tools": [f]}}
    )
    assert request.messages == [
        {
            "role": "user",
            "parts": [{"type": "text", "content": "Hi"}, {"type": "text", "content": "you"}],
        }
    ]
    assert request.tools == [{"type": "function", "name": "f"}]
    assert read_request({"contents": "Hi"}).messages == [user("Hi")]


def test_bedrock() -> None:
    """Converse: one level down, keys instead of types."""
    request = read_request(
        {
            "modelId": "amazon.nova",
            "messages": [
                {"role": "user", "content": [{"text": "Hi"}, {"cachePoint": {"type": "default"}}]},
                {
                    "role": "assistant",
                    "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": 1}}}],
                },
                {
                    "role": "user",
                    "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "42"}]}}],
                },
            ],
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": 50, "topP": 0.5, "stopSequences": ["E"]},
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "f",
                            "description": "d",
                            "inputSchema": {"json": SCHEMA},
                        }
                    }
                ]
            },
        }
    )
    assert request.messages == [*CONVERSATION[:2], {"role": "user", "parts": [ANSWERED]}]
    assert request.system == [{"type": "text", "content": "Be brief."}]
    assert request.tools == [TOOL]
    assert request.attributes == {
        "gen_ai.operation.name": "chat",
        R + "model": "amazon.nova",
        R + "max_tokens": 50,
        R + "top_p": 0.5,
        R + "stop_sequences": ["E"],
    }


def test_ollama_cohere_and_embeddings() -> None:
    """Options, version 1's history, texts, prompts."""
    ollama = read_request(
        {
            "model": "llama3",
            "messages": [{"role": "user", "content": "Hi", "images": [b"abc"]}],
            "options": {"num_predict": 5, "temperature": 1, "top_k": 4},
            "format": "json",
        }
    )
    assert ollama.attributes[R + "max_tokens"] == 5
    assert ollama.attributes["gen_ai.output.type"] == "json"
    assert ollama.messages is not None
    assert ollama.messages[0]["parts"][1]["length"] == 3
    first = read_request(
        {
            "model": "command",
            "message": "Hi",
            "preamble": "Be brief.",
            "chat_history": [{"role": "CHATBOT", "message": "Yes?"}],
        }
    )
    before = {"role": "assistant", "parts": [{"type": "text", "content": "Yes?"}]}
    assert first.messages == [before, user("Hi")]
    texts = read_request({"model": "embed-v4", "texts": ["a", "b"], "embedding_types": ["float"]})
    assert texts.attributes["gen_ai.operation.name"] == "embeddings"
    assert texts.messages == [user("a"), user("b")]
    vectors = read_request({"model": "text-embedding-3", "input": ["a"], "dimensions": 8})
    assert vectors.attributes["gen_ai.operation.name"] == "embeddings"
    assert vectors.attributes["gen_ai.embeddings.dimension.count"] == 8
    rerank = read_request({"model": "r", "query": "q", "documents": ["a"]})
    assert rerank.attributes["gen_ai.operation.name"] == "rerank"
    prompt = read_request({"model": "davinci", "prompt": "Once"})
    assert prompt.attributes["gen_ai.operation.name"] == "text_completion"


def test_messages_may_be_the_librarys_own_objects() -> None:
    """A program appends the answer's message to the next request."""
    types = pytest.importorskip("openai.types.chat")
    answer = types.ChatCompletionMessage.model_validate(OPENAI["messages"][2])  # type: ignore[index]
    request = read_request(
        {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}, answer]}
    )
    assert request.messages == CONVERSATION[:2]


def test_without_content_only_lengths() -> None:
    """No text of the request is left; the parameters are."""
    found = request_attributes(read_request(OPENAI), content=False)
    assert found["gen_ai.input.messages.length"] >= len("Be brief.Hi42")
    assert found[R + "stop_sequences.length"] == 3
    assert found["gen_ai.tool.definitions.length"] > 0
    shown = json.dumps(found)
    for text in ("Be brief", "Hi", "42", "END", "integer"):
        assert text not in shown
    assert found[R + "model"] == "gpt-5"
    whole = request_attributes(read_request(OPENAI))
    assert whole["gen_ai.input.messages"][1] == user("Hi")


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *[
                    "model",
                    "messages",
                    "input",
                    "contents",
                    "config",
                    "system",
                    "tools",
                    "stop",
                    "stream",
                    "thinking",
                ],
                *[
                    "text",
                    "format",
                    "response_format",
                    "message",
                    "chat_history",
                    "prompt",
                    "options",
                ],
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["role", "content", "type", "parts"]), inner)
                | st.dictionaries(st.sampled_from(["tools", "name", "function"]), inner).map(
                    lambda d: SimpleNamespace(**d)
                )
            ),
            max_leaves=12,
        ),
    )
)
def test_any_request_is_read(kwargs: dict[str, Any]) -> None:
    """Never an exception, out or caught."""
    faults: list[Exception] = []
    patch = pytest.MonkeyPatch()
    patch.setattr("lumina_stream.llm.request.faulty", faults.append)
    try:
        request = read_request(kwargs)
        request_attributes(request)
        request_attributes(request, content=False)
    finally:
        patch.undo()
    assert not faults


@pytest.mark.parametrize("value", [None, 3, "text", [], object()])
def test_what_is_no_request(value: Any) -> None:
    """Nothing is read, nothing raised."""
    assert read_request(value).attributes == {}
