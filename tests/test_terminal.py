"""What the terminal says of a live view as a whole."""

from lumina_stream.model.events import Fact, SpanEnded, SpanStarted
from lumina_stream.model.live import LiveTraces
from lumina_stream.viewing.client import tail
from lumina_stream.viewing.rows import ASCII, text_of
from lumina_stream.viewing.terminal import Screen

TRACE, S = "ab" * 16, 10**9


def test_a_finished_trace_that_still_stands_is_counted() -> None:
    """The footer never says `0 finished` below a finished root; a failed span is no failed trace."""
    live = tail("http://127.0.0.1:1")
    live.connected = True
    traces = live._live = LiveTraces()  # pyright: ignore[reportPrivateUsage]
    events = (
        SpanStarted(TRACE, "a", S, "request"),
        SpanStarted(TRACE, "b", S, "part", "a"),
        SpanEnded(TRACE, "b", 2 * S, "error"),
        SpanEnded(TRACE, "a", 3 * S),
    )
    facts = [Fact(n, "p", n, "", event) for n, event in enumerate(events, 1)]
    screen = Screen(live)
    footer = "{} running - {} finished - 1 with failed spans - http://127.0.0.1:1"
    screen.take(traces.apply(facts), 0.0)
    assert text_of(screen.region(100, 20, ASCII)[-1]) == footer.format(0, 1)
    assert len(screen.finished(9.0)) == 1
    assert text_of(screen.region(100, 20, ASCII)[-1]) == footer.format(0, 1)
