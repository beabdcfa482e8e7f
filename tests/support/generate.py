"""Hypothesis strategies for what producers and relays may say about one trace, quarrels included."""

from typing import Any

from hypothesis import strategies as st

from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    ErrorInfo,
    Event,
    EventAdded,
    EventsLost,
    Link,
    ProducerEnded,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
)
from support.trees import TRACE, Told

# Few ids, names and times: quarrels come from meetings.
span_ids = st.sampled_from([f"{n:016x}" for n in range(1, 8)])
producer_ids = st.sampled_from(["alpha", "beta"])
times = st.integers(0, 20)
keys = st.sampled_from(
    ["k", "key.b", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "@name"]
)
names = st.sampled_from(["", "search", "plan", "call"])
values: st.SearchStrategy[Any] = st.one_of(
    st.integers(-3, 60), st.booleans(), st.sampled_from(["x", "y", None, 1.5, [1, {"a": 2}]])
)
attributes = st.dictionaries(keys, values, max_size=3)
marks = st.none() | st.dictionaries(
    st.sampled_from(["k", "@name", "@error.message"]), st.sampled_from(["cut", "redacted"])
)
links = st.lists(st.builds(Link, st.just("2" * 32), span_ids, attributes), max_size=2).map(tuple)

starts = st.builds(
    SpanStarted,
    st.just(TRACE),
    span_ids,
    times,
    names,
    st.none() | span_ids,
    st.sampled_from([None, "llm", "tool"]),
    attributes,
    links,
    st.booleans(),
    marks,
)
ends = st.builds(
    SpanEnded,
    st.just(TRACE),
    span_ids,
    times,
    st.sampled_from(["ok", "error", "cancelled", "abandoned"]),
    st.none() | st.builds(ErrorInfo, st.sampled_from(["ValueError", "OSError"]), names),
    st.none() | names,
    marks,
)
details = st.one_of(
    st.builds(AttributeSet, st.just(TRACE), span_ids, times, keys, values, marks),
    st.builds(AttributesSet, st.just(TRACE), span_ids, times, attributes, marks),
    st.builds(EventAdded, st.just(TRACE), span_ids, times, names, attributes, marks),
    st.builds(
        TextStreamed,
        st.just(TRACE),
        span_ids,
        times,
        st.sampled_from(["input", "output"]),
        st.integers(0, 3),
        names,
    ),
    st.builds(SpanUpdated, st.just(TRACE), span_ids, times, st.none() | names, links),
)
losses = st.builds(
    EventsLost,
    times,
    st.just("queue_full"),
    st.integers(1, 9),
    by_trace=st.dictionaries(st.sampled_from([TRACE, "3" * 32, "other"]), st.integers(0, 9)),
    exact=st.booleans(),
)
fates = st.one_of(
    st.builds(ProducerStarted, times, producer_ids, st.sampled_from(["", "api", "worker"])),
    st.builds(ProducerLost, times, producer_ids, st.integers(0, 99), times),
    st.builds(ProducerReturned, times, producer_ids),
    st.builds(ProducerEnded, times, producer_ids, st.integers(0, 99)),
)
span_events = st.one_of(starts, starts, ends, details)


@st.composite
def told(draw: st.DrawFn, *, max_size: int = 30) -> list[Told]:
    """Draw what two producers and a relay say of one trace: every stamp once."""
    said: list[Event] = draw(
        st.lists(st.one_of(span_events, span_events, span_events, losses, fates), max_size=max_size)
    )
    facts: list[Told] = []
    for seq, event in enumerate(said, 1):
        relay = isinstance(event, ProducerStarted | ProducerLost | ProducerReturned | ProducerEnded)
        producer_id = "relay" if relay else draw(producer_ids)
        facts.append(Told(event, producer_id, seq))
    return facts
