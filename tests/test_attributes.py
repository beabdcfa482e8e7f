"""The index of attributes: by which of them a trace is found, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.projected import SECOND, START, Relay, ended, span, started, trace, whole

from lumina_stream.model.events import AttributeSet
from lumina_stream.protocol.frames import Filter
from lumina_stream.relay import attributes, settling
from lumina_stream.relay.attributes import LENGTH, MOST, add_digests, digest_of, split, text_of
from lumina_stream.relay.selection import TraceQuery


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    yield made
    made.close()


def found(relay: Relay, *pairs: str) -> set[int]:
    """Return the numbers of the traces that are found by some attributes."""
    page = relay.projections.list(TraceQuery(attribute=pairs))
    return {int(summary.trace_id, 16) for summary in page.traces}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        ("x" * LENGTH, "x" * LENGTH),
        ("x" * (LENGTH + 1), None),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-(1 << 63), str(-(1 << 63))),
        (1 << 64, None),
        (1.5, "1.5"),
        (1e300, "1e+300"),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
        (b"x", None),
    ],
)
def test_what_is_a_label(value: Any, text: str | None) -> None:
    """Short scalars, as a person writes them."""
    assert text_of(value) == text


def test_a_trace_is_found_by_so_many_attributes(relay: Relay) -> None:
    """Those that came first; the others are not found, and cost nothing."""
    relay.send(started(1, attributes={"first": 1, "k" * (LENGTH + 1): 1}))
    for number in range(MOST + 50):
        relay.send(AttributeSet(trace(1), span(1 + number % 4), START, f"k{number}", number))
        if number % 100 == 0 or number > 1_000:
            relay.projections.list()
    assert found(relay, "first=1", "k9=9", f"k{MOST - 2}={MOST - 2}") == {1}
    assert found(relay, f"k{MOST - 1}={MOST - 1}") == set()
    line = relay.projections._store.line(trace(1))  # pyright: ignore[reportPrivateUsage]
    assert line is not None and len(line.digests) == 8 * MOST


def test_only_what_changed_is_looked_at(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span once a change, and none on the way of an event."""
    looked: list[int] = []
    add = attributes.add_digests

    def counting(digests: Any, nodes: Any) -> None:
        nodes = list(nodes)
        looked.append(len(nodes))
        add(digests, nodes)

    monkeypatch.setattr(settling, "add_digests", counting)
    relay.send(*(started(1, n, parent_id=span(1) if n > 1 else None) for n in range(1, 51)))
    assert looked == []
    relay.projections.list()
    relay.projections.list()
    relay.send(ended(1, 7))
    relay.projections.checkpoint()
    relay.projections.list()
    assert looked == [50, 1]


def test_retention_forgets_attributes_too(relay: Relay) -> None:
    """Nothing is left in the store of a trace that the log no longer holds."""
    relay.send(*whole(1, attributes={"tier": "gold"}))
    relay.send(started(2, attributes={"tier": "gold"}))  # it runs: it stays
    relay.projections.list()
    relay.projections.checkpoint()
    store = relay.projections._store  # pyright: ignore[reportPrivateUsage]
    known = store.line(trace(1))
    assert known is not None and known.digests
    store.prune(relay.log.next_offset)
    assert store.line(trace(1)) is None
    kept = store.line(trace(2))
    assert kept is not None and kept.digests


def test_all_of_several(relay: Relay) -> None:
    """Each may be another span's; a pair matches as a whole, never a part of it."""
    relay.send(*whole(1, attributes={"tier": "gold"}), started(1, 2, attributes={"n": 7}))
    relay.send(*whole(2, attributes={"tier": "gold", "n": 77}))
    assert found(relay, "tier=gold") == {1, 2}
    assert found(relay, "tier=gold", "n=7") == {1}
    for none in ("tier=", "tier=gol", "ier=gold", "tier=Gold", "n=7.0"):
        assert found(relay, none) == set()


def test_live_views_are_told_when_an_attribute_comes(relay: Relay) -> None:
    """A trace that runs is not yet what is looked for, and then is; a value overwritten still counts."""
    asked = Filter(attribute=("stage=done",))
    relay.send(started(1, attributes={"stage": "draft"}))
    assert not relay.projections.matches(asked, trace(1))
    relay.send(AttributeSet(trace(1), span(1), START + SECOND, "stage", "done"))
    assert relay.projections.matches(asked, trace(1))
    assert found(relay, "stage=draft") == {1}


def test_digests_are_written_one_after_the_other(relay: Relay) -> None:
    """What the store gives back are the digests that were put in, in their order, each once."""
    relay.send(started(1, attributes={"a": 1, "b": [1], "c": "x"}))
    digests: dict[bytes, None] = {}
    tree = relay.projections.tree(trace(1))
    assert tree is not None
    add_digests(digests, tree)
    add_digests(digests, tree)
    assert list(digests) == [digest_of("a=1"), digest_of("c=x")]
    assert list(split(b"".join(digests))) == list(digests)


@given(st.text(max_size=20), st.text(max_size=20))
def test_digests_tell_pairs_apart(one: str, other: str) -> None:
    """Eight bytes each, of any text."""
    assert (digest_of(one) == digest_of(other)) == (one == other)
    assert len(digest_of(one)) == 8
