"""`trace_llm`: what is recorded of a call, and what the program notices of it: nothing."""

import contextlib
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.llm.call import TraceLlm, trace_llm
from lumina_stream.llm.span import LlmSpan
from lumina_stream.model.codec import encode

MESSAGES = [{"role": "user", "content": "the question"}]


def answer(text: str = "the answer", finish: str = "stop") -> dict[str, Any]:
    """A whole answer of an OpenAI-compatible server."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "r-1",
        "object": "chat.completion",
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "r", "object": "chat.completion.chunk", "model": "m-1", "choices": [choice]}


def chunks(*texts: str) -> Iterator[dict[str, Any]]:
    for text in texts:
        yield chunk(text)
    yield chunk("", "stop")


# --- blocks -------------------------------------------------------------------------------------------


def test_a_block(recorded: Recorded) -> None:
    with trace_llm("synthesis", provider="anthropic", model="m", user="u") as call:
        assert isinstance(call, LlmSpan)
        assert lumina.current_span() is call
        given = answer()
        assert call.record(given) is given
    span = recorded.one("synthesis")
    assert (span.kind, span.state) == ("llm", "ok")
    attributes = span.attributes
    assert attributes["user"] == "u"
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == "m"
    assert attributes["gen_ai.response.model"] == "m-1"
    assert attributes["gen_ai.response.id"] == "r-1"
    assert attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert attributes["gen_ai.usage.input_tokens"] == 7
    assert attributes["gen_ai.usage.output_tokens"] == 2
    assert attributes["gen_ai.output.messages"][0]["parts"] == [
        {"type": "text", "content": "the answer"}
    ]
    assert attributes["gen_ai.provider.name"] == "anthropic", "what the program says wins"


@pytest.mark.anyio
async def test_an_async_block(recorded: Recorded) -> None:
    async def create() -> dict[str, Any]:
        return answer()

    async with trace_llm("a") as call:
        call.record(await create())
    async with trace_llm("b") as call:
        assert await call.record(create()) == answer()
    for name in "ab":
        assert recorded.attributes(name)["gen_ai.usage.input_tokens"] == 7


@pytest.mark.parametrize(
    ("options", "name", "kind"),
    [
        ({}, "chat", "llm"),
        ({"model": "m"}, "chat m", "llm"),
        ({"model": "m", "operation": "embeddings"}, "embeddings m", "embedding"),
        ({"operation": "invoke_agent"}, "invoke_agent", "agent"),
        ({"kind": "mine"}, "chat", "mine"),
    ],
)
def test_names_and_kinds(recorded: Recorded, options: dict[str, Any], name: str, kind: str) -> None:
    with trace_llm(**options):
        pass
    assert recorded.one(name).kind == kind


def test_the_options_of_trace(recorded: Recorded) -> None:
    with lumina.trace("a") as a, lumina.with_attributes(customer="c"):
        pass
    with (
        lumina.with_attributes(customer="c"),
        trace_llm("b", parent=a, attributes={"x": 1}),
        trace_llm("c", root=True, links=[a]),
    ):
        pass
    assert recorded.shape() == {"a": (None, "ok"), "b": ("a", "ok"), "c": (None, "ok")}
    assert recorded.attributes("b") == {"customer": "c", "x": 1, "gen_ai.operation.name": "chat"}
    assert recorded.one("c").links


def test_an_answer_that_is_an_error(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        call.record(
            {"error": {"type": "overloaded_error", "message": "try later"}, "type": "error"}
        )
    span = recorded.one("call")
    assert span.state == "error"
    assert span.error is not None
    assert (span.error.type, span.error.message) == ("overloaded_error", "try later")


def test_a_later_answer_makes_up_for_it(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        call.record(
            {"error": {"type": "overloaded_error", "message": "try later"}, "type": "error"}
        )
        call.record(answer())
    assert recorded.one("call").state == "ok"


@pytest.mark.parametrize("what", [None, 7, object(), [], {}, b"x", [1, 2], type, lambda: 1, ...])
def test_what_is_no_answer_comes_back_as_it_is(recorded: Recorded, what: Any) -> None:
    with trace_llm("call") as call:
        assert call.record(what) is what
    assert recorded.one("call").state == "ok"


def test_a_value_whose_own_code_raises() -> None:
    """Whatever it does to us is counted at most, and does not reach the program."""

    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            if name == "__class__":
                return object.__getattribute__(self, name)
            raise RuntimeError(name)

        def __iter__(self) -> Any:
            raise RuntimeError("iter")

        def __repr__(self) -> str:
            raise RuntimeError

    with (
        lumina.init(service_name="t", export=False, enabled=True) as runtime,
        lumina.subscribe() as subscription,
    ):
        recorded = Recorded(runtime, subscription)
        with trace_llm("call") as call:
            with pytest.raises(RuntimeError, match="iter"):
                iter(call.record(Hostile()))
            assert call.record([Hostile()])
            assert call.record({"choices": Hostile(), "usage": Hostile()})
        with trace_llm("other") as call:
            call.record_request({"messages": Hostile(), "model": Hostile()})
            call.record_request({"messages": [Hostile()], 7: 8})  # type: ignore[dict-item]
        assert recorded.one("other").state == "ok"


def test_text_alone_is_an_answer(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        assert call.record("plain") == "plain"
    assert "plain" in str(recorded.attributes("call")["gen_ai.output.messages"])


def test_pieces_that_the_program_collected(recorded: Recorded) -> None:
    collected = list(chunks("a", "b"))
    with trace_llm("call") as call:
        assert call.record(collected) is collected
    attributes = recorded.attributes("call")
    assert attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert attributes["gen_ai.output.messages"][0]["parts"][0]["content"] == "ab"


def test_a_request(recorded: Recorded) -> None:
    with trace_llm("call", model="mine") as call:
        call.record_request({"model": "m", "messages": MESSAGES, "temperature": 0.5})
    attributes = recorded.attributes("call")
    assert attributes["gen_ai.request.model"] == "mine"
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert "the question" in str(attributes["gen_ai.input.messages"])


def test_what_an_attribute_would_cut_travels_as_text(recorded: Recorded) -> None:
    question, said = "q" * 20_000, "a" * 100_000
    with trace_llm("call") as call:
        call.record_request({"messages": [{"role": "user", "content": question}]})
        call.record(answer(said))
    span = recorded.one("call")
    assert span.text("input") == question
    assert span.text("output") == said


def test_short_texts_do_not_travel_twice(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        call.record_request({"messages": MESSAGES})
        call.record(answer())
    assert recorded.one("call").text_channels() == []


# --- functions -----------------------------------------------------------------------------------------


class Client:
    """A method that returns a coroutine without being a coroutine function, and others."""

    def create(self, **kwargs: Any) -> dict[str, Any]:
        return answer()

    async def acreate(self, **kwargs: Any) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        assert isinstance(lumina.current_span(), LlmSpan)
        return answer()

    def returns_coroutine(self, **kwargs: Any) -> Any:
        return self.acreate(**kwargs)

    def stream(self, **kwargs: Any) -> Iterator[dict[str, Any]]:
        return chunks("a", "b")


def test_inline(recorded: Recorded) -> None:
    result = trace_llm("synthesis", provider="x")(Client().create)(model="m", messages=MESSAGES)
    assert result == answer()
    attributes = recorded.attributes("synthesis")
    assert attributes["gen_ai.request.model"] == "m"
    assert attributes["gen_ai.usage.output_tokens"] == 2
    assert attributes["gen_ai.provider.name"] == "x"


@pytest.mark.anyio
async def test_inline_async(recorded: Recorded) -> None:
    for name in ("acreate", "returns_coroutine"):
        result = await trace_llm(name)(getattr(Client(), name))(model="m", messages=MESSAGES)
        assert result == answer()
        attributes = recorded.attributes(name)
        assert attributes["gen_ai.request.model"] == "m"
        assert attributes["gen_ai.usage.output_tokens"] == 2


def test_inline_stream(recorded: Recorded) -> None:
    stream = trace_llm("synthesis")(Client().stream)(model="m", messages=MESSAGES)
    assert lumina.current_span().trace_id == "0" * 32
    assert recorded.one("synthesis").state == "running"
    assert len(list(stream)) == 3
    assert recorded.one("synthesis").state == "ok"


@pytest.mark.anyio
async def test_decorated_functions_stay_of_their_sort(recorded: Recorded) -> None:
    @trace_llm
    def plain() -> Any:
        return answer()

    @trace_llm("coroutine", model="m")
    async def coroutine() -> Any:
        return answer()

    @trace_llm
    def generator(n: int) -> Any:
        got = yield from chunks(*"ab"[:n])
        return got or "value"

    @trace_llm
    async def async_generator(n: int) -> AsyncIterator[Any]:
        for piece in chunks(*"ab"[:n]):
            yield piece

    class Holder:
        @staticmethod
        @trace_llm
        def static() -> Any:
            return answer()

        @trace_llm
        @classmethod
        def of_class(cls) -> Any:
            return cls, answer()

    assert plain() == answer()
    assert await coroutine() == answer()
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert len(list(generator(2))) == 3
    assert len([piece async for piece in async_generator(2)]) == 3
    assert Holder.static() == answer()
    assert Holder.of_class()[0] is Holder
    for name in ("generator", "async_generator"):
        span = recorded.one(name)
        assert span.state == "ok"
        assert span.text("output") == "ab"
    assert {span.name for span in recorded.spans()} >= {"plain", "coroutine", "Holder.static"}


def test_a_decorated_generator_starts_with_its_first_item(recorded: Recorded) -> None:
    @trace_llm
    def generator() -> Any:
        yield chunk("a")
        yield chunk("b")

    running = generator()
    assert recorded.types() == []
    next(running)
    running.close()
    assert recorded.one("generator").state == "cancelled"


def test_an_error_of_a_decorated_function(recorded: Recorded) -> None:
    @trace_llm
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert recorded.one("fails").state == "error"


# --- off, and not sampled --------------------------------------------------------------------------------


def test_off() -> None:
    block = trace_llm("x", provider="p")
    assert isinstance(block, TraceLlm)
    with block as call:
        given = answer()
        assert call.record(given) is given
        assert call.record_request({"messages": MESSAGES}) is call
        stream = chunks("a")
        assert call.record(stream) is stream
    assert trace_llm("x")(Client().create)() == answer()


@pytest.mark.anyio
async def test_off_async() -> None:
    async with trace_llm("x") as call:
        assert call.record(7) == 7


def test_not_sampled() -> None:
    with (
        lumina.init(service_name="t", export=False, enabled=True, sample_rate=0.0),
        lumina.subscribe() as subscription,
    ):
        with trace_llm("root") as call:
            stream = chunks("a")
            assert call.record(stream) is stream
            with trace_llm("child") as child:
                assert child.record(7) == 7
                assert lumina.current_span().trace_id == call.trace_id
        assert lumina.current_span().trace_id == "0" * 32
        assert subscription.poll().facts == ()


# --- without content ---------------------------------------------------------------------------------------

SECRET = "the-secret-words"


def test_no_text_anywhere_without_content() -> None:
    """Searched for in the bytes of every event."""
    with lumina.init(
        service_name="t", enabled=True, export=False, capture_content=False
    ) as runtime:
        seen: list[bytes] = []
        runtime.queue.taps = (seen.append,)
        request = {
            "model": "m",
            "system": SECRET,
            "messages": [
                {"role": "user", "content": SECRET},
                {"role": "user", "content": SECRET * 999},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": SECRET}}],
        }
        with contextlib.suppress(ValueError), trace_llm("call") as call:
            call.record_request(request)
            call.record(answer(SECRET))
            call.record(answer(SECRET * 999))
            call.record(SECRET)
            call.record([chunk(SECRET), chunk(SECRET, "stop")])
            list(call.record(chunks(SECRET, SECRET)))
            call.record({"type": "error", "error": {"type": "e", "message": SECRET}})
            call.record_exception(ValueError(SECRET))
            raise ValueError(f"the model said {SECRET}")

        def fails() -> Iterator[Any]:
            yield chunk(SECRET)
            raise ValueError(SECRET)

        with contextlib.suppress(ValueError), lumina.trace("around"), trace_llm("stream") as call:
            list(call.record(fails()))
        trace_llm("inline")(lambda **kwargs: answer(SECRET))(**request)
        with contextlib.suppress(ValueError), lumina.trace("capturing", capture=True):
            raise ValueError("the-secret-words in the source line")
        assert runtime.recorder.faults == 0, runtime.recorder.last_fault
    everything = b"".join(seen)
    assert b"ValueError" in everything
    assert b"test_llm_call.py" in everything
    assert b"gen_ai.input.messages" in everything
    assert SECRET.encode() not in everything
    assert encode(SECRET)[3:] not in everything


# --- imports --------------------------------------------------------------------------------------------------


def test_importing_it_needs_no_provider_s_library() -> None:
    code = (
        "import lumina_stream.llm.call, sys;"
        "heavy = {'openai', 'anthropic', 'google', 'mistralai', 'cohere', 'botocore', 'pydantic',"
        " 'asyncio', 'opentelemetry', 'httpx'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
