"""Answers built from the client libraries' own types, read as objects, as dictionaries and as JSON.

Each case names the type it is built from, and the version whose type it was.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lumina_stream.llm.reading import accumulator_for, attributes_of, read_body, read_response

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Case(msgspec.Struct):
    """One answer, or the pieces of one, and the attributes it must give."""

    name: str
    library: str
    """The type's library and version."""
    type: str
    """Where the type is: `module:Class`; pieces of unions name the union's adapter."""
    data: Any
    """The JSON of the answer, or a list of the stream's pieces."""
    expected: dict[str, Any]


OPENAI, ANTHROPIC = "openai 3.54.0", "anthropic 2.12.0"
GOOGLE, MISTRAL, COHERE = "google-genai 3.4.0", "mistralai 3.7.0", "cohere 7.3.1"
OLLAMA, BEDROCK = "ollama 0.6.3", "botocore 1.44.5"

U = "gen_ai.usage."
FINISH = "gen_ai.response.finish_reasons"
OUT = "gen_ai.output.messages"


def said(text: str, finish: str | None = "stop", role: str = "assistant") -> list[dict[str, Any]]:
    part = [{"type": "text", "content": text}] if text else []
    return [{"role": role, "parts": part, "finish_reason": finish}]


def called(
    *calls: tuple[str | None, str, Any], text: str = "", finish: str | None = "tool_calls"
) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "text", "content": text}] if text else []
    parts += [
        {"type": "tool_call", "id": i, "name": n, "arguments": arguments}
        for i, n, arguments in calls
    ]
    return [{"role": "assistant", "parts": parts, "finish_reason": finish}]


def chat(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-5"}
    return {**head, "choices": [{**choice, "logprobs": None}], **more}


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5"}
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {**head, "choices": choices, **more}


def response(output: list[Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1.0,
        "status": status,
        "model": "gpt-5",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


def output_text(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


RESPONSE_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 130,
}
RESPONSE_COUNTS = {
    U + "input_tokens": 100,
    U + "cache_read.input_tokens": 60,
    U + "cache_creation.input_tokens": 10,
    U + "output_tokens": 30,
    U + "reasoning.output_tokens": 20,
    U + "total_tokens": 130,
}


def message(content: list[Any], stop: str = "end_turn", **usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 10, "output_tokens": 5, **usage}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": counts,
    }


def started(**usage: Any) -> dict[str, Any]:
    begun = message([], **usage)
    begun["stop_reason"] = None
    return {"type": "message_start", "message": begun}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def stopped(stop: str, **usage: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": stop, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def gemini(parts: list[Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-3", "responseId": "g1", **more}


def v2(kind: str, **delta: Any) -> dict[str, Any]:
    return {"type": kind, "delta": delta}


COMPLETION = "openai.types.chat:ChatCompletion"
CHUNK = "openai.types.chat:ChatCompletionChunk"
RESPONSE = "openai.types.responses:Response"
RESPONSE_EVENT = "openai.types.responses:ResponseStreamEvent"
MESSAGE = "anthropic.types:Message"
MESSAGE_EVENT = "anthropic.types:RawMessageStreamEvent"
GENERATED = "google.genai.types:GenerateContentResponse"

CHAT_CASES = [
    Case(
        "cached-and-reasoning",
        OPENAI,
        COMPLETION,
        chat(
            {"content": "Hi"},
            usage={
                "prompt_tokens": 50,
                "completion_tokens": 20,
                "total_tokens": 70,
                "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 4},
            },
            service_tier="priority",
        ),
        {
            U + "input_tokens": 50,
            U + "cache_read.input_tokens": 40,
            U + "audio.input_tokens": 3,
            U + "output_tokens": 20,
            U + "reasoning.output_tokens": 12,
            U + "audio.output_tokens": 4,
            FINISH: ["stop"],
            OUT: said("Hi"),
            "gen_ai.response.id": "c1",
            "openai.response.service_tier": "priority",
            "gen_ai.provider.name": "openai",
        },
    ),
    Case(
        "cut-short",
        OPENAI,
        COMPLETION,
        chat({"content": "On and"}, "length"),
        {FINISH: ["length"], OUT: said("On and", "length")},
    ),
    Case(
        "refusal",
        OPENAI,
        COMPLETION,
        chat({"content": None, "refusal": "No."}),
        {
            OUT: [
                {
                    "role": "assistant",
                    "parts": [{"type": "refusal", "content": "No."}],
                    "finish_reason": "stop",
                }
            ]
        },
    ),
    Case(
        "two-tools",
        OPENAI,
        COMPLETION,
        chat(
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x":1}'},
                    },
                    {"id": "b", "type": "custom", "custom": {"name": "g", "input": "do it"}},
                ],
            },
            "tool_calls",
        ),
        {FINISH: ["tool_calls"], OUT: called(("a", "f", {"x": 1}), ("b", "g", "do it"))},
    ),
    Case(
        "old-function-call",
        OPENAI,
        COMPLETION,
        chat(
            {"content": None, "function_call": {"name": "f", "arguments": "{broken"}},
            "function_call",
        ),
        {OUT: called((None, "f", "{broken"), finish="function_call")},
    ),
    Case(
        "two-choices",
        OPENAI,
        COMPLETION,
        {
            **chat({"content": "A"}),
            "choices": [
                {
                    "index": i,
                    "finish_reason": f,
                    "message": {"role": "assistant", "content": t},
                    "logprobs": None,
                }
                for i, f, t in ((0, "stop", "A"), (1, "length", "B"))
            ],
        },
        {FINISH: ["stop", "length"], OUT: said("A") + said("B", "length")},
    ),
    Case(
        "deepseek-reasoning",
        OPENAI,
        COMPLETION,
        chat(
            {"content": "4", "reasoning_content": "2+2"},
            model="deepseek-reasoner",
            usage={
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "total_tokens": 17,
                "prompt_cache_hit_tokens": 6,
                "prompt_cache_miss_tokens": 3,
            },
        ),
        {
            "gen_ai.provider.name": "deepseek",
            U + "cache_read.input_tokens": 6,
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "2+2"},
                        {"type": "text", "content": "4"},
                    ],
                    "finish_reason": "stop",
                }
            ],
        },
    ),
    Case(
        "xai-reasoning-beside-completion",
        OPENAI,
        COMPLETION,
        chat(
            {"content": "ok"},
            model="grok-4",
            usage={
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
        ),
        {"gen_ai.provider.name": "x_ai", U + "output_tokens": 105, U + "input_tokens": 10},
    ),
    Case(
        "openrouter-cost",
        OPENAI,
        COMPLETION,
        chat(
            {"content": "ok"},
            provider="Together",
            usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.25},
        ),
        {"gen_ai.provider.name": "openrouter", "gen_ai.usage.cost": 0.25},
    ),
    Case(
        "audio-answer",
        OPENAI,
        COMPLETION,
        chat(
            {
                "content": None,
                "audio": {"id": "a", "data": "AAAA", "expires_at": 1, "transcript": "Hello"},
            }
        ),
        {OUT: said("Hello")},
    ),
    Case(
        "legacy-completion",
        OPENAI,
        "openai.types:Completion",
        {
            "id": "t1",
            "object": "text_completion",
            "created": 1,
            "model": "davinci",
            "choices": [{"index": 0, "text": "Once", "finish_reason": "length", "logprobs": None}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
        },
        {
            "gen_ai.operation.name": "text_completion",
            OUT: said("Once", "length"),
            U + "output_tokens": 1,
        },
    ),
    Case(
        "embeddings",
        OPENAI,
        "openai.types:CreateEmbeddingResponse",
        {
            "object": "list",
            "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        },
        {
            "gen_ai.operation.name": "embeddings",
            U + "input_tokens": 7,
            "gen_ai.embeddings.dimension.count": 2,
        },
    ),
    Case(
        "image-usage",
        OPENAI,
        "openai.types:ImagesResponse",
        {
            "created": 1,
            "data": [{"url": "x"}],
            "usage": {
                "input_tokens": 11,
                "output_tokens": 22,
                "total_tokens": 33,
                "input_tokens_details": {"image_tokens": 1, "text_tokens": 10},
            },
        },
        {U + "input_tokens": 11, U + "output_tokens": 22},
    ),
    Case(
        "stream-with-usage-last",
        OPENAI,
        CHUNK,
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "He"}),
            chunk({"content": "llo"}),
            chunk({}, "stop"),
            chunk(
                None,
                usage={
                    "prompt_tokens": 5,
                    "completion_tokens": 2,
                    "total_tokens": 7,
                    "prompt_tokens_details": {"cached_tokens": 4},
                },
            ),
        ],
        {
            FINISH: ["stop"],
            OUT: said("Hello"),
            U + "input_tokens": 5,
            U + "cache_read.input_tokens": 4,
        },
    ),
    Case(
        "stream-usage-in-every-chunk",
        OPENAI,
        CHUNK,
        [
            chunk(
                {"content": t},
                f,
                usage={"prompt_tokens": 5, "completion_tokens": n, "total_tokens": 5 + n},
            )
            for n, t, f in ((1, "a", None), (2, "b", None), (3, "", "stop"))
        ],
        {U + "output_tokens": 3, U + "input_tokens": 5, OUT: said("ab")},
    ),
    Case(
        "stream-of-two-tools",
        OPENAI,
        CHUNK,
        [
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": ""},
                        }
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 1,
                            "id": "b",
                            "type": "function",
                            "function": {"name": "g", "arguments": "[]"},
                        },
                        {"index": 0, "function": {"arguments": "1}"}},
                    ]
                }
            ),
            chunk({}, "tool_calls"),
        ],
        {OUT: called(("a", "f", {"x": 1}), ("b", "g", []))},
    ),
    Case(
        "stream-of-whole-tools-all-number-0",
        OPENAI,
        CHUNK,
        [
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": i,
                            "type": "function",
                            "function": {"name": "f", "arguments": json.dumps({"x": i})},
                        }
                    ]
                }
            )
            for i in ("a", "b")
        ]
        + [chunk({}, "stop")],
        {OUT: called(("a", "f", {"x": "a"}), ("b", "f", {"x": "b"}), finish="stop")},
    ),
    Case(
        "stream-of-two-choices",
        OPENAI,
        CHUNK,
        [
            {
                **chunk({}),
                "choices": [{"index": i, "delta": {"content": t}, "finish_reason": f}],
            }
            for i, t, f in ((1, "B", None), (0, "A", None), (0, "", "stop"), (1, "b", "length"))
        ],
        {FINISH: ["stop", "length"], OUT: said("A") + said("Bb", "length")},
    ),
    Case(
        "stream-of-reasoning",
        OPENAI,
        CHUNK,
        [
            chunk({"reasoning_content": "hm"}),
            chunk({"reasoning": "m"}),
            chunk({"content": "yes"}, "stop"),
        ],
        {
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hmm"},
                        {"type": "text", "content": "yes"},
                    ],
                    "finish_reason": "stop",
                }
            ]
        },
    ),
    Case(
        "stream-refusal",
        OPENAI,
        CHUNK,
        [chunk({"refusal": "N"}), chunk({"refusal": "o"}, "stop")],
        {
            OUT: [
                {
                    "role": "assistant",
                    "parts": [{"type": "refusal", "content": "No"}],
                    "finish_reason": "stop",
                }
            ]
        },
    ),
]
RESPONSES_CASES = [
    Case(
        "completed",
        OPENAI,
        RESPONSE,
        response([output_text("Paris")], usage=RESPONSE_USAGE),
        {FINISH: ["completed"], OUT: said("Paris", "completed"), **RESPONSE_COUNTS},
    ),
    Case(
        "incomplete",
        OPENAI,
        RESPONSE,
        response(
            [output_text("Par")], "incomplete", incomplete_details={"reason": "max_output_tokens"}
        ),
        {FINISH: ["max_output_tokens"], OUT: said("Par", "max_output_tokens")},
    ),
    Case(
        "failed",
        OPENAI,
        RESPONSE,
        response([], "failed", error={"code": "server_error", "message": "broke"}),
        {FINISH: ["failed"], "error.type": "server_error", "error.message": "broke"},
    ),
    Case(
        "tools-and-reasoning",
        OPENAI,
        RESPONSE,
        response(
            [
                {
                    "id": "rs",
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "think"}],
                },
                {
                    "id": "f1",
                    "type": "function_call",
                    "call_id": "call1",
                    "name": "f",
                    "arguments": '{"a":[1]}',
                    "status": "completed",
                },
                {
                    "id": "w1",
                    "type": "web_search_call",
                    "status": "completed",
                    "action": {"type": "search", "query": "q"},
                },
            ]
        ),
        {
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "think"},
                        {
                            "type": "tool_call",
                            "id": "call1",
                            "name": "f",
                            "arguments": {"a": [1]},
                        },
                        {
                            "type": "tool_call",
                            "id": "w1",
                            "name": "web_search",
                            "arguments": {"type": "search", "query": "q"},
                        },
                    ],
                    "finish_reason": "completed",
                }
            ]
        },
    ),
]


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "sequence_number": 0, **more}


def delta(kind: str, text: str, index: int = 0) -> dict[str, Any]:
    more: dict[str, Any] = {"logprobs": []} if "output_text" in kind else {"summary_index": 0}
    return event(
        f"response.{kind}.delta",
        delta=text,
        item_id=f"i{index}",
        output_index=index,
        content_index=0,
        **more,
    )


CREATED = event("response.created", response=response([], "in_progress"))
RESPONSES_STREAMS = [
    Case(
        "stream-completed",
        OPENAI,
        RESPONSE_EVENT,
        [
            CREATED,
            delta("output_text", "Pa"),
            delta("output_text", "ris"),
            event(
                "response.completed",
                response=response([output_text("Paris")], usage=RESPONSE_USAGE),
            ),
        ],
        {FINISH: ["completed"], OUT: said("Paris", "completed"), **RESPONSE_COUNTS},
    ),
    Case(
        "stream-incomplete",
        OPENAI,
        RESPONSE_EVENT,
        [
            CREATED,
            delta("output_text", "Pa"),
            event(
                "response.incomplete",
                response=response(
                    [output_text("Pa")],
                    "incomplete",
                    incomplete_details={"reason": "content_filter"},
                ),
            ),
        ],
        {FINISH: ["content_filter"], OUT: said("Pa", "content_filter")},
    ),
    Case(
        "stream-failed",
        OPENAI,
        RESPONSE_EVENT,
        [
            CREATED,
            event(
                "response.failed",
                response=response(
                    [], "failed", error={"code": "rate_limit_exceeded", "message": "slow down"}
                ),
            ),
        ],
        {"error.type": "rate_limit_exceeded", FINISH: ["failed"]},
    ),
    Case(
        "stream-error",
        OPENAI,
        RESPONSE_EVENT,
        [CREATED, event("error", code="boom", message="it broke", param=None)],
        {"error.type": "boom", "error.message": "it broke"},
    ),
    Case(
        "stream-broken-off",
        OPENAI,
        RESPONSE_EVENT,
        [
            CREATED,
            delta("reasoning_summary_text", "hm", 0),
            event(
                "response.output_item.added",
                output_index=1,
                item={
                    "id": "i1",
                    "type": "function_call",
                    "call_id": "c",
                    "name": "f",
                    "arguments": "",
                },
            ),
            event(
                "response.function_call_arguments.delta",
                delta='{"a"',
                item_id="i1",
                output_index=1,
            ),
        ],
        {
            "gen_ai.response.id": "r1",
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "tool_call", "id": "c", "name": "f", "arguments": '{"a"'},
                    ],
                    "finish_reason": None,
                }
            ],
        },
    ),
]
ANTHROPIC_CASES = [
    Case(
        "cache-by-lifetime",
        ANTHROPIC,
        MESSAGE,
        message(
            [{"type": "text", "text": "Hi", "citations": None}],
            cache_read_input_tokens=100,
            cache_creation_input_tokens=30,
            cache_creation={"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            service_tier="batch",
        ),
        {
            U + "input_tokens": 140,
            U + "cache_read.input_tokens": 100,
            U + "cache_creation.input_tokens": 30,
            U + "cache_creation.ephemeral_5m.input_tokens": 10,
            U + "cache_creation.ephemeral_1h.input_tokens": 20,
            U + "output_tokens": 5,
            FINISH: ["end_turn"],
            OUT: said("Hi", "end_turn"),
            "anthropic.response.service_tier": "batch",
            "gen_ai.response.model": "claude-sonnet-5",
        },
    ),
    Case(
        "thinking-and-tool",
        ANTHROPIC,
        MESSAGE,
        message(
            [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "xx"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                {
                    "type": "server_tool_use",
                    "id": "s",
                    "name": "web_search",
                    "input": {"query": "q"},
                },
            ],
            "tool_use",
            output_tokens_details={"thinking_tokens": 3},
        ),
        {
            U + "reasoning.output_tokens": 3,
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "reasoning", "content": "", "redacted": True},
                        {"type": "tool_call", "id": "t", "name": "f", "arguments": {"a": 1}},
                        {
                            "type": "tool_call",
                            "id": "s",
                            "name": "web_search",
                            "arguments": {"query": "q"},
                        },
                    ],
                    "finish_reason": "tool_use",
                }
            ],
        },
    ),
    Case(
        "refused",
        ANTHROPIC,
        MESSAGE,
        message([], "refusal"),
        {FINISH: ["refusal"], OUT: said("", "refusal")},
    ),
    Case(
        "stream-usage-spread",
        ANTHROPIC,
        MESSAGE_EVENT,
        [
            started(
                input_tokens=4,
                output_tokens=1,
                cache_creation_input_tokens=50,
                cache_read_input_tokens=0,
                cache_creation={"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 0},
            ),
            *block(
                0,
                {"type": "text", "text": ""},
                {"type": "text_delta", "text": "He"},
                {"type": "text_delta", "text": "y"},
            ),
            *stopped("end_turn", output_tokens=7, cache_read_input_tokens=6),
        ],
        {
            U + "input_tokens": 60,
            U + "cache_creation.ephemeral_5m.input_tokens": 50,
            U + "cache_read.input_tokens": 6,
            U + "output_tokens": 7,
            OUT: said("Hey", "end_turn"),
        },
    ),
    Case(
        "stream-tool-without-arguments",
        ANTHROPIC,
        MESSAGE_EVENT,
        [
            started(),
            *block(0, {"type": "tool_use", "id": "t", "name": "now", "input": {}}),
            *stopped("tool_use", output_tokens=2),
        ],
        {OUT: called(("t", "now", {}), finish="tool_use")},
    ),
    Case(
        "stream-thinking-then-tool",
        ANTHROPIC,
        MESSAGE_EVENT,
        [
            started(),
            *block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "a"},
                {"type": "signature_delta", "signature": "zz"},
            ),
            *block(
                1,
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
                {"type": "input_json_delta", "partial_json": ""},
                {"type": "input_json_delta", "partial_json": '{"q":'},
                {"type": "input_json_delta", "partial_json": '"é"}'},
            ),
            *stopped("tool_use", output_tokens=2),
        ],
        {
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "a"},
                        {"type": "tool_call", "id": "t", "name": "f", "arguments": {"q": "é"}},
                    ],
                    "finish_reason": "tool_use",
                }
            ]
        },
    ),
]
GOOGLE_CASES = [
    Case(
        "thoughts-cache-tools",
        GOOGLE,
        GENERATED,
        gemini(
            [
                {"text": "hm", "thought": True},
                {"text": "Hi"},
                {"functionCall": {"id": "x", "name": "f", "args": {"a": 1}}},
            ],
            usageMetadata={
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 2,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 3,
                "cachedContentTokenCount": 8,
                "totalTokenCount": 20,
                "promptTokensDetails": [
                    {"modality": "AUDIO", "tokenCount": 4},
                    {"modality": "TEXT", "tokenCount": 6},
                ],
            },
        ),
        {
            U + "input_tokens": 12,
            U + "output_tokens": 8,
            U + "reasoning.output_tokens": 3,
            U + "cache_read.input_tokens": 8,
            U + "audio.input_tokens": 4,
            U + "total_tokens": 20,
            FINISH: ["STOP"],
            "gen_ai.response.model": "gemini-3",
            "gen_ai.response.id": "g1",
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "text", "content": "Hi"},
                        {"type": "tool_call", "id": "x", "name": "f", "arguments": {"a": 1}},
                    ],
                    "finish_reason": "STOP",
                }
            ],
        },
    ),
    Case(
        "blocked-prompt",
        GOOGLE,
        GENERATED,
        {
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
        },
        {FINISH: ["SAFETY"], U + "input_tokens": 3},
    ),
    Case(
        "stream-cumulative",
        GOOGLE,
        GENERATED,
        [
            gemini(
                [{"text": "He"}],
                None,
                usageMetadata={"promptTokenCount": 5, "totalTokenCount": 5},
            ),
            gemini(
                [{"text": "llo"}],
                None,
                usageMetadata={
                    "promptTokenCount": 5,
                    "candidatesTokenCount": 2,
                    "totalTokenCount": 7,
                },
            ),
            gemini(
                [{"text": "!"}],
                "MAX_TOKENS",
                usageMetadata={
                    "promptTokenCount": 5,
                    "candidatesTokenCount": 3,
                    "totalTokenCount": 8,
                },
            ),
        ],
        {
            U + "input_tokens": 5,
            U + "output_tokens": 3,
            FINISH: ["MAX_TOKENS"],
            OUT: said("Hello!", "MAX_TOKENS"),
        },
    ),
    Case(
        "stream-that-went-on-by-itself",
        GOOGLE,
        GENERATED,
        [
            gemini(
                [{"functionCall": {"name": "f", "args": {}}}],
                usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 2},
            ),
            gemini(
                [{"text": "done"}],
                responseId="g2",
                usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 1},
            ),
        ],
        {U + "input_tokens": 14, U + "output_tokens": 3, "gen_ai.response.id": "g2"},
    ),
    Case(
        "embeddings",
        GOOGLE,
        "google.genai.types:EmbedContentResponse",
        {"embeddings": [{"values": [0.1, 0.2, 0.3], "statistics": {"tokenCount": 6.0}}]},
        {U + "input_tokens": 6, "gen_ai.embeddings.dimension.count": 3},
    ),
]
MISTRAL_USAGE = {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
MISTRAL_CASES = [
    Case(
        "thinking-and-tool-as-object",
        MISTRAL,
        "mistralai.client.models:ChatCompletionResponse",
        {
            "id": "m1",
            "object": "chat.completion",
            "model": "magistral-small",
            "created": 1,
            "usage": MISTRAL_USAGE,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "tool_calls",
                    "message": {
                        "role": "assistant",
                        "content": [
                            {
                                "type": "thinking",
                                "thinking": [{"type": "text", "text": "hm"}],
                            },
                            {"type": "text", "text": "Hi"},
                        ],
                        "tool_calls": [
                            {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
                        ],
                    },
                }
            ],
        },
        {
            "gen_ai.provider.name": "mistral_ai",
            U + "input_tokens": 4,
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "text", "content": "Hi"},
                        {"type": "tool_call", "id": "a", "name": "f", "arguments": {"x": 1}},
                    ],
                    "finish_reason": "tool_calls",
                }
            ],
        },
    ),
    Case(
        "stream",
        MISTRAL,
        "mistralai.client.models:CompletionEvent",
        [
            {"data": {"id": "m1", "model": "mistral-small", "choices": [choice], **more}}
            for choice, more in (
                (
                    {
                        "index": 0,
                        "delta": {
                            "content": [
                                {
                                    "type": "thinking",
                                    "thinking": [{"type": "text", "text": "hm"}],
                                }
                            ]
                        },
                        "finish_reason": None,
                    },
                    {},
                ),
                ({"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}, {}),
                (
                    {
                        "index": 0,
                        "delta": {
                            "content": "",
                            "tool_calls": [
                                {
                                    "id": "a",
                                    "index": 0,
                                    "function": {"name": "f", "arguments": '{"x": 1}'},
                                }
                            ],
                        },
                        "finish_reason": "tool_calls",
                    },
                    {"usage": MISTRAL_USAGE},
                ),
            )
        ],
        {
            "gen_ai.provider.name": "mistral_ai",
            U + "output_tokens": 6,
            FINISH: ["tool_calls"],
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "text", "content": "Hi"},
                        {"type": "tool_call", "id": "a", "name": "f", "arguments": {"x": 1}},
                    ],
                    "finish_reason": "tool_calls",
                }
            ],
        },
    ),
]
COHERE_USAGE = {
    "billed_units": {"input_tokens": 3.0, "output_tokens": 4.0},
    "tokens": {"input_tokens": 60.0, "output_tokens": 5.0},
    "cached_tokens": 32.0,
}
COHERE_COUNTS = {
    U + "input_tokens": 60,
    U + "output_tokens": 5,
    U + "cache_read.input_tokens": 32,
    "cohere.usage.billed_input_tokens": 3,
    "cohere.usage.billed_output_tokens": 4,
}
COHERE_CASES = [
    Case(
        "tool-plan",
        COHERE,
        "cohere:V2ChatResponse",
        {
            "id": "k1",
            "finish_reason": "TOOL_CALL",
            "usage": COHERE_USAGE,
            "message": {
                "role": "assistant",
                "tool_plan": "I will",
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x":1}'},
                    }
                ],
            },
        },
        {
            **COHERE_COUNTS,
            FINISH: ["TOOL_CALL"],
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "I will"},
                        {"type": "tool_call", "id": "a", "name": "f", "arguments": {"x": 1}},
                    ],
                    "finish_reason": "TOOL_CALL",
                }
            ],
        },
    ),
    Case(
        "stream-with-tool",
        COHERE,
        "cohere:V2ChatStreamResponse",
        [
            {"type": "message-start", "id": "k1", "delta": {"message": {"role": "assistant"}}},
            v2("tool-plan-delta", message={"tool_plan": "I will"}),
            {
                "index": 0,
                **v2(
                    "tool-call-start",
                    message={
                        "tool_calls": {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": ""},
                        }
                    },
                ),
            },
            {
                "index": 0,
                **v2(
                    "tool-call-delta",
                    message={"tool_calls": {"function": {"arguments": '{"x":1}'}}},
                ),
            },
            {"index": 0, "type": "tool-call-end"},
            v2("message-end", finish_reason="TOOL_CALL", usage=COHERE_USAGE),
        ],
        {
            **COHERE_COUNTS,
            "gen_ai.response.id": "k1",
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "I will"},
                        {"type": "tool_call", "id": "a", "name": "f", "arguments": {"x": 1}},
                    ],
                    "finish_reason": "TOOL_CALL",
                }
            ],
        },
    ),
    Case(
        "version-1",
        COHERE,
        "cohere:NonStreamedChatResponse",
        {
            "text": "Hi",
            "generation_id": "g",
            "response_id": "r",
            "finish_reason": "COMPLETE",
            "meta": {"billed_units": {"input_tokens": 3.0, "output_tokens": 4.0}},
        },
        {
            U + "input_tokens": 3,
            U + "output_tokens": 4,
            OUT: said("Hi", "COMPLETE"),
            "gen_ai.response.id": "r",
        },
    ),
    Case(
        "rerank",
        COHERE,
        "cohere:V2RerankResponse",
        {
            "id": "k2",
            "results": [{"index": 0, "relevance_score": 0.5}],
            "meta": {"billed_units": {"search_units": 1.0}},
        },
        {"gen_ai.operation.name": "rerank", "cohere.usage.search_units": 1},
    ),
]
OLLAMA_CASES = [
    Case(
        "tool-and-thinking",
        OLLAMA,
        "ollama:ChatResponse",
        {
            "model": "qwen3",
            "done": True,
            "done_reason": "stop",
            "eval_count": 9,
            "message": {
                "role": "assistant",
                "content": "Hi",
                "thinking": "hm",
                "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
            },
        },
        {
            U + "output_tokens": 9,
            FINISH: ["stop"],
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "text", "content": "Hi"},
                        {"type": "tool_call", "id": None, "name": "f", "arguments": {"x": 1}},
                    ],
                    "finish_reason": "stop",
                }
            ],
        },
    ),
    Case(
        "generate-stream-without-counts",
        OLLAMA,
        "ollama:GenerateResponse",
        [
            {"model": "llama3", "response": "He", "done": False},
            {"model": "llama3", "response": "y", "done": True, "done_reason": "length"},
        ],
        {"gen_ai.operation.name": "text_completion", OUT: said("Hey", "length")},
    ),
    Case(
        "embed",
        OLLAMA,
        "ollama:EmbedResponse",
        {
            "model": "nomic",
            "embeddings": [[0.1, 0.2]],
            "total_duration": 5,
            "prompt_eval_count": 8,
        },
        {U + "input_tokens": 8, "gen_ai.operation.name": "embeddings"},
    ),
]
BEDROCK_CASES = [
    Case(
        "converse-with-cache",
        BEDROCK,
        "bedrock-runtime:ConverseResponse",
        {
            "ResponseMetadata": {"RequestId": "b1", "HTTPStatusCode": 200},
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                        {"text": "Hi"},
                        {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": 1}}},
                    ],
                }
            },
            "stopReason": "tool_use",
            "usage": {
                "inputTokens": 4,
                "outputTokens": 5,
                "totalTokens": 119,
                "cacheReadInputTokens": 100,
                "cacheWriteInputTokens": 10,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 10}],
            },
            "metrics": {"latencyMs": 5},
        },
        {
            U + "input_tokens": 114,
            U + "output_tokens": 5,
            U + "cache_read.input_tokens": 100,
            U + "cache_creation.ephemeral_1h.input_tokens": 10,
            "gen_ai.response.id": "b1",
            FINISH: ["tool_use"],
            OUT: [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "text", "content": "Hi"},
                        {"type": "tool_call", "id": "a", "name": "f", "arguments": {"x": 1}},
                    ],
                    "finish_reason": "tool_use",
                }
            ],
        },
    ),
    Case(
        "converse-stream",
        BEDROCK,
        "bedrock-runtime:ConverseStreamOutput",
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hi"}}},
            {"contentBlockStop": {"contentBlockIndex": 0}},
            {
                "contentBlockStart": {
                    "contentBlockIndex": 1,
                    "start": {"toolUse": {"toolUseId": "a", "name": "f"}},
                }
            },
            {
                "contentBlockDelta": {
                    "contentBlockIndex": 1,
                    "delta": {"toolUse": {"input": '{"x":1}'}},
                }
            },
            {"messageStop": {"stopReason": "tool_use"}},
            {"metadata": {"usage": {"inputTokens": 4, "outputTokens": 5, "totalTokens": 9}}},
        ],
        {
            U + "input_tokens": 4,
            U + "output_tokens": 5,
            OUT: called(("a", "f", {"x": 1}), text="Hi", finish="tool_use"),
        },
    ),
    Case(
        "invoke-headers",
        BEDROCK,
        "bedrock-runtime:InvokeModelResponse",
        {
            "ResponseMetadata": {
                "RequestId": "b2",
                "HTTPHeaders": {
                    "x-amzn-bedrock-input-token-count": "12",
                    "x-amzn-bedrock-output-token-count": "34",
                },
            },
            "contentType": "application/json",
        },
        {
            U + "input_tokens": 12,
            U + "output_tokens": 34,
            "gen_ai.provider.name": "aws.bedrock",
            "gen_ai.response.id": "b2",
        },
    ),
]
CASES = [
    *CHAT_CASES,
    *RESPONSES_CASES,
    *RESPONSES_STREAMS,
    *ANTHROPIC_CASES,
    *GOOGLE_CASES,
    *MISTRAL_CASES,
    *COHERE_CASES,
    *OLLAMA_CASES,
    *BEDROCK_CASES,
]


def builder(case: Case) -> Callable[[Any], Any]:
    """Return what builds the library's own object from JSON."""
    module, _, name = case.type.partition(":")
    if module == "bedrock-runtime":
        pytest.importorskip("botocore")
        return lambda data: data  # boto3 gives dictionaries
    pydantic = pytest.importorskip("pydantic")
    pytest.importorskip(module.partition(".")[0])
    kind = getattr(importlib.import_module(module), name)
    return lambda data: pydantic.TypeAdapter(kind).validate_json(json.dumps(data))


def attributes(given: Any, *, content: bool = True) -> dict[str, Any]:
    if isinstance(given, list):
        accumulator = accumulator_for(given[0])
        for piece in given:
            accumulator.feed(piece)
        return attributes_of(accumulator.reading(), content=content)
    reading = read_response(given)
    assert reading is not None
    return attributes_of(reading, content=content)


def check(found: dict[str, Any], case: Case) -> None:
    assert {name: found.get(name) for name in case.expected} == case.expected


def case_id(case: Case) -> str:
    return f"{case.library.partition(' ')[0]}-{case.name}"


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_librarys_own_objects(case: Case) -> None:
    """As the program gets them."""
    build = builder(case)
    given = [build(p) for p in case.data] if isinstance(case.data, list) else build(case.data)
    check(attributes(given), case)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_dictionaries(case: Case) -> None:
    """As a program without the library, or one that dumped its models, has them."""
    check(attributes(case.data), case)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_bodies(case: Case) -> None:
    """As they come over the wire: JSON, or server-sent events."""
    if isinstance(case.data, list):
        pieces = [p["data"] if case.library == MISTRAL else p for p in case.data]
        body = "".join(f"data: {json.dumps(p, ensure_ascii=False)}\r\n\r\n" for p in pieces)
    else:
        body = json.dumps(case.data)
    reading = read_body(body.encode())
    assert reading is not None
    check(attributes_of(reading), case)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_without_content_only_lengths(case: Case) -> None:
    """No text of the answer is left, its length is."""
    found = attributes(case.data, content=False)
    assert OUT not in found
    assert "error.message" not in found
    messages = case.expected.get(OUT)
    if messages is not None:
        texts = [p.get("content") for m in messages for p in m["parts"] if p.get("content")]
        assert found[OUT + ".length"] >= sum(map(len, texts))
        assert all(text not in json.dumps(found) for text in texts if len(text) > 2)
