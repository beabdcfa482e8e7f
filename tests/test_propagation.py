"""`propagate`, `inject` and `extract`: the trace goes on in threads and in other processes."""

import inspect
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.recording.context import ambient, current


def describe(x: int) -> dict[str, Any]:
    """Say what a span of this call looks like from inside."""
    own_runtime = lumina.statistics().producer_id == ""
    with lumina.trace("work") as span:
        carried = lumina.inject()
        around = dict(ambient.get() or {})
        return {
            "x": x,
            "trace_id": span.trace_id,
            "recording": span.is_recording,
            "service": lumina.statistics().service_name,
            "headers": carried,
            "ambient": around,
            "own_runtime": own_runtime,
        }


async def adescribe() -> str:
    return lumina.current_span().trace_id


def test_a_bound_function_restores_what_was_current(recorded: Recorded) -> None:
    with lumina.trace("bound") as bound, lumina.with_attributes(a=1):
        call = lumina.propagate(describe)
    with lumina.trace("elsewhere") as elsewhere:
        assert call(1)["trace_id"] == bound.trace_id
        assert current.get() is elsewhere
        assert ambient.get() is None
    assert recorded.shape()["work"] == ("bound", "ok")
    assert recorded.attributes("work") == {"a": 1}


def test_it_looks_like_the_function() -> None:
    call = lumina.propagate(describe)
    assert (call.__name__, call.__doc__) == (describe.__name__, describe.__doc__)
    assert list(inspect.signature(call).parameters) == ["x"]


def test_a_bound_function_that_raises_restores_too(recorded: Recorded) -> None:
    def fail() -> None:
        raise ValueError

    with lumina.trace("bound"):
        call = lumina.propagate(fail)
    with pytest.raises(ValueError):
        call()
    assert current.get() is None


@pytest.mark.anyio
async def test_coroutine_functions(recorded: Recorded) -> None:
    with lumina.trace("bound") as bound:
        call = lumina.propagate(adescribe)
    assert await call() == bound.trace_id  # type: ignore[misc]
    assert current.get() is None


def test_pickled_and_called_again(recorded: Recorded) -> None:
    lock = object()
    with lumina.trace("bound") as bound, lumina.with_attributes(a=1, bad=lambda: lock):
        data = pickle.dumps(lumina.propagate(describe))
    got = pickle.loads(data)(5)  # noqa: S301
    assert (got["x"], got["trace_id"], got["ambient"]["a"]) == (5, bound.trace_id, 1)
    node = recorded.one("work")
    assert (node.parent_id, node.remote_parent) == (bound.span_id, True)


def test_pickled_again_on_the_way(recorded: Recorded) -> None:
    with lumina.trace("bound") as bound:
        call = lumina.propagate(describe)
    for _ in range(3):
        call = pickle.loads(pickle.dumps(call))  # noqa: S301
    assert call(1)["trace_id"] == bound.trace_id


def test_pickled_while_tracing_is_off() -> None:
    assert pickle.loads(pickle.dumps(lumina.propagate(describe)))(1)["recording"] is False  # noqa: S301


@pytest.mark.parametrize("sampled", [True, False])
def test_a_process_pool(sampled: bool) -> None:
    """The child initialises as this process was, and goes on with the trace and its flag."""
    context = multiprocessing.get_context("spawn")
    settings: dict[str, Any] = {"attributes": {"lock": lambda: 1}, "redact": lambda k, v: v}
    with (
        lumina.init("pool", export=False, sample_rate=float(sampled), **settings),
        ProcessPoolExecutor(1, mp_context=context) as pool,
        lumina.trace("bound") as bound,
        lumina.with_attributes(user="u"),
    ):
        got = pool.submit(lumina.propagate(describe), 7).result()
    flag = "01" if sampled else "00"
    assert got["headers"]["traceparent"].startswith(f"00-{bound.trace_id}-")
    assert got["headers"]["traceparent"].endswith(flag)
    assert (got["x"], got["recording"], got["service"]) == (7, sampled, "pool")
    assert got["ambient"] == {"user": "u"}
