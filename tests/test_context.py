"""The context contract: which span is whose parent, how each one ends, and that all of it is silent.

Every test ends with a collection and asserts that nothing was written, logged or warned of.
"""

import asyncio
import contextvars
import gc
import logging
import threading
import weakref
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.recording.context import current


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.WARNING)
    yield
    gc.collect()
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records] == []


@pytest.fixture
def backend(anyio_backend: Any) -> str:
    return anyio_backend if isinstance(anyio_backend, str) else anyio_backend[0]


def nobody_current() -> bool:
    return current.get() is None


# --- one task ----------------------------------------------------------------------------------


def test_siblings_share_a_parent_and_leaving_restores_it(recorded: Recorded) -> None:
    with lumina.trace("outer") as outer:
        with lumina.trace("first"):
            with lumina.trace("inner"):
                pass
            assert lumina.current_span().span_id != outer.span_id
        assert lumina.current_span() is outer
        with lumina.trace("second"):
            pass
    assert nobody_current()
    assert recorded.shape() == {
        "outer": (None, "ok"),
        "first": ("outer", "ok"),
        "inner": ("first", "ok"),
        "second": ("outer", "ok"),
    }


def test_blocks_left_in_the_order_in_which_they_were_entered(recorded: Recorded) -> None:
    with lumina.trace("outer"):
        first, second = lumina.trace("first"), lumina.trace("second")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        with lumina.trace("in second"):
            pass
        second.__exit__(None, None, None)
        with lumina.trace("after"):
            pass
    assert nobody_current()
    assert recorded.shape() == {
        "outer": (None, "ok"),
        "first": ("outer", "ok"),
        "second": ("first", "ok"),
        "in second": ("second", "ok"),
        "after": ("outer", "ok"),
    }


def test_a_span_ended_by_hand_stays_the_parent_until_its_block_is_left(recorded: Recorded) -> None:
    with lumina.trace("outer"):
        with lumina.trace("block") as block:
            block.end()
            with lumina.trace("one"):
                pass
            with lumina.trace("two"):
                pass
        with lumina.trace("after"):
            pass
    assert nobody_current()
    assert {name: parent for name, (parent, _) in recorded.shape().items()} == {
        "outer": None,
        "block": "outer",
        "one": "block",
        "two": "block",
        "after": "outer",
    }


@pytest.mark.parametrize("times", [2, 3])
def test_a_span_entered_twice_is_no_loop(recorded: Recorded, times: int) -> None:
    """Leaving looks outwards for what is current next: a span around itself would hang it."""
    with lumina.trace("outer"):
        span = lumina.start_span("span")
        for _ in range(times):
            span.__enter__()
        for _ in range(times):
            span.__exit__(None, None, None)
        with lumina.trace("after"):
            pass
    with lumina.trace("next"):
        pass
    assert nobody_current()
    assert recorded.shape() == {
        "outer": (None, "ok"),
        "span": ("outer", "ok"),
        "after": ("outer", "ok"),
        "next": (None, "ok"),
    }


def test_two_spans_entered_around_each_other_are_no_loop(recorded: Recorded) -> None:
    a, b = lumina.start_span("a"), lumina.start_span("b")
    with a, b, a, b:
        pass
    with lumina.trace("after"):
        pass
    assert recorded.shape() == {"a": (None, "ok"), "b": (None, "ok"), "after": (None, "ok")}


def test_the_current_span_used_as_a_block(recorded: Recorded) -> None:
    with lumina.trace("outer"), lumina.trace("inner"):
        with lumina.current_span():
            pass
        with lumina.trace("after"):
            pass
    assert nobody_current()
    assert recorded.shape() == {
        "outer": (None, "ok"),
        "inner": ("outer", "ok"),
        "after": ("outer", "ok"),
    }


def test_a_long_chain_of_contexts_keeps_nothing_of_its_past_alive(recorded: Recorded) -> None:
    """Each task starts inside the span of the one before, which has ended by then."""
    context, spans = contextvars.copy_context(), []

    def step(n: int) -> contextvars.Context:
        with lumina.trace(f"step {n}") as span:
            spans.append(weakref.ref(span))
            return contextvars.copy_context()

    for n in range(50):
        context = context.run(step, n)
    assert sum(ref() is not None for ref in spans) <= 2
    shape = recorded.shape()
    assert [shape[f"step {n}"][0] for n in range(1, 50)] == [f"step {n}" for n in range(49)]


def test_overlapping_generators_keep_nothing_of_their_past_alive(recorded: Recorded) -> None:
    spans: list[weakref.ref[lumina.Span]] = []

    def numbers(n: int) -> Generator[int]:
        with lumina.trace(f"numbers {n}") as span:
            spans.append(weakref.ref(span))
            yield n

    held: Generator[int] | None = None
    for n in range(50):
        following = numbers(n)
        next(following)
        if held is not None:
            held.close()
        held = following
    del following
    assert held is not None
    assert sum(ref() is not None for ref in spans) <= 2
    held.close()
    assert lumina.current_span().trace_id == "0" * 32


# --- tasks -------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_task_groups_and_nested_tasks(recorded: Recorded) -> None:
    async def work(name: str, depth: int) -> None:
        async with lumina.trace(name):
            await anyio.lowlevel.checkpoint()
            if depth:
                async with anyio.create_task_group() as group:
                    group.start_soon(work, f"{name}.0", depth - 1)
                    group.start_soon(work, f"{name}.1", depth - 1)
            await anyio.lowlevel.checkpoint()

    async with lumina.trace("root"), anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(work, name, 2)
    shape = recorded.shape()
    assert len(shape) == 15
    assert all(state == "ok" for _, state in shape.values())
    for name, (parent, _) in shape.items():
        assert parent == (None if name == "root" else name.rpartition(".")[0] or "root")


@pytest.mark.anyio
async def test_a_task_outlives_the_span_in_which_it_was_created(recorded: Recorded) -> None:
    """It stays below that span for all it does, though the span has ended."""
    go_on = anyio.Event()

    async def background() -> None:
        await go_on.wait()
        with lumina.trace("late"):
            pass
        with lumina.trace("later"), lumina.trace("inside"):
            pass

    async with anyio.create_task_group() as group:
        async with lumina.trace("request"), lumina.trace("handler"):
            group.start_soon(background)
        go_on.set()
    assert recorded.shape() == {
        "request": (None, "ok"),
        "handler": ("request", "ok"),
        "late": ("handler", "ok"),
        "later": ("handler", "ok"),
        "inside": ("later", "ok"),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_create_task_and_gather(recorded: Recorded) -> None:
    async def work(name: str) -> None:
        async with lumina.trace(name):
            await asyncio.sleep(0)

    async with lumina.trace("root"):
        task = asyncio.create_task(work("task"))
        await asyncio.gather(work("a"), work("b"))
        await task
    assert recorded.shape() == {
        "root": (None, "ok"),
        "task": ("root", "ok"),
        "a": ("root", "ok"),
        "b": ("root", "ok"),
    }


@pytest.mark.anyio
async def test_a_cancelled_task_ends_its_spans_as_cancelled(recorded: Recorded) -> None:
    started = anyio.Event()

    async def work() -> None:
        async with lumina.trace("work"), lumina.trace("inner"):
            started.set()
            await anyio.sleep_forever()

    async with lumina.trace("root"), anyio.create_task_group() as group:
        group.start_soon(work)
        await started.wait()
        group.cancel_scope.cancel()
    assert recorded.shape() == {
        "root": (None, "ok"),
        "work": ("root", "cancelled"),
        "inner": ("work", "cancelled"),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_task_cancel(recorded: Recorded) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with lumina.trace("work"):
            started.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorded.shape() == {"work": (None, "cancelled")}


@pytest.mark.anyio
async def test_a_cancel_scope_around_and_inside_a_span(recorded: Recorded) -> None:
    with anyio.CancelScope() as scope:
        async with lumina.trace("cancelled"):
            scope.cancel()
            await anyio.sleep_forever()
    async with lumina.trace("went on"):
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
    async with lumina.trace("timed out"):
        with pytest.raises(TimeoutError), anyio.fail_after(0):
            await anyio.sleep_forever()
    assert recorded.shape() == {
        "cancelled": (None, "cancelled"),
        "went on": (None, "ok"),
        "timed out": (None, "ok"),
    }


@pytest.mark.anyio
async def test_a_span_entered_in_one_task_and_left_in_another(recorded: Recorded) -> None:
    """Silent, and the task in which it was entered goes on below what was around it."""
    block = lumina.trace("block")
    entered, left = anyio.Event(), anyio.Event()

    async def enter() -> None:
        with lumina.trace("entering"):
            block.__enter__()
            entered.set()
            await left.wait()
            with lumina.trace("after"):
                pass

    async def leave() -> None:
        await entered.wait()
        with lumina.trace("leaving"):
            await block.__aexit__(None, None, None)
            with lumina.trace("undisturbed"):
                pass
        left.set()

    async with anyio.create_task_group() as group:
        group.start_soon(enter)
        group.start_soon(leave)
    assert recorded.shape() == {
        "entering": (None, "ok"),
        "block": ("entering", "ok"),
        "after": ("entering", "ok"),
        "leaving": (None, "ok"),
        "undisturbed": ("leaving", "ok"),
    }


# --- exceptions --------------------------------------------------------------------------------


def test_an_exception_goes_through_and_makes_errors(recorded: Recorded) -> None:
    with (
        pytest.raises(ZeroDivisionError, match="division by zero"),
        lumina.trace("outer"),
        lumina.trace("inner"),
    ):
        1 / 0
    assert recorded.shape() == {"outer": (None, "error"), "inner": ("outer", "error")}
    error = recorded.error("inner")
    assert (error.type, error.message) == ("ZeroDivisionError", "division by zero")
    assert "1 / 0" in error.stacktrace


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (KeyboardInterrupt(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (SystemExit(0), "ok"),
        (SystemExit(), "ok"),
        (SystemExit(3), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (ValueError(), "error"),
        (ExceptionGroup("", [ValueError(), KeyError()]), "error"),
        (BaseExceptionGroup("", [KeyboardInterrupt(), asyncio.CancelledError()]), "cancelled"),
        (BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]), "error"),
        (BaseExceptionGroup("", [BaseExceptionGroup("", [GeneratorExit()])]), "cancelled"),
    ],
    ids=repr,
)
def test_what_an_exception_makes_of_a_span(
    recorded: Recorded, error: BaseException, state: str
) -> None:
    with pytest.raises(type(error)) as caught, lumina.trace("span"):
        raise error
    assert caught.value is error
    assert recorded.shape() == {"span": (None, state)}


@pytest.mark.anyio
async def test_exception_groups(recorded: Recorded) -> None:
    started = anyio.Event()

    async def fail(name: str) -> None:
        async with lumina.trace(name):
            await started.wait()
            raise ValueError(name)

    async def wait() -> None:
        async with lumina.trace("waiting"):
            started.set()
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup):
        async with lumina.trace("root"), anyio.create_task_group() as group:
            group.start_soon(fail, "a")
            group.start_soon(wait)
    assert recorded.shape() == {
        "root": (None, "error"),
        "a": ("root", "error"),
        "waiting": ("root", "cancelled"),
    }
    assert recorded.error("root").type == "ExceptionGroup"
    assert "ValueError: a" in recorded.error("root").stacktrace


def test_except_star_inside_and_around(recorded: Recorded) -> None:
    with lumina.trace("caught"):
        try:
            with lumina.trace("raised"):
                raise ExceptionGroup("two", [ValueError(1), KeyError(2)])
        except* ValueError:
            with lumina.trace("values"):
                pass
        except* KeyError:
            with lumina.trace("keys"):
                pass
    assert recorded.shape() == {
        "caught": (None, "ok"),
        "raised": ("caught", "error"),
        "values": ("caught", "ok"),
        "keys": ("caught", "ok"),
    }


# --- threads -----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_to_thread_carries_the_span_and_from_thread_brings_it_back(
    recorded: Recorded,
) -> None:
    async def back() -> None:
        with lumina.trace("back"):
            pass

    def work() -> None:
        with lumina.trace("thread"):
            anyio.from_thread.run(back)

    async with lumina.trace("root"):
        await anyio.to_thread.run_sync(work)
    assert recorded.shape() == {
        "root": (None, "ok"),
        "thread": ("root", "ok"),
        "back": ("thread", "ok"),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_threads_and_executors(recorded: Recorded) -> None:
    def work(name: str) -> None:
        with lumina.trace(name):
            pass

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as pool:
        async with lumina.trace("root"):
            await asyncio.to_thread(work, "to_thread")
            await loop.run_in_executor(pool, work, "bare")
            await loop.run_in_executor(pool, lumina.propagate(work), "propagated")
            await loop.run_in_executor(pool, partial(lumina.propagate(work), "partial"))
    assert recorded.shape() == {
        "root": (None, "ok"),
        "to_thread": ("root", "ok"),
        "bare": (None, "ok"),
        "propagated": ("root", "ok"),
        "partial": ("root", "ok"),
    }


def test_thread_pool_with_and_without_propagate(recorded: Recorded) -> None:
    def work(name: str) -> bool:
        with lumina.trace(name):
            pass
        return nobody_current()

    with ThreadPoolExecutor(1) as pool, lumina.trace("root"):
        list(pool.map(lumina.propagate(work), ["a", "b"]))
        assert pool.submit(work, "bare").result(), "a bound call left its span behind"
    assert recorded.shape() == {
        "root": (None, "ok"),
        "a": ("root", "ok"),
        "b": ("root", "ok"),
        "bare": (None, "ok"),
    }


@pytest.mark.anyio
async def test_several_loops_in_threads(recorded: Recorded, backend: str) -> None:
    """Each thread's loop has traces of its own; a span handed over by `parent` joins them."""
    barrier = threading.Barrier(3)

    async def work(name: str, parent: lumina.Span) -> None:
        barrier.wait()
        async with lumina.trace(name), lumina.trace(f"{name}.inner"):
            await anyio.lowlevel.checkpoint()
        async with lumina.trace(f"{name}.joined", parent=parent):
            pass

    def run(name: str, parent: lumina.Span) -> None:
        anyio.run(work, name, parent, backend=backend)

    with lumina.trace("root") as root:
        threads = [threading.Thread(target=run, args=(f"loop{n}", root)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
    expected: dict[str, tuple[str | None, str]] = {"root": (None, "ok")}
    for n in range(3):
        expected[f"loop{n}"] = (None, "ok")
        expected[f"loop{n}.inner"] = (f"loop{n}", "ok")
        expected[f"loop{n}.joined"] = ("root", "ok")
    assert recorded.shape() == expected


# --- plain generators --------------------------------------------------------------------------


@lumina.trace("numbers")
def numbers(n: int) -> Generator[int, Any, str]:
    for i in range(n):
        with lumina.trace(f"number {i}"):
            yield i
    return "done"


def test_a_decorated_generator_is_current_only_while_it_runs(recorded: Recorded) -> None:
    with lumina.trace("root"):
        for i in numbers(2):
            with lumina.trace(f"used {i}"):
                pass
        assert lumina.current_span().span_id == recorded.one("root").span_id
    assert recorded.shape() == {
        "root": (None, "ok"),
        "numbers": ("root", "ok"),
        "number 0": ("numbers", "ok"),
        "number 1": ("numbers", "ok"),
        "used 0": ("root", "ok"),
        "used 1": ("root", "ok"),
    }


def test_a_generator_that_was_never_started_has_no_span(recorded: Recorded) -> None:
    numbers(3).close()
    numbers(3)
    assert recorded.shape() == {}


def test_a_generator_consumed_partly_and_closed(recorded: Recorded) -> None:
    with lumina.trace("root"):
        generator = numbers(3)
        assert next(generator) == 0
        generator.close()
        generator.close()
        with lumina.trace("after"):
            pass
    assert nobody_current()
    assert recorded.shape() == {
        "root": (None, "ok"),
        "numbers": ("root", "cancelled"),
        "number 0": ("numbers", "cancelled"),
        "after": ("root", "ok"),
    }


def test_a_generator_dropped_half_way(recorded: Recorded) -> None:
    with lumina.trace("root"):
        for _ in numbers(3):
            break
        with lumina.trace("after"):
            pass
    assert recorded.shape() == {
        "root": (None, "ok"),
        "numbers": ("root", "cancelled"),
        "number 0": ("numbers", "cancelled"),
        "after": ("root", "ok"),
    }


def test_a_generator_collected_in_a_cycle(recorded: Recorded) -> None:
    with lumina.trace("root"):
        generator = numbers(3)
        next(generator)
        cycle: list[Any] = [generator]
        cycle.append(cycle)
        del generator, cycle
        gc.collect()
    assert recorded.shape()["numbers"] == ("root", "cancelled")


def test_row_23_interleaved_generators_closed_in_opening_order(recorded: Recorded) -> None:
    @lumina.trace
    def first() -> Generator[int]:
        with lumina.trace("in first"):
            yield 1

    @lumina.trace
    def second() -> Generator[int]:
        with lumina.trace("in second"):
            yield 1

    with lumina.trace("root"):
        a, b = first(), second()
        next(a), next(b)
        a.close()
        with lumina.trace("between"):
            pass
        b.close()
    assert nobody_current()
    shape = recorded.shape()
    assert {name: parent for name, (parent, _) in shape.items()} == {
        "root": None,
        "first": "root",
        "in first": "first",
        "second": "root",
        "in second": "second",
        "between": "root",
    }
    assert shape["first"][1] == shape["in second"][1] == "cancelled"


def test_send_throw_and_the_return_value(recorded: Recorded) -> None:
    @lumina.trace
    def echo() -> Generator[Any, Any, str]:
        got: Any = "first"
        while got != "stop":
            try:
                got = yield got
            except KeyError as error:
                lumina.current_span().add_event("caught")
                got = repr(error)
        return "returned"

    generator = echo()
    assert next(generator) == "first"
    assert generator.send("second") == "second"
    assert generator.throw(KeyError("thrown")) == "KeyError('thrown')"
    with pytest.raises(StopIteration) as stop:
        generator.send("stop")
    assert stop.value.value == "returned"
    assert recorded.shape() == {
        "test_send_throw_and_the_return_value.<locals>.echo".rpartition("<locals>.")[2]: (
            None,
            "ok",
        )
    }
    assert [event.name for event in recorded.one("echo").event_list()] == ["caught"]


def test_an_error_thrown_into_a_generator_leaves_no_loop_of_references(recorded: Recorded) -> None:
    class Thrown(Exception):
        pass

    generator = numbers(2)
    next(generator)
    gc.collect()
    gc.disable()
    try:
        error = Thrown()
        dead = weakref.ref(error)
        try:
            generator.throw(error)
        except Thrown:
            pass
        del generator
        del error
        assert dead() is None
    finally:
        gc.enable()
    assert recorded.shape()["numbers"] == (None, "error")


def test_yield_from_a_decorated_generator(recorded: Recorded) -> None:
    @lumina.trace
    def outer() -> Generator[int, Any, str]:
        return (yield from numbers(1))

    generator = outer()
    assert list(generator) == [0]
    assert recorded.shape() == {
        "outer": (None, "ok"),
        "numbers": ("outer", "ok"),
        "number 0": ("numbers", "ok"),
    }


def test_a_generator_closed_by_another_thread(recorded: Recorded) -> None:
    def close() -> None:
        with lumina.trace("thread"):
            generator.close()
            with lumina.trace("in thread"):
                pass

    with lumina.trace("root"):
        generator = numbers(3)
        next(generator)
        thread = threading.Thread(target=close)
        thread.start()
        thread.join()
    shape = recorded.shape()
    assert shape["numbers"] == ("root", "cancelled")
    assert shape["in thread"] == ("thread", "ok")


def test_undecorated_generators_closed_in_opening_order(recorded: Recorded) -> None:
    """Their spans are current in the consumer while they are open; afterwards nothing is left."""

    def one(name: str) -> Generator[int]:
        with lumina.trace(name):
            yield 1

    with lumina.trace("root"):
        a, b = one("a"), one("b")
        next(a), next(b)
        a.close()
        b.close()
        with lumina.trace("after"):
            pass
    assert nobody_current()
    assert recorded.shape() == {
        "root": (None, "ok"),
        "a": ("root", "cancelled"),
        "b": ("a", "cancelled"),
        "after": ("root", "ok"),
    }


# --- async generators --------------------------------------------------------------------------


@lumina.trace("stream")
async def stream(n: int) -> AsyncGenerator[int, Any]:
    for i in range(n):
        async with lumina.trace(f"piece {i}"):
            await anyio.lowlevel.checkpoint()
            yield i


@pytest.mark.anyio
async def test_a_decorated_async_generator(recorded: Recorded) -> None:
    async with lumina.trace("root"):
        async for i in stream(2):
            async with lumina.trace(f"used {i}"):
                await anyio.lowlevel.checkpoint()
    assert nobody_current()
    assert recorded.shape() == {
        "root": (None, "ok"),
        "stream": ("root", "ok"),
        "piece 0": ("stream", "ok"),
        "piece 1": ("stream", "ok"),
        "used 0": ("root", "ok"),
        "used 1": ("root", "ok"),
    }


@pytest.mark.anyio
async def test_an_async_generator_consumed_partly(recorded: Recorded) -> None:
    async with lumina.trace("root"):
        async with aclosing(stream(3)) as pieces:
            async for _ in pieces:
                break
        async with lumina.trace("after"):
            pass
    assert recorded.shape() == {
        "root": (None, "ok"),
        "stream": ("root", "cancelled"),
        "piece 0": ("stream", "cancelled"),
        "after": ("root", "ok"),
    }


@pytest.mark.anyio
async def test_interleaved_async_generators_closed_in_opening_order(recorded: Recorded) -> None:
    @lumina.trace
    async def one() -> AsyncGenerator[int, Any]:
        with lumina.trace("in one"):
            yield 1

    @lumina.trace
    async def two() -> AsyncGenerator[int, Any]:
        with lumina.trace("in two"):
            yield 1

    async with lumina.trace("root"):
        a, b = one(), two()
        await anext(a)
        await anext(b)
        await a.aclose()
        with lumina.trace("between"):
            pass
        await b.aclose()
    assert {name: parent for name, (parent, _) in recorded.shape().items()} == {
        "root": None,
        "one": "root",
        "in one": "one",
        "two": "root",
        "in two": "two",
        "between": "root",
    }


@pytest.mark.anyio
async def test_row_23_aclose_from_another_task(recorded: Recorded) -> None:
    pieces = stream(3)

    async def close() -> None:
        with lumina.trace("closing"):
            await pieces.aclose()
            with lumina.trace("undisturbed"):
                pass

    async with lumina.trace("root"):
        await anext(pieces)
        async with anyio.create_task_group() as group:
            group.start_soon(close)
        async with lumina.trace("after"):
            pass
    assert nobody_current()
    assert recorded.shape() == {
        "root": (None, "ok"),
        "stream": ("root", "cancelled"),
        "piece 0": ("stream", "cancelled"),
        "closing": ("root", "ok"),
        "undisturbed": ("closing", "ok"),
        "after": ("root", "ok"),
    }


@pytest.mark.anyio
async def test_an_undecorated_async_generator_closed_by_another_task(recorded: Recorded) -> None:
    """Its span was left current in the consumer; the consumer's next spans are not below it."""

    async def one() -> AsyncGenerator[int, Any]:
        with lumina.trace("inside"):
            yield 1

    async with lumina.trace("root"):
        pieces = one()
        await anext(pieces)
        async with anyio.create_task_group() as group:
            group.start_soon(pieces.aclose)
        with lumina.trace("after"):
            pass
        assert lumina.current_span().span_id == recorded.one("root").span_id
    assert nobody_current()
    assert recorded.shape() == {
        "root": (None, "ok"),
        "inside": ("root", "cancelled"),
        "after": ("root", "ok"),
    }


@pytest.mark.anyio
async def test_cancelled_while_inside_an_async_generator(recorded: Recorded) -> None:
    @lumina.trace
    async def slow() -> AsyncGenerator[int, Any]:
        yield 1
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with lumina.trace("root"):
            async for _ in slow():
                pass
    assert nobody_current()
    assert recorded.shape() == {"root": (None, "cancelled"), "slow": ("root", "cancelled")}


@pytest.mark.anyio
async def test_asend_athrow_and_errors(recorded: Recorded) -> None:
    @lumina.trace
    async def echo() -> AsyncGenerator[Any, Any]:
        got: Any = "first"
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = repr(error)

    pieces = echo()
    assert await anext(pieces) == "first"
    assert await pieces.asend("second") == "second"
    assert await pieces.athrow(KeyError("thrown")) == "KeyError('thrown')"
    with pytest.raises(ZeroDivisionError):
        await pieces.athrow(ZeroDivisionError())
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    assert recorded.shape() == {"echo": (None, "error")}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_async_generator_dropped_half_way(recorded: Recorded) -> None:
    async with lumina.trace("root"):
        async for _ in stream(3):
            break
        for _ in range(10):  # the loop closes it in a task of its own
            await asyncio.sleep(0)
        async with lumina.trace("after"):
            pass
    assert recorded.shape() == {
        "root": (None, "ok"),
        "stream": ("root", "cancelled"),
        "piece 0": ("stream", "cancelled"),
        "after": ("root", "ok"),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_undecorated_async_generator_dropped_half_way(recorded: Recorded) -> None:
    async def one() -> AsyncGenerator[int, Any]:
        with lumina.trace("inside"):
            yield 1

    async with lumina.trace("root"):
        async for _ in one():
            break
        for _ in range(10):
            await asyncio.sleep(0)
        async with lumina.trace("after"):
            pass
    assert recorded.shape() == {
        "root": (None, "ok"),
        "inside": ("root", "cancelled"),
        "after": ("root", "ok"),
    }


@pytest.mark.parametrize("cleanup_steps", [0, 1, 3])
def test_async_generators_left_open_when_the_loop_ends(
    recorded: Recorded, cleanup_steps: int
) -> None:
    """The loop closes all it knows of at the same time: it must not know of the inner ones."""

    @lumina.trace
    async def slow(n: int) -> AsyncGenerator[int, Any]:
        try:
            yield n
        finally:
            for _ in range(cleanup_steps):
                await asyncio.sleep(0)
            lumina.current_span().set_attribute("cleaned", True)

    held = []

    async def main() -> None:
        for n in range(20):
            pieces = slow(n)
            held.append(pieces)
            await anext(pieces)

    asyncio.run(main())
    assert [(span.state, span.attributes) for span in recorded.spans()] == [
        ("cancelled", {"cleaned": True})
    ] * 20


# --- abandoned ---------------------------------------------------------------------------------


def test_a_span_nobody_holds_any_more_is_abandoned(recorded: Recorded) -> None:
    with lumina.trace("root"):
        lumina.start_span("dropped").set_attribute("k", 1)
        kept = lumina.start_span("kept")
    assert recorded.shape() == {
        "root": (None, "ok"),
        "dropped": ("root", "abandoned"),
        "kept": ("root", "running"),
    }
    kept.end()
    del kept
    assert recorded.shape()["kept"] == ("root", "ok")


def test_a_span_collected_in_a_cycle_is_abandoned_once(recorded: Recorded) -> None:
    class Holder:
        pass

    holder = Holder()
    holder.me, holder.span = holder, lumina.start_span("cyclic")  # type: ignore[attr-defined]
    del holder
    gc.collect()
    assert recorded.shape() == {"cyclic": (None, "abandoned")}
    assert recorded.types() == ["span_started", "span_ended"]


# --- ambient attributes ------------------------------------------------------------------------


@pytest.mark.anyio
async def test_with_attributes_reaches_spans_of_tasks_started_inside(recorded: Recorded) -> None:
    async def work() -> None:
        async with lumina.trace("task"):
            pass

    with lumina.with_attributes(user="u", session=1):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
        with lumina.with_attributes({"session": 2}), lumina.trace("inner", own=3):
            pass
        with lumina.trace("outer", user="mine"):
            pass
    with lumina.trace("after"):
        pass
    assert recorded.attributes("task") == {"user": "u", "session": 1}
    assert recorded.attributes("inner") == {"user": "u", "session": 2, "own": 3}
    assert recorded.attributes("outer") == {"user": "mine", "session": 1}
    assert recorded.attributes("after") == {}


def test_with_attributes_left_in_the_order_in_which_it_was_entered(recorded: Recorded) -> None:
    first, second = lumina.with_attributes(a=1), lumina.with_attributes(b=2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with lumina.trace("between"):
        pass
    second.__exit__(None, None, None)
    with lumina.trace("after"):
        pass
    assert recorded.attributes("between")["b"] == 2
    assert recorded.attributes("after") == {}


def test_with_attributes_takes_what_is_no_mapping_in_silence(recorded: Recorded) -> None:
    with lumina.with_attributes(5, a=1), lumina.trace("span"):  # type: ignore[arg-type]
        pass
    assert recorded.attributes("span") == {"a": 1}
    assert recorded.recorder.faults == 1
    recorded.recorder.faults = 0
