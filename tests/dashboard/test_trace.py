"""The trace page: rows, bars, views, a stretch of time, replay, addresses of spans."""

from typing import TYPE_CHECKING, Any

import pytest
from support.browser import keep, open_page
from support.programs import program, run
from support.relay_process import RelayProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

FINISHED = """
    import time
    import lumina_stream as lumina

    lumina.init(service_name="pages")
    spans = []
    with lumina.trace("request", kind="agent") as root:
        time.sleep(0.05)
        with lumina.trace("index", kind="retrieval") as index:
            for number in range(30):
                try:
                    with lumina.trace("embed", kind="embedding") as span:
                        spans.append(span.span_id)
                        time.sleep(0.002)
                        if number == 17:
                            raise ValueError("no text")
                except ValueError:
                    pass
        with lumina.trace("answer", kind="llm"):
            time.sleep(0.1)
    lumina.flush()
    print(root.trace_id, spans[5])
"""


def finished(relay: RelayProcess) -> tuple[str, str]:
    """Run a traced program; return its trace's id, and that of a span that is folded away."""
    trace_id, span_id = run(FINISHED, relay.url)[0].split()
    return trace_id, span_id


@pytest.mark.slow
def test_many_siblings_share_a_row_and_errors_do_not(
    browser: "Browser", relay: RelayProcess
) -> None:
    """Thirty siblings are one row, the one that failed has its own; the row opens."""
    trace_id, _ = finished(relay)
    with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
        tree = page.get_by_role("treegrid", name="Spans")
        many = tree.get_by_role("row", name="embed ×30")
        many.wait_for()
        assert tree.get_by_role("row", name="embed").count() == 2
        assert many.get_attribute("aria-expanded") == "false"
        assert [
            tree.get_by_role("row", name=name).first.get_attribute("aria-level")
            for name in ("request", "index", "embed ×30", "answer")
        ] == ["1", "2", "3", "2"]
        many.click()
        until(page, lambda: tree.get_by_role("row", name="embed").count() > 20)
        assert many.get_attribute("aria-expanded") == "true"
        keep(page, "trace-fold")


@pytest.mark.slow
def test_address_of_a_span_leads_to_it(browser: "Browser", relay: RelayProcess) -> None:
    """A link to a span that is folded away shows its row and its panel, in every view."""
    trace_id, span_id = finished(relay)
    with open_page(browser, f"{relay.url}/#/trace/{trace_id}?span={span_id}") as page:
        row = page.get_by_role("treegrid").locator("[aria-selected=true]")
        row.get_by_text("embed", exact=True).wait_for()
        until(page, lambda: row.get_by_text("×30").count() == 0)  # a row of its own
        panel = page.get_by_role("region", name="Span", exact=True)
        for key, view in enumerate(("waterfall", "flame", "merged", "statistics", "log"), 1):
            page.keyboard.press(str(key))
            page.wait_for_function(f"() => document.documentElement.dataset.view === '{view}'")
            panel.get_by_role("heading", name="embed").wait_for()
            assert f"span={span_id}" in page.url
            keep(page, f"trace-{view}")


@pytest.mark.slow
def test_bars_stand_where_their_spans_ran(browser: "Browser", relay: RelayProcess) -> None:
    """To the pixel column, a bar is where the relay's times say."""
    trace_id, _ = finished(relay)
    with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
        page.get_by_role("treegrid").get_by_role("row", name="answer").wait_for()
        root = page.evaluate(f"async () => (await (await fetch('v1/traces/{trace_id}')).json())")[
            "roots"
        ][0]
        index, answer = (
            next(child for child in root["children"] if child["name"] == name)
            for name in ("index", "answer")
        )
        until(page, lambda: bar(page, 0)[1] > 100)
        from_px, to_px = bar(page, 0)
        for row, span in ((1, index), (4, answer)):
            scale = (to_px - from_px) / root["duration_ns"]
            starts = (span["start_ns"] - root["start_ns"]) * scale + from_px
            ends = starts + span["duration_ns"] * scale
            found = bar(page, row)
            assert abs(found[0] - starts) <= 1.5
            assert abs(found[1] - ends) <= 1.5


def bar(page: "Page", row: int) -> tuple[int, int]:
    """Return the pixel columns in which a row's bar, one of a colour, begins and ends."""
    found: list[int] = page.evaluate(
        """row => {
            const canvas = document.querySelector(".stage-canvas");
            const y = 28 + row * 24 + 12;
            const line = canvas.getContext("2d").getImageData(0, y, canvas.width, 1).data;
            const isColoured = (x) => {
                const [r, g, b] = line.slice(x * 4, x * 4 + 3);
                return Math.max(r, g, b) - Math.min(r, g, b) > 48;
            };
            const columns = [...Array(canvas.width).keys()].filter(isColoured);
            return [columns[0] ?? -1, (columns.at(-1) ?? -2) + 1];
        }""",
        row,
    )
    return found[0], found[1]


@pytest.mark.slow
def test_stretch_of_time_is_counted(browser: "Browser", relay: RelayProcess) -> None:
    """A drag with Shift says what ran in that time, by name; Escape takes it back."""
    trace_id, _ = finished(relay)
    with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
        page.get_by_role("treegrid").get_by_role("row", name="answer").wait_for()
        until(page, lambda: bar(page, 4)[1] > 100)
        box: Any = page.locator(".stage-canvas").bounding_box()
        from_px, to_px = bar(page, 4)  # of `answer`: in its middle nothing else but the root runs
        page.keyboard.down("Shift")
        page.mouse.move(box["x"] + from_px + 20, box["y"] + 300)
        page.mouse.down()
        page.mouse.move(box["x"] + from_px + 40, box["y"] + 300)
        page.mouse.move(box["x"] + to_px - 20, box["y"] + 300)
        page.mouse.up()
        page.keyboard.up("Shift")
        stretch = page.get_by_role("region", name="Selected stretch")
        table = stretch.get_by_role("table")
        table.get_by_role("row", name="answer 1").wait_for()
        assert table.get_by_role("row").count() == 3  # the head, the root and this one
        keep(page, "trace-stretch")
        page.keyboard.press("Escape")
        stretch.wait_for(state="hidden")


@pytest.mark.slow
def test_replay(browser: "Browser", relay: RelayProcess) -> None:
    """The trace as it was after any of its events, and back to now."""
    trace_id, _ = finished(relay)
    with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
        rows = page.get_by_role("treegrid").get_by_role("row")
        page.get_by_role("treegrid").get_by_role("row", name="answer").wait_for()
        page.keyboard.press("r")
        moment = page.get_by_role("slider", name="Moment")
        moment.focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        until(page, lambda: rows.count() == 2)  # the head and the root
        page.locator(".trace-head").get_by_text("replay: running").wait_for()
        page.wait_for_url("**at=1")
        keep(page, "trace-replay")
        page.get_by_role("button", name="Play", exact=True).click()
        page.get_by_role("button", name="Play", exact=True).wait_for()  # it has come to its end
        page.locator(".trace-head").get_by_text("replay: ok").wait_for()
        page.get_by_role("button", name="Live").click()
        moment.wait_for(state="hidden")
        assert "at=" not in page.url


WAITING = """
    import sys
    import lumina_stream as lumina

    lumina.init(service_name="waiting")
    with lumina.trace("request") as root:
        with lumina.trace("quick"):
            pass
        with lumina.trace("slow"):
            lumina.flush()
            print(root.trace_id, flush=True)
            sys.stdin.readline()
"""


@pytest.mark.slow
def test_what_is_waited_for(browser: "Browser", relay: RelayProcess) -> None:
    """Of a live trace the way to the oldest open span stands out, of a finished one what it waited for."""
    with program(WAITING, relay.url) as process:
        assert process.stdout is not None and process.stdin is not None
        trace_id = process.stdout.readline().strip()
        with open_page(browser, f"{relay.url}/#/trace/{trace_id}") as page:
            tree = page.get_by_role("treegrid")
            tree.get_by_role("row", name="slow").wait_for()
            page.keyboard.press("c")
            page.get_by_role("button", name="Waiting for", pressed=True).wait_for()
            faded = page.locator(".label.is-faded .label-text")
            until(page, lambda: faded.all_inner_texts() == ["quick"])
            process.stdin.write("\n")
            process.stdin.flush()
            page.get_by_role("button", name="Critical path", pressed=True).wait_for()
            until(page, lambda: "slow" not in faded.all_inner_texts())
            keep(page, "trace-critical")


def until(page: "Page", holds: "Callable[[], bool]") -> None:
    """Wait, frame by frame, until something holds."""
    for _ in range(600):
        if holds():
            return
        page.evaluate("() => new Promise(done => requestAnimationFrame(done))")
    raise AssertionError("it never holds")
