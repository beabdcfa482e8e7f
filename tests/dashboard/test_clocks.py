"""Producers whose clocks are wrong: the now-line is the relay's time, and bars stay where they can be."""

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import keep, open_page
from support.relay_process import Producer, RelayProcess, new_hello, new_span, new_trace

from lumina_stream.model.events import Event, SpanEnded, SpanStarted

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
AXIS, ROW = 28, 24


class Connected:
    """A producer of this process that stays connected; the browser's loop is the test's thread."""

    def __init__(self, url: str, service: str) -> None:
        # With a process to look at: nobody thinks that it is lost.
        self._producer = Producer(url, hello=new_hello(pid=os.getpid(), service=service))
        self._thread = ThreadPoolExecutor(1)
        self._loop = asyncio.new_event_loop()
        self._connection = self._producer.connected()
        self._run(self._connection.__aenter__())

    def store(self, *events: Event) -> None:
        """Send events, and wait until they are stored."""
        self._run(self._producer.store(*events))

    def close(self) -> None:
        """Let go of the connection."""
        self._run(self._connection.__aexit__(None, None, None))
        self._loop.close()
        self._thread.shutdown()

    def _run(self, work: Any) -> None:
        self._thread.submit(self._loop.run_until_complete, work).result()


@contextmanager
def producer(relay: RelayProcess, service: str) -> Iterator[Connected]:
    """Connect a producer."""
    connected = Connected(relay.url, service)
    try:
        yield connected
    finally:
        connected.close()


def stretches(page: "Page", row: int, colour: str) -> list[list[int]]:
    """Return where a line through the middle of a row (below the axis) has a colour of the style, [from, to) px."""
    return page.evaluate(
        """([y, name]) => {
            const canvas = document.querySelector(".stage-canvas");
            const style = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
            const wanted = [1, 3, 5].map((at) => parseInt(style.slice(at, at + 2), 16));
            const pixels = canvas.getContext("2d").getImageData(0, y, canvas.width, 1).data;
            const found = [];
            for (let x = 0; x < canvas.width; x++) {
                if (wanted.some((part, k) => Math.abs(part - pixels[x * 4 + k]) > 2)) continue;
                if (found.length > 0 && found.at(-1)[1] === x) found.at(-1)[1] = x + 1;
                else found.push([x, x + 1]);
            }
            return found;
        }""",
        [AXIS + row * ROW + ROW // 2, f"--{colour}"],
    )


def stretch(page: "Page", row: int, colour: str) -> list[int]:
    """Return the one stretch of a colour in a row, once the axis has come to rest."""
    before: list[list[int]] = []
    for _ in range(600):
        found = stretches(page, row, colour)
        if len(found) == 1 and found == before:
            return found[0]
        before = found
        page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))"
        )
    raise AssertionError(f"row {row} has {before} in {colour}")


def now_line(page: "Page") -> int:
    """Return where the now-line is, px: below all rows it is the one thing of its colour."""
    at, to = stretch(page, 12, "running")
    assert to == at + 1
    return at


def width(page: "Page") -> int:
    return page.evaluate("() => document.querySelector('.stage-canvas').width")


def assert_no_nonsense(page: "Page") -> None:
    """Fail if anything that is written is no number, or less than nothing."""
    said = page.locator(".trace-page").inner_text()
    assert "NaN" not in said and "Infinity" not in said
    assert "−" not in page.locator(".trace-head").inner_text()


@pytest.mark.slow
def test_a_clock_that_is_behind(browser: "Browser", relay: RelayProcess) -> None:
    """While it runs a span seems to have begun an hour ago; what has ended is as long as it was."""
    trace_id, root, child = new_trace(), new_span(), new_span()
    now = time.time_ns() - HOUR
    with producer(relay, "behind") as behind:
        behind.store(
            SpanStarted(trace_id, root, now, "request", kind="llm"),
            SpanStarted(trace_id, child, now, "step", root, "tool"),
            SpanEnded(trace_id, child, now + 250_000_000),
        )
        with open_page(browser, f"{relay.url}/#/trace/{trace_id}?span={child}") as page:
            page.get_by_role("region", name="Span", exact=True).get_by_text(
                "250 ms"
            ).first.wait_for()
            page.keyboard.press("Escape")
            assert_no_nonsense(page)
            at = now_line(page)
            assert width(page) * 0.6 < at < width(page)
            begins, ends = stretch(page, 0, "kind-llm")
            assert begins == 0 and at - 4 <= ends <= at  # the running bar reaches to now
            assert stretch(page, 1, "kind-tool") == [0, 2]  # a quarter of a second of an hour
            keep(page, "clock-behind")
            behind.store(SpanEnded(trace_id, root, now + 2 * SECOND))
            page.locator(".trace-head").get_by_text("2.00 s").wait_for()
            page.locator(".trace-head").get_by_text("ok", exact=True).wait_for()
            assert_no_nonsense(page)


@pytest.mark.slow
def test_a_child_by_a_clock_that_is_behind(browser: "Browser", relay: RelayProcess) -> None:
    """It is drawn where its parent begins, with a notch; the rest of the trace has the room that it needs."""
    trace_id, root, step, far = new_trace(), new_span(), new_span(), new_span()
    now = time.time_ns() - 10 * SECOND
    with producer(relay, "right") as right, producer(relay, "behind") as behind:
        right.store(
            SpanStarted(trace_id, root, now, "request", kind="llm"),
            SpanStarted(trace_id, step, now + 2 * SECOND, "call", root, "llm"),
        )
        behind.store(
            SpanStarted(trace_id, far, now + 3 * SECOND - HOUR, "far away", step, "tool"),
            SpanEnded(trace_id, far, now + 4 * SECOND - HOUR),
        )
        right.store(
            SpanEnded(trace_id, step, now + 6 * SECOND),
            SpanEnded(trace_id, root, now + 8 * SECOND),
        )
        with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
            page.get_by_role("treegrid").get_by_role("row", name="far away").wait_for()
            _, request_ends = stretch(page, 0, "kind-llm")
            call_begins, call_ends = stretch(page, 1, "kind-llm")
            assert request_ends > width(page) * 0.7
            assert call_begins == pytest.approx(request_ends * 2 / 8, abs=3)
            assert call_ends == pytest.approx(request_ends * 6 / 8, abs=3)
            assert stretch(page, 2, "kind-tool") == [call_begins, call_begins + 2]
            page.locator(".trace-head").get_by_text("8.00 s").wait_for()
            keep(page, "clock-behind-child")
