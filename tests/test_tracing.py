"""The forms of `trace`, and when tracing is on at all."""

import contextvars
import functools
import inspect
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any

import anyio
import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.recording.context import current
from lumina_stream.recording.encoding import head_of
from lumina_stream.recording.span import RemoteParent
from lumina_stream.recording.tracing import Trace

REMOTE = lumina.SpanContext("a" * 32, "b" * 16)


# --- blocks ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_with_and_async_with(recorded: Recorded) -> None:
    with lumina.trace("a") as a:
        async with lumina.trace("b") as b:
            assert lumina.current_span() is b
        assert lumina.current_span() is a
    assert recorded.shape() == {"a": (None, "ok"), "b": ("a", "ok")}


def test_neither_form_suspends(recorded: Recorded) -> None:
    block = lumina.trace("a")
    for step in (lambda: block.__aenter__(), lambda: block.__aexit__(None, None, None)):
        with pytest.raises(StopIteration):
            step().send(None)
    assert recorded.shape() == {"a": (None, "ok")}


def test_kind_attributes_and_keywords(recorded: Recorded) -> None:
    with lumina.trace("s", kind="retrieval", attributes={"db.top_k": 5, "x": 1}, x=2, name="n"):
        pass
    assert recorded.one("s").kind == "retrieval"
    assert recorded.attributes("s") == {"db.top_k": 5, "x": 2, "name": "n"}


def test_parent(recorded: Recorded) -> None:
    a = lumina.start_span("a")
    with lumina.trace("current") as here:
        for name, parent in (
            ("below a", a),
            ("below current", None),
            ("below current too", lumina.trace("ignored")),
            ("remote", REMOTE),
            ("invalid", lumina.SpanContext("A" * 32, "b")),
        ):
            with lumina.trace(name, parent=parent) as span:  # type: ignore[arg-type]
                assert lumina.current_span() is span
                with lumina.trace(f"in {name}"):
                    pass
            assert lumina.current_span() is here
        with lumina.trace("root", root=True, parent=a), lumina.trace("in root"):
            pass
    a.end()
    assert {name: parent for name, (parent, _) in recorded.shape().items() if name} == {
        "a": None,
        "current": None,
        "below a": "a",
        "in below a": "below a",
        "below current": "current",
        "in below current": "below current",
        "below current too": "current",
        "in below current too": "below current too",
        "remote": "",
        "in remote": "remote",
        "invalid": "current",
        "in invalid": "invalid",
        "root": None,
        "in root": "root",
    }
    node = recorded.one("remote")
    assert (node.remote_parent, node.parent_id) == (True, "b" * 16)
    assert not recorded.one("below a").remote_parent


def test_links_to_spans_in_other_traces(recorded: Recorded) -> None:
    with lumina.trace("batch") as batch, lumina.trace("doc", root=True, links=[batch]) as doc:
        assert doc.trace_id != batch.trace_id
    (link,) = recorded.one("doc").link_list()
    assert (link.trace_id, link.span_id) == (batch.trace_id, batch.span_id)


def test_one_object_entered_again_inside_itself(recorded: Recorded) -> None:
    block = lumina.trace("block")
    with block as first:
        with block as second:
            assert first is not second
            with block:
                pass
        assert lumina.current_span() is first
    with block:
        pass
    spans = recorded.spans()
    assert [span.state for span in spans] == ["ok"] * 4
    assert [span.parent is None for span in spans] == [True, False, False, True]


@pytest.mark.anyio
async def test_one_object_entered_by_two_tasks_at_once(recorded: Recorded) -> None:
    """Each leaves its own span, in whichever order."""
    block = lumina.trace("block")
    inside, go_on = anyio.Event(), anyio.Event()

    async def first() -> None:
        with block as span:
            inside.set()
            await go_on.wait()
            assert span.is_recording
        assert not span.is_recording

    async def second() -> None:
        await inside.wait()
        with block as span:
            assert span.is_recording
        assert not span.is_recording
        go_on.set()

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        group.start_soon(second)

    async def third(mine: anyio.Event, others: anyio.Event) -> None:
        with block as span:
            mine.set()
            await others.wait()
            assert span.is_recording
        assert not span.is_recording

    a, b = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(third, a, b)
        group.start_soon(third, b, a)
    assert [span.state for span in recorded.spans()] == ["ok"] * 4


def test_one_unsampled_object_entered_again_inside_itself() -> None:
    with lumina.init(export=False, sample_rate=0.0):
        block = lumina.trace("block")
        with block, block, block:
            pass
        assert lumina.current_span().trace_id == "0" * 32


def test_one_unsampled_object_restores_what_was_around_it() -> None:
    """In a process that goes on with an unsampled trace the current span is another process's."""
    context = lumina.SpanContext("a" * 32, "b" * 16, False)
    around = RemoteParent(head_of(context.trace_id, context.span_id), _remote=context)

    def work() -> None:
        current.set(around)
        block = lumina.trace("block")
        with block, lumina.trace("inner"), block:
            pass
        assert current.get() is around

    with lumina.init(export=False):
        contextvars.copy_context().run(work)


def test_start_span_is_not_current_until_it_is_entered(recorded: Recorded) -> None:
    with lumina.trace("root"):
        span = lumina.start_span("span", kind="tool", attributes={"a": 1}, b=2)
        with lumina.trace("beside"):
            pass
        with span, lumina.trace("below"):
            pass
        with lumina.trace("after"):
            pass
    assert recorded.shape() == {
        "root": (None, "ok"),
        "span": ("root", "ok"),
        "beside": ("root", "ok"),
        "below": ("span", "ok"),
        "after": ("root", "ok"),
    }
    assert recorded.attributes("span") == {"a": 1, "b": 2}
    assert recorded.one("span").kind == "tool"


# --- decorators --------------------------------------------------------------------------------


class Store:
    """Every sort of method, decorated."""

    @lumina.trace
    def method(self, x: int) -> int:
        return x + 1

    @lumina.trace("named", kind="tool", capture=True)
    async def amethod(self, x: int, *, y: int = 2) -> int:
        return x + y

    @staticmethod
    @lumina.trace
    def below_static(x: int) -> int:
        return x

    @lumina.trace
    @staticmethod
    def above_static(x: int) -> int:
        return x

    @classmethod
    @lumina.trace
    def below_class(cls, x: int) -> tuple[type, int]:
        return cls, x

    @lumina.trace
    @classmethod
    def above_class(cls, x: int) -> tuple[type, int]:
        return cls, x

    @lumina.trace("above named")
    @classmethod
    async def above_named(cls) -> type:
        return cls

    def __call__(self, x: int) -> int:
        return x


@pytest.mark.anyio
async def test_methods_of_every_sort(recorded: Recorded) -> None:
    store = Store()
    assert store.method(1) == 2
    assert await store.amethod(1) == 3
    assert store.below_static(1) == Store.above_static(1) == 1
    assert store.below_class(1) == Store.above_class(1) == (Store, 1)
    assert await Store.above_named() is Store
    assert list(recorded.shape()) == [
        "Store.method",
        "named",
        "Store.below_static",
        "Store.above_static",
        "Store.below_class",
        "Store.above_class",
        "above named",
    ]
    assert recorded.attributes("named") == {
        "function.arguments": {"x": 1, "y": 2},
        "function.result": 3,
    }


@lumina.trace
def plain(x: int) -> int:
    """Add one."""
    return x + 1


@lumina.trace
async def coroutine(x: int) -> int:
    return x + 1


@lumina.trace
def generator() -> Generator[int]:
    yield 1


@lumina.trace
async def async_generator() -> AsyncGenerator[int, Any]:
    yield 1


def test_a_decorated_function_stays_of_its_sort() -> None:
    assert (plain.__name__, plain.__doc__) == ("plain", "Add one.")
    assert list(inspect.signature(plain).parameters) == ["x"]
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)


@pytest.mark.anyio
async def test_functions_of_every_sort(recorded: Recorded) -> None:
    assert plain(1) == await coroutine(1) == 2
    assert list(generator()) == [1]
    assert [x async for x in async_generator()] == [1]
    assert recorded.shape() == {
        name: (None, "ok") for name in ("plain", "coroutine", "generator", "async_generator")
    }


@pytest.mark.anyio
async def test_they_work_while_tracing_is_off() -> None:
    assert plain(1) == await coroutine(1) == 2
    assert list(generator()) == [1]
    assert [x async for x in async_generator()] == [1]
    with lumina.trace("x") as span:
        assert not span.is_recording


@pytest.mark.anyio
async def test_partials_and_callable_objects(recorded: Recorded) -> None:
    class Tool:
        def __call__(self, x: int) -> int:
            return x

    class AsyncTool:
        async def __call__(self, x: int) -> int:
            await anyio.lowlevel.checkpoint()
            return x

    class Numbers:
        def __call__(self) -> Generator[int]:
            with lumina.trace("inside"):
                yield 1

    async def add(x: int, y: int) -> int:
        return x + y

    assert lumina.trace(functools.partial(plain.__wrapped__, 1))() == 2  # type: ignore[attr-defined]
    assert await lumina.trace(functools.partial(add, 1))(2) == 3
    assert lumina.trace(Tool())(3) == 3
    traced = lumina.trace(AsyncTool())
    assert inspect.iscoroutinefunction(traced)
    assert await traced(3) == 3
    assert list(lumina.trace(Numbers())()) == [1]
    assert lumina.trace("builtin")(len)([1]) == 1
    assert {name.rpartition(">.")[2]: parent for name, (parent, _) in recorded.shape().items()} == {
        "plain": None,
        "add": None,
        "Tool": None,
        "AsyncTool": None,
        "Numbers": None,
        "inside": "Numbers",
        "builtin": None,
    }


@pytest.mark.anyio
async def test_a_function_that_returns_a_coroutine(recorded: Recorded) -> None:
    """As client libraries do: the span lasts until the coroutine is done, and is current inside it."""

    async def work() -> int:
        with lumina.trace("inside"):
            await anyio.lowlevel.checkpoint()
        return 5

    @lumina.trace("call", capture=True)
    def call() -> Any:
        return work()

    with lumina.trace("root") as root:
        pending = call()
        assert lumina.current_span() is root
        assert recorded.one("call").state == "running"
        assert await pending == 5
        assert lumina.current_span() is root
    assert recorded.shape() == {
        "root": (None, "ok"),
        "call": ("root", "ok"),
        "inside": ("call", "ok"),
    }
    assert recorded.attributes("call") == {"function.arguments": {}, "function.result": 5}


def test_capture(recorded: Recorded) -> None:
    @lumina.trace("f", capture=True)
    def f(a: Any, *rest: int, password: str = "p", **more: Any) -> dict[str, int]:
        return {"sum": 1}

    f(1, 2, 3, other={"token": "t"})
    assert recorded.attributes("f") == {
        "function.arguments": {
            "a": 1,
            "rest": [2, 3],
            "password": "[redacted]",
            "more": {"other": {"token": "[redacted]"}},
        },
        "function.result": {"sum": 1},
    }
    with pytest.raises(TypeError, match="missing 1 required"):
        f()  # type: ignore[call-arg]


def test_capture_content_false_leaves_arguments_and_results_out() -> None:
    with lumina.init(export=False, capture_content=False), lumina.subscribe() as subscription:
        lumina.trace("f", capture=True)(lambda x: x)(1)
        subscription.poll()
        (tree,) = subscription.traces.values()
        assert tree.roots[0].attributes == {}


@pytest.mark.anyio
async def test_a_decorated_function_that_raises(recorded: Recorded) -> None:
    @lumina.trace("sync")
    def sync_fail() -> None:
        raise ValueError("sync")

    @lumina.trace("async")
    async def async_fail() -> None:
        raise ValueError("async")

    for call in (sync_fail, functools.partial(anyio.from_thread.run, async_fail)):
        with pytest.raises(ValueError):
            await anyio.to_thread.run_sync(call)
    assert recorded.shape() == {"sync": (None, "error"), "async": (None, "error")}


def test_recursion(recorded: Recorded) -> None:
    @lumina.trace
    def down(n: int) -> int:
        return down(n - 1) if n else 0

    down(5)
    (tree,) = (recorded.spans() and recorded.subscription.traces).values()
    assert [depth for depth, _ in tree.walk()] == [0, 1, 2, 3, 4, 5]


def test_trace_with_a_name_returns_a_block() -> None:
    assert isinstance(lumina.trace("x"), Trace)


# --- on and off --------------------------------------------------------------------------------

PROGRAM = """
import lumina_stream as lumina
with lumina.trace("first") as span:
    print(span.is_recording, lumina.statistics().enabled)
lumina.shutdown(0)
with lumina.trace("second") as span:
    print(span.is_recording)
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["False False", "False"]),
        ({"LUMINA_ENABLED": "1"}, ["True True", "False"]),
        ({"LUMINA_ENDPOINT": "http://127.0.0.1:9"}, ["True True", "False"]),
        (
            {"LUMINA_ENDPOINT": "http://127.0.0.1:9", "LUMINA_ENABLED": "0"},
            ["False False", "False"],
        ),
        ({"LUMINA_ENABLED": "1", "LUMINA_SAMPLE_RATE": "much"}, ["False False", "False"]),
    ],
)
def test_automatic_by_environment(environment: dict[str, str], expected: list[str]) -> None:
    given = {k: v for k, v in os.environ.items() if not k.startswith("LUMINA_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=given | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == expected


def test_init_again_takes_the_new_settings_and_open_spans_go_on() -> None:
    with lumina.init(service_name="one", export=False), lumina.subscribe() as subscription:
        span = lumina.start_span("span")
        for name in ("two", "three", "four"):
            with lumina.init(service_name=name, export=False):
                span.set_attribute(name, 1)
        span.end()
        subscription.poll()
        (tree,) = subscription.traces.values()
        assert (tree.roots[0].state, list(tree.roots[0].attributes)) == (
            "ok",
            ["two", "three", "four"],
        )
    assert lumina.statistics().service_name == "four"


def test_a_subscription_closed_after_init_again_is_gone() -> None:
    with lumina.init(export=False) as first:
        before = first.queue.taps
        subscription = lumina.subscribe()
        subscription.__enter__()
        lumina.init(export=False)
        runtime = lumina.init(export=False)
        assert len(runtime.queue.taps) == len(before) + 1
        subscription.close()
        assert runtime.queue.taps == before
        runtime.shutdown()


def test_off_after_shutdown() -> None:
    lumina.init(export=False).shutdown()
    with lumina.trace("x") as span:
        assert not span.is_recording
    with pytest.raises(lumina.LuminaError, match="tracing is off"):
        lumina.subscribe()
    assert not lumina.statistics().enabled


def test_enabled_false_keeps_everything_off() -> None:
    with lumina.init(export=False, enabled=False), lumina.trace("x") as span:
        assert not span.is_recording


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "half"])
def test_misuse_is_loud_at_init(rate: Any) -> None:
    with pytest.raises(lumina.ConfigurationError, match="sample_rate"):
        lumina.init(export=False, sample_rate=rate)


def test_a_decorator_without_a_name_takes_the_functions(recorded: Recorded) -> None:
    """`@trace(kind="tool")`, also one object for two functions."""
    tool = lumina.trace(kind="tool")

    @tool
    def look_up() -> None: ...

    @tool
    def compute() -> None: ...

    look_up()
    compute()
    assert [(n.name.rpartition(".")[2], n.kind) for n in recorded.spans()] == [
        ("look_up", "tool"),
        ("compute", "tool"),
    ]


def test_the_signature_names_the_options() -> None:
    """Editors and `help()` show what can be given."""
    assert list(inspect.signature(lumina.trace).parameters)[:3] == ["name", "kind", "parent"]
