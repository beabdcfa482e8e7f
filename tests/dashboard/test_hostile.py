"""Hostile and huge data on the page: everything is text, nothing runs, nothing breaks the layout."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.browser import keep, open_page
from support.relay_process import Producer, RelayProcess, new_hello, new_span, new_trace

from lumina_stream.model.events import (
    AttributesSet,
    ErrorInfo,
    Event,
    EventAdded,
    Link,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CORPUS = (
    "<img src=x onerror=window.broken=1>",
    "<script>window.broken=1</script>",
    '"><svg/onload=window.broken=1>',
    "javascript:window.broken=1",
    "{{constructor.constructor('window.broken=1')()}}",
    "</style><iframe srcdoc='<script>parent.broken=1</script>'>",
    "&lt;b&gt;&#x3c;i",
    "\u202eright to left \u2066isolated\u2069 \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301\u0301\u0301\u0301 \u0000 \ufeff \t\n",
    "\x1b[31mred\x1b[0m \x1b]8;;http://example.invalid\x07link",
    "W" * 8_192,
    "__proto__",
    "!int 7",
)
VIEWS = ("waterfall", "flame", "merged", "statistics", "log")


def hostile_events(trace_id: str) -> list[Event]:
    """Return a trace whose every field is of the corpus, one span with 1,000 attributes."""
    now = time.time_ns()
    events: list[Event] = []
    root = new_span()
    events.append(SpanStarted(trace_id, root, now, CORPUS[0], kind=CORPUS[1]))
    for number, text in enumerate(CORPUS):
        span_id = new_span()
        at = now + number * 1_000_000
        attributes = {text[:200]: text, "input.value": text, "gen_ai.request.model": text}
        link = Link(new_trace(), new_span(), {text[:200]: text})
        events += [
            SpanStarted(trace_id, span_id, at, text[:8_192], root, text[:200], attributes, (link,)),
            EventAdded(trace_id, span_id, at + 1, text, {text[:200]: [text, {text[:200]: text}]}),
            TextStreamed(trace_id, span_id, at + 2, "output", 0, text),
            SpanEnded(trace_id, span_id, at + 3, "error", ErrorInfo(text, text, text)),
        ]
    many = {f"key {number:04}": f"value {number}" for number in range(1_000)}
    events.append(AttributesSet(trace_id, root, now + 5, many))
    events.append(SpanEnded(trace_id, root, now + 1_000_000_000))
    return events


def store(url: str, *events: Event, service: str = "svc") -> None:
    """Send events to a relay and wait until they are stored."""

    async def send() -> None:
        async with Producer(url, hello=new_hello(service=service)).connected() as producer:
            for event in events:
                await producer.store(event)

    with ThreadPoolExecutor(1) as thread:  # the browser's loop is this thread's
        thread.submit(asyncio.run, send()).result()


def assert_inert(page: "Page") -> None:
    """Fail if anything of the data became markup, ran, or pushed the page sideways."""
    assert page.evaluate("() => window.broken") is None
    assert page.locator("#app :is(img, script, iframe, object, embed, link, style)").count() == 0
    links = page.evaluate("() => [...document.querySelectorAll('a')].map(a => a.protocol)")
    assert set(links) <= {"http:"}
    width = page.evaluate(
        "() => [document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
    )
    assert width[0] <= width[1], "the page scrolls sideways"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1440, 900])
def test_row_19_corpus_is_inert(browser: "Browser", relay: RelayProcess, width: int) -> None:
    """Markup, control characters, long and right-to-left texts in every field are shown as text."""
    trace_id = new_trace()
    store(relay.url, *hostile_events(trace_id), service=CORPUS[2])
    with open_page(browser, relay.url, width=width) as page:
        page.get_by_role("grid").get_by_text(CORPUS[0]).first.wait_for()
        assert_inert(page)
        keep(page, f"hostile-list-{width}")
        for view in VIEWS:
            page.goto(f"{relay.url}/#/trace/{trace_id}?view={view}")
            page.wait_for_function(f"() => document.documentElement.dataset.view === '{view}'")
            page.wait_for_function("() => document.documentElement.dataset.paintedOffset > 0")
            assert_inert(page)
            keep(page, f"hostile-{view}-{width}")


@pytest.mark.slow
def test_row_19_corpus_in_the_panel(browser: "Browser", relay: RelayProcess) -> None:
    """Every span's panel, every tab of it: text. A thousand attributes stay within few elements."""
    trace_id = new_trace()
    store(relay.url, *hostile_events(trace_id))
    with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
        rows = page.get_by_role("treegrid").locator("[data-row]")
        rows.first.click()
        panel = page.get_by_role("region", name="Span", exact=True)
        panel.get_by_role("tab", name="Attributes").click()
        panel.get_by_text("key 0001").wait_for()
        assert panel.locator("*").count() < 3_000, "attributes that are not in sight are not drawn"
        for number in range(1, len(CORPUS) + 1):
            rows.nth(number).click()
            panel.get_by_role("tab").first.wait_for()
            for tab in panel.get_by_role("tab").all():
                tab.click()
                assert_inert(page)
        keep(page, "hostile-panel")
