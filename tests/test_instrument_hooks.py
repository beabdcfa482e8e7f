"""Every hook against the library that it is for: it fits, comes out again, and stays out of what has changed."""

import functools
import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from support.model_server import model_server
from support.programs import run
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.instrument import registry
from lumina_stream.instrument.registry import LIBRARIES, Patch, Patches

pytestmark = pytest.mark.filterwarnings("ignore")
"""Warnings of these libraries are theirs."""


@pytest.fixture(autouse=True)
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    yield
    lumina.uninstrument()


@pytest.fixture(params=list(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    """A library that is installed; imported, with all that hooks go into."""
    name: str = request.param
    for package in LIBRARIES[name]:
        pytest.importorskip(package)
    assert modules_of(name), "none of the modules that its hooks belong to is there"
    return name


def modules_of(library: str) -> list[ModuleType]:
    found: list[ModuleType] = []
    for module in registry._hooks(library):
        try:
            found.append(importlib.import_module(module))
        except ModuleNotFoundError as error:  # of another major version
            assert error.name is None or module.startswith(error.name), error
    return found


def patches_of(library: str) -> list[Patch]:
    return list(registry._on[library]._patches)


def effects(library: str) -> list[Any]:
    """Return what the hooks that are no replaced attributes change, by library."""
    match library:
        case "langchain":
            return list(importlib.import_module("langchain_core.tracers.context")._configure_hooks)
        case "llama-index":
            dispatcher = importlib.import_module("llama_index_instrumentation").get_dispatcher()
            return list(dispatcher.span_handlers)
        case "openai-agents":
            provider = importlib.import_module("agents.tracing").get_trace_provider()
            return list(provider._multi_processor._processors)
        case "pydantic-ai":
            return [importlib.import_module("pydantic_ai.agent").Agent._instrument_default]
        case "opentelemetry":
            return [importlib.import_module("opentelemetry.sdk.trace").TracerProvider.__init__]
        case _:
            return []


def test_it_fits_and_comes_out(library: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without a complaint; afterwards each attribute is the object that it was."""
    before = effects(library)
    with caplog.at_level(logging.INFO, "lumina_stream"):
        assert lumina.instrument(library) == [library]
    assert caplog.messages == []
    patches = patches_of(library)
    for patch in patches:
        assert patch.owner.__dict__[patch.name] is patch.replacement is not patch.original
    assert patches or effects(library) != before
    assert len({(patch.owner, patch.name) for patch in patches}) == len(patches)
    lumina.uninstrument(library)
    for patch in patches:
        assert patch.owner.__dict__[patch.name] is patch.original
    assert effects(library) == before


def changed_like(original: Any) -> Any:
    """Return a function of another version: the same name and sort, other parameters."""
    function = inspect.unwrap(original)

    async def changed_async(self: Any, nothing: Any = None) -> str:
        return "changed"

    def changed(self: Any = None, nothing: Any = None) -> str:
        return "changed"

    made: Callable[..., Any] = changed_async if inspect.iscoroutinefunction(function) else changed
    made.__name__ = function.__name__
    return made


def needs_of(library: str, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[Any, str], list[str]]:
    """Return the parameters that each hook needs, by where it is put."""
    needed: dict[tuple[Any, str], list[str]] = {}
    replace = registry.Patches.replace

    @functools.wraps(replace)
    def noting(self: Any, owner: Any, name: str, make: Any, needs: Any = ()) -> None:
        needed[owner, name] = list(needs)
        replace(self, owner, name, make, needs)

    with monkeypatch.context() as patched:
        patched.setattr(registry.Patches, "replace", noting)
        lumina.instrument(library)
        lumina.uninstrument(library)
    return needed


def test_another_signature_keeps_one_hook_out(
    library: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, with library, version and place; what has changed is called as it is, the others are hooked."""
    needed = needs_of(library, monkeypatch)
    version = registry._version(library)
    for (owner, name), needs in needed.items():
        original = owner.__dict__[name]
        if not needs:
            continue
        caplog.clear()
        with monkeypatch.context() as patched, caplog.at_level(logging.INFO, "lumina_stream"):
            changed = changed_like(original)
            for other, known in needed:  # the same function under another name changes with it
                if other.__dict__.get(known) is original:
                    patched.setattr(other, known, changed)
            lumina.instrument(library)
            lumina.instrument(library)
            assert owner.__dict__[name] is changed
            hooked = len(patches_of(library))
            lumina.uninstrument(library)
        where = f"{getattr(owner, '__qualname__', owner.__name__)}.{name}"
        (message,) = caplog.messages
        assert version
        assert message == (
            f"lumina-stream: {library} {version} is not instrumented: "
            f"{where}: it no longer takes {', '.join(needs)}"
        )
        same = sum(other.__dict__.get(known) is original for other, known in needed)
        assert hooked == len(needed) - same


MISSING = {
    "langchain": ("langchain_core.tracers.context", "register_configure_hook"),
    "llama-index": ("llama_index_instrumentation", "get_dispatcher"),
    "openai-agents": ("agents.tracing", "add_trace_processor"),
    "pydantic-ai": ("pydantic_ai.agent", "Agent"),
}
"""What the hooks of frameworks enter by."""


@pytest.mark.parametrize("framework", list(MISSING))
def test_a_framework_without_its_entrance(
    framework: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not traced, and one line says so."""
    module, name = MISSING[framework]
    monkeypatch.delattr(pytest.importorskip(module), name)
    with caplog.at_level(logging.INFO, "lumina_stream"):
        lumina.instrument(framework)
        lumina.instrument(framework)
    (message,) = caplog.messages
    version = registry._version(framework)
    assert message.startswith(f"lumina-stream: {framework} {version} is not instrumented: {module}")
    assert name in message


def test_pydantic_ai_without_opentelemetry(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its agents are not seen, which is said; the calls of the clients below it are, by their hooks."""
    pytest.importorskip("pydantic_ai")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "opentelemetry.sdk" else find_spec(name, *more),
    )
    before = effects("pydantic-ai")
    with caplog.at_level(logging.INFO, "lumina_stream"):
        lumina.instrument("pydantic-ai")
    (message,) = caplog.messages
    assert message.endswith("Agent: its spans need opentelemetry-sdk")
    assert effects("pydantic-ai") == before


def test_the_bridge_is_on_whoever_imports_the_sdk_first() -> None:
    """Our own module imports it, and so is in the middle of its own import when the hook runs."""
    pytest.importorskip("opentelemetry.sdk.trace")
    for first in ("opentelemetry.sdk.trace", "lumina_stream.instrument.opentelemetry"):
        code = f"""
            import lumina_stream as lumina
            lumina.instrument()
            import {first}
            from lumina_stream.instrument import opentelemetry
            print(opentelemetry._bridge is not None)
            lumina.uninstrument()
            print(opentelemetry._bridge is not None)
        """
        assert run(code, None) == ("True\nFalse\n", "")


def test_a_missing_method_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    httpx = pytest.importorskip("httpx")
    monkeypatch.delattr(httpx.AsyncClient, "send")
    with caplog.at_level(logging.INFO, "lumina_stream"):
        lumina.instrument("httpx")
    (message,) = caplog.messages
    assert message.endswith("AsyncClient.send: it is missing")


@pytest.mark.parametrize("fits", [True, False])
def test_one_function_under_two_names(
    fits: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Litellm's package imports the functions of its main module: both are hooked, or one line says why not."""

    def completion(model: str, messages: list[Any]) -> str:
        return "answer"

    main, package, patches = ModuleType("litellm.main"), ModuleType("litellm"), Patches("litellm")
    original = completion if fits else changed_like(completion)
    monkeypatch.setitem(sys.modules, "litellm.main", main)
    hooks = importlib.import_module("lumina_stream.instrument.litellm").hooks("litellm")
    vars(main).update(
        dict.fromkeys(("completion", "acompletion", "embedding", "aembedding"), original)
    )
    with caplog.at_level(logging.INFO, "lumina_stream"):
        hooks["litellm.main"](main, patches)
        vars(package)["completion"] = vars(main)["completion"]
        hooks["litellm"](package, patches)
    assert (vars(package)["completion"] is original) is (not fits)
    assert sum("completion" in message for message in caplog.messages) == (0 if fits else 2)
    patches.undo()
    assert vars(package)["completion"] is vars(main)["completion"] is original


def test_bound_methods_from_before_fall_silent(recorded: Recorded) -> None:
    """Taking hooks out reaches what the program has kept of them; so does turning tracing off."""
    openai = pytest.importorskip("openai")
    asked: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "q"}]}
    lumina.instrument("openai", "httpx", "httpx2")
    with (
        model_server() as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client,
    ):
        held = client.chat.completions.create
        held(**asked)
        assert len(recorded.spans()) == 1
        lumina.uninstrument()
        held(**asked)
        client.chat.completions.create(**asked)
        lumina.instrument("openai", "httpx", "httpx2")
        recorded.runtime.shutdown()
        client.chat.completions.create(**asked)
    assert len(recorded.spans()) == 1


def test_a_hook_that_fails_leaves_the_call_alone(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in us is counted, and the program gets its answer."""
    openai = pytest.importorskip("openai")
    from lumina_stream.instrument import openai as hooks

    monkeypatch.setattr(hooks, "provider_of", lambda resource: 1 / 0)
    lumina.instrument("openai")
    with (
        model_server() as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client,
    ):
        assert client.embeddings.create(model="m", input="q").data
    assert recorded.spans() == []
    assert recorded.recorder.faults == 1
    recorded.recorder.faults = 0
