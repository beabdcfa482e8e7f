"""Frames that follow each other become one row; what does not, or cannot, stays as it is."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model import codec
from lumina_stream.relay.log import Entry
from lumina_stream.relay.runs import RUN_BYTES, joined


def entry(producer: str, first_seq: int, count: int, *, size: int = 1, time_ns: int = 1) -> Entry:
    events = codec.join_array([codec.encode(f"{first_seq + i:0{size}}") for i in range(count)])
    return Entry(producer, first_seq, count, events, (f"{first_seq:032x}",), time_ns)


def test_what_follows_each_other_becomes_one_row() -> None:
    (row,) = joined([entry("p", 1, 20), entry("p", 21, 1, time_ns=9), entry("p", 22, 3, time_ns=5)])
    assert (row.first_seq, row.count, row.last_seq, row.time_ns) == (1, 24, 24, 9)
    assert row.trace_ids == (f"{1:032x}", f"{21:032x}", f"{22:032x}")
    assert msgspec.msgpack.decode(row.events) == [str(seq) for seq in range(1, 25)]


def test_another_producer_a_gap_and_a_full_row_begin_the_next() -> None:
    entries = [
        entry("p", 1, 2),
        entry("q", 3, 2),
        entry("q", 6, 1),
        entry("q", 7, 3, size=RUN_BYTES // 2),
        entry("q", 10, 1),
    ]
    assert list(joined(entries)) == entries


def test_what_is_no_array_of_so_many_is_left_alone() -> None:
    odd = [
        Entry("p", 2, 1, b"\x90", (), 0),
        Entry("p", 3, 1, b"", (), 0),
        Entry("p", 4, 1, b"\xc1", (), 0),
    ]
    entries = [entry("p", 1, 1), *odd, entry("p", 5, 1)]
    assert list(joined(entries)) == entries


@given(st.lists(st.tuples(st.sampled_from("pq"), st.integers(1, 40)), max_size=20))
def test_nothing_is_lost_or_moved(frames: list[tuple[str, int]]) -> None:
    seqs = {"p": 1, "q": 1}
    entries: list[Entry] = []
    for producer, count in frames:
        entries.append(entry(producer, seqs[producer], count))
        seqs[producer] += count
    said = [
        (one.producer_id, one.first_seq + at, event)
        for one in joined(entries)
        for at, event in enumerate(msgspec.msgpack.decode(one.events))
    ]
    assert said == [
        (one.producer_id, one.first_seq + at, str(one.first_seq + at))
        for one in entries
        for at in range(one.count)
    ]
