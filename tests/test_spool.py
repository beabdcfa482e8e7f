"""The spool in memory: what a ring keeps, and what is read back of one that was killed or damaged."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.spools import HELLO, all_of, event, fill, left, new_ring, stores_of

from lumina_stream.model import codec, limits
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import EventsLost
from lumina_stream.protocol import frames, spool
from lumina_stream.protocol.leftover import NOTHING, OTHER

# --- the ring ----------------------------------------------------------------------------------


def test_what_was_appended_is_handed_out_once_and_left_until_it_is_stored() -> None:
    ring, memory = new_ring()
    events = fill(ring, 7)
    assert (ring.seq, ring.pending) == (7, 7)
    assert ring.take(3) == events[:3]
    assert ring.take(100) == events[3:] and ring.take(100) == []
    leftover = left(memory)
    assert (leftover.first_seq, leftover.last_seq, leftover.count) == (1, 7, 7)
    assert leftover.hello == HELLO and not leftover.ended
    assert all_of(leftover) == events and leftover.damaged == 0
    ring.release(5)
    leftover = left(memory)
    assert leftover.hello.first_seq == leftover.first_seq == 6
    assert all_of(leftover) == events[5:]
    ring.release(7)
    assert ring.used == 0 and left(memory).count == 0


def test_taking_stops_at_its_bytes() -> None:
    ring, _ = new_ring()
    events = fill(ring, 10, 1000)
    assert ring.take(10, 2500) == events[:3]
    assert ring.take(10, 1) == events[3:4]


def test_an_ended_ring_takes_nothing_and_says_so() -> None:
    ring, memory = new_ring()
    fill(ring, 2)
    ring.close()
    assert not ring.append(b"x", ring.capacity + spool.RESERVE)
    assert left(memory).ended
    ring.release(2)
    assert not ring.append(b"x", ring.capacity + spool.RESERVE)
    assert left(memory).ended and left(memory).count == 0


def test_an_end_that_is_not_the_last_word_is_none() -> None:
    """What was appended after it, or is damaged, was not known to it."""
    ring, memory = new_ring()
    fill(ring, 2)
    memory[spool.CLOSED * 8 : spool.CLOSED * 8 + 8] = spool.seal(2).to_bytes(8, "little")
    assert not left(memory).ended


def test_another_identity_numbers_what_is_not_stored_from_one() -> None:
    ring, memory = new_ring()
    events = fill(ring, 5)
    ring.take(5)
    ring.release(2)
    for name in ("second", "third"):
        ring.rename(frames.Hello(name, "other", 1))
        leftover = left(memory)
        assert (leftover.hello.producer_id, leftover.first_seq, leftover.last_seq) == (name, 1, 3)
        assert all_of(leftover) == events[2:]
    ring.release(1)
    assert ring.append(event(6), ring.capacity)
    leftover = left(memory)
    assert (leftover.first_seq, leftover.last_seq) == (2, 4)
    assert all_of(leftover) == [*events[3:], event(6)]


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.floats(0, 1)),
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(st.just("release"), st.integers(1, 8)),
    ),
    max_size=60,
)


@given(st.sampled_from([(0, 9_000), (400_000, limits.EVENT_BYTES - 100)]), ACTS)
def test_whatever_the_history_the_memory_has_what_is_not_stored(
    sizes: tuple[int, int], acts: list[tuple[str, float]]
) -> None:
    """Round the ring's end, full and empty: it never overwrites what it still owes."""
    queue_bytes, most = sizes
    ring, memory = new_ring(queue_bytes=queue_bytes)
    kept: list[bytes] = []
    taken: list[bytes] = []
    stored = 0
    for act, amount in acts:
        if act == "append":
            one = event(len(kept) + 1, int(amount * most))
            used = ring.used
            if ring.append(one, ring.capacity):
                kept.append(one)
            else:
                assert used + 2 * (len(one) + spool.EVENT_COST) > ring.capacity
        elif act == "take":
            taken += ring.take(int(amount))
        else:
            stored = min(len(taken), stored + int(amount))
            ring.release(stored)
        assert taken == kept[: len(taken)]
        waiting = kept[stored:]
        assert all_of(left(memory)) == waiting
        least = max(
            sum(map(len, waiting)) + len(waiting) * spool.EVENT_COST,
            len(waiting) * spool.LEAST_COST,
        )
        # More by what did not fit at the end, and by what small events cost until one is stored.
        assert least <= ring.used <= least + most + 100 + len(waiting) * spool.LEAST_COST
        assert (ring.used == 0) == (not waiting)


@pytest.mark.parametrize("size", range(20_000, 65_000, 3_000))
def test_what_does_not_fit_at_the_end_takes_its_room(size: int) -> None:
    """The largest events waste the most there: full again, nothing that is kept was overwritten."""
    ring, memory = new_ring(queue_bytes=400_000)
    kept: list[bytes] = []
    for length in (size, 0, size, 5_000, 500):
        if not length:
            ring.take(1000, 1 << 30)
            ring.release(2)
            continue
        while ring.append(one := event(len(kept), length), ring.capacity):
            kept.append(one)
        assert all_of(left(memory)) == kept[ring.acked :]


def test_many_small_events_do_not_run_out_of_slots() -> None:
    """Full of the smallest: the slot of the first is not given to the last."""
    ring, memory = new_ring()
    events = 0
    while ring.append(b"\x01", ring.capacity):
        events += 1
    assert events == ring.capacity // spool.LEAST_COST
    leftover = left(memory)
    assert len(all_of(leftover)) == events and leftover.damaged == 0


def test_room_is_kept_for_the_report_of_a_loss() -> None:
    """The largest report fits when nothing else does, and where it has to go round the end."""
    by_trace = {f"{n:032x}": 2**40 for n in range(limits.LOSS_TRACES)} | {OTHER: 2**40}
    report = codec.encode(
        EventsLost(
            2**62, "attribute_limit", 2**60, dict.fromkeys(spool.LOST_TYPES, 2**60), by_trace
        )
    )
    for size in range(1, 40):
        ring, memory = new_ring()
        fill(ring, 18, 1000 + size * 37)
        while ring.append(event(1, 100), ring.capacity):
            pass
        ring.take(1000)
        ring.release(12)
        while ring.append(event(1, size), ring.capacity):
            pass
        assert ring.append(report, ring.capacity + spool.RESERVE)
        assert all_of(left(memory))[-1] == report and left(memory).damaged == 0


# --- killed in the middle ------------------------------------------------------------------------


def test_killed_at_every_byte_of_an_append() -> None:
    """What was there before is there, the last event is there or not, and nothing is damaged."""
    ring, memory = new_ring()
    events = fill(ring, 5, 20)
    ring.take(5)
    ring.release(2)
    image, last = bytearray(memory), event(6, 50)
    stores = stores_of(ring, memory, lambda: ring.append(last, ring.capacity))
    assert len(stores) > len(last)
    for place, value in stores:
        image[place] = value
        leftover = left(bytes(image))
        found = all_of(leftover)
        assert found in (events[2:], [*events[2:], last])
        assert (leftover.first_seq, leftover.damaged) == (3, 0)
    assert image == bytes(memory) and found == [*events[2:], last]


def test_a_torn_last_event_is_lost_by_exactly_one_wherever_it_is_torn() -> None:
    """Power failed: the page with the counters was written, that of the event was not, or half."""
    ring, memory = new_ring()
    events = fill(ring, 5, 20)
    before = bytes(memory)
    stores = stores_of(ring, memory, lambda: ring.append(event(6, 50), ring.capacity))
    first_slot = spool.read_layout(memoryview(before).cast("Q")).first_slot * 4
    written = [place for place, _ in stores if place >= first_slot]
    assert len(written) > len(event(6, 50))
    for torn in range(len(written)):
        image = bytearray(memory)
        for place in written[torn:]:
            image[place] = before[place]
        leftover = left(bytes(image))
        *rest, lost = all_of(leftover)
        assert rest == events
        assert codec.decode(lost) == EventsLost(7, "spool_damaged", 1)
        assert (leftover.last_seq, leftover.damaged) == (6, 1)


def reported(image: bytearray) -> int:
    events = [codec.decode(one) for one in all_of(left(bytes(image)))]
    return sum(one.count for one in events if isinstance(one, EventsLost))


def test_a_loss_is_told_once_wherever_a_report_of_it_is_cut() -> None:
    """By the report, or in its stead by the counters that it reports: never by both, or neither."""
    ring, memory = new_ring()
    fill(ring, 3)
    ring.note_type(0, 2, {"attributes_set": 5}, "attributes_set")
    ring.note_trace(0, 0, {"a" * 32: 5}, "a" * 32)
    report, mark = codec.encode(EventsLost(1, "queue_full", 5)), ring.mark_of(0)
    image = bytearray(memory)
    assert reported(image) == 5
    stores = stores_of(ring, memory, lambda: ring.append(report, ring.capacity, mark))
    stores += stores_of(ring, memory, lambda: ring.open_bank(0))
    for (place, value), (following, _) in zip(stores, [*stores[1:], (0, 0)], strict=True):
        image[place] = value
        if place < spool.IDENTITIES and following // 8 == place // 8:
            continue  # a counter is written at once
        assert reported(image) == 5
    assert image == bytes(memory)


# --- damaged -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> Iterator[tuple[bytes, list[bytes]]]:
    """A spool with 40 events of which 9 are stored, and those that are not."""
    ring, memory = new_ring()
    events = fill(ring, 40, 300)
    ring.take(40)
    ring.release(9)
    yield bytes(memory), events[9:]


@given(st.data())
def test_flipped_bits_cost_the_events_that_they_are_in_and_no_other(
    whole: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    image, events = bytearray(whole[0]), whole[1]
    layout = spool.read_layout(memoryview(whole[0]).cast("Q"))
    places = st.integers(layout.first_slot * 4, layout.data + 16_000)
    for place in data.draw(st.lists(places, min_size=1, max_size=12)):
        image[place] ^= 1 << data.draw(st.integers(0, 7))
    leftover = left(bytes(image))
    found = all_of(leftover)
    assert len(found) == leftover.count == len(events)
    lost = [n for n, one in enumerate(found) if one != events[n]]
    assert leftover.damaged == len(lost)
    told = [codec.decode(found[n]) for n in lost if found[n] != NOTHING]
    assert all(isinstance(one, EventsLost) and one.reason == "spool_damaged" for one in told)
    assert sum(one.count for one in told) == len(lost)  # type: ignore[union-attr]


@given(st.data())
def test_a_damaged_beginning_is_refused_or_read_right(
    whole: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    """Whatever is flipped there: no event under a wrong number, none invented, nothing raised but this."""
    image, events = bytearray(whole[0]), whole[1]
    layout = spool.read_layout(memoryview(whole[0]).cast("Q"))
    interesting = st.sampled_from([0, 8, 40, 8 * spool.HEAD, 8 * spool.ACKED, spool.IDENTITIES])
    places = st.one_of(
        st.integers(0, layout.first_slot * 4 - 1),
        st.tuples(interesting, st.integers(0, 7)).map(sum),
    )
    flips = st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=6)
    for place, bit in data.draw(flips):
        image[place] ^= 1 << bit
    try:
        leftover = left(bytes(image))
    except DecodeError:
        return
    found = all_of(leftover)
    assert leftover.hello.producer_id == "producer"
    assert leftover.first_seq <= 10 and leftover.damaged == 0
    assert found[10 - leftover.first_seq :][: len(events)] == events


@pytest.mark.parametrize("counter", [spool.HEAD, spool.ACKED])
@pytest.mark.parametrize("bit", range(64))
def test_a_counter_with_any_bit_flipped_is_not_believed(
    whole: tuple[bytes, list[bytes]], counter: int, bit: int
) -> None:
    image, events = bytearray(whole[0]), whole[1]
    image[counter * 8 + bit // 8] ^= 1 << bit % 8
    leftover = left(bytes(image))
    # What was stored already may come again: it is whole in the memory, and the relay knows it.
    assert all_of(leftover)[-len(events) :] == events
    assert (leftover.last_seq, leftover.damaged) == (40, 0)


def test_a_long_run_of_damage_is_one_report() -> None:
    """A page of zeros in the data."""
    ring, memory = new_ring()
    events = fill(ring, 60, 100)
    layout = spool.read_layout(memoryview(memory).cast("Q"))
    memory[layout.data + 1000 : layout.data + 3000] = bytes(2000)
    leftover = left(memory)
    found = leftover.take(1000)
    lost = [n for n in range(60) if found[n] != events[n]]
    assert lost == list(range(lost[0], lost[-1] + 1)) and len(lost) > 10
    assert codec.decode(found[lost[0]]) == EventsLost(7, "spool_damaged", len(lost))
    assert {found[n] for n in lost[1:]} == {NOTHING}


@pytest.mark.parametrize(
    ("cut", "said"),
    [(0, "not a spool"), (100, "not a spool"), (8192, "bytes of"), (-1, "bytes of")],
)
def test_a_file_that_was_cut_is_refused(
    whole: tuple[bytes, list[bytes]], cut: int, said: str
) -> None:
    with pytest.raises(DecodeError, match=said):
        left(whole[0][:cut])


def test_another_version_is_refused() -> None:
    _, memory = new_ring()
    memory[8] = 9
    with pytest.raises(DecodeError, match="version 9"):
        left(memory)


def test_what_is_known_already_is_skipped() -> None:
    ring, memory = new_ring()
    events = fill(ring, 9)
    leftover = left(memory)
    leftover.skip(4)
    assert leftover.take(2) == events[4:6]
    leftover.skip(3)
    assert leftover.take(2) == events[6:8]
    leftover.skip(100)
    assert leftover.take(2) == []


def test_the_last_sign_of_life_is_the_last_event_that_can_be_read() -> None:
    ring, memory = new_ring()
    assert left(memory).last_time_ns() == left(memory).created_ns
    fill(ring, 8)
    assert left(memory).last_time_ns() == 8
    layout = spool.read_layout(memoryview(memory).cast("Q"))
    memory[layout.data + 5 * len(event(1)) : layout.data + 8 * len(event(1))] = bytes(
        3 * len(event(1))
    )
    assert left(memory).last_time_ns() == 5
