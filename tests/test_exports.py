"""The public names, their docstrings, and what importing them costs."""

import inspect
import subprocess
import sys

import pytest

import lumina_stream as lumina

NAMES = {
    *("init", "trace", "start_span", "current_span", "with_attributes", "propagate"),
    *("inject", "extract", "subscribe", "flush", "shutdown", "aflush", "ashutdown", "statistics"),
    *("tail", "TraceIds", "add_trace_ids", "TraceMiddleware", "Span", "SpanContext", "Runtime"),
    *("Statistics", "Subscription", "Redaction", "Limits", "DEFAULT", "CURRENT", "__version__"),
    *("LuminaError", "ConfigurationError", "ConnectionFailed", "ConnectionEnded"),
}
HEAVY = (
    *("websockets", "structlog", "rich", "starlette", "asyncio", "anyio", "uvicorn", "apsw"),
    *("trio", "httpx", "pytest"),
)


def test_all_public_names_are_there() -> None:
    assert set(lumina.__all__) >= NAMES
    assert dir(lumina) == sorted(lumina.__all__)
    for name in lumina.__all__:
        assert getattr(lumina, name) is not None


@pytest.mark.parametrize("name", [name for name in lumina.__all__ if name not in ("__version__",)])
def test_each_has_a_docstring_of_its_own(name: str) -> None:
    thing = getattr(lumina, name)
    thing = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    assert thing.__doc__, name
    assert len(thing.__doc__.splitlines()[0]) > 10


@pytest.mark.parametrize("kind", [lumina.Span, lumina.Runtime, lumina.Subscription])
def test_each_public_method_has_a_docstring(kind: type) -> None:
    for name, member in vars(kind).items():
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property)):
            assert member.__doc__, f"{kind.__name__}.{name}"


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lumina.nothing


@pytest.mark.parametrize(
    "program",
    [
        "import lumina_stream",
        "import lumina_stream as l\nwith l.trace('x') as s: s.set_attribute('k', 1)",
        "import lumina_stream as l\nl.init(export=False)\nwith l.trace('x'): pass\nl.shutdown()",
    ],
)
def test_importing_pulls_in_nothing_heavy(program: str) -> None:
    program += f"\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)  # fmt: skip
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_relay_starts_without_what_it_seldom_needs() -> None:
    """Who restarts a relay waits for its imports; a log line can wait for structlog and rich."""
    program = (
        "import sys, lumina_stream.relay.serve\n"
        "print([name for name in ('structlog', 'rich', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
