"""A tab that nobody looks at paints nothing, and is as it should be in the frame in which it is seen again."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import open_page
from support.programs import program
from support.relay_process import RelayProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STEPS = """
    import sys
    import lumina_stream as lumina

    lumina.init(service_name="hidden")
    with lumina.trace("request") as root:
        lumina.flush()
        print(root.trace_id, flush=True)
        for number in range(3):
            sys.stdin.readline()
            with lumina.trace(f"step {number}", kind="tool"):
                pass
            lumina.flush()
        sys.stdin.readline()
"""
# What the browser would do when another tab comes to the front: this one is told, and only asks for frames
# if it does not listen. Everything that it draws is counted: on canvases, and in its elements.
WATCH = """() => {
    let isHidden = false;
    Object.defineProperty(document, "hidden", {get: () => isHidden});
    Object.defineProperty(document, "visibilityState", {get: () => isHidden ? "hidden" : "visible"});
    window.hide = (hidden) => {
        isHidden = hidden;
        document.dispatchEvent(new Event("visibilitychange"));
    };
    window.drawn = {canvas: 0, elements: []};
    for (const name of ["fillRect", "fillText", "drawImage", "fill", "stroke"]) {
        const own = CanvasRenderingContext2D.prototype[name];
        CanvasRenderingContext2D.prototype[name] = function (...given) {
            window.drawn.canvas++;
            return own.apply(this, given);
        };
    }
    const note = (changes) => {
        for (const {type, target} of changes)
            window.drawn.elements.push(`${type}: ${(target.outerHTML ?? target.data).slice(0, 100)}`);
    };
    const everything = {subtree: true, childList: true, characterData: true, attributes: true};
    new MutationObserver(note).observe(document.documentElement, everything);
}"""
OFFSET = "() => Number(document.documentElement.dataset.paintedOffset)"
FRAMES = """count => new Promise((done) => {
    const next = () => (count-- > 0 ? requestAnimationFrame(next) : done());
    next();
})"""


def frames(page: "Page", *types: str) -> list[Any]:
    """Return a list that grows by each frame of some types that the page receives."""
    found: list[Any] = []

    def received(payload: Any) -> None:
        frame = json.loads(payload)
        if frame["type"] in types:
            found.append(frame)

    page.on("websocket", lambda socket: socket.on("framereceived", received))
    return found


def hide(page: "Page") -> None:
    """Hide the tab, and count from now on what it draws."""
    page.evaluate("() => window.hide(true)")
    page.evaluate(FRAMES, 3)  # what was under way
    page.evaluate("() => { window.drawn = {canvas: 0, elements: []} }")


def assert_nothing_drawn(page: "Page") -> None:
    """Fail if the tab has drawn anything, or draws in the frames that the browser makes all the same."""
    page.evaluate(FRAMES, 20)
    assert page.evaluate("() => window.drawn") == {"canvas": 0, "elements": []}


@pytest.mark.slow
def test_nothing_is_painted_while_hidden(browser: "Browser", relay: RelayProcess) -> None:
    """Facts are taken in all the same; the first frame after the tab is shown has them."""
    with program(STEPS, relay.url) as process:
        assert process.stdin is not None and process.stdout is not None
        trace_id = process.stdout.readline().strip()

        def step() -> None:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        with open_page(browser, relay.url) as page:
            batches = frames(page, "batch")
            page.goto(f"{relay.url}/#/trace/{trace_id}")
            rows = page.get_by_role("treegrid").get_by_role("row")
            rows.get_by_text("request").wait_for()
            page.evaluate(WATCH)
            page.evaluate(FRAMES, 3)
            page.wait_for_function("() => window.drawn.canvas > 0")  # an open span moves

            hide(page)
            before = page.evaluate(OFFSET)
            for _ in range(2):
                step()
            while not batches or batches[-1]["upto"] < before + 4:  # a start and an end each
                page.evaluate(FRAMES, 1)
            assert_nothing_drawn(page)
            assert page.evaluate(OFFSET) == before

            page.evaluate("() => window.hide(false)")
            page.evaluate(FRAMES, 2)  # one is asked for, and one has passed
            assert page.evaluate(OFFSET) >= batches[-1]["upto"]
            rows.get_by_text("step 1").wait_for()
            step()
            rows.get_by_text("step 2").wait_for()


@pytest.mark.slow
def test_a_hidden_list_paints_nothing(browser: "Browser", relay: RelayProcess) -> None:
    """The list as well: what began meanwhile is there when it is looked at."""
    with open_page(browser, relay.url) as page:
        listed = frames(page, "traces")
        page.reload()
        page.get_by_role("heading").first.wait_for()
        page.get_by_role("status").get_by_text("Live").wait_for()
        page.evaluate(WATCH)
        hide(page)
        with program(STEPS, relay.url) as process:
            assert process.stdout is not None
            process.stdout.readline()
            while not any(frame["traces"] for frame in listed):
                page.evaluate(FRAMES, 1)
            assert_nothing_drawn(page)
            page.evaluate("() => window.hide(false)")
            page.get_by_role("grid").get_by_text("request").wait_for()
