"""How hooks come in and out: at the import, by name, without a trace, and with one line where they do not fit."""

import importlib
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lumina_stream as lumina
from lumina_stream.instrument import registry
from lumina_stream.instrument.registry import Patch, Patches
from lumina_stream.model.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def out() -> Iterator[None]:
    yield
    lumina.uninstrument()


def python(code: str, **more: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LUMINA_", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, env=clean | {"PYTHONPATH": str(REPOSITORY)} | more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_package_is_the_function() -> None:
    """`lumina.instrument()` works whether or not a module of that package was imported before."""
    for first in ("import lumina_stream.instrument.asgi", "pass"):
        said = python(f"""
            {first}
            import lumina_stream as lumina
            print(lumina.instrument("requests"), lumina.uninstrument())
            import lumina_stream.instrument.asgi
            print(lumina.instrument.asgi.TraceMiddleware.__name__, lumina.instrument("requests"))
        """)
        assert said == "['requests'] ['requests']\nTraceMiddleware ['requests']\n"


def test_nothing_is_imported_that_the_program_does_not() -> None:
    """Neither a library nor our hooks for it."""
    said = python("""
        import sys, lumina_stream as lumina
        lumina.instrument()
        roots = {p.partition(".")[0] for ps in lumina.instrument.registry.LIBRARIES.values() for p in ps}
        print(sorted(roots & set(sys.modules)), [m for m in sys.modules if "instrument" in m])
    """)
    assert said == "[] ['lumina_stream.instrument', 'lumina_stream.instrument.registry']\n"


def test_an_unknown_name() -> None:
    with pytest.raises(
        ConfigurationError, match="'nothing' cannot be instrumented; known are openai"
    ):
        lumina.instrument("nothing")


def test_names_are_taken_as_people_write_them() -> None:
    assert lumina.instrument("LangGraph", "google_genai") == ["langchain", "google-genai"]
    assert lumina.uninstrument("langchain") == ["langchain"]
    assert registry.instrumented() == ["google-genai"]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A library of two modules, with a hook in each."""
    package = tmp_path / "some_library"
    package.mkdir()
    (package / "__init__.py").write_text("from some_library.inner import Client\n")
    (package / "inner.py").write_text(
        "class Client:\n def ask(self, question): return question\n def other(self): return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.LIBRARIES, "some-library", ("some_library",))
    hook = ModuleType("lumina_stream.instrument.some_library")
    seen: list[str] = []

    def install(module: ModuleType, patches: Patches) -> None:
        def make(original: Any, patch: Patch) -> Any:
            def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
                if patch.on:
                    seen.append("asked")
                return original(self, *args, **kwargs)

            return ask

        patches.replace(module.Client, "ask", make, ("question", "newer"))
        patches.replace(module.Client, "gone", make)
        patches.replace(module.Client, "other", make)

    hook.hooks = lambda name: {"some_library.inner": install}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, hook.__name__, hook)
    yield seen
    lumina.uninstrument()
    for name in ("some_library", "some_library.inner"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("imported_before", [False, True])
def test_a_hook_that_does_not_fit(
    library: list[str], caplog: pytest.LogCaptureFixture, imported_before: bool
) -> None:
    """It stays out with one line; the others of the library are in, and come out again."""
    if imported_before:
        importlib.import_module("some_library")
    with caplog.at_level(logging.WARNING, "lumina_stream"):
        lumina.instrument("some-library")
        module: Any = importlib.import_module("some_library")
        lumina.instrument("some-library")
    assert [record.getMessage().partition("instrumented: ")[2] for record in caplog.records] == [
        "Client.ask: it no longer takes newer",
        "Client.gone: it is missing",
    ]
    client = module.Client()
    assert (client.ask("q"), client.other()) == ("q", 1)
    assert library == ["asked"]
    held = client.other
    lumina.uninstrument("some-library")
    assert (client.other(), held()) == (1, 1)
    assert library == ["asked"]
    assert registry._finder not in sys.meta_path
    assert "exec_module" not in vars(module.__spec__.loader)


def test_what_others_put_over_a_hook_stays(library: list[str]) -> None:
    lumina.instrument("some-library")
    module: Any = importlib.import_module("some_library")
    ours = module.Client.other
    module.Client.other = lambda self: ours(self) + 1
    lumina.uninstrument()
    assert module.Client().other() == 2
    assert library == []


def test_the_programs_own_sitecustomize_runs(tmp_path: Path) -> None:
    """Ours steps aside: the program finds its own, and not our folder."""
    from lumina_stream.viewing.running import STARTUP, instrumented

    (tmp_path / "sitecustomize.py").write_text("import sys; sys.own = 1\n")
    code = """
        import sys, sitecustomize
        from lumina_stream.instrument.registry import instrumented
        print(getattr(sys, "own", 0), sitecustomize.__file__, len(instrumented()) > 5)
        print([p for p in sys.path if p.endswith("startup")])
    """
    assert (STARTUP / "sitecustomize.py").is_file()
    path = os.pathsep.join((str(tmp_path), str(REPOSITORY)))
    environment = instrumented({"PYTHONPATH": path})
    assert instrumented(environment) == environment
    assert python(code, **environment) == f"1 {tmp_path / 'sitecustomize.py'} True\n[]\n"
    only = instrumented({"PYTHONPATH": path, "LUMINA_INSTRUMENT": "openai, httpx"})
    said = python(
        "from lumina_stream.instrument.registry import instrumented; print(instrumented())", **only
    )
    assert said == "['openai', 'httpx']\n"


def test_wrong_names_in_the_environment_leave_the_program_alone() -> None:
    from lumina_stream.viewing.running import instrumented

    wrong = instrumented({"PYTHONPATH": str(REPOSITORY), "LUMINA_INSTRUMENT": "nonsense"})
    assert "nothing is instrumented" in python("print(1)", **wrong)
