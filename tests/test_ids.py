"""Ids are W3C hex, drawn a pool at a time."""

import random

from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model.ids import RandomIds, SequentialIds, is_span_id, is_trace_id


def test_ids_are_valid_and_distinct() -> None:
    """Pools are refilled on the way."""
    ids = RandomIds()
    spans = [ids.span_id() for _ in range(2_000)]
    traces = [ids.trace_id() for _ in range(2_000)]
    assert len(set(spans)) == len(set(traces)) == 2_000
    assert all(map(is_span_id, spans)) and all(map(is_trace_id, traces))


def test_a_zero_id_is_never_drawn() -> None:
    """W3C Trace Context calls it invalid."""
    drawn = iter([bytes(8 * 512 - 8) + b"\1" * 8, b"\2" * 8 * 512])
    ids = RandomIds(lambda size: next(drawn))
    assert ids.span_id() == "01" * 8
    assert ids.span_id() == "02" * 8


def test_a_child_that_forgets_draws_other_ids() -> None:
    """After a fork both hold the same pool."""
    rng = random.Random(1)
    ids = RandomIds(rng.randbytes)
    ids.span_id()
    rest = set(ids._pool)  # pyright: ignore[reportPrivateUsage]
    ids.forget()
    assert rest.isdisjoint(ids.span_id() for _ in range(1_000))


def test_a_signal_handler_may_draw_while_the_pool_is_filled() -> None:
    """Re-entry adds a pool; it never hands out an id twice."""
    rng = random.Random(2)
    inner: list[str] = []

    def drawing(size: int) -> bytes:
        if not inner:
            inner.append("")
            inner[0] = ids.span_id()
        return rng.randbytes(size)

    ids = RandomIds(drawing)
    drawn = [ids.span_id() for _ in range(3_000)]
    assert len({*drawn, *inner}) == 3_001


def test_sequential_ids_count_upwards() -> None:
    """For tests and documentation."""
    ids = SequentialIds()
    assert (ids.span_id(), ids.span_id(), ids.trace_id()) == (
        "0" * 15 + "1",
        "0" * 15 + "2",
        "0" * 31 + "1",
    )


@given(st.text(st.sampled_from("0123456789abcdefABCDEFg \n"), min_size=15, max_size=33))
def test_only_lower_case_hex_of_the_right_length_is_an_id(text: str) -> None:
    """No trailing newline, no capitals, not all zero."""
    hexadecimal = set(text) <= set("0123456789abcdef") and set(text) != {"0"}
    assert is_span_id(text) == (len(text) == 16 and hexadecimal)
    assert is_trace_id(text) == (len(text) == 32 and hexadecimal)


def test_zero_and_decorated_ids_are_refused() -> None:
    """The shapes that a sloppy pattern lets through."""
    assert not is_span_id("0" * 16) and not is_trace_id("0" * 32)
    assert not is_span_id("a" * 16 + "\n") and not is_trace_id("a" * 32 + "\n")
    assert is_span_id("a" * 16) and is_trace_id("a" * 32)
