"""Apply the change that each fault test names to a copy of the checkout, and expect the test to fail.

A test names one in its body, or several, one after the other:

    # breaks: lumina_stream/protocol/spool.py
    # -   counters[HEAD] = head
    # +   pass

The text after `-` must be in that file exactly once; it is replaced by the text after `+`.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("lumina_stream", "tests", "examples", "docs", "scripts", "pyproject.toml", "README.md")
TIMEOUT_S = 300.0
"""A test that hangs has failed too, but not for ever."""

_TEST = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
_BREAKS = re.compile(
    r"^ *# breaks: (?P<path>\S+)\n *# - +(?P<old>.+)\n *# \+ +(?P<new>.+)$", re.MULTILINE
)


class Break(NamedTuple):
    """A change that turns a test red."""

    test: str
    path: str
    old: str
    new: str


def breaks(file: Path) -> Iterator[Break]:
    """Iterate the changes that the tests of a file name."""
    text = file.read_text("utf-8")
    starts = [(match.start(), match[1]) for match in _TEST.finditer(text)]
    found = 0
    for match in _BREAKS.finditer(text):
        names = [name for start, name in starts if start < match.start()]
        if not names:
            sys.exit(f"{file}: `breaks:` outside of a test")
        found += 1
        yield Break(
            f"{file.relative_to(ROOT)}::{names[-1]}", match["path"], match["old"], match["new"]
        )
    if found != text.count("# breaks:"):
        sys.exit(f"{file}: a `breaks:` that is not followed by one line `# -` and one line `# +`")


def selected(wanted: list[str]) -> list[Break]:
    """Return the changes of the tests that were asked for, of all if none were."""
    everything = [b for file in sorted((ROOT / "tests").rglob("test_*.py")) for b in breaks(file)]
    if not wanted:
        return everything
    return [one for one in everything if any(one.test.startswith(w.rstrip("/")) for w in wanted)]


def run(copy: Path, *tests: str) -> tuple[int | None, str]:
    """Run tests in the copy; return pytest's exit code, None if they did not end, and what it said."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-x",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    # In a session of its own: what a test has started goes with it.
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=TIMEOUT_S * len(tests))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return None, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def main() -> int:
    """Print one line a change; return 1 if one of them turned nothing red."""
    todo = selected(sys.argv[1:])
    if not todo:
        sys.exit("no test names a change (`# breaks:`)")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="lumina-faults-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "node_modules")
                shutil.copytree(source, copy / name, ignore=ignored)
            elif source.exists():
                shutil.copy(source, copy / name)
        tests = list(dict.fromkeys(one.test for one in todo))
        code, said = run(copy, *tests)
        if code != 0:
            print(said)
            sys.exit("a test fails without any change")
        print(f"{len(tests)} tests pass; {len(todo)} changes to apply")
        for one in todo:
            path = copy / one.path
            text = path.read_text("utf-8")
            if text.count(one.old) != 1:
                print(f"WRONG  {one.test}: {one.path} has {text.count(one.old)} of: {one.old}")
                wrong += 1
                continue
            began = time.monotonic()
            path.write_text(text.replace(one.old, one.new), "utf-8")
            code, said = run(copy, one.test)
            path.write_text(text, "utf-8")
            # 1: tests ran and failed. Anything else is not a test that failed: nothing was collected, say.
            red = code in (1, None)
            wrong += not red
            word = "red" if code == 1 else "hangs" if red else f"GREEN ({code})"
            print(f"{word:6} {one.test} ({time.monotonic() - began:.0f} s): {one.path}", flush=True)
            if not red and code != 0:
                print(said)
    print(f"{len(todo) - wrong} of {len(todo)} changes turn their test red")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
