"""A recorded stream: the program sees what it would see without us, and the span ends once, rightly.

Each case plays the same script of a program (take items, throw, close, leave a block, drop) against a
bare stream and a recorded one, of many makes, and compares everything that the program can see.
"""

import asyncio
import contextlib
import gc
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.llm.call import trace_llm
from lumina_stream.llm.span import LlmSpan


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """Leave what there is already out of the collections that these tests ask for."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    """One piece of an OpenAI chat stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "r", "object": "chat.completion.chunk", "model": "m-1", "choices": [choice]}


class Boom(Exception):
    """What a stream raises."""


class Thrown(Exception):
    """What the program throws into a stream."""


class Source:
    """What a stream under test yields, and the log of what its own code did."""

    def __init__(self, count: int, fails: bool, finishes: bool) -> None:
        self.log: list[Any] = []
        self.items = [chunk(f"t{n} ") for n in range(count)]
        if finishes and self.items:
            self.items[-1] = chunk("end", "stop")
        self.fails = fails

    def generate(self) -> Iterator[Any]:
        self.log.append("begin")
        try:
            for item in self.items:
                self.log.append("make")
                try:
                    got = yield item
                    if got is not None:
                        self.log.append(("got", got))
                except Thrown:
                    self.log.append("caught")
                    yield "after a throw"
            if self.fails:
                raise Boom("stream")
            return "value"
        finally:
            self.log.append("end")

    async def agenerate(self) -> AsyncIterator[Any]:
        self.log.append("begin")
        try:
            for item in self.items:
                await anyio.lowlevel.checkpoint()
                self.log.append("make")
                try:
                    got = yield item
                    if got is not None:
                        self.log.append(("got", got))
                except Thrown:
                    self.log.append("caught")
                    yield "after a throw"
            if self.fails:
                raise Boom("stream")
        finally:
            self.log.append("end")


class SdkStream:
    """As the client libraries have it: an inner generator, close, a context manager."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._iterator = source.generate()

    def __next__(self) -> Any:
        return self._iterator.__next__()

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterator:  # noqa: UP028 - `yield from` would close the inner one
            yield item

    def __enter__(self) -> "SdkStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.source.log.append("close")
        self._iterator.close()  # type: ignore[attr-defined]

    def final(self) -> str:
        return "".join(item["choices"][0]["delta"]["content"] for item in self)


class SelfIterating(SdkStream):
    def __iter__(self) -> Iterator[Any]:
        return self


class CallsItself(SdkStream):
    """Its `__iter__` takes its items by its own `__next__`."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.__next__()
            except StopIteration:
                return


class Slotted:
    __slots__ = ("_iterator", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._iterator = source.generate()

    __next__ = SdkStream.__next__
    __iter__ = SelfIterating.__iter__
    __enter__ = SdkStream.__enter__
    __exit__ = SdkStream.__exit__
    close = SdkStream.close


class Underived(SdkStream):
    """A class that may not be derived from."""

    def __init_subclass__(cls) -> None:
        raise TypeError("final")


class IterableOnly:
    """As botocore's EventStream: an iterable that is no iterator."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._iterator = source.generate()

    def __iter__(self) -> Iterator[Any]:
        yield from self._iterator

    close = SdkStream.close


class AsyncSdkStream:
    def __init__(self, source: Source) -> None:
        self.source = source
        self._iterator = source.agenerate()

    async def __anext__(self) -> Any:
        return await self._iterator.__anext__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in self._iterator:
            yield item

    async def __aenter__(self) -> "AsyncSdkStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.source.log.append("close")
        await self._iterator.aclose()  # type: ignore[attr-defined]


class AsyncSelfIterating(AsyncSdkStream):
    def __aiter__(self) -> AsyncIterator[Any]:  # type: ignore[override]
        return self


class AsyncSlotted:
    __slots__ = ("_iterator", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._iterator = source.agenerate()

    __anext__ = AsyncSdkStream.__anext__
    __aiter__ = AsyncSelfIterating.__aiter__
    __aenter__ = AsyncSdkStream.__aenter__
    __aexit__ = AsyncSdkStream.__aexit__
    close = AsyncSdkStream.close


SYNC: dict[str, Callable[[Source], Any]] = {
    "generator": Source.generate,
    "sdk": SdkStream,
    "self": SelfIterating,
    "calls itself": CallsItself,
    "slots": Slotted,
    "final": Underived,
    "iterable": IterableOnly,
    "builtin": lambda source: map(lambda item: item, source.generate()),
}
ASYNC: dict[str, Callable[[Source], Any]] = {
    "generator": Source.agenerate,
    "sdk": AsyncSdkStream,
    "self": AsyncSelfIterating,
    "slots": AsyncSlotted,
}

ACTIONS = st.lists(
    st.sampled_from(["next", "loop 1", "loop 2", "loop", "send", "throw", "throw boom", "close"]),
    max_size=5,
)
ENDS = st.sampled_from(["drop", "drop", "close", "with", "with error"])
SOURCES = st.builds(dict, count=st.integers(0, 4), fails=st.booleans(), finishes=st.booleans())


def seen_of(error: BaseException) -> tuple[Any, ...]:
    """Return what a program can see of an exception."""
    return (
        type(error),
        str(error),
        getattr(error, "value", None),
        type(error.__context__),
        type(error.__cause__),
        error.__suppress_context__,
    )


def play(stream: Any, actions: list[str], end: str) -> list[Any]:
    """Do what a program might; return all that it saw."""
    seen: list[Any] = []

    def attempt(act: Callable[[], Any]) -> None:
        try:
            seen.append(act())
        except (Exception, GeneratorExit) as error:
            seen.append(seen_of(error))

    def loop(most: int) -> list[Any]:
        taken: list[Any] = []
        for item in stream:
            taken.append(item)
            if len(taken) == most:
                break
        return taken

    def act(action: str) -> None:
        match action.split():
            case ["next"]:
                attempt(lambda: next(stream))
            case ["loop", *most]:
                attempt(lambda: loop(int(most[0]) if most else 99))
            case ["send"]:
                attempt(lambda: stream.send("hello"))
            case ["throw"]:
                attempt(lambda: stream.throw(Thrown("in")))
            case ["throw", "boom"]:
                attempt(lambda: stream.throw(Boom("in")))
            case _:
                attempt(lambda: stream.close())

    def block() -> None:
        with stream as inner:
            seen.append(inner is stream)
            for action in actions:
                act(action)
            if end == "with error":
                raise Thrown("of the program")

    if end.startswith("with"):
        attempt(block)
    else:
        for action in actions:
            act(action)
        if end == "close":
            act("close")
    return seen


async def aplay(stream: Any, actions: list[str], end: str) -> list[Any]:
    """As `play`, async."""
    seen: list[Any] = []

    async def attempt(act: Callable[[], Any]) -> None:
        try:
            seen.append(await act())
        except (Exception, GeneratorExit) as error:
            seen.append(seen_of(error))

    async def loop(most: int) -> list[Any]:
        taken: list[Any] = []
        iterator = aiter(stream)
        async for item in iterator:
            taken.append(item)
            if len(taken) == most:
                break
        if iterator is not stream and hasattr(iterator, "aclose"):
            await iterator.aclose()  # else trio says that it was left to the collector
        return taken

    async def act(action: str) -> None:
        match action.split():
            case ["next"]:
                await attempt(lambda: stream.__anext__())
            case ["loop", *most]:
                await attempt(lambda: loop(int(most[0]) if most else 99))
            case ["send"]:
                await attempt(lambda: stream.asend("hello"))
            case ["throw"]:
                await attempt(lambda: stream.athrow(Thrown("in")))
            case ["throw", "boom"]:
                await attempt(lambda: stream.athrow(Boom("in")))
            case _:
                await attempt(getattr(stream, "aclose", None) or stream.close)

    async def block() -> None:
        async with stream as inner:
            seen.append(inner is stream)
            for action in actions:
                await act(action)
            if end == "with error":
                raise Thrown("of the program")

    if end.startswith("with"):
        await attempt(block)
    else:
        for action in actions:
            await act(action)
    return seen


@contextlib.contextmanager
def recording() -> Iterator[Recorded]:
    with (
        lumina.init(service_name="t", export=False, enabled=True) as runtime,
        lumina.subscribe() as subscription,
    ):
        yield Recorded(runtime, subscription)
        assert runtime.recorder.faults == 0, runtime.recorder.last_fault
        assert lumina.current_span().trace_id == "0" * 32


def ends_once(recorded: Recorded) -> str:
    """Return the state of the only span, which has ended exactly once."""
    assert recorded.types().count("span_ended") == 1
    (span,) = recorded.spans()
    assert span.state != "running"
    return span.state


@settings(max_examples=300)
@given(make=st.sampled_from(sorted(SYNC)), source=SOURCES, actions=ACTIONS, end=ENDS)
def test_a_sync_program_sees_the_same(
    make: str, source: dict[str, Any], actions: list[str], end: str
) -> None:
    bare = Source(**source)
    stream = SYNC[make](bare)
    expected = play(stream, actions, end)
    del stream
    gc.collect()
    with recording() as recorded:
        own = Source(**source)
        with trace_llm("call") as call:
            stream = call.record(SYNC[make](own))
        seen = play(stream, actions, end)
        del stream
        gc.collect()
        assert ends_once(recorded) in ("ok", "error", "cancelled", "abandoned")
    assert seen == expected
    assert own.log == bare.log


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=120)
@given(make=st.sampled_from(sorted(ASYNC)), source=SOURCES, actions=ACTIONS, end=ENDS)
def test_an_async_program_sees_the_same(
    backend: str, make: str, source: dict[str, Any], actions: list[str], end: str
) -> None:
    async def bare_program(bare: Source) -> list[Any]:
        stream = ASYNC[make](bare)
        seen = await aplay(stream, actions, end)
        await finish(stream)
        return seen

    async def program(own: Source) -> list[Any]:
        async with trace_llm("call") as call:
            stream = call.record(ASYNC[make](own))
        seen = await aplay(stream, actions, end)
        await finish(stream)
        return seen

    async def finish(stream: Any) -> None:
        # Async generators that are left open are the loop's: closed here, so that both see the same.
        await (getattr(stream, "aclose", None) or stream.close)()

    bare, own = Source(**source), Source(**source)
    expected = anyio.run(bare_program, bare, backend=backend)
    with recording() as recorded:
        seen = anyio.run(program, own, backend=backend)
        gc.collect()
        assert ends_once(recorded) in ("ok", "error", "cancelled", "abandoned")
    assert seen == expected
    assert own.log == bare.log


# --- how the span ends -----------------------------------------------------------------------------


def use(stream: Any, how: str) -> None:
    match how:
        case "full":
            for _ in stream:
                pass
        case "closed":
            next(iter(stream))
            stream.close()
        case "with":
            with stream:
                next(iter(stream))
        case "with error":
            with contextlib.suppress(Thrown), stream:
                next(iter(stream))
                raise Thrown
        case "unused":
            pass
        case _:
            next(iter(stream))


STATES = [
    ("full", {}, "ok"),
    ("full", {"count": 0}, "ok"),
    ("full", {"fails": True}, "error"),
    ("closed", {}, "cancelled"),
    ("closed", {"count": 1, "finishes": True}, "ok"),
    ("with", {}, "cancelled"),
    ("with error", {}, "cancelled"),
    ("dropped", {}, "abandoned"),
    ("dropped", {"count": 1, "finishes": True}, "ok"),
    ("unused", {}, "abandoned"),
]


@pytest.mark.parametrize("make", ["sdk", "self", "slots"])
@pytest.mark.parametrize(("how", "source", "state"), STATES)
@pytest.mark.parametrize("left", ["first", "inside", "dropped inside"])
def test_the_state_of_the_span(
    recorded: Recorded, make: str, how: str, source: dict[str, Any], state: str, left: str
) -> None:
    own = Source(**{"count": 3, "fails": False, "finishes": False, **source})
    with trace_llm("call") as call:
        stream = call.record(SYNC[make](own))
        if left != "first":
            with contextlib.suppress(Boom):
                use(stream, how)
        if left == "dropped inside":
            del stream
            gc.collect()
    if left == "first":
        assert lumina.current_span() is not call
        assert "span_ended" not in recorded.types()
        with contextlib.suppress(Boom):
            use(stream, how)
    stream = None
    gc.collect()
    assert ends_once(recorded) == state


def test_an_error_that_leaves_the_block_ends_the_span_at_once(recorded: Recorded) -> None:
    own = Source(3, False, False)
    with contextlib.suppress(Thrown), trace_llm("call") as call:
        stream = call.record(SdkStream(own))
        next(stream)
        raise Thrown("mine")
    assert ends_once(recorded) == "error"
    assert recorded.error("call").message == "mine"
    assert recorded.attributes("call")["lumina.stream.pieces"] == 1
    assert len(list(stream)) == 2  # goes on for the program
    assert ends_once(recorded) == "error"


def test_an_error_of_the_stream_is_the_span_s_even_when_the_program_goes_on(
    recorded: Recorded,
) -> None:
    with trace_llm("call") as call:
        with contextlib.suppress(Boom):
            list(call.record(SdkStream(Source(2, True, False))))
        call.set_attribute("after", 1)
    assert ends_once(recorded) == "error"
    assert recorded.error("call").message == "stream"
    assert recorded.attributes("call")["after"] == 1


def test_a_second_answer_replaces_the_first_one_s_outcome(recorded: Recorded) -> None:
    """A retry inside of one span."""
    with trace_llm("call") as call:
        with contextlib.suppress(Boom):
            list(call.record(SdkStream(Source(1, True, False))))
        list(call.record(SdkStream(Source(2, False, True))))
    assert ends_once(recorded) == "ok"
    assert recorded.one("call").text("output") == "t0 t0 end"


def test_what_set_status_says_wins(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        call.set_status("ok")
        with contextlib.suppress(Boom):
            list(call.record(SdkStream(Source(1, True, False))))
    assert ends_once(recorded) == "ok"


def test_two_streams_are_both_waited_for(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        one = call.record(SdkStream(Source(1, False, True)))
        two = call.record(SdkStream(Source(1, False, True)))
    list(two)
    assert "span_ended" not in recorded.types()
    list(one)
    assert ends_once(recorded) == "ok"


def test_end_does_not_wait(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        stream = call.record(SdkStream(Source(3, False, True)))
    next(stream)
    call.end()
    assert ends_once(recorded) == "ok"
    assert recorded.attributes("call")["lumina.stream.pieces"] == 1
    assert len(list(stream)) == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("make", sorted(ASYNC))
@pytest.mark.parametrize("inside", [True, False])
def test_a_cancelled_step(recorded: Recorded, backend: str, make: str, inside: bool) -> None:
    class Slow(Source):
        async def agenerate(self) -> AsyncIterator[Any]:
            yield self.items[0]
            await anyio.sleep_forever()

    async def consume(stream: Any, scope: anyio.CancelScope) -> None:
        await stream.__anext__()
        scope.cancel()
        await stream.__anext__()

    async def program() -> None:
        with anyio.CancelScope() as scope:
            async with trace_llm("call") as call:
                stream = call.record(ASYNC[make](Slow(2, False, False)))
                if inside:
                    await consume(stream, scope)
        if not inside:
            assert lumina.current_span() is not call
            with anyio.CancelScope() as scope:
                await consume(stream, scope)
        assert lumina.current_span().trace_id == "0" * 32

    anyio.run(program, backend=backend)
    assert ends_once(recorded) == "cancelled"


@pytest.mark.parametrize("make", sorted(ASYNC))
def test_a_dropped_async_stream(recorded: Recorded, make: str) -> None:
    own = Source(3, False, False)

    async def program() -> None:
        async with trace_llm("call") as call:
            stream = call.record(ASYNC[make](own))
        await stream.__anext__()
        del stream
        gc.collect()
        while "end" not in own.log:
            await asyncio.sleep(0)

    asyncio.run(program())
    gc.collect()
    assert ends_once(recorded) == "abandoned"


@pytest.mark.parametrize("make", sorted(ASYNC))
def test_a_loop_that_ends_first(recorded: Recorded, make: str) -> None:
    """asyncio closes the async generators that are left open when it ends."""
    own = Source(3, False, False)
    held: list[Any] = []

    async def program() -> None:
        async with trace_llm("call") as call:
            held.append(call.record(ASYNC[make](own)))
        await held[0].__anext__()

    asyncio.run(program())
    assert own.log[-1] == "end"
    held.clear()
    gc.collect()
    assert ends_once(recorded) == "abandoned"


# --- in place ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["sdk", "self", "calls itself", "iterable"])
def test_in_place(recorded: Recorded, make: str) -> None:
    with trace_llm("call") as call:
        stream = SYNC[make](Source(2, False, True))
        kind = type(stream)
        assert call.record(stream) is stream
    assert isinstance(stream, kind)
    assert type(stream).__name__ == kind.__name__
    assert list(stream)
    assert recorded.one("call").text("output") == "t0 end"
    assert recorded.attributes("call")["lumina.stream.pieces"] == 2


def test_a_method_that_consumes_the_stream(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        stream = call.record(SdkStream(Source(2, False, True)))
    assert stream.final() == "t0 end"
    assert ends_once(recorded) == "ok"


@pytest.mark.parametrize("make", ["generator", "slots", "final", "builtin"])
def test_a_proxy_is_taken_for_what_it_stands_for(recorded: Recorded, make: str) -> None:
    with trace_llm("call") as call:
        bare = SYNC[make](Source(2, False, True))
        stream = call.record(bare)
    assert stream is not bare
    assert isinstance(stream, type(bare))
    assert stream == bare
    assert hash(stream) == hash(bare)
    assert repr(stream) == repr(bare)
    assert dir(stream) == dir(bare)
    assert iter(stream) is stream or make == "final"
    assert list(stream)
    if make == "generator":
        assert isinstance(stream, types.GeneratorType)
        assert stream.gi_frame is None
    if make == "slots":
        stream.source = None
        assert bare.source is None
        del stream.source
        assert not hasattr(bare, "source")
    assert ends_once(recorded) == "ok"


def test_yield_from_a_recorded_generator_gives_its_value(recorded: Recorded) -> None:
    def program(stream: Any) -> Iterator[Any]:
        return (yield from stream)

    with trace_llm("call") as call:
        running = program(call.record(Source(1, False, True).generate()))
    next(running)
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert stop.value.value == "value"


def test_recorded_twice_by_one_span_counts_once(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        stream = call.record(SdkStream(Source(2, False, True)))
        assert call.record(stream) is stream
    list(stream)
    assert recorded.one("call").text("output") == "t0 end"


def test_recorded_by_two_spans(recorded: Recorded) -> None:
    """By what instruments a library, and by the program around it."""
    with trace_llm("outer") as outer:
        with trace_llm("inner") as inner:
            stream = inner.record(SdkStream(Source(2, False, True)))
        assert outer.record(stream) is stream
    list(stream)
    assert recorded.shape() == {"outer": (None, "ok"), "inner": ("outer", "ok")}
    assert recorded.one("outer").text("output") == recorded.one("inner").text("output") == "t0 end"


def test_spans_of_the_stream_s_own_code_are_below_its_span(recorded: Recorded) -> None:
    def source() -> Iterator[Any]:
        for n in range(2):
            with lumina.trace(f"request {n}"):
                pass
            yield chunk("x")

    with trace_llm("call") as call:
        stream = call.record(source())
    for n, _ in enumerate(stream):
        with lumina.trace(f"consumer {n}"):
            pass
    shape = recorded.shape()
    assert {name: parent for name, (parent, _) in shape.items()} == {
        "call": None,
        "request 0": "call",
        "request 1": "call",
        "consumer 0": None,
        "consumer 1": None,
    }


def test_a_manager_that_opens_the_stream(recorded: Recorded) -> None:
    class Manager:
        def __init__(self, source: Source) -> None:
            self.source = source

        def __enter__(self) -> SdkStream:
            self.stream = SdkStream(self.source)
            return self.stream

        def __exit__(self, *_: object) -> None:
            self.stream.close()

    manager = Manager(Source(2, False, True))
    with trace_llm("call") as call:
        assert call.record(manager) is manager
    with manager as stream:
        assert type(stream).__name__ == "SdkStream"
        assert stream.final() == "t0 end"
    assert ends_once(recorded) == "ok"
    assert recorded.one("call").text("output") == "t0 end"


def test_a_manager_that_fails_to_open(recorded: Recorded) -> None:
    class Manager:
        def __enter__(self) -> Any:
            raise Boom("refused")

        def __exit__(self, *_: object) -> None: ...

    with trace_llm("call") as call:
        manager = call.record(Manager())
    with pytest.raises(Boom), manager:
        pass
    assert ends_once(recorded) == "error"


def test_boto3_s_answer_holds_its_stream(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        events = IterableOnly(Source(2, False, True))
        answer = {"ResponseMetadata": {}, "stream": events}
        assert call.record(answer) is answer
    assert answer["stream"] is events
    assert "span_ended" not in recorded.types()
    assert len(list(answer["stream"])) == 2
    assert ends_once(recorded) == "ok"


def test_time_to_first_chunk(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        stream = call.record(SdkStream(Source(2, False, True)))
    assert "gen_ai.response.time_to_first_chunk" not in recorded.attributes("call")
    next(stream)
    first_s = recorded.attributes("call")["gen_ai.response.time_to_first_chunk"]
    assert isinstance(first_s, float)
    assert 0 <= first_s < 60
    list(stream)
    assert recorded.attributes("call")["gen_ai.response.time_to_first_chunk"] == first_s


def test_an_unknown_piece_costs_the_program_nothing(recorded: Recorded) -> None:
    class Awkward:
        def __getattribute__(self, name: str) -> Any:
            if name == "__class__":
                return object.__getattribute__(self, name)
            raise RuntimeError(name)

    awkward = [Awkward(), None, 7, object(), b"x", {"a": 1}, []]
    with trace_llm("call") as call:
        stream = call.record(iter(awkward))
    assert all(a is b for a, b in zip(list(stream), awkward, strict=True))
    assert ends_once(recorded) == "ok"
    assert recorded.attributes("call")["lumina.stream.pieces"] == 7


def test_in_a_forked_child_nothing_is_recorded(recorded: Recorded) -> None:
    with trace_llm("call") as call:
        assert isinstance(call, LlmSpan)
        stream = call.record(SdkStream(Source(2, False, True)))
    next(stream)
    recorder = recorded.recorder
    recorder.closed = True  # as the fork hook does it
    list(stream)
    recorder.closed = False
