"""The fixtures that hold the dashboard's tree to this one are what this one says."""

import random
from pathlib import Path

import pytest
from support.tree_cases import Case, cases
from support.tree_fixtures import FOLDER, written
from support.trees import canonical, grow

CASES = {case.name: case for case in cases()}


def test_every_case_has_its_file_and_no_file_is_left_over() -> None:
    """`cd tests && python -m support.tree_fixtures` writes them."""
    assert {path.stem for path in FOLDER.glob("*.json")} == set(CASES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_file_is_what_the_tree_says(case: Case) -> None:
    """To the byte: facts, outlines, and the tree that they make."""
    assert Path(FOLDER / f"{case.name}.json").read_text(encoding="utf-8") == written(case)


@pytest.mark.parametrize("case", [c for c in CASES.values() if not c.ordered], ids=lambda c: c.name)
def test_the_order_of_a_case_does_not_matter(case: Case) -> None:
    """What a reader may apply in any order must be so here."""
    expected = canonical(grow(case.facts))
    for seed in range(3):
        facts = case.facts + case.facts[: len(case.facts) // 3]
        random.Random(seed).shuffle(facts)
        assert canonical(grow(facts)) == expected
