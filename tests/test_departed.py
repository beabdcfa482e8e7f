"""Trees that left the memory are gone at once, unless somebody still reads them."""

import gc

import pytest
from support.projected import Relay, ended, started, whole

from lumina_stream.model.node import SpanNode
from lumina_stream.model.tree import TraceTree
from lumina_stream.relay import held
from lumina_stream.relay.departed import MANY, Departed


def new_tree() -> TraceTree:
    tree = TraceTree("a" * 32)
    for seq, event in enumerate(
        (started(1), started(1, 2, parent_id="0" * 15 + "1"), ended(1, 2)), 1
    ):
        tree.apply(event, "p", seq)
    return tree


def test_a_tree_that_nobody_has_is_cut_up() -> None:
    gone = Departed()
    reading = new_tree()
    nodes = list(reading)
    for _ in range(MANY - 2):
        gone.add(new_tree())
    assert len(gone) == MANY - 2
    gone.add(reading)
    gone.add(reading)  # it came back, and left again
    gone.add(new_tree())
    assert len(gone) == 2, "the one that is being read, and the one that is just coming"
    gone.sweep()
    assert len(gone) == 1
    assert nodes[1].parent is nodes[0] and [n.span_id for _, n in reading.walk()]
    del reading
    gone.sweep()
    assert len(gone) == 0 and nodes[1].parent is None


def test_those_that_are_read_are_not_asked_about_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, reading = Departed(), [new_tree() for _ in range(MANY)]
    sweeps: list[int] = []
    monkeypatch.setattr(Departed, "sweep", lambda self: sweeps.append(len(self)))
    for tree in (*reading, *(new_tree() for _ in range(MANY))):
        gone.add(tree)
    assert sweeps == [MANY, 2 * MANY]


def test_evicted_traces_leave_no_garbage(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "RECENT_TRACES", 10)
    relay = Relay(tmp_path)
    gc.collect()
    gc.disable()
    try:
        for number in range(250):
            relay.send(*whole(number))
            relay.send(started(number, 2, parent_id="0" * 15 + "1"), ended(number, 2))
            list(relay.projections.checkpoint_steps())
        left = sum(isinstance(one, SpanNode) for one in gc.get_objects())
    finally:
        gc.enable()
    relay.close()
    assert left < 2 * (10 + 2 * MANY), left
