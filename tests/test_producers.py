"""What is known of each producer, from any order."""

import random

from hypothesis import given
from hypothesis import strategies as st
from support.generate import fates

from lumina_stream.model.events import (
    Event,
    EventsLost,
    ProducerEnded,
    ProducerEvent,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
)
from lumina_stream.model.producers import Producer, Producers


def known(producers: Producers) -> dict[str, Producer]:
    return {producer.producer_id: producer for producer in producers.all()}


@given(st.lists(fates, max_size=12), st.randoms(use_true_random=False), st.integers(0, 12))
def test_any_order_and_any_late_join_gives_the_same(
    events: list[ProducerEvent], rng: random.Random, at: int
) -> None:
    """The greatest stamp has the last word."""
    told = [(event, "relay", seq) for seq, event in enumerate(events, 1)]
    straight = Producers()
    for fact in sorted(told, key=lambda f: (f[0].time_ns, f[2])):
        straight.apply(*fact)
    shuffled = told + [fact for fact in told if rng.random() < 0.3]
    rng.shuffle(shuffled)
    first = Producers()
    for fact in shuffled[:at]:
        first.apply(*fact)
    late = Producers()
    for producer in first.all():
        late.restore(producer)
    for fact in shuffled[at:]:
        late.apply(*fact)
    assert known(late) == known(straight)


def test_every_change_of_state_is_reported_once() -> None:
    """None where nothing changed, so that nothing is repainted."""
    producers = Producers()
    assert producers.state("p") == "alive" and producers.service("p") == ""
    assert producers.get("p") is None
    assert producers.apply(ProducerStarted(1, "p", "api"), "r", 1) is None
    lost = ProducerLost(5, "p", 9, 4)
    assert producers.apply(lost, "r", 2) == "p"
    assert producers.apply(lost, "r", 2) is None
    assert producers.apply(ProducerReturned(3, "p"), "r", 3) is None
    assert producers.state("p") == "lost" and producers.service("p") == "api"
    assert producers.apply(ProducerLost(6, "p", 9, 5), "r", 4) == "p"
    assert producers.apply(ProducerReturned(7, "p"), "r", 5) == "p"
    assert producers.apply(ProducerEnded(8, "p", 9), "r", 6) == "p"
    assert producers.state("p") == "ended"
    held = producers.get("p")
    assert held is not None and held.last_seen_ns == 0


def test_a_loss_says_nothing_of_a_producer_and_forgetting_forgets() -> None:
    """`events_lost` marks trees."""
    producers = Producers()
    lost: Event = EventsLost(1, "queue_full", 2)
    assert producers.apply(lost, "p", 1) is None and producers.all() == []
    producers.apply(ProducerEnded(8, "p", 9), "r", 6)
    producers.forget("p")
    producers.forget("q")
    assert producers.state("p") == "alive"
