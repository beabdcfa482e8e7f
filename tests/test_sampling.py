"""Sampling: by trace id, alike in every process; below an unsampled root nothing is recorded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lumina_stream as lumina
from lumina_stream.model.errors import ConfigurationError
from lumina_stream.model.ids import is_span_id, is_trace_id
from lumina_stream.recording.sampling import is_sampled, threshold

trace_ids = st.integers(1, 2**128 - 1).map(lambda n: f"{n:032x}")


@given(trace_ids, st.floats(0, 1), st.floats(0, 1))
def test_a_trace_sampled_at_one_rate_is_sampled_at_every_higher_one(
    trace_id: str, a: float, b: float
) -> None:
    low, high = sorted((a, b))
    assert is_sampled(trace_id, threshold(high)) or not is_sampled(trace_id, threshold(low))


@given(trace_ids)
def test_all_and_nothing(trace_id: str) -> None:
    assert is_sampled(trace_id, threshold(1))
    assert not is_sampled(trace_id, threshold(0))


def test_half_is_decided_by_the_random_part_alone() -> None:
    assert is_sampled("f" * 18 + "7" + "f" * 13, threshold(0.5))
    assert not is_sampled("0" * 18 + "8" + "0" * 13, threshold(0.5))


@pytest.mark.parametrize("rate", [-1, 1.01, float("nan"), "1", None])
def test_a_rate_out_of_range_is_refused(rate: object) -> None:
    with pytest.raises(ConfigurationError, match="from 0"):
        threshold(rate)  # type: ignore[arg-type]


def test_a_root_that_is_not_sampled_has_ids_all_the_same() -> None:
    """They go out in headers: valid, the same each time, and no other root's."""
    with lumina.init("test", export=False, sample_rate=0.0):
        seen: set[str] = set()
        for _ in range(1_000):
            with lumina.trace("root") as root:
                headers: dict[str, str] = {}
                lumina.inject(headers)
                assert is_trace_id(root.trace_id) and is_span_id(root.span_id)
                assert headers["traceparent"] == f"00-{root.trace_id}-{root.span_id}-00"
                seen |= {root.trace_id, root.span_id}
        assert len(seen) == 2_000


def test_below_an_unsampled_root_nothing_is_recorded_and_the_flag_says_so() -> None:
    with lumina.init(export=False, sample_rate=0.0) as runtime, lumina.subscribe() as live:
        with lumina.trace("root") as root:
            assert lumina.inject()["traceparent"] == f"00-{root.trace_id}-{root.span_id}-00"
            with lumina.trace("child") as child:
                assert child is root, "one shared span"
                child.end()
                with lumina.start_span("grandchild") as span:
                    span.end()
                lumina.current_span().set_attribute("k", 1).end()
                with lumina.trace("still"):
                    pass
            assert lumina.current_span() is root
        assert lumina.current_span().trace_id == "0" * 32
        with lumina.trace("elsewhere", parent=root) as span:
            assert not span.is_recording
            assert span.trace_id == root.trace_id
        assert live.poll().facts == ()
        assert runtime.statistics().unsampled == 1
        assert runtime.statistics().late_calls == 0


@pytest.mark.parametrize(("rate", "flag"), [(0.0, True), (1.0, False)])
def test_a_remote_parents_flag_wins(rate: float, flag: bool) -> None:
    parent = lumina.SpanContext("a" * 32, "b" * 16, flag)
    with (
        lumina.init(export=False, sample_rate=rate),
        lumina.trace("span", parent=parent) as span,
        lumina.trace("inner") as inner,
    ):
        assert span.is_recording is inner.is_recording is flag
        assert span.trace_id == inner.trace_id == "a" * 32
        assert lumina.inject()["traceparent"].endswith("-01" if flag else "-00")
