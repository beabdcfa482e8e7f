"""Reading is total, changes nothing, and sees through wrappers; streams in odd orders and helper streams."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumina_stream.llm.reading import (
    BODY_READ,
    Piece,
    Reading,
    Usage,
    accumulator_for,
    attributes_of,
    read_body,
    read_response,
)
from lumina_stream.llm.shape import SLOTS_KEPT, TEXT_KEPT, fields
from tests.support.playback import Playback, playing
from tests.test_llm_shapes import (
    CASES,
    CHAT_CASES,
    block,
    chat,
    chunk,
    message,
    said,
    started,
    stopped,
)

# --- totality -----------------------------------------------------------------------------------------

NAMES = re.findall(
    r"\S+",
    """
    choices message delta content role tool_calls function arguments name id usage data
    type index text thinking object model output status candidates parts usageMetadata
    finish_reason stop_reason error code event response item chunk bytes done meta
    contentBlockDelta metadata messageStop stopReason billed_units tokens results
    prompt_tokens completion_tokens input_tokens cache_creation embeddings values
    response_metadata usage_metadata outputs conversation_id event_type toolUse
    partial_json content_block x_groq reasoning_content functionCall inlineData
    """,
)
KINDS = re.findall(
    r"\S+",
    """
    message message_start content_block_delta content_block_start message_delta error
    response.completed response.output_text.delta text tool_use function thinking chunk
    content-delta message-end tool-call-start completion input_json_delta text_delta
    chat.completion response list STOP stream-end thread.message.delta ai
    """,
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(KINDS),
    st.binary(max_size=4),
)
shapes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=5).map(
            lambda d: SimpleNamespace(**d)
        ),
    ),
    max_leaves=20,
)


def mutated(value: Any, chosen: random.Random) -> Any:
    """Return a real answer with some of it replaced, taken away or doubled."""
    if chosen.random() < 0.08:
        return chosen.choice(
            [None, 0, -1, 1e308, "x", [], {}, [None], {"type": "text"}, True, b"x"]
        )
    if isinstance(value, dict):
        kept = {k: mutated(v, chosen) for k, v in value.items() if chosen.random() > 0.06}
        return (
            kept
            if chosen.random() > 0.1
            else SimpleNamespace(**{str(k): v for k, v in kept.items()})
        )
    if isinstance(value, list):
        return [mutated(v, chosen) for v in value for _ in range(chosen.choice([1, 1, 1, 2]))]
    return value


@pytest.fixture(scope="module", autouse=True)
def faults() -> Iterator[list[Exception]]:
    """A reader's own mistakes are caught; here each is a failure."""
    from lumina_stream.llm import (
        anthropic,
        bedrock,
        cohere,
        google,
        ollama,
        openai_chat,
        openai_responses,
        others,
        reading,
        request,
    )

    seen: list[Exception] = []
    modules = [anthropic, bedrock, cohere, google, ollama, openai_chat, openai_responses]
    patch = pytest.MonkeyPatch()
    for module in [*modules, others, reading, request]:
        patch.setattr(module, "faulty", seen.append)
    yield seen
    patch.undo()


def checked(reading: Reading | None) -> None:
    """What was read must be able to travel."""
    if reading is None:
        return
    for content in (True, False):
        found = attributes_of(reading, content=content)
        assert all(type(name) is str for name in found)
        msgspec.msgpack.encode(found, enc_hook=repr)
    if reading.usage is not None:
        for name in reading.usage.__struct_fields__:
            number = getattr(reading.usage, name)
            assert number is None or (type(number) is int and number >= 0)
    assert all(type(reason) is str for reason in reading.finish_reasons)


@settings(max_examples=400, deadline=None)
@given(shapes)
def test_any_shape_is_read_or_not(faults: list[Exception], shape: Any) -> None:
    """Never an exception, out or caught."""
    checked(read_response(shape))
    accumulator = accumulator_for(shape)
    for piece in accumulator.feed(shape):
        assert type(piece.text) is str
    checked(accumulator.reading())
    assert not faults


@pytest.mark.parametrize("seed", range(60))
def test_damaged_answers_are_read_or_not(faults: list[Exception], seed: int) -> None:
    """Real answers with pieces replaced, missing, doubled and out of order."""
    chosen = random.Random(seed)
    for case in CASES:
        if isinstance(case.data, list):
            pieces = [mutated(piece, chosen) for piece in case.data]
            if seed % 3 == 0:
                chosen.shuffle(pieces)
            accumulator = accumulator_for(pieces[0])
            for piece in pieces:
                for found in accumulator.feed(piece):
                    assert type(found.text) is str
                    assert found.channel in ("output", "reasoning", "tool")
            checked(accumulator.reading())
            checked(accumulator.reading())
        else:
            checked(read_response(mutated(case.data, chosen)))
    assert not faults


class Hostile:
    """Every access raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class HostileMapping(Mapping[str, Any]):
    """A mapping whose items raise."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


HOSTILE = [Hostile, HostileMapping, MagicMock, object, lambda: type, lambda: len, int, lambda: "x"]


@pytest.mark.parametrize("make", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_objects(make: Any) -> None:
    """Objects that raise, and mocks that answer to any name, are not recognised."""
    value = make()
    assert read_response(value) is None
    assert accumulator_for(value).feed(value) in ([], [Piece("output", "x")])
    chat_like = {
        "choices": [{"message": {"content": value, "tool_calls": [value]}}],
        "usage": value,
    }
    checked(read_response(chat_like))


def test_a_cycle_is_bounded() -> None:
    """Arguments that hold themselves."""
    arguments: dict[str, Any] = {}
    arguments["self"] = arguments
    content = [{"type": "tool_use", "id": "t", "name": "f", "input": arguments}]
    reading = read_response(message(content))
    assert reading is not None
    json.dumps(attributes_of(reading))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_that_is_read_changes(case: Any) -> None:
    """The program's own object stays as it was."""
    before = copy.deepcopy(case.data)
    given = case.data if isinstance(case.data, list) else [case.data]
    accumulator = accumulator_for(given[0])
    for piece in given:
        accumulator.feed(piece)
        read_response(piece)
    accumulator.reading()
    assert case.data == before


# --- streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [c for c in CASES if isinstance(c.data, list)], ids=lambda c: c.name
)
def test_a_stream_cut_after_any_piece_is_readable_and_incomplete(case: Any) -> None:
    """Left early: what was said so far, and that it was not all."""
    whole = accumulator_for(case.data[0])
    for piece in case.data:
        whole.feed(piece)
    text = json.dumps(attributes_of(whole.reading()), default=str)
    for end in range(1, len(case.data)):
        accumulator = accumulator_for(case.data[0])
        pieces = [p for piece in case.data[:end] for p in accumulator.feed(piece)]
        reading = accumulator.reading()
        for piece in pieces:
            if piece.channel == "output" and len(piece.text) > 1:
                assert piece.text in text
        if end == 1 and len(case.data) > 2 and not reading.finish_reasons:
            assert reading.incomplete


def test_usage_is_the_last_that_was_said_field_by_field() -> None:
    """A later chunk with fewer fields takes none back; zero is said, None is not."""
    chunks = [
        chunk(
            {"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        ),
        chunk({"content": "b"}, "stop", usage={"prompt_tokens": None, "completion_tokens": 2}),
        chunk(None, usage={"prompt_tokens_details": {"cached_tokens": 0}}),
    ]
    accumulator = accumulator_for(chunks[0])
    for piece in chunks:
        accumulator.feed(piece)
    assert accumulator.reading().usage == Usage(
        input_tokens=5, output_tokens=2, total_tokens=6, cache_read_tokens=0
    )


@pytest.mark.parametrize("of", [dict, lambda delta: SimpleNamespace(**delta)])
def test_a_piece_that_says_more_than_words(of: Any) -> None:
    """Whatever stands beside the words of one piece is read as well."""
    call = {"index": 0, "id": "t1", "function": {"name": "look", "arguments": "{}"}}
    deltas: list[dict[str, Any]] = [
        {"content": "a", "role": None, "tool_calls": None},
        {"content": "b", "reasoning_content": "so"},
        {"content": "c", "refusal": "no"},
        {"content": "d", "tool_calls": [call]},
    ]
    accumulator = accumulator_for(chunk({"role": "assistant"}))
    pieces = [accumulator.feed(chunk(of(delta))) for delta in deltas]
    assert [[(p.channel, p.text) for p in found] for found in pieces] == [
        [("output", "a")],
        [("output", "b"), ("reasoning", "so")],
        [("output", "c"), ("output", "no")],
        [("output", "d"), ("tool", "{}")],
    ]
    assert [part["type"] for part in accumulator.reading().messages[0]["parts"]] == [
        "reasoning",
        "text",
        "refusal",
        "tool_call",
    ]


def test_google_s_usage_of_any_make() -> None:
    """Dictionaries, and objects that can only be asked field by field."""
    first = {"promptTokenCount": 5, "candidatesTokenCount": 1, "somethingNew": 9}
    chunks = [{"candidates": [], "usageMetadata": first}]
    chunks.append({"candidates": [], "usageMetadata": SimpleNamespace(candidatesTokenCount=2)})
    accumulator = accumulator_for(chunks[0])
    for piece in chunks:
        accumulator.feed(piece)
    assert accumulator.reading().usage == Usage(input_tokens=5, output_tokens=2)


def test_an_error_inside_a_good_stream() -> None:
    """Anthropic's error event in HTTP 200."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    accumulator = accumulator_for(started())
    for piece in (started(), *block(0, {"type": "text", "text": "He"}), error):
        accumulator.feed(piece)
    reading = accumulator.reading()
    assert reading.error == ("overloaded_error", "Overloaded")
    assert reading.messages == said("He", None)
    assert accumulator_for(error).feed(error) == []


def test_an_exception_inside_bedrocks_stream() -> None:
    """boto3 raises it; a dictionary that has it says so."""
    piece = {"throttlingException": {"message": "slow down"}}
    accumulator = accumulator_for(piece)
    accumulator.feed(piece)
    assert accumulator.reading().error == ("throttlingException", "slow down")


def test_bedrock_invoke_chunks_hold_another_protocol() -> None:
    """InvokeModelWithResponseStream with Claude: bytes of Anthropic's events, and Bedrock's counts."""
    events = [
        started(),
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
    ]
    metrics = {"inputTokenCount": 10, "outputTokenCount": 7}
    events += [*stopped("end_turn", output_tokens=7)]
    events[-1] = {**events[-1], "amazon-bedrock-invocationMetrics": metrics}
    pieces = [{"chunk": {"bytes": json.dumps(e).encode()}} for e in events]
    accumulator = accumulator_for(pieces[0])
    assert [p for piece in pieces for p in accumulator.feed(piece)] == [Piece("output", "Hi")]
    reading = accumulator.reading()
    assert (reading.provider, reading.finish_reasons) == ("aws.bedrock", ["end_turn"])
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (10, 7)


def test_bedrock_titan_and_llama_chunks() -> None:
    """Models without a protocol of their own."""
    pieces = [
        {"chunk": {"bytes": b'{"outputText":"He","index":0,"inputTextTokenCount":5}'}},
        {
            "chunk": {
                "bytes": b'{"outputText":"y","completionReason":"FINISH","totalOutputTextTokenCount":2}'
            }
        },
    ]
    accumulator = accumulator_for(pieces[0])
    assert "".join(p.text for piece in pieces for p in accumulator.feed(piece)) == "Hey"
    reading = accumulator.reading()
    assert reading.usage == Usage(input_tokens=5, output_tokens=2)
    llama = read_response(
        {
            "generation": "Hi",
            "prompt_token_count": 3,
            "generation_token_count": 1,
            "stop_reason": "stop",
        }
    )
    assert llama is not None
    assert llama.usage == Usage(input_tokens=3, output_tokens=1)


def test_an_unknown_stream_is_counted() -> None:
    """And looked at again: the first piece may be a keep-alive."""
    accumulator = accumulator_for({"hello": 1})
    for piece in ({"hello": 1}, object(), 3.5):
        assert accumulator.feed(piece) == []
    assert attributes_of(accumulator.reading()) == {"lumina.stream.pieces": 3}
    assert accumulator.feed(chunk({"content": "Hi"}, "stop")) == [Piece("output", "Hi")]
    assert accumulator.reading().messages == said("Hi")


def test_a_stream_of_bare_text() -> None:
    """Such as `text_stream`."""
    accumulator = accumulator_for("He")
    assert [p.text for t in ("He", "", "y") for p in accumulator.feed(t)] == ["He", "y"]
    assert accumulator.reading().messages == said("Hey", None)


def test_what_is_kept_of_a_stream_is_bounded() -> None:
    """A long stream is counted to its end, and kept to a bound; so are choices and tool calls."""
    text = "x" * 65_536
    accumulator = accumulator_for(chunk({"content": text}))
    for _ in range(2 * TEXT_KEPT // len(text)):
        accumulator.feed(chunk({"content": text}))
    (kept,) = accumulator.reading().messages[0]["parts"]
    assert len(kept["content"]) == TEXT_KEPT
    many = accumulator_for(chunk({}))
    for index in range(4 * SLOTS_KEPT):
        many.feed({"choices": [{"index": index, "delta": {"content": "x"}}]})
    assert len(many.reading().messages) == SLOTS_KEPT


@pytest.fixture(scope="module")
def server() -> Iterator[Playback]:
    with playing() as playback:
        yield playback


def sse(pieces: list[Any], named: bool = False) -> str:
    names = [f"event: {p['type']}\n" if named else "" for p in pieces]
    return "".join(f"{n}data: {json.dumps(p)}\n\n" for n, p in zip(names, pieces, strict=True))


def test_the_openai_librarys_helper_stream(server: Playback) -> None:
    """`chat.completions.stream()` adds events to the chunks; each text counts once."""
    openai = pytest.importorskip("openai")
    case = next(c for c in CHAT_CASES if c.name == "stream-with-usage-last")
    server.load(sse(case.data) + "data: [DONE]\n\n", "text/event-stream", 3)
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        with client.chat.completions.stream(model="gpt-5", messages=[]) as stream:
            events = list(stream)
        assert read_response(stream.get_final_completion()).messages == said("Hello")  # type: ignore[union-attr]
    accumulator = accumulator_for(events[0])
    pieces = [p.text for e in events for p in accumulator.feed(e)]
    assert pieces == ["He", "llo"]
    reading = accumulator.reading()
    assert reading.messages == said("Hello")
    assert reading.usage is not None
    assert reading.usage.cache_read_tokens == 4


def test_the_anthropic_librarys_helper_stream(server: Playback) -> None:
    """`messages.stream()` adds `text` events to the deltas; each text counts once."""
    anthropic = pytest.importorskip("anthropic")
    events = [
        started(),
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hey"}),
    ]
    server.load(sse([*events, *stopped("end_turn", output_tokens=9)], True), "text/event-stream", 4)
    with (
        anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
        client.messages.stream(model="claude-x", max_tokens=5, messages=[]) as stream,
    ):
        seen = list(stream)
        final = stream.get_final_message()
    accumulator = accumulator_for(seen[0])
    assert [p.text for e in seen for p in accumulator.feed(e)] == ["Hey"]
    whole = read_response(final)
    assert whole is not None
    assert whole.messages == accumulator.reading().messages == said("Hey", "end_turn")
    assert whole.usage == accumulator.reading().usage


# --- wrappers -----------------------------------------------------------------------------------------

ANSWER = chat(
    {"content": "Hi"}, usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
)


def test_a_raw_response_is_read_when_it_was_loaded(server: Playback) -> None:
    """The openai and anthropic libraries' `with_raw_response`; parsing stays the program's."""
    openai = pytest.importorskip("openai")
    server.load(json.dumps(ANSWER), "application/json")
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-5", messages=[])
        reading = read_response(raw)
        assert reading is not None
        assert reading.messages == said("Hi")
        assert raw.parse().choices[0].message.content == "Hi"
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        lazy = client.chat.completions.with_streaming_response
        with lazy.create(model="gpt-5", messages=[]) as response:
            assert read_response(response) is None  # nothing loaded: nothing is touched
            assert response.parse().choices[0].message.content == "Hi"


def test_plain_http_responses(server: Playback) -> None:
    """httpx, loaded or not."""
    httpx = pytest.importorskip("httpx")
    server.load(json.dumps(ANSWER), "application/json")
    reading = read_response(httpx.post(server.url))
    assert reading is not None
    assert reading.messages == said("Hi")
    with httpx.Client() as client, client.stream("POST", server.url) as response:
        assert read_response(response) is None
        assert json.loads(response.read()) == ANSWER


def test_a_wrapper_of_another_library() -> None:
    """LlamaIndex keeps the provider's answer under `raw`."""
    reading = read_response(SimpleNamespace(message="Hi", raw=ANSWER))
    assert reading is not None
    assert reading.messages == said("Hi")


def test_langchain_messages() -> None:
    """Usage in LangChain's words; a stream's usages are differences and add up."""
    whole = SimpleNamespace(
        type="ai",
        content="Hi",
        tool_calls=[{"name": "f", "args": {"x": 1}, "id": "a", "type": "tool_call"}],
        response_metadata={"model_name": "gpt-5", "finish_reason": "stop"},
        usage_metadata={
            "input_tokens": 5,
            "output_tokens": 2,
            "total_tokens": 7,
            "input_token_details": {"cache_read": 4},
        },
        id="run-1",
    )
    reading = read_response(whole)
    assert reading is not None
    assert reading.usage == Usage(
        input_tokens=5, output_tokens=2, total_tokens=7, cache_read_tokens=4
    )
    call = {"type": "tool_call", "id": "a", "name": "f", "arguments": {"x": 1}}
    assert reading.messages[0]["parts"] == [{"type": "text", "content": "Hi"}, call]
    chunks = [
        SimpleNamespace(type="AIMessageChunk", content=t, response_metadata=m, usage_metadata=u)
        for t, m, u in (
            ("He", {}, {"input_tokens": 5, "output_tokens": 0}),
            ("y", {"stop_reason": "end_turn"}, {"input_tokens": 0, "output_tokens": 3}),
        )
    ]
    accumulator = accumulator_for(chunks[0])
    assert [p.text for c in chunks for p in accumulator.feed(c)] == ["He", "y"]
    assert accumulator.reading().usage == Usage(input_tokens=5, output_tokens=3)


def test_narrower_shapes() -> None:
    """Anthropic's old completions, Mistral's conversations, watsonx, an error alone."""
    old = read_response(
        {"type": "completion", "completion": "Hi", "stop_reason": "stop", "model": "c"}
    )
    assert old is not None
    assert old.messages == said("Hi")
    talk = read_response(
        {
            "conversation_id": "k",
            "outputs": [
                {"type": "message.output", "model": "m", "content": "Hi"},
                {
                    "type": "function.call",
                    "tool_call_id": "a",
                    "name": "f",
                    "arguments": '{"x":1}',
                },
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    )
    assert talk is not None
    assert talk.extra == {"gen_ai.conversation.id": "k"}
    assert talk.messages[0]["parts"][1]["arguments"] == {"x": 1}
    watson = read_response(
        {
            "model_id": "w",
            "results": [
                {
                    "generated_text": "Hi",
                    "generated_token_count": 2,
                    "input_token_count": 5,
                    "stop_reason": "eos_token",
                }
            ],
        }
    )
    assert watson is not None
    assert watson.usage == Usage(input_tokens=5, output_tokens=2)
    failed = read_response({"error": {"type": "rate_limit", "message": "slow"}})
    assert failed is not None
    assert failed.error == ("rate_limit", "slow")


def test_events_of_assistants_and_interactions() -> None:
    """Text, and the last usage."""
    thread = [
        {"event": "thread.run.created", "data": {"id": "run1", "model": "gpt-4o", "usage": None}},
        {
            "event": "thread.message.delta",
            "data": {"delta": {"content": [{"index": 0, "type": "text", "text": {"value": "Hi"}}]}},
        },
        {
            "event": "thread.run.completed",
            "data": {
                "id": "run1",
                "status": "completed",
                "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
            },
        },
    ]
    accumulator = accumulator_for(thread[0])
    assert [p.text for e in thread for p in accumulator.feed(e)] == ["Hi"]
    reading = accumulator.reading()
    assert (reading.response_id, reading.finish_reasons) == ("run1", ["completed"])
    assert reading.usage == Usage(input_tokens=5, output_tokens=1, total_tokens=6)
    interaction = [
        {"event_type": "interaction.created", "interaction": {"id": "i1", "model": "gemini-3"}},
        {"event_type": "step.delta", "delta": {"type": "text", "text": "Hi"}},
        {
            "event_type": "interaction.completed",
            "interaction": {
                "id": "i1",
                "status": "completed",
                "usage": {
                    "total_input_tokens": 4,
                    "total_output_tokens": 2,
                    "total_thought_tokens": 3,
                    "total_tokens": 9,
                },
            },
        },
    ]
    accumulator = accumulator_for(interaction[0])
    assert [p.text for e in interaction for p in accumulator.feed(e)] == ["Hi"]
    usage = accumulator.reading().usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (4, 5, 3)


# --- bodies and fields --------------------------------------------------------------------------------


def test_bodies_of_other_kinds() -> None:
    """JSON arrays, lines, comments, separators inside text, rubbish, and more than is read."""
    pieces = [chunk({"content": "a\u2028b\u0085c"}), chunk({}, "stop")]
    lines = "\n".join(json.dumps(p, ensure_ascii=False) for p in pieces)
    events = ": comment\n\n" + "".join(
        f"id: 1\ndata: {json.dumps(p, ensure_ascii=False)}\n\n" for p in pieces
    )
    for body in (json.dumps(pieces), lines, events + "data: [DONE]\n\n", events.encode()):
        reading = read_body(body)
        assert reading is not None
        assert reading.messages == said("a\u2028b\u0085c")
    for body in ("", "   ", "<html>", "{", "data: nothing\n\n", b"\xff\xfe", "[1, 2]", "{}"):
        assert read_body(body) is None
    assert read_body(b'{"choices":[]' + b" " * BODY_READ + b"}") is None


def test_fields_of_a_pydantic_model_with_extras() -> None:
    """What the class does not know is found too."""
    pydantic = pytest.importorskip("pydantic")

    class Loose(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        known: int = 1

    found = fields(Loose(unknown="x"))
    assert (found.get("known"), found.get("unknown"), found.get("neither")) == (1, "x", None)


@pytest.mark.parametrize(
    ("value", "expected"), [(5, 5), (5.0, 5), (-1, None), (True, None), ("5", None), (2**64, None)]
)
def test_counts(value: Any, expected: int | None) -> None:
    """Whole and not negative, or not said."""
    reading = read_response({"choices": [], "usage": {"prompt_tokens": value}})
    assert reading is not None
    assert reading.usage == (None if expected is None else Usage(input_tokens=expected))


def test_media_are_measured_not_copied() -> None:
    """An answer with an image."""
    part = {"inlineData": {"mimeType": "image/png", "data": "QUJD" * 1000}}
    reading = read_response(
        {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    )
    assert reading is not None
    assert reading.messages[0]["parts"] == [
        {"type": "blob", "modality": "image", "mime_type": "image/png", "length": 4000}
    ]
