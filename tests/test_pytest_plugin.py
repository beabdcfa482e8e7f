"""The fixture `lumina_spans`, in a pytest run of its own."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import lumina_stream as lumina

def test_spans(lumina_spans):
    with lumina.trace("outer"), lumina.trace("inner", k=1):
        assert lumina_spans.one("inner").state == "running"
    assert lumina_spans.one("inner").attributes == {"k": 1}
    assert lumina_spans.one("inner").parent.name == "outer"
    assert [node.name for node in lumina_spans.all()] == ["outer", "inner"]
    assert len(lumina_spans.traces) == 1
    assert lumina_spans.named("other") == []

def test_each_test_has_its_own(lumina_spans):
    assert lumina_spans.all() == []

def test_off_without_it():
    with lumina.trace("x") as span:
        assert not span.is_recording

def test_none(lumina_spans):
    lumina_spans.one("missing")

def test_two(lumina_spans):
    for _ in range(2):
        with lumina.trace("twice"):
            pass
    lumina_spans.one("twice")
"""


def test_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."]
    variables = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert "2 failed" in done.stdout
    assert "0 spans are named 'missing'; recorded were []" in done.stdout
    assert "2 spans are named 'twice'; recorded were ['twice', 'twice']" in done.stdout


def test_it_is_an_entry_point_that_imports_little() -> None:
    program = (
        "import sys, lumina_stream.instrument.pytest_plugin;"
        "print([m for m in ('asyncio', 'websockets', 'structlog', 'anyio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
