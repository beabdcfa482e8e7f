"""Projections: what they know equals what a tree of the same events says, through every restart."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.projected import (
    RELAY,
    SECOND,
    START,
    Relay,
    ended,
    span,
    started,
    trace,
    whole,
)

from lumina_stream.model import codec
from lumina_stream.model.events import (
    AttributeSet,
    Event,
    EventAdded,
    EventsLost,
    ProducerEnded,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.node import start_order
from lumina_stream.model.record import record_of
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.frames import Filter
from lumina_stream.relay import (
    backlog,
    checkpoint,
    held,
    projection_store,
    projections,
    settling,
)
from lumina_stream.relay.log import Epoch
from lumina_stream.relay.selection import COLUMNS, LARGEST_PAGE, QueryError, TraceQuery
from lumina_stream.relay.sqlite_log import SqliteLog
from lumina_stream.relay.summaries import length, summarise


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    yield made
    made.close()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep next to nothing in memory."""
    monkeypatch.setattr(held, "RECENT_TRACES", 1)
    monkeypatch.setattr(held, "RECENT_FEWEST", 1)


def shape(tree: TraceTree) -> Any:
    """Return all that a tree says."""
    records = sorted((record_of(node) for node in tree), key=lambda r: r.span_id)
    return (
        [codec.encode(_sorted(record)) for record in records],
        [(depth, node.span_id, node.state, node.service) for depth, node in tree.walk()],
        tree.truncated,
        tree.losses,
        summarise(tree),
    )


def _sorted(record: Any) -> Any:
    return (
        record.span_id, record.parent_id, record.name, record.kind, record.start, record.end,
        record.status, record.named, record.last_ns, record.conflicts,
        sorted((record.values or {}).items()), sorted(e.stamp for e in record.events),
        sorted((c, i, t.text) for c, i, t in record.texts),
    )  # fmt: skip


def check(relay: Relay) -> None:
    """Compare everything that the projections say with the trees of the whole log."""
    truth = relay.truth()
    found = relay.projections.list(TraceQuery(limit=LARGEST_PAGE)).traces
    assert {s.trace_id for s in found} == set(truth.traces)
    for summary in found:
        tree = truth.traces[summary.trace_id]
        assert summary == summarise(tree)
        assert relay.projections.summary(summary.trace_id) == summary
        known = relay.projections.tree(summary.trace_id)
        assert known is not None
        assert shape(known) == shape(tree)
    assert relay.projections.statistics().traces == len(truth)
    spans, total = relay.projections.running(1_000)
    open_nodes = [(n, t.trace_id) for t in truth for n in t.open_spans()]
    open_nodes.sort(key=lambda item: start_order(item[0]))
    assert total == len(open_nodes)
    assert [(s.span_id, s.trace_id) for s in spans] == [(n.span_id, t) for n, t in open_nodes]


# --- one frame -------------------------------------------------------------------------------


def test_apply_tells_what_it_changed(relay: Relay) -> None:
    """New traces are named once, changed ones each time; what brings nothing new changes none."""
    applied = relay.send(started(1), started(1, 2, parent_id=span(1)), started(2))
    assert set(applied.changed) == {trace(1), trace(2)}
    assert applied.new == (trace(1), trace(2))
    assert applied.offset == relay.projections.offset == 3
    applied = relay.send(ended(1, 2))
    assert (list(applied.changed), applied.new, applied.offset) == ([trace(1)], (), 4)


def test_refused_events_keep_their_seq(relay: Relay) -> None:
    """None stands for a refused event, and the one after it has its own seq and offset."""
    projections = relay.projections
    projections.apply(1, "p1", 1, [started(1), None, ended(1)])
    tree = projections.tree(trace(1))
    assert tree is not None and projections.offset == 3
    node = tree.span(span(1))
    assert node is not None and node.end is not None and node.end[2] == 3


def test_what_was_applied_is_not_applied_again(relay: Relay) -> None:
    """A frame that overlaps what is known brings only the rest."""
    events = [started(1), ended(1), EventsLost(START, "queue_full", 2, {}, {"other": 2})]
    relay.projections.apply(1, "p1", 1, events)
    applied = relay.projections.apply(1, "p1", 1, [*events, started(2)])
    assert list(applied.changed) == [trace(2)]
    assert applied.offset == 4
    assert relay.projections.statistics().lost == 2


def test_summary_follows_the_tree(relay: Relay) -> None:
    """A summary asked for between two frames is as of the last one."""
    relay.say(ProducerStarted(START, "p1", "shop"))
    relay.send(started(1, name="root", kind="agent"))
    summary = relay.projections.summary(trace(1))
    assert summary is not None
    assert (summary.name, summary.kind, summary.service) == ("root", "agent", "shop")
    assert (summary.state, summary.open, summary.duration_ns) == ("running", 1, None)
    relay.send(
        AttributeSet(trace(1), span(1), START, "gen_ai.usage.input_tokens", 7), ended(1, at=3)
    )
    summary = relay.projections.summary(trace(1))
    assert summary is not None
    assert (summary.state, summary.open, summary.duration_ns) == ("ok", 0, 3 * SECOND)
    assert summary.input_tokens == 7
    assert relay.projections.summary(trace(9)) is None
    assert relay.projections.tree(trace(9)) is None


def test_a_lost_producer_interrupts_and_returns(relay: Relay) -> None:
    """Fates reach the open spans; the duration of an interrupted trace ends with its producer."""
    relay.send(started(1), started(2), ended(2))
    applied = relay.say(ProducerLost(START + 9 * SECOND, "p1", 3, START + 5 * SECOND))
    assert list(applied.changed) == [trace(1)]
    summary = relay.projections.summary(trace(1))
    assert summary is not None
    assert (summary.state, summary.duration_ns) == ("interrupted", 5 * SECOND)
    assert relay.projections.open_producers() == ["p1"]
    applied = relay.say(ProducerReturned(START + 10 * SECOND, "p1"))
    assert list(applied.changed) == [trace(1)]
    assert relay.projections.running(10)[1] == 1
    relay.say(ProducerEnded(START + 11 * SECOND, "p1", 3))
    summary = relay.projections.summary(trace(1))
    assert summary is not None and summary.state == "unended"
    check(relay)


def test_a_late_name_reaches_the_summaries(relay: Relay) -> None:
    """A service that becomes known after its spans is in their traces' lines."""
    relay.send(*whole(1))
    assert relay.projections.list(TraceQuery(service="shop")).traces == ()
    relay.say(ProducerStarted(START, "p1", "shop"))
    assert len(relay.projections.list(TraceQuery(service="shop")).traces) == 1
    assert relay.projections.service("p1") == "shop"
    assert relay.projections.service("p2") == ""


# --- traces that left the memory -------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_late_events_of_an_evicted_trace(relay: Relay) -> None:
    """An event for a trace that is not in memory finds all of it, and is not a new trace."""
    for number in range(1, 6):
        relay.send(*whole(number), started(number, 2, parent_id=span(1)), ended(number, 2))
    relay.projections.list()
    assert relay.projections.statistics().recent_traces == 1
    assert relay.projections.statistics().evicted == 4
    applied = relay.send(started(2, 3, parent_id=span(1)))
    assert applied.new == ()
    summary = relay.projections.summary(trace(2))
    assert summary is not None and (summary.spans, summary.open) == (3, 1)
    check(relay)


@pytest.mark.usefixtures("few")
def test_a_log_that_is_ahead(relay: Relay) -> None:
    """A trace read back ends where the projections stand: the next frame still touches it."""
    relay.send(*whole(1))
    relay.send(*whole(2))
    relay.send(*whole(3))
    relay.projections.list()
    first = (started(1, 2, parent_id=span(1)), ended(1, 2))
    second = (started(1, 3, parent_id=span(1)), ended(1, 3))
    offsets = [relay.append(*first), relay.append(*second)]
    tree = relay.projections.tree(trace(1))
    assert tree is not None and len(tree) == 1
    applied = relay.projections.apply(offsets[0], "p1", 7, first)
    assert list(applied.changed) == [trace(1)]
    applied = relay.projections.apply(offsets[1], "p1", 9, second)
    assert list(applied.changed) == [trace(1)]
    check(relay)


def test_a_trace_that_was_never_open_at_a_checkpoint(relay: Relay) -> None:
    """One that began and was interrupted between two checkpoints runs again after a restart."""
    relay.send(started(1))
    relay.say(ProducerLost(START + 2 * SECOND, "p1", 1, START + SECOND))
    relay.restart()
    assert relay.projections.forest.traces == {}
    applied = relay.say(ProducerReturned(START + 3 * SECOND, "p1"))
    assert list(applied.changed) == [trace(1)]
    check(relay)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("restart", [False, True])
def test_a_producer_returns_to_evicted_traces(relay: Relay, restart: bool) -> None:
    """An interrupted trace may leave the memory; its producer's return makes it running again."""
    relay.say(ProducerStarted(START, "p1", "shop"))
    relay.send(started(1), started(2))
    relay.say(ProducerLost(START + 2 * SECOND, "p1", 2, START + SECOND))
    for number in range(3, 6):
        relay.send(*whole(number), producer="p2")
    relay.projections.list()
    assert trace(1) not in relay.projections.forest.traces
    if restart:
        relay.restart()
    else:
        relay.projections.checkpoint()
    check(relay)
    applied = relay.say(ProducerReturned(START + 3 * SECOND, "p1"))
    assert set(applied.changed) == {trace(1), trace(2)}
    assert relay.projections.running(10)[1] == 2
    check(relay)


@pytest.mark.usefixtures("few")
def test_losses_reach_every_trace(relay: Relay) -> None:
    """A loss counts for traces in memory, for evicted ones, and for those met only later."""
    for number in range(1, 4):
        relay.send(*whole(number))
    relay.projections.list()
    by_trace = {trace(1): 3, trace(3): 2, trace(8): 1, "other": 5}
    applied = relay.send(EventsLost(START, "queue_full", 11, {}, by_trace))
    assert set(applied.changed) == {trace(1), trace(3)}
    assert relay.projections.statistics().lost == 11
    check(relay)
    relay.crash()
    check(relay)
    relay.projections.checkpoint()
    relay.send(*whole(8))
    summary = relay.projections.summary(trace(8))
    assert summary is not None and summary.lost == 1
    check(relay)
    relay.restart()
    check(relay)


def test_the_memory_of_large_traces_is_bounded(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished traces leave by their size too, open ones never."""
    monkeypatch.setattr(held, "RECENT_BYTES", 20_000)
    relay.send(started(100))
    for number in range(1, 11):
        relay.send(*whole(number), *(started(number, n) for n in range(2, 9)),
                   *(ended(number, n) for n in range(2, 9)))  # fmt: skip
    relay.projections.list()
    statistics = relay.projections.statistics()
    assert statistics.recent_traces == held.RECENT_FEWEST
    assert statistics.open_traces == 1
    assert trace(100) in relay.projections.forest.traces
    check(relay)


# --- restarts --------------------------------------------------------------------------------


def test_restart_replays_only_the_rest(relay: Relay) -> None:
    """What was checkpointed is not read again; open trees come back whole."""
    relay.send(started(1), TextStreamed(trace(1), span(1), START, "output", 0, "hello"))
    relay.send(*whole(2))
    relay.projections.checkpoint()
    assert not relay.projections.has_changes
    relay.send(EventAdded(trace(1), span(1), START, "later"))
    assert relay.projections.has_changes
    before = shape(relay.projections.tree(trace(1)) or TraceTree(""))
    relay.crash()
    assert relay.replayed == [5]
    assert relay.projections.statistics().read_back == 0
    assert shape(relay.projections.tree(trace(1)) or TraceTree("")) == before
    check(relay)


def test_a_huge_trace_is_drawn_a_piece_at_a_time(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turn between; what comes for it meanwhile, or takes it away, counts all the same."""
    monkeypatch.setattr(settling, "INDEXED_AT_ONCE", 20)
    many = range(2, 100)
    relay.send(started(1), *(started(1, n, parent_id=span(1), attributes={"n": n}) for n in many))
    steps = relay.projections.checkpoint_steps()
    next(steps)
    relay.send(started(1, 5_000, attributes={"late": True}))
    assert sum(1 for _ in steps) > len(many) // 20
    check(relay)
    found = relay.projections.list(TraceQuery(attribute=("late=true",))).traces
    assert [one.trace_id for one in found] == [trace(1)]
    relay.send(*(started(1, 10_000 + n, parent_id=span(1)) for n in many))
    steps = relay.projections.checkpoint_steps()
    next(steps)
    relay.projections.delete((trace(1),))
    list(steps)
    assert relay.projections.summary(trace(1)) is None
    assert relay.projections.list().traces == ()


def test_an_end_in_a_hurry_leaves_the_last_checkpoint(relay: Relay) -> None:
    """A checkpoint for which there is no time is not half there: the rest is replayed."""
    relay.send(*whole(1))
    relay.projections.checkpoint()
    for number in range(2, 400):
        relay.send(*whole(number))
    relay.projections.close(0.0)
    relay.projections = relay.opened()
    assert relay.replayed[-1] == relay.projections.offset
    check(relay)
    relay.projections.close(60.0)
    relay.projections = relay.opened()
    assert relay.replayed == []
    check(relay)


def test_summaries_written_for_a_query_do_not_survive_a_crash_alone(relay: Relay) -> None:
    """Between two checkpoints the file says nothing that the log might not."""
    relay.send(*whole(1))
    relay.projections.checkpoint()
    relay.send(*whole(2))
    assert len(relay.projections.list().traces) == 2
    relay.projections._store.close(clean=False)
    store = projection_store.ProjectionStore.open(relay.folder)
    assert (store.count, store.offset) == (1, 2)
    store.close(clean=False)
    relay.projections = relay.opened()
    check(relay)


@pytest.mark.parametrize("damage", ["header", "middle", "layout", "application", "empty"])
def test_a_file_that_cannot_be_trusted_is_rebuilt(relay: Relay, damage: str) -> None:
    """Damage of any kind costs a replay, never an answer."""
    for number in range(1, 200):
        relay.send(*whole(number))
    relay.send(*(started(n) for n in range(300, 330)))
    relay.projections.close()
    path = relay.folder / projection_store.FILE
    if damage in ("layout", "application"):
        connection = apsw.Connection(str(path))
        connection.pragma("user_version" if damage == "layout" else "application_id", 99)
        connection.close()
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        data = bytearray(path.read_bytes())
        at, count = (0, 100) if damage == "header" else (4096, len(data) - 4096)
        data[at : at + count] = b"\xff" * count
        path.write_bytes(data)
    relay.projections = relay.opened()
    check(relay)
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_log_makes_it_forget(relay: Relay, tmp_path: Path) -> None:
    """An unknown epoch, or an offset that the log never reached, means that it is another log."""
    relay.send(*whole(1))
    relay.close()
    (tmp_path / "log").rename(tmp_path / "old")
    relay.log = SqliteLog.open(tmp_path / "log")
    relay.seqs = {}
    relay.projections = relay.opened()
    assert relay.projections.offset == 0
    assert relay.projections.list().traces == ()
    relay.send(*whole(2))
    check(relay)


def test_a_log_that_went_back_makes_it_forget(tmp_path: Path) -> None:
    """The epoch is known, and the next one began before our offset: the log was rolled back."""

    class Rolled:
        epochs: Sequence[Epoch] = (Epoch("a", 1, 0), Epoch("b", 5, 0))
        next_offset = 50

    is_before: Callable[[Any, str, int], bool] = projections._is_before
    assert is_before(Rolled(), "a", 4)
    assert not is_before(Rolled(), "a", 5)
    assert is_before(Rolled(), "b", 49)
    assert not is_before(Rolled(), "b", 50)
    assert not is_before(Rolled(), "c", 1)


def test_the_machine_went_down(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut the file is rebuilt; after an orderly end it is kept whatever the boot."""
    relay.send(*whole(1))
    relay.projections.checkpoint()
    relay.projections._store.close(clean=False)
    monkeypatch.setattr(projection_store, "boot_id", lambda: "another")
    relay.projections = relay.opened()
    assert relay.replayed == [2]
    relay.projections.close()
    monkeypatch.setattr(projection_store, "boot_id", lambda: "a third")
    relay.projections = relay.opened()
    assert relay.replayed == []
    check(relay)


def test_frames_between_the_steps_of_a_checkpoint(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that others go between is still one, and so is a query in the midst of it."""
    monkeypatch.setattr(checkpoint, "SLICE", 2)
    monkeypatch.setattr(backlog, "SLICE", 2)
    relay.send(*(started(1, n, parent_id=span(1) if n > 1 else None) for n in range(1, 20)))
    relay.send(*(started(n) for n in range(2, 12)))
    steps = 0
    for _ in relay.projections.checkpoint_steps():
        steps += 1
        relay.send(*whole(100 + steps))
        relay.send(ended(1, 1 + steps % 19, at=steps))
        relay.projections.list()
        relay.projections.checkpoint()  # does nothing: one is under way
    assert steps > 10
    relay.crash()
    assert relay.replayed
    check(relay)


def test_a_full_disk_is_told_and_got_over(relay: Relay) -> None:
    """A checkpoint that fails leaves the last one; nothing is missing in the next."""
    relay.send(*whole(1), started(2))
    relay.projections.checkpoint()
    connection = relay.projections._store._connection
    pages = connection.pragma("page_count")
    connection.pragma("max_page_count", pages)
    relay.send(*(started(n, name="x" * 200) for n in range(3, 300)))
    relay.say(EventsLost(START, "queue_full", 1, {}, {trace(1): 1}))
    relay.projections.list()  # as of what could be written
    relay.projections.checkpoint()
    statistics = relay.projections.statistics()
    assert statistics.refused == 2 and statistics.error is not None
    connection.pragma("max_page_count", 1 << 30)
    check(relay)
    relay.projections.checkpoint()
    assert relay.projections.statistics().error is None
    relay.crash()
    assert relay.replayed == []
    check(relay)


@pytest.mark.parametrize("where", ["put", "keep", "add_loss", "put_producers", "commit"])
@pytest.mark.usefixtures("few")
def test_a_checkpoint_that_fails_half_way(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Wherever it fails, the next one writes all that it should have written."""
    relay.send(started(1), started(2))
    relay.projections.checkpoint()
    relay.say(ProducerStarted(START, "p2", "shop"))
    relay.send(started(1, 2, parent_id=span(1)), started(3), *whole(4), *whole(5), producer="p2")
    relay.send(EventsLost(START, "queue_full", 2, {}, {trace(4): 1, trace(9): 1}), producer="p2")

    def fail(*_: Any) -> None:
        raise apsw.FullError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(relay.projections._store, where, fail)
        relay.projections.checkpoint()
    assert relay.projections.statistics().refused == 1
    check(relay)
    relay.projections.checkpoint()
    assert relay.projections.statistics().checkpoints == 2
    relay.crash()
    assert relay.replayed == []
    assert relay.projections.service("p2") == "shop"
    check(relay)
    relay.send(*whole(9))
    check(relay)


def test_gone_producers_are_forgotten_and_remembered(relay: Relay) -> None:
    """Memory holds the producers of its trees; the name of any other is in the file."""
    relay.say(ProducerStarted(START, "p9", "worker"))
    relay.say(ProducerEnded(START, "p9", 0))
    relay.projections.checkpoint()
    assert relay.projections.forest.producers.get("p9") is None
    assert relay.projections.service("p9") == "worker"
    relay.send(started(1), producer="p9")
    summary = relay.projections.summary(trace(1))
    assert summary is not None and (summary.service, summary.state) == ("worker", "unended")


def test_retention_forgets_what_the_log_forgot(tmp_path: Path) -> None:
    """Traces whose events are gone leave the list; open ones are carried over the cut."""
    relay = Relay(tmp_path)
    relay.close()
    relay.log = SqliteLog.open(tmp_path / "log", segment_bytes=20_000)
    relay.projections = relay.opened()
    relay.send(started(1, name="long"), AttributeSet(trace(1), span(1), START, "k", "v"))
    noise = random.Random(1)
    for number in range(2, 1000):
        relay.send(*whole(number, name=noise.randbytes(40).hex()))
    relay.projections.checkpoint()
    carried = relay.projections.carry()
    removed = relay.log.retain(keep_s=None, max_bytes=60_000, now_ns=0, carry=lambda: carried)
    assert removed and relay.log.first_offset > 3
    gone = relay.projections.prune()
    assert trace(2) in gone and trace(1) not in gone and trace(999) not in gone
    assert relay.projections.summary(trace(2)) is None
    assert relay.projections.statistics().traces == 999 - len(gone)
    relay.projections.close()
    projection_store.ProjectionStore.remove(tmp_path)
    relay.projections = relay.opened()
    tree = relay.projections.tree(trace(1))
    assert tree is not None and tree.root is not None
    assert (tree.root.name, tree.root.attributes) == ("long", {"k": "v"})
    relay.restart()
    summary = relay.projections.summary(trace(1))
    assert summary is not None and summary.state == "running"
    relay.send(ended(1, at=5))
    summary = relay.projections.summary(trace(1))
    assert summary is not None and summary.duration_ns == 5 * SECOND
    relay.close()


# --- queries ---------------------------------------------------------------------------------


@pytest.fixture
def listed(relay: Relay) -> Relay:
    relay.say(ProducerStarted(START, "p1", "shop"), ProducerStarted(START, "p2", "bank"))
    for number in range(1, 30):
        producer = "p1" if number % 3 else "p2"
        relay.send(
            *whole(number, at=number, took=(number * 7) % 11, name=f"job [{number % 4}]"),
            *(started(number, n, at=number, parent_id=span(1)) for n in range(2, 2 + number % 5)),
            *(ended(number, n, at=number) for n in range(2, 2 + number % 5)),
            producer=producer,
        )
    relay.send(started(40, at=3, name="hung"), producer="p2")
    relay.send(started(41, at=5, name="hung"), producer="p1")
    relay.send(started(42, at=5, name="bad"), ended(42, at=6, status="error"), producer="p1")
    return relay


@pytest.mark.parametrize("sort", list(COLUMNS))
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_make_the_whole_list(listed: Relay, sort: Any, order: Any) -> None:
    """However small the pages, together they are everything, once, and in order."""
    seen: list[Any] = []
    cursor = None
    while True:
        query = TraceQuery(sort=sort, order=order, limit=4, cursor=cursor)
        page = listed.projections.list(query)
        seen.extend(page.traces)
        if page.next is None:
            break
        cursor = page.next
    assert len(seen) == 32
    keys = [
        (length(s) if sort == "duration" else getattr(s, COLUMNS[sort]), s.trace_id) for s in seen
    ]
    assert keys == sorted(set(keys), reverse=order == "desc")
    if sort == "duration" and order == "desc":
        assert [s.trace_id for s in seen[:2]] == [trace(40), trace(41)]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (TraceQuery(service="shop"), 22),
        (TraceQuery(service="sho"), 0),
        (TraceQuery(name="hung"), 2),
        (TraceQuery(name="HUNG"), 0),
        (TraceQuery(name="*n?"), 2),
        (TraceQuery(name="job [[]1]"), 8),
        (TraceQuery(name="job [!x]1]"), 8),
        (TraceQuery(name="job ?[^12]]"), 15),
        (TraceQuery(state="running"), 2),
        (TraceQuery(error=True), 1),
        (TraceQuery(error=False, state="ok"), 29),
        (TraceQuery(since_ns=START + 39 * SECOND), 2),
        (TraceQuery(until_ns=START + 2 * SECOND), 2),
        (TraceQuery(min_duration_ns=10 * SECOND), 5),
        (TraceQuery(min_duration_ns=996 * SECOND), 1),
        (TraceQuery(min_duration_ns=1 << 70), 0),
    ],
)
def test_filters(listed: Relay, query: TraceQuery, count: int) -> None:
    """Each condition selects what it says, and brackets mean what they mean to fnmatch."""
    assert len(listed.projections.list(query).traces) == count


@pytest.mark.parametrize(
    "query",
    [
        TraceQuery(limit=0),
        TraceQuery(limit=LARGEST_PAGE + 1),
        TraceQuery(cursor="nonsense"),
        TraceQuery(cursor="é"),
        TraceQuery(cursor=""),
    ],
)
def test_what_cannot_be_asked(listed: Relay, query: TraceQuery) -> None:
    """A wrong limit or cursor is refused with what to do instead."""
    with pytest.raises(QueryError):
        listed.projections.list(query)


def test_a_cursor_of_another_order(listed: Relay) -> None:
    """A cursor is good for the sort it came from."""
    cursor = listed.projections.list(TraceQuery(limit=2)).next
    with pytest.raises(QueryError, match="sort=start"):
        listed.projections.list(TraceQuery(sort="spans", cursor=cursor))


def test_hostile_numbers(relay: Relay) -> None:
    """The largest times and counts, and sums of them beyond 64 bits, neither break the list nor a checkpoint."""
    relay.send(
        SpanStarted(trace(1), span(1), 0, "a"),
        SpanEnded(trace(1), span(1), (1 << 63) - 1),
        AttributeSet(trace(1), span(1), 0, "gen_ai.usage.input_tokens", (1 << 64) - 1),
        AttributeSet(trace(1), span(2), 0, "gen_ai.usage.input_tokens", (1 << 64) - 1),
        SpanStarted(trace(2), span(1), (1 << 63) - 1, "b\0c\x1f"),
        EventsLost(0, "r", 1 << 53, {}, {trace(1): 1 << 53}),
        EventsLost(1, "r", 1 << 53, {}, {trace(1): 1 << 53}),
    )
    for sort in COLUMNS:
        page = relay.projections.list(TraceQuery(sort=sort, limit=1))
        assert len(relay.projections.list(TraceQuery(sort=sort, cursor=page.next)).traces) == 1
    assert len(relay.projections.list(TraceQuery(name="b\0c*")).traces) == 1
    assert len(relay.projections.list(TraceQuery(name="b?c*")).traces) == 1
    relay.restart()
    check(relay)


def test_selection(listed: Relay) -> None:
    """A filter selects by what the summary says; an empty one selects all."""
    matches = listed.projections.matches
    assert matches(Filter(), trace(999))
    assert matches(Filter(trace_id=trace(1)), trace(1))
    assert not matches(Filter(trace_id=trace(1)), trace(2))
    assert matches(Filter(service="shop", name="job*", state="ok"), trace(1))
    assert not matches(Filter(service="bank"), trace(1))
    assert not matches(Filter(name="Job*"), trace(1))
    assert not matches(Filter(state="running"), trace(1))
    assert not matches(Filter(state="running"), trace(999))
    assert matches(Filter(state="running"), trace(40))


def test_running_lists_the_longest(listed: Relay) -> None:
    """The longest-running spans come first; the total counts the others too."""
    spans, total = listed.projections.running(1)
    assert total == 2
    assert [(s.trace_id, s.name, s.service) for s in spans] == [(trace(40), "hung", "bank")]


# --- properties ------------------------------------------------------------------------------

_events = st.lists(
    st.tuples(
        st.sampled_from(["start", "end", "attribute", "lost", "returned", "loss", "ended"]),
        st.integers(1, 4),  # trace, or producer
        st.integers(1, 4),  # span
        st.integers(0, 4),  # parent
        st.sampled_from(["p1", "p2"]),
        st.sampled_from(["", "", "", "checkpoint", "list", "crash", "restart"]),
    ),
    max_size=40,
)


def _event(kind: str, number: int, span_number: int, parent: int, at: int) -> tuple[Event, bool]:
    time_ns = START + at
    subject = f"p{1 + number % 2}"
    match kind:
        case "start":
            parent_id = span(parent) if parent else None
            return SpanStarted(trace(number), span(span_number), time_ns, "n", parent_id), False
        case "end":
            return SpanEnded(trace(number), span(span_number), time_ns), False
        case "attribute":
            key = "gen_ai.usage.output_tokens"
            return AttributeSet(trace(number), span(span_number), time_ns, key, at), False
        case "lost":
            return ProducerLost(time_ns, subject, 1, time_ns), True
        case "returned":
            return ProducerReturned(time_ns, subject), True
        case "ended":
            return ProducerEnded(time_ns, subject, 1), True
        case _:
            return EventsLost(time_ns, "r", 1, {}, {trace(number): 1}), False


@settings(max_examples=60, deadline=None)
@given(_events)
def test_any_history(tmp_path_factory: pytest.TempPathFactory, history: list[Any]) -> None:
    """Whatever happens, and whenever the relay dies, the projections say what the log says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "RECENT_TRACES", 1)
        patch.setattr(held, "RECENT_FEWEST", 1)
        patch.setattr(checkpoint, "SLICE", 1)
        patch.setattr(backlog, "SLICE", 1)
        relay = Relay(tmp_path_factory.mktemp("history"))
        for at, (kind, number, span_number, parent, producer, then) in enumerate(history):
            event, is_relay = _event(kind, number, span_number, parent, at)
            relay.send(event, producer=RELAY if is_relay else producer)
            match then:
                case "checkpoint":
                    relay.projections.checkpoint()
                case "list":
                    relay.projections.list()
                case "crash":
                    relay.crash()
                case "restart":
                    relay.restart()
                case _:
                    pass
        check(relay)
        relay.crash()
        check(relay)
        relay.close()


@settings(max_examples=200, deadline=None)
@given(_events, st.randoms(use_true_random=False))
def test_what_stands_for_a_trace(history: list[Any], shuffle: random.Random) -> None:
    """The root and the services are what a look at every span finds, in any order of events."""
    facts = [
        (_event(kind, 1, span_number, parent, at)[0], producer, at)
        for at, (kind, _, span_number, parent, producer, _) in enumerate(history)
        if kind in ("start", "end", "attribute")
    ]
    trees: list[TraceTree] = []
    for _ in range(3):
        tree = TraceTree(trace(1))
        for producer in ("p1", "p2"):
            tree.producers.apply(ProducerStarted(0, producer, f"service {producer}"), RELAY, 1)
        for event, producer, seq in facts:
            tree.apply(event, producer, seq)
            roots = [node for node in tree if node.parent is None]
            below = [child for node in roots for child in node.children or ()]
            best = [n for n in roots if n.start] or [n for n in below if n.start] or roots
            assert tree.root is min(best, key=start_order, default=None)
            service = tree.root.service if tree.root is not None else ""
            others = {node.service for node in tree if node.start is not None} - {service}
            assert tree.services == ([service] if service else []) + sorted(others - {""})
            assert tree.last_ns == max((node.last_ns for node in tree), default=0)
            sums = [tree.rollup(node.span_id) for node in roots]
            assert tree.tokens[1] == sum(rollup.output_tokens for rollup in sums)
        trees.append(tree)
        shuffle.shuffle(facts)
    assert len({tree.root.span_id if tree.root else None for tree in trees}) <= 1
    assert trees[0].services == trees[1].services == trees[2].services
