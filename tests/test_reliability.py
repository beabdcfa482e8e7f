"""Every row of what can go wrong has a test named after it, and docs/reliability.md lists it."""

import importlib.util
import re
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
ROWS = set(range(1, 27))
_NAMED = re.compile(r"^(?:async )?def (test_rows?_(\d+(?:_(?:and_)?\d+)*)_\w+)", re.MULTILINE)
_LISTED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def named() -> dict[str, set[int]]:
    """Return the tests that name rows, as `file::name`."""
    found: dict[str, set[int]] = {}
    for file in TESTS.rglob("test_*.py"):
        for name, rows in _NAMED.findall(file.read_text("utf-8")):
            found[f"{file.relative_to(TESTS)}::{name}"] = set(map(int, re.findall(r"\d+", rows)))
    return found


def test_every_row_has_a_test() -> None:
    assert ROWS - set().union(*named().values()) == set()


def test_what_is_documented_is_there_and_the_other_way_round() -> None:
    documented = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
    listed = {f"{file}::{name}" for file, name in _LISTED.findall(documented)}
    for test in listed:
        file, name = test.split("::")
        assert f"def {name}(" in (TESTS / file).read_text("utf-8"), test
    assert set(named()) - listed == set()


def test_every_change_that_a_test_names_can_be_made() -> None:
    """What `scripts/check-faults` replaces is there, once: the code has not moved away below it."""
    path = TESTS.parent / "scripts" / "check_faults.py"
    spec = importlib.util.spec_from_file_location("check_faults", path)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    changes = module.selected([])
    assert len(changes) > 60
    for one in changes:
        assert (TESTS.parent / one.path).read_text("utf-8").count(one.old) == 1, one
