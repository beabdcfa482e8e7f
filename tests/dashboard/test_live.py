"""Running programs on the page: painted while they run, and the truth when they stop."""

from typing import TYPE_CHECKING

import pytest
from support.browser import keep, open_page
from support.programs import program
from support.relay_process import RelayProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STEPS = """
    import sys
    import lumina_stream as lumina

    lumina.init(service_name="stepper")

    def wait(said):
        print(said, flush=True)
        sys.stdin.readline()

    with lumina.trace("request", kind="task") as root:
        wait(root.trace_id)
        with lumina.trace("child", kind="tool", attributes={"k": 8}) as child:
            wait("child")
        with lumina.trace_llm("answer", provider="openai", model="gpt-4o-mini") as call:
            head = {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-4o-mini"}

            def pieces():
                for word in ("first ", "second ", "third "):
                    yield {**head, "choices": [{"index": 0, "delta": {"content": word}}]}
                    wait("piece")
                yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

            for piece in call.record(pieces()):
                pass
        wait("answered")
    lumina.flush()
    wait("ended")
"""
FRAMES = """count => new Promise((done) => {
    const next = () => (count-- > 0 ? requestAnimationFrame(next) : done());
    next();
})"""


class Steps:
    """A program that goes on when it is told to."""

    def __init__(self, process: object) -> None:
        self.process = process

    def said(self) -> str:
        """Wait for the next line that it says."""
        return str(self.process.stdout.readline()).strip()  # type: ignore[attr-defined]

    def go(self) -> str:
        """Let it go on; return what it says next."""
        self.process.stdin.write("\n")  # type: ignore[attr-defined]
        self.process.stdin.flush()  # type: ignore[attr-defined]
        return self.said()


def bar_width(page: "Page", row: int) -> int:
    """Return how many pixel columns of a waterfall row are painted in a kind's colour."""
    return page.evaluate(
        """row => {
            const canvas = document.querySelector("canvas.bars, .waterfall canvas, canvas");
            const ratio = canvas.width / canvas.clientWidth;
            const y = Math.round((row * 24 + 12) * ratio);
            const pixels = canvas.getContext("2d").getImageData(0, y, canvas.width, 1).data;
            const isGrey = (r, g, b) => Math.max(r, g, b) - Math.min(r, g, b) < 24;
            let painted = 0;
            for (let x = 0; x < canvas.width; x++) {
                const [r, g, b, a] = pixels.slice(x * 4, x * 4 + 4);
                if (a > 200 && !isGrey(r, g, b)) painted++;
            }
            return painted;
        }""",
        row,
    )


@pytest.mark.slow
def test_watch_it_run(browser: "Browser", relay: RelayProcess) -> None:
    """From the list into a trace that runs: spans appear open, bars grow, an answer streams in."""
    with program(STEPS, relay.url) as process, open_page(browser, relay.url) as page:
        steps = Steps(process)
        trace_id = steps.said()
        running = page.get_by_role("list", name="Open spans, longest first")
        running.get_by_text("request").click()
        page.wait_for_url(f"**/#/trace/{trace_id}**")
        spans = page.get_by_role("treegrid", name="Spans")
        spans.get_by_role("row", name="request").wait_for()

        assert steps.go() == "child"
        spans.get_by_role("row", name="child").wait_for()  # while it is open
        painted = bar_width(page, 0)
        page.wait_for_function("() => document.documentElement.dataset.paintedOffset > 0")
        assert painted > 0
        keep(page, "live-trace")

        assert steps.go() == "piece"
        spans.get_by_role("row", name="answer").click()
        panel = page.get_by_role("region", name="Span", exact=True)
        answer = panel.locator(".growing")
        answer.filter(has_text="first").wait_for()
        for word in ("second", "third"):
            assert steps.go() == "piece"
            answer.filter(has_text=word).wait_for()  # the answer streams in while the call is open
        keep(page, "streaming-answer")
        assert steps.go() == "answered"
        assert steps.go() == "ended"
        page.locator(".trace-head").get_by_text("ok", exact=True).wait_for()
        page.go_back()


@pytest.mark.slow
def test_killed_program_is_interrupted(browser: "Browser", relay: RelayProcess) -> None:
    """A program that is killed is not running any more: the page says so without a reload."""
    with program(STEPS, relay.url) as process:
        trace_id = Steps(process).said()
        with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
            page.get_by_role("treegrid").get_by_role("row", name="request").click()
            process.kill()
            panel = page.get_by_role("region", name="Span", exact=True)
            panel.get_by_text("interrupted", exact=False).first.wait_for()
            page.goto(relay.url)
            page.get_by_role("grid").get_by_role("img", name="interrupted").wait_for()
            keep(page, "interrupted")


@pytest.mark.slow
def test_relay_restarts_below_the_page(browser: "Browser", relay: RelayProcess) -> None:
    """The page says that it reconnects, goes on by itself, and shows what came meanwhile."""
    with program(STEPS, relay.url) as process:
        steps = Steps(process)
        trace_id = steps.said()
        address = f"{relay.url}/#/trace/{trace_id}"
        with open_page(browser, address, tolerate=("ERR_CONNECTION_REFUSED",)) as page:
            spans = page.get_by_role("treegrid")
            spans.get_by_role("row", name="request").wait_for()
            port = relay.port
            relay.kill()
            page.get_by_text("Reconnecting").first.wait_for()
            page.get_by_text("The relay does not answer.").wait_for()
            page.evaluate(FRAMES, 15)  # the text that was about to tick
            took = page.locator(".trace-hero").inner_text()
            page.evaluate(FRAMES, 60)
            assert page.locator(".trace-hero").inner_text() == took, "nobody knows what ran on"
            keep(page, "reconnecting")
            relay.start(port)
            assert steps.go() == "child"
            spans.get_by_role("row", name="child").wait_for()
            page.get_by_role("status").get_by_text("Live").first.wait_for()


@pytest.mark.slow
def test_bar_of_an_open_span_grows(browser: "Browser", relay: RelayProcess) -> None:
    """Between two looks at an open span its bar covers more of the time axis, or the axis has grown."""
    with program(STEPS, relay.url) as process:
        trace_id = Steps(process).said()
        with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
            page.get_by_role("treegrid").get_by_role("row", name="request").wait_for()
            page.wait_for_function("() => document.documentElement.dataset.paintedOffset > 0")
            seen = {bar_width(page, 0)}
            while len(seen) < 3:
                page.evaluate("() => new Promise(done => requestAnimationFrame(done))")
                seen.add(bar_width(page, 0))
            assert max(seen) > 100
