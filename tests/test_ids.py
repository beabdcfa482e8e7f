"""What is an id, and what is none."""

from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model.ids import are_span_ids, is_span_id, is_trace_id


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


@given(
    st.sets(
        st.sampled_from(["a" * 16, "0" * 16, "0123456789abcdef", "A" * 16])
        | st.text(st.sampled_from("0a \n\u0661"), min_size=15, max_size=17)
    )
)
def test_many_are_looked_at_as_each_is(texts: set[str]) -> None:
    """One that is none among others that are: whatever two of them make together."""
    assert are_span_ids(texts) == all(map(is_span_id, texts))
