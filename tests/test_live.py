"""What a live consumer holds."""

from lumina_stream.model.events import Event, Fact, ProducerStarted, SpanEnded, SpanStarted
from lumina_stream.model.live import LiveTraces

A, B = "a" * 16, "b" * 16


def traces(count: int) -> list[str]:
    return [f"{n:032x}" for n in range(1, count + 1)]


def fact(offset: int, event: Event) -> Fact:
    return Fact(offset, "p", offset, "api", event)


def test_an_update_says_what_changed_once_a_trace() -> None:
    """Facts in the order in which they came; span ids without repetition."""
    live = LiveTraces()
    one, two = traces(2)
    facts = [
        fact(1, SpanStarted(one, A, 1, "n")),
        fact(2, SpanStarted(two, A, 1, "n")),
        fact(3, SpanStarted(one, B, 2, "n", A)),
        fact(4, SpanEnded(one, A, 3)),
    ]
    update = live.apply(iter(facts))
    assert update.facts == tuple(facts) and not update.restarted and update.missed == 0
    assert [(c.trace_id, c.span_ids) for c in update.changes] == [(one, (A, B)), (two, (A,))]
    assert list(live.traces) == [one, two]


def test_the_oldest_finished_traces_are_forgotten_and_running_ones_kept() -> None:
    """In the order in which they finished; a reopened one counts as running."""
    live = LiveTraces(keep_finished=2)
    ids = traces(4)
    live.apply(fact(n, SpanStarted(t, A, n, "n")) for n, t in enumerate(ids, 1))
    live.apply([fact(10, SpanEnded(ids[1], A, 9)), fact(11, SpanEnded(ids[0], A, 9))])
    live.apply([fact(12, SpanStarted(ids[1], B, 10, "n", A))])
    live.apply([fact(13, SpanEnded(ids[2], A, 9))])
    assert list(live.traces) == ids
    live.apply([fact(14, SpanEnded(ids[1], B, 11))])
    assert list(live.traces) == [ids[1], ids[2], ids[3]]


def test_facts_say_who_their_producer_is_until_it_does() -> None:
    """A view that missed the producer's start knows its service all the same."""
    live = LiveTraces()
    (one,) = traces(1)
    live.apply([fact(1, SpanStarted(one, A, 1, "n"))])
    assert live.traces[one].services == ["api"]
    live.apply([Fact(2, "relay", 1, "", ProducerStarted(0, "p", "shop"))])
    assert live.traces[one].services == ["shop"]
    live.apply([fact(3, SpanEnded(one, A, 3))])
    assert live.traces[one].services == ["shop"]


def test_clearing_drops_everything() -> None:
    """The next fact begins anew."""
    live = LiveTraces(keep_finished=1)
    one, two = traces(2)
    live.apply([fact(1, SpanStarted(one, A, 1, "n")), fact(2, SpanEnded(one, A, 2))])
    live.clear()
    assert live.traces == {}
    live.apply([fact(3, SpanStarted(two, A, 1, "n")), fact(4, SpanEnded(two, A, 2))])
    assert list(live.traces) == [two]
